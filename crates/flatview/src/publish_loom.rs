//! The publish and read protocol in every order that the memory model allows: `publish.rs` once more, on
//! loom's primitives.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p flatview --lib publish_loom --release`, which takes half a minute. Where
//! all orders would take hours, it is those with few preemptions: [`model_within`] says how many.
//!
//! A view that a reader frees, a look at a view while it is freed, a thread that is never woken and a view that
//! is never freed are failures in each model.

#![expect(clippy::arc_with_non_send_sync, reason = "loom's threads take turns on one")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "primitive_loom.rs"]
mod primitive;
#[path = "publish.rs"]
#[expect(
    clippy::duplicate_mod,
    reason = "once with the primitives of std, once with loom's"
)]
mod publish;

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread::{self, JoinHandle};

use self::primitive::Arc;
use self::publish::{Binding, Cell, Hold, Outlet, Retired, Superseded};

loom::thread_local!(static IS_READER: std::cell::Cell<bool> = std::cell::Cell::new(false));

/// A view that shows its own number, and notices who looks at it and who frees it.
#[derive(Debug)]
struct View {
    number: usize,
    /// Looked into by readers, taken apart by who frees the view: loom fails if the two can meet.
    memory: UnsafeCell<()>,
    alive: std::sync::Arc<AtomicUsize>,
}

impl View {
    fn look(&self) -> usize {
        self.memory.with(|_| ());
        self.number
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.memory.with_mut(|_| ());
        self.alive.fetch_sub(1, SeqCst);
        if !std::thread::panicking() {
            assert!(!IS_READER.with(std::cell::Cell::get), "a reader frees a view");
        }
    }
}

/// What an updater and some readers share.
#[derive(Clone)]
struct Machine {
    retired: Arc<Retired<View>>,
    outlet: std::sync::Arc<Outlet<View>>,
    /// How many views there are; no primitive of the model.
    alive: std::sync::Arc<AtomicUsize>,
}

impl Machine {
    /// A machine with one space, which shows the view 0 of the cell returned.
    fn new() -> (Machine, Arc<Cell<View>>) {
        let alive = std::sync::Arc::default();
        let cell = Arc::new(Cell::new(view(0, &alive)));
        let machine = Machine {
            retired: Arc::new(Retired::new()),
            outlet: std::sync::Arc::new(Outlet::new(Arc::clone(&cell))),
            alive,
        };
        (machine, cell)
    }

    fn view(&self, number: usize) -> Arc<View> {
        view(number, &self.alive)
    }

    fn cell(&self, number: usize) -> Arc<Cell<View>> {
        Arc::new(Cell::new(self.view(number)))
    }

    /// One commit that changes a view. Returns the number of its receipt.
    fn publish(&self, cell: &Cell<View>, number: usize) -> u64 {
        let old = cell.publish(self.view(number));
        self.retire(Superseded::View(old))
    }

    /// One commit that moves the space.
    fn bind(&self, cell: &Arc<Cell<View>>) -> u64 {
        let old: Arc<Binding<View>> = self.outlet.bind(Arc::clone(cell));
        self.retire(Superseded::Binding(old))
    }

    fn retire(&self, superseded: Superseded<View>) -> u64 {
        let (number, unused) = self.retired.retire([superseded]);
        drop(unused);
        number
    }

    fn alive(&self) -> usize {
        self.alive.load(SeqCst)
    }

    fn reader(&self) -> Reader {
        Reader {
            hold: Hold::new(Arc::clone(&self.retired)),
            outlet: std::sync::Arc::clone(&self.outlet),
            newest: 0,
        }
    }

    /// A reader that has looked already.
    fn holder(&self) -> Reader {
        let mut reader = self.reader();
        reader.look();
        reader
    }
}

fn view(number: usize, alive: &std::sync::Arc<AtomicUsize>) -> Arc<View> {
    alive.fetch_add(1, SeqCst);
    Arc::new(View {
        number,
        memory: UnsafeCell::new(()),
        alive: std::sync::Arc::clone(alive),
    })
}

/// What [`crate::Reader`] is around a [`Hold`].
struct Reader {
    hold: Hold<View>,
    outlet: std::sync::Arc<Outlet<View>>,
    newest: usize,
}

impl Reader {
    fn look(&mut self) -> usize {
        if !self.hold.is_current() {
            self.hold.refresh(&self.outlet);
        }
        let number = self.hold.held().expect("just refreshed").look();
        assert!(number >= self.newest, "{number} seen after {}", self.newest);
        self.newest = number;
        number
    }
}

fn spawn_reader<T: 'static>(read: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
    thread::spawn(|| {
        IS_READER.with(|is_reader| is_reader.set(true));
        read()
    })
}

/// Runs a model in all orders.
fn model(check: impl Fn(&Machine, Arc<Cell<View>>) + Send + Sync + 'static) {
    model_within(None, check);
}

/// Runs a model in all orders that take threads off the CPU at most that often before they block. When it is
/// over, nothing may be alive.
fn model_within(
    preemptions: impl Into<Option<usize>>,
    check: impl Fn(&Machine, Arc<Cell<View>>) + Send + Sync + 'static,
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions.into();
    builder.check(move || {
        let (machine, cell) = Machine::new();
        check(&machine, cell);
        let alive = std::sync::Arc::clone(&machine.alive);
        assert!(
            machine.retired.is_quiesced(u64::MAX),
            "somebody holds a view for ever"
        );
        drop(machine);
        assert_eq!(alive.load(SeqCst), 0, "views are left");
    });
}

#[test]
fn a_reader_sees_old_or_new_and_never_goes_back() {
    model_within(5, |machine, cell| {
        let mut reader = machine.reader();
        let reading = spawn_reader(move || {
            reader.look();
            reader.look();
            reader
        });
        machine.publish(&cell, 1);
        machine.publish(&cell, 2);
        let mut reader = reading.join().unwrap();
        assert_eq!(reader.look(), 2);
    });
}

#[test]
fn what_was_published_before_a_look_is_seen() {
    model(|machine, cell| {
        let mut reader = machine.holder();
        let published = std::sync::Arc::new(AtomicBool::new(false));
        let told = std::sync::Arc::clone(&published);
        let reading = spawn_reader(move || {
            let is_published = told.load(Ordering::Acquire);
            let number = reader.look();
            assert!(!is_published || number == 1);
        });
        machine.publish(&cell, 1);
        published.store(true, Ordering::Release);
        reading.join().unwrap();
    });
}

#[test]
fn a_move_before_a_look_is_seen() {
    model(|machine, cell| {
        let mut reader = machine.holder();
        let moved = std::sync::Arc::new(AtomicBool::new(false));
        let told = std::sync::Arc::clone(&moved);
        let reading = spawn_reader(move || {
            let is_moved = told.load(Ordering::Acquire);
            let number = reader.look();
            assert!(!is_moved || number == 1);
        });
        machine.bind(&machine.cell(1));
        drop(cell);
        moved.store(true, Ordering::Release);
        reading.join().unwrap();
    });
}

/// Two readers on one thread: what one has shown, the other does not take back.
fn agree(replace: impl Fn(&Machine, Arc<Cell<View>>) -> u64 + Send + Sync + Copy + 'static) {
    model_within(5, move |machine, cell| {
        let mut readers = [machine.holder(), machine.reader()];
        let reading = spawn_reader(move || {
            let mut seen = 0;
            for which in [0, 1, 0] {
                let number = readers[which].look();
                assert!(number >= seen, "{number} seen after {seen}");
                seen = number;
            }
        });
        replace(machine, cell);
        reading.join().unwrap();
    });
}

#[test]
fn readers_agree_on_a_new_view() {
    agree(replaces_the_view);
}

#[test]
fn readers_agree_on_a_move() {
    agree(moves_the_space);
}

#[test]
fn a_reader_follows_its_space_to_another_cell() {
    model_within(5, |machine, cell| {
        let mut reader = machine.reader();
        let reading = spawn_reader(move || {
            reader.look();
            reader.look();
            reader
        });
        let other = machine.cell(1);
        machine.bind(&other);
        drop(cell);
        machine.publish(&other, 2);
        let mut reader = reading.join().unwrap();
        assert_eq!(reader.look(), 2);
    });
}

#[test]
fn a_reader_follows_its_space_there_and_back() {
    model_within(4, |machine, cell| {
        let mut reader = machine.reader();
        let reading = spawn_reader(move || {
            reader.look();
            reader
        });
        machine.bind(&machine.cell(1));
        machine.publish(&cell, 2);
        machine.bind(&cell);
        let mut reader = reading.join().unwrap();
        assert_eq!(reader.look(), 2);
    });
}

/// The updater replaces what a reader holds, and waits until it may tear the device down.
fn waits_for(
    replace: impl Fn(&Machine, Arc<Cell<View>>) -> u64 + Send + Sync + Copy + 'static,
    give_up: impl Fn(Reader) -> Option<Reader> + Send + Sync + Copy + 'static,
) {
    model(move |machine, cell| {
        let device = std::sync::Arc::new(UnsafeCell::new(()));
        let mut reader = machine.holder();
        let used = std::sync::Arc::clone(&device);
        let reading = spawn_reader(move || {
            if reader.look() == 0 {
                used.with(|_| ());
            }
            give_up(reader)
        });
        let number = replace(machine, cell);
        machine.retired.wait(number);
        device.with_mut(|_| ());
        assert_eq!(machine.alive(), 1, "what nobody uses is freed");
        assert!(machine.retired.is_quiesced(number));
        reading.join().unwrap();
    });
}

fn replaces_the_view(machine: &Machine, cell: Arc<Cell<View>>) -> u64 {
    machine.publish(&cell, 1)
}

fn moves_the_space(machine: &Machine, cell: Arc<Cell<View>>) -> u64 {
    drop(cell);
    machine.bind(&machine.cell(1))
}

fn releases(mut reader: Reader) -> Option<Reader> {
    reader.hold.release();
    Some(reader)
}

fn goes_away(_: Reader) -> Option<Reader> {
    None
}

fn looks_again(mut reader: Reader) -> Option<Reader> {
    match reader.look() {
        0 => releases(reader),
        _ => Some(reader),
    }
}

#[test]
fn who_replaced_a_view_hears_of_a_release() {
    waits_for(replaces_the_view, releases);
}

#[test]
fn who_replaced_a_view_hears_of_a_reader_that_goes_away() {
    waits_for(replaces_the_view, goes_away);
}

#[test]
fn who_replaced_a_view_hears_of_a_reader_that_looks_again() {
    waits_for(replaces_the_view, looks_again);
}

#[test]
fn who_moved_a_space_hears_of_a_release() {
    waits_for(moves_the_space, releases);
}

#[test]
fn who_moved_a_space_hears_of_a_reader_that_goes_away() {
    waits_for(moves_the_space, goes_away);
}

#[test]
fn who_moved_a_space_hears_of_a_reader_that_looks_again() {
    waits_for(moves_the_space, looks_again);
}

/// The first look of a reader, which held nothing before, while the space moves.
#[test]
fn who_waits_hears_of_a_first_look_that_was_overtaken() {
    model_within(5, |machine, cell| {
        let mut reader = machine.reader();
        let reading = spawn_reader(move || {
            if reader.look() == 0 {
                reader.hold.release();
            }
            reader
        });
        let number = machine.bind(&machine.cell(1));
        drop(cell);
        machine.retired.wait(number);
        assert_eq!(machine.alive(), 1, "what nobody uses is freed");
        let mut reader = reading.join().unwrap();
        assert_eq!(reader.look(), 1);
    });
}

#[test]
fn who_waits_waits_for_both_readers() {
    model_within(3, |machine, cell| {
        let device = std::sync::Arc::new(UnsafeCell::new(()));
        let readers = [(); 2].map(|()| {
            let mut reader = machine.holder();
            let used = std::sync::Arc::clone(&device);
            spawn_reader(move || {
                if reader.hold.is_current() {
                    used.with(|_| ());
                }
                reader.hold.release();
            })
        });
        let number = machine.publish(&cell, 1);
        machine.retired.wait(number);
        device.with_mut(|_| ());
        for reading in readers {
            reading.join().unwrap();
        }
    });
}

#[test]
fn two_readers_each_see_old_or_new() {
    model_within(3, |machine, cell| {
        let readers = [(); 2].map(|()| {
            let mut reader = machine.reader();
            spawn_reader(move || {
                reader.look();
                reader
            })
        });
        machine.publish(&cell, 1);
        for reading in readers {
            assert_eq!(reading.join().unwrap().look(), 1);
        }
    });
}

#[test]
fn all_who_wait_are_woken() {
    model(|machine, cell| {
        let reader = machine.holder();
        let number = machine.publish(&cell, 1);
        let reading = spawn_reader(move || drop(reader));
        let waiter = machine.clone();
        let waiting = thread::spawn(move || waiter.retired.wait(number));
        machine.retired.wait(number);
        waiting.join().unwrap();
        reading.join().unwrap();
    });
}

/// Who is told that nobody uses a view may rely on it, whoever of those who asked took it off the list.
#[test]
fn quiesced_for_one_is_quiesced_for_all() {
    model(|machine, cell| {
        let device = std::sync::Arc::new(UnsafeCell::new(()));
        let reader = machine.holder();
        let number = machine.publish(&cell, 1);
        let used = std::sync::Arc::clone(&device);
        let reading = spawn_reader(move || {
            used.with(|_| ());
            drop(reader);
        });
        let other = machine.clone();
        let asking = thread::spawn(move || {
            other.retired.is_quiesced(number);
        });
        if machine.retired.is_quiesced(number) {
            device.with_mut(|_| ());
        }
        asking.join().unwrap();
        reading.join().unwrap();
    });
}

#[test]
fn a_view_that_is_looked_at_outlives_its_space() {
    model(|machine, cell| {
        let device = std::sync::Arc::new(UnsafeCell::new(()));
        let Reader { mut hold, outlet, .. } = machine.holder();
        let used = std::sync::Arc::clone(&device);
        let reading = spawn_reader(move || {
            drop(outlet);
            hold.held().expect("not yet given up").look();
            used.with(|_| ());
            hold.release();
        });
        // As the registry does when the last handle of the space is gone.
        let number = machine.bind(&machine.cell(1));
        drop(cell);
        machine.retired.wait(number);
        device.with_mut(|_| ());
        assert_eq!(machine.alive(), 1, "what nobody uses is freed");
        reading.join().unwrap();
    });
}

/// The protocol on slots that promise less than `arc_swap` does: the generation alone tells readers what is new.
#[path = "."]
mod on_stale_slots {
    use super::spawn_reader;

    mod primitive {
        pub(crate) use super::super::primitive::{
            Arc, AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, StaleSlot as ArcSlot, fence,
            wait,
        };
    }
    #[path = "publish.rs"]
    #[expect(
        clippy::duplicate_mod,
        dead_code,
        reason = "see above; only what readers do is checked here"
    )]
    mod publish;

    use self::primitive::Arc;
    use self::publish::{Cell, Hold, Outlet, Retired};

    /// A reader looks while `change` happens. If it then thinks that it is up to date, it is.
    fn knows(change: impl Fn(&Outlet<usize>, &Cell<usize>) + Send + Sync + 'static) {
        loom::model(move || {
            let cell = Arc::new(Cell::new(Arc::new(0)));
            let outlet = std::sync::Arc::new(Outlet::new(Arc::clone(&cell)));
            let looked_at = std::sync::Arc::clone(&outlet);
            let mut hold = Hold::new(Arc::new(Retired::new()));
            let reading = spawn_reader(move || {
                hold.refresh(&looked_at);
                hold
            });
            change(&outlet, &cell);
            let hold = reading.join().unwrap();
            assert!(!hold.is_current() || **hold.held().unwrap() == 1);
        });
    }

    #[test]
    fn a_reader_with_an_old_view_knows() {
        knows(|_, cell| drop(cell.publish(Arc::new(1))));
    }

    #[test]
    fn a_reader_with_an_old_binding_knows() {
        knows(|outlet, _| drop(outlet.bind(Arc::new(Cell::new(Arc::new(1))))));
    }
}
