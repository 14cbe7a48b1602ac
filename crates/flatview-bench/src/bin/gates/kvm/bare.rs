//! A virtual machine of nothing but ioctls: what cannot be done for less.
//!
//! # Why this file has `unsafe`
//!
//! The kernel is given memory, and `kvm-ioctls` has no call that reads a dirty log into a bitmap that is there already,
//! and none that clears one.
#![expect(unsafe_code, reason = "memory for the kernel; see the text above")]

use std::io;

use flatview::RamBlock;
use flatview_accel::{Segment, VcpuState};
use kvm_bindings::{
    KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE, KVMIO, kvm_clear_dirty_log,
    kvm_dirty_log, kvm_enable_cap, kvm_regs, kvm_segment, kvm_userspace_memory_region,
};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::{ioctl_iow_nr, ioctl_iowr_nr};

use super::guest::{Guest, LOW};
use crate::table::Result;

ioctl_iow_nr!(KVM_GET_DIRTY_LOG, KVMIO, 0x42, kvm_dirty_log);
ioctl_iowr_nr!(KVM_CLEAR_DIRTY_LOG, KVMIO, 0xc0, kvm_clear_dirty_log);

/// A virtual machine and its memory, of which slot 0 shows the [low part](LOW).
pub(super) struct Bare {
    kvm: Kvm,
    vm: VmFd,
    memory: RamBlock,
}

/// A vCPU of it.
pub(super) struct BareVcpu {
    fd: VcpuFd,
    #[expect(dead_code, reason = "its slots show this memory")]
    memory: RamBlock,
}

impl Bare {
    /// With `size` bytes of memory.
    pub(super) fn new(size: u64) -> Result<Bare> {
        let kvm = Kvm::new()?;
        let vm = kvm.create_vm()?;
        vm.set_identity_map_address(0xfeff_c000)?;
        vm.set_tss_address(0xfeff_d000)?;
        let memory = RamBlock::anonymous(size)?;
        let bare = Bare { kvm, vm, memory };
        bare.set_slot(0, 0, 0, LOW, 0)?;
        Ok(bare)
    }

    pub(super) fn memory(&self) -> &RamBlock {
        &self.memory
    }

    pub(super) fn protect_manually(&self) -> Result<()> {
        let mut enable = kvm_enable_cap {
            cap: KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
            ..kvm_enable_cap::default()
        };
        enable.args[0] = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE.into();
        Ok(self.vm.enable_cap(&enable)?)
    }

    /// Lets slot `slot` show `size` bytes of memory, from `offset` on, at `gpa`. No bytes: deletes it.
    pub(super) fn set_slot(&self, slot: u32, gpa: u64, offset: u64, size: u64, flags: u32) -> Result<()> {
        let host = self.memory.host_ptr(offset, size.max(1));
        let host = host.ok_or("it is within the memory")?;
        let region = kvm_userspace_memory_region {
            slot,
            flags,
            guest_phys_addr: gpa,
            memory_size: size,
            userspace_addr: host.as_ptr().addr() as u64,
        };
        // SAFETY: it is memory of the block, which this value and every vCPU keep mapped.
        Ok(unsafe { self.vm.set_user_memory_region(region) }?)
    }

    /// The vCPU, about to run `guest`.
    pub(super) fn vcpu(&self, guest: &Guest) -> Result<BareVcpu> {
        guest.load(&self.memory)?;
        let fd = self.vm.create_vcpu(0)?;
        fd.set_cpuid2(
            &self
                .kvm
                .get_supported_cpuid(kvm_bindings::KVM_MAX_CPUID_ENTRIES)?,
        )?;
        let mut state = VcpuState::default();
        let mut sregs = fd.get_sregs()?;
        // What a guest leaves as it is has to be there.
        (state.sregs.cr4, state.sregs.efer, state.sregs.cr0) = (sregs.cr4, sregs.efer, sregs.cr0);
        let is_real = {
            (guest.begin)(&mut state);
            state.sregs.cr0 & 1 == 0
        };
        if is_real {
            sregs.cs.base = state.sregs.cs.base;
            sregs.cs.selector = state.sregs.cs.selector;
            sregs.ds.base = state.sregs.ds.base;
        } else {
            for (to, from) in [
                (&mut sregs.cs, state.sregs.cs),
                (&mut sregs.ds, state.sregs.ds),
                (&mut sregs.es, state.sregs.es),
                (&mut sregs.fs, state.sregs.fs),
                (&mut sregs.gs, state.sregs.gs),
                (&mut sregs.ss, state.sregs.ss),
            ] {
                *to = segment(from);
            }
        }
        sregs.cr0 = state.sregs.cr0;
        sregs.cr3 = state.sregs.cr3;
        sregs.cr4 = state.sregs.cr4;
        sregs.efer = state.sregs.efer;
        fd.set_sregs(&sregs)?;
        fd.set_regs(&kvm_regs {
            rip: state.regs.rip,
            rdx: state.regs.rdx,
            rflags: state.regs.rflags,
            ..kvm_regs::default()
        })?;
        let memory = self.memory.clone();
        Ok(BareVcpu { fd, memory })
    }

    /// `KVM_GET_DIRTY_LOG` of a slot of so many pages as `bitmap` has bits.
    pub(super) fn get_dirty_log(&self, slot: u32, bitmap: &mut [u64]) -> Result<()> {
        let mut log = kvm_dirty_log {
            slot,
            ..kvm_dirty_log::default()
        };
        log.__bindgen_anon_1.dirty_bitmap = bitmap.as_mut_ptr().cast();
        // SAFETY: the kernel writes a bit for each page, and the caller's slot has no more than the bitmap has bits.
        answer(unsafe { ioctl_with_ref(&self.vm, KVM_GET_DIRTY_LOG(), &log) })
    }

    /// `KVM_CLEAR_DIRTY_LOG` of the same, all of it.
    pub(super) fn clear_dirty_log(&self, slot: u32, bitmap: &[u64]) -> Result<()> {
        let mut log = kvm_clear_dirty_log {
            slot,
            num_pages: u32::try_from(bitmap.len() * 64)?,
            ..kvm_clear_dirty_log::default()
        };
        log.__bindgen_anon_1.dirty_bitmap = bitmap.as_ptr().cast_mut().cast();
        // SAFETY: the kernel only reads the bitmap, a bit for each page.
        answer(unsafe { ioctl_with_ref(&self.vm, KVM_CLEAR_DIRTY_LOG(), &log) })
    }
}

impl BareVcpu {
    /// Lets it come out so often, and answers with zeros.
    pub(super) fn run(&mut self, exits: u64) -> Result<()> {
        for _ in 0..exits {
            match self.fd.run()? {
                VcpuExit::MmioRead(_, data) | VcpuExit::IoIn(_, data) => data.fill(0),
                VcpuExit::MmioWrite(..) | VcpuExit::IoOut(..) => {}
                other => return Err(format!("the guest came out for {other:?}").into()),
            }
        }
        Ok(())
    }
}

fn answer(result: i32) -> Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error().into()),
    }
}

fn segment(from: Segment) -> kvm_segment {
    kvm_segment {
        base: from.base,
        limit: from.limit,
        selector: from.selector,
        type_: from.type_,
        present: from.present.into(),
        dpl: from.dpl,
        db: from.db.into(),
        s: from.s.into(),
        l: from.l.into(),
        g: from.g.into(),
        ..kvm_segment::default()
    }
}
