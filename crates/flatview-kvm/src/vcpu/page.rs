//! The page that a vCPU shares with the kernel (`kvm_run`), and `KVM_RUN`.
//!
//! # Why this file has `unsafe`
//!
//! The page is memory that the kernel writes during `KVM_RUN`, and a signal's handler at any time (`immediate_exit`, on
//! the vCPU's thread). So no reference to the whole of it ever exists: every access goes through one pointer, to one
//! field. It is a mapping of its own, not that of `kvm-ioctls`, which lends a reference to its first part only. Which field of its union is the right one says `exit_reason`, which the kernel has set with it; a wrong one
//! would be wrong numbers, as all of them are plain numbers.
#![expect(
    unsafe_code,
    reason = "memory that is shared with the kernel; see the text above"
)]

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

use flatview_accel::InstructionBytes;
use kvm_bindings as kvm;
use kvm_bindings::{
    kvm_regs, kvm_run, kvm_run__bindgen_ty_1, kvm_run__bindgen_ty_2, kvm_sregs, kvm_vcpu_events,
};
use kvm_ioctls::{Kvm, VcpuFd};
use vmm_sys_util::ioctl::{_IOC_NONE, ioctl, ioctl_expr};

use crate::KvmError;
use crate::sys::{KickTarget, SharedPages};

const KVM_RUN: libc::c_ulong = ioctl_expr(_IOC_NONE, kvm::KVMIO, 0x80, 0);

/// The vCPU's file, and its page.
#[derive(Debug)]
pub(super) struct RunPage {
    fd: VcpuFd,
    /// The beginning of `pages`.
    run: NonNull<kvm_run>,
    pages: SharedPages,
}

// SAFETY: the pointer is to the mapping that goes where this goes. A handler writes it only while a `KickTarget` exists,
// which stays on its thread.
unsafe impl Send for RunPage {}

/// Why `KVM_RUN` came back.
#[derive(Clone, Copy, Debug)]
pub(super) enum KvmExit {
    /// `IN`, `OUT`, and their string forms: `count` items of `size` bytes, in [`RunPage::io_data`].
    Io {
        is_write: bool,
        port: u16,
        size: u8,
        count: u32,
        offset: u64,
    },
    /// An access to memory that is in no slot, or a write to one that is read-only.
    Mmio {
        is_write: bool,
        address: u64,
        data: [u8; 8],
        len: u32,
    },
    Hlt,
    IrqWindowOpen,
    /// A signal came.
    Interrupted,
    /// The guest changed CR8.
    SetTpr,
    /// A single step is over.
    Debug,
    Shutdown,
    /// An event of the whole system: it is to end, one way or another.
    SystemEvent,
    IoapicEoi {
        vector: u8,
    },
    /// Its dirty ring has to be emptied.
    DirtyRingFull,
    /// With the bytes of the instruction, if the kernel gives them.
    EmulationFailure(Option<InstructionBytes>),
    /// Anything else: what it is, and the kernel's number for it.
    Other {
        what: &'static str,
        code: u64,
    },
}

impl RunPage {
    pub(super) fn new(kvm: &Kvm, fd: VcpuFd) -> Result<RunPage, KvmError> {
        let size = kvm
            .get_vcpu_mmap_size()
            .map_err(KvmError::of("KVM_GET_VCPU_MMAP_SIZE"))?;
        let failed = KvmError::failed("mmap of a vCPU");
        if size < size_of::<kvm_run>() {
            return Err(failed(io::ErrorKind::InvalidData.into()));
        }
        let pages = SharedPages::map(&fd, 0, size).map_err(failed)?;
        let run = pages.start().cast();
        Ok(RunPage { fd, run, pages })
    }

    /// The vCPU, for everything but its page.
    pub(super) fn fd(&self) -> &VcpuFd {
        &self.fd
    }

    /// From now on the kick signal gets this vCPU out, if this thread gets it. `self` must outlive what is returned.
    pub(super) fn kick_target(&mut self) -> KickTarget {
        // SAFETY: the only caller keeps the target on its stack while it has `self` borrowed.
        unsafe { KickTarget::new(self.immediate_exit().as_ptr()) }
    }

    fn immediate_exit(&mut self) -> &AtomicU8 {
        // SAFETY: within the page, which is mapped for as long as `self` lives.
        let place = unsafe { &raw mut (*self.run.as_ptr()).immediate_exit };
        // SAFETY: as above; the kernel and the handler change it as another thread would.
        unsafe { AtomicU8::from_ptr(place) }
    }

    /// Lets the next `KVM_RUN` come back at once. It finishes an access that the last one came out for.
    pub(super) fn set_immediate_exit(&mut self) {
        self.immediate_exit().store(1, Ordering::Relaxed);
    }

    /// Takes that back. Returns whether it was set: a kick signal has come.
    pub(super) fn take_immediate_exit(&mut self) -> bool {
        self.immediate_exit().swap(0, Ordering::Relaxed) != 0
    }

    /// `KVM_RUN`.
    pub(super) fn run(&mut self) -> io::Result<KvmExit> {
        // SAFETY: the file is a vCPU's. What the kernel writes during the call is the guest's memory, which is shared
        // anyway, and the page, which nobody looks at meanwhile.
        let result = unsafe { ioctl(&self.fd, KVM_RUN) };
        if result == 0 {
            return Ok(self.exit());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // EAGAIN: it waited to be started by another one, and something happened.
            Some(libc::EINTR | libc::EAGAIN) => Ok(KvmExit::Interrupted),
            Some(libc::EFAULT | libc::EHWPOISON) if self.exit_reason() == kvm::KVM_EXIT_MEMORY_FAULT => {
                Ok(self.exit())
            }
            _ => Err(error),
        }
    }

    fn exit_reason(&self) -> u32 {
        // SAFETY: within the page.
        unsafe { (*self.run.as_ptr()).exit_reason }
    }

    /// What belongs to the reason.
    fn details(&self) -> kvm_run__bindgen_ty_1 {
        // SAFETY: within the page.
        unsafe { (*self.run.as_ptr()).__bindgen_anon_1 }
    }

    fn exit(&self) -> KvmExit {
        let other = |what, code| KvmExit::Other { what, code };
        match self.exit_reason() {
            kvm::KVM_EXIT_IO => {
                // SAFETY: plain numbers, whatever the reason is; see the text at the top.
                let io = unsafe { self.details().io };
                KvmExit::Io {
                    is_write: u32::from(io.direction) == kvm::KVM_EXIT_IO_OUT,
                    port: io.port,
                    size: io.size,
                    count: io.count,
                    offset: io.data_offset,
                }
            }
            kvm::KVM_EXIT_MMIO => {
                // SAFETY: as above.
                let mmio = unsafe { self.details().mmio };
                KvmExit::Mmio {
                    is_write: mmio.is_write != 0,
                    address: mmio.phys_addr,
                    data: mmio.data,
                    len: mmio.len,
                }
            }
            kvm::KVM_EXIT_HLT => KvmExit::Hlt,
            kvm::KVM_EXIT_IRQ_WINDOW_OPEN => KvmExit::IrqWindowOpen,
            kvm::KVM_EXIT_INTR => KvmExit::Interrupted,
            kvm::KVM_EXIT_SET_TPR => KvmExit::SetTpr,
            kvm::KVM_EXIT_DEBUG => KvmExit::Debug,
            kvm::KVM_EXIT_SHUTDOWN => KvmExit::Shutdown,
            kvm::KVM_EXIT_SYSTEM_EVENT => KvmExit::SystemEvent,
            kvm::KVM_EXIT_IOAPIC_EOI => {
                // SAFETY: as above.
                let eoi = unsafe { self.details().eoi };
                KvmExit::IoapicEoi { vector: eoi.vector }
            }
            kvm::KVM_EXIT_DIRTY_RING_FULL => KvmExit::DirtyRingFull,
            kvm::KVM_EXIT_INTERNAL_ERROR => {
                // SAFETY: as above.
                let internal = unsafe { self.details().internal };
                match internal.suberror {
                    kvm::KVM_INTERNAL_ERROR_EMULATION => KvmExit::EmulationFailure(self.instruction()),
                    kvm::KVM_INTERNAL_ERROR_SIMUL_EX => other("KVM met simultaneous exceptions", 2),
                    kvm::KVM_INTERNAL_ERROR_DELIVERY_EV => other("KVM could not deliver an event", 3),
                    suberror => other("KVM has an internal error", suberror.into()),
                }
            }
            kvm::KVM_EXIT_FAIL_ENTRY => {
                // SAFETY: as above.
                let fail = unsafe { self.details().fail_entry };
                other(
                    "the processor refused to enter the guest",
                    fail.hardware_entry_failure_reason,
                )
            }
            kvm::KVM_EXIT_MEMORY_FAULT => {
                // SAFETY: as above.
                let fault = unsafe { self.details().memory_fault };
                other("KVM cannot reach the memory at", fault.gpa)
            }
            kvm::KVM_EXIT_UNKNOWN => {
                // SAFETY: as above.
                let hardware = unsafe { self.details().hw };
                other(
                    "the processor left the guest for an unknown reason",
                    hardware.hardware_exit_reason,
                )
            }
            reason => other("KVM came out for a reason that nobody asked for", reason.into()),
        }
    }

    /// The instruction that could not be emulated, if the kernel gives it.
    fn instruction(&self) -> Option<InstructionBytes> {
        // SAFETY: as in `exit`.
        let failure = unsafe { self.details().emulation_failure };
        let has_bytes = failure.ndata >= 3
            && failure.flags & u64::from(kvm::KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0;
        // SAFETY: the union has this one field.
        let given = unsafe { failure.__bindgen_anon_1.__bindgen_anon_1 };
        let bytes = given.insn_bytes.get(..given.insn_size.into())?;
        (has_bytes && !bytes.is_empty()).then(|| InstructionBytes::new(bytes))
    }

    /// What the ports gave or get: `len` bytes from `offset` on, as [`KvmExit::Io`] says. Empty if that is not in the
    /// mapping.
    pub(super) fn io_data(&mut self, offset: u64, len: usize) -> &mut [u8] {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let is_behind = offset >= size_of::<kvm_run>();
        if !is_behind
            || offset
                .checked_add(len)
                .is_none_or(|end| end > size_of_val(&*self.pages))
        {
            return &mut [];
        }
        // SAFETY: within the mapping.
        let first = unsafe { self.run.cast::<u8>().add(offset) };
        // SAFETY: within the mapping and behind everything else that is looked at; the kernel only touches it during
        // `KVM_RUN`, which needs `self`.
        unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), len) }
    }

    /// What the guest reads, after [`KvmExit::Mmio`].
    pub(super) fn set_mmio_data(&mut self, data: [u8; 8]) {
        // SAFETY: within the page, and nobody else looks at this part of it but `KVM_RUN`, which needs `self`.
        let details = unsafe { &mut (*self.run.as_ptr()).__bindgen_anon_1 };
        details.mmio.data = data;
    }

    /// RFLAGS.IF, after `KVM_RUN`.
    pub(super) fn if_flag(&self) -> bool {
        // SAFETY: within the page.
        unsafe { (*self.run.as_ptr()).if_flag != 0 }
    }

    /// Whether an interrupt can be injected, after `KVM_RUN`.
    pub(super) fn is_ready_for_interrupt(&self) -> bool {
        // SAFETY: within the page.
        unsafe { (*self.run.as_ptr()).ready_for_interrupt_injection != 0 }
    }

    /// Whether it was in system management mode, after `KVM_RUN`.
    pub(super) fn is_in_smm(&self) -> bool {
        // SAFETY: within the page.
        unsafe { u32::from((*self.run.as_ptr()).flags) & kvm::KVM_RUN_X86_SMM != 0 }
    }

    /// Whether `KVM_RUN` comes back as soon as an interrupt can be injected.
    pub(super) fn request_interrupt_window(&mut self, yes: bool) {
        // SAFETY: within the page.
        unsafe { (*self.run.as_ptr()).request_interrupt_window = yes.into() };
    }

    /// CR8, after `KVM_RUN`.
    pub(super) fn cr8(&self) -> u64 {
        // SAFETY: within the page.
        unsafe { (*self.run.as_ptr()).cr8 }
    }

    /// What CR8 is in the next `KVM_RUN`, without interrupt controllers in the kernel.
    pub(super) fn set_cr8(&mut self, value: u64) {
        // SAFETY: within the page.
        unsafe { (*self.run.as_ptr()).cr8 = value };
    }

    /// `IA32_APIC_BASE`, after `KVM_RUN`.
    pub(super) fn apic_base(&self) -> u64 {
        // SAFETY: within the page.
        unsafe { (*self.run.as_ptr()).apic_base }
    }

    /// Which registers `KVM_RUN` leaves in the page (`KVM_SYNC_X86_…`).
    pub(super) fn set_valid_registers(&mut self, which: u32) {
        // SAFETY: within the page.
        unsafe { (*self.run.as_ptr()).kvm_valid_regs = which.into() };
    }

    /// The registers that the last `KVM_RUN` left.
    pub(super) fn registers(&self) -> (kvm_regs, kvm_sregs, kvm_vcpu_events) {
        // SAFETY: within the page.
        let union = unsafe { (*self.run.as_ptr()).s };
        // SAFETY: the union has this one field that is not padding.
        let all = unsafe { union.regs };
        (all.regs, all.sregs, all.events)
    }

    fn registers_mut(&mut self) -> &mut kvm_run__bindgen_ty_2 {
        // SAFETY: as in `set_mmio_data`.
        unsafe { &mut (*self.run.as_ptr()).s }
    }

    /// Lets the next `KVM_RUN` take the general registers from here.
    pub(super) fn put_regs(&mut self, regs: &kvm_regs) {
        self.registers_mut().regs.regs = *regs;
        self.add_dirty(kvm::KVM_SYNC_X86_REGS);
    }

    /// Lets the next `KVM_RUN` take the system registers from here.
    pub(super) fn put_sregs(&mut self, sregs: &kvm_sregs) {
        self.registers_mut().regs.sregs = *sregs;
        self.add_dirty(kvm::KVM_SYNC_X86_SREGS);
    }

    fn add_dirty(&mut self, which: u32) {
        // SAFETY: within the page.
        unsafe { (*self.run.as_ptr()).kvm_dirty_regs |= u64::from(which) };
    }

    /// Which registers the next `KVM_RUN` takes from the page. It takes none after this.
    pub(super) fn take_dirty(&mut self) -> u32 {
        let run = self.run.as_ptr();
        // SAFETY: within the page.
        let dirty = unsafe { (*run).kvm_dirty_regs };
        // SAFETY: within the page.
        unsafe { (*run).kvm_dirty_regs = 0 };
        u32::try_from(dirty).unwrap_or_default()
    }
}
