//! IOMMU regions: accesses that are translated and go on in another address space, and who hears how that changes.
//!
//! A device that models an IOMMU is an [`IommuOps`] behind an [IOMMU region](crate::RegionBuilder::iommu). It is
//! asked during accesses, on the thread of whoever accesses and without any lock (rule O18). Who keeps
//! translations elsewhere, a vhost backend or a VFIO container, registers an [`IommuNotifier`] with the region and
//! hears from the device which of them are [new or gone](IotlbEvent).

mod error;
mod notifier;
mod registered;
mod replay;
mod step;
mod walk;

use bitflags::bitflags;

pub use error::{IommuError, IotlbError};
pub use notifier::{IommuEvents, IommuNotifier, IotlbEvent, IotlbEventKind};
pub(crate) use registered::Iommu;
pub use registered::IommuRegistration;
pub use step::IommuStep;
pub use walk::IotlbMemory;

use crate::address::AddressRange;
use crate::listener::ListenerResult;
use crate::space::AddressSpace;

bitflags! {
    /// What a translation permits, or what an access wants.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct IommuAccess: u8 {
        /// Reading.
        const READ = 1;
        /// Writing.
        const WRITE = 2;
    }
}

/// One translation: a block of addresses and where it leads.
///
/// What [`IommuOps::translate`] returns is a naturally aligned block. One that a notifier hears may be cut to the
/// notifier's range, and then have any length (rule O12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IotlbEntry {
    /// Where accesses go on; `None` refuses them.
    pub target: Option<AddressSpace>,
    /// The address that was asked for, aligned down to the block: an offset in the IOMMU region. From
    /// [`AddressSpace::iotlb_entry`] it is an address of that space.
    pub iova: u64,
    /// Where the block begins in the target.
    pub translated_address: u64,
    /// The size of the block minus one: `0xfff` for 4 KiB. If nothing is permitted, nothing is in the whole block.
    pub address_mask: u64,
    /// What is permitted.
    pub permission: IommuAccess,
}

impl IotlbEntry {
    /// The addresses from [`iova`](Self::iova) on; `None` if they reach beyond 2^64.
    pub fn range(&self) -> Option<AddressRange> {
        let last = self.iova.checked_add(self.address_mask)?;
        AddressRange::from_bounds(self.iova, last)
    }

    /// The part of the entry for `range`, which lies within it.
    fn cut(&self, range: AddressRange) -> IotlbEntry {
        let skipped = range.start().wrapping_sub(self.iova);
        IotlbEntry {
            target: self.target.clone(),
            iova: range.start(),
            translated_address: self.translated_address.wrapping_add(skipped),
            address_mask: range.last() - range.start(),
            permission: self.permission,
        }
    }
}

/// What translates in an IOMMU region (rule A15).
pub trait IommuOps: Send + Sync {
    /// The translation of `iova`, an offset in the region, for an access of this kind; for no kind at all if
    /// everything that is permitted is asked for (rule O1).
    ///
    /// `index` is what [`IommuOps::attrs_to_index`] made of the access's attributes. The answer may depend on
    /// nothing but `iova` and `index`, and on the tables as they are; what an access of the given kind does not need
    /// to know may be left out of its permissions. It may be asked by many threads at the same time.
    fn translate(&self, iova: u64, access: IommuAccess, index: u32) -> IotlbEntry;

    /// Which of the IOMMU's tables an access with these attributes uses.
    fn attrs_to_index(&self, _attrs: crate::access::MemTxAttrs) -> u32 {
        0
    }

    /// How many tables there are: indexes are less (rule O5).
    fn num_indexes(&self) -> u32 {
        1
    }

    /// The smallest block that is ever translated, in bytes: a power of two (rule O4). Anything else counts as 4 KiB.
    fn min_page_size(&self) -> u64 {
        DEFAULT_PAGE_SIZE
    }

    /// What the notifiers of all tables want together has changed (rules O8, O9).
    ///
    /// Called without locks, by one thread at a time. Notifiers may be dropped within it, and none registered.
    ///
    /// # Errors
    ///
    /// Why the device cannot tell of what is `new`: the notifier that wants it is then not registered, and all is
    /// as if it had not come. When a notifier leaves, an error is ignored. A panic counts as an error.
    fn notify_flag_changed(&self, _old: IommuEvents, _new: IommuEvents) -> ListenerResult {
        Ok(())
    }

    /// The device's own way to tell a notifier what is mapped (rule O14). Without it the region is translated page by
    /// page.
    fn replay(&self) -> Option<&dyn IommuReplay> {
        None
    }
}

/// Tells what is mapped without being asked for each page: for a device that knows where its mappings are.
pub trait IommuReplay {
    /// Gives the notifier a [map event](IotlbEvent::map) for everything that is mapped within its range and in its
    /// table, by [`IommuNotifier::notify`].
    ///
    /// Accesses that this thread makes meanwhile through the region itself are refused.
    ///
    /// # Errors
    ///
    /// What [`IommuNotifier::notify`] returned.
    fn replay(&self, notifier: &IommuNotifier) -> Result<(), IommuError>;
}

/// The smallest page of who does not say, and what a translation without any IOMMU is valid for.
const DEFAULT_PAGE_SIZE: u64 = 0x1000;

/// The smallest page of an IOMMU, made sane.
fn page_size(ops: &dyn IommuOps) -> u64 {
    let size = ops.min_page_size();
    match size.is_power_of_two() {
        true => size,
        false => DEFAULT_PAGE_SIZE,
    }
}
