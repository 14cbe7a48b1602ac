//! Group B of the reference: the tree of regions, and how long they live. What is refused is in
//! `bad_input.rs` (B12, B14, B15), how everything goes in the end in `leaks.rs` (B16 to B18).

mod support;

use std::sync::{Arc, Weak};

use flatview::{Error, Memory, MemoryRegionOps, Region, Size};
use support::{Board, Inert, children, line};

/// B1.
#[test]
fn add_subregion_maps_at_priority_zero_and_overlap_is_no_error() {
    let board = Board::new();
    let (a, b) = (board.io("a", 0x1000), board.io("b", 0x1000));
    // b was at another priority before: a plain add sets it to zero.
    board.overlap(&board.system, 0, &b, 7);
    board.unmap(&board.system, &b);
    board.map(&board.system, 0x4000, &a);
    board.map(&board.system, 0x4000, &b);
    for region in [&a, &b] {
        let state = region.state().unwrap();
        assert_eq!((state.address, state.priority), (0x4000, 0));
        assert_eq!(state.container, Some(board.system.clone()));
    }
}

/// B2.
#[test]
fn priorities_are_signed_and_use_all_32_bits() {
    let board = Board::new();
    for (name, priority) in [
        ("1", 1),
        ("max", i32::MAX),
        ("-1", -1),
        ("min", i32::MIN),
        ("0", 0),
    ] {
        board.overlap(&board.system, 0, &board.io(name, 0x1000), priority);
    }
    assert_eq!(children(&board.system), ["max", "1", "0", "-1", "min"]);
    board.shows(&["0-fff max@0"]);
}

/// B3; with addresses in the vector AB2.
#[test]
fn children_are_in_descending_priority_the_newest_of_equals_first() {
    let board = Board::new();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| board.io(name, 0x1000));
    board.map(&board.system, 0, &a);
    board.map(&board.system, 0, &b);
    board.overlap(&board.system, 0, &c, -1);
    board.overlap(&board.system, 0, &d, 1);
    assert_eq!(children(&board.system), ["d", "b", "a", "c"]);

    // Taken out and put back: on top of its equals.
    board.unmap(&board.system, &a);
    board.map(&board.system, 0, &a);
    assert_eq!(children(&board.system), ["d", "a", "b", "c"]);
    board.shows(&["0-fff d@0"]);
}

/// B4; of a mapped region in the vector AB2.
#[test]
fn the_address_of_an_unmapped_region_is_stored_and_nothing_else() {
    let board = Board::new();
    let io = board.io("io", 0x1000);
    board.update(|tx| tx.set_address(&io, 0x5000));
    assert_eq!(io.state().unwrap().address, 0x5000);
    board.shows(&[]);
    // An add says where.
    board.map(&board.system, 0x6000, &io);
    board.shows(&["6000-6fff io@0"]);
}

/// B5.
#[test]
fn a_deleted_region_keeps_address_and_priority() {
    let board = Board::new();
    let io = board.io("io", 0x1000);
    board.overlap(&board.system, 0x5000, &io, 3);
    board.unmap(&board.system, &io);
    let state = io.state().unwrap();
    assert_eq!(
        (state.address, state.priority, state.container),
        (0x5000, 3, None)
    );
    board.shows(&[]);
}

/// B6.
#[test]
fn a_region_of_any_kind_can_be_resized() {
    let board = Board::new();
    let ram = board.ram("ram", 0x4000);
    let alias = board.alias("alias", &ram, 0, 0x4000);
    let container = board.container("container", 0x8000);
    board.update(|tx| {
        tx.add_subregion(&board.system, 0, &container)?;
        tx.add_subregion(&container, 0, &ram)?;
        tx.add_subregion(&board.system, 0x1_0000, &alias)
    });
    board.shows(&["0-3fff ram@0", "10000-13fff ram@0"]);
    board.update(|tx| tx.set_size(&alias, 0x1000));
    board.shows(&["0-3fff ram@0", "10000-10fff ram@0"]);
    board.update(|tx| tx.set_size(&container, 0x2000));
    board.shows(&["0-1fff ram@0", "10000-10fff ram@0"]);
    // The size of RAM is not tied to its block.
    board.update(|tx| tx.set_size(&ram, 0x800));
    board.shows(&["0-7ff ram@0", "10000-107ff ram@0"]);
    board.update(|tx| {
        tx.set_size(&ram, 0x1_0000)?;
        tx.set_size(&container, Size::MAX)?;
        tx.set_size(&alias, 0x1_0000)
    });
    board.shows(&["0-ffff ram@0", "10000-1ffff ram@0"]);
}

/// B7, C3.
#[test]
fn a_disabled_region_takes_its_subtree_with_it_and_hides_nothing() {
    let board = Board::new();
    let (leaf, child) = (board.io("leaf", 0x2000), board.io("child", 0x1000));
    board.update(|tx| {
        tx.add_subregion(&board.system, 0, &board.io("below", 0x4000))?;
        tx.add_subregion_overlap(&board.system, 0x1000, &leaf, 1)?;
        tx.add_subregion(&leaf, 0, &child)
    });
    let all = [
        "0-fff below@0",
        "1000-1fff child@0",
        "2000-2fff leaf@1000",
        "3000-3fff below@3000",
    ];
    board.shows(&all);
    board.update(|tx| tx.set_enabled(&leaf, false));
    board.shows(&["0-3fff below@0"]);
    assert!(child.state().unwrap().enabled, "its own switch is not touched");
    board.update(|tx| tx.set_enabled(&leaf, true));
    board.shows(&all);
}

/// B8: VGA's banks.
//
//  vram:   [ bank 0 ][ bank 1 ][ bank 2 ]
//                     ↑ a0000-affff
#[test]
fn an_alias_offset_switches_banks() {
    let board = Board::new();
    let vram = board.ram("vram", 0x3_0000);
    let bank = board.alias("bank", &vram, 0, 0x1_0000);
    board.map(&board.system, 0xa_0000, &bank);
    for (offset, shown) in [
        (0x1_0000, "a0000-affff vram@10000"),
        (0x2_0000, "a0000-affff vram@20000"),
        (0x2_8000, "a0000-a7fff vram@28000"),
        (0, "a0000-affff vram@0"),
    ] {
        board.update(|tx| tx.set_alias_offset(&bank, offset));
        assert_eq!(bank.state().unwrap().alias_offset, offset);
        board.shows(&[shown]);
    }
    board.update(|tx| tx.set_alias_offset(&bank, 0x3_0000));
    board.shows(&[]);
}

/// B10, B11: only aliases that are mapped themselves count; all that they lead to count them.
#[test]
fn a_mapped_alias_counts_at_everything_it_leads_to() {
    let board = Board::new();
    let ram = board.ram("ram", 0x1000);
    let inner = board.alias("inner", &ram, 0, 0x1000);
    let outer = board.alias("outer", &inner, 0, 0x1000);
    let counts = || [&ram, &inner, &outer].map(|region| region.state().unwrap().mapped_via_alias);
    let mapped = || [&ram, &inner, &outer].map(|region| region.state().unwrap().is_mapped());
    assert_eq!(mapped(), [false; 3]);

    board.map(&board.system, 0, &outer);
    assert_eq!((counts(), mapped()), ([1, 1, 0], [true; 3]));
    board.map(&board.system, 0x4000, &inner);
    assert_eq!(counts(), [2, 1, 0]);
    board.update(|tx| {
        tx.del_subregion(&board.system, &inner)?;
        tx.set_enabled(&outer, false)
    });
    assert_eq!(
        (counts(), mapped()),
        ([1, 1, 0], [true; 3]),
        "mapped says nothing about enabled"
    );
    board.unmap(&board.system, &outer);
    assert_eq!((counts(), mapped()), ([0; 3], [false; 3]));

    // Mapped says nothing about a space that would see it, either.
    let shelf = board.container("shelf", 0x1000);
    board.map(&shelf, 0, &outer);
    assert_eq!(mapped(), [true; 3]);
}

/// B12, C2: the address of a root is added, in the space that has it as its root and nowhere else.
#[test]
fn a_mapped_region_that_is_a_root_shows_at_its_own_address() {
    let board = Board::new();
    let dimms = board.container("device-memory", 0x1_0000_0000);
    board.map(&board.system, 0x1_0000_0000, &dimms);
    let space = board.look_at("device-memory", &dimms);
    board.map(&dimms, 0, &board.ram("dimm0", 0x1000));
    board.map(&dimms, 0x1000, &board.ram("dimm1", 0x1000));
    let both = ["100000000-100000fff dimm0@0", "100001000-100001fff dimm1@0"];
    support::shows(&space, &both);
    board.shows(&both);
}

/// B13; with MMIO in the vector AB1.
#[test]
fn memory_may_have_children_and_fills_the_gaps_between_them() {
    let board = Board::new();
    let bar = board.ram("bar", 0x4000);
    board.map(&board.system, 0x1_0000, &bar);
    board.map(&bar, 0x1000, &board.io("doorbell", 0x1000));
    board.shows(&[
        "10000-10fff bar@0",
        "11000-11fff doorbell@0",
        "12000-13fff bar@2000",
    ]);
}

/// A device that knows whether it is still there.
fn device(memory: &Memory, name: &str) -> (Region, Weak<Inert>) {
    let ops = Arc::new(Inert);
    let alive = Arc::downgrade(&ops);
    (
        memory.region(name).io(0x1000, ops as Arc<dyn MemoryRegionOps>),
        alive,
    )
}

/// B16, B17, B18, F13: no counting by hand; dropping a handle is right at any time.
#[test]
fn whoever_shows_a_region_keeps_it() {
    let board = Board::new();
    let is_alive = |device: &Weak<Inert>| device.strong_count() != 0;

    let (in_container, alive) = device(&board.memory, "in a container");
    board.map(&board.system, 0, &in_container);
    drop(in_container);
    assert!(is_alive(&alive));
    board.shows(&["0-fff in a container@0"]);
    let in_container = board.system.subregions().unwrap().remove(0);

    let snapshot = board.space.view();
    let receipt = board.unmap(&board.system, &in_container);
    drop(in_container);
    assert!(
        is_alive(&alive) && !receipt.is_quiesced(),
        "a view keeps what it shows"
    );
    assert_eq!(line(snapshot.find(0).unwrap()), "0-fff in a container@0");
    drop(snapshot);
    receipt.wait().unwrap();
    assert!(!is_alive(&alive));

    let (target, alive) = device(&board.memory, "target");
    let window = board.alias("window", &target, 0, 0x1000);
    drop(target);
    assert!(is_alive(&alive), "an alias keeps its target");
    drop(window);
    assert!(!is_alive(&alive));

    let (root, alive) = device(&board.memory, "root");
    let space = board.look_at("space", &root);
    drop(root);
    assert!(is_alive(&alive), "a space keeps its root");
    space.destroy().unwrap().wait().unwrap();
    drop(space);
    board.update(|_| Ok(()));
    assert!(!is_alive(&alive));
}

/// B17: also if the container was itself in a container that nobody has any more.
#[test]
fn children_of_a_dropped_container_are_mapped_nowhere() {
    let board = Board::new();
    let ram = board.ram("ram", 0x1000);
    let window = board.alias("window", &ram, 0, 0x1000);
    {
        let (outer, inner) = (board.container("outer", 0x1000), board.container("inner", 0x1000));
        board.map(&outer, 0, &inner);
        board.map(&inner, 0x100, &window);
    }
    assert!(!window.state().unwrap().is_mapped());
    assert!(!ram.state().unwrap().is_mapped());
    board.map(&board.system, 0, &window);
    board.shows(&["0-fff ram@0"]);
}

/// B17: in the same transaction, too.
#[test]
fn a_container_dropped_in_a_transaction_gives_its_children_up_at_once() {
    let board = Board::new();
    let child = board.io("child", 0x1000);
    let container = board.container("container", 0x1000);
    board.map(&container, 0, &child);
    board.update(|tx| {
        drop(container);
        tx.add_subregion(&board.system, 0x2000, &child)
    });
    board.shows(&["2000-2fff child@0"]);
}

/// B20: `memory_region_find`.
//
//            0        2000      3000      5000      8000
//  system:   [ram………………………………………………………]
//  bus @2000:         [                             ]      priority 1
//  dev @1000 in bus:            [dddddddd]
#[test]
fn find_looks_from_a_region_through_the_space_at_its_top() {
    let board = Board::new();
    let (bus, dev) = (board.container("bus", 0x6000), board.io("dev", 0x2000));
    board.update(|tx| {
        tx.add_subregion(&board.system, 0, &board.ram("ram", 0x5000))?;
        tx.add_subregion_overlap(&board.system, 0x2000, &bus, 1)?;
        tx.add_subregion(&bus, 0x1000, &dev)
    });
    // A second space with the same root: the first one made is asked.
    let _second = board.look_at("second", &board.system);
    let find = |region: &Region, offset: u64, size: u64| {
        let found = board.memory.find(region, offset, size).unwrap();
        found.map(|(space, range)| {
            assert_eq!(space, board.space);
            line(&range)
        })
    };
    for (region, offset, size, expected) in [
        (&bus, 0x1000, 0x1000, Some("3000-3fff dev@0")),
        // Clipped to what was asked, on both sides.
        (&bus, 0x1400, 0x100, Some("3400-34ff dev@400")),
        // The first range that meets it.
        (&dev, 0x0, 0x1_0000, Some("3000-4fff dev@0")),
        (&bus, 0, 0x2000, Some("2000-2fff ram@2000")),
        // A region that is hidden finds who hides it, not itself.
        (&board.system, 0x3000, 1, Some("3000-3000 dev@0")),
        (&bus, 0x4000, 0x1000, None),
        (&board.system, u64::MAX, 1, None),
    ] {
        assert_eq!(
            find(region, offset, size).as_deref(),
            expected,
            "{}+{offset:x}",
            region.name()
        );
    }
    // All 2^64 bytes from the end of the space on: nothing, and no overflow.
    assert!(board.memory.find(&bus, u64::MAX, Size::MAX).unwrap().is_none());
    assert!(matches!(
        board.memory.find(&bus, 0, 0),
        Err(Error::BadRange { size: 0, .. })
    ));
}

/// B20: what only an alias shows is not found from the target; a tree that no space has as its top is not
/// looked into; and it is the view that readers see that answers.
#[test]
fn find_follows_no_alias_upwards_and_sees_what_readers_see() {
    let board = Board::new();
    let ram = board.ram("ram", 0x1000);
    let window = board.alias("window", &ram, 0, 0x1000);
    board.map(&board.system, 0, &window);
    assert!(board.memory.find(&ram, 0, 1).unwrap().is_none());
    assert!(board.memory.find(&window, 0, 1).unwrap().is_some());

    let shelf = board.container("shelf", 0x1000);
    let hidden = board.io("hidden", 0x1000);
    board.map(&shelf, 0, &hidden);
    assert!(board.memory.find(&hidden, 0, 1).unwrap().is_none());

    board.update(|tx| {
        tx.set_enabled(&window, false)?;
        assert!(
            board.memory.find(&board.system, 0, 1).unwrap().is_some(),
            "nothing is published yet"
        );
        Ok(())
    });
    assert!(board.memory.find(&board.system, 0, 1).unwrap().is_none());
}

/// B19.
#[test]
fn present_tells_whether_something_else_answers_there() {
    let board = Board::new();
    let io = board.io("io", 0x4000);
    board.map(&board.system, 0x8000, &io);
    board.map(&io, 0x1000, &board.io("child", 0x1000));
    let present = |container: &Region, offset| board.memory.present(container, offset).unwrap();
    assert!(present(&board.system, 0x8000));
    assert!(!present(&board.system, 0x7fff));
    assert!(present(&io, 0x1000), "the child");
    assert!(!present(&io, 0x2000), "the region itself does not count");
}
