use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn the_ground_is_what_cells_one_by_one_would_be(
        raises in prop::collection::vec((0..20_usize, 0..20_usize), 0..60),
    ) {
        let mut ground = Ground::new(20);
        let mut cells = [0_u64; 20];
        for (at, (one, other)) in raises.into_iter().enumerate() {
            let range = one.min(other)..one.max(other);
            let expected = cells[range.clone()].iter().copied().max().unwrap_or(0);
            prop_assert_eq!(ground.highest(range.clone()), expected);
            let to = expected + 1 + at as u64 % 3;
            ground.raise(range.clone(), to);
            cells[range].fill(to);
        }
    }
}
