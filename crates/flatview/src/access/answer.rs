//! Who answers at an address, and how he may be accessed.

use super::MemTxAttrs;
use super::dispatch::Device;
use crate::iommu::IommuAccess;
use crate::ram::{RamBlock, RamBlockInner};
use crate::region::{Backing, Region};
use crate::view::{FlatRange, FlatView};

/// Somebody who finds ranges of one view, whatever is published meanwhile (rule L2).
pub(crate) trait Look {
    fn look(&mut self, address: u64) -> Option<&FlatRange>;

    /// The view that is looked at.
    fn looked_at(&mut self) -> &FlatView;

    /// All `len` bytes at `address`, if they are memory that was found before.
    #[inline]
    fn remembered(&self, _address: u64, _len: usize, _is_write: bool) -> Option<(&RamBlockInner, u64)> {
        None
    }

    /// Remembers the memory at `address`, if there is any.
    #[inline]
    fn remember(&mut self, _address: u64) {}
}

impl Look for &FlatView {
    #[inline]
    fn look(&mut self, address: u64) -> Option<&FlatRange> {
        self.find(address)
    }

    fn looked_at(&mut self) -> &FlatView {
        self
    }
}

/// What an access is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    Read,
    Write,
    /// Writes ROM as well, and nothing but memory (rule L9).
    Load,
}

impl Intent {
    pub(super) fn is_write(self) -> bool {
        self != Intent::Read
    }

    /// What every IOMMU on the way has to permit.
    pub(super) fn wanted(self) -> IommuAccess {
        match self {
            Intent::Read => IommuAccess::READ,
            Intent::Write | Intent::Load => IommuAccess::WRITE,
        }
    }
}

/// What answers at an address.
pub(crate) enum Answer<'a> {
    /// This many bytes of memory, from this byte of the block on.
    Direct {
        block: &'a RamBlock,
        offset: u64,
        left: u64,
    },
    /// The same, for accesses of exact width (rule A11).
    Exact {
        block: &'a RamBlock,
        offset: u64,
        left: u64,
    },
    Device {
        device: Device<'a>,
        offset: u64,
    },
    Iommu {
        region: &'a Region,
        offset: u64,
        left: u64,
    },
    /// For this many bytes nobody answers (rule K19).
    Nothing {
        left: u64,
    },
}

/// Who answers at `address`, which `range` contains (rule L5, and D2: what is seen through something readonly is).
#[inline(always)]
pub(crate) fn answer(range: &FlatRange, address: u64, intent: Intent, attrs: MemTxAttrs) -> Answer<'_> {
    let region = range.region();
    let offset = range.offset_at(address);
    let at_device = |device| Answer::Device {
        device: Device { region, device },
        offset,
    };
    // Devices before the others, who are told apart by a jump through a table: that costs a tenth of an access.
    if let Backing::Mmio(device) = region.backing()
        && intent != Intent::Load
    {
        return at_device(device);
    }
    // A range of 2^64 bytes has one more.
    let left = (range.last() - address).saturating_add(1);
    let may_write_rom = intent == Intent::Load || attrs.debug;
    // Also what nobody can write, whatever the tree says: memory that is mapped for reading only.
    let refuses = |block: &RamBlock| {
        intent.is_write() && (!block.inner().writable || (range.is_readonly() && !may_write_rom))
    };
    match region.backing() {
        Backing::Ram(block) | Backing::RamDevice(block) if refuses(block) => Answer::Nothing { left },
        Backing::Ram(block) => {
            within_block(block, offset, left, |left| Answer::Direct { block, offset, left })
        }
        Backing::RamDevice(_) if intent == Intent::Load => Answer::Nothing { left },
        Backing::RamDevice(block) => {
            within_block(block, offset, left, |left| Answer::Exact { block, offset, left })
        }
        Backing::RomDevice(block, _)
            if range.is_romd()
                && (intent == Intent::Read || may_write_rom)
                && (intent == Intent::Read || block.inner().writable) =>
        {
            within_block(block, offset, left, |left| Answer::Direct { block, offset, left })
        }
        Backing::RomDevice(_, device) if intent != Intent::Load => at_device(device),
        Backing::RomDevice(..) | Backing::Mmio(_) => Answer::Nothing { left },
        Backing::Iommu(_) => Answer::Iommu { region, offset, left },
        // Containers and aliases are never seen.
        Backing::Reservation | Backing::Container | Backing::Alias(_) => Answer::Nothing { left },
    }
}

/// RAM that is larger than its block shows no more than the block has.
#[inline]
fn within_block<'a>(
    block: &RamBlock,
    offset: u64,
    left: u64,
    found: impl FnOnce(u64) -> Answer<'a>,
) -> Answer<'a> {
    match block.inner().mapped.checked_sub(offset) {
        None | Some(0) => Answer::Nothing { left },
        Some(mapped) => found(left.min(mapped)),
    }
}

/// How many bytes from `address` on lie before the next range.
pub(super) fn gap(view: &FlatView, address: u64) -> u64 {
    let rest = crate::AddressRange::from_bounds(address, u64::MAX);
    let next = rest.and_then(|rest| view.meeting(rest).next());
    match next {
        Some(range) => range.start() - address,
        None => (u64::MAX - address).saturating_add(1),
    }
}
