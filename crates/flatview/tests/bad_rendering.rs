//! Trees whose rendering would not end or would be too large: they are refused after a bounded time, and
//! nothing has changed. QEMU recurses without end (B15, A14).

mod support;

use flatview::{AddressSpace, Error, Region, Size};
use support::{Board, Log, Recorder, lines, shows, truth};

/// A14: aliases of aliases, up to the bound and not beyond.
#[test]
fn an_alias_chain_that_no_rendering_could_follow_is_refused() {
    let board = Board::new();
    let mut end = board.io("end", 0x1000);
    let refused = loop {
        match board.memory.region("link").alias(&end, 0, 0x1000) {
            Ok(alias) => end = alias,
            Err(error) => break error,
        }
    };
    assert_eq!(
        refused.to_string(),
        "an alias of `link` would be the end of a chain of more than 256 aliases"
    );
    let length = std::iter::successors(Some(&end), |alias| alias.alias_target()).count() - 1;
    assert_eq!(length, 255);
    // As a root of its own it can be seen.
    let space = board.look_at("space", &end);
    shows(&space, &["0-fff end@0"]);
}

/// A rendering that must be refused, in whichever way the tree comes into view.
fn is_refused_everywhere(build: impl Fn(&Board) -> Region, says: &str) {
    // In the tree of a space, where a listener would hear of it.
    let board = Board::new();
    board.map(&board.system, 0xf000_0000, &board.io("beside", 0x1000));
    let (bad, log) = (build(&board), Log::new());
    let (_l, _registration) = Recorder::new("L", 0, &log).on(&board.space);
    let regions = [board.system.clone(), bad.clone()];
    let before = truth(&board.memory, &regions);
    let error = board
        .memory
        .update(|tx| tx.add_subregion(&board.system, 0, &bad))
        .expect_err("no rendering ends");
    let error = error.to_string();
    assert!(
        error.starts_with("rendering ") && error.ends_with(says),
        "{error}"
    );
    assert_eq!(truth(&board.memory, &regions), before);
    log.heard(&[]);

    // As a root of its own.
    let error = board
        .memory
        .create_address_space("bad", &bad)
        .map(drop)
        .expect_err("no rendering ends")
        .to_string();
    assert!(
        error.starts_with("rendering ") && error.ends_with(says),
        "{error}"
    );
    assert_eq!(board.memory.address_spaces().len(), 1);

    // By being enabled where it is.
    board.update(|tx| {
        tx.set_enabled(&bad, false)?;
        tx.add_subregion(&board.system, 0, &bad)
    });
    let before = truth(&board.memory, &regions);
    assert!(board.memory.update(|tx| tx.set_enabled(&bad, true)).is_err());
    assert_eq!(truth(&board.memory, &regions), before);

    // And where nobody looks it harms nobody.
    board.update(|tx| {
        tx.del_subregion(&board.system, &bad)?;
        tx.set_enabled(&bad, true)
    });
    board.shows(&["f0000000-f0000fff beside@0"]);
}

const WITHOUT_END: &str = "more than 256 levels deep: it may see itself without end";

/// B15, A14.
#[test]
fn a_region_that_sees_itself_without_end_is_refused() {
    // In its whole length, at the same place.
    is_refused_everywhere(
        |board| {
            let loops = board.container("loops", 0x1_0000);
            board.map(&loops, 0, &board.alias("all of it", &loops, 0, 0x1_0000));
            loops
        },
        WITHOUT_END,
    );
    // Each time a page further up, in a space with room for 2^52 pages.
    is_refused_everywhere(
        |board| {
            let climbs = board.container("climbs", Size::MAX);
            board.map(&climbs, 0, &board.ram("ram", 0x1000));
            board.map(&climbs, 0x1000, &board.alias("the rest", &climbs, 0, Size::MAX));
            climbs
        },
        WITHOUT_END,
    );
    // By way of another.
    is_refused_everywhere(
        |board| {
            let (a, b) = (board.container("a", 0x1_0000), board.container("b", 0x1_0000));
            board.map(&a, 0x100, &board.alias("b seen from a", &b, 0x100, 0x800));
            board.map(&b, 0x100, &board.alias("a seen from b", &a, 0x100, 0x800));
            a
        },
        WITHOUT_END,
    );
}

/// The same region may be seen again where the windows never meet: Arm's SSE boards.
//
//  system:  40000000          50000000          60000000
//           [ram][io]         [ the same again ]
//           [ peripherals    ][ alias of them  ]
#[test]
fn a_region_that_sees_another_part_of_itself_is_fine() {
    let board = Board::new();
    board.map(&board.system, 0x4000_0000, &board.ram("ram", 0x1000));
    board.map(&board.system, 0x4000_8000, &board.io("io", 0x1000));
    let again = board.alias("secure", &board.system, 0x4000_0000, 0x1000_0000);
    board.map(&board.system, 0x5000_0000, &again);
    board.shows(&[
        "40000000-40000fff ram@0",
        "40008000-40008fff io@0",
        "50000000-50000fff ram@0",
        "50008000-50008fff io@0",
    ]);
    // What is put there later is seen at both places, also if it is put there through the other one's hole.
    board.map(&board.system, 0x4000_4000, &board.io("late", 0x100));
    assert_eq!(board.space.view().len(), 6);
    assert_eq!(
        board.space.view().find(0x5000_4000).unwrap().region().name(),
        "late"
    );

    // Half of the window on itself ends after one more turn.
    let board = Board::new();
    board.map(&board.system, 0, &board.ram("ram", 0x1000));
    board.map(
        &board.system,
        0x1000,
        &board.alias("shifted", &board.system, 0x800, 0x1000),
    );
    board.shows(&["0-fff ram@0", "1000-17ff ram@800", "1800-1fff ram@800"]);
}

/// Up to the bound, and not one level further.
#[test]
fn nesting_is_followed_to_the_bound() {
    // A window that climbs a page at each turn, with an end: each turn is two levels, the window and the region.
    let turns = |pages: u64| {
        let board = Board::new();
        board.map(&board.system, 0, &board.ram("ram", 0x1000));
        let window = board.alias("window", &board.system, 0, pages * 0x1000);
        let mapped = board
            .memory
            .update(|tx| tx.add_subregion(&board.system, 0x1000, &window));
        mapped.map(|_| board.space.view().len())
    };
    assert_eq!(turns(127).unwrap(), 128);
    assert!(matches!(
        turns(128),
        Err(Error::RenderingTooDeep { limit: 256, .. })
    ));

    // Containers in containers, each a little further in, so that none can be skipped.
    let nested = |levels: u64| {
        let board = Board::new();
        let mut inside = board.io("in the middle", 0x10);
        for _ in 0..levels {
            let container = board.container("shell", 0x10_0000);
            board.map(&container, 1, &inside);
            inside = container;
        }
        let mapped = board
            .memory
            .update(|tx| tx.add_subregion(&board.system, 1, &inside));
        mapped.map(|_| lines(&board.space.view()))
    };
    assert_eq!(nested(254).unwrap(), ["ff-10e in the middle@0"]);
    let refused = nested(255).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("rendering reaches `in the middle` {WITHOUT_END}")
    );
}

/// Depth far beyond the bound costs no stack, neither when it is built nor when it is looked at nor when it goes.
#[test]
fn a_very_deep_tree_is_refused_and_dropped_without_a_stack() {
    let board = Board::new();
    let mut inside = board.io("in the middle", 0x10);
    for _ in 0..20_000 {
        let container = board.container("shell", 0x10_0000);
        board.map(&container, 1, &inside);
        inside = container;
    }
    assert!(
        board
            .memory
            .update(|tx| tx.add_subregion(&board.system, 0, &inside))
            .is_err()
    );
    drop(inside);
    board.update(|_| Ok(()));
    board.shows(&[]);
}

/// `levels` containers, each with two windows side by side onto the one before.
fn doubled(board: &Board, levels: u32) -> Region {
    let (mut inside, mut size) = (board.io("leaf", 1), 1u128);
    for level in 1..=levels {
        let next = board.container(
            &format!("level {level}"),
            Size::new(size * 2).expect("64 levels at most"),
        );
        for place in [0, size] {
            let window = board.alias("window", &inside, 0, Size::new(size).expect("64 levels at most"));
            board.map(&next, place.try_into().expect("within 2^64"), &window);
        }
        (inside, size) = (next, size * 2);
    }
    inside
}

const TOO_LARGE: &str = "takes more than 1048576 steps";

/// A rendering that would be too large is refused after a bounded time: 64 levels are 2^64 ranges.
#[test]
fn a_tree_that_explodes_is_refused() {
    is_refused_everywhere(|board| doubled(board, 64), TOO_LARGE);
    // A million regions, cheaply described.
    is_refused_everywhere(|board| doubled(board, 20), TOO_LARGE);
    is_refused_everywhere(
        |board| {
            let (row, square) = (
                board.container("row", 1 << 20),
                board.container("square", 1 << 30),
            );
            board.update(|tx| {
                for index in 0..1024 {
                    tx.add_subregion(&row, index << 10, &board.io("leaf", 1))?;
                    tx.add_subregion(&square, index << 20, &board.alias("window", &row, 0, 1 << 20))?;
                }
                Ok(())
            });
            square
        },
        TOO_LARGE,
    );
}

/// Where it does not explode, the same tree is fine; and one that explodes beside a hole is fine where only the
/// hole is looked at.
#[test]
fn what_is_large_but_not_too_large_is_rendered() {
    let board = Board::new();
    board.map(&board.system, 0, &doubled(&board, 12));
    assert_eq!(board.space.view().len(), 4096);

    let board = Board::new();
    let bomb = doubled(&board, 64);
    let shelf = board.container("shelf", Size::MAX);
    board.map(&shelf, 0x1_0000, &bomb);
    let peephole: AddressSpace = board.look_at("peephole", &board.alias("hole", &shelf, 0, 0x1_0100));
    assert_eq!(peephole.view().len(), 0x100);
    // A change of what is seen 2^64 times, of which 2^8 are in view, is found in a bounded time, too.
    let leaf = peephole.view().find(0x1_0000).unwrap().region().clone();
    board.update(|tx| tx.set_readonly(&leaf, true));
    assert!(peephole.view().iter().all(|range| range.is_readonly()));
}
