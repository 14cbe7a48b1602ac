//! Threads that run no guest, but come out of waiting as a vCPU does: when `immediate_exit` is set.
#![expect(unsafe_code, reason = "the signal's handler is told where immediate_exit is")]

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::{slice, thread};

use flatview_testkit::wait_until;

use super::*;

/// A vCPU's thread until it is stopped. `inside` is its `KVM_RUN`: it comes back when `immediate_exit` is not 0.
/// `out` is what it does after each turn.
fn runs(gate: &Gate, runner: &Runner, is_stopped: &AtomicBool, inside: impl Fn(), out: impl Fn()) {
    let immediate_exit = AtomicU8::new(0);
    // SAFETY: it lives longer than the target, which was made after it.
    let _target = unsafe { sys::KickTarget::new(immediate_exit.as_ptr()) };
    while !is_stopped.load(Ordering::SeqCst) {
        immediate_exit.store(0, Ordering::SeqCst);
        if gate.enter(runner, sys::Thread::current().number) {
            while immediate_exit.load(Ordering::SeqCst) == 0 {
                inside();
            }
            gate.leave(runner);
        }
        out();
    }
}

/// Lets threads end, whatever has failed.
struct Stops<'a>(&'a AtomicBool, &'a [Arc<Runner>]);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
        self.1.iter().for_each(|runner| {
            runner.kick();
        });
    }
}

/// Closes the gate as often as the reader of the flag enters; nobody is ever inside while it is closed, and everybody
/// comes out to let it be closed.
#[test]
fn w5_nobody_is_inside_while_it_is_closed() {
    sys::install_kick_handler().unwrap();
    let gate = Gate::default();
    let is_stopped = AtomicBool::new(false);
    let is_replaced = AtomicBool::new(false);
    let seen = AtomicU64::new(0);
    let runners: Vec<Arc<Runner>> = (0..3).map(|_| Arc::default()).collect();
    runners.iter().for_each(|runner| gate.add(runner));
    thread::scope(|scope| {
        let _stops = Stops(&is_stopped, &runners);
        for runner in &runners {
            let inside = || {
                assert!(!is_replaced.load(Ordering::SeqCst));
                seen.fetch_add(1, Ordering::SeqCst);
            };
            let (gate, is_stopped) = (&gate, &is_stopped);
            scope.spawn(move || runs(gate, runner, is_stopped, inside, || ()));
        }
        let mut kicks = 0;
        for _ in 0..300 {
            kicks += gate.close();
            // Two can keep it closed.
            gate.close();
            is_replaced.store(true, Ordering::SeqCst);
            let before = seen.load(Ordering::SeqCst);
            gate.open();
            thread::yield_now();
            assert_eq!(seen.load(Ordering::SeqCst), before);
            is_replaced.store(false, Ordering::SeqCst);
            gate.open();
            let now = seen.load(Ordering::SeqCst);
            wait_until(|| seen.load(Ordering::SeqCst) != now);
        }
        assert!(kicks >= 300, "somebody was inside each time: {kicks}");
    });
    runners.iter().for_each(|runner| gate.remove(runner));
    assert_eq!(gate.close(), 0);
}

/// A kick without which the thread would wait for ever, at every moment of its turn.
#[test]
fn no_kick_is_lost() {
    sys::install_kick_handler().unwrap();
    let gate = Gate::default();
    let is_stopped = AtomicBool::new(false);
    let turns = AtomicU64::new(0);
    let runner = Arc::new(Runner::default());
    gate.add(&runner);
    thread::scope(|scope| {
        let out = || {
            turns.fetch_add(1, Ordering::SeqCst);
        };
        let _stops = Stops(&is_stopped, slice::from_ref(&runner));
        let (gate, runner, is_stopped) = (&gate, &runner, &is_stopped);
        scope.spawn(move || runs(gate, runner, is_stopped, thread::yield_now, out));
        for index in 0..2000_u32 {
            let before = turns.load(Ordering::SeqCst);
            // Not always while it is inside.
            (0..index % 64).for_each(|_| std::hint::spin_loop());
            runner.kick();
            wait_until(|| turns.load(Ordering::SeqCst) != before);
        }
    });
}

/// Who is kicked while the gate is closed finds out when it is open, and does not go in.
#[test]
fn a_kick_is_not_forgotten_at_a_closed_gate() {
    let gate = Gate::default();
    let runner = Arc::new(Runner::default());
    gate.add(&runner);
    assert_eq!(gate.close(), 0, "nobody is inside");
    thread::scope(|scope| {
        let entered = scope.spawn(|| gate.enter(&runner, sys::Thread::current().number));
        runner.kick();
        gate.open();
        assert!(!entered.join().unwrap());
    });
    assert!(gate.enter(&runner, sys::Thread::current().number), "once");
    gate.leave(&runner);
}
