//! Dirty rings: a ring of entries for each vCPU, in memory that the kernel shares with this process
//! (`KVM_CAP_DIRTY_LOG_RING`).
//!
//! The kernel fills an entry and then says that it is dirty. It is copied, and said to be harvested;
//! `KVM_RESET_DIRTY_RINGS` gives all such entries back and write-protects their pages.
#![expect(unsafe_code, reason = "memory that is shared with the kernel")]

use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use kvm_bindings as kvm;
use kvm_ioctls::{VcpuFd, VmFd};

use super::reaper::Reaper;
use super::{Method, PAGE_SIZE, State};
use crate::vm::Vm;
use crate::{Capabilities, KvmError, sys};

/// `KVM_DIRTY_GFN_F_DIRTY`.
const DIRTY: u32 = 1;
/// `KVM_DIRTY_GFN_F_RESET`.
const RESET: u32 = 2;

/// A page that was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// With the address space in bits 16 and up.
    slot: u32,
    page: u64,
}

/// `struct kvm_dirty_gfn`.
#[derive(Debug)]
#[repr(C)]
struct SharedEntry {
    flags: AtomicU32,
    slot: AtomicU32,
    page: AtomicU64,
}

const _: () = assert!(size_of::<SharedEntry>() == size_of::<kvm::kvm_dirty_gfn>());

/// Asks for rings of `entries` entries. Before there is any vCPU.
pub(super) fn enable(fd: &VmFd, entries: u32, capabilities: &Capabilities) -> Result<(), KvmError> {
    let bad = |why| KvmError::BadOption {
        option: "dirty-ring-size",
        value: entries.into(),
        why,
    };
    if capabilities.dirty_ring == 0 {
        return Err(KvmError::Lacks {
            capability: "KVM_CAP_DIRTY_LOG_RING",
            what: "dirty-ring-size",
        });
    }
    if !entries.is_power_of_two() {
        return Err(bad("it must be a power of two"));
    }
    let bytes = u64::from(entries) * size_of::<SharedEntry>() as u64;
    if bytes > capabilities.dirty_ring.into() {
        return Err(bad("this KVM has no rings of that size"));
    }
    let has_ordered = fd.check_extension_raw(kvm::KVM_CAP_DIRTY_LOG_RING_ACQ_REL.into()) > 0;
    let mut enable = kvm::kvm_enable_cap {
        cap: match has_ordered {
            true => kvm::KVM_CAP_DIRTY_LOG_RING_ACQ_REL,
            false => kvm::KVM_CAP_DIRTY_LOG_RING,
        },
        ..kvm::kvm_enable_cap::default()
    };
    enable.args[0] = bytes;
    fd.enable_cap(&enable).map_err(|error| match error.errno() {
        // It keeps some in reserve for what one exit can add.
        libc::EINVAL => bad("this KVM needs more entries"),
        _ => KvmError::of("KVM_ENABLE_CAP")(error),
    })
}

/// The ring of one vCPU.
#[derive(Debug)]
pub(super) struct Ring {
    /// No other of the virtual machine has it.
    number: usize,
    memory: NonNull<SharedEntry>,
    entries: u32,
    /// The entry that the kernel fills next which we have not seen, modulo `entries`.
    next: u32,
}

// SAFETY: the memory belongs to the process, and is only touched through atomics.
unsafe impl Send for Ring {}

impl Ring {
    fn map(vcpu: &VcpuFd, entries: u32) -> Result<Ring, KvmError> {
        let (protection, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let offset = i64::from(kvm::KVM_DIRTY_LOG_PAGE_OFFSET) * PAGE_SIZE.cast_signed();
        let fd = vcpu.as_raw_fd();
        // SAFETY: a new mapping, where nothing is yet.
        let memory = unsafe { libc::mmap(null_mut(), bytes(entries), protection, shared, fd, offset) };
        let mapped = (memory != libc::MAP_FAILED).then_some(memory.cast::<SharedEntry>());
        let Some(memory) = mapped.and_then(NonNull::new) else {
            return Err(KvmError::Ioctl {
                ioctl: "mmap of a dirty ring",
                source: io::Error::last_os_error(),
            });
        };
        Ok(Ring {
            number: memory.as_ptr().addr(),
            memory,
            entries,
            next: 0,
        })
    }

    /// Copies what is dirty, and says that it is harvested.
    fn collect(&mut self, into: &mut Vec<Entry>) {
        // SAFETY: so many are mapped until the ring is dropped; the kernel is the only other one that changes them.
        let ring = unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.entries as usize) };
        for _ in 0..self.entries {
            let entry = &ring[(self.next & (self.entries - 1)) as usize];
            if entry.flags.load(Ordering::Acquire) & DIRTY == 0 {
                return;
            }
            into.push(Entry {
                slot: entry.slot.load(Ordering::Relaxed),
                page: entry.page.load(Ordering::Relaxed),
            });
            entry.flags.store(RESET, Ordering::Release);
            self.next = self.next.wrapping_add(1);
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this size, and nothing of it is borrowed.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), bytes(self.entries)) };
    }
}

fn bytes(entries: u32) -> usize {
    entries as usize * size_of::<SharedEntry>()
}

/// Empties all rings, or the one with that number, and marks what was in them.
pub(super) fn reap(vm: &Vm, state: &mut State, number: Option<usize>) -> Result<(), KvmError> {
    let State {
        slots,
        rings,
        entries,
        ..
    } = state;
    for ring in rings {
        if number.is_none_or(|number| number == ring.number) {
            ring.collect(entries);
        }
    }
    if entries.is_empty() {
        return Ok(());
    }
    vm.counters.dirty_ring_entries.add(entries.len() as u64);
    vm.counters.dirty_rings_reset.add(1);
    let reset = sys::reset_dirty_rings(&vm.fd);
    // Not before: see the text of the module above.
    for Entry { slot, page } in entries.drain(..) {
        if let Some(logged) = slots.get(&slot) {
            logged.mark_page(page);
        }
    }
    reset
}

/// Marks everything that was written up to now. vCPUs come out for a moment: processors that note pages on their own
/// (Intel SDM vol. 3, "Page-Modification Logging") hand them over then.
///
/// # Errors
///
/// [`KvmError::Ioctl`].
pub(crate) fn log_sync_global(vm: &Vm) -> Result<(), KvmError> {
    vm.counters.kicks.add(vm.gate.close());
    let reaped = reap(vm, &mut vm.dirty.state(), None);
    vm.gate.open();
    reaped
}

/// A vCPU's share in its dirty ring. When it is dropped, what is left in the ring is marked.
#[derive(Debug)]
pub(crate) struct VcpuRing {
    vm: Arc<Vm>,
    number: usize,
}

impl VcpuRing {
    /// For a new vCPU; `None` unless the virtual machine has rings. With the first begins the thread that empties them.
    ///
    /// # Errors
    ///
    /// [`KvmError::Ioctl`] if it cannot be mapped, or no thread can be made.
    pub(crate) fn new(vm: &Arc<Vm>, vcpu: &VcpuFd) -> Result<Option<VcpuRing>, KvmError> {
        let Method::Ring(entries) = vm.dirty.method else {
            return Ok(None);
        };
        let ring = Ring::map(vcpu, entries)?;
        let number = ring.number;
        if vm.dirty.reaper.get().is_none() {
            // If two come at once, the one too many ends here.
            drop(vm.dirty.reaper.set(Reaper::start(vm)?));
        }
        vm.dirty.state().rings.push(ring);
        Ok(Some(VcpuRing {
            vm: Arc::clone(vm),
            number,
        }))
    }

    /// Empties it: to be called at `KVM_EXIT_DIRTY_RING_FULL`, on the vCPU's thread, before it runs again.
    ///
    /// # Errors
    ///
    /// [`KvmError::Ioctl`].
    pub(crate) fn reap(&self) -> Result<(), KvmError> {
        reap(&self.vm, &mut self.vm.dirty.state(), Some(self.number))
    }
}

impl Drop for VcpuRing {
    fn drop(&mut self) {
        if let Err(error) = self.reap() {
            tracing::warn!(%error, "the last entries of a dirty ring");
        }
        let mut state = self.vm.dirty.state();
        state.rings.retain(|ring| ring.number != self.number);
    }
}
