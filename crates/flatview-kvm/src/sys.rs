//! What `kvm-ioctls` and the standard library have no call for.
#![expect(unsafe_code, reason = "system calls")]

use std::cell::Cell;
use std::io;
use std::mem::zeroed;
use std::ptr::null_mut;
use std::sync::OnceLock;

use kvm_bindings::{KVMIO, kvm_interrupt};
use kvm_ioctls::VcpuFd;
use vmm_sys_util::ioctl::{_IOC_WRITE, ioctl_expr, ioctl_with_ref};
use vmm_sys_util::signal::register_signal_handler;

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
    // SAFETY: it takes no pointers; the signal has a handler before any vCPU is made.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, kick_signal()) };
}

/// The number of the calling thread.
pub(crate) fn thread_id() -> i32 {
    thread_local! {
        static THREAD: i32 = {
            // SAFETY: it takes nothing and cannot fail.
            unsafe { libc::gettid() }
        };
    }
    THREAD.with(|&thread| thread)
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
    }
}

/// Sends [`kick_signal`] to one thread, once, when a time has passed.
#[derive(Debug)]
pub(crate) struct ThreadTimer {
    id: libc::timer_t,
    thread: i32,
}

// SAFETY: the pointer is a name for a timer of the process, which any thread may use.
unsafe impl Send for ThreadTimer {}

impl ThreadTimer {
    /// A timer for `thread` of this process, which does not run.
    pub(crate) fn new(thread: i32) -> Result<ThreadTimer, KvmError> {
        // SAFETY: all zeros are a `sigevent`.
        let mut event: libc::sigevent = unsafe { zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = kick_signal();
        event.sigev_notify_thread_id = thread;
        let mut id = null_mut();
        // SAFETY: both pointers are of locals.
        let made = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut id) };
        succeeded("timer_create", made)?;
        Ok(ThreadTimer { id, thread })
    }

    /// Whom it sends to.
    pub(crate) fn thread(&self) -> i32 {
        self.thread
    }

    /// Sends in `nanoseconds` from now, and not when it was to send before.
    pub(crate) fn set(&self, nanoseconds: u64) -> Result<(), KvmError> {
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
        succeeded("timer_settime", set)
    }
}

impl Drop for ThreadTimer {
    fn drop(&mut self) {
        // SAFETY: the timer is this one's, and nobody uses it any more.
        unsafe { libc::timer_delete(self.id) };
    }
}

/// `KVM_INTERRUPT`: injects an interrupt of a controller that is not in the kernel.
pub(crate) fn interrupt(vcpu: &VcpuFd, vector: u8) -> Result<(), KvmError> {
    const KVM_INTERRUPT: libc::c_ulong =
        ioctl_expr(_IOC_WRITE, KVMIO, 0x86, size_of::<kvm_interrupt>() as u32);
    let interrupt = kvm_interrupt { irq: vector.into() };
    // SAFETY: the file is a vCPU's, and the kernel reads a structure of this type.
    let result = unsafe { ioctl_with_ref(vcpu, KVM_INTERRUPT, &interrupt) };
    succeeded("KVM_INTERRUPT", result)
}

fn succeeded(ioctl: &'static str, result: libc::c_int) -> Result<(), KvmError> {
    if result < 0 {
        let source = io::Error::last_os_error();
        return Err(KvmError::Ioctl { ioctl, source });
    }
    Ok(())
}
