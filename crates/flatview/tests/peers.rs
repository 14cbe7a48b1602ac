//! Defects that were reproduced or read in other Rust implementations of this model, as regression tests
//! (`rust-peers.md`). Ours never had them; they show where the model is easily got wrong.

mod support;

use std::sync::Arc;

use flatview::{Error, Region, Translation};
use support::{Board, Log, Recorder, children, notifier, share_a_view, shows};

/// t1: the address of the target's byte 0 is below zero, which an unsigned subtraction cannot say.
//
//        -1000    0        1000
//  ram:  [rrrrrrrr|rrrrrrrr]
//  alias:         [        ]
#[test]
fn t1_an_alias_offset_may_exceed_the_address_of_the_alias() {
    let board = Board::new();
    let ram = board.ram("ram", 0x2000);
    board.map(&board.system, 0, &board.alias("alias", &ram, 0x1000, 0x1000));
    board.shows(&["0-fff ram@1000"]);
}

/// t2: a region does not belong to the space that was made last.
#[test]
fn t2_two_spaces_with_one_root_both_see_a_change() {
    let board = Board::new();
    let again = board.look_at("again", &board.system);
    let log = Log::new();
    let (_l0, _r0) = Recorder::new("memory", 0, &log).on(&board.space);
    let (_l1, _r1) = Recorder::new("again", 0, &log).on(&again);
    board.map(&board.system, 0, &board.io("child", 0x1000));
    for space in [&board.space, &again] {
        shows(space, &["0-fff child@0"]);
    }
    let adds: Vec<_> = log
        .take()
        .into_iter()
        .filter(|line| line.contains("region_add"))
        .collect();
    assert_eq!(
        adds,
        [
            "memory.region_add 0-fff child@0",
            "again.region_add 0-fff child@0"
        ]
    );
}

/// t2: one container in two others is what QEMU asserts against; an alias does it.
#[test]
fn t2_a_container_is_in_one_other_only_and_an_alias_shows_it_elsewhere() {
    let board = Board::new();
    let (root, shared) = (
        board.container("root", 0x1_0000),
        board.container("shared", 0x1000),
    );
    let space = board.look_at("space", &root);
    board.map(&board.system, 0, &shared);
    let twice = board.memory.update(|tx| tx.add_subregion(&root, 0, &shared));
    assert!(matches!(twice, Err(Error::AlreadyMapped { .. })));
    board.map(&root, 0x2000, &board.alias("alias", &shared, 0, 0x1000));
    board.map(&shared, 0x100, &board.io("child", 0x10));
    board.shows(&["100-10f child@0"]);
    shows(&space, &["2100-210f child@0"]);
}

/// t3: what is added to a subtree after the subtree was attached, at any depth.
#[test]
fn t3_a_subtree_that_was_built_first_goes_on_updating() {
    let board = Board::new();
    let (p, q) = (board.container("p", 0x1_0000), board.container("q", 0x1000));
    board.map(&p, 0x1000, &q);
    board.map(&board.system, 0x10_0000, &p);
    board.map(&q, 0x800, &board.io("late", 0x100));
    board.shows(&["101800-1018ff late@0"]);
}

/// t4: there is no way to change a priority that takes no effect. Out and in again, in one update, is the way.
#[test]
fn t4_a_new_priority_takes_effect() {
    let board = Board::new();
    let (low, high) = (board.io("low", 0x1000), board.io("high", 0x1000));
    board.overlap(&board.system, 0, &low, 0);
    board.overlap(&board.system, 0, &high, 1);
    board.shows(&["0-fff high@0"]);
    board.update(|tx| {
        tx.del_subregion(&board.system, &low)?;
        tx.add_subregion_overlap(&board.system, 0, &low, 2)
    });
    assert_eq!(children(&board.system), ["low", "high"]);
    board.shows(&["0-fff low@0"]);
}

/// t5: a bus master's space made of an alias of system memory does not go stale.
#[test]
fn t5_a_change_of_an_aliased_container_is_seen_through_the_alias() {
    let board = Board::new();
    let c = board.container("c", 0x1_0000);
    board.map(&board.system, 0x1_0000, &c);
    board.map(&board.system, 0, &board.ram("ram", 0x1000));
    let root = board.container("root", 0x10_0000);
    board.map(&root, 0x8000, &board.alias("alias of c", &c, 0, 0x1_0000));
    board.map(
        &root,
        0x4_0000,
        &board.alias("alias of system", &board.system, 0, 0x4_0000),
    );
    let space = board.look_at("space", &root);
    let log = Log::new();
    let (listener, _registration) = Recorder::new("L", 0, &log).on(&space);

    board.map(&c, 0x100, &board.io("child", 0x10));
    board.shows(&["0-fff ram@0", "10100-1010f child@0"]);
    let seen = ["8100-810f child@0", "40000-40fff ram@0", "50100-5010f child@0"];
    shows(&space, &seen);
    assert_eq!(listener.picture(), seen);
    assert!(!share_a_view(&space, &board.space));
}

/// Two regions side by side, for the accesses that straddle them.
fn side_by_side(left: impl Fn(&Board) -> Region) -> Board {
    let board = Board::new();
    board.map(&board.system, 0, &left(&board));
    board.map(&board.system, 0x1000, &board.io("right", 0x1000));
    board
}

/// t6: an 8-byte access at 0xffc is four bytes of RAM and four of a device. The access itself is not part of
/// this release; what it has to be cut into is.
#[test]
fn t6_the_view_says_where_an_access_across_ram_and_io_splits() {
    let board = side_by_side(|board| board.ram("left", 0x1000));
    let Translation {
        region, offset, size, ..
    } = board.space.translate(0xffc, 8).unwrap();
    assert_eq!((region.name(), offset, size.to_u64()), ("left", 0xffc, Some(4)));
    let Translation {
        region, offset, size, ..
    } = board.space.translate(0x1000, 4).unwrap();
    assert_eq!((region.name(), offset, size.to_u64()), ("right", 0, Some(4)));
}

/// t7: the same with a device on both sides. That the access to the first one is cut where it ends is for the
/// access path; the view knows where that is.
#[test]
fn t7_the_view_says_where_an_access_across_two_devices_splits() {
    let board = side_by_side(|board| board.io("left", 0x1000));
    let view = board.space.view();
    let left = view.find(0xffc).unwrap();
    assert_eq!((left.region().name(), left.last()), ("left", 0xfff));
    let right = view.find(left.last() + 1).unwrap();
    assert_eq!((right.region().name(), right.offset_in_region()), ("right", 0));
}

/// Read in `align_mem_slot`: RAM smaller than a page aborted the whole update.
#[test]
fn ram_smaller_than_a_page_is_a_range_like_others() {
    let board = Board::new();
    let log = Log::new();
    let (listener, _registration) = Recorder::new("L", 0, &log).on(&board.space);
    board.update(|tx| {
        tx.add_subregion(&board.system, 0x10, &board.ram("a few bytes", 7))?;
        tx.add_subregion(&board.system, 0x1000, &board.ram("a page", 0x1000))
    });
    assert_eq!(listener.picture(), ["10-16 a few bytes@0", "1000-1fff a page@0"]);
}

/// Read in `Region: PartialEq`: RAM was compared by name, offset, size and priority.
#[test]
fn regions_that_look_alike_are_not_the_same() {
    let board = Board::new();
    let [old, new] = ["ram"; 2].map(|name| board.ram(name, 0x1000));
    board.map(&board.system, 0, &old);
    let log = Log::new();
    let (_l, _registration) = Recorder::new("L", 0, &log).on(&board.space);
    board.update(|tx| {
        tx.del_subregion(&board.system, &old)?;
        tx.add_subregion(&board.system, 0, &new)
    });
    log.heard(&[
        "L.prepare",
        "L.begin",
        "L.region_del 0-fff ram@0",
        "L.region_add 0-fff ram@0",
        "L.commit",
    ]);
    assert_eq!(board.space.view().find(0).unwrap().region(), &new);
}

/// Read: setting ioeventfds waited for some other update, and one without a value lost its length.
#[test]
fn an_ioeventfd_is_told_at_once_and_keeps_its_length_without_a_value() {
    let board = Board::new();
    let io = board.io("io", 0x1000);
    board.map(&board.system, 0, &io);
    let log = Log::new();
    let (listener, _registration) = Recorder::new("L", 0, &log).on(&board.space);
    board.update(|tx| tx.add_eventfd(&io, 0x50, 2, None, &notifier()));
    assert_eq!(listener.others(), ["eventfd 50/2"]);
}

/// cloud-hypervisor #8202 and #8572: a guest moves a BAR onto another one, then that one away; and two BARs may
/// share a base for as long as the guest likes.
//
//        a0000000         b0000000         c0000000
//  1.    [bar0, 1 MiB]    [bar1, 1 MiB]
//  2.                     [bar0 over bar1]
//  3.                     [bar0]           [bar1]
#[test]
fn a_bar_may_be_moved_onto_another_one() {
    let board = Board::new();
    let [bar0, bar1] = ["bar0", "bar1"].map(|name| board.io(name, 0x10_0000));
    board.map(&board.system, 0xa000_0000, &bar0);
    board.map(&board.system, 0xb000_0000, &bar1);
    let log = Log::new();
    let recorder = Recorder::new("L", 0, &log);
    let (listener, _registration): (Arc<Recorder>, _) = recorder.on(&board.space);
    for (bar, address, seen) in [
        (&bar0, 0xb000_0000, &["b0000000-b00fffff bar0@0"][..]),
        (
            &bar1,
            0xc000_0000,
            &["b0000000-b00fffff bar0@0", "c0000000-c00fffff bar1@0"],
        ),
        (&bar1, 0xb000_0000, &["b0000000-b00fffff bar1@0"]),
        (
            &bar0,
            0xb008_0000,
            &["b0000000-b007ffff bar1@0", "b0080000-b017ffff bar0@0"],
        ),
    ] {
        board.update(|tx| tx.set_address(bar, address));
        board.shows(seen);
        assert_eq!(listener.picture(), seen);
    }
}
