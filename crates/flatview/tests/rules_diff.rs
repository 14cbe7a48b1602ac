//! Group G of the reference: which callbacks carry the difference of two views, and in which order.

mod support;

use std::sync::Arc;

use flatview::{Error, RamBlock, Region, Registration, Size, Transaction};
use support::{Board, Inert, Log, Recorder, notifier};

/// A board with a listener that hears of changes only and one that hears of everything; see `heard_by`.
struct Scene {
    board: Board,
    log: Arc<Log>,
    _registrations: [Registration; 2],
}

impl Scene {
    /// Maps the regions where they are said to be before anybody listens.
    fn new(prepare: impl FnOnce(&Board)) -> Scene {
        let board = Board::new();
        prepare(&board);
        let log = Log::new();
        let (_, some) = Recorder::new("some", 0, &log).on(&board.space);
        let (_, all) = Recorder::new("all", 0, &log).with_nops().on(&board.space);
        Scene {
            board,
            log,
            _registrations: [some, all],
        }
    }

    /// What each of them hears of one update, between `begin` and `commit`.
    #[track_caller]
    fn hears(&self, some: &[&str], all: &[&str]) {
        let heard = self.log.take();
        for (name, expected) in [("some.", some), ("all.", all)] {
            let mine: Vec<_> = heard.iter().filter_map(|line| line.strip_prefix(name)).collect();
            let events = match &mine[..] {
                [] => &[][..],
                ["prepare", "begin", events @ .., "commit"] => events,
                other => panic!("{other:?} is no commit"),
            };
            assert_eq!(events, expected, "{name}");
        }
    }
}

/// G1: the same ranges from another root are no change, although the space moves to another view.
#[test]
fn a_view_that_shows_the_same_is_not_told() {
    let scene = Scene::new(|board| {
        board
            .map(&board.system, 0, &board.io("io", 0x1000))
            .wait()
            .unwrap()
    });
    let board = &scene.board;
    assert_eq!(board.space.view().root().unwrap().name(), "io");
    board.map(&board.system, 0x4000, &board.container("empty", 0x1000));
    assert_eq!(board.space.view().root(), Some(&board.system));
    scene.hears(&[], &[]);
}

/// G2, G4, G5, G8: deletions, then additions and what stays, then ioeventfds.
#[test]
fn everything_is_gone_before_anything_is_new() {
    let scene = Scene::new(|_| ());
    let board = &scene.board;
    let [a, b, c, stays] = ["a", "b", "c", "stays"].map(|name| board.io(name, 0x1000));
    let eventfd = notifier();
    board.update(|tx| {
        tx.set_coalescing(&a)?;
        tx.set_coalescing(&b)?;
        tx.add_eventfd(&a, 0, 4, None, &eventfd)?;
        tx.add_eventfd(&b, 0, 4, None, &eventfd)?;
        tx.add_subregion(&board.system, 0x1000, &a)?;
        tx.add_subregion(&board.system, 0x2000, &stays)?;
        tx.add_subregion(&board.system, 0x3000, &c)
    });
    scene.log.take();
    board.update(|tx| {
        tx.del_subregion(&board.system, &a)?;
        tx.add_subregion(&board.system, 0, &b)?;
        tx.set_address(&c, 0x4000)
    });
    scene.hears(
        &[
            "coalesced_io_del 1000-1fff",
            "region_del 1000-1fff a@0",
            "region_del 3000-3fff c@0",
            "region_add 0-fff b@0",
            "coalesced_io_add 0-fff",
            "region_add 4000-4fff c@0",
            "eventfd_del 1000/4",
            "eventfd_add 0/4",
        ],
        &[
            "coalesced_io_del 1000-1fff",
            "region_del 1000-1fff a@0",
            "region_del 3000-3fff c@0",
            "region_add 0-fff b@0",
            "coalesced_io_add 0-fff",
            "region_nop 2000-2fff stays@0",
            "region_add 4000-4fff c@0",
            "eventfd_del 1000/4",
            "eventfd_add 0/4",
        ],
    );
}

/// G3, C37: what makes a range another one.
//
//        0        1000     2000     3000     4000
//        [left   ][window onto ram ][right  ]
#[test]
fn a_range_that_differs_in_anything_is_gone_and_new() {
    type Change = fn(&mut Transaction<'_>, &Board, &Region) -> Result<(), Error>;
    let changes: [(&str, Change, &[&str]); 8] = [
        (
            "moved",
            |tx, _, window| tx.set_address(window, 0x8000),
            &["region_add 8000-8fff ram@0"],
        ),
        (
            "moved by a byte",
            |tx, _, window| tx.set_address(window, 0x1001),
            &["region_add 1001-2000 ram@0"],
        ),
        (
            "smaller",
            |tx, _, window| tx.set_size(window, 0x800),
            &["region_add 1000-17ff ram@0"],
        ),
        (
            "larger",
            |tx, _, window| tx.set_size(window, 0x1800),
            &["region_add 1000-27ff ram@0"],
        ),
        (
            "another offset",
            |tx, _, window| tx.set_alias_offset(window, 0x1000),
            &["region_add 1000-1fff ram@1000"],
        ),
        (
            "marked",
            |tx, _, window| tx.set_readonly(window, true),
            &["region_add 1000-1fff ram@0 ro"],
        ),
        ("gone", |tx, _, window| tx.set_enabled(window, false), &[]),
        (
            "covered by another region of the same block",
            |tx, board, window| {
                let block: RamBlock = window.alias_end().ram_block().unwrap().clone();
                let other = board.memory.region("ram").ram(block);
                tx.add_subregion_overlap(&board.system, 0x1000, &board.alias("other", &other, 0, 0x1000), 1)
            },
            &["region_add 1000-1fff ram@0"],
        ),
    ];
    for (what, change, added) in changes {
        let scene = Scene::new(|board| {
            board.map(&board.system, 0, &board.io("left", 0x800));
            board.map(&board.system, 0x3000, &board.io("right", 0x1000));
        });
        let board = &scene.board;
        let window = board.alias("window", &board.ram("ram", 0x4000), 0, 0x1000);
        board.map(&board.system, 0x1000, &window);
        scene.log.take();
        board.update(|tx| change(tx, board, &window));
        let mut some = vec!["region_del 1000-1fff ram@0"];
        some.extend(added);
        let mut all = some.clone();
        let stays = ["region_nop 0-7ff left@0", "region_nop 3000-3fff right@0"];
        all.insert(1, stays[0]);
        let behind_right = what == "moved";
        all.insert(if behind_right { 2 } else { all.len() }, stays[1]);
        scene.hears(&some, &all);
    }
}

/// G3: ranges that begin at the same address, and ranges that overlap the old ones in every way.
//
//  before  [aaaaaaaaaaaa]      [bbbbbb]        [cccccccccccc]
//  after   [dddddd]    [eeeeeeeeeeeeee]    [fffffffffffffffffffff]
#[test]
fn overlapping_old_and_new_ranges_are_told_in_order_of_address() {
    let scene = Scene::new(|_| ());
    let board = &scene.board;
    let old = [("a", 0x0, 0x2000), ("b", 0x3000, 0x1000), ("c", 0x6000, 0x2000)];
    let new = [("d", 0x0, 0x1000), ("e", 0x1800, 0x2800), ("f", 0x5000, 0x4000)];
    let make = |list: [(&str, u64, u64); 3]| list.map(|(name, at, size)| (at, board.io(name, size)));
    let (old, new) = (make(old), make(new));
    board.update(|tx| {
        old.iter()
            .try_for_each(|(at, io)| tx.add_subregion(&board.system, *at, io))
    });
    scene.log.take();
    board.update(|tx| {
        old.iter()
            .try_for_each(|(_, io)| tx.del_subregion(&board.system, io))?;
        new.iter()
            .try_for_each(|(at, io)| tx.add_subregion(&board.system, *at, io))
    });
    let expected = [
        "region_del 0-1fff a@0",
        "region_del 3000-3fff b@0",
        "region_del 6000-7fff c@0",
        "region_add 0-fff d@0",
        "region_add 1800-3fff e@0",
        "region_add 5000-8fff f@0",
    ];
    scene.hears(&expected, &expected);
}

/// G5: of a range that stays, first that it stays, then who logs it, then what of it is coalesced.
#[test]
fn a_range_that_stays_is_told_before_what_is_new_about_it() {
    let scene = Scene::new(|_| ());
    let board = &scene.board;
    let (io, ram) = (board.io("io", 0x1000), board.ram("ram", 0x1000));
    board.update(|tx| {
        tx.add_coalescing(&io, 0, 0x10)?;
        tx.add_subregion(&board.system, 0, &io)?;
        tx.add_subregion(&board.system, 0x1000, &ram)
    });
    scene.log.take();
    board.update(|tx| {
        tx.clear_coalescing(&io)?;
        tx.add_coalescing(&io, 0x20, 0x10)?;
        tx.set_log(&io, true)?;
        tx.set_log(&ram, true)
    });
    let some = [
        "coalesced_io_del 0-f",
        "log_start 0-fff 0->1",
        "coalesced_io_add 20-2f",
        "log_start 1000-1fff 0->1",
    ];
    let all = [
        "coalesced_io_del 0-f",
        "region_nop 0-fff io@0 log=1",
        "log_start 0-fff 0->1",
        "coalesced_io_add 20-2f",
        "region_nop 1000-1fff ram@0 log=1",
        "log_start 1000-1fff 0->1",
    ];
    scene.hears(&some, &all);
}

/// G6: a new range says itself who logs it.
#[test]
fn log_start_and_log_stop_are_not_told_of_ranges_that_come_and_go() {
    let scene = Scene::new(|_| ());
    let board = &scene.board;
    let ram = board.ram("ram", 0x1000);
    board.update(|tx| tx.set_log(&ram, true));
    board.map(&board.system, 0, &ram);
    scene.hears(
        &["region_add 0-fff ram@0 log=1"],
        &["region_add 0-fff ram@0 log=1"],
    );
    // A range that is replaced has the new mask, and the old one had the old mask.
    board.update(|tx| {
        tx.set_log(&ram, false)?;
        tx.set_address(&ram, 0x1000)
    });
    let expected = ["region_del 0-fff ram@0 log=1", "region_add 1000-1fff ram@0"];
    scene.hears(&expected, &expected);
}

/// G3, G10: the pieces of what a small region splits are told; of a view with many ranges, nothing else is.
#[test]
fn a_change_in_one_place_is_told_in_that_place_only() {
    let scene = Scene::new(|board| {
        for index in 0..300 {
            board.map(
                &board.system,
                index * 0x1_0000,
                &board.io(&format!("{index}"), 0x8000),
            );
        }
        board.map(&board.system, 300 * 0x1_0000, &board.ram("ram", 0x1_0000));
    });
    let board = &scene.board;
    let page = board.memory.region("page").io(0x1000, Arc::new(Inert));
    let base = 300 * 0x1_0000;
    board.overlap(&board.system, base + 0x4000, &page, 1);
    let heard = scene.log.take();
    let some: Vec<_> = heard
        .iter()
        .filter_map(|line| line.strip_prefix("some."))
        .collect();
    assert_eq!(
        some[2..some.len() - 1],
        [
            "region_del 12c0000-12cffff ram@0",
            "region_add 12c0000-12c3fff ram@0",
            "region_add 12c4000-12c4fff page@0",
            "region_add 12c5000-12cffff ram@5000",
        ]
    );
    assert_eq!(
        heard
            .iter()
            .filter(|line| line.starts_with("all.region_nop"))
            .count(),
        300
    );
    // And when it goes, the pieces are one again.
    board.unmap(&board.system, &page);
    let heard = scene.log.take();
    let some: Vec<_> = heard
        .iter()
        .filter_map(|line| line.strip_prefix("some."))
        .collect();
    assert_eq!(some[some.len() - 2], "region_add 12c0000-12cffff ram@0");
    assert_eq!(some.len(), 7);
}

/// G3 at the ends: the first and the last byte of the space.
#[test]
fn ranges_at_both_ends_of_the_space_are_told_like_others() {
    let scene = Scene::new(|_| ());
    let board = &scene.board;
    let all = board.io("all", Size::MAX);
    board.map(&board.system, 0, &all);
    scene.hears(
        &["region_add 0-ffffffffffffffff all@0"],
        &["region_add 0-ffffffffffffffff all@0"],
    );
    board.overlap(&board.system, u64::MAX, &board.io("top", 1), 1);
    let expected = [
        "region_del 0-ffffffffffffffff all@0",
        "region_add 0-fffffffffffffffe all@0",
        "region_add ffffffffffffffff-ffffffffffffffff top@0",
    ];
    scene.hears(&expected, &expected);
    board.overlap(&board.system, 0, &board.io("bottom", 1), 1);
    scene.hears(
        &[
            "region_del 0-fffffffffffffffe all@0",
            "region_add 0-0 bottom@0",
            "region_add 1-fffffffffffffffe all@1",
        ],
        &[
            "region_del 0-fffffffffffffffe all@0",
            "region_add 0-0 bottom@0",
            "region_add 1-fffffffffffffffe all@1",
            "region_nop ffffffffffffffff-ffffffffffffffff top@0",
        ],
    );
}
