//! Group O of the reference: IOMMU regions. Accesses and translations here, notifiers and a comparison with a model
//! in the modules.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "helpers of tests fail as tests do"
)]

#[path = "rules_iommu/lives.rs"]
mod lives;
#[path = "rules_iommu/notifiers.rs"]
mod notifiers;
#[path = "rules_iommu/property.rs"]
mod property;
mod support;
#[path = "rules_iommu/tables.rs"]
mod tables;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flatview::{
    AddressSpace, Endianness, IommuAccess, IommuEvents, IommuNotifier, IommuOps, IotlbEntry, IotlbError,
    MemTxError, PopulatedRanges, RamBlock, Region, Size,
};
use support::Board;
use tables::{ATTRS, LARGE, PAGE, R, RAM, ROOTS, SECURE, Tables, W, World, permission, range};

const DECODE: MemTxError = MemTxError::DECODE_ERROR;

/// O1, O2: who accesses is led on page by page, and refused where nothing is permitted.
#[test]
fn an_access_goes_where_the_tables_lead() {
    let world = World::new();
    world.map(0, 0x5000, 0x2000, R | W);
    world.map(0, 0x6000, 0x7000, R);
    world.map(0, 0x7000, 0x3000, W);
    assert_eq!(world.load(0x5000), Some(0x2000));
    let mut bytes = [0xee; 24];
    assert_eq!(world.dma.read(0x5ff8, &mut bytes, ATTRS), Ok(()));
    assert_eq!(bytes[8..16], 0x7000_u64.to_le_bytes());
    assert_eq!(world.dma.read(0x6ff8, &mut bytes, ATTRS), Err(DECODE));
    assert_eq!(bytes[8..], [0; 16], "what may only be written reads as zeros");
    let store = |iova| world.dma.store(iova, 0x55_u64, Endianness::Little, ATTRS);
    assert_eq!(store(0x5010), Ok(()));
    assert_eq!(store(0x7010), Ok(()));
    assert_eq!(store(0x6010), Err(DECODE));
    assert_eq!(store(0x8010), Err(DECODE), "nothing is mapped there");
    let peek = |address| world.board.space.load::<u64>(address, Endianness::Little, ATTRS);
    assert_eq!(
        (peek(0x2010), peek(0x3010), peek(0x7010)),
        (Ok(0x55), Ok(0x55), Ok(0))
    );
}

/// O2: large pages are blocks, and the tables may change from access to access.
#[test]
fn large_pages_and_small_ones_follow_each_other() {
    let world = World::new();
    world.map_large(0, LARGE, 0x40_0000, R);
    world.map(0, 2 * LARGE, 0x9000, R);
    assert_eq!(world.load(LARGE + 0x12_3000), Some(0x52_3000));
    let mut bytes = [0; 16];
    assert_eq!(world.dma.read(2 * LARGE - 8, &mut bytes, ATTRS), Ok(()));
    assert_eq!(bytes[8..], 0x9000_u64.to_le_bytes());
    world.map(0, LARGE + 0x12_3000, 0xa000, R);
    assert_eq!(world.load(LARGE + 0x12_3000), Some(0xa000));
    assert_eq!(world.load(LARGE), None, "the large page is gone");
}

/// O5: attributes choose the table.
#[test]
fn attributes_choose_a_table() {
    let world = World::new();
    world.map(0, 0, 0x1000, R);
    world.map(1, 0, 0x2000, R);
    let load = |attrs| world.dma.load::<u64>(0, Endianness::Little, attrs);
    assert_eq!((load(ATTRS), load(SECURE)), (Ok(0x1000), Ok(0x2000)));
    let entry = world.dma.iotlb_entry(0, false, SECURE).unwrap();
    assert_eq!(entry.translated_address, 0x2000);
    assert_eq!(world.iommu.iommu_ops().unwrap().num_indexes(), 2);
}

/// O2: who follows a view himself is told what an access of the space would be.
#[test]
fn a_step_is_what_an_access_does() {
    let world = World::new();
    world.map(0, 0x5000, 0x2000, R);
    let step = |iova, access, attrs| world.iommu.iommu_step(iova, access, attrs);
    let read = step(0x5010, IommuAccess::READ, ATTRS);
    assert_eq!(read.target.as_ref(), Some(&world.board.space));
    assert_eq!(
        (read.address, read.following, read.size()),
        (0x2010, 0xfef, 0xff0)
    );
    assert_eq!((read.address_mask, read.permission), (0xfff, IommuAccess::READ));
    let write = step(0x5010, IommuAccess::all(), ATTRS);
    assert_eq!(
        (write.target.as_ref(), write.size()),
        (None, 0xff0),
        "not permitted"
    );
    let hole = step(3 * LARGE, IommuAccess::READ, ATTRS);
    assert_eq!((hole.target.as_ref(), hole.size()), (None, LARGE));
    let secure = step(0x5010, IommuAccess::READ, SECURE);
    assert_eq!(secure.target, None, "another table");
    let ram = world.ram.iommu_step(0x5010, IommuAccess::READ, ATTRS);
    assert_eq!((ram.target.as_ref(), ram.size()), (None, u64::MAX), "no IOMMU");
}

/// A second IOMMU, whose tables lead into the first one.
fn chain(world: &World) -> AddressSpace {
    let roots = [ROOTS[1] + 0x10_0000, ROOTS[1] + 0x10_1000];
    let (_, outer) = Tables::new(&world.board, "outer", &world.board.space, &world.dma, roots);
    // The first four pages of each small table lead to 0x5000 and up; the second large page to the same.
    world.poke(roots[0], (roots[1] + PAGE) | R | W);
    for page in 0..4 {
        world.poke(roots[1] + PAGE + page * 8, (0x5000 + page * PAGE) | R | W);
    }
    world.poke(roots[0] + 8, LARGE | R | W | 4);
    world.board.look_at("outer", &outer)
}

/// O2, O3, O16: translations follow each other, and the smallest page and the least permission count.
#[test]
fn iommus_follow_each_other() {
    let world = World::new();
    let outer = chain(&world);
    world.map(0, 0x5000, 0x2000, R | W);
    world.map(0, 0x6000, 0x3000, R);
    world.map_large(0, LARGE, 0x60_0000, R);
    let load = |iova| outer.load::<u64>(iova, Endianness::Little, ATTRS);
    assert_eq!(
        (load(0), load(0x1000), load(0x2000)),
        (Ok(0x2000), Ok(0x3000), Err(DECODE))
    );
    assert_eq!(load(LARGE + 0x5000), Ok(0x60_5000));
    assert_eq!(outer.store(0x1000, 1_u8, Endianness::Little, ATTRS), Err(DECODE));

    let entry = outer.iotlb_entry(LARGE + 0x5678, false, ATTRS).unwrap();
    assert_eq!(
        entry,
        IotlbEntry {
            target: Some(world.board.space.clone()),
            iova: LARGE,
            translated_address: 0x60_0000,
            address_mask: LARGE - 1,
            permission: IommuAccess::READ,
        }
    );
    let entry = outer.iotlb_entry(0x123, true, ATTRS).unwrap();
    assert_eq!(
        (entry.iova, entry.translated_address, entry.address_mask),
        (0, 0x2000, 0xfff)
    );
    assert_eq!(entry.permission, permission(R | W));
    assert_eq!(outer.iotlb_entry(0x1000, true, ATTRS), Err(DECODE));
}

/// Leads every address to the same one of some space.
struct Same(std::sync::Mutex<Option<AddressSpace>>, AtomicBool);

impl Same {
    fn region(board: &Board, target: Option<&AddressSpace>) -> (Arc<Same>, Region) {
        let same = Arc::new(Same(
            std::sync::Mutex::new(target.cloned()),
            AtomicBool::new(false),
        ));
        let ops = Arc::clone(&same) as Arc<dyn IommuOps>;
        (same, board.memory.region("same").iommu(Size::MAX, ops))
    }
}

impl IommuOps for Same {
    fn translate(&self, iova: u64, _: IommuAccess, _: u32) -> IotlbEntry {
        self.1.store(true, Ordering::Relaxed);
        IotlbEntry {
            target: self.0.lock().unwrap().clone(),
            iova,
            translated_address: iova,
            address_mask: u64::MAX,
            permission: IommuAccess::all(),
        }
    }
}

/// O3: without bound in QEMU; here sixteen, and who leads to himself is refused.
#[test]
fn a_chain_of_iommus_ends() {
    let board = Board::new();
    let ram = board.memory.region("ram").ram(RamBlock::anonymous(PAGE).unwrap());
    board.map(&board.system, 0, &ram);
    let mut space = board.space.clone();
    for iommus in 1..=17 {
        let (_, region) = Same::region(&board, Some(&space));
        space = board.look_at("chain", &region);
        let expected = if iommus <= 16 { Ok(0) } else { Err(DECODE) };
        assert_eq!(
            space.load::<u32>(8, Endianness::Little, ATTRS),
            expected,
            "{iommus}"
        );
        let entry = space.iotlb_entry(8, false, ATTRS);
        assert_eq!(entry.map(|entry| entry.translated_address).is_ok(), iommus <= 16);
    }
    let (same, region) = Same::region(&board, None);
    let circle = board.look_at("circle", &region);
    *same.0.lock().unwrap() = Some(circle.clone());
    assert_eq!(circle.load::<u8>(0, Endianness::Little, ATTRS), Err(DECODE));
    assert_eq!(circle.iotlb_entry(0, false, ATTRS), Err(DECODE));
    *same.0.lock().unwrap() = None;
}

/// O1: an IOMMU that has to translate to read its own tables is refused, on every way in.
#[test]
fn page_tables_behind_their_own_iommu_are_not_found() {
    let world = World::new();
    let device = world.board.container("behind", Size::MAX);
    let behind = world.board.look_at("behind", &device);
    // The tables are read through the space that they translate for.
    let (tables, own) = Tables::new(&world.board, "own", &behind, &world.board.space, ROOTS);
    world.board.map(&device, 0, &own);
    assert_eq!(behind.load::<u64>(0x5000, Endianness::Little, ATTRS), Err(DECODE));
    assert_eq!(behind.iotlb_entry(0x5000, false, ATTRS), Err(DECODE));
    assert!(tables.translations.load(Ordering::Relaxed) > 0);
    let everything = IommuNotifier::new(IommuEvents::IOTLB, range(0, tables::REACH), 0, |event| {
        panic!("{event:?} is mapped");
    });
    let registration = own.register_iommu_notifier(everything).unwrap();
    registration.replay().unwrap();
    tables.replays_itself.store(true, Ordering::Relaxed);
    registration.replay().unwrap();
}

/// O16: without an IOMMU a page; never beyond a range, never more than may be done.
#[test]
fn a_translation_for_a_cache_is_no_larger_than_what_is_there() {
    let world = World::new();
    let space = &world.board.space;
    let entry = space.iotlb_entry(0x5123, true, ATTRS).unwrap();
    assert_eq!(
        entry,
        IotlbEntry {
            target: Some(space.clone()),
            iova: 0x5000,
            translated_address: 0x5000,
            address_mask: 0xfff,
            permission: IommuAccess::all(),
        }
    );
    assert_eq!(space.iotlb_entry(RAM, false, ATTRS), Err(DECODE));

    let rom = world
        .board
        .memory
        .region("rom")
        .rom(RamBlock::anonymous(0x600).unwrap());
    let io = world.board.io("io", PAGE);
    let hole = world.board.memory.region("hole").reservation(PAGE);
    world.board.map(&world.board.system, RAM, &rom);
    world.board.map(&world.board.system, RAM + PAGE, &io);
    world.board.map(&world.board.system, RAM + 2 * PAGE, &hole);
    let entry = space.iotlb_entry(RAM + 0x4ff, false, ATTRS).unwrap();
    assert_eq!((entry.iova, entry.address_mask), (RAM + 0x400, 0x1ff));
    assert_eq!(entry.permission, IommuAccess::READ);
    assert_eq!(space.iotlb_entry(RAM, true, ATTRS), Err(DECODE));
    assert!(space.iotlb_entry(RAM + PAGE, true, ATTRS).is_ok());
    assert_eq!(space.iotlb_entry(RAM + 2 * PAGE, false, ATTRS), Err(DECODE));

    // A large page that goes on beyond RAM ends with it.
    world.map_large(0, 0, RAM - LARGE, R);
    let large = world.dma.iotlb_entry(0x1234, false, ATTRS).unwrap();
    assert_eq!(large.address_mask, LARGE - 1);
    world.board.update(|tx| tx.set_size(&world.ram, RAM - 0x1000));
    let large = world.dma.iotlb_entry(0x1234, false, ATTRS).unwrap();
    assert_eq!((large.iova, large.address_mask), (0, LARGE / 2 - 1));
    assert_eq!(large.translated_address, RAM - LARGE);
}

/// O16: an IOMMU region that is not mapped at a multiple of its pages.
#[test]
fn blocks_of_a_crooked_region_are_small() {
    let world = World::new();
    let root = world.board.container("crooked", Size::MAX);
    let window = world.board.alias("window", &world.iommu, 0x1000, 0x4000);
    world.board.map(&root, 0x800, &window);
    let crooked = world.board.look_at("crooked", &root);
    world.map(0, 0x2000, 0x9000, R);
    // Address 0x1800 is offset 0x2000.
    assert_eq!(crooked.load::<u64>(0x1800, Endianness::Little, ATTRS), Ok(0x9000));
    let entry = crooked.iotlb_entry(0x1923, false, ATTRS).unwrap();
    assert_eq!((entry.iova, entry.translated_address), (0x1800, 0x9000));
    assert_eq!(entry.address_mask, 0x7ff);
}

/// O17: from a translation to host memory, with all that may be in the way.
#[test]
fn a_translation_leads_to_memory_or_says_why_not() {
    let world = World::new();
    let host = world.ram.ram_block().unwrap().host_address().unwrap();
    world.map(0, 0x5000, 0x2000, R | W);
    world.map(0, 0x6000, 0x3000, R);
    let entry = |iova| {
        let ops = world.iommu.iommu_ops().unwrap();
        ops.translate(iova, IommuAccess::empty(), 0)
    };
    let memory = entry(0x5000).memory().unwrap();
    assert_eq!(memory.host_address(), Some(host + 0x2000));
    assert_eq!((memory.size(), memory.is_readonly()), (Size::from(PAGE), false));
    assert_eq!(memory.window().unwrap().load::<u64>(0), Ok(0x2000));
    assert_eq!(memory.range().region(), &world.ram);
    assert!(memory.ram_discard_manager().is_none());
    assert!(entry(0x6000).memory().unwrap().is_readonly());
    assert_eq!(
        entry(0x7000).memory().unwrap_err(),
        IotlbError::NotMapped { iova: 0x7000 }
    );

    world.map(0, 0x7000, RAM, R);
    let nowhere = entry(0x7000).memory().unwrap_err();
    assert_eq!(nowhere, IotlbError::NotMemory { address: RAM });
    world
        .board
        .map(&world.board.system, RAM, &world.board.io("io", PAGE));
    assert_eq!(
        entry(0x7000).memory().unwrap_err(),
        IotlbError::NotMemory { address: RAM }
    );

    // A readonly window onto RAM.
    let window = world.board.alias("window", &world.ram, 0, PAGE);
    world.board.update(|tx| {
        tx.set_readonly(&window, true)?;
        tx.add_subregion(&world.board.system, RAM + PAGE, &window)
    });
    world.map(0, 0x8000, RAM + PAGE, R | W);
    let memory = entry(0x8000).memory().unwrap();
    assert!(memory.is_readonly());
    assert_eq!(memory.host_address(), Some(host));

    world.map_large(0, LARGE, RAM - LARGE, R);
    assert!(entry(LARGE).memory().is_ok());
    world.board.update(|tx| tx.set_size(&world.ram, RAM - PAGE));
    assert_eq!(
        entry(LARGE).memory().unwrap_err(),
        IotlbError::Granularity {
            address: RAM - LARGE,
            address_mask: LARGE - 1,
            contiguous: LARGE - PAGE,
        }
    );
    let beyond = IotlbEntry {
        translated_address: u64::MAX,
        ..entry(0x5000)
    };
    assert_eq!(
        beyond.memory().unwrap_err(),
        IotlbError::NotMemory { address: u64::MAX }
    );
    // A region that was made larger than its block.
    world.board.update(|tx| tx.set_size(&world.ram, RAM));
    let short = world
        .board
        .memory
        .region("short")
        .ram(RamBlock::anonymous(0x800).unwrap());
    world.board.update(|tx| {
        tx.set_size(&short, PAGE)?;
        tx.add_subregion(&world.board.system, RAM + 2 * PAGE, &short)
    });
    world.map(0, 0x9000, RAM + 2 * PAGE, R);
    assert!(matches!(
        entry(0x9000).memory(),
        Err(IotlbError::NotMemory { .. })
    ));
}

/// O17: through another IOMMU, which may permit less.
#[test]
fn memory_behind_two_iommus_is_found() {
    let world = World::new();
    let outer = chain(&world);
    world.map(0, 0x5000, 0x2000, R | W);
    world.map(0, 0x6000, 0x3000, R);
    let entry = |iova| {
        let ops = outer.root().iommu_ops().unwrap();
        ops.translate(iova, IommuAccess::empty(), 0)
    };
    let memory = entry(0).memory().unwrap();
    assert_eq!((memory.range().start(), memory.is_readonly()), (0x2000, false));
    assert!(entry(0x1000).memory().unwrap().is_readonly());
    assert!(matches!(entry(LARGE).memory(), Err(IotlbError::NotMemory { .. })));
    // The inner pages are smaller than the outer one.
    world.map(0, LARGE, 0x4000, R);
    assert!(matches!(
        entry(LARGE).memory(),
        Err(IotlbError::Granularity { contiguous: PAGE, .. })
    ));
}

/// O17, S12: what is discarded is not mapped.
#[test]
fn discarded_memory_is_refused() {
    let world = World::new();
    let vmem = world
        .board
        .memory
        .region("vmem")
        .ram(RamBlock::anonymous(0x4000).unwrap());
    let plugged = Arc::new(PopulatedRanges::new(0x4000, 0x2000).unwrap());
    vmem.set_ram_discard_manager(Some(plugged.clone())).unwrap();
    world.board.map(&world.board.system, RAM, &vmem);
    world.map(0, 0, RAM + 0x1000, R | W);
    let memory = || {
        world
            .iommu
            .iommu_ops()
            .unwrap()
            .translate(0, IommuAccess::empty(), 0)
            .memory()
    };
    let discarded = IotlbError::Discarded {
        address: RAM + 0x1000,
    };
    assert_eq!(memory().unwrap_err(), discarded);
    plugged.populate(range(0, 0x2000)).unwrap();
    assert!(memory().unwrap().ram_discard_manager().is_some());
    plugged.discard(range(0, 0x2000)).unwrap();
    assert_eq!(memory().unwrap_err(), discarded);
}

/// O18: translations need no lock, and happen within updates of others.
#[test]
fn translations_happen_on_many_threads_and_during_updates() {
    let world = World::new();
    for page in 0..16 {
        world.map(0, page * PAGE, page * PAGE, R);
    }
    let update = world.board.memory.update(|_| {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let world = &world;
                scope.spawn(move || {
                    for page in 0..16 {
                        let page = (page + thread) % 16;
                        assert_eq!(world.load(page * PAGE), Some(page * PAGE));
                    }
                });
            }
        });
        Ok(())
    });
    update.unwrap();
}
