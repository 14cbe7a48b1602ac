//! Trees that are meant to take for ever.

use std::time::{Duration, Instant};

use flatview::{Error, Region, Size};

use crate::support::Board;
use crate::{explain, rival};

/// Sixty-four levels of two aliases each, no two at the same place, under a region that is disabled: 2^64 ways
/// that nobody renders.
fn hostile(board: &Board) -> Region {
    let mut level = board.container("bottom", Size::MAX);
    for shift in 0..64 {
        let above = board.container("level", Size::MAX);
        board.map(&above, 0, &board.alias("one", &level, 0, Size::MAX));
        let other = board.alias("other", &level, 1 << (63 - shift) >> 16, Size::MAX);
        board.map(&above, 0, &other);
        level = above;
    }
    level
}

#[track_caller]
fn soon<T>(what: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = what();
    // It takes a small part of a second; this bound is for machines under load.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    result
}

#[test]
fn hostile_trees_that_nobody_renders_are_given_up() {
    let board = Board::new();
    let ram = board.ram("ram", 0x1000);
    let hostile = hostile(&board);
    board.update(|tx| {
        tx.set_enabled(&hostile, false)?;
        tx.add_subregion_overlap(&board.system, 0, &hostile, 1)?;
        tx.add_subregion(&board.system, 0, &ram)
    });
    let explanation = soon(|| explain(&board.space, 0x10));
    assert_eq!(explanation.region(), Some(&ram));
    assert!(!explanation.complete);
    let text = explanation.to_string();
    assert!(text.contains("\nand maybe others: "), "{text}");
    // Cut off instead of disabled.
    board.update(|tx| {
        tx.set_size(&hostile, 0)?;
        tx.set_enabled(&hostile, true)
    });
    let explanation = soon(|| explain(&board.space, 0x10));
    assert_eq!(explanation.region(), Some(&ram));
    // If it is rendered, that fails, and what is published stays explained.
    let refused = board.memory.update(|tx| tx.set_size(&hostile, Size::MAX));
    assert!(
        matches!(refused, Err(Error::RenderingTooLarge { .. })),
        "{refused:?}"
    );
    assert_eq!(explain(&board.space, 0x10).region(), Some(&ram));
}

/// A14, B15: regions that see themselves, disabled or cut off.
#[test]
fn regions_that_see_themselves_are_given_up() {
    let board = Board::new();
    for step in [0, 0x1000] {
        let turns = board.container("turns", 0x10_0000);
        let again = board.alias("again", &turns, step, 0x10_0000u64);
        let back = board.alias("back", &turns, 0, 0x10_0000u64);
        board.update(|tx| {
            tx.set_enabled(&turns, false)?;
            tx.add_subregion(&turns, 0, &again)?;
            tx.add_subregion(&turns, step, &back)?;
            tx.add_subregion(&board.system, 0, &turns)
        });
        let explanation = soon(|| explain(&board.space, 0x2000));
        assert_eq!(explanation.region(), None);
        board.update(|tx| {
            tx.set_size(&turns, 0)?;
            tx.set_enabled(&turns, true)
        });
        let explanation = soon(|| explain(&board.space, 0x2000));
        assert!(explanation.complete, "{explanation}");
    }
}

/// Deeper than a rendering goes nobody would answer; up to there somebody does.
#[test]
fn too_deep_trees() {
    let board = Board::new();
    let mut top = board.io("bottom", 0x1000);
    for _ in 0..250 {
        let container = board.container("deep", 0x1000);
        board.map(&container, 0, &top);
        top = container;
    }
    board.map(&board.system, 0, &top);
    board.map(&board.system, 0x1000, &board.io("beside", 0x1000));
    let explanation = explain(&board.space, 0);
    assert_eq!(
        (explanation.way.len(), explanation.region().map(Region::name)),
        (252, Some("bottom"))
    );
    assert!(explanation.to_string().lines().count() > 252);
    board.update(|tx| tx.set_enabled(&top, false));
    let explanation = explain(&board.space, 0);
    assert_eq!(rival(&explanation).way.len(), 251);
    for _ in 0..250 {
        let container = board.container("deeper", 0x1000);
        board.update(|tx| {
            if container_of(&top).is_some() {
                tx.del_subregion(&board.system, &top)?;
            }
            tx.add_subregion(&container, 0, &top)
        });
        top = container;
    }
    board.update(|tx| {
        tx.set_enabled(&top, false)?;
        tx.add_subregion(&board.system, 0, &top)
    });
    let explanation = explain(&board.space, 0);
    assert_eq!(explanation.overruled, []);
}

fn container_of(region: &Region) -> Option<Region> {
    region.state().expect("the memory is there").container
}
