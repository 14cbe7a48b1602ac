//! Dirty rings: a ring of entries for each vCPU, in memory that the kernel shares with this process
//! (`KVM_CAP_DIRTY_LOG_RING`).
//!
//! The kernel fills an entry and then says that it is dirty. It is copied, and said to be harvested;
//! `KVM_RESET_DIRTY_RINGS` gives all such entries back and write-protects their pages.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kvm_bindings as kvm;
use kvm_ioctls::{VcpuFd, VmFd};

use super::reaper::Reaper;
use super::{Method, State};
use crate::sys::SharedPages;
use crate::vm::Vm;
use crate::{Capabilities, KvmError, capabilities, sys};

/// `KVM_DIRTY_GFN_F_DIRTY`.
const DIRTY: u32 = 1;
/// `KVM_DIRTY_GFN_F_RESET`.
const RESET: u32 = 2;

/// So many calls in a row that reset nothing are an error.
const MOST_IDLE: u32 = 1000;

/// A page that was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// With the address space in bits 16 and up.
    slot: u32,
    page: u64,
}

/// `struct kvm_dirty_gfn`, as words: flags, slot, and the page, low word first.
const WORDS: usize = size_of::<kvm::kvm_dirty_gfn>() / size_of::<u32>();
const FLAGS: usize = 0;
const SLOT: usize = 1;
const PAGE_LOW: usize = 2;
const PAGE_HIGH: usize = 3;

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
    let bytes = u64::from(entries) * size_of::<kvm::kvm_dirty_gfn>() as u64;
    if bytes > capabilities.dirty_ring.into() {
        return Err(bad("this KVM has no rings of that size"));
    }
    let has_ordered = fd.check_extension_raw(kvm::KVM_CAP_DIRTY_LOG_RING_ACQ_REL.into()) > 0;
    let capability = match has_ordered {
        true => kvm::KVM_CAP_DIRTY_LOG_RING_ACQ_REL,
        false => kvm::KVM_CAP_DIRTY_LOG_RING,
    };
    capabilities::enable(fd, capability, bytes).map_err(|error| match error.errno() {
        // It keeps some in reserve for what one exit can add.
        libc::EINVAL => bad("this KVM needs more entries"),
        _ => KvmError::of("KVM_ENABLE_CAP of a dirty ring")(error),
    })
}

/// The ring of one vCPU.
#[derive(Debug)]
pub(super) struct Ring {
    /// No other of the virtual machine has it.
    number: u64,
    memory: SharedPages,
    /// The entry that is looked at next.
    next: usize,
}

impl Ring {
    fn map(vcpu: &VcpuFd, entries: u32, number: u64) -> Result<Ring, KvmError> {
        let bytes = entries as usize * size_of::<kvm::kvm_dirty_gfn>();
        let memory = SharedPages::map(vcpu, kvm::KVM_DIRTY_LOG_PAGE_OFFSET, bytes)
            .map_err(KvmError::failed("mmap of a dirty ring"))?;
        Ok(Ring {
            number,
            memory,
            next: 0,
        })
    }

    /// Copies what is dirty, and says that it is harvested.
    fn collect(&mut self, into: &mut Vec<Entry>) {
        let (entries, _) = self.memory.as_chunks::<WORDS>();
        // At most once around: entries that are harvested stay so until the kernel resets them.
        for _ in 0..entries.len() {
            let entry = &entries[self.next];
            if entry[FLAGS].load(Ordering::Acquire) & DIRTY == 0 {
                return;
            }
            let word = |place: usize| entry[place].load(Ordering::Relaxed);
            into.push(Entry {
                slot: word(SLOT),
                page: u64::from(word(PAGE_HIGH)) << 32 | u64::from(word(PAGE_LOW)),
            });
            entry[FLAGS].store(RESET, Ordering::Release);
            self.next = (self.next + 1) % entries.len();
        }
    }
}

/// Empties all rings, or the one with that number, and marks what was in them.
pub(super) fn reap(vm: &Vm, state: &mut State, number: Option<u64>) -> Result<(), KvmError> {
    let State {
        slots,
        rings,
        entries,
        harvested,
        ..
    } = state;
    for ring in rings {
        if number.is_none_or(|number| number == ring.number) {
            ring.collect(entries);
        }
    }
    *harvested += entries.len() as u64;
    if *harvested == 0 {
        return Ok(());
    }
    vm.counters.dirty_ring_entries.add(entries.len() as u64);
    let reset = reset(vm, harvested).map_err(KvmError::failed("KVM_RESET_DIRTY_RINGS"));
    // Not before: see the text of the module above.
    for Entry { slot, page } in entries.drain(..) {
        if let Some(logged) = slots.get(&slot) {
            logged.mark_page(page);
        }
    }
    reset
}

/// Has the kernel reset all entries that were harvested. A signal, as vCPUs get, can end one call early; the next one
/// goes on, since the signal's handler has run by then.
fn reset(vm: &Vm, harvested: &mut u64) -> io::Result<()> {
    let mut idle = 0;
    while *harvested != 0 {
        vm.counters.dirty_rings_reset.add(1);
        let count = match sys::reset_dirty_rings(&vm.fd) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            result => result?,
        };
        *harvested = harvested.saturating_sub(count.into());
        idle = if count == 0 { idle + 1 } else { 0 };
        if idle == MOST_IDLE {
            // Once is enough to say so.
            *harvested = 0;
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
    Ok(())
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
    number: u64,
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
        if vm.dirty.reaper.get().is_none() {
            // If two come at once, the one too many ends here.
            drop(vm.dirty.reaper.set(Reaper::start(vm)?));
        }
        let mut state = vm.dirty.state();
        let number = state.next_ring;
        state.rings.push(Ring::map(vcpu, entries, number)?);
        state.next_ring += 1;
        drop(state);
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
