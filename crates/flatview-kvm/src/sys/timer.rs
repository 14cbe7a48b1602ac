//! The signal that gets a thread out of `KVM_RUN`, at a time.
#![expect(unsafe_code, reason = "system calls")]

use std::io;
use std::mem::zeroed;
use std::ptr::null_mut;

use super::answer;
use super::kick::{Thread, kick_signal};

/// Sends [`kick_signal`] to one thread, once, when a time has passed.
#[derive(Debug)]
pub(crate) struct ThreadTimer {
    id: libc::timer_t,
    thread: Thread,
}

// SAFETY: the pointer is a name for a timer of the process, which any thread may use.
unsafe impl Send for ThreadTimer {}

impl ThreadTimer {
    /// A timer for `thread` of this process, which does not run.
    pub(crate) fn new(thread: Thread) -> io::Result<ThreadTimer> {
        // SAFETY: all zeros are a `sigevent`.
        let mut event: libc::sigevent = unsafe { zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = kick_signal();
        event.sigev_notify_thread_id = thread.number;
        let mut id = null_mut();
        // SAFETY: both pointers are of locals.
        let made = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut id) };
        answer(made)?;
        Ok(ThreadTimer { id, thread })
    }

    /// Whom it sends to.
    pub(crate) fn thread(&self) -> Thread {
        self.thread
    }

    /// Sends in `nanoseconds` from now, and not when it was to send before.
    pub(crate) fn set(&self, nanoseconds: u64) -> io::Result<()> {
        // 0 would stop the timer.
        let nanoseconds = nanoseconds.max(1);
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let at = libc::itimerspec {
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: libc::timespec {
                tv_sec: number(nanoseconds / 1_000_000_000),
                tv_nsec: number(nanoseconds % 1_000_000_000),
            },
        };
        // SAFETY: the timer is this one's; the pointer is of a local.
        let set = unsafe { libc::timer_settime(self.id, 0, &raw const at, null_mut()) };
        answer(set)
    }
}

impl Drop for ThreadTimer {
    fn drop(&mut self) {
        // SAFETY: the timer is this one's, and nobody uses it any more.
        unsafe { libc::timer_delete(self.id) };
    }
}
