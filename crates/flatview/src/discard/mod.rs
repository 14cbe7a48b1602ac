//! RAM of which only a part is there: who decides which, and who hears of it.
//!
//! A device that plugs and unplugs memory in small pieces, as virtio-mem does, is the [`RamDiscardManager`] of its
//! RAM region. Who shows that memory to somebody else, a VFIO container for instance, registers a
//! [`RamDiscardListener`] for each section he shows, and shows only what is *populated*.
//!
//! [`PopulatedRanges`] is a manager that is ready to use. Managers tell; the memory itself is discarded by whoever
//! owns the manager.

mod attach;
mod error;
mod ranges;
mod set;

use std::fmt;
use std::sync::{Arc, Weak};

pub use error::RamDiscardError;
pub use ranges::PopulatedRanges;

use crate::address::AddressRange;
use crate::listener::ListenerResult;
use crate::view::FlatRange;

/// A part of a RAM region and where an address space shows it: what a listener is told of.
///
/// It keeps nothing alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RamSection {
    bytes: AddressRange,
    address: u64,
}

impl RamSection {
    /// What a range of a view shows.
    pub fn new(range: &FlatRange) -> RamSection {
        let (start, length) = (range.offset_in_region(), range.last() - range.start());
        // A range's offsets do not wrap (rule C12).
        let bytes = AddressRange::from_bounds(start, start.saturating_add(length));
        RamSection {
            bytes: bytes.unwrap_or(AddressRange::ALL),
            address: range.start(),
        }
    }

    /// The offsets in the region.
    pub fn bytes(self) -> AddressRange {
        self.bytes
    }

    /// Where the first byte is in the address space.
    pub fn address(self) -> u64 {
        self.address
    }

    /// The part of the section that shows `bytes` of the region.
    pub fn part(self, bytes: AddressRange) -> Option<RamSection> {
        let bytes = self.bytes.intersection(bytes)?;
        let address = self.address + (bytes.start() - self.bytes.start());
        Some(RamSection { bytes, address })
    }
}

/// Hears which parts of a section come and go (rule S3).
///
/// What it is told of begins and ends at multiples of the manager's granularity, except at the ends of the section
/// that it was registered for. Callbacks run without any lock of this library and one at a time for each manager; a
/// change of the manager from within is an error. Whoever changes a manager may be in an update, so a callback must
/// not wait for one.
pub trait RamDiscardListener: Send + Sync {
    /// Memory is about to be there. It is not populated yet, and will be if nobody refuses.
    ///
    /// # Errors
    ///
    /// Why it cannot be shown; nothing of it must then be. Those who were told before hear that it is discarded. With
    /// [`PopulatedRanges`] a panic counts as an error.
    fn notify_populate(&self, section: RamSection) -> ListenerResult;

    /// Memory is gone: it does not count as populated any more.
    fn notify_discard(&self, section: RamSection);

    /// Whether it may be told that something is discarded that is so already. It then hears of large pieces at once.
    fn double_discard_supported(&self) -> bool {
        false
    }
}

/// A callback that hears of parts of RAM, as offsets in the region.
pub type RamParts<'a> = dyn FnMut(AddressRange) -> ListenerResult + 'a;

/// Which listener of a manager is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RamDiscardListenerId(pub u64);

/// Knows which parts of a RAM region are populated, and tells (rule S1). Offsets are those of the region.
pub trait RamDiscardManager: Send + Sync {
    /// The smallest piece that is populated or discarded, in bytes: a power of two.
    fn min_granularity(&self) -> u64;

    /// Whether all of `bytes` is populated.
    fn is_populated(&self, bytes: AddressRange) -> bool;

    /// Calls `each` for every populated part within `bytes`, ascending, until it fails.
    ///
    /// # Errors
    ///
    /// What `each` returned.
    fn replay_populated(&self, bytes: AddressRange, each: &mut RamParts<'_>) -> ListenerResult;

    /// Calls `each` for every part within `bytes` that is not populated, ascending, until it fails.
    ///
    /// # Errors
    ///
    /// What `each` returned.
    fn replay_discarded(&self, bytes: AddressRange, each: &mut RamParts<'_>) -> ListenerResult;

    /// Registers a listener for a section. It hears of the populated parts at once; see [`register`] for a
    /// registration that ends by itself.
    ///
    /// # Errors
    ///
    /// [`RamDiscardError`]: if the listener refuses, it has heard that everything is discarded and is not registered.
    fn register_listener(
        &self,
        section: RamSection,
        listener: Arc<dyn RamDiscardListener>,
    ) -> Result<RamDiscardListenerId, RamDiscardError>;

    /// Unregisters a listener, which hears that what was populated is discarded. Nothing happens if there is none.
    fn unregister_listener(&self, id: RamDiscardListenerId);
}

/// A listener that is registered with a manager. Dropping this unregisters it, and it hears that everything is
/// discarded. It does not keep the manager.
#[must_use = "dropping a registration unregisters the listener"]
pub struct RamDiscardRegistration {
    manager: Weak<dyn RamDiscardManager>,
    id: RamDiscardListenerId,
}

/// Registers a listener for a section of the RAM that `manager` is for.
///
/// # Errors
///
/// As [`RamDiscardManager::register_listener`].
pub fn register(
    manager: &Arc<dyn RamDiscardManager>,
    section: RamSection,
    listener: Arc<dyn RamDiscardListener>,
) -> Result<RamDiscardRegistration, RamDiscardError> {
    let id = manager.register_listener(section, listener)?;
    Ok(RamDiscardRegistration {
        manager: Arc::downgrade(manager),
        id,
    })
}

impl Drop for RamDiscardRegistration {
    fn drop(&mut self) {
        if let Some(manager) = self.manager.upgrade() {
            manager.unregister_listener(self.id);
        }
    }
}

impl fmt::Debug for RamDiscardRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RamDiscardRegistration({})", self.id.0)
    }
}
