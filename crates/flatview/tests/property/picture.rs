//! What an address space must show: one look-up at a time, then merged by the rule.

use std::collections::{BTreeMap, BTreeSet};

use flatview::{DirtyClients, FlatRange, FlatView};

use crate::model::{EventFd, Hit, Id, Machine, Survey};

/// A range of a view, as the oracle expects it or as the library shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) last: u64,
    pub(crate) region: Id,
    pub(crate) offset: u64,
    pub(crate) readonly: bool,
    pub(crate) nonvolatile: bool,
    pub(crate) unmergeable: bool,
    pub(crate) romd: bool,
    pub(crate) log: u8,
}

impl Range {
    /// What counts when ranges are told apart: everything but who logs (rule C37).
    pub(crate) fn shows_the_same_as(&self, other: &Range) -> bool {
        let key = |range: &Range| Range { log: 0, ..*range };
        key(self) == key(other)
    }

    /// Rule C35.
    fn merges_with(&self, next: &Range) -> bool {
        let length = u128::from(self.last - self.start) + 1;
        u128::from(self.start) + length == u128::from(next.start)
            && self.region == next.region
            && u128::from(self.offset) + length == u128::from(next.offset)
            && (self.readonly, self.nonvolatile, self.romd, self.log)
                == (next.readonly, next.nonvolatile, next.romd, next.log)
            && !self.unmergeable
            && !next.unmergeable
    }
}

impl From<&FlatRange> for Range {
    fn from(range: &FlatRange) -> Range {
        Range {
            start: range.start(),
            last: range.last(),
            region: id_of(range.region().name()),
            offset: range.offset_in_region(),
            readonly: range.is_readonly(),
            nonvolatile: range.is_nonvolatile(),
            unmergeable: range.is_unmergeable(),
            romd: range.is_romd(),
            log: log_bits(range.dirty_log_mask()),
        }
    }
}

pub(crate) fn id_of(name: &str) -> Id {
    name[1..].parse().expect("regions are named r and a number")
}

pub(crate) fn log_bits(mask: DirtyClients) -> u8 {
    mask.bits()
}

pub(crate) fn ranges_of(view: &FlatView) -> Vec<Range> {
    view.iter().map(Range::from).collect()
}

/// A coalesced part of a range: the range's first address, then the part's first and last.
pub(crate) type Coalesced = (u64, u64, u64);

/// Everything that readers and listeners of a space can see of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Picture {
    /// The region the view is rendered from (rule C30).
    pub(crate) root: Option<Id>,
    pub(crate) ranges: Vec<Range>,
    /// With addresses of the space (rule I7); one that two ranges show counts once.
    pub(crate) eventfds: BTreeSet<EventFd>,
    /// In the order the region has them (rule J6); a part counts once.
    pub(crate) coalesced: BTreeMap<u64, Vec<(u64, u64)>>,
}

/// What rendering a root comes to.
pub(crate) enum Rendering {
    Shows(Picture),
    /// Must be refused.
    Endless,
    /// May be refused or not; tests stay away.
    Unclear,
}

impl Machine {
    /// What a space rooted at `root` shows. Below `every_byte` no byte is left out; beyond it, the first and
    /// the last byte between two edges speak for the others.
    pub(crate) fn render(&self, root: Id, lossy: bool, every_byte: u64) -> Rendering {
        let physical = self.physical_root(root, lossy);
        // Without C32 and C33 the choice of another root must be invisible, so it is not made here.
        let from = if lossy { physical } else { Some(root) };
        let Some(from) = from else {
            return Rendering::Shows(Picture::default());
        };
        match self.survey(from) {
            Survey::TooDeep => Rendering::Endless,
            Survey::TooMuch => Rendering::Unclear,
            Survey::Edges(edges) => {
                let ranges = self.flatten(from, &edges, every_byte);
                Rendering::Shows(self.complete(physical, ranges))
            }
        }
    }

    fn flatten(&self, root: Id, edges: &BTreeSet<u64>, every_byte: u64) -> Vec<Range> {
        let mut pieces: Vec<(Hit, Range)> = Vec::new();
        let mut edges = edges.iter().copied().peekable();
        while let Some(start) = edges.next() {
            let last = edges.peek().map_or(u64::MAX, |&next| next - 1);
            let Some(first_hit) = self.look_up(root, start) else {
                for address in (start..=last.min(every_byte)).chain([last]) {
                    assert_eq!(self.look_up(root, address), None, "the oracle missed an edge");
                }
                continue;
            };
            for address in (start..=last.min(every_byte)).chain([last]) {
                let hit = self.look_up(root, address);
                let expected = Hit {
                    offset: first_hit.offset + (address - start),
                    ..first_hit.clone()
                };
                assert_eq!(hit, Some(expected), "the oracle missed an edge at {address:#x}");
            }
            match pieces.last_mut() {
                Some((hit, range)) if range.last.wrapping_add(1) == start && hit.path == first_hit.path => {
                    range.last = last;
                }
                _ => {
                    let range = self.range(&first_hit, start, last);
                    pieces.push((first_hit, range));
                }
            }
        }
        let mut ranges: Vec<Range> = Vec::new();
        for (_, next) in pieces {
            match ranges.last_mut() {
                Some(range) if range.merges_with(&next) => range.last = next.last,
                _ => ranges.push(next),
            }
        }
        ranges
    }

    fn range(&self, hit: &Hit, start: u64, last: u64) -> Range {
        Range {
            start,
            last,
            region: hit.region,
            offset: hit.offset,
            readonly: hit.inherited.readonly,
            nonvolatile: hit.inherited.nonvolatile,
            unmergeable: hit.inherited.unmergeable,
            // C19.
            romd: self[hit.region].romd,
            log: self.dirty_log_mask(hit.region),
        }
    }

    fn complete(&self, root: Option<Id>, ranges: Vec<Range>) -> Picture {
        let mut eventfds = BTreeSet::new();
        let mut coalesced: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
        for range in &ranges {
            let shift = i128::from(range.start) - i128::from(range.offset);
            let (first, last) = (i128::from(range.start), i128::from(range.last));
            let region = &self[range.region];
            for eventfd in &region.eventfds {
                // I7: whole, if any byte of it is shown; but its first byte must have an address at all.
                let start = i128::from(eventfd.address) + shift;
                let end = start + i128::from(eventfd.size.max(1));
                if start <= last
                    && end > first
                    && let Ok(address) = u64::try_from(start)
                {
                    eventfds.insert(EventFd { address, ..*eventfd });
                }
            }
            for &(part_first, part_last) in &region.coalesced {
                let start = (i128::from(part_first) + shift).max(first);
                let end = (i128::from(part_last) + shift).min(last);
                if start <= end {
                    let bound = |value| u64::try_from(value).expect("clipped to the range");
                    let part = (bound(start), bound(end));
                    let parts = coalesced.entry(range.start).or_default();
                    if !parts.contains(&part) {
                        parts.push(part);
                    }
                }
            }
        }
        Picture {
            root,
            ranges,
            eventfds,
            coalesced,
        }
    }
}

impl Picture {
    pub(crate) fn coalesced_of(&self, range: &Range) -> &[(u64, u64)] {
        self.coalesced.get(&range.start).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn coalesced_set(&self) -> BTreeSet<Coalesced> {
        let of_range = |(&start, parts): (&u64, &Vec<(u64, u64)>)| {
            let parts = parts.clone();
            parts.into_iter().map(move |(first, last)| (start, first, last))
        };
        self.coalesced.iter().flat_map(of_range).collect()
    }

    pub(crate) fn find(&self, address: u64) -> Option<&Range> {
        self.ranges
            .iter()
            .find(|range| range.start <= address && address <= range.last)
    }
}
