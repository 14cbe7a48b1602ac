//! The listener that keeps the kernel's memory slots true to an address space.
//!
//! What it hears of ranges it puts into a [queue](batch::Queue), in [pieces](pieces::Pieces) that can be slots; nothing
//! is done before `commit` (rule W4). There the queue becomes a [batch](batch::Batch) of ioctls: what goes and comes as
//! it was is left alone, then slots are deleted, then flags are changed, then slots are made, each ascending. The slots
//! that exist are in the [table](crate::slots::SlotTable).
//!
//! # No holes, no aborts
//!
//! The kernel cannot replace a slot by others in one step. If a batch deletes memory that it makes again, vCPUs are kept
//! [out](crate::gate::Gate) from before the first ioctl until readers see the new view (rule W5); also if a slot goes
//! whose dirty pages are logged, or a page could be written between the last look at its log and its end (rule P22).
//! For everything else nobody has to come out: an access to memory that has no slot yet, or has none any more, is
//! answered by a view that has the memory.
//!
//! A change that needs more slots than there are is refused before anything happens. If an ioctl fails, those before it
//! are taken back, and so is the transaction.

mod batch;
mod pieces;

#[cfg(test)]
mod random_test;

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use flatview::listener::{LogSync, priority};
use flatview::{
    DirtyClients, FlatRange, FlatView, ListenerResult, MemoryListener, MemoryRegionSection, Undo, ViewChange,
};

use crate::lock::lock;
use crate::vm::Vm;
use crate::{KvmError, dirty};
use batch::{Kernel, Queue};
use pieces::Pieces;

/// Keeps the memory slots of one address space.
#[derive(Debug)]
pub(crate) struct KvmMemoryListener {
    vm: Arc<Vm>,
    /// Its number in the kernel.
    address_space: usize,
    queue: Mutex<Queue>,
    /// Whether it keeps vCPUs out, until it is told that the change is over.
    keeps_out: AtomicBool,
}

impl KvmMemoryListener {
    pub(crate) fn new(vm: &Arc<Vm>, address_space: usize) -> KvmMemoryListener {
        KvmMemoryListener {
            vm: Arc::clone(vm),
            address_space,
            queue: Mutex::default(),
            keeps_out: AtomicBool::new(false),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    fn kernel(&self) -> Kernel<'_> {
        Kernel {
            vm: &self.vm,
            table: &self.vm.slots[self.address_space],
        }
    }

    fn pieces(&self, range: &FlatRange) -> Pieces {
        Pieces::of(range, range.dirty_log_mask(), &self.vm)
    }

    fn log_changes(&self, section: &MemoryRegionSection<'_>, old: DirtyClients, new: DirtyClients) {
        if old.is_empty() != new.is_empty() {
            let pieces = Pieces::of(section.range(), new, &self.vm);
            self.queue()
                .logged
                .extend(pieces.map(|piece| (piece.gpa, piece.flags)));
        }
    }

    fn keep_out(&self) {
        if !self.keeps_out.swap(true, Ordering::Relaxed) {
            self.vm.counters.kicks.add(self.vm.gate.close());
            self.vm.counters.keep_outs.add(1);
        }
    }
}

impl MemoryListener for KvmMemoryListener {
    fn name(&self) -> &str {
        match self.address_space {
            0 => "kvm-memory",
            _ => "kvm-smram",
        }
    }

    fn priority(&self) -> u32 {
        priority::ACCEL
    }

    /// Refuses what needs too many slots (rule W3).
    fn prepare(&self, change: &ViewChange<'_>) -> ListenerResult {
        let count = |range| self.pieces(range).len();
        // All of them are pages of one guest, so their number does not overflow.
        let gone: u64 = change.removed().map(count).sum();
        let wanted: u64 = change.added().map(count).sum();
        let table = self.kernel().table();
        let needed = (table.len() as u64).saturating_sub(gone) + wanted;
        let most = table.most();
        if needed > most as u64 {
            let needed = usize::try_from(needed).unwrap_or(usize::MAX);
            return Err(KvmError::NoFreeSlots { needed, most }.into());
        }
        Ok(())
    }

    /// Nothing was done yet.
    fn abort(&self, _: &Undo<'_>) -> ListenerResult {
        *self.queue() = Queue::default();
        Ok(())
    }

    fn commit(&self, _: &FlatView) -> ListenerResult {
        let kernel = self.kernel();
        let batch = mem::take(&mut *self.queue()).plan(&kernel.table());
        if batch.needs_everybody_out() {
            self.keep_out();
        }
        let mut undo = Vec::new();
        batch.carry_out(kernel, &mut undo).map_err(|failure| {
            // New slots go again that may log by now.
            self.keep_out();
            kernel.take_back(undo, failure).into()
        })
    }

    fn settled(&self) {
        if self.keeps_out.swap(false, Ordering::Relaxed) {
            self.vm.gate.open();
        }
    }

    fn region_add(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        self.queue().wanted.extend(self.pieces(section.range()));
        Ok(())
    }

    fn region_del(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        let pieces = self.pieces(section.range());
        self.queue().gone.extend(pieces.map(|piece| piece.gpa));
        Ok(())
    }

    fn log_start(
        &self,
        section: &MemoryRegionSection<'_>,
        old: DirtyClients,
        new: DirtyClients,
    ) -> ListenerResult {
        self.log_changes(section, old, new);
        Ok(())
    }

    fn log_stop(
        &self,
        section: &MemoryRegionSection<'_>,
        old: DirtyClients,
        new: DirtyClients,
    ) -> ListenerResult {
        self.log_changes(section, old, new);
        Ok(())
    }

    fn log_sync_mode(&self) -> LogSync {
        self.vm.dirty.log_sync_mode(self.address_space)
    }

    fn log_sync(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        let addresses = section.range().range();
        Ok(dirty::log_sync(&self.vm, self.address_space, addresses)?)
    }

    fn log_sync_global(&self, _: bool) -> ListenerResult {
        Ok(dirty::log_sync_global(&self.vm)?)
    }

    fn log_clear(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        let addresses = section.range().range();
        Ok(dirty::log_clear(&self.vm, self.address_space, addresses)?)
    }
}
