//! What a commit does to the kernel's slots, all of it or nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::pieces::Piece;
use crate::slots::SlotTable;
use crate::vm::Vm;
use crate::{KvmError, Slot, SlotFlags, dirty};

/// What a listener has heard since `begin`, in slots.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Where slots begin that go.
    pub(crate) gone: Vec<u64>,
    pub(crate) wanted: Vec<Piece>,
    /// Slots that stay: where they begin, and their flags from now on (rule W10).
    pub(crate) logged: Vec<(u64, SlotFlags)>,
}

impl Queue {
    /// What has to be done: nothing for a slot that goes and comes as it was.
    pub(crate) fn plan(mut self, table: &SlotTable) -> Batch {
        // They come descending where a commit is taken back.
        self.gone.sort_unstable();
        self.wanted.sort_unstable_by_key(|piece| piece.gpa);
        self.logged
            .retain(|(gpa, _)| self.gone.binary_search(gpa).is_err());
        let mut flags = self.logged;
        let mut stays = Vec::new();
        let is_new = |piece: &Piece| {
            let is_gone = self.gone.binary_search(&piece.gpa).is_ok();
            let slot = table.at(piece.gpa).filter(|_| is_gone);
            let stays_here = slot.is_some_and(|slot| piece.is_in_place_of(slot));
            if stays_here {
                stays.push(piece.gpa);
                flags.push((piece.gpa, piece.flags));
            }
            !stays_here
        };
        self.wanted.retain(is_new);
        self.gone.retain(|gpa| stays.binary_search(gpa).is_err());
        flags.sort_unstable_by_key(|&(gpa, _)| gpa);
        let deletes: Vec<Slot> = self
            .gone
            .iter()
            .filter_map(|&gpa| table.at(gpa))
            .cloned()
            .collect();
        let meets_old = |piece: &Piece| table.meeting(piece.gpa, piece.last()).next().is_some();
        Batch {
            overlaps: !deletes.is_empty() && self.wanted.iter().any(meets_old),
            changes: flags
                .into_iter()
                .filter_map(|(gpa, flags)| Some((table.at(gpa)?, flags)))
                .filter(|(slot, flags)| slot.flags != *flags)
                .map(|(slot, flags)| (slot.clone(), flags))
                .collect(),
            deletes,
            creates: self.wanted,
        }
    }
}

/// The ioctls of a commit.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Ascending, as are the others.
    deletes: Vec<Slot>,
    /// Slots that get these flags.
    changes: Vec<(Slot, SlotFlags)>,
    creates: Vec<Piece>,
    /// Whether there is memory that goes and comes.
    overlaps: bool,
}

impl Batch {
    /// Whether a vCPU that runs meanwhile could see what nobody is meant to see: no memory where there is memory before
    /// and after (rule W5). Or whether what it writes last could remain unnoticed (rule P22).
    pub(crate) fn needs_everybody_out(&self) -> bool {
        let logs = |slot: &Slot| slot.flags.contains(SlotFlags::LOG_DIRTY_PAGES);
        self.overlaps || self.deletes.iter().any(logs)
    }

    /// Does it, and notes in `done` what was done. Each new slot takes the lowest free number (rule W3).
    pub(crate) fn carry_out(self, kernel: Kernel<'_>, done: &mut Vec<Step>) -> Result<(), KvmError> {
        done.reserve(self.deletes.len() + self.changes.len() + self.creates.len());
        let mut take = |step: Step| {
            kernel.take(&step)?;
            done.push(step);
            Ok(())
        };
        self.deletes
            .into_iter()
            .try_for_each(|slot| take(Step::Delete(slot)))?;
        self.changes
            .into_iter()
            .try_for_each(|(slot, flags)| take(Step::SetFlags(slot, flags)))?;
        self.creates.into_iter().try_for_each(|piece| {
            let id = kernel.next_id()?;
            take(Step::Create(piece.numbered(id)))
        })
    }
}

/// One ioctl.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Delete(Slot),
    Create(Slot),
    /// The slot before, and its flags from now on.
    SetFlags(Slot, SlotFlags),
}

impl Step {
    fn inverse(self) -> Step {
        match self {
            Step::Delete(slot) => Step::Create(slot),
            Step::Create(slot) => Step::Delete(slot),
            Step::SetFlags(slot, flags) => {
                let before = slot.flags;
                Step::SetFlags(Slot { flags, ..slot }, before)
            }
        }
    }
}

/// The slots of one address space, here and in the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel<'a> {
    pub(crate) vm: &'a Vm,
    /// Locked for moments only, so that the dirty log can be read meanwhile.
    pub(crate) table: &'a Mutex<SlotTable>,
}

impl<'a> Kernel<'a> {
    pub(crate) fn table(self) -> MutexGuard<'a, SlotTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_id(self) -> Result<u32, KvmError> {
        let table = self.table();
        table.next_id().ok_or(KvmError::NoFreeSlots {
            needed: table.len() + 1,
            most: table.most(),
        })
    }

    /// Takes back what was done before `failure`. Returns why that was necessary.
    pub(crate) fn take_back(self, done: Vec<Step>, failure: KvmError) -> KvmError {
        let mut undone = Ok(());
        for step in done.into_iter().rev() {
            // As much as is possible, whatever fails.
            undone = undone.and(self.take(&step.inverse()));
        }
        match undone {
            Ok(()) => failure,
            Err(rollback) => KvmError::NotTakenBack {
                failure: Box::new(failure),
                rollback: Box::new(rollback),
            },
        }
    }

    fn take(self, step: &Step) -> Result<(), KvmError> {
        let (vm, counters) = (self.vm, &self.vm.counters);
        match step {
            Step::Delete(slot) => {
                dirty::before_delete(vm, slot)?;
                vm.delete_slot(slot)?;
                counters.slots_deleted.add(1);
                self.table().remove(slot.gpa);
            }
            Step::Create(slot) => {
                vm.set_slot(slot)?;
                counters.slots_created.add(1);
                self.table().insert(slot.clone());
            }
            Step::SetFlags(slot, flags) => {
                let flags = *flags;
                vm.set_slot(&Slot {
                    flags,
                    ..slot.clone()
                })?;
                counters.slots_changed.add(1);
                if let Some(slot) = self.table().at_mut(slot.gpa) {
                    slot.flags = flags;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "batch_test.rs"]
mod tests;
