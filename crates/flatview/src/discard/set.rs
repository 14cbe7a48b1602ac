//! A set of bytes, as few ranges as possible.

use std::collections::BTreeMap;

use crate::address::AddressRange;

/// Ranges that neither meet nor abut: their last bytes by their first.
#[derive(Clone, Debug, Default)]
pub(super) struct RangeSet(BTreeMap<u64, u64>);

impl RangeSet {
    /// The parts of `window` that are in the set, ascending.
    pub(super) fn runs(&self, window: AddressRange) -> impl Iterator<Item = AddressRange> {
        let before = self.0.range(..window.start()).next_back();
        let from_here = self.0.range(window.start()..=window.last());
        before
            .into_iter()
            .chain(from_here)
            .filter_map(move |(&start, &last)| AddressRange::from_bounds(start, last)?.intersection(window))
    }

    /// The parts of `window` that are not, ascending.
    pub(super) fn gaps(&self, window: AddressRange) -> Vec<AddressRange> {
        let mut gaps = Vec::new();
        let mut next = Some(window.start());
        for run in self.runs(window) {
            let before = run.start().checked_sub(1);
            gaps.extend(
                next.zip(before)
                    .and_then(|(start, last)| AddressRange::from_bounds(start, last)),
            );
            next = run.last().checked_add(1);
        }
        gaps.extend(next.and_then(|start| AddressRange::from_bounds(start, window.last())));
        gaps
    }

    pub(super) fn contains(&self, window: AddressRange) -> bool {
        self.runs(window).next() == Some(window)
    }

    pub(super) fn insert(&mut self, range: AddressRange) {
        let mut all = range;
        let joined: Vec<_> = self.runs_whole(range.widened()).collect();
        for other in joined {
            all = all.hull(other);
            self.0.remove(&other.start());
        }
        self.0.insert(all.start(), all.last());
    }

    pub(super) fn remove(&mut self, range: AddressRange) {
        let cut: Vec<_> = self.runs_whole(range).collect();
        for other in cut {
            self.0.remove(&other.start());
            if other.start() < range.start() {
                self.0.insert(other.start(), range.start() - 1);
            }
            if other.last() > range.last() {
                self.0.insert(range.last() + 1, other.last());
            }
        }
    }

    /// The ranges of the set that meet `window`.
    fn runs_whole(&self, window: AddressRange) -> impl Iterator<Item = AddressRange> {
        let before = self.0.range(..window.start()).next_back();
        let from_here = self.0.range(window.start()..=window.last());
        before
            .into_iter()
            .chain(from_here)
            .filter_map(|(&start, &last)| AddressRange::from_bounds(start, last))
            .filter(move |range| range.overlaps(window))
    }
}
