use proptest::prelude::*;

use super::*;

/// Rule Q5 as it is written: every end is a candidate, the smallest room that is enough wins, then list order.
fn by_the_rule(blocks: &[(Place, u64, u64)], size: u64) -> Option<u64> {
    if size == 0 {
        return None;
    }
    if blocks.is_empty() {
        return Some(0);
    }
    let mut blocks = blocks.to_vec();
    blocks.sort_unstable();
    let mut best: Option<(u64, u64)> = None;
    for &(_, start, length) in &blocks {
        let Some(end) = (start + length).checked_next_multiple_of(STEP) else {
            continue;
        };
        let starts = blocks.iter().map(|&(_, start, _)| start);
        let next = starts.filter(|&start| start >= end).min().unwrap_or(u64::MAX);
        if next - end >= size && best.is_none_or(|(room, _)| next - end < room) {
            best = Some((next - end, end));
        }
    }
    best.map(|(_, end)| end)
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64),
    Remove(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let pages = prop_oneof![4 => 1_u64..400, 1 => Just(64), 1 => Just(128)];
    prop_oneof![
        3 => pages.prop_map(|pages| Step::Insert(pages * PAGE_SIZE)),
        2 => any::<usize>().prop_map(Step::Remove),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn q5_blocks_are_where_the_rule_says_and_never_overlap(steps in prop::collection::vec(step(), 1..80)) {
        let mut addresses = RamAddresses::default();
        let mut blocks: Vec<(Place, u64, u64)> = Vec::new();
        for (number, step) in (0..).zip(steps) {
            match step {
                Step::Insert(size) => {
                    let place = (Reverse(size), number);
                    let expected = by_the_rule(&blocks, size);
                    let start = addresses.insert(place, size);
                    prop_assert_eq!(start, expected);
                    let start = start.expect("there is room");
                    prop_assert!(start.is_multiple_of(STEP));
                    for &(_, other, length) in &blocks {
                        prop_assert!(start + size <= other || other + length <= start);
                    }
                    blocks.push((place, start, size));
                }
                Step::Remove(which) if !blocks.is_empty() => {
                    let (_, start, _) = blocks.swap_remove(which % blocks.len());
                    addresses.remove(start);
                    prop_assert_eq!(addresses.find(start), None);
                }
                Step::Remove(_) => {}
            }
            for &(place, start, size) in &blocks {
                prop_assert_eq!(addresses.find(start), Some((place, 0)));
                prop_assert_eq!(addresses.find(start + size - 1), Some((place, size - 1)));
                prop_assert_ne!(addresses.find(start + size).map(|(place, _)| place), Some(place));
            }
        }
    }
}

#[test]
fn q5_there_may_be_no_room() {
    let mut addresses = RamAddresses::default();
    let place = |number| (Reverse(1 << 63), number);
    assert_eq!(addresses.insert(place(0), 0), None);
    assert_eq!(addresses.insert(place(1), 1 << 63), Some(0));
    assert_eq!(addresses.insert(place(2), 1 << 63), None, "one byte too many");
    assert_eq!(addresses.insert(place(3), (1 << 63) - 1), Some(1 << 63));
    assert_eq!(addresses.insert(place(4), 1), None);
    addresses.remove(0);
    assert_eq!(
        addresses.insert(place(5), 1),
        None,
        "what was first is given again when all are gone"
    );
    addresses.remove(1 << 63);
    assert_eq!(addresses.insert(place(6), u64::MAX), Some(0));
}
