//! Marks and harvests in every order that the memory model allows: `log.rs` once more, on loom's primitives, in the
//! form in which writers have a fence of their own (no `membarrier`, of which loom knows nothing).
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p flatview --lib log_loom --release`.
//!
//! Memory is one number a page. In each model a harvester copies it when its page is marked; when the writers have
//! ended and the last marks were taken, the copy equals memory.

#[path = "../primitive_loom.rs"]
mod primitive;

#[path = "log.rs"]
#[allow(dead_code, reason = "the models need a part of it")]
#[expect(
    clippy::duplicate_mod,
    reason = "once with the primitives of std, once with loom's"
)]
mod log;

/// What `barrier.rs` is where the kernel does not help.
mod barrier {
    use super::primitive::{Ordering, fence};

    pub(super) fn is_available() -> bool {
        false
    }

    pub(super) fn all_threads() {
        fence(Ordering::SeqCst);
    }
}

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread::{self, JoinHandle};

use self::log::DirtyLog;
use crate::address::AddressRange;
use crate::dirty::{DirtyBitmap, DirtyClients, PAGE_SHIFT, PAGE_SIZE};

const CLIENT: DirtyClients = DirtyClients::MIGRATION;

/// Who wants the log; any number.
const MEMORY: usize = 1;

struct Machine {
    pages: [AtomicU64; 2],
    log: DirtyLog,
}

impl Machine {
    fn new() -> Arc<Machine> {
        Arc::new(Machine {
            pages: [AtomicU64::new(0), AtomicU64::new(0)],
            log: DirtyLog::new(2 * PAGE_SIZE),
        })
    }

    /// Everything is copied once, so no page is marked.
    fn logging() -> (Arc<Machine>, [u64; 2]) {
        let (machine, mut copy) = (Machine::new(), [u64::MAX; 2]);
        machine.start();
        machine.harvest(&mut copy);
        (machine, copy)
    }

    fn start(&self) {
        if self.log.set_wanted(MEMORY, CLIENT) {
            barrier::all_threads();
        }
    }

    fn stop(&self) {
        self.log.set_wanted(MEMORY, DirtyClients::empty());
    }

    fn write(&self, page: usize, value: u64) {
        self.pages[page].store(value, Ordering::Relaxed);
        self.log.written((page as u64) << PAGE_SHIFT, 8);
    }

    fn harvest(&self, copy: &mut [u64; 2]) {
        let bytes = AddressRange::new(0, 2 * PAGE_SIZE).expect("not empty");
        let mut bitmap = DirtyBitmap::new(bytes);
        self.log.take(0, 2 * PAGE_SIZE, CLIENT, &mut bitmap);
        for at in bitmap.pages() {
            let page = usize::from(at != 0);
            copy[page] = self.pages[page].load(Ordering::Relaxed);
        }
    }

    /// The last harvest.
    fn check(&self, mut copy: [u64; 2]) {
        self.harvest(&mut copy);
        let memory = self.pages.each_ref().map(|page| page.load(Ordering::Relaxed));
        assert_eq!(copy, memory, "a page is lost");
    }
}

fn writer(machine: &Arc<Machine>, writes: &'static [(usize, u64)]) -> JoinHandle<()> {
    let machine = Arc::clone(machine);
    thread::spawn(move || {
        for &(page, value) in writes {
            machine.write(page, value);
        }
    })
}

/// The first write marks, the second finds the mark that a harvest takes.
#[test]
fn no_write_hides_behind_a_mark_that_is_taken() {
    loom::model(|| {
        let (machine, mut copy) = Machine::logging();
        let writer = writer(&machine, &[(0, 1), (0, 2)]);
        machine.harvest(&mut copy);
        writer.join().expect("it ends");
        machine.check(copy);
    });
}

#[test]
fn pages_of_one_word_are_marked_by_two_writers() {
    loom::model(|| {
        let (machine, mut copy) = Machine::logging();
        let writers = [writer(&machine, &[(0, 1)]), writer(&machine, &[(1, 2)])];
        machine.harvest(&mut copy);
        for writer in writers {
            writer.join().expect("it ends");
        }
        machine.check(copy);
    });
}

/// Who did not see that a log started has written before it looks at memory. It has logged once before: loom does not
/// see that `OnceLock` orders the making of its map before every look at it.
#[test]
fn a_log_that_starts_misses_no_write() {
    loom::model(|| {
        let (machine, _) = Machine::logging();
        machine.stop();
        let mut copy = [u64::MAX; 2];
        let writer = writer(&machine, &[(0, 1), (0, 2)]);
        machine.start();
        machine.harvest(&mut copy);
        writer.join().expect("it ends");
        machine.check(copy);
    });
}

/// The same for one that stops at that moment: what it knew is worth nothing.
#[test]
fn a_log_that_starts_again_misses_no_write() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let (machine, _) = Machine::logging();
        let writer = writer(&machine, &[(0, 1), (0, 2)]);
        machine.stop();
        let mut copy = [u64::MAX; 2];
        machine.start();
        machine.harvest(&mut copy);
        writer.join().expect("it ends");
        machine.check(copy);
    });
}
