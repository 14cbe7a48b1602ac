//! Group C of the reference, second part: which region a space's view is rendered from, which spaces share a
//! view, and how long one lives.

mod support;

use flatview::{AddressSpace, Compat, RamBlock, Region, Size};
use support::{Board, MARKS, Mark, lines, share_a_view, shows};

/// The name of the region that a space's view is rendered from.
fn root_of(space: &AddressSpace) -> Option<String> {
    space.view().root().map(|root| root.name().to_owned())
}

/// C30: each shape of a tree, and the region at which the search for the physical root ends.
#[test]
fn the_physical_root_is_the_first_region_that_adds_something() {
    type Shape = fn(&Board, &Region) -> Region;
    let shapes: [(&str, Shape, Option<&str>); 15] = [
        ("a leaf", |_, leaf| leaf.clone(), Some("leaf")),
        (
            "a leaf with one child",
            |board, leaf| {
                board.map(leaf, 0, &board.io("child", 0x1000));
                leaf.clone()
            },
            Some("leaf"),
        ),
        (
            "an alias of all of it",
            |board, leaf| board.alias("alias", leaf, 0, 0x1000),
            Some("leaf"),
        ),
        (
            "an alias of more",
            |board, leaf| board.alias("alias", leaf, 0, Size::MAX),
            Some("leaf"),
        ),
        (
            "an alias of less",
            |board, leaf| board.alias("alias", leaf, 0, 0xfff),
            Some("alias"),
        ),
        (
            "an alias of the rest",
            |board, leaf| board.alias("alias", leaf, 1, 0xfff),
            Some("alias"),
        ),
        (
            "an alias of an alias",
            |board, leaf| board.alias("outer", &board.alias("inner", leaf, 0, 0x1000), 0, 0x1000),
            Some("leaf"),
        ),
        (
            "an empty container",
            |board, _| board.container("empty", 0x1000),
            None,
        ),
        (
            "one child",
            |board, leaf| {
                let container = board.container("container", 0x1000);
                board.map(&container, 0, leaf);
                container
            },
            Some("leaf"),
        ),
        (
            "one child that sticks out",
            |board, leaf| {
                let container = board.container("container", 0xfff);
                board.map(&container, 0, leaf);
                container
            },
            Some("container"),
        ),
        (
            "one child further up",
            |board, leaf| {
                let container = board.container("container", 0x2000);
                board.map(&container, 1, leaf);
                container
            },
            Some("container"),
        ),
        (
            "one enabled child of two",
            |board, leaf| {
                let container = board.container("container", 0x1000);
                board.map(
                    &container,
                    0,
                    &board.memory.region("off").enabled(false).container(1),
                );
                board.map(&container, 0, leaf);
                container
            },
            Some("leaf"),
        ),
        (
            "two children, one of which shows nothing",
            |board, leaf| {
                let container = board.container("container", 0x1000);
                board.map(&container, 0, &board.container("empty", 1));
                board.map(&container, 0, leaf);
                container
            },
            Some("container"),
        ),
        (
            "disabled",
            |board, _| board.memory.region("off").enabled(false).container(1),
            None,
        ),
        (
            "an alias of something disabled",
            |board, leaf| {
                board.update(|tx| tx.set_enabled(leaf, false));
                board.alias("alias", leaf, 0, 0x1000)
            },
            None,
        ),
    ];
    for compat in [Compat::empty(), Compat::LOSSY_VIEW_ROOTS] {
        for (what, shape, expected) in &shapes {
            let board = Board::with_compat(compat);
            let root = shape(&board, &board.io("leaf", 0x1000));
            let space = board.look_at("space", &root);
            assert_eq!(root_of(&space).as_deref(), *expected, "{what}");
            // The way to the root is no way to see anything else.
            let whole = board.container("whole", Size::MAX);
            board.map(&whole, 0, &root);
            board.map(&whole, 0x1_0000, &board.container("beside", 1));
            let rendered = board.look_at("whole", &whole);
            assert_eq!(lines(&space.view()), lines(&rendered.view()), "{what}");
        }
    }
}

/// C31: the empty view is one, too.
#[test]
fn spaces_with_the_same_physical_root_have_one_view() {
    let board = Board::new();
    let io = board.io("io", 0x1000);
    let [a, b] = ["a", "b"].map(|name| board.look_at(name, &board.alias(name, &io, 0, 0x1000)));
    let [none, nothing] = ["none", "nothing"].map(|name| board.look_at(name, &board.container(name, 1)));
    assert!(share_a_view(&a, &b));
    assert!(share_a_view(&none, &nothing));
    assert!(!share_a_view(&a, &none));

    board.update(|tx| tx.set_size(&io, 0x800));
    assert!(share_a_view(&a, &b));
    shows(&a, &["0-7ff io@0"]);
    board.update(|tx| tx.set_enabled(&io, false));
    assert!(share_a_view(&a, &none));
}

/// C32: QEMU loses the marks of what it skips.
#[test]
fn marks_of_a_region_on_the_way_to_the_root_are_not_lost() {
    for (compat, lossy) in [(Compat::empty(), false), (Compat::LOSSY_VIEW_ROOTS, true)] {
        for Mark { word, set, .. } in MARKS {
            let board = Board::with_compat(compat);
            let ram = board.ram("ram", 0x1000);
            let container = board.container("container", Size::MAX);
            let alias = board.alias("alias", &ram, 0, 0x1000);
            board.map(&container, 0, &alias);
            let space = board.look_at("space", &container);
            for marked in [&alias, &container] {
                board.update(|tx| set(tx, marked, true));
                let word = if lossy { "" } else { word };
                shows(&space, &[&format!("0-fff ram@0{word}")]);
                board.update(|tx| set(tx, marked, false));
                assert_eq!(
                    root_of(&space).as_deref(),
                    Some("ram"),
                    "found again without marks"
                );
            }
        }
    }
}

/// C33: QEMU forgets the address of an alias or a container that it skips, and adds the address of what it
/// finds.
//
//  system:  device-memory @4 GiB ──► dimm0 @0
#[test]
fn the_address_of_a_region_on_the_way_to_the_root_is_not_lost() {
    for (compat, shown) in [
        (Compat::empty(), "100000000-100000fff dimm0@0"),
        (Compat::LOSSY_VIEW_ROOTS, "0-fff dimm0@0"),
    ] {
        let board = Board::with_compat(compat);
        let devices = board.container("device-memory", 0x1_0000_0000);
        board.map(&board.system, 0x1_0000_0000, &devices);
        let space = board.look_at("device-memory", &devices);
        board.map(&devices, 0, &board.ram("dimm0", 0x1000));
        shows(&space, &[shown]);
        board.map(&devices, 0x1000, &board.ram("dimm1", 0x1000));
        // With two of them there is nothing to skip, and QEMU agrees.
        shows(
            &space,
            &["100000000-100000fff dimm0@0", "100001000-100001fff dimm1@0"],
        );
    }
}

/// C33: the same for an alias as a root, and an alias whose target has an address.
#[test]
fn an_alias_as_a_root_shows_at_its_own_address() {
    for (compat, at_alias, at_both) in [
        (Compat::empty(), "8000-8fff ram@0", "8000-8fff ram@0"),
        (Compat::LOSSY_VIEW_ROOTS, "0-fff ram@0", "4000-4fff ram@0"),
    ] {
        let board = Board::with_compat(compat);
        let ram = board.ram("ram", 0x1000);
        let alias = board.alias("alias", &ram, 0, 0x1000);
        board.update(|tx| tx.set_address(&alias, 0x8000));
        let space = board.look_at("space", &alias);
        shows(&space, &[at_alias]);
        board.update(|tx| tx.set_address(&ram, 0x4000));
        shows(&space, &[at_both]);
        // At the same address nothing is lost, and the view is that of the target.
        board.update(|tx| tx.set_address(&ram, 0x8000));
        shows(&space, &["8000-8fff ram@0"]);
        assert_eq!(root_of(&space).as_deref(), Some("ram"));
    }
}

/// A PCI bus: system memory with two things in it, and bus masters, each a container with an alias of all of
/// it.
struct Bus {
    board: Board,
    /// Root, alias and space of each bus master.
    masters: Vec<(Region, Region, AddressSpace)>,
}

impl Bus {
    /// The bus masters look at a container of its own, which no other space looks at.
    fn new(masters: usize) -> Bus {
        let board = Board::new();
        let dma = board.container("dma", Size::MAX);
        board.map(&dma, 0, &board.ram("ram", 0x1000));
        board.map(&dma, 0x8000, &board.io("io", 0x1000));
        let masters = (0..masters).map(|index| {
            let root = board.container(&format!("bus master container {index}"), Size::MAX);
            let alias = board.alias("bus master", &dma, 0, Size::MAX);
            board.update(|tx| {
                tx.set_enabled(&alias, false)?;
                tx.add_subregion(&root, 0, &alias)
            });
            let space = board.look_at(&format!("master {index}"), &root);
            (root, alias, space)
        });
        let masters = masters.collect();
        Bus { board, masters }
    }

    fn space(&self, master: usize) -> &AddressSpace {
        &self.masters[master].2
    }

    /// Sets the bus master bits of some devices in one update.
    fn enable(&self, which: &[(usize, bool)]) {
        self.board.update(|tx| {
            which
                .iter()
                .try_for_each(|&(master, on)| tx.set_enabled(&self.masters[master].1, on))
        });
    }

    #[track_caller]
    fn sees(&self, master: usize, anything: bool) {
        let seen: &[&str] = if anything {
            &["0-fff ram@0", "8000-8fff io@0"]
        } else {
            &[]
        };
        shows(self.space(master), seen);
    }
}

/// C34; the vector AB9 has one of them.
#[test]
fn a_bus_master_bit_gives_the_shared_view_and_takes_it() {
    let bus = Bus::new(3);
    for master in 0..3 {
        bus.sees(master, false);
    }
    bus.enable(&[(0, true), (2, true)]);
    bus.sees(0, true);
    bus.sees(1, false);
    assert!(share_a_view(bus.space(0), bus.space(2)));
    bus.enable(&[(0, false)]);
    bus.sees(0, false);
    bus.sees(2, true);
}

/// C31, C34: the only space of a view leaves it as another one comes, in either order of creation.
#[test]
fn a_view_can_be_handed_from_one_space_to_another() {
    let bus = Bus::new(2);
    bus.enable(&[(0, true)]);
    for (leaves, comes) in [(0, 1), (1, 0)] {
        bus.enable(&[(leaves, false), (comes, true)]);
        bus.sees(leaves, false);
        bus.sees(comes, true);
        // It is a live view, not a picture of one.
        let ram = &bus.space(comes).view().find(0).unwrap().region().clone();
        bus.board.update(|tx| tx.set_size(ram, 0x800));
        shows(bus.space(comes), &["0-7ff ram@0", "8000-8fff io@0"]);
        bus.board.update(|tx| tx.set_size(ram, 0x1000));
    }
}

/// C31: the view changes in the update in which a space comes to it.
#[test]
fn a_space_that_comes_to_a_view_sees_it_as_the_update_leaves_it() {
    for order in [[0, 1], [1, 0]] {
        let bus = Bus::new(2);
        let [stays, comes] = order;
        bus.enable(&[(stays, true)]);
        let ram = bus.space(stays).view().find(0).unwrap().region().clone();
        bus.board.update(|tx| {
            tx.set_enabled(&bus.masters[comes].1, true)?;
            tx.set_size(&ram, 0x800)
        });
        for master in order {
            shows(bus.space(master), &["0-7ff ram@0", "8000-8fff io@0"]);
        }
        // And again, when nobody was there before and nobody stays.
        bus.board.update(|tx| {
            tx.set_enabled(&bus.masters[stays].1, false)?;
            tx.set_enabled(&bus.masters[comes].1, false)
        });
        bus.board.update(|tx| {
            tx.set_enabled(&bus.masters[comes].1, true)?;
            tx.set_size(&ram, 0x1000)
        });
        bus.sees(comes, true);
    }
}

/// H2, C34: a bus master is gone, its siblings' bits work on. What the ways of the others to their physical
/// roots are is asked as well when its own way is gone.
#[test]
fn a_dropped_space_is_in_nobodys_way() {
    for keeps_its_root in [true, false] {
        let mut bus = Bus::new(3);
        bus.enable(&[(0, true), (1, true), (2, true)]);
        let (root, alias, space) = bus.masters.remove(0);
        drop(space);
        if keeps_its_root {
            // The container is still there and changes along.
            bus.board.update(|tx| {
                tx.set_enabled(&alias, false)?;
                tx.set_enabled(&bus.masters[0].1, false)
            });
            drop(root);
        } else {
            drop((root, alias));
            bus.enable(&[(0, false)]);
        }
        bus.sees(0, false);
        bus.sees(1, true);
        assert_eq!(
            bus.board.memory.address_spaces().len(),
            3,
            "`memory` and two bus masters"
        );
    }
}

/// C35: where one region's bytes follow on each other, except from the last one to the first.
#[test]
fn ranges_merge_where_the_bytes_of_the_region_follow_on() {
    let top = 0xffff_ffff_ffff_f000;
    for (offsets, merges) in [
        ([0, 0x1000], true),
        ([0x1000, 0x2000], true),
        ([0, 0x1001], false),
        ([0, 0], false),
        // Byte 2^64 does not exist, and it is not byte 0 either.
        ([top, 0], false),
        ([top - 0x1000, top], true),
    ] {
        let board = Board::new();
        let all = board.io("all", Size::MAX);
        board.map(&board.system, 0, &board.alias("low", &all, offsets[0], 0x1000));
        board.map(
            &board.system,
            0x1000,
            &board.alias("high", &all, offsets[1], 0x1000),
        );
        assert_eq!(
            board.space.view().len(),
            if merges { 1 } else { 2 },
            "{offsets:x?}"
        );
    }
    // Another region of the same block is another region, and a gap of one byte is a gap.
    let board = Board::new();
    let block = RamBlock::unbacked(0x1000);
    board.map(&board.system, 0, &board.memory.region("one").ram(block.clone()));
    board.map(&board.system, 0x1000, &board.memory.region("two").ram(block));
    let io = board.io("io", 0x2000);
    board.map(&board.system, 0x8000, &board.alias("low", &io, 0, 0xfff));
    board.map(&board.system, 0x9000, &board.alias("high", &io, 0x1000, 0x1000));
    assert_eq!(board.space.view().len(), 4);
}

/// C36: PAM windows side by side in RAM mode are one range; also what a small window over RAM splits is one
/// range again when it goes.
#[test]
fn windows_side_by_side_merge_with_what_they_continue() {
    let board = Board::new();
    let ram = board.ram("pc.ram", 0x10_0000);
    let windows: Vec<Region> = (0..4)
        .map(|index| board.alias("pam", &ram, 0xc_0000 + index * 0x4000, 0x4000))
        .collect();
    board.map(&board.system, 0, &board.alias("low", &ram, 0, 0xc_0000));
    for (index, window) in (0..).zip(&windows) {
        board.map(&board.system, 0xc_0000 + index * 0x4000, window);
    }
    board.shows(&["0-cffff pc.ram@0"]);
    board.update(|tx| tx.set_readonly(&windows[1], true));
    board.shows(&[
        "0-c3fff pc.ram@0",
        "c4000-c7fff pc.ram@c4000 ro",
        "c8000-cffff pc.ram@c8000",
    ]);
    board.update(|tx| tx.set_readonly(&windows[2], true));
    board.shows(&[
        "0-c3fff pc.ram@0",
        "c4000-cbfff pc.ram@c4000 ro",
        "cc000-cffff pc.ram@cc000",
    ]);
}

/// C37, B22: unlike QEMU's sections, ranges that differ in `unmergeable` differ; who logs them does not count.
#[test]
fn ranges_are_equal_if_they_show_the_same_in_the_same_way() {
    let board = Board::new();
    let ram = board.ram("ram", 0x2000);
    let window = board.alias("window", &ram, 0, 0x1000);
    board.map(&board.system, 0x4000, &window);
    let look = || board.space.view().iter().next().unwrap().clone();
    let before = look();
    for Mark { set, .. } in MARKS {
        board.update(|tx| set(tx, &window, true));
        assert_ne!(look(), before);
        board.update(|tx| set(tx, &window, false));
        assert_eq!(look(), before);
    }
    board.update(|tx| tx.set_alias_offset(&window, 0x1000));
    assert_ne!(look(), before);
    board.update(|tx| {
        tx.set_alias_offset(&window, 0)?;
        tx.set_log(&ram, true)
    });
    assert_eq!(look(), before);
    assert_ne!(look().dirty_log_mask(), before.dirty_log_mask());
}

/// C40: everything about a range can be asked, and the walk can be ended at any range.
#[test]
fn a_view_can_be_walked() {
    let board = Board::new();
    let rom = board.memory.region("rom").rom(RamBlock::unbacked(0x1000));
    board.map(&board.system, 0, &board.alias("alias", &rom, 0x800, 0x800));
    board.map(&board.system, 0x4000, &board.io("io", 0x1000));
    let view = board.space.view();
    let first = view.iter().next().unwrap();
    assert_eq!(
        (first.start(), first.last(), first.size()),
        (0, 0x7ff, Size::from(0x800))
    );
    assert_eq!((first.region(), first.offset_in_region()), (&rom, 0x800));
    assert!(first.is_readonly() && first.is_romd());
    assert!(!first.is_nonvolatile() && !first.is_unmergeable());
    let found = view
        .iter()
        .find(|range| range.region().name() == "io")
        .map(|range| range.start());
    assert_eq!((found, view.iter().len()), (Some(0x4000), 2));
    assert_eq!(format!("{first:?}"), "0x0-0x7ff rom@0x800 readonly");
}

/// C41: a view that somebody looks at stays as it is.
#[test]
fn a_view_does_not_change_under_who_looks_at_it() {
    let board = Board::new();
    let io = board.io("io", 0x1000);
    board.map(&board.system, 0, &io);
    let (view, copy) = (board.space.view(), (*board.space.view()).clone());
    let mut reader = board.space.reader();
    assert!(reader.find(0).is_some());

    board.update(|tx| tx.set_address(&io, 0x8000));
    assert_eq!(lines(&view), ["0-fff io@0"]);
    assert_eq!(lines(&copy), ["0-fff io@0"]);
    assert!(
        reader.find(0).is_none(),
        "a reader takes the newest view at each look"
    );
    assert!(reader.find(0x8000).is_some());
    assert_eq!(reader.address_space(), &board.space);
}
