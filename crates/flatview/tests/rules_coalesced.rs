//! Group J of the reference: which writes may be collected, and how they are delivered. Collecting them is an
//! accelerator's.

mod support;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use flatview::{
    AddressRange, CoalescedRing, CoalescedWrite, MemTxAttrs, MemTxError, MemoryRegionOps, Region, Size,
    WeakMemory,
};
use support::{Board, Listening, Log, Recorder};

/// The coalesced parts of a region, as offsets.
fn parts(region: &Region) -> Vec<(u64, u64)> {
    let parts = region.state().expect("the memory is there").coalesced;
    parts.iter().map(|part| (part.start(), part.last())).collect()
}

/// J1: all of it, and nothing else.
#[test]
fn set_coalescing_replaces_what_there_was_by_all_of_the_region() {
    let scene = Listening::new();
    let Listening { board, io, .. } = &scene;
    board.update(|tx| tx.add_coalescing(io, 0x10, 0x10));
    scene.heard(&["coalesced_io_add 1010-101f"]);
    board.update(|tx| tx.set_coalescing(io));
    scene.heard(&["coalesced_io_del 1010-101f", "coalesced_io_add 1000-1fff"]);
    assert_eq!(parts(io), [(0, 0xfff)]);

    // QEMU asserts here.
    let all = board.io("all", Size::MAX);
    board.update(|tx| tx.set_coalescing(&all));
    assert_eq!(all.state().unwrap().coalesced, [AddressRange::ALL]);
}

/// J1: when that is refused, what there was stays.
#[test]
fn set_coalescing_of_a_region_without_bytes_changes_nothing() {
    let scene = Listening::new();
    let Listening { board, io, .. } = &scene;
    board.update(|tx| tx.add_coalescing(io, 0x10, 0x10));
    board.update(|tx| {
        tx.set_size(io, 0)?;
        assert!(tx.set_coalescing(io).is_err());
        Ok(())
    });
    assert_eq!(parts(io), [(0x10, 0x1f)]);
    assert!(io.state().unwrap().flush_coalesced);
}

/// J2, J4: within the update, cut down to what is shown, wherever that is; accesses have to flush.
//
//  io @1000:            [……[part………]……………]     lid over its first half
//  window onto io@0x18 at 8000:  [………]
#[test]
fn a_part_is_told_wherever_the_region_is_shown() {
    let scene = Listening::new();
    let Listening { board, io, .. } = &scene;
    board.update(|tx| {
        tx.add_subregion_overlap(&board.system, 0x1000, &board.io("lid", 0x14), 1)?;
        tx.add_subregion(&board.system, 0x8000, &board.alias("window", io, 0x18, 0x100))
    });
    scene.log.take();
    assert!(!io.state().unwrap().flush_coalesced);
    board.update(|tx| tx.add_coalescing(io, 0x10, 0x10));
    scene.heard(&["coalesced_io_add 1014-101f", "coalesced_io_add 8000-8007"]);
    assert!(io.state().unwrap().flush_coalesced);
    assert_eq!(parts(io), [(0x10, 0x1f)]);
    assert_eq!(board.space.view().len(), 3, "no range was replaced for it");
}

/// J2, J3: in the order in which they were added.
#[test]
fn clear_coalescing_takes_every_part_back() {
    let scene = Listening::new();
    let Listening { board, io, .. } = &scene;
    board.update(|tx| {
        tx.add_coalescing(io, 0x40, 8)?;
        tx.add_coalescing(io, 0x10, 8)
    });
    scene.heard(&["coalesced_io_add 1040-1047", "coalesced_io_add 1010-1017"]);
    board.update(|tx| tx.clear_coalescing(io));
    scene.heard(&["coalesced_io_del 1040-1047", "coalesced_io_del 1010-1017"]);
    assert_eq!(parts(io), []);
    assert!(!io.state().unwrap().flush_coalesced);
    board.update(|tx| tx.clear_coalescing(io));
    scene.heard(&[]);
}

/// J2: what comes down to the same zone is one zone, for as long as any of it is there.
#[test]
fn a_zone_is_told_once_however_often_it_was_added() {
    let scene = Listening::new();
    let Listening { board, io, .. } = &scene;
    for _ in 0..2 {
        board.update(|tx| tx.add_coalescing(io, 0x10, 0x10));
    }
    scene.heard(&["coalesced_io_add 1010-101f"]);
    // Two parts that differ only where a lid hides the difference.
    board.update(|tx| {
        tx.add_coalescing(io, 0x8, 0x18)?;
        tx.add_subregion_overlap(&board.system, 0x1000, &board.io("lid", 0x10), 1)
    });
    assert_eq!(scene.listener.others(), ["coalesced 1010-101f"]);
    scene.log.take();
    board.update(|tx| tx.clear_coalescing(io));
    scene.heard(&["coalesced_io_del 1010-101f"]);
}

/// J4: a region without parts of its own can ask for the flush, too; one with parts keeps it.
#[test]
fn the_flush_mark_stays_while_a_region_has_parts() {
    let Listening { board, io, .. } = &Listening::new();
    let flushes = || io.state().unwrap().flush_coalesced;
    board.update(|tx| tx.set_flush_coalesced(io, true));
    assert!(flushes());
    board.update(|tx| tx.set_flush_coalesced(io, false));
    assert!(!flushes());
    board.update(|tx| {
        tx.add_coalescing(io, 0, 8)?;
        tx.set_flush_coalesced(io, false)
    });
    assert!(flushes());
    board.update(|tx| tx.clear_coalescing(io));
    assert!(!flushes());
}

/// J6: a part goes before its range goes and comes after its range comes.
#[test]
fn parts_go_with_their_range() {
    let scene = Listening::new();
    let Listening { board, io, .. } = &scene;
    board.update(|tx| {
        tx.add_coalescing(io, 0x10, 8)?;
        tx.add_coalescing(io, 0x20, 8)
    });
    scene.log.take();
    board.update(|tx| tx.set_address(io, 0x4000));
    scene.heard(&[
        "coalesced_io_del 1010-1017",
        "coalesced_io_del 1020-1027",
        "region_del 1000-1fff io@0",
        "region_add 4000-4fff io@0",
        "coalesced_io_add 4010-4017",
        "coalesced_io_add 4020-4027",
    ]);
    // A lid between the two: each half has its own.
    board.overlap(&board.system, 0x4018, &board.io("lid", 8), 1);
    scene.heard(&[
        "coalesced_io_del 4010-4017",
        "coalesced_io_del 4020-4027",
        "region_del 4000-4fff io@0",
        "region_add 4000-4017 io@0",
        "coalesced_io_add 4010-4017",
        "region_add 4018-401f lid@0",
        "region_add 4020-4fff io@20",
        "coalesced_io_add 4020-4027",
    ]);
}

/// J7: QEMU stops at the first part that a range does not show.
#[test]
fn who_joins_hears_of_every_part_that_is_shown() {
    let Listening { board, io, .. } = &Listening::new();
    board.update(|tx| {
        tx.add_coalescing(io, 0x10, 8)?;
        tx.add_coalescing(io, 0x20, 8)?;
        tx.add_coalescing(io, 0x30, 8)?;
        tx.add_subregion_overlap(&board.system, 0x1020, &board.io("lid", 8), 1)
    });
    let log = Log::new();
    let late = Arc::new(Recorder::new("late", 0, &log));
    let registration = board.space.register(late).unwrap();
    log.heard(&[
        "late.prepare",
        "late.begin",
        "late.region_add 1000-101f io@0",
        "late.coalesced_io_add 1010-1017",
        "late.region_add 1020-1027 lid@0",
        "late.region_add 1028-1fff io@28",
        "late.coalesced_io_add 1030-1037",
        "late.commit",
    ]);
    registration.unregister().unwrap();
    log.heard(&[
        "late.begin",
        "late.coalesced_io_del 1010-1017",
        "late.region_del 1000-101f io@0",
        "late.region_del 1020-1027 lid@0",
        "late.coalesced_io_del 1030-1037",
        "late.region_del 1028-1fff io@28",
        "late.commit",
    ]);
}

/// J10: PIIX's configuration address port, a part of a region of ports.
#[test]
fn ports_are_coalesced_like_memory() {
    let board = Board::new();
    let ports = board.container("io", 0x1_0000);
    let space = board.look_at("I/O", &ports);
    let log = Log::new();
    let (_l, _registration) = Recorder::new("L", 0, &log).on(&space);
    let address = board.io("pci-conf-idx", 4);
    board.update(|tx| {
        tx.add_subregion(&ports, 0xcf8, &address)?;
        tx.add_coalescing(&address, 0, 4)
    });
    assert!(log.take().contains(&"L.coalesced_io_add cf8-cfb".to_owned()));
}

/// B6, J2: a part that lies beyond the end of a region that has shrunk is told again when it grows.
#[test]
fn a_part_beyond_the_end_waits_for_the_region_to_grow() {
    let scene = Listening::new();
    let Listening { board, io, .. } = &scene;
    board.update(|tx| tx.add_coalescing(io, 0x800, 8));
    board.update(|tx| tx.set_size(io, 0x804));
    assert_eq!(scene.listener.others(), ["coalesced 1800-1803"]);
    board.update(|tx| tx.set_size(io, 0x100));
    assert_eq!(scene.listener.others(), [""; 0]);
    assert_eq!(parts(io), [(0x800, 0x807)]);
    board.update(|tx| tx.set_size(io, 0x1000));
    assert_eq!(scene.listener.others(), ["coalesced 1800-1807"]);
    assert!(!scene.log.take().iter().any(|line| line.contains("MISTAKE")));
}

/// J8, J9, J11: writes that were collected are delivered in their order; a device that drains while it is written to
/// does not deliver the next one before this one.
#[test]
fn collected_writes_are_delivered_in_their_order() {
    #[derive(Default)]
    struct Ring(Mutex<VecDeque<CoalescedWrite>>);
    impl CoalescedRing for Ring {
        fn take(&self) -> Option<CoalescedWrite> {
            self.0.lock().ok()?.pop_front()
        }
    }
    /// Drains whenever it is written to.
    struct Drains(Mutex<Vec<u64>>, WeakMemory);
    impl MemoryRegionOps for Drains {
        fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
            Ok(0)
        }
        fn write(&self, _: u64, _: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
            let drained = self.1.upgrade().map(|memory| memory.drain_coalesced());
            assert_eq!(drained, Some(0));
            self.0.lock().unwrap().push(value);
            Ok(())
        }
    }
    let board = Board::new();
    let drains = Arc::new(Drains(Mutex::default(), board.memory.downgrade()));
    let device = board
        .memory
        .region("device")
        .io(8, Arc::clone(&drains) as Arc<dyn MemoryRegionOps>);
    board.map(&board.system, 0, &device);
    assert_eq!(board.memory.drain_coalesced(), 0, "nobody collects");
    let ring = Arc::new(Ring::default());
    let before = board
        .memory
        .set_coalesced_ring(Some(Arc::clone(&ring) as Arc<dyn CoalescedRing>));
    assert!(before.is_none());
    let collect = |address, bytes: &[u8]| {
        ring.0
            .lock()
            .unwrap()
            .push_back(CoalescedWrite::new(&board.space, address, bytes));
    };
    collect(0, &[1]);
    collect(0x4000, &[2]);
    collect(4, &[3, 0, 0, 0]);
    collect(0, &[4, 0, 0, 0, 0, 0, 0, 0, 0xff]);
    assert_eq!(board.memory.drain_coalesced(), 4, "also what nobody takes");
    assert_eq!(
        *drains.0.lock().unwrap(),
        [1, 3, 4, 0],
        "eight bytes are two words of this device"
    );
    assert_eq!(board.memory.drain_coalesced(), 0);
    assert!(board.memory.set_coalesced_ring(None).is_some());
    collect(0, &[5]);
    assert_eq!(board.memory.drain_coalesced(), 0);
}
