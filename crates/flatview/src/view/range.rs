//! Ranges: one region's answer to a run of addresses.

use std::fmt;

use bitflags::bitflags;

use crate::address::{AddressRange, Size};
use crate::dirty::DirtyClients;
use crate::region::Region;
use crate::tree::Attributes;

bitflags! {
    /// What a range inherits from the regions on the way to it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) struct RangeFlags: u8 {
        const READONLY = 1;
        const NONVOLATILE = 2;
        const UNMERGEABLE = 4;
        const ROMD = 8;
    }
}

impl RangeFlags {
    /// Rules C16 to C18.
    pub(crate) fn inherited_from(attributes: &Attributes) -> RangeFlags {
        let mut flags = RangeFlags::empty();
        flags.set(RangeFlags::READONLY, attributes.readonly);
        flags.set(RangeFlags::NONVOLATILE, attributes.nonvolatile);
        flags.set(RangeFlags::UNMERGEABLE, attributes.unmergeable);
        flags
    }
}

/// A range of addresses at which one region answers.
///
/// Two are equal if they show the same bytes in the same way: same addresses, region, offset and attributes.
/// Who logs dirty pages does not count (rule C37).
#[derive(Clone)]
pub struct FlatRange {
    start: u64,
    last: u64,
    offset: u64,
    region: Region,
    flags: RangeFlags,
    dirty_log_mask: DirtyClients,
}

impl FlatRange {
    pub(crate) fn new(
        start: u64,
        last: u64,
        offset: u64,
        flags: RangeFlags,
        dirty_log_mask: DirtyClients,
        region: Region,
    ) -> FlatRange {
        FlatRange {
            start,
            last,
            offset,
            region,
            flags,
            dirty_log_mask,
        }
    }

    /// The addresses.
    pub fn range(&self) -> AddressRange {
        AddressRange::from_bounds(self.start, self.last).unwrap_or(AddressRange::ALL)
    }

    /// The first address.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The last address, inclusive.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The number of bytes.
    pub fn size(&self) -> Size {
        self.range().size()
    }

    /// Who answers: never a container or an alias (rule C13).
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Which byte of the region lies at the first address (rule C12).
    pub fn offset_in_region(&self) -> u64 {
        self.offset
    }

    /// Whether a region on the way here, or the region itself, is readonly (rule C16).
    pub fn is_readonly(&self) -> bool {
        self.flags.contains(RangeFlags::READONLY)
    }

    /// Whether a region on the way here, or the region itself, is nonvolatile (rule C17).
    pub fn is_nonvolatile(&self) -> bool {
        self.flags.contains(RangeFlags::NONVOLATILE)
    }

    /// Whether a region on the way here, or the region itself, is unmergeable (rule C18).
    pub fn is_unmergeable(&self) -> bool {
        self.flags.contains(RangeFlags::UNMERGEABLE)
    }

    /// Whether a ROM device is read directly; true for every other kind (rule C19).
    pub fn is_romd(&self) -> bool {
        self.flags.contains(RangeFlags::ROMD)
    }

    /// Who logs writes here (rule C20).
    pub fn dirty_log_mask(&self) -> DirtyClients {
        self.dirty_log_mask
    }

    /// The same range with another dirty log mask.
    pub(crate) fn logged_by(self, dirty_log_mask: DirtyClients) -> FlatRange {
        FlatRange {
            dirty_log_mask,
            ..self
        }
    }

    /// Which byte of the region lies at `address`, which the range contains.
    pub(crate) fn offset_at(&self, address: u64) -> u64 {
        self.offset + (address - self.start)
    }

    /// Whether `other` is the same and is logged by the same clients.
    pub(crate) fn is_identical(&self, other: &FlatRange) -> bool {
        self == other && self.dirty_log_mask == other.dirty_log_mask
    }

    /// The part of the range within `window`.
    pub(crate) fn clipped(&self, window: AddressRange) -> Option<FlatRange> {
        let part = self.range().intersection(window)?;
        Some(FlatRange {
            start: part.start(),
            last: part.last(),
            offset: self.offset_at(part.start()),
            ..self.clone()
        })
    }

    /// The part of the range that shows `bytes` of its region.
    pub(crate) fn part_showing(&self, bytes: AddressRange) -> Option<FlatRange> {
        let shown = AddressRange::new(self.offset, self.size())?.intersection(bytes)?;
        let start = self.start + (shown.start() - self.offset);
        self.clipped(AddressRange::new(start, shown.size())?)
    }

    pub(crate) fn extend_to(&mut self, last: u64) {
        self.last = last;
    }

    /// Whether `next`, which begins further up, continues this range (rule C35).
    pub(crate) fn merges_with(&self, next: &FlatRange) -> bool {
        let length = self.last - self.start;
        self.range().abuts(next.range())
            && self.region == next.region
            // Neither side wraps: a region's byte 2^64 does not exist.
            && self.offset.checked_add(length).and_then(|last| last.checked_add(1)) == Some(next.offset)
            && self.dirty_log_mask == next.dirty_log_mask
            && self.flags == next.flags
            && !self.flags.contains(RangeFlags::UNMERGEABLE)
    }
}

impl PartialEq for FlatRange {
    fn eq(&self, other: &FlatRange) -> bool {
        self.start == other.start
            && self.last == other.last
            && self.offset == other.offset
            && self.flags == other.flags
            && self.region == other.region
    }
}

impl Eq for FlatRange {}

impl fmt::Debug for FlatRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}@{:#x}", self.range(), self.region.name(), self.offset)?;
        for (name, _) in (self.flags - RangeFlags::ROMD).iter_names() {
            write!(f, " {}", name.to_lowercase())?;
        }
        if !self.is_romd() {
            f.write_str(" romd off")?;
        }
        if !self.dirty_log_mask.is_empty() {
            write!(f, " log {:?}", self.dirty_log_mask)?;
        }
        Ok(())
    }
}
