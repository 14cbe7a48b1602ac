//! Group A of the reference: what a region can be.

mod support;

use std::sync::Arc;

use flatview::{Owner, OwnerKind, OwnerReference, RamBlock, Region, RegionKind, Size};
use support::{Board, Inert, children};

/// One region of each kind that answers, 0x1000 bytes.
fn leaves(board: &Board) -> Vec<Region> {
    let memory = &board.memory;
    let block = || RamBlock::unbacked(0x1000);
    vec![
        memory.region("mmio").io(0x1000, Arc::new(Inert)),
        memory.region("reservation").reservation(0x1000),
        memory.region("ram").ram(block()),
        memory.region("rom").rom(block()),
        memory.region("ram device").ram_device(block()),
        memory.region("rom device").rom_device(block(), Arc::new(Inert)),
        memory.region("iommu").iommu(0x1000, Arc::new(Inert)),
    ]
}

/// A1.
#[test]
fn a_container_shows_what_is_in_it_and_lets_the_rest_through() {
    let board = Board::new();
    let container = board.container("container", 0x4000);
    board.update(|tx| {
        tx.add_subregion_overlap(&board.system, 0, &container, 1)?;
        tx.add_subregion(&board.system, 0, &board.io("below", 0x4000))
    });
    board.shows(&["0-3fff below@0"]);

    board.map(&container, 0x1000, &board.io("in it", 0x1000));
    board.shows(&["0-fff below@0", "1000-1fff in it@0", "2000-3fff below@2000"]);
}

/// A2, A3, A4, A11, A12, A13, A15, C21, C22, C23: the view has no other kinds of range.
#[test]
fn every_kind_but_containers_and_aliases_is_a_range_and_hides_what_is_below() {
    let board = Board::new();
    board.map(&board.system, 0, &board.io("below", 0x3000));
    for leaf in leaves(&board) {
        board.overlap(&board.system, 0x1000, &leaf, 1);
        let view = board.space.view();
        let shown: Vec<_> = view
            .iter()
            .map(|range| (range.start(), range.region().name()))
            .collect();
        assert_eq!(shown, [(0, "below"), (0x1000, leaf.name()), (0x2000, "below")]);
        assert!(leaf.terminates());
        board.unmap(&board.system, &leaf);
    }
}

/// A2, A3, A4, A11, A12, A13, A15, A22: what stands behind each kind.
#[test]
fn a_region_has_what_its_kind_has_and_nothing_else() {
    let board = Board::new();
    let behind: Vec<_> = leaves(&board)
        .iter()
        .map(|leaf| {
            let backed = leaf.ram_block().map(RamBlock::size);
            (
                leaf.kind(),
                backed.is_some(),
                leaf.ops().is_some(),
                leaf.iommu_ops().is_some(),
            )
        })
        .collect();
    assert_eq!(
        behind,
        [
            (RegionKind::Mmio, false, true, false),
            (RegionKind::Reservation, false, false, false),
            (RegionKind::Ram, true, false, false),
            // A12: ROM is RAM that is readonly.
            (RegionKind::Ram, true, false, false),
            (RegionKind::RamDevice, true, false, false),
            (RegionKind::RomDevice, true, true, false),
            (RegionKind::Iommu, false, false, true),
        ]
    );
}

/// A4, A17: RAM has the size of its block.
#[test]
fn ram_is_as_large_as_its_block() {
    let board = Board::new();
    for size in [0, 1, 0x1000, u64::MAX] {
        let ram = board.ram("ram", size);
        assert_eq!(ram.state().unwrap().size, Size::from(size));
    }
}

/// A10.
#[test]
fn ram_over_memory_of_the_caller_says_where_that_is() {
    let board = Board::new();
    let given = board
        .memory
        .region("given")
        .ram(RamBlock::foreign(0x1000, 0x7f00_0000_0000));
    assert_eq!(given.ram_block().unwrap().host_address(), Some(0x7f00_0000_0000));
    assert_eq!(
        board.ram("unbacked", 0x1000).ram_block().unwrap().host_address(),
        None
    );
}

/// A12, A22.
#[test]
fn rom_is_ram_with_the_readonly_attribute() {
    let board = Board::new();
    let rom = board.memory.region("rom").rom(RamBlock::unbacked(0x1000));
    board.map(&board.system, 0, &rom);
    assert!(rom.state().unwrap().readonly);
    board.shows(&["0-fff rom@0 ro"]);

    board.update(|tx| tx.set_readonly(&rom, false));
    board.shows(&["0-fff rom@0"]);
}

/// A13.
#[test]
fn a_rom_device_begins_in_romd_mode() {
    let board = Board::new();
    let flash = board
        .memory
        .region("flash")
        .rom_device(RamBlock::unbacked(0x1000), Arc::new(Inert));
    board.map(&board.system, 0, &flash);
    assert!(flash.state().unwrap().romd_mode);
    board.shows(&["0-fff flash@0"]);
}

/// A14: the window may also be larger than its target.
#[test]
fn an_alias_shows_a_region_of_any_kind() {
    let board = Board::new();
    let mut targets = leaves(&board);
    let container = board.container("container", 0x1000);
    board.map(&container, 0, &board.io("inside", 0x1000));
    targets.push(container);
    targets.push(board.alias("alias", &targets[0], 0, 0x1000));
    let ends = [
        "mmio",
        "reservation",
        "ram",
        "rom",
        "ram device",
        "rom device",
        "iommu",
        "inside",
        "mmio",
    ];
    for (target, end) in targets.iter().zip(ends) {
        let window = board.alias("window", target, 0x800, 0x1_0000);
        assert_eq!(window.kind(), RegionKind::Alias);
        assert!(!window.terminates());
        board.map(&board.system, 0x4000, &window);
        let view = board.space.view();
        let range = view.find(0x4000).unwrap();
        assert_eq!((range.region().name(), range.offset_in_region()), (end, 0x800));
        assert_eq!(range.last(), 0x47ff, "the window goes on, {end} does not");
        assert_eq!(view.len(), 1);
        board.unmap(&board.system, &window);
    }
}

/// A16: QEMU reads 2^64-1 as 2^64. Here every size means itself.
#[test]
fn sizes_from_one_byte_to_all_of_the_space_mean_themselves() {
    for (size, last) in [
        (Size::from(1), 0),
        (Size::from(u64::MAX), u64::MAX - 1),
        (Size::MAX, u64::MAX),
    ] {
        let board = Board::new();
        let io = board.io("io", size);
        board.map(&board.system, 0, &io);
        assert_eq!(io.state().unwrap().size, size);
        let view = board.space.view();
        let range = view.find(0).unwrap();
        assert_eq!((range.last(), range.size()), (last, size));
    }
}

/// A17, C14; the vector AB6 has a container.
#[test]
fn a_region_of_size_zero_shows_nothing_and_nothing_in_it() {
    let board = Board::new();
    let (io, child) = (board.io("io", 0), board.io("child", 0x1000));
    let window = board.alias("window", &child, 0, 0);
    board.update(|tx| {
        tx.add_subregion(&board.system, 0, &io)?;
        tx.add_subregion(&io, 0, &child)?;
        tx.add_subregion(&board.system, 0x8000, &window)
    });
    board.shows(&[]);

    board.update(|tx| tx.set_size(&io, 0x800));
    board.shows(&["0-7ff child@0"]);
}

/// A18: QEMU escapes `/[\]` for its tree of objects, which does not exist here.
#[test]
fn names_are_kept_as_they_are_and_need_not_be_unique() {
    let board = Board::new();
    for name in ["", "pci@0/[0]\\", "ram", "ram", "größer"] {
        let region = board.container(name, 1);
        assert_eq!(region.name(), name);
        board.map(&board.system, 0, &region);
    }
    assert_eq!(
        children(&board.system),
        ["größer", "ram", "ram", "pci@0/[0]\\", ""]
    );
    let (one, two) = (board.ram("same", 1), board.ram("same", 1));
    assert_ne!(one, two);
    assert_eq!(one, one.clone());
}

/// A19.
#[test]
fn a_new_region_is_enabled_mapped_nowhere_and_has_no_attributes() {
    let board = Board::new();
    for region in [
        board.io("io", 0x1000),
        board.ram("ram", 0x1000),
        board.container("container", 0x1000),
    ] {
        let state = region.state().unwrap();
        assert!(state.enabled && state.romd_mode);
        assert!(!state.readonly && !state.nonvolatile && !state.unmergeable && !state.flush_coalesced);
        assert_eq!((state.address, state.priority, state.alias_offset), (0, 0, 0));
        assert_eq!(state.container, None);
        assert!(!state.is_mapped());
        assert!(state.dirty_log_mask.is_empty());
        assert!(state.ioeventfds.is_empty() && state.coalesced.is_empty());
        assert_eq!(region.owner(), None);
        assert_eq!(region.parent(), None);
        assert_eq!(children(&region), [""; 0]);
    }
}

/// A19 turned round: attributes can be given before the region exists.
#[test]
fn a_builder_sets_what_a_transaction_could_set_later() {
    let board = Board::new();
    let marked = board
        .memory
        .region("marked")
        .enabled(false)
        .readonly(true)
        .nonvolatile(true)
        .unmergeable(true)
        .container(0x1000);
    let state = marked.state().unwrap();
    assert!(!state.enabled && state.readonly && state.nonvolatile && state.unmergeable);
}

/// A21: what QEMU has as read-only properties of the object.
#[test]
fn the_state_tells_container_address_priority_and_size() {
    let board = Board::new();
    let io = board.io("io", 0x1000);
    board.overlap(&board.system, 0x8000, &io, -3);
    let state = io.state().unwrap();
    assert_eq!(state.container.as_ref(), Some(&board.system));
    assert_eq!((state.address, state.priority), (0x8000, -3));
    assert_eq!(state.size, Size::from(0x1000));
}

/// A22, A23.
#[test]
fn only_alias_end_follows_aliases() {
    let board = Board::new();
    let ram = board.ram("ram", 0x1000);
    let inner = board.alias("inner", &ram, 0, 0x1000);
    let outer = board.alias("outer", &inner, 0, 0x1000);
    assert_eq!(outer.alias_target(), Some(&inner));
    assert_eq!(outer.alias_end(), &ram);
    assert_eq!(ram.alias_end(), &ram);
    assert_eq!(ram.alias_target(), None);
    assert!(outer.ram_block().is_none() && outer.ops().is_none());
}

/// A24, A25: the owner counts for lifetime and re-entrancy, the parent is only shown.
#[test]
fn an_owner_and_a_parent_are_two_things() {
    let board = Board::new();
    let device = Owner::device("serial0");
    let list = Owner::new(
        OwnerKind::Object,
        OwnerReference::Type("memory-region-portio-list".into()),
    );
    let port = board
        .memory
        .region("port")
        .owner(&list)
        .parent(&device)
        .io(8, Arc::new(Inert));
    assert_eq!(port.owner(), Some(&list));
    assert_eq!(port.parent(), Some(&device));
    assert_eq!(device.to_string(), "dev id=serial0");
    assert_eq!(list.to_string(), "obj type=memory-region-portio-list");
    assert_ne!(
        device,
        Owner::device("serial0"),
        "two devices may have been given the same id in turn"
    );
}
