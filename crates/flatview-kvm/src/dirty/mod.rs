//! Which pages the guest wrote: the kernel knows, and the blocks' clients are told.
//!
//! There are three ways, of which a virtual machine has one:
//!
//! | | what is read | when pages are write-protected anew |
//! |---|---|---|
//! | log | a bitmap for each slot ([`log`]) | when it is read |
//! | manual protect | the same | when a client took its marks ([`clear`]), rule P20 |
//! | ring | entries in a ring for each vCPU ([`ring`]) | when they are taken out, rule P21 |
//!
//! # Why nothing is lost
//!
//! A client takes a mark and then reads the page. So when a mark can be taken, stores to the page must already be
//! trapped, or will be before the client reads: else a store after its read leaves no trace.
//!
//! - log: the kernel protects the pages before it hands out the bitmap, and they are marked after that.
//! - manual protect: marks come first. Whoever takes them has the pages cleared before he reads (rule P10), and only
//!   bits are cleared that have been read: a bit that nobody has seen stays, whoever's page is next to it.
//! - ring: entries are copied, then given back, which protects their pages, and marked last. The thread that empties
//!   the rings by itself makes that order necessary: a client could take a mark at any moment.
//!
//! # What is known of the slots
//!
//! [`Dirty`] has a table of its own of the slots that log. A slot is put in before the kernel has it, since a vCPU may
//! write to it before the ioctl returns, and taken out after it is gone. `Vm::set_slot` and `Vm::delete_slot` see to
//! that.
//!
//! # Lock order
//!
//! `Vm::slots` comes before the lock within [`Dirty`], under which no other is taken.

mod clear;
mod log;
mod reaper;
mod ring;
#[cfg(test)]
#[path = "dirty_test.rs"]
mod tests;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock};

use flatview::listener::LogSync;
use flatview::{AddressRange, RamBlock};
use kvm_bindings as kvm;
use kvm_ioctls::VmFd;

pub(crate) use clear::log_clear;
pub(crate) use log::{before_delete, log_sync};
pub(crate) use ring::{VcpuRing, log_sync_global};

use crate::capabilities::enable;
use crate::lock::lock;
use crate::slots::PAGE_SIZE;
use crate::vm::Vm;
use crate::{Capabilities, KvmConfig, KvmError, Slot};
use reaper::Reaper;
use ring::Ring;

/// How the kernel tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Log,
    ManualProtect,
    /// With so many entries for each vCPU.
    Ring(u32),
}

/// What is known of a virtual machine's dirty pages. See the [module's text](self).
#[derive(Debug)]
pub(crate) struct Dirty {
    method: Method,
    state: Mutex<State>,
    reaper: OnceLock<Reaper>,
}

#[derive(Debug, Default)]
struct State {
    /// The slots that log, by number.
    slots: HashMap<u32, Logged>,
    rings: Vec<Ring>,
    next_ring: u64,
    /// Entries that were harvested and that the kernel has not reset yet.
    harvested: u64,
    /// Kept so that a harvest allocates nothing: a bitmap, and entries of rings.
    words: Vec<u64>,
    entries: Vec<ring::Entry>,
}

/// A slot that logs.
#[derive(Debug)]
pub(crate) struct Logged {
    block: RamBlock,
    block_offset: u64,
    /// If the kernel logs for a slot with this number, then that has so many pages: the size of a slot cannot change,
    /// and the number is not given to another before this is forgotten.
    pages: u64,
    /// With manual protect: the bits that were read and not cleared since. Empty if nothing was read.
    seen: Vec<u64>,
}

impl Logged {
    fn new(slot: &Slot) -> Logged {
        Logged {
            block: slot.block.clone(),
            block_offset: slot.block_offset,
            pages: slot.size / PAGE_SIZE,
            seen: Vec::new(),
        }
    }

    /// Words of a bitmap of the whole slot.
    fn words(&self) -> usize {
        word_of(self.pages + 63)
    }

    /// Marks the pages of a bitmap of the whole slot for whoever logs (rule P19).
    fn mark(&self, words: &[u64]) {
        self.block.set_dirty_lebitmap(self.block_offset, words);
        if !self.block_offset.is_multiple_of(PAGE_SIZE) {
            // Memory that somebody gave to us: a page of the kernel's is parts of two of the block's.
            let next = self.block_offset.saturating_add(PAGE_SIZE);
            self.block.set_dirty_lebitmap(next, words);
        }
    }

    fn mark_page(&self, page: u64) {
        if page < self.pages
            && let Some(bytes) = AddressRange::new(self.block_offset + page * PAGE_SIZE, PAGE_SIZE)
        {
            self.block.set_dirty(bytes);
        }
    }
}

impl Dirty {
    /// Has the kernel do it as `config` says. Before there are vCPUs and slots.
    ///
    /// `KVM_DIRTY_LOG_INITIALLY_SET` is not asked for. It makes the first bitmap of each slot full, which saves the
    /// kernel to protect all of a slot at once when logging begins. But a slot that is replaced because the map changed
    /// would be dirty as a whole again, and for a client that begins the core marks everything anyway (rule P18).
    pub(crate) fn new(fd: &VmFd, config: &KvmConfig, capabilities: &Capabilities) -> Result<Dirty, KvmError> {
        let method = if let Some(entries) = config.dirty_ring {
            ring::enable(fd, entries, capabilities)?;
            Method::Ring(entries)
        } else if config.manual_protect
            && capabilities.manual_dirty_log_protect & kvm::KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE != 0
        {
            let value = kvm::KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE.into();
            enable(fd, kvm::KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, value).map_err(KvmError::of(
                "KVM_ENABLE_CAP of KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2",
            ))?;
            Method::ManualProtect
        } else {
            Method::Log
        };
        Ok(Dirty {
            method,
            state: Mutex::default(),
            reaper: OnceLock::new(),
        })
    }

    /// How the listener of an address space brings dirty pages in. Rings are the virtual machine's: that of space 0
    /// empties them for all.
    pub(crate) fn log_sync_mode(&self, address_space: usize) -> LogSync {
        match (self.method, address_space) {
            (Method::Ring(_), 0) => LogSync::Global,
            (Method::Ring(_), _) => LogSync::None,
            _ => LogSync::PerSection,
        }
    }

    /// Notes a slot, if it logs, before the kernel is told of it. Returns what was known of it before.
    pub(crate) fn note(&self, slot: &Slot) -> Option<Logged> {
        // What was seen is of a bitmap that the kernel may have thrown away since.
        slot.logs()
            .then(|| self.state().slots.insert(slot.id, Logged::new(slot)))?
    }

    /// Takes [`note`](Self::note) back: the kernel refused.
    pub(crate) fn restore(&self, slot: &Slot, before: Option<Logged>) {
        if slot.logs() {
            let mut state = self.state();
            match before {
                Some(before) => state.slots.insert(slot.id, before),
                None => state.slots.remove(&slot.id),
            };
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// In which word of a bitmap the bit of a page is.
fn word_of(page: u64) -> usize {
    (page / 64) as usize
}

/// The slot `id` is gone, or logs no longer. What rings have of it is marked.
pub(crate) fn forget(vm: &Vm, id: u32) {
    let mut state = vm.dirty.state();
    if !state.slots.contains_key(&id) {
        return;
    }
    if let Err(error) = ring::reap(vm, &mut state, None) {
        tracing::warn!(%error, "dirty pages of a slot that went");
    }
    state.slots.remove(&id);
}

/// What `act` does with the slots that log and have a byte of `bytes`: all of them, whoever fails.
fn each_logged(
    vm: &Vm,
    address_space: usize,
    bytes: AddressRange,
    mut act: impl FnMut(&mut State, &Slot) -> Result<(), KvmError>,
) -> Result<(), KvmError> {
    let Some(slots) = vm.slots.get(address_space) else {
        return Ok(());
    };
    let slots = lock(slots);
    let mut state = vm.dirty.state();
    let mut result = Ok(());
    for slot in slots.meeting(bytes.start(), bytes.last()) {
        result = result.and(act(&mut state, slot));
    }
    result
}
