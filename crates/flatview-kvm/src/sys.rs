//! What `kvm-ioctls` and the standard library have no call for.
#![expect(unsafe_code, reason = "system calls")]

use std::cell::Cell;
use std::io;
use std::mem::zeroed;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;

use kvm_bindings::{
    KVMIO, kvm_clear_dirty_log, kvm_dirty_log, kvm_interrupt, kvm_ioeventfd, kvm_irqfd, kvm_xsave,
};
use kvm_ioctls::{VcpuFd, VmFd};
use vmm_sys_util::ioctl::{ioctl, ioctl_with_ref};
use vmm_sys_util::signal::register_signal_handler;
use vmm_sys_util::{ioctl_io_nr, ioctl_iow_nr, ioctl_iowr_nr};

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
    pub(crate) fn new(thread: i32) -> io::Result<ThreadTimer> {
        // SAFETY: all zeros are a `sigevent`.
        let mut event: libc::sigevent = unsafe { zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = kick_signal();
        event.sigev_notify_thread_id = thread;
        let mut id = null_mut();
        // SAFETY: both pointers are of locals.
        let made = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut id) };
        answer(made)?;
        Ok(ThreadTimer { id, thread })
    }

    /// Whom it sends to.
    pub(crate) fn thread(&self) -> i32 {
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

/// `KVM_INTERRUPT`: injects an interrupt of a controller that is not in the kernel.
pub(crate) fn interrupt(vcpu: &VcpuFd, vector: u8) -> io::Result<()> {
    let interrupt = kvm_interrupt { irq: vector.into() };
    // SAFETY: the kernel reads one structure of this type, which has no pointers.
    answer(unsafe { ioctl_with_ref(vcpu, KVM_INTERRUPT(), &interrupt) })
}

/// `KVM_SET_XSAVE`.
pub(crate) fn set_xsave(vcpu: &VcpuFd, xsave: &kvm_xsave) -> Result<(), KvmError> {
    // SAFETY: the kernel reads more than this structure only in a process that has asked for features whose state is
    // larger (`ARCH_REQ_XCOMP_GUEST_PERM`), which flatview does not.
    unsafe { vcpu.set_xsave(xsave) }.map_err(KvmError::of("KVM_SET_XSAVE"))
}

ioctl_iow_nr!(KVM_GET_DIRTY_LOG, KVMIO, 0x42, kvm_dirty_log);
ioctl_iowr_nr!(KVM_CLEAR_DIRTY_LOG, KVMIO, 0xc0, kvm_clear_dirty_log);
ioctl_io_nr!(KVM_RESET_DIRTY_RINGS, KVMIO, 0xc7);
ioctl_iow_nr!(KVM_IRQFD, KVMIO, 0x76, kvm_irqfd);
ioctl_iow_nr!(KVM_INTERRUPT, KVMIO, 0x86, kvm_interrupt);
ioctl_iow_nr!(KVM_IOEVENTFD, KVMIO, 0x79, kvm_ioeventfd);

/// `KVM_IOEVENTFD`: unlike that of `kvm-ioctls`, of any length without a value, for any descriptor.
pub(crate) fn ioeventfd(vm: &VmFd, ioeventfd: &kvm_ioeventfd) -> io::Result<()> {
    // SAFETY: the kernel reads one structure of this type, which has no pointers, and checks its descriptor.
    answer(unsafe { ioctl_with_ref(vm, KVM_IOEVENTFD(), ioeventfd) })
}

/// `KVM_IRQFD`, for any descriptor.
pub(crate) fn irqfd(vm: &VmFd, irqfd: &kvm_irqfd) -> io::Result<()> {
    // SAFETY: the kernel reads one structure of this type, which has no pointers, and checks its descriptors.
    answer(unsafe { ioctl_with_ref(vm, KVM_IRQFD(), irqfd) })
}

/// `KVM_GET_DIRTY_LOG`: one bit for each page of a slot. `kvm-ioctls` has it too, and allocates the bitmap anew each
/// time.
///
/// # Safety
///
/// If the kernel has this slot, and logs for it, then it has no more pages than `bitmap` has bits.
pub(crate) unsafe fn get_dirty_log(vm: &VmFd, slot: u32, bitmap: &mut [u64]) -> io::Result<()> {
    let mut log = kvm_dirty_log {
        slot,
        ..kvm_dirty_log::default()
    };
    log.__bindgen_anon_1.dirty_bitmap = bitmap.as_mut_ptr().cast();
    // SAFETY: the kernel writes a whole number of words, one bit for each page; the caller sees to it that they are
    // there.
    answer(unsafe { ioctl_with_ref(vm, KVM_GET_DIRTY_LOG(), &log) })
}

/// `KVM_CLEAR_DIRTY_LOG`: the pages whose bits are set in `bitmap` are clean, and write-protected. The bitmap begins at
/// `first_page`, a multiple of 64, and `pages` of its bits count: a multiple of 64, or up to the end of the slot.
pub(crate) fn clear_dirty_log(
    vm: &VmFd,
    slot: u32,
    first_page: u64,
    pages: u32,
    bitmap: &[u64],
) -> io::Result<()> {
    let most = u32::try_from(bitmap.len() * 64).unwrap_or(u32::MAX);
    let mut log = kvm_clear_dirty_log {
        slot,
        num_pages: pages.min(most),
        first_page,
        ..kvm_clear_dirty_log::default()
    };
    log.__bindgen_anon_1.dirty_bitmap = bitmap.as_ptr().cast_mut().cast();
    // SAFETY: the kernel only reads the bitmap, in whole words, and no more of it than there is.
    answer(unsafe { ioctl_with_ref(vm, KVM_CLEAR_DIRTY_LOG(), &log) })
}

/// `KVM_RESET_DIRTY_RINGS`: entries of all rings that were harvested are free, and their pages write-protected. Returns
/// how many; a signal that is pending makes it fewer (Linux 6.16).
pub(crate) fn reset_dirty_rings(vm: &VmFd) -> io::Result<u32> {
    // SAFETY: it takes nothing.
    let result = unsafe { ioctl(vm, KVM_RESET_DIRTY_RINGS()) };
    answer(result)?;
    Ok(result.unsigned_abs())
}

fn answer(result: libc::c_int) -> io::Result<()> {
    match result {
        ..0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Bytes of a page of KVM's interface.
pub(crate) const PAGE: usize = 4096;

/// Pages that are shared with the kernel, as words.
#[derive(Debug)]
pub(crate) struct SharedPages(NonNull<[AtomicU32]>);

// SAFETY: the mapping belongs to no thread, and all that is in it is atomic.
unsafe impl Send for SharedPages {}
// SAFETY: as above.
unsafe impl Sync for SharedPages {}

impl SharedPages {
    /// Maps `bytes` bytes, whole pages, from page `page` of a vCPU on.
    pub(crate) fn map(vcpu: &VcpuFd, page: u32, bytes: usize) -> io::Result<SharedPages> {
        let offset = libc::off_t::from(page) * PAGE as libc::off_t;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, at an address of the kernel's choice, changes no memory that is in use.
        let start = unsafe {
            libc::mmap(
                null_mut(),
                bytes,
                access,
                libc::MAP_SHARED,
                vcpu.as_raw_fd(),
                offset,
            )
        };
        match NonNull::new(start) {
            Some(start) if start.as_ptr() != libc::MAP_FAILED => {
                let words = NonNull::slice_from_raw_parts(start.cast(), bytes / size_of::<AtomicU32>());
                Ok(SharedPages(words))
            }
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Deref for SharedPages {
    type Target = [AtomicU32];

    fn deref(&self) -> &Self::Target {
        // SAFETY: the pages stay mapped, readable and writable, for as long as this lives; a page is aligned for words,
        // any bytes are words, and the kernel changes them as another thread would. The mapping keeps the pages, also
        // when the vCPU's descriptor is closed.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for SharedPages {
    fn drop(&mut self) {
        // SAFETY: it is this value's own mapping, and nobody borrows from it any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of_val(&**self)) };
    }
}
