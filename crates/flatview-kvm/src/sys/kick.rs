//! The signal that gets a thread out of `KVM_RUN`.
#![expect(unsafe_code, reason = "system calls, and a signal's handler")]

use std::cell::Cell;
use std::io;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use vmm_sys_util::signal::{register_signal_handler, unblock_signal};

use crate::KvmError;

/// The signal that gets a vCPU's thread out of the guest.
pub(crate) fn kick_signal() -> i32 {
    libc::SIGRTMIN() + 1
}

thread_local! {
    /// Where `immediate_exit` of the vCPU is that this thread runs.
    static IMMEDIATE_EXIT: Cell<*mut u8> = const { Cell::new(null_mut()) };
}

/// Sends [`kick_signal`] to a thread of this process; to none, if it is gone.
pub(crate) fn signal_thread(thread: i32) {
    let process = std::process::id();
    // SAFETY: it takes no pointers; the signal has a handler before any vCPU is made.
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, kick_signal()) };
}

/// A thread of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Thread {
    /// The kernel's number for it, which another one can get when this one is gone.
    pub(crate) number: i32,
    /// No other thread has or had it.
    serial: u64,
}

impl Thread {
    /// The calling thread. It takes [`kick_signal`] from now on, also if whoever began it has blocked all signals.
    pub(crate) fn current() -> Thread {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        thread_local! {
            static THREAD: Thread = {
                if let Err(error) = unblock_signal(kick_signal()) {
                    tracing::warn!(%error, "vCPUs on this thread cannot be kicked");
                }
                Thread {
                    // SAFETY: it takes nothing and cannot fail.
                    number: unsafe { libc::gettid() },
                    serial: SERIAL.fetch_add(1, Ordering::Relaxed),
                }
            };
        }
        THREAD.with(|&thread| thread)
    }
}

/// Lets [`kick_signal`] make the thread's vCPU come out. Once for the process.
pub(crate) fn install_kick_handler() -> Result<(), KvmError> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    let installed = INSTALLED
        .get_or_init(|| register_signal_handler(kick_signal(), kicked).map_err(|error| error.errno()));
    installed.map_err(|number| KvmError::Ioctl {
        ioctl: "sigaction",
        source: io::Error::from_raw_os_error(number),
    })
}

extern "C" fn kicked(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let place = IMMEDIATE_EXIT.get();
    if !place.is_null() {
        // SAFETY: it is within the mapping of the vCPU that this thread runs, whose `KickTarget` takes the
        // pointer away before the mapping goes; a handler runs on the thread itself.
        unsafe { place.write_volatile(1) };
    }
}

/// While it is there, [`kick_signal`] sets the `immediate_exit` of one vCPU on the thread that made it.
#[derive(Debug)]
pub(crate) struct KickTarget {
    /// A thread may run a vCPU from within the run of another one.
    before: *mut u8,
}

impl KickTarget {
    /// # Safety
    ///
    /// `immediate_exit` can be written for as long as this lives.
    pub(crate) unsafe fn new(immediate_exit: *mut u8) -> KickTarget {
        KickTarget {
            before: IMMEDIATE_EXIT.replace(immediate_exit),
        }
    }
}

impl Drop for KickTarget {
    fn drop(&mut self) {
        IMMEDIATE_EXIT.set(self.before);
        if !self.before.is_null() {
            // SAFETY: its own target is further out on this thread's stack, and promises it.
            // A signal that came meanwhile may have been meant for it.
            unsafe { self.before.write_volatile(1) };
        }
    }
}
