//! Who may be inside the guest, and how to get everybody out of it.
//!
//! A vCPU's thread says before `KVM_RUN` that it goes in, and afterwards that it is out. Who replaces memory closes
//! the gate: then nobody is inside, and nobody goes in, until it is opened (rule W5).
//!
//! # Why no kick is lost
//!
//! ```text
//!  vCPU's thread                       another
//!  immediate_exit = 0
//!  inside = true                       kicked = true
//!  kicked? closed? the deadline?       inside? then a signal
//!  KVM_RUN
//!  inside = false
//! ```
//!
//! With sequential consistency either the vCPU's thread sees that it was kicked, or the other one sees that it is inside
//! and sends a signal. The signal's handler runs on the vCPU's thread, after `immediate_exit` was set to 0, and sets it
//! to 1: `KVM_RUN` comes back, whether it had begun or not.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::lock::lock;
use crate::sys;

/// After this time those who are still inside get another signal. One is enough; this is in case the host loses it.
const AGAIN: Duration = Duration::from_millis(100);

/// One vCPU, as others see it.
#[derive(Debug, Default)]
pub(crate) struct Runner {
    inside: AtomicBool,
    kicked: AtomicBool,
    /// The thread that runs it, for as long as it is inside.
    thread: AtomicI32,
}

impl Runner {
    /// Gets it out of the guest, or keeps it from going in once. Returns whether a signal was sent.
    pub(crate) fn kick(&self) -> bool {
        self.kicked.store(true, Ordering::SeqCst);
        self.signal()
    }

    fn signal(&self) -> bool {
        let is_inside = self.inside.load(Ordering::SeqCst);
        if is_inside {
            sys::signal_thread(self.thread.load(Ordering::Relaxed));
        }
        is_inside
    }
}

/// All vCPUs of a virtual machine.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    closed: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    runners: Vec<Arc<Runner>>,
    /// How many keep it closed.
    closed: u32,
}

impl Gate {
    pub(crate) fn add(&self, runner: &Arc<Runner>) {
        self.state().runners.push(Arc::clone(runner));
    }

    pub(crate) fn remove(&self, runner: &Arc<Runner>) {
        self.state().runners.retain(|other| !Arc::ptr_eq(other, runner));
    }

    /// Goes in, as soon as the gate is open; then `immediate_exit` must be 0 already. False if it was kicked: then it
    /// is not inside.
    pub(crate) fn enter(&self, runner: &Runner, thread: i32) -> bool {
        runner.thread.store(thread, Ordering::Relaxed);
        loop {
            runner.inside.store(true, Ordering::SeqCst);
            if runner.kicked.swap(false, Ordering::SeqCst) {
                self.leave(runner);
                return false;
            }
            if !self.closed.load(Ordering::SeqCst) {
                return true;
            }
            self.leave(runner);
            let mut state = self.state();
            while state.closed != 0 {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Is out.
    pub(crate) fn leave(&self, runner: &Runner) {
        runner.inside.store(false, Ordering::SeqCst);
        if self.closed.load(Ordering::SeqCst) {
            drop(self.state());
            self.changed.notify_all();
        }
    }

    /// Gets everybody out, and lets nobody in until [`open`](Self::open). Returns how many were inside. Not to be
    /// called by a thread that is inside itself.
    pub(crate) fn close(&self) -> u64 {
        let mut state = self.state();
        state.closed += 1;
        self.closed.store(true, Ordering::SeqCst);
        let kicked = state.runners.iter().filter(|runner| runner.signal()).count() as u64;
        while state
            .runners
            .iter()
            .any(|runner| runner.inside.load(Ordering::SeqCst))
        {
            let (again, timeout) = self
                .changed
                .wait_timeout(state, AGAIN)
                .unwrap_or_else(PoisonError::into_inner);
            state = again;
            if timeout.timed_out() {
                state.runners.iter().for_each(|runner| {
                    runner.signal();
                });
            }
        }
        kicked
    }

    /// Takes one [`close`](Self::close) back.
    pub(crate) fn open(&self) {
        let mut state = self.state();
        state.closed = state.closed.saturating_sub(1);
        if state.closed == 0 {
            self.closed.store(false, Ordering::SeqCst);
            drop(state);
            self.changed.notify_all();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

#[cfg(test)]
#[path = "gate_test.rs"]
mod tests;
