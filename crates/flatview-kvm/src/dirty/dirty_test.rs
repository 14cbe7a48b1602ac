//! Marks without a kernel.

use flatview::{DirtyBitmap, DirtyClients, Memory, RamBlock, Region};

use super::*;

const PAGES: u64 = 200;

fn all() -> AddressRange {
    AddressRange::new(0, PAGES * PAGE_SIZE).unwrap()
}

/// A block that VGA logs, clean; the region logs for as long as there is one.
fn logged(memory: &Memory) -> (Region, RamBlock) {
    let block = RamBlock::anonymous(PAGES * PAGE_SIZE).unwrap();
    let region = memory.region("ram").ram(block.clone());
    memory.update(|tx| tx.set_log(&region, true)).unwrap();
    assert_eq!(taken(&block).len() as u64, PAGES);
    (region, block)
}

fn taken(block: &RamBlock) -> Vec<u64> {
    let mut bitmap = DirtyBitmap::new(all());
    block.take_dirty(all(), DirtyClients::VGA, &mut bitmap);
    bitmap.pages().map(|offset| offset / PAGE_SIZE).collect()
}

fn slot_at(block: &RamBlock, block_offset: u64, pages: u64) -> Logged {
    Logged {
        block: block.clone(),
        block_offset,
        pages,
        seen: Vec::new(),
    }
}

/// Rule P19, at a place that is no word of the block's bitmap.
#[test]
fn a_bitmap_within_a_block() {
    let memory = Memory::new();
    let (_region, block) = logged(&memory);
    slot_at(&block, 5 * PAGE_SIZE, 100).mark(&[1 | 1 << 63, 1 << 35]);
    assert_eq!(taken(&block), [5, 68, 104]);
}

/// Memory that somebody gave to us need not begin with a page: each of the kernel's pages is parts of two.
#[test]
fn a_slot_that_begins_within_a_page_of_its_block() {
    let memory = Memory::new();
    let (_region, block) = logged(&memory);
    let slot = slot_at(&block, 5 * PAGE_SIZE + 0x800, 100);
    slot.mark(&[1 | 1 << 63]);
    assert_eq!(taken(&block), [5, 6, 68, 69]);
    slot.mark_page(3);
    assert_eq!(taken(&block), [8, 9]);
}

#[test]
fn an_entry_beyond_its_slot_marks_nothing() {
    let memory = Memory::new();
    let (_region, block) = logged(&memory);
    let slot = slot_at(&block, 0, 10);
    for page in [10, u64::MAX / PAGE_SIZE, u64::MAX] {
        slot.mark_page(page);
    }
    assert!(taken(&block).is_empty());
}
