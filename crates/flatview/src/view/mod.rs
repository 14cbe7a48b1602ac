//! Flat views: what an address space shows, rendered and immutable.

mod chunks;
mod range;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::address::AddressRange;
use crate::ioeventfd::IoEventFd;
use crate::region::Region;

use chunks::Chunks;
pub use chunks::Ranges;
pub use range::FlatRange;
pub(crate) use range::RangeFlags;

/// What a view shows besides the range itself, for the few ranges that have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RangeExtras {
    /// Addresses in the space, sorted.
    pub(crate) ioeventfds: Vec<IoEventFd>,
    /// Addresses in the space, clipped to the range, in the order the region has them.
    pub(crate) coalesced: Vec<AddressRange>,
}

/// By first address of the range.
pub(crate) type ViewExtras = BTreeMap<u64, RangeExtras>;

/// An immutable picture of what answers where: sorted, disjoint ranges; what lies in none is unassigned
/// (rule C27).
#[derive(Clone)]
pub struct FlatView {
    root: Option<Region>,
    ranges: Chunks,
    extras: Arc<ViewExtras>,
}

impl FlatView {
    pub(crate) fn empty() -> FlatView {
        FlatView {
            root: None,
            ranges: Chunks::default(),
            extras: Arc::default(),
        }
    }

    pub(crate) fn new(root: Option<Region>, ranges: Vec<FlatRange>, extras: ViewExtras) -> FlatView {
        FlatView {
            root,
            ranges: Chunks::new(ranges),
            extras: Arc::new(extras),
        }
    }

    /// The region it was rendered from (rule C30); `None` for the empty view of spaces that see nothing.
    pub fn root(&self) -> Option<&Region> {
        self.root.as_ref()
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> Ranges<'_> {
        self.ranges.iter()
    }

    /// The ranges that share a byte with `window`, ascending, whole.
    pub fn meeting(&self, window: AddressRange) -> impl Iterator<Item = &FlatRange> + Clone {
        self.ranges
            .from(window.start())
            .take_while(move |range| range.start() <= window.last())
    }

    /// The number of ranges.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether nothing answers anywhere.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The range that contains `address`.
    #[inline]
    pub fn find(&self, address: u64) -> Option<&FlatRange> {
        self.ranges.find(address)
    }

    /// Where the ranges of `old` begin that lie in chunks that this view does not share.
    pub(crate) fn replaced_chunks(&self, old: &FlatView) -> Option<AddressRange> {
        self.ranges.replaced_since(&old.ranges)
    }

    /// `window`, made wider so that no range is rendered in two halves that would not merge again.
    ///
    /// Whether two neighbouring bytes of an unmergeable region are one range depends on the way to them, and
    /// where neither is damaged that is as it was.
    pub(crate) fn without_cutting(&self, window: AddressRange) -> AddressRange {
        let near = self.meeting(window.widened());
        near.filter(|range| range.is_unmergeable())
            .fold(window, |wider, range| wider.hull(range.range()))
    }

    /// Lets `rendered` be what is seen within `window`. Tells how many ranges were put in; `None` if nothing
    /// is different.
    pub(crate) fn splice(&mut self, window: AddressRange, rendered: Vec<FlatRange>) -> Option<usize> {
        self.ranges.splice(window, rendered)
    }

    /// Lets `shown` be what the ranges that touch or abut `window` show besides themselves. Tells whether that
    /// is different.
    pub(crate) fn set_extras(&mut self, window: AddressRange, shown: ViewExtras) -> bool {
        let near = window.widened();
        let first = self
            .meeting(near)
            .next()
            .map_or(near.start(), |range| range.start().min(near.start()));
        let stale = self.extras.range(first..=near.last());
        if stale.clone().eq(shown.iter()) {
            return false;
        }
        let stale: Vec<u64> = stale.map(|(&start, _)| start).collect();
        let extras = Arc::make_mut(&mut self.extras);
        for start in stale {
            extras.remove(&start);
        }
        extras.extend(shown);
        true
    }

    /// Whether neither a reader nor a listener could tell the views apart.
    pub(crate) fn shows_the_same_as(&self, other: &FlatView) -> bool {
        let mut pairs = self.iter().zip(other.iter());
        self.len() == other.len() && pairs.all(|(a, b)| a.is_identical(b)) && self.extras == other.extras
    }

    pub(crate) fn extras(&self) -> &ViewExtras {
        &self.extras
    }
}

impl<'a> IntoIterator for &'a FlatView {
    type Item = &'a FlatRange;
    type IntoIter = Ranges<'a>;

    fn into_iter(self) -> Ranges<'a> {
        self.iter()
    }
}

impl fmt::Debug for FlatView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
