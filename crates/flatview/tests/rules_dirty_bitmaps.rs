//! Group P of the reference: which pages were written. Who is told to log is in `rules_dirty_logging.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "helpers of tests fail as tests do"
)]

mod support;

use std::sync::{Arc, Mutex};

use flatview::{
    AddressRange, AtomicOp, DirtyBitmap, DirtyClients, Endianness, Error, GlobalDirty, ListenerResult,
    LogSync, MemTxAttrs, Memory, MemoryListener, MemoryRegionSection, RamBlock, Region,
};
use support::Board;

const ATTRS: MemTxAttrs = MemTxAttrs::UNSPECIFIED;
const LE: Endianness = Endianness::Little;
const VGA: DirtyClients = DirtyClients::VGA;
const MIGRATION: DirtyClients = DirtyClients::MIGRATION;
const PAGE: u64 = flatview::PAGE_SIZE;

fn pages(first: u64, count: u64) -> AddressRange {
    AddressRange::new(first * PAGE, count * PAGE).unwrap()
}

/// A board with so many pages of RAM at 0, logged by nobody.
fn board(count: u64) -> (Board, Region, RamBlock) {
    let (board, block) = (Board::new(), RamBlock::anonymous(count * PAGE).unwrap());
    let ram = board.memory.region("ram").ram(block.clone());
    board.map(&board.system, 0, &ram);
    (board, ram, block)
}

/// The dirty pages that a harvest finds.
fn harvest(memory: &Memory, ram: &Region, count: u64, client: DirtyClients) -> Vec<u64> {
    let bitmap = memory
        .snapshot_and_clear_dirty(ram, pages(0, count), client)
        .unwrap();
    bitmap.pages().map(|at| at / PAGE).collect()
}

/// P5, P7, P10, L6: every way to write marks the pages it touches, and no others.
#[test]
fn every_write_marks_its_pages() {
    let (board, ram, block) = board(130);
    board.update(|tx| tx.set_log(&ram, true));
    let harvest = || harvest(&board.memory, &ram, 130, VGA);
    assert_eq!(harvest().len(), 130, "P18: who begins knows nothing");
    assert_eq!(harvest(), [0; 0]);
    let mut reader = board.space.reader();
    for _ in 0..2 {
        reader.store(3 * PAGE, 1_u8, LE, ATTRS).unwrap();
        reader.store(5 * PAGE - 2, 1_u32, LE, ATTRS).unwrap();
        assert_eq!(harvest(), [3, 4, 5]);
    }
    let window = block.window(PAGE, 128 * PAGE).unwrap();
    let writes: [(&dyn Fn(), &[u64]); 8] = [
        (&|| board.space.write(PAGE - 1, &[1; 2], ATTRS).unwrap(), &[0, 1]),
        (
            &|| board.space.fill(62 * PAGE, 1, 4 * PAGE as usize, ATTRS).unwrap(),
            &[62, 63, 64, 65],
        ),
        (&|| assert_eq!(board.space.write_rom(9 * PAGE, &[1]), 1), &[9]),
        (&|| window.store(0, 1_u64).unwrap(), &[1]),
        (&|| window.write(127 * PAGE - 1, &[1; 2]).unwrap(), &[127, 128]),
        (&|| window.mark_dirty(0, 0).unwrap(), &[]),
        (&|| ram.set_dirty(pages(128, 2)).unwrap(), &[128, 129]),
        (
            &|| block.set_dirty_lebitmap(62 * PAGE, &[0b101, 1]),
            &[62, 64, 126],
        ),
    ];
    for (write, expected) in writes {
        write();
        assert_eq!(harvest(), expected);
    }
    let space = &board.space;
    space.atomic(7 * PAGE, AtomicOp::Add, 1_u32, LE, ATTRS).unwrap();
    space
        .compare_exchange(8 * PAGE, 1_u32, 2, LE, ATTRS)
        .unwrap()
        .unwrap_err();
    assert_eq!(
        harvest(),
        [7],
        "what was compared and not exchanged was not written"
    );
    let mut bytes = [0; 16];
    space.read(0, &mut bytes, ATTRS).unwrap();
    assert_eq!(harvest(), [0; 0]);
    let beyond = ram.set_dirty(pages(129, 2)).unwrap_err();
    assert_eq!(
        beyond.to_string(),
        "0x2000 bytes at 0x81000 are no range within the 0x82000 bytes of `ram`"
    );
}

/// P1, P3, P13: each client has its own marks, and only those of clients that log are made.
#[test]
fn clients_do_not_disturb_each_other() {
    let (board, ram, block) = board(4);
    let write = |page: u64| board.space.store(page * PAGE, 1_u8, LE, ATTRS).unwrap();
    let vga = || harvest(&board.memory, &ram, 4, VGA);
    let migration = || harvest(&board.memory, &ram, 4, MIGRATION);
    assert_eq!(block.logged_by(), DirtyClients::empty());
    board.update(|tx| tx.set_log(&ram, true));
    board
        .memory
        .global_dirty_log_start(GlobalDirty::MIGRATION)
        .unwrap();
    assert_eq!(block.logged_by(), VGA | MIGRATION);
    vga();
    migration();
    write(1);
    assert_eq!(vga(), [1]);
    write(2);
    assert_eq!((vga(), migration()), (vec![2], vec![1, 2]));
    board
        .memory
        .global_dirty_log_stop(GlobalDirty::MIGRATION)
        .unwrap();
    write(3);
    assert_eq!((vga(), migration()), (vec![3], vec![]));
    board.update(|tx| tx.set_log(&ram, false));
    write(0);
    assert_eq!((vga(), block.logged_by()), (vec![], DirtyClients::empty()));
    board.update(|tx| tx.set_log(&ram, true));
    assert_eq!(
        vga(),
        [0, 1, 2, 3],
        "P18: what was written meanwhile is not known"
    );
}

/// P13: memory that comes while all of it is tracked is tracked; a transaction that fails starts nothing.
#[test]
fn logs_follow_the_tree() {
    let (board, ram, block) = board(1);
    board
        .memory
        .global_dirty_log_start(GlobalDirty::DIRTY_RATE)
        .unwrap();
    let later = RamBlock::anonymous(PAGE).unwrap();
    let plugged = board.memory.region("plugged").ram(later.clone());
    assert_eq!(later.logged_by(), MIGRATION);
    board
        .memory
        .global_dirty_log_stop(GlobalDirty::DIRTY_RATE)
        .unwrap();
    assert_eq!(later.logged_by() | block.logged_by(), DirtyClients::empty());

    let failed = board.memory.update(|tx| {
        tx.set_log(&ram, true)?;
        Err::<(), _>(Error::other("changed my mind"))
    });
    assert!(failed.is_err());
    assert_eq!(block.logged_by(), DirtyClients::empty());
    board.update(|tx| tx.set_enabled(&ram, false));
    board.update(|tx| tx.set_log(&ram, true));
    assert_eq!(block.logged_by(), VGA, "also if nobody sees it");

    // P4, and a block that is part of two machines.
    let second = Board::new();
    let _there = second.memory.region("there").ram(block.clone());
    second.update(|tx| {
        tx.set_code_logging(true);
        Ok(())
    });
    assert_eq!(block.logged_by(), VGA | DirtyClients::CODE);
    drop((board, ram, plugged));
    assert_eq!(
        block.logged_by(),
        DirtyClients::CODE,
        "a machine that is gone logs nothing"
    );
}

/// P14: nor is a block that no region is left of.
#[test]
fn logs_end_without_regions() {
    let (board, _, _) = board(1);
    let why = GlobalDirty::MIGRATION;
    let unplugged = RamBlock::anonymous(PAGE).unwrap();
    board.memory.global_dirty_log_start(why).unwrap();
    drop(board.memory.region("unplugged").ram(unplugged.clone()));
    board.memory.global_dirty_log_stop(why).unwrap();
    assert_eq!(unplugged.logged_by(), DirtyClients::empty());

    let display = board.memory.region("display").ram(unplugged.clone());
    board.update(|tx| tx.set_log(&display, true));
    drop((display, board));
    assert_eq!(
        unplugged.logged_by(),
        DirtyClients::empty(),
        "the machine is gone"
    );
}

/// P26: questions; a client that never logged finds everything dirty.
#[test]
fn marks_can_be_asked_for() {
    let (board, ram, block) = board(3);
    assert!(block.is_dirty(pages(0, 3), VGA) && !block.includes_clean(pages(0, 3), VGA));
    board.update(|tx| tx.set_log(&ram, true));
    assert!(board.memory.reset_dirty(&ram, pages(1, 2), VGA).unwrap(), "P6");
    assert!(!board.memory.reset_dirty(&ram, pages(1, 2), VGA).unwrap());
    assert!(block.is_dirty(pages(0, 3), VGA) && block.includes_clean(pages(0, 3), VGA));
    assert!(!block.is_dirty(pages(1, 2), VGA) && !block.includes_clean(pages(0, 1), VGA));
    assert!(block.is_dirty(pages(1, 2), VGA | MIGRATION), "one of them");
    let inside = AddressRange::new(PAGE - 1, 2).unwrap();
    assert!(
        block.is_dirty(inside, VGA) && block.includes_clean(inside, VGA),
        "P7"
    );
    let no_memory = board.io("io", PAGE);
    let refused = board
        .memory
        .reset_dirty(&no_memory, pages(0, 1), VGA)
        .unwrap_err();
    assert!(matches!(refused, Error::WrongKind { .. }), "{refused}");
    let unbacked = board.ram("unbacked", 1 << 60);
    let huge = AddressRange::new(0, 1 << 60).unwrap();
    let refused = board
        .memory
        .snapshot_and_clear_dirty(&unbacked, huge, VGA)
        .unwrap_err();
    assert!(
        matches!(refused, Error::WrongKind { .. }),
        "no memory, no bitmap of 2^45 bytes"
    );
}

/// P10 is not copied: a harvest of some pages leaves the marks of their neighbours. P11.
#[test]
fn a_harvest_takes_what_was_asked_for() {
    let (board, ram, block) = board(200);
    board.update(|tx| tx.set_log(&ram, true));
    let taken = board
        .memory
        .snapshot_and_clear_dirty(&ram, pages(70, 60), VGA)
        .unwrap();
    assert_eq!(taken.count(), 60);
    assert_eq!(taken.runs().collect::<Vec<_>>(), [pages(70, 60)]);
    assert!(
        taken.is_dirty(pages(129, 5)) && !taken.is_dirty(pages(130, 70)) && !taken.is_dirty(pages(0, 70))
    );
    assert!(block.is_dirty(pages(69, 1), VGA) && block.is_dirty(pages(130, 1), VGA));
    assert!(!block.is_dirty(pages(70, 60), VGA));
    // P17: harvests add up.
    let mut bitmap = DirtyBitmap::new(pages(0, 200));
    assert_eq!(block.take_dirty(pages(0, 64), VGA, &mut bitmap), 64);
    ram.set_dirty(pages(3, 1)).unwrap();
    assert_eq!(
        block.take_dirty(pages(0, 200), VGA, &mut bitmap),
        76,
        "page 3 was there already"
    );
    assert_eq!(bitmap.runs().collect::<Vec<_>>(), [pages(0, 70), pages(130, 70)]);
    bitmap.clear();
    assert!(bitmap.is_empty() && bitmap.pages().next().is_none());
}

/// P9, P10, P12, P16, P19: an accelerator brings in what the guest wrote, and hears what was taken note of.
#[test]
fn listeners_bring_in_what_they_know() {
    struct Kernel {
        calls: Mutex<Vec<String>>,
        fails: Mutex<bool>,
    }
    impl MemoryListener for Kernel {
        fn name(&self) -> &str {
            "kernel"
        }
        fn log_sync_mode(&self) -> LogSync {
            LogSync::PerSection
        }
        fn log_sync(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
            let range = section.range();
            self.calls.lock().unwrap().push("sync".to_owned());
            let block = range.region().ram_block().ok_or("memory has a block")?;
            block.set_dirty_lebitmap(range.offset_in_region(), &[0b10]);
            Ok(())
        }
        fn log_clear(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
            self.calls
                .lock()
                .unwrap()
                .push(format!("clear {}", section.range().range()));
            if *self.fails.lock().unwrap() {
                Err("no".into())
            } else {
                Ok(())
            }
        }
        fn log_global_after_sync(&self) -> ListenerResult {
            self.calls.lock().unwrap().push("after".to_owned());
            Ok(())
        }
    }
    let (board, ram, block) = board(8);
    let kernel = Arc::new(Kernel {
        calls: Mutex::default(),
        fails: Mutex::default(),
    });
    let _registration = board
        .space
        .register(Arc::clone(&kernel) as Arc<dyn MemoryListener>)
        .unwrap();
    board.update(|tx| tx.set_log(&ram, true));
    harvest(&board.memory, &ram, 8, VGA);
    kernel.calls.lock().unwrap().clear();
    assert_eq!(harvest(&board.memory, &ram, 8, VGA), [1]);
    assert_eq!(
        *kernel.calls.lock().unwrap(),
        ["sync", "clear 0x0-0x7fff", "after"]
    );
    *kernel.fails.lock().unwrap() = true;
    let failed = board.memory.snapshot_and_clear_dirty(&ram, pages(0, 8), VGA);
    assert!(matches!(
        failed,
        Err(Error::ListenerFailed {
            callback: "log_clear",
            ..
        })
    ));
    assert!(block.is_dirty(pages(1, 1), VGA), "no mark was lost");
}

/// What a kernel said before the harvest failed, or ended in a panic, is not lost: it is in the next one.
#[test]
fn what_came_to_a_harvest_that_fails_is_put_back() {
    struct Fails(Mutex<u32>);
    impl MemoryListener for Fails {
        fn name(&self) -> &str {
            "fails"
        }
        fn log_sync_mode(&self) -> LogSync {
            LogSync::PerSection
        }
        fn log_sync(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
            let range = section.range();
            let block = range.region().ram_block().ok_or("memory has a block")?;
            let call = {
                let mut calls = self.0.lock().unwrap();
                *calls += 1;
                *calls
            };
            block.set_dirty_lebitmap(range.offset_in_region(), &[1 << call]);
            match call {
                2 => Err("no".into()),
                3 => panic!("on purpose"),
                _ => Ok(()),
            }
        }
    }
    let (board, ram, _) = board(8);
    let listener: Arc<dyn MemoryListener> = Arc::new(Fails(Mutex::default()));
    let _registration = board.space.register(listener).unwrap();
    board.update(|tx| tx.set_log(&ram, true));
    harvest(&board.memory, &ram, 8, VGA);
    let bytes = pages(0, 8);
    for _ in 0..2 {
        board
            .memory
            .snapshot_and_clear_dirty(&ram, bytes, VGA)
            .unwrap_err();
    }
    assert_eq!(harvest(&board.memory, &ram, 8, VGA), [2, 3, 4]);
    assert_eq!(harvest(&board.memory, &ram, 8, VGA), [5]);
}
