//! What `kvm-ioctls` and the standard library have no call for.
#![expect(unsafe_code, reason = "system calls")]

use std::cell::Cell;
use std::ffi::{c_uint, c_ulong};
use std::io;
use std::ptr::null_mut;
use std::sync::OnceLock;

use kvm_bindings::{KVMIO, kvm_clear_dirty_log, kvm_dirty_log};
use kvm_ioctls::VmFd;
use vmm_sys_util::ioctl::{_IOC_NONE, _IOC_READ, _IOC_WRITE, ioctl, ioctl_expr, ioctl_with_ref};
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
        source: io::Error::from_raw_os_error(number),
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

const KVM_GET_DIRTY_LOG: c_ulong = ioctl_expr(_IOC_WRITE, KVMIO, 0x42, argument::<kvm_dirty_log>());
const KVM_CLEAR_DIRTY_LOG: c_ulong = ioctl_expr(
    _IOC_READ | _IOC_WRITE,
    KVMIO,
    0xc0,
    argument::<kvm_clear_dirty_log>(),
);
const KVM_RESET_DIRTY_RINGS: c_ulong = ioctl_expr(_IOC_NONE, KVMIO, 0xc7, 0);

#[expect(
    clippy::cast_possible_truncation,
    reason = "an ioctl's argument has a few bytes"
)]
const fn argument<T>() -> c_uint {
    size_of::<T>() as c_uint
}

/// `KVM_GET_DIRTY_LOG`: one bit for each page of a slot. `kvm-ioctls` has it too, and allocates the bitmap anew each
/// time.
///
/// # Safety
///
/// If the kernel has this slot, and logs for it, then it has no more pages than `bitmap` has bits.
pub(crate) unsafe fn get_dirty_log(vm: &VmFd, slot: u32, bitmap: &mut [u64]) -> Result<(), KvmError> {
    let mut log = kvm_dirty_log {
        slot,
        ..kvm_dirty_log::default()
    };
    log.__bindgen_anon_1.dirty_bitmap = bitmap.as_mut_ptr().cast();
    // SAFETY: the kernel writes a whole number of words, one bit for each page; the caller sees to that they are there.
    let result = unsafe { ioctl_with_ref(vm, KVM_GET_DIRTY_LOG, &log) };
    answer("KVM_GET_DIRTY_LOG", result).map(drop)
}

/// `KVM_CLEAR_DIRTY_LOG`: the pages whose bits are set in `bitmap` are clean, and write-protected. The bitmap begins at
/// `first_page`, a multiple of 64, and so many of its bits count: a multiple of 64, or up to the end of the slot.
pub(crate) fn clear_dirty_log(
    vm: &VmFd,
    slot: u32,
    first_page: u64,
    pages: u32,
    bitmap: &[u64],
) -> Result<(), KvmError> {
    let most = u32::try_from(bitmap.len() * 64).unwrap_or(u32::MAX);
    let mut log = kvm_clear_dirty_log {
        slot,
        num_pages: pages.min(most),
        first_page,
        ..kvm_clear_dirty_log::default()
    };
    log.__bindgen_anon_1.dirty_bitmap = bitmap.as_ptr().cast_mut().cast();
    // SAFETY: the kernel only reads the bitmap, in whole words, and no more of it than there is.
    let result = unsafe { ioctl_with_ref(vm, KVM_CLEAR_DIRTY_LOG, &log) };
    answer("KVM_CLEAR_DIRTY_LOG", result).map(drop)
}

/// `KVM_RESET_DIRTY_RINGS`: entries of all rings that were harvested are free, and their pages write-protected.
pub(crate) fn reset_dirty_rings(vm: &VmFd) -> Result<(), KvmError> {
    // SAFETY: it takes nothing.
    let result = unsafe { ioctl(vm, KVM_RESET_DIRTY_RINGS) };
    answer("KVM_RESET_DIRTY_RINGS", result).map(drop)
}

fn answer(ioctl: &'static str, result: i32) -> Result<i32, KvmError> {
    match result {
        ..0 => Err(KvmError::Ioctl {
            ioctl,
            source: io::Error::last_os_error(),
        }),
        _ => Ok(result),
    }
}
