use super::*;
use crate::dirty::DirtyClients;
use crate::memory::Memory;
use crate::region::Region;
use crate::test_random::Random;
use crate::view::RangeFlags;

fn regions() -> Vec<Region> {
    let memory = Memory::new();
    (0..4)
        .map(|_| memory.region("r").reservation(0x10_0000))
        .collect()
}

fn range(region: &Region, start: u64, last: u64, offset: u64) -> FlatRange {
    FlatRange::new(
        start,
        last,
        offset,
        RangeFlags::ROMD,
        DirtyClients::empty(),
        region.clone(),
    )
}

/// What a splice means, byte by byte: who answers where, then runs of consecutive bytes.
#[derive(Clone)]
struct Bytes(Vec<Option<(Region, u64)>>);

impl Bytes {
    fn splice(&mut self, window: AddressRange, rendered: &[FlatRange]) {
        for address in window.start()..=window.last() {
            let range = rendered.iter().find(|range| range.range().contains(address));
            let byte = range.map(|range| (range.region().clone(), range.offset_at(address)));
            self.0[usize::try_from(address).unwrap()] = byte;
        }
    }

    fn ranges(&self) -> Vec<FlatRange> {
        let mut ranges: Vec<FlatRange> = Vec::new();
        for (address, byte) in (0..).zip(&self.0) {
            let Some((region, offset)) = byte else { continue };
            let one = range(region, address, address, *offset);
            match ranges.last_mut() {
                Some(before) if before.merges_with(&one) => before.extend_to(address),
                _ => ranges.push(one),
            }
        }
        ranges
    }
}

fn assert_well_formed(chunks: &Chunks) {
    assert_eq!(chunks.starts.len(), chunks.groups.len());
    for (start, group) in chunks.starts.iter().zip(&chunks.groups) {
        assert_eq!(*start, group.starts.first());
        assert!((1..=GROUP).contains(&group.chunks.len()));
        for (start, chunk) in group.starts.blocks.as_flattened().iter().zip(&group.chunks) {
            assert_eq!(*start, chunk.starts.first());
            assert!((1..=CHUNK).contains(&chunk.ranges.len()));
            for (start, range) in chunk.starts.blocks.as_flattened().iter().zip(&chunk.ranges) {
                assert_eq!(*start, range.start());
            }
        }
    }
}

#[test]
fn splicing_equals_replacing_bytes() {
    const SPACE: u64 = 6000;
    let regions = regions();
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let mut bytes = Bytes(vec![None; usize::try_from(SPACE).unwrap()]);
        let mut chunks = Chunks::default();
        for step in 0..150 {
            // Wide windows with many small ranges build chunks and groups; narrow ones change them.
            let width = if random.chance(10) {
                3000
            } else {
                1 + random.below(40)
            };
            let start = random.below(SPACE - width);
            let window = AddressRange::new(start, width).unwrap();
            let mut rendered = Vec::new();
            let mut next = start + random.below(4);
            while next <= window.last() {
                let last = (next + random.below(3)).min(window.last());
                let region = random.pick(&regions);
                // The offset is the address, so that neighbours of one region merge.
                rendered.push(range(region, next, last, next));
                next = last + 1 + random.below(2);
            }
            let merged = Bytes::ranges(&{
                let mut alone = Bytes(vec![None; usize::try_from(SPACE).unwrap()]);
                alone.splice(window, &rendered);
                alone
            });
            let before = bytes.ranges();
            bytes.splice(window, &rendered);
            let expected = bytes.ranges();
            let spliced = chunks.splice(window, merged);
            let found: Vec<_> = chunks.iter().cloned().collect();
            assert_eq!(found, expected, "seed {seed} step {step} window {window}");
            assert_eq!(spliced.is_some(), before != expected, "seed {seed} step {step}");
            assert_eq!(chunks.len(), expected.len());
            assert_well_formed(&chunks);
            for _ in 0..20 {
                let address = random.below(SPACE);
                let slow = expected.iter().find(|range| range.range().contains(address));
                assert_eq!(chunks.find(address), slow);
                let from: Vec<_> = chunks.from(address).take(3).collect();
                let slow: Vec<_> = expected
                    .iter()
                    .filter(|range| range.last() >= address)
                    .take(3)
                    .collect();
                assert_eq!(from, slow);
            }
        }
    }
}

#[test]
fn a_splice_leaves_the_sequence_it_came_from_alone() {
    let regions = regions();
    let ranges: Vec<_> = (0..5000).map(|n| range(&regions[0], n * 2, n * 2, 0)).collect();
    let old = Chunks::new(ranges.clone());
    let mut new = old.clone();
    let window = AddressRange::new(4001, 1).unwrap();
    assert_eq!(
        new.splice(window, vec![range(&regions[1], 4001, 4001, 0)]),
        Some(3)
    );
    assert!(old.iter().eq(ranges.iter()));
    assert_eq!(new.len(), 5001);
    let shared = new
        .groups
        .iter()
        .filter(|group| old.groups.iter().any(|old| Arc::ptr_eq(old, group)));
    assert!(
        shared.count() + 2 >= old.groups.len(),
        "only the groups on the way are copied"
    );
}

#[test]
fn the_last_byte_of_the_space_is_found() {
    let regions = regions();
    let chunks = Chunks::new(vec![range(&regions[0], u64::MAX - 1, u64::MAX, 0)]);
    assert!(chunks.find(u64::MAX).is_some());
    assert!(chunks.find(u64::MAX - 2).is_none());
    assert_eq!(chunks.from(u64::MAX).count(), 1);
    let full: Vec<_> = (0..64).map(|n| range(&regions[0], n * 2, n * 2, 0)).collect();
    assert_eq!(Chunks::new(full).find(u64::MAX), None);
}

#[test]
fn ranges_in_shared_chunks_stay_where_they_are() {
    let regions = regions();
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let old = Chunks::new(
            (0..3000)
                .map(|n| range(&regions[0], n * 4, n * 4 + 1, 0))
                .collect(),
        );
        let mut new = old.clone();
        for _ in 0..random.below(3) {
            let start = random.below(11_000);
            let window = AddressRange::new(start, 1 + random.below(300)).unwrap();
            let rendered = match random.chance(2) {
                true => Vec::new(),
                false => vec![range(&regions[1], window.start(), window.last(), 0)],
            };
            new.splice(window, rendered);
        }
        let replaced = new.replaced_since(&old);
        let kept: Vec<*const FlatRange> = new.iter().map(std::ptr::from_ref).collect();
        for range in old
            .iter()
            .filter(|range| !replaced.is_some_and(|r| r.contains(range.start())))
        {
            assert!(
                kept.contains(&std::ptr::from_ref(range)),
                "seed {seed}: {range:?}, replaced {replaced:?}"
            );
        }
        assert_eq!(
            replaced.is_none(),
            old.groups.iter().zip(&new.groups).all(|(a, b)| Arc::ptr_eq(a, b))
        );
    }
}
