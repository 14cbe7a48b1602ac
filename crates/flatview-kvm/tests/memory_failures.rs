//! What the kernel cannot take is refused, and nothing has happened (rules W3, W11); and nothing stays alive for the
//! sake of slots.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::error::Error as _;
use std::sync::Arc;

use flatview::{Error, MemoryListener, RamBlock, UnassignedIo, ViewChange};
use flatview_accel::AccelError;
use flatview_kvm::{KvmAccelerator, KvmConfig, KvmError};
use support::{Board, slots};

fn with_slots(count: u32) -> Option<KvmAccelerator> {
    let mut config = KvmConfig::default();
    config.max_slots = Some(count);
    support::accelerator(config)
}

#[test]
fn w3_too_many_slots_are_refused_before_anything_happens() {
    let Some(kvm) = with_slots(3) else { return };
    let board = Board::new();
    board.map_ram("ram", 0, 0x1_0000, 0);
    board.attach_to(&kvm);
    let hole = board.memory.region("hole").io(0x1000, Arc::new(UnassignedIo));
    let two_holes = board.memory.region("two").container(0x1_0000);
    let again = board.memory.region("again").alias(&hole, 0, 0x1000).unwrap();
    let third = board.memory.region("third").alias(&hole, 0, 0x1000).unwrap();
    board.update(|tx| {
        tx.add_subregion(&two_holes, 0x2000, &hole)?;
        tx.add_subregion(&two_holes, 0x6000, &again)?;
        tx.add_subregion(&two_holes, 0xa000, &third)
    });

    let (before, view) = (kvm.statistics(), format!("{:?}", board.space.view()));
    let refused = board
        .memory
        .update(|tx| tx.add_subregion_overlap(&board.system, 0, &two_holes, 1))
        .unwrap_err();
    assert!(matches!(&refused, Error::Refused { listener, .. } if &**listener == "kvm-memory"));
    let source = refused.source().unwrap().downcast_ref::<KvmError>();
    assert!(
        matches!(source, Some(KvmError::NoFreeSlots { needed: 4, most: 3 })),
        "{source:?}"
    );
    assert_eq!(kvm.statistics(), before);
    assert_eq!(format!("{:?}", board.space.view()), view);

    board.update(|tx| {
        tx.set_enabled(&third, false)?;
        tx.add_subregion_overlap(&board.system, 0, &two_holes, 1)
    });
    assert_eq!(
        slots(&kvm),
        ["0: 0x0 0x2000 0", "1: 0x3000 0x3000 0", "2: 0x7000 0x9000 0"]
    );
    assert_eq!(kvm.free_slots(), 0);
}

#[test]
fn a_board_with_too_much_memory_cannot_be_attached_and_a_smaller_one_can() {
    let Some(kvm) = with_slots(2) else { return };
    let board = Board::new();
    board.map_ram("a", 0, 0x1000, 0);
    board.map_ram("b", 0x2000, 0x1000, 0);
    let last = board.map_ram("c", 0x4000, 0x1000, 0);
    let refused = kvm
        .attach(&board.memory, &board.space, &board.ports, None)
        .unwrap_err();
    assert!(
        matches!(refused, AccelError::Memory(Error::Refused { .. })),
        "{refused}"
    );
    assert_eq!(slots(&kvm), [""; 0]);
    board.update(|tx| tx.del_subregion(&board.system, &last));
    board.attach_to(&kvm);
    assert_eq!(slots(&kvm).len(), 2);
}

/// Fails in `commit`, after the slots were made.
#[derive(Debug)]
struct Stubborn;

impl MemoryListener for Stubborn {
    fn name(&self) -> &str {
        "stubborn"
    }

    fn priority(&self) -> u32 {
        99
    }

    fn commit(&self, view: &flatview::FlatView) -> flatview::ListenerResult {
        match view.len() {
            0..=1 => Ok(()),
            _ => Err("no".into()),
        }
    }
}

/// Refuses in `prepare`.
#[derive(Debug)]
struct Careful;

impl MemoryListener for Careful {
    fn name(&self) -> &str {
        "careful"
    }

    fn priority(&self) -> u32 {
        98
    }

    fn prepare(&self, change: &ViewChange<'_>) -> flatview::ListenerResult {
        match change.new_view().len() {
            0..=3 => Ok(()),
            _ => Err("too many".into()),
        }
    }
}

#[test]
fn w4_what_another_listener_fails_at_is_taken_back() {
    let Some(kvm) = with_slots(100) else { return };
    let board = Board::new();
    let ram = board.map_ram("ram", 0, 0x1_0000, 0);
    board.attach_to(&kvm);
    let _careful = board.space.register(Arc::new(Careful)).unwrap();
    let _stubborn = board.space.register(Arc::new(Stubborn)).unwrap();
    let hole = board.memory.region("hole").io(0x1000, Arc::new(UnassignedIo));

    let before = kvm.statistics();
    let failed = board
        .memory
        .update(|tx| tx.add_subregion_overlap(&board.system, 0x8000, &hole, 1));
    assert!(matches!(failed, Err(Error::ListenerFailed { .. })), "{failed:?}");
    assert_eq!(slots(&kvm), ["0: 0x0 0x10000 0"]);
    let after = kvm.statistics();
    assert_eq!(after.slots_created - before.slots_created, 3);
    assert_eq!(after.slots_deleted - before.slots_deleted, 3);

    // Refused by one that is asked later: nothing was done, and nothing remains queued.
    let failed = board.memory.update(|tx| {
        tx.add_subregion_overlap(&board.system, 0x8000, &hole, 1)?;
        let alias = board.memory.region("alias").alias(&ram, 0, 0x1000)?;
        tx.add_subregion(&board.system, 0x10_0000, &alias)
    });
    assert!(matches!(failed, Err(Error::Refused { .. })), "{failed:?}");
    assert_eq!(kvm.statistics(), after);
    board.update(|tx| tx.set_log(&ram, true));
    assert_eq!(slots(&kvm), ["0: 0x0 0x10000 1"]);
}

/// Memory that says when it goes.
fn watched() -> (RamBlock, std::sync::Weak<()>) {
    let token = Arc::new(());
    let weak = Arc::downgrade(&token);
    let block = RamBlock::builder(0x4000).on_resize(move |_, _| drop(Arc::clone(&token)));
    let block = block.anonymous().unwrap();
    assert!(weak.upgrade().is_some());
    (block, weak)
}

#[test]
fn a_slot_keeps_its_memory_until_the_kernel_has_let_go() {
    let Some(kvm) = with_slots(100) else { return };
    let board = Board::new();
    let (block, weak) = watched();
    let region = board.memory.region("dimm").ram(block);
    board.map(&region, 0, 0);
    board.attach_to(&kvm);
    board.update(|tx| tx.del_subregion(&board.system, &region));
    drop(region);
    // What a commit leaves is freed by the next one at the latest.
    board.map_ram("other", 0x10_0000, 0x1000, 0);
    assert!(weak.upgrade().is_none(), "unplugged memory is gone");
}

#[test]
fn nothing_stays_alive_whatever_goes_first() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let Some(kvm) = with_slots(100) else { return };
        let board = Board::new();
        let (block, weak) = watched();
        let region = board.memory.region("dimm").ram(block);
        board.map(&region, 0, 0);
        board.attach_to(&kvm);
        let memory = board.memory.downgrade();
        let slots = kvm.slots(0);
        drop((region, slots));
        let (mut kvm, mut board) = (Some(kvm), Some(board));
        let mut space = board.as_ref().map(|board| board.space.clone());
        for what in order {
            match what {
                0 => drop(kvm.take()),
                1 => drop(board.take()),
                _ => drop(space.take()),
            }
            if let (Some(kvm), None) = (&kvm, &board) {
                assert!(
                    kvm.slots(0).is_empty(),
                    "the memory is gone, and its slots with it"
                );
            }
        }
        assert!(weak.upgrade().is_none(), "{order:?}");
        assert!(memory.upgrade().is_none(), "{order:?}");
    }
}
