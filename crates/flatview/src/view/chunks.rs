//! The persistent sequence of ranges behind a view.
//!
//! Ranges lie in chunks, chunks in groups, groups in the sequence. A change copies the chunks it touches, the
//! groups above them and the list of groups; everything else is shared with the sequence it came from. First
//! addresses stand in arrays of their own, so that a look-up reads two cache lines of a group, two of a chunk,
//! and the range.

use std::sync::Arc;

use super::FlatRange;
use crate::address::AddressRange;

/// The most ranges in a chunk. A copied chunk costs a reference count for each, a look-up one step for each
/// power of two.
const CHUNK: usize = 32;
/// The most chunks in a group.
const GROUP: usize = 32;

/// First addresses, ascending, filled up with `u64::MAX`; searched without branches, eight at a time.
#[derive(Debug)]
struct Starts<const BLOCKS: usize> {
    /// The first of each block.
    pivots: [u64; BLOCKS],
    blocks: [[u64; BLOCK]; BLOCKS],
}

const BLOCK: usize = 8;

impl<const BLOCKS: usize> Starts<BLOCKS> {
    fn new(starts: impl Iterator<Item = u64>) -> Self {
        let mut blocks = [[u64::MAX; BLOCK]; BLOCKS];
        for (place, start) in blocks.as_flattened_mut().iter_mut().zip(starts) {
            *place = start;
        }
        Starts {
            pivots: blocks.map(|block| block[0]),
            blocks,
        }
    }

    fn first(&self) -> u64 {
        self.pivots[0]
    }

    /// The last of the first `len` that is not above `address`; the very first is not.
    #[inline]
    fn last_not_above(&self, len: usize, address: u64) -> usize {
        let not_above = |starts: &[u64]| starts.iter().filter(|&&start| start <= address).count();
        let block = not_above(&self.pivots[1..]);
        let index = block * BLOCK + not_above(&self.blocks[block][1..]);
        // Only the very last address finds the filling.
        index.min(len - 1)
    }
}

#[derive(Debug)]
struct Chunk {
    starts: Starts<{ CHUNK / BLOCK }>,
    /// At least one.
    ranges: Box<[FlatRange]>,
}

#[derive(Debug)]
struct Group {
    starts: Starts<{ GROUP / BLOCK }>,
    /// At least one.
    chunks: Box<[Arc<Chunk>]>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Chunks {
    len: usize,
    starts: Vec<u64>,
    groups: Vec<Arc<Group>>,
}

/// The place of a range. Past the last range, `group` is the number of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    group: usize,
    chunk: usize,
    range: usize,
}

/// Cuts `items` into runs of at most `most`, as even as can be, leaving room to grow when there are several.
fn runs<T>(items: Vec<T>, most: usize) -> impl Iterator<Item = Vec<T>> {
    let count = if items.len() <= most {
        1
    } else {
        items.len().div_ceil(most * 3 / 4)
    };
    let (mut left, mut runs) = (items.len(), count);
    let mut items = items.into_iter();
    std::iter::from_fn(move || {
        let size = left.checked_div(runs).filter(|&size| size > 0)?;
        left -= size;
        runs -= 1;
        Some(items.by_ref().take(size).collect())
    })
}

impl Chunk {
    fn new(ranges: Vec<FlatRange>) -> Arc<Chunk> {
        let starts = Starts::new(ranges.iter().map(FlatRange::start));
        Arc::new(Chunk {
            starts,
            ranges: ranges.into(),
        })
    }
}

impl Group {
    fn new(chunks: Vec<Arc<Chunk>>) -> Arc<Group> {
        let starts = Starts::new(chunks.iter().map(|chunk| chunk.starts.first()));
        Arc::new(Group {
            starts,
            chunks: chunks.into(),
        })
    }
}

impl Chunks {
    /// # Panics
    ///
    /// Debug builds panic unless the ranges are sorted and disjoint.
    pub(super) fn new(ranges: Vec<FlatRange>) -> Chunks {
        debug_assert!(
            ranges.is_sorted_by(|a, b| a.last() < b.start()),
            "sorted and disjoint"
        );
        let len = ranges.len();
        let groups: Vec<_> = runs(chunked(ranges), GROUP).map(Group::new).collect();
        Chunks {
            len,
            starts: groups.iter().map(|group| group.starts.first()).collect(),
            groups,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn find(&self, address: u64) -> Option<&FlatRange> {
        let place = self.last_from(address)?;
        let range = &self.groups[place.group].chunks[place.chunk].ranges[place.range];
        (address <= range.last()).then_some(range)
    }

    /// The last range that begins at or before `address`.
    #[inline]
    fn last_from(&self, address: u64) -> Option<Place> {
        let group = match &*self.starts {
            // Most views are this small.
            [only] => usize::from(*only <= address),
            starts => starts.partition_point(|&start| start <= address),
        };
        let group = group.checked_sub(1)?;
        let Group { starts, chunks } = &*self.groups[group];
        let chunk = match chunks.len() {
            1 => 0,
            len => starts.last_not_above(len, address),
        };
        let Chunk { starts, ranges } = &*chunks[chunk];
        let range = starts.last_not_above(ranges.len(), address);
        Some(Place { group, chunk, range })
    }

    fn at(&self, place: Place) -> Option<&FlatRange> {
        Some(&self.groups.get(place.group)?.chunks[place.chunk].ranges[place.range])
    }

    /// The place after `place`, which is one of a range.
    fn after(&self, place: Place) -> Place {
        let Place { group, chunk, range } = place;
        let chunks = &self.groups[group].chunks;
        if range + 1 < chunks[chunk].ranges.len() {
            Place {
                group,
                chunk,
                range: range + 1,
            }
        } else if chunk + 1 < chunks.len() {
            Place {
                group,
                chunk: chunk + 1,
                range: 0,
            }
        } else {
            Place {
                group: group + 1,
                chunk: 0,
                range: 0,
            }
        }
    }

    /// The first range that ends at or after `address`.
    fn first_reaching(&self, address: u64) -> Place {
        match self.last_from(address) {
            None => Place {
                group: 0,
                chunk: 0,
                range: 0,
            },
            Some(place) if self.at(place).is_some_and(|range| range.last() >= address) => place,
            Some(place) => self.after(place),
        }
    }

    pub(super) fn iter(&self) -> Ranges<'_> {
        Ranges {
            chunks: self,
            place: Place {
                group: 0,
                chunk: 0,
                range: 0,
            },
            left: self.len,
        }
    }

    /// The ranges from the first that ends at or after `address` on.
    pub(super) fn from(&self, address: u64) -> impl Iterator<Item = &FlatRange> + Clone {
        let mut place = self.first_reaching(address);
        std::iter::repeat(()).map_while(move |()| {
            let range = self.at(place)?;
            place = self.after(place);
            Some(range)
        })
    }

    /// From the first to the last start of a range of `old` in a chunk that is not shared with this sequence.
    pub(super) fn replaced_since(&self, old: &Chunks) -> Option<AddressRange> {
        let (is, was) = (self.groups.iter().collect(), old.groups.iter().collect());
        let (is, was) = without_common_ends::<Group>(is, was);
        let (_, was) = without_common_ends(chunks_of(is), chunks_of(was));
        let (first, last) = (was.first()?, was.last()?);
        AddressRange::from_bounds(first.starts.first(), last.ranges.last()?.start())
    }

    /// Replaces what lies within `window` by `rendered`, which lies within it, and merges at the seams (rule
    /// C35). Tells how many ranges were put in; `None` if nothing is different.
    pub(super) fn splice(&mut self, window: AddressRange, rendered: Vec<FlatRange>) -> Option<usize> {
        let near = window.widened();
        let first = self.first_reaching(near.start());
        let mut merged: Vec<FlatRange> = Vec::with_capacity(rendered.len() + 2);
        let mut push = |range: FlatRange| match merged.last_mut() {
            Some(before) if before.merges_with(&range) => before.extend_to(range.last()),
            _ => merged.push(range),
        };
        let mut rest = None;
        let (mut next, mut last, mut replaced) = (first, None, Vec::new());
        while let Some(range) = self.at(next).filter(|range| range.start() <= near.last()) {
            let before = window
                .start()
                .checked_sub(1)
                .and_then(|end| AddressRange::from_bounds(0, end));
            let after = window
                .last()
                .checked_add(1)
                .and_then(|s| AddressRange::from_bounds(s, u64::MAX));
            if let Some(part) = before.and_then(|before| range.clipped(before)) {
                push(part);
            }
            rest = after.and_then(|after| range.clipped(after));
            replaced.push(range);
            last = Some(next);
            next = self.after(next);
        }
        rendered.into_iter().chain(rest).for_each(push);
        if replaced.len() == merged.len() && replaced.iter().zip(&merged).all(|(a, b)| a.is_identical(b)) {
            return None;
        }
        let len = self.len - replaced.len() + merged.len();
        let spliced = merged.len();
        self.replace(first, last, merged);
        self.len = len;
        Some(spliced)
    }

    /// Puts `ranges` in the place of those from `first` to `last`, or before `first` if there is no last.
    fn replace(&mut self, first: Place, last: Option<Place>, ranges: Vec<FlatRange>) {
        if self.groups.is_empty() {
            *self = Chunks::new(ranges);
            return;
        }
        // Past the end means behind the very last range.
        let behind = |place: Place| Place {
            range: place.range + 1,
            ..place
        };
        let first = if first.group < self.groups.len() {
            first
        } else {
            behind(self.last_place())
        };
        let (mut from, mut to) = (first, last.map_or(first, behind));
        let chunk_at = |place: Place| &self.groups[place.group].chunks[place.chunk].ranges;
        let mut all = Vec::with_capacity(CHUNK);
        all.extend_from_slice(&chunk_at(from)[..from.range]);
        all.extend(ranges);
        all.extend_from_slice(&chunk_at(to)[to.range..]);
        // A chunk that has become small goes together with a neighbour.
        if all.len() < CHUNK / 4 {
            if to.chunk + 1 < self.groups[to.group].chunks.len() {
                to = Place {
                    chunk: to.chunk + 1,
                    ..to
                };
                all.extend_from_slice(chunk_at(to));
            } else if from.chunk > 0 {
                from = Place {
                    chunk: from.chunk - 1,
                    ..from
                };
                all.splice(..0, chunk_at(from).iter().cloned());
            }
        }
        let mut chunks = self.groups[from.group].chunks[..from.chunk].to_vec();
        chunks.extend(chunked(all));
        chunks.extend_from_slice(&self.groups[to.group].chunks[to.chunk + 1..]);
        let (mut from, mut to) = (from.group, to.group);
        if chunks.len() < GROUP / 4 {
            if to + 1 < self.groups.len() {
                to += 1;
                chunks.extend_from_slice(&self.groups[to].chunks);
            } else if from > 0 {
                from -= 1;
                chunks.splice(..0, self.groups[from].chunks.iter().cloned());
            }
        }
        let groups: Vec<_> = runs(chunks, GROUP).map(Group::new).collect();
        self.starts
            .splice(from..=to, groups.iter().map(|group| group.starts.first()));
        self.groups.splice(from..=to, groups);
    }

    fn last_place(&self) -> Place {
        let group = self.groups.len() - 1;
        let chunk = self.groups[group].chunks.len() - 1;
        Place {
            group,
            chunk,
            range: self.groups[group].chunks[chunk].ranges.len() - 1,
        }
    }
}

fn chunks_of(groups: Vec<&Arc<Group>>) -> Vec<&Arc<Chunk>> {
    groups.into_iter().flat_map(|group| group.chunks.iter()).collect()
}

/// What is left of two lists without the parts that they share at the beginning and at the end.
fn without_common_ends<'a, T>(
    mut a: Vec<&'a Arc<T>>,
    mut b: Vec<&'a Arc<T>>,
) -> (Vec<&'a Arc<T>>, Vec<&'a Arc<T>>) {
    while a.last().zip(b.last()).is_some_and(|(a, b)| Arc::ptr_eq(a, b)) {
        a.pop();
        b.pop();
    }
    let common = a.iter().zip(&b).take_while(|(a, b)| Arc::ptr_eq(a, b)).count();
    a.drain(..common);
    b.drain(..common);
    (a, b)
}

fn chunked(ranges: Vec<FlatRange>) -> Vec<Arc<Chunk>> {
    runs(ranges, CHUNK).map(Chunk::new).collect()
}

/// The ranges of a [`FlatView`](super::FlatView), ascending.
#[derive(Clone, Debug)]
pub struct Ranges<'a> {
    chunks: &'a Chunks,
    place: Place,
    left: usize,
}

impl<'a> Iterator for Ranges<'a> {
    type Item = &'a FlatRange;

    fn next(&mut self) -> Option<&'a FlatRange> {
        self.left = self.left.checked_sub(1)?;
        let range = self.chunks.at(self.place)?;
        self.place = self.chunks.after(self.place);
        Some(range)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Ranges<'_> {}

#[cfg(test)]
#[path = "chunks_test.rs"]
mod tests;
