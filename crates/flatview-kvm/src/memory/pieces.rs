//! From a range of the view to the slots that show it.

use flatview::{DirtyClients, FlatRange, RamBlock, RegionKind};

use crate::slots::PAGE_SIZE;
use crate::vm::Vm;
use crate::{Slot, SlotFlags};

/// A slot that has no number yet.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) gpa: u64,
    pub(crate) size: u64,
    pub(crate) host_address: usize,
    pub(crate) flags: SlotFlags,
    pub(crate) block: RamBlock,
    pub(crate) block_offset: u64,
}

impl Piece {
    /// Whether the kernel makes `slot` into this by a change of flags, or has nothing to do at all (rule W9).
    pub(crate) fn is_in_place_of(&self, slot: &Slot) -> bool {
        self.gpa == slot.gpa
            && self.size == slot.size
            && self.host_address == slot.host_address
            && self.block == slot.block
            && (self.flags ^ slot.flags) - SlotFlags::LOG_DIRTY_PAGES == SlotFlags::empty()
    }

    /// Its last byte.
    pub(crate) fn last(&self) -> u64 {
        self.gpa + (self.size - 1)
    }

    pub(crate) fn numbered(self, id: u32) -> Slot {
        Slot {
            id,
            gpa: self.gpa,
            size: self.size,
            host_address: self.host_address,
            flags: self.flags,
            block: self.block,
            block_offset: self.block_offset,
        }
    }
}

/// The slots of one range, ascending: none, one, or several where there is a largest size (rule W8).
#[derive(Debug)]
pub(crate) struct Pieces {
    /// What is left.
    rest: Option<Piece>,
    most: u64,
}

impl Pieces {
    /// The slots that show `range`, which `clients` log.
    ///
    /// There are none where accesses have to come out to be answered right: at devices and at ROM devices that are not
    /// read directly (rule W6), at pages of which the range has only a part (rule W7), and at read-only memory if the
    /// kernel has no read-only slots. Memory that the process does not vouch for
    /// ([`RamBlock::foreign`]) gets none either: the guest could write over anything.
    pub(crate) fn of(range: &FlatRange, clients: DirtyClients, vm: &Vm) -> Pieces {
        Pieces {
            rest: whole(range, clients, vm),
            most: vm.max_slot_size(),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.rest.as_ref().map_or(0, |rest| rest.size.div_ceil(self.most))
    }
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let mut first = self.rest.take()?;
        if first.size > self.most {
            self.rest = Some(Piece {
                gpa: first.gpa + self.most,
                size: first.size - self.most,
                host_address: first.host_address + to_usize(self.most),
                block_offset: first.block_offset + self.most,
                ..first.clone()
            });
            first.size = self.most;
        }
        Some(first)
    }
}

/// The pages of a range that one slot could show, if slots had no largest size.
fn whole(range: &FlatRange, clients: DirtyClients, vm: &Vm) -> Option<Piece> {
    let region = range.region();
    let block = region.ram_block().filter(|block| block.is_accessible())?;
    let is_rom_device = region.kind() == RegionKind::RomDevice;
    if is_rom_device && !range.is_romd() {
        return None;
    }
    let mut flags = SlotFlags::empty();
    // Unlike QEMU also where only an alias is read-only (rule D2), and where the memory itself is.
    flags.set(
        SlotFlags::READONLY,
        is_rom_device || range.is_readonly() || block.is_readonly(),
    );
    flags.set(SlotFlags::LOG_DIRTY_PAGES, !clients.is_empty());
    if flags.contains(SlotFlags::READONLY) && !vm.capabilities.readonly_memory {
        return None;
    }
    // No vCPU gets further.
    let last = range.last().min(vm.last_address);
    let shown = last.checked_sub(range.start())? + 1;
    // A region can be larger than its block (rule B6).
    let there = block.max_size().saturating_sub(range.offset_in_region());
    let skipped = range.start().wrapping_neg() % PAGE_SIZE;
    let size = shown.min(there).saturating_sub(skipped) / PAGE_SIZE * PAGE_SIZE;
    if size == 0 {
        return None;
    }
    let block_offset = range.offset_in_region() + skipped;
    let host_address = block.host_address()?;
    // Both, so that the kernel's dirty pages are the block's.
    let is_aligned =
        block_offset.is_multiple_of(PAGE_SIZE) && (host_address as u64).is_multiple_of(PAGE_SIZE);
    is_aligned.then(|| Piece {
        gpa: range.start() + skipped,
        size,
        host_address: host_address + to_usize(block_offset),
        flags,
        block: block.clone(),
        block_offset,
    })
}

/// Of a number of bytes that this process has: it is one of 64 bits.
fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
