use proptest::prelude::*;

use super::*;

fn range(start: u64, last: u64) -> AddressRange {
    AddressRange::from_bounds(start, last).unwrap()
}

fn scale(ranges: &[AddressRange], room: u64, width: u64) -> Scale {
    let edges = Edges::of([AddressRange::ALL].into_iter().chain(ranges.iter().copied()));
    let wanted: Vec<Want> = ranges
        .iter()
        .map(|&range| Want {
            cells: edges.cells(range),
            room,
            fills: true,
        })
        .collect();
    Scale::new(edges, &wanted, width)
}

#[test]
fn a_port_and_a_dimm_are_both_readable() {
    let port = range(0x64, 0x64);
    let dimm = range(0x1_0000_0000, 0x10_ffff_ffff);
    let scale = scale(&[port, dimm], 60, 0);
    let [port, dimm] = [port, dimm].map(|range| scale.place(range));
    assert!(port.end - port.start >= 60);
    assert!((80..300).contains(&(dimm.end - dimm.start)), "{dimm:?}");
}

#[test]
fn long_holes_are_cut_and_short_ones_are_not() {
    let scale = scale(&[range(0, 7), range(16, 31), range(1 << 40, (1 << 40) + 1)], 0, 0);
    let holes: Vec<_> = scale
        .holes()
        .map(|(range, _, cut)| (range.to_string(), cut))
        .collect();
    assert_eq!(
        holes,
        [
            ("0x8-0xf".to_owned(), false),
            ("0x20-0xffffffffff".to_owned(), true),
            ("0x10000000002-0xffffffffffffffff".to_owned(), true),
        ]
    );
}

#[test]
fn logarithms_grow_with_the_number() {
    assert_eq!(log2(1), 0);
    assert_eq!(log2(3), 24);
    assert_eq!(log2(1 << 64), 1024);
    assert!((1..10_000).all(|n| log2(n) <= log2(n + 1)));
}

#[test]
fn nothing_has_no_width() {
    let scale = Scale::new(Edges::of([].into_iter()), &[], 1000);
    assert_eq!(scale.width(), 0);
    assert_eq!(scale.place(AddressRange::ALL), 0..0);
}

proptest! {
    #[test]
    fn addresses_stay_in_order_and_every_cell_is_seen(
        bounds in prop::collection::vec((any::<u64>(), any::<u64>(), 0..64_u32), 0..40),
        room in 0..100_u64,
        width in 0..5000_u64,
    ) {
        let ranges: Vec<_> = bounds
            .iter()
            .map(|&(one, other, shift)| range((one >> shift).min(other), (one >> shift).max(other)))
            .collect();
        let line = scale(&ranges, room, width);
        let ticks: Vec<_> = line.ticks().collect();
        prop_assert_eq!(ticks.first(), Some(&(0, 0)));
        prop_assert_eq!(ticks.last().map(|tick| tick.0), Some(1 << 64));
        for pair in ticks.windows(2) {
            prop_assert!(pair[0].0 < pair[1].0);
            prop_assert!(pair[1].1 - pair[0].1 >= LEAST, "{:?}", pair);
        }
        let least = scale(&ranges, room, 0).width();
        prop_assert!(line.width() <= width.max(least));
        if !ranges.is_empty() {
            let rounding = 2 * ticks.len() as u64;
            prop_assert!(line.width() + rounding >= width.max(least), "{} of {}", line.width(), width);
        }
        for range in ranges {
            let place = line.place(range);
            prop_assert!(ticks.contains(&(range.start().into(), place.start)));
            prop_assert!(ticks.contains(&(u128::from(range.last()) + 1, place.end)));
        }
    }
}
