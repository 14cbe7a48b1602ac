//! What `kvm-ioctls` and the standard library have no call for.
#![expect(unsafe_code, reason = "system calls")]

use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::OnceLock;

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
    // SAFETY: it takes nothing and cannot fail.
    unsafe { libc::gettid() }
}

/// Lets [`kick_signal`] make the thread's vCPU come out. Once for the process.
pub(crate) fn install_kick_handler() -> Result<(), KvmError> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    let installed = INSTALLED
        .get_or_init(|| register_signal_handler(kick_signal(), kicked).map_err(|error| error.errno()));
    installed.map_err(|number| KvmError::Ioctl {
        ioctl: "sigaction",
        source: std::io::Error::from_raw_os_error(number),
    })
}

extern "C" fn kicked(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let place = IMMEDIATE_EXIT.get();
    if !place.is_null() {
        // SAFETY: it is within the mapping of the vCPU that this thread runs, which takes the pointer away before it
        // goes; a handler runs on the thread itself.
        unsafe { place.write_volatile(1) };
    }
}

/// Says which vCPU this thread runs, by the place of its `immediate_exit`, until it is told [`forget_vcpu`].
///
/// # Safety
///
/// The place stays valid until then.
pub(crate) unsafe fn remember_vcpu(immediate_exit: *mut u8) {
    IMMEDIATE_EXIT.set(immediate_exit);
}

/// This thread runs no vCPU.
pub(crate) fn forget_vcpu() {
    IMMEDIATE_EXIT.set(null_mut());
}
