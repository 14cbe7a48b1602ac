//! Readers and receipts: E12 and C41 of the reference, and what takes the place of RCU callbacks. That waits end
//! is in `leaks.rs`.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use flatview::Error;
use support::Board;

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

/// G7, C41: a receipt is quiesced when nobody uses what its update, or an earlier one, replaced.
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

/// B23, E12: making and dropping regions, aliases and spaces needs no turn, and takes nothing from an update that
/// runs meanwhile.
#[test]
fn regions_and_spaces_come_and_go_while_others_update() {
    let board = Board::new();
    let io = board.io("io", 0x1000);
    board.map(&board.system, 0, &io);
    board.map(&board.system, 0x8000, &board.ram("ram", 0x1000));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..2 {
            let (board, done) = (&board, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let container = board.container(&format!("{number}"), 0x10_0000);
                    let window = board.alias("window", &board.system, 0, 0x10_0000);
                    board.map(&container, 0, &window);
                    let space = board.look_at("space", &container);
                    drop((container, window));
                    assert_eq!(space.view().len(), 2);
                    let inside = space.root().subregions().unwrap();
                    drop((space, inside));
                }
            });
        }
        for step in 0..300 {
            board.update(|tx| tx.set_address(&io, (step % 4) * 0x1000));
        }
        done.store(true, Ordering::Relaxed);
    });
    board.update(|_| Ok(()));
    assert_eq!(board.memory.address_spaces(), std::slice::from_ref(&board.space));
}
