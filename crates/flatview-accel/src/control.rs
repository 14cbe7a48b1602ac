//! What a running vCPU is told by others.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bitflags::bitflags;

use crate::Clock;

bitflags! {
    /// What a vCPU is told, or asked to do.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Signals: u32 {
        /// An interrupt is pending: a level, set and cleared by the interrupt controllers.
        const INTR = 1;
        /// A non-maskable interrupt; the vCPU clears it when it takes it.
        const NMI = 1 << 1;
        /// A system management interrupt; the vCPU clears it when it takes it.
        const SMI = 1 << 2;
        /// INIT: back to the state of Intel SDM vol. 3, table 10-1, column INIT; the vCPU clears it when it takes it.
        const INIT = 1 << 3;
        /// Come out of [`Vcpu::run`](crate::Vcpu::run); the vCPU clears it when it does.
        const EXIT = 1 << 4;
        /// Bit 20 of physical addresses is held at 0 (the A20 gate is closed): a level.
        const A20M = 1 << 5;
    }
}

type Kick = Box<dyn Fn() + Send + Sync>;

/// What a vCPU is told while it runs: [`Signals`], and when to come out by itself.
///
/// A vCPU looks at it with two atomic loads, often.
pub struct Control {
    signals: AtomicU32,
    deadline: AtomicU64,
    clock: Clock,
    waiting: Mutex<()>,
    changed: Condvar,
    kick: OnceLock<Kick>,
}

impl Control {
    /// No signals, no deadline.
    pub fn new(clock: Clock) -> Control {
        Control {
            signals: AtomicU32::new(0),
            deadline: AtomicU64::new(u64::MAX),
            clock,
            waiting: Mutex::new(()),
            changed: Condvar::new(),
            kick: OnceLock::new(),
        }
    }

    /// The guest's time.
    #[inline]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The signals that are raised.
    #[inline]
    pub fn signals(&self) -> Signals {
        Signals::from_bits_retain(self.signals.load(Ordering::Acquire))
    }

    /// Raises signals, and wakes the vCPU if it waits.
    pub fn raise(&self, signals: Signals) {
        let before = self.signals.fetch_or(signals.bits(), Ordering::AcqRel);
        if before | signals.bits() != before {
            self.wake();
        }
    }

    /// Takes signals back. Returns which of them were raised.
    pub fn clear(&self, signals: Signals) -> Signals {
        Signals::from_bits_retain(self.signals.fetch_and(!signals.bits(), Ordering::AcqRel)) & signals
    }

    /// Raises a level, or takes it back.
    pub fn set(&self, signals: Signals, level: bool) {
        if level {
            self.raise(signals);
        } else {
            self.clear(signals);
        }
    }

    /// When [`Vcpu::run`](crate::Vcpu::run) comes out by itself: the clock's nanoseconds; `u64::MAX`: never.
    #[inline]
    pub fn deadline(&self) -> u64 {
        self.deadline.load(Ordering::Relaxed)
    }

    /// Sets when to come out. An earlier deadline than before wakes the vCPU, so that it waits anew.
    pub fn set_deadline(&self, nanoseconds: u64) {
        if nanoseconds < self.deadline.swap(nanoseconds, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// What an accelerator does to get the vCPU out of the host's kernel when it is told something. Set once: another
    /// one is not taken.
    pub fn on_kick(&self, kick: impl Fn() + Send + Sync + 'static) {
        let _ = self.kick.set(Box::new(kick));
    }

    fn wake(&self) {
        // Whoever waits has looked before he sleeps, with this lock held.
        drop(self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
        if let Some(kick) = self.kick.get() {
            kick();
        }
    }

    /// Waits, as a halted vCPU does, until a signal that ends it is raised ([`Signals::A20M`] does not), or until the
    /// deadline. A clock that counts instructions goes to the deadline at once. Without a deadline such a clock stands
    /// still, and only a signal ends this.
    pub fn wait(&self) {
        let ends = Signals::all() - Signals::A20M;
        let mut guard = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.signals().intersects(ends) {
            let (now, deadline) = (self.clock.now(), self.deadline());
            if now >= deadline {
                return;
            }
            guard = if deadline == u64::MAX {
                self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
            } else if self.clock.counted_shift().is_some() {
                return self.clock.advance_to(deadline);
            } else {
                let left = Duration::from_nanos(deadline - now);
                self.changed
                    .wait_timeout(guard, left)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            };
        }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("signals", &self.signals())
            .field("deadline", &self.deadline())
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod test {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn levels_and_edges() {
        let control = Control::new(Clock::host());
        control.set(Signals::INTR, true);
        control.raise(Signals::NMI);
        assert_eq!(control.clear(Signals::NMI | Signals::SMI), Signals::NMI);
        assert_eq!(control.signals(), Signals::INTR);
        control.set(Signals::INTR, false);
        assert_eq!(control.signals(), Signals::empty());
    }

    #[test]
    fn a_wait_ends_with_a_signal_or_an_earlier_deadline() {
        let control = Arc::new(Control::new(Clock::host()));
        for end in [
            |control: &Control| control.raise(Signals::EXIT),
            |control: &Control| control.set_deadline(0),
        ] {
            let other = Arc::clone(&control);
            let waits = std::thread::spawn(move || other.wait());
            end(&control);
            waits.join().expect("no panic");
            control.clear(Signals::all());
        }
    }

    #[test]
    fn a_counted_clock_does_not_sleep() {
        let control = Control::new(Clock::counted(0));
        control.set_deadline(1 << 60);
        control.wait();
        assert_eq!(control.clock().now(), 1 << 60);
    }
}
