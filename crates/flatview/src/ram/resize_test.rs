use super::*;
use crate::dirty::PAGE_SIZE;
use crate::memory::Memory;
use crate::region::Region;

fn pages(first: u64, count: u64) -> AddressRange {
    AddressRange::new(first * PAGE_SIZE, count * PAGE_SIZE).expect("some pages")
}

/// Four pages that can be sixteen, none of them dirty for two clients that log.
fn clean() -> (Memory, Region, RamBlock) {
    let block = RamBlock::builder(4 * PAGE_SIZE)
        .max_size(16 * PAGE_SIZE)
        .anonymous();
    let block = block.expect("there is memory");
    block
        .inner()
        .log
        .set_wanted(1, DirtyClients::MIGRATION | DirtyClients::VGA);
    let memory = Memory::new();
    let region = memory.region("ram").ram(block.clone());
    take(&block);
    (memory, region, block)
}

fn take(block: &RamBlock) -> u64 {
    let all = pages(0, 16);
    block.take_dirty(all, DirtyClients::MIGRATION, &mut DirtyBitmap::new(all));
    block.take_dirty(all, DirtyClients::VGA, &mut DirtyBitmap::new(all))
}

/// P18, Q13: all pages of the new size are dirty, and no others.
#[test]
fn a_resized_block_is_dirty_all_over() {
    let (memory, region, block) = clean();
    for (size, pages) in [(9, 9), (12, 12), (3, 3), (0, 0), (1, 1)] {
        let resized = memory.update(|tx| tx.ram_resize(&region, size * PAGE_SIZE));
        assert!(resized.is_ok());
        assert_eq!(take(&block), pages, "{size} pages");
        assert_eq!(take(&block), 0);
    }
    // As many pages as before.
    assert!(memory.update(|tx| tx.ram_resize(&region, PAGE_SIZE - 1)).is_ok());
    assert_eq!(take(&block), 0);
}

/// A transaction that fails marks nothing.
#[test]
fn a_resize_that_fails_marks_nothing() {
    let (memory, region, block) = clean();
    let failed = memory.update(|tx| {
        tx.ram_resize(&region, 9 * PAGE_SIZE)?;
        Err::<(), _>(crate::Error::other("given up"))
    });
    assert!(failed.is_err());
    assert_eq!(take(&block), 0);
}
