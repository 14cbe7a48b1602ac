//! Group C of the reference, first part: how a tree becomes a view. C30 and on are in `rules_views.rs`.

mod support;

use std::sync::Arc;

use flatview::{AddressRange, DirtyClients, GlobalDirty, RamBlock, Region, Size};
use support::{Board, Inert, MARKS, Mark, line, lines};

/// C1: what is painted first stays. Children before their container, higher before lower, newer before older.
//
//           0    1000    2000    3000    4000    5000
//  low      [llllllllllllllllllllllllllllllllllll]    priority -1
//  old      [ooooooooooooooo]                         priority 0
//  new              [nnnnnnnnnnnnnnnn]                priority 0, later
//  high                             [hhhhhhh]         priority 1, a leaf …
//  child                            [ccc]             … with a child of priority -9
#[test]
fn children_then_higher_then_newer_are_seen() {
    let board = Board::new();
    let high = board.io("high", 0x1000);
    board.update(|tx| {
        tx.add_subregion_overlap(&board.system, 0, &board.io("low", 0x5000), -1)?;
        tx.add_subregion(&board.system, 0, &board.io("old", 0x2000))?;
        tx.add_subregion(&board.system, 0x1000, &board.io("new", 0x2000))?;
        tx.add_subregion_overlap(&board.system, 0x3000, &high, 1)?;
        tx.add_subregion_overlap(&high, 0, &board.io("child", 0x800), -9)
    });
    board.shows(&[
        "0-fff old@0",
        "1000-2fff new@0",
        "3000-37ff child@0",
        "3800-3fff high@800",
        "4000-4fff low@4000",
    ]);
}

/// C3, C4: what is disabled on the way taken hides the rest; what is disabled beside the way does not.
//
//  system ──► box ──► alias ──► target        shelf ──► target
#[test]
fn a_switch_counts_only_on_the_way_that_is_taken() {
    let board = Board::new();
    let target = board.io("target", 0x1000);
    let (container, shelf) = (board.container("box", 0x1000), board.container("shelf", 0x1000));
    let alias = board.alias("alias", &target, 0, 0x1000);
    board.update(|tx| {
        tx.add_subregion(&board.system, 0, &container)?;
        tx.add_subregion(&container, 0, &alias)?;
        tx.add_subregion(&shelf, 0x800, &target)
    });
    let seen: &[&str] = &["0-fff target@0"];
    for (region, shown) in [
        (&board.system, &[][..]),
        (&container, &[]),
        (&alias, &[]),
        (&target, &[]),
        (&shelf, seen),
    ] {
        board.update(|tx| tx.set_enabled(region, false));
        assert_eq!(lines(&board.space.view()), shown, "without {}", region.name());
        board.update(|tx| tx.set_enabled(region, true));
        board.shows(seen);
    }
}

/// C4: neither what contains the target nor its size, nor where it lies, has a say; also C5.
#[test]
fn an_alias_is_not_clipped_by_what_contains_its_target() {
    let board = Board::new();
    let (small, target) = (board.container("small", 0x10), board.io("target", 0x1000));
    board.update(|tx| {
        tx.add_subregion(&board.system, 0x8000, &small)?;
        tx.add_subregion(&small, 0x8, &target)?;
        tx.add_subregion(&board.system, 0, &board.alias("alias", &target, 0x400, 0x800))
    });
    board.shows(&["0-7ff target@400", "8008-800f target@0"]);
}

/// C7: on both sides of the target there is nothing to show; what lies below the alias shines through.
//
//  alias of target:  [……target……]……………………
//  offset 0:         0           800        1000
//  offset 0x400:     0     400
#[test]
fn an_alias_is_a_hole_where_its_target_ends() {
    let board = Board::new();
    let target = board.io("target", 0x800);
    let alias = board.alias("alias", &target, 0, 0x1000);
    board.map(&board.system, 0, &board.io("below", 0x1000));
    board.overlap(&board.system, 0, &alias, 1);
    board.shows(&["0-7ff target@0", "800-fff below@800"]);
    board.update(|tx| tx.set_alias_offset(&alias, 0x400));
    board.shows(&["0-3ff target@400", "400-fff below@400"]);
    board.update(|tx| tx.set_alias_offset(&alias, 0x800));
    board.shows(&["0-fff below@0"]);
}

/// C8: no offset means "minus".
#[test]
fn an_alias_offset_near_2_64_is_not_negative() {
    let board = Board::new();
    let minus_a_page = 0xffff_ffff_ffff_f000;
    let small = board.alias("small", &board.io("io", 0x10_0000), minus_a_page, 0x2000);
    board.map(&board.system, 0x8000, &small);
    board.shows(&[]);

    // Unless the target really is that big: then its last page is shown, and no second page follows.
    let big = board.alias("big", &board.io("all", Size::MAX), minus_a_page, 0x2000);
    board.map(&board.system, 0x8000, &big);
    board.shows(&["8000-8fff all@fffffffffffff000"]);
}

/// C9.
#[test]
fn every_ancestor_clips() {
    let board = Board::new();
    let outer = board.container("outer", 0x3000);
    let middle = board.container("middle", 0x3000);
    board.update(|tx| {
        tx.add_subregion(&board.system, 0x1_0000, &outer)?;
        tx.add_subregion(&outer, 0x1000, &middle)?;
        tx.add_subregion(&middle, 0x1000, &board.io("io", 0x1_0000))
    });
    // middle would let it reach 0x13fff, outer ends at 0x12fff.
    board.shows(&["12000-12fff io@0"]);
    board.update(|tx| tx.set_size(&middle, 0x1800));
    board.shows(&["12000-127ff io@0"]);
}

/// C10; the vector AB7 has a container.
#[test]
fn what_lies_beyond_2_64_is_dropped_at_every_level() {
    let board = Board::new();
    let io = board.io("io", Size::MAX);
    board.map(&board.system, u64::MAX, &io);
    board.shows(&["ffffffffffffffff-ffffffffffffffff io@0"]);
    // A container that begins at the top: its children can only be seen at its first byte.
    let top = board.container("top", Size::MAX);
    board.update(|tx| {
        tx.del_subregion(&board.system, &io)?;
        tx.add_subregion(&board.system, u64::MAX, &top)?;
        tx.add_subregion(&top, 1, &io)
    });
    board.shows(&[]);
    board.update(|tx| tx.set_address(&io, 0));
    board.shows(&["ffffffffffffffff-ffffffffffffffff io@0"]);
}

/// C11, C12: an alias can cut into a child from the left.
//
//  c:      0      c00      1000     1400
//                 [child…………………………]
//  alias:                  |0       400      1000
#[test]
fn what_an_alias_puts_below_zero_is_cut_off_with_the_right_offset() {
    let board = Board::new();
    let c = board.container("c", 0x4000);
    board.map(&c, 0xc00, &board.io("child", 0x800));
    board.map(&board.system, 0, &board.alias("alias", &c, 0x1000, 0x1000));
    board.shows(&["0-3ff child@400"]);
}

/// C12, C24: the pieces of what shines through keep their offsets, through an alias too.
//
//        0      1000   1800   2000   2800  3000
//  leaf: [llllllllllllllllllllllllllllllllll]
//  a:           [aaaaaa]
//  b:                         [bbbbbb]
//  shown through an alias from 0x800 on, at 0x10000
#[test]
fn a_leaf_fills_what_its_children_leave_at_the_offsets_it_has_there() {
    let board = Board::new();
    let leaf = board.io("leaf", 0x3000);
    board.update(|tx| {
        tx.add_subregion(&leaf, 0x1000, &board.io("a", 0x800))?;
        tx.add_subregion(&leaf, 0x2000, &board.io("b", 0x800))?;
        tx.add_subregion(
            &board.system,
            0x1_0000,
            &board.alias("alias", &leaf, 0x800, 0x2000),
        )
    });
    board.shows(&[
        "10000-107ff leaf@800",
        "10800-10fff a@0",
        "11000-117ff leaf@1800",
        "11800-11fff b@0",
    ]);
}

/// C15.
#[test]
fn one_range_can_be_the_whole_space() {
    let board = Board::new();
    board.map(&board.system, 0, &board.io("all", Size::MAX));
    board.shows(&["0-ffffffffffffffff all@0"]);
    assert_eq!(
        board.space.view().find(u64::MAX).unwrap().range(),
        AddressRange::ALL
    );

    board.overlap(&board.system, u64::MAX, &board.io("last byte", 1), 1);
    board.shows(&[
        "0-fffffffffffffffe all@0",
        "ffffffffffffffff-ffffffffffffffff last byte@0",
    ]);
}

/// C16, C17, C18: on the way from the root to the region; C13, C4: what contains the target is not on it.
//
//  system ──► box ──► alias ──► inner alias ──► target        shelf ──► target
#[test]
fn attributes_are_inherited_along_the_way_taken() {
    for target in ["ram", "mmio"] {
        let board = Board::new();
        let target = match target {
            "ram" => board.ram("target", 0x1000),
            _ => board.io("target", 0x1000),
        };
        let (container, shelf) = (board.container("box", 0x1000), board.container("shelf", 0x1000));
        let inner = board.alias("inner", &target, 0, 0x1000);
        let alias = board.alias("alias", &inner, 0, 0x1000);
        board.update(|tx| {
            tx.add_subregion(&board.system, 0, &container)?;
            tx.add_subregion(&container, 0, &alias)?;
            tx.add_subregion(&shelf, 0, &target)
        });
        for Mark { word, set, .. } in MARKS {
            for region in [&board.system, &container, &alias, &inner, &target] {
                board.update(|tx| set(tx, region, true));
                assert_eq!(
                    line(board.space.view().find(0).unwrap()),
                    format!("0-fff target@0{word}")
                );
                board.update(|tx| set(tx, region, false));
            }
            board.update(|tx| set(tx, &shelf, true));
            board.shows(&["0-fff target@0"]);
        }
    }
}

/// C16 to C18: several at once, from several places.
#[test]
fn attributes_from_different_regions_add_up() {
    let board = Board::new();
    let ram = board.ram("ram", 0x1000);
    let alias = board.alias("alias", &ram, 0, 0x1000);
    board.map(&board.system, 0, &alias);
    board.update(|tx| {
        tx.set_unmergeable(&board.system, true)?;
        tx.set_readonly(&alias, true)?;
        tx.set_nonvolatile(&ram, true)
    });
    board.shows(&["0-fff ram@0 ro nv unmergeable"]);
}

/// C19.
#[test]
fn romd_mode_is_that_of_the_region_itself() {
    let board = Board::new();
    let flash = board
        .memory
        .region("flash")
        .rom_device(RamBlock::unbacked(0x1000), Arc::new(Inert));
    board.map(&board.system, 0, &board.alias("alias", &flash, 0, 0x1000));
    board.map(&board.system, 0x1000, &board.io("io", 0x1000));
    board.update(|tx| tx.rom_device_set_romd(&flash, false));
    board.shows(&["0-fff flash@0 romd-off", "1000-1fff io@0"]);
}

/// C20: the display's own mask on any kind, migration's on memory and IOMMUs, code's on memory.
#[test]
fn who_logs_what_depends_on_the_kind() {
    let board = Board::new();
    let block = || RamBlock::unbacked(0x1000);
    let memory = &board.memory;
    let regions = [
        (memory.region("ram").ram(block()), true, true),
        (memory.region("rom").rom(block()), true, true),
        (memory.region("ram device").ram_device(block()), true, true),
        (
            memory.region("flash").rom_device(block(), Arc::new(Inert)),
            true,
            true,
        ),
        (memory.region("iommu").iommu(0x1000, Arc::new(Inert)), true, false),
        (memory.region("io").io(0x1000, Arc::new(Inert)), false, false),
        (memory.region("reservation").reservation(0x1000), false, false),
    ];
    for (place, (region, ..)) in (0..).zip(&regions) {
        board.map(&board.system, place * 0x1000, region);
    }
    let check = |expected: &dyn Fn(bool, bool) -> DirtyClients| {
        for (place, (region, migrates, has_code)) in (0..).zip(&regions) {
            let view = board.space.view();
            let range = view.find(place * 0x1000).unwrap();
            assert_eq!(
                range.dirty_log_mask(),
                expected(*migrates, *has_code),
                "{}",
                region.name()
            );
            assert_eq!(region.state().unwrap().dirty_log_mask, range.dirty_log_mask());
        }
    };
    let when = |is: bool, client: DirtyClients| if is { client } else { DirtyClients::empty() };
    check(&|_, _| DirtyClients::empty());

    memory.global_dirty_log_start(GlobalDirty::DIRTY_RATE).unwrap();
    check(&|migrates, _| when(migrates, DirtyClients::MIGRATION));
    memory.global_dirty_log_stop(GlobalDirty::DIRTY_RATE).unwrap();

    board.update(|tx| {
        tx.set_code_logging(true);
        regions
            .iter()
            .try_for_each(|(region, ..)| tx.set_log(region, true))
    });
    check(&|_, has_code| DirtyClients::VGA | when(has_code, DirtyClients::CODE));
}

/// C25, C26: a priority counts among siblings; in its container a child can be as important as it likes.
//
//          0      1000   2000   3000
//  weak:   [……………………………………………………]      priority 0, a container …
//  loud:          [LLLLL]                 … with a child of priority 1000
//  strong:        [SSSSSSSSSSSS]          priority 1, a container …
//  quiet:                [qqqqq]          … with a child of priority -1000
#[test]
fn priorities_compare_within_one_container_only() {
    let board = Board::new();
    let (weak, strong) = (board.container("weak", 0x3000), board.container("strong", 0x2000));
    board.update(|tx| {
        tx.add_subregion(&board.system, 0, &weak)?;
        tx.add_subregion_overlap(&weak, 0, &board.io("loud", 0x3000), 1000)?;
        tx.add_subregion_overlap(&board.system, 0x1000, &strong, 1)?;
        tx.add_subregion_overlap(&strong, 0x1000, &board.io("quiet", 0x1000), -1000)
    });
    board.shows(&["0-1fff loud@0", "2000-2fff quiet@0"]);
}

/// C27, and the ways to look at a view.
#[test]
fn a_view_is_sorted_disjoint_and_may_have_holes() {
    let board = Board::new();
    assert!(board.space.view().is_empty());
    // More children than a container looks at one by one, of sizes from a byte to all there is.
    for index in 0..64u64 {
        let io = board.io(
            &format!("{index}"),
            (1u128 << index).try_into().unwrap_or(u64::MAX),
        );
        board.map(&board.system, index * 0x1000, &io);
    }
    let view = board.space.view();
    assert_eq!(view.len(), 64, "the newest lies on top from its first byte on");
    for (range, next) in view.iter().zip(view.iter().skip(1)) {
        assert!(range.last() < next.start());
    }
    // 0 to 12 are shorter than a page and leave holes; 63 covers the rest.
    assert_eq!(view.find(0x5020), None);
    assert_eq!(line(view.find(0x501f).unwrap()), "5000-501f 5@0");
    assert_eq!(line(view.find(0x4_1234).unwrap()), "3f000-800000000003efff 63@0");
    let window = AddressRange::from_bounds(0x0fff, 0x2003).unwrap();
    let meeting: Vec<_> = view.meeting(window).map(line).collect();
    assert_eq!(
        meeting,
        ["1000-1001 1@0", "2000-2003 2@0"],
        "whole ranges that meet the window"
    );
    assert_eq!(view.iter().last().unwrap().last(), 0x8000_0000_0003_efff);
}

/// C27 with C1: when one of many children goes, what it hid is there again.
#[test]
fn many_children_can_be_taken_out_in_any_order() {
    let board = Board::new();
    let all: Vec<Region> = (0..40)
        .map(|index| board.io(&format!("{index}"), 0x1000 + 0x100 * index))
        .collect();
    for io in &all {
        board.map(&board.system, 0, io);
    }
    // 39 lies on top and is the largest: it hides everything. Every third goes, from the top.
    board.shows(&["0-36ff 39@0"]);
    for io in all.iter().rev().step_by(3) {
        board.unmap(&board.system, io);
    }
    board.shows(&["0-35ff 38@0"]);
    for io in all.iter().rev().skip(1).step_by(3) {
        board.update(|tx| tx.set_address(io, 0x10_0000));
    }
    // Of those that moved the last, 2, lies on top; of each before it the longer end looks out.
    let mut expected = vec!["0-34ff 37@0".to_owned(), "100000-1011ff 2@0".to_owned()];
    for index in (5..=38u64).step_by(3) {
        let (start, end) = (0x1000 + 0x100 * (index - 3), 0x1000 + 0x100 * index);
        expected.push(format!(
            "{:x}-{:x} {index}@{start:x}",
            0x10_0000 + start,
            0x10_0000 + end - 1
        ));
    }
    assert_eq!(lines(&board.space.view()), expected);
}
