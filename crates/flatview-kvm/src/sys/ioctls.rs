//! Calls of KVM.
#![expect(unsafe_code, reason = "system calls")]

use std::io;

use kvm_bindings::{
    KVMIO, kvm_clear_dirty_log, kvm_dirty_log, kvm_interrupt, kvm_ioeventfd, kvm_irqfd, kvm_xsave,
};
use kvm_ioctls::{VcpuFd, VmFd};
use vmm_sys_util::ioctl::{ioctl, ioctl_with_ref};
use vmm_sys_util::{ioctl_io_nr, ioctl_iow_nr, ioctl_iowr_nr};

use super::answer;
use crate::KvmError;

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
