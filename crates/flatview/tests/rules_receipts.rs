//! Readers and receipts: E12 and C41 of the reference, and what takes the place of RCU callbacks.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use flatview::{Error, MemTxAttrs, MemTxError, Memory, MemoryRegionOps, Region, WeakMemory};
use support::{Board, shows};

/// E12, B23: updates of several threads take turns; readers see whole commits only, and wait for nobody.
#[test]
fn readers_on_other_threads_see_whole_commits_only() {
    let board = Board::new();
    // A move of `left` is in the same commit as a move of `right`, so the two are always as far apart.
    let (left, right) = (board.io("left", 0x10), board.io("right", 0x10));
    board.map(&board.system, 0, &left);
    board.map(&board.system, 0x1000, &right);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reads = scope.spawn(|| {
            let (mut reader, mut reads) = (board.space.reader(), 0);
            while !done.load(Ordering::Relaxed) || reads == 0 {
                let starts: Vec<u64> = reader.view().iter().map(|range| range.start()).collect();
                assert_eq!(starts.len(), 2);
                assert_eq!(starts[1] - starts[0], 0x1000);
                reads += 1;
            }
            reads
        });
        let writers = [1u64, 2].map(|factor| {
            let (board, left, right) = (&board, &left, &right);
            scope.spawn(move || {
                for step in 0..200 {
                    board.update(|tx| {
                        tx.set_address(left, step * factor * 0x10)?;
                        tx.set_address(right, step * factor * 0x10 + 0x1000)
                    });
                }
            })
        });
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        assert!(reads.join().unwrap() > 0);
    });
}

/// A receipt is quiesced when nobody uses what its update, or an earlier one, replaced.
#[test]
fn a_receipt_knows_who_still_looks() {
    let board = Board::new();
    let io = board.io("io", 0x1000);
    board.map(&board.system, 0, &io);
    let mut reader = board.space.reader();
    reader.find(0);
    let snapshot = board.space.view();
    let unplugged = board.unmap(&board.system, &io);
    let later = board.update(|_| Ok(()));
    assert!(!unplugged.is_quiesced() && !later.is_quiesced());
    drop(snapshot);
    assert!(!unplugged.is_quiesced() && !later.is_quiesced());
    reader.release();
    assert!(unplugged.is_quiesced() && later.is_quiesced());
    later.wait().unwrap();
    // A view that is current is no obstacle.
    let _current = board.space.view();
    assert!(board.update(|tx| tx.set_readonly(&io, true)).is_quiesced());
}

/// The wait ends with the last reader, on whichever thread; also where the space moved to another view, so
/// that what is waited for is held by something that is waited for itself.
#[test]
fn a_wait_ends_when_the_last_reader_lets_go() {
    for keeps_its_root in [true, false] {
        let board = Board::new();
        let io = board.io("io", 0x1000);
        board.map(&board.system, 0, &io);
        if keeps_its_root {
            board.map(&board.system, 0x4000, &board.io("another", 0x1000));
            board.map(&board.system, 0x8000, &board.io("yet another", 0x1000));
        }
        let (hold, held) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let (waited, wait_is_over) = mpsc::channel();
        let space = board.space.clone();
        let reads = thread::spawn(move || {
            let mut reader = space.reader();
            reader.find(0);
            hold.send(()).unwrap();
            gone.recv().unwrap();
            reader.release();
        });
        held.recv().unwrap();
        let receipt = board.unmap(&board.system, &io);
        assert!(!receipt.is_quiesced());
        let waits = thread::spawn(move || {
            receipt.wait().unwrap();
            waited.send(()).unwrap();
        });
        assert!(
            wait_is_over.recv_timeout(Duration::from_millis(20)).is_err(),
            "a reader looks"
        );
        go.send(()).unwrap();
        wait_is_over
            .recv_timeout(Duration::from_secs(60))
            .expect("nobody looks any more");
        waits.join().unwrap();
        reads.join().unwrap();
    }
}

/// Waiting within the update that would have to end first, or within any other of the same memory.
#[test]
fn a_wait_within_an_update_is_refused_at_once() {
    let (board, other) = (Board::new(), Board::new());
    let receipt = board.update(|_| Ok(()));
    let elsewhere = other.update(|_| Ok(()));
    board.update(|_| {
        assert!(matches!(receipt.wait(), Err(Error::WaitInCallback)));
        elsewhere.wait()
    });
    receipt.wait().unwrap();
}

/// A device that takes its other regions out of the machine when the last of it goes.
struct Device {
    memory: WeakMemory,
    bus: Region,
    other: Region,
    worked: Arc<Mutex<Option<bool>>>,
}

impl MemoryRegionOps for Device {
    fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(0)
    }

    fn write(&self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        Ok(())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let memory: Option<Memory> = self.memory.upgrade();
        let worked = memory.map(|memory| {
            memory
                .update(|tx| tx.del_subregion(&self.bus, &self.other))
                .is_ok()
        });
        *self.worked.lock().expect("nobody panicked") = worked;
    }
}

/// E9, B17: what an update lets go of goes when the update is over: a device may tidy up after itself.
#[test]
fn a_device_that_goes_with_an_update_may_make_one_of_its_own() {
    let board = Board::new();
    let other = board.io("other", 0x1000);
    let worked = Arc::new(Mutex::new(None));
    let device = Device {
        memory: board.memory.downgrade(),
        bus: board.system.clone(),
        other: other.clone(),
        worked: Arc::clone(&worked),
    };
    let mmio = board.memory.region("mmio").io(0x1000, Arc::new(device));
    board.map(&board.system, 0, &mmio);
    board.map(&board.system, 0x1000, &other);
    // The handle goes first, so that the tree and the view have the last ones.
    let system = board.system.clone();
    drop(mmio);
    board.update(|tx| {
        let mmio = system.subregions()?.pop().expect("the first one mapped");
        assert_eq!(mmio.name(), "mmio");
        tx.del_subregion(&system, &mmio)
    });
    assert_eq!(*worked.lock().unwrap(), Some(true));
    shows(&board.space, &[]);
}
