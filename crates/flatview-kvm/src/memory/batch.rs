//! What a commit does to the kernel's slots, all of it or nothing.

use std::sync::{Mutex, MutexGuard};

use super::pieces::Piece;
use crate::lock::lock;
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
        flags.retain(|&(gpa, flags)| table.at(gpa).is_some_and(|slot| slot.flags != flags));
        let logs = |gpa: &u64| table.at(*gpa).is_some_and(Slot::logs);
        let meets_old = |piece: &Piece| table.meeting(piece.gpa, piece.last()).next().is_some();
        let overlaps = !self.gone.is_empty() && self.wanted.iter().any(meets_old);
        Batch {
            needs_everybody_out: overlaps || self.gone.iter().any(logs),
            deletes: self.gone,
            changes: flags,
            creates: self.wanted,
        }
    }
}

/// The ioctls of a commit.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Where slots begin that go; ascending, as are the others.
    deletes: Vec<u64>,
    /// Where slots begin that get these flags.
    changes: Vec<(u64, SlotFlags)>,
    creates: Vec<Piece>,
    needs_everybody_out: bool,
}

impl Batch {
    /// Whether a vCPU that runs meanwhile could see what nobody is meant to see: no memory where there is memory before
    /// and after (rule W5). Or whether what it writes last could remain unnoticed (rule P22).
    pub(crate) fn needs_everybody_out(&self) -> bool {
        self.needs_everybody_out
    }

    /// Does it, and notes in `undo` what takes it back. Each new slot takes the lowest free number (rule W3).
    pub(crate) fn carry_out(self, kernel: Kernel<'_>, undo: &mut Vec<Step>) -> Result<(), KvmError> {
        undo.reserve(self.deletes.len() + self.changes.len() + self.creates.len());
        let mut take = |step| {
            undo.extend(kernel.take(step)?);
            Ok(())
        };
        let deletes = self.deletes.into_iter().map(Step::Delete);
        let changes = self.changes.into_iter();
        deletes
            .chain(changes.map(|(gpa, flags)| Step::SetFlags(gpa, flags)))
            .try_for_each(&mut take)?;
        self.creates
            .into_iter()
            .try_for_each(|piece| take(Step::Create(piece.numbered(kernel.next_id()?))))
    }
}

/// One ioctl. A slot that is there goes by where it begins.
#[derive(Debug)]
pub(crate) enum Step {
    Delete(u64),
    Create(Slot),
    SetFlags(u64, SlotFlags),
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
        lock(self.table)
    }

    fn next_id(self) -> Result<u32, KvmError> {
        let table = self.table();
        table.next_id().ok_or(KvmError::NoFreeSlots {
            needed: table.len() + 1,
            most: table.most(),
        })
    }

    fn at(self, gpa: u64) -> Option<Slot> {
        self.table().at(gpa).cloned()
    }

    /// Takes back what was done before `failure`. Returns why that was necessary.
    pub(crate) fn take_back(self, undo: Vec<Step>, failure: KvmError) -> KvmError {
        let mut undone = Ok(());
        for step in undo.into_iter().rev() {
            // As much as is possible, whatever fails.
            undone = undone.and(self.take(step).map(drop));
        }
        match undone {
            Ok(()) => failure,
            Err(rollback) => KvmError::NotTakenBack {
                failure: Box::new(failure),
                rollback: Box::new(rollback),
            },
        }
    }

    /// Returns what takes it back: nothing, if there is no such slot.
    fn take(self, step: Step) -> Result<Option<Step>, KvmError> {
        let (vm, counters) = (self.vm, &self.vm.counters);
        match step {
            Step::Delete(gpa) => {
                let Some(slot) = self.at(gpa) else { return Ok(None) };
                dirty::before_delete(vm, &slot)?;
                vm.delete_slot(&slot)?;
                counters.slots_deleted.add(1);
                self.table().remove(gpa);
                Ok(Some(Step::Create(slot)))
            }
            Step::Create(slot) => {
                vm.set_slot(&slot)?;
                counters.slots_created.add(1);
                let gpa = slot.gpa;
                self.table().insert(slot);
                Ok(Some(Step::Delete(gpa)))
            }
            Step::SetFlags(gpa, flags) => {
                let Some(slot) = self.at(gpa) else { return Ok(None) };
                let before = slot.flags;
                vm.set_slot(&Slot { flags, ..slot })?;
                counters.slots_changed.add(1);
                if let Some(slot) = self.table().at_mut(gpa) {
                    slot.flags = flags;
                }
                Ok(Some(Step::SetFlags(gpa, before)))
            }
        }
    }
}

#[cfg(test)]
#[path = "batch_test.rs"]
mod tests;
