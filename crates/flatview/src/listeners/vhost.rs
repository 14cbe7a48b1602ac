//! The memory table of a vhost device.
//!
//! A vhost device runs outside this process's device model, in the kernel or in another process, and reads
//! the guest's memory through a table: which guest physical addresses are where. The table is replaced as a
//! whole (rule X1), so [`VhostListener`] works out the new one in `prepare`, where it can still refuse the
//! change, and hands it over in `commit`.
//!
//! QEMU builds the table from `region_add` and `region_nop`, because nothing else tells it of ranges that
//! stay. Here `prepare` and `commit` have the whole view, and the callbacks for ranges are not needed: a
//! listener that wants `region_nop` makes every commit of its space as long as the view.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::vhost_table::{Table, VhostMemoryRegion};
use crate::address::AddressRange;
use crate::listener::{ListenerError, ListenerResult, MemoryListener, Undo, ViewChange, priority};
use crate::primitive::Mutex;
use crate::ram::RamBlock;
use crate::view::FlatView;

/// What takes the table: the ioctl of vhost-kernel, the message of vhost-user. It must not call back into the
/// listener.
pub trait VhostBackend: Send + Sync {
    /// Replaces the table. The regions are ascending and disjoint.
    ///
    /// # Errors
    ///
    /// Anything; the backend must then still use the table it had.
    fn set_mem_table(&self, table: &[VhostMemoryRegion]) -> Result<(), ListenerError>;

    /// How many regions a table may have (rule X5): `max_mem_regions` of vhost-kernel, 509 or so.
    fn memslots_limit(&self) -> usize {
        usize::MAX
    }

    /// Whether the device can use memory of this block (rule X2): another process cannot unless it has a
    /// descriptor.
    fn accepts(&self, block: &RamBlock) -> bool {
        let _ = block;
        true
    }
}

impl<T: VhostBackend + ?Sized> VhostBackend for Arc<T> {
    fn set_mem_table(&self, table: &[VhostMemoryRegion]) -> Result<(), ListenerError> {
        (**self).set_mem_table(table)
    }

    fn memslots_limit(&self) -> usize {
        (**self).memslots_limit()
    }

    fn accepts(&self, block: &RamBlock) -> bool {
        (**self).accepts(block)
    }
}

/// Why a vhost device cannot live with a change of the map, or with a ring.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VhostError {
    /// The new table is longer than the backend's limit (rule X5).
    #[error("vhost takes {limit} memory regions at most; the change needs {needed}")]
    TooManyMemslots {
        /// How many the backend takes.
        limit: usize,
        /// How many the new table has.
        needed: usize,
    },

    /// A ring in use would be elsewhere, or nowhere (rule X4).
    #[error("the ring at {ring} is in use at {was:#x} of the process and would be {}", match .becomes {
        Some(address) => format!("at {address:#x}"),
        None => "in no memory that vhost can use".to_owned(),
    })]
    RingMoved {
        /// The ring's guest physical addresses.
        ring: AddressRange,
        /// Where it is in this process.
        was: u64,
        /// Where it would be.
        becomes: Option<u64>,
    },

    /// A ring does not lie wholly within one region of the table.
    #[error("the ring at {ring} does not lie within one memory region of the vhost table")]
    RingOutside {
        /// The ring's guest physical addresses.
        ring: AddressRange,
    },
}

/// Keeps a vhost device's memory table equal to the map.
///
/// In the table is what is RAM, may be written, has host memory, is not logged by a display (the device
/// would not mark what it writes) and is [accepted](VhostBackend::accepts) by the backend (rule X2).
/// Neighbours of one region that are contiguous in the process are one entry, unless one is unmergeable
/// (rule X3). What is read-only through an alias is left out as well; QEMU only leaves out ROM (rule D2).
///
/// IOMMU regions are not in the table: a device behind one hears of translations in another way (rule X6),
/// which comes with notifiers in a later release.
///
/// The RAM blocks that the table shows are kept alive until the backend has taken one without them.
///
/// ```
/// use std::sync::Arc;
/// use flatview::listeners::{VhostBackend, VhostListener, VhostMemoryRegion};
/// use flatview::{AddressRange, ListenerError, Memory, RamBlock, Size};
///
/// struct Device;
///
/// impl VhostBackend for Device {
///     fn set_mem_table(&self, table: &[VhostMemoryRegion]) -> Result<(), ListenerError> {
///         println!("VHOST_SET_MEM_TABLE {table:?}");
///         Ok(())
///     }
///     fn memslots_limit(&self) -> usize {
///         1
///     }
/// }
///
/// let memory = Memory::new();
/// let system = memory.region("system").container(Size::MAX);
/// let space = memory.create_address_space("memory", &system)?;
/// let ram = memory.region("ram").ram(RamBlock::foreign(0x10_0000, 0x7f00_0000_0000));
/// memory.update(|tx| tx.add_subregion(&system, 0, &ram))?;
///
/// let vhost = Arc::new(VhostListener::new("vhost-net0", Device));
/// let _registration = space.register(vhost.clone())?;
/// let ring = vhost.map_ring(AddressRange::new(0x8000, 0x1000).unwrap())?;
/// assert_eq!(ring.userspace_addr(), 0x7f00_0000_8000);
///
/// // A hole in the ring is refused before anything has happened; so is a table of two regions.
/// let hole = memory.region("hole").reservation(0x1000);
/// let refused = memory.update(|tx| tx.add_subregion_overlap(&system, 0x8000, &hole, 1));
/// assert!(refused.is_err());
/// let refused = memory.update(|tx| tx.add_subregion_overlap(&system, 0x2000, &hole, 1));
/// assert!(refused.is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct VhostListener<B> {
    name: Box<str>,
    backend: B,
    /// Held while the backend takes a table, so that no ring is mapped between two tables.
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// What the backend has.
    table: Table,
    /// What it is about to get.
    pending: Option<Table>,
    /// The rings in use.
    rings: Vec<Ring>,
    next_ring: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ring {
    id: u64,
    range: AddressRange,
    userspace_addr: u64,
}

impl<B: VhostBackend> VhostListener<B> {
    /// A listener of that name for one device.
    pub fn new(name: &str, backend: B) -> VhostListener<B> {
        VhostListener {
            name: name.into(),
            backend,
            state: Arc::new(Mutex::new(State::default())),
        }
    }

    /// What takes the table.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The table that the backend has.
    pub fn table(&self) -> Vec<VhostMemoryRegion> {
        self.state.lock().table.regions.clone()
    }

    /// Tells where a ring is in this process, and refuses every change that would move it from there (rule
    /// X4) until the returned value is dropped.
    ///
    /// # Errors
    ///
    /// [`VhostError::RingOutside`] if it lies in no region of the table, or [`VhostError::RingMoved`] if a
    /// change is under way that takes it from there.
    pub fn map_ring(&self, range: AddressRange) -> Result<VhostRing, VhostError> {
        let mut state = self.state.lock();
        let userspace_addr = state.table.find(range);
        let userspace_addr = userspace_addr.ok_or(VhostError::RingOutside { ring: range })?;
        let ring = Ring {
            id: state.next_ring,
            range,
            userspace_addr,
        };
        if let Some(pending) = &state.pending {
            ring.check(pending)?;
        }
        state.next_ring += 1;
        state.rings.push(ring);
        drop(state);
        Ok(VhostRing {
            ring,
            state: Arc::clone(&self.state),
        })
    }
}

impl Ring {
    /// Rule X4.
    fn check(&self, table: &Table) -> Result<(), VhostError> {
        let becomes = table.find(self.range);
        if becomes == Some(self.userspace_addr) {
            return Ok(());
        }
        Err(VhostError::RingMoved {
            ring: self.range,
            was: self.userspace_addr,
            becomes,
        })
    }
}

impl<B: VhostBackend> MemoryListener for VhostListener<B> {
    fn name(&self) -> &str {
        &self.name
    }

    fn priority(&self) -> u32 {
        priority::DEV_BACKEND
    }

    fn prepare(&self, change: &ViewChange<'_>) -> ListenerResult {
        let next = Table::of(change.new_view(), &self.backend);
        let (limit, needed) = (self.backend.memslots_limit(), next.regions.len());
        if needed > limit {
            return Err(VhostError::TooManyMemslots { limit, needed }.into());
        }
        let mut state = self.state.lock();
        for ring in &state.rings {
            ring.check(&next)?;
        }
        state.pending = Some(next);
        Ok(())
    }

    /// Nothing was done yet.
    fn abort(&self, _undo: &Undo<'_>) -> ListenerResult {
        self.state.lock().pending = None;
        Ok(())
    }

    /// Also called without `prepare`: when a commit is taken back, and when the listener leaves.
    fn commit(&self, view: &FlatView) -> ListenerResult {
        let mut state = self.state.lock();
        let next = state.pending.take();
        let next = next.unwrap_or_else(|| Table::of(view, &self.backend));
        if next.regions != state.table.regions {
            self.backend.set_mem_table(&next.regions)?;
        }
        let replaced = std::mem::replace(&mut state.table, next);
        drop(state);
        drop(replaced);
        Ok(())
    }
}

impl<B> fmt::Debug for VhostListener<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("VhostListener")
            .field("name", &self.name)
            .field("table", &state.table.regions)
            .field("rings", &state.rings)
            .finish()
    }
}

/// A part of a ring that a vhost device uses. While this lives, it stays where it is.
#[must_use = "dropping it lets the ring move"]
pub struct VhostRing {
    ring: Ring,
    state: Arc<Mutex<State>>,
}

impl VhostRing {
    /// The guest physical addresses.
    pub fn range(&self) -> AddressRange {
        self.ring.range
    }

    /// Where the first byte is in this process.
    pub fn userspace_addr(&self) -> u64 {
        self.ring.userspace_addr
    }
}

impl Drop for VhostRing {
    fn drop(&mut self) {
        self.state.lock().rings.retain(|ring| ring.id != self.ring.id);
    }
}

impl fmt::Debug for VhostRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "VhostRing({} at {:#x})",
            self.ring.range, self.ring.userspace_addr
        )
    }
}

#[cfg(test)]
#[path = "vhost_test.rs"]
mod tests;
