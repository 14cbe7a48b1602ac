//! Dirty marks: a RAM block's log as a bitmap of vm-memory's.

use flatview::{AddressRange, RamBlock, RamWindow, Size};
use vm_memory::bitmap::{Bitmap, BitmapSlice, WithBitmapSlice};

/// The dirty log behind a [`RamWindow`], as the bitmap of guest memory.
///
/// A mark goes to every client of the block that logs at that moment (rule P5), rounded outward to pages. Nothing is
/// stored here. If nobody logs, a mark costs one load of the log, beside the check that the bytes exist.
///
/// Marks are made at offsets *in the block*, so what is written through an alias is dirty wherever the page is seen.
#[derive(Clone, Debug)]
pub struct BlockBitmap(RamWindow);

impl BlockBitmap {
    /// The log of what the window shows. Offset 0 is the window's first byte.
    pub fn new(window: RamWindow) -> BlockBitmap {
        BlockBitmap(window)
    }
}

impl<'a> WithBitmapSlice<'a> for BlockBitmap {
    type S = BlockBitmapSlice<'a>;
}

impl Bitmap for BlockBitmap {
    fn mark_dirty(&self, offset: usize, len: usize) {
        self.slice_at(0).mark_dirty(offset, len);
    }

    fn dirty_at(&self, offset: usize) -> bool {
        self.slice_at(0).dirty_at(offset)
    }

    fn slice_at(&self, offset: usize) -> BlockBitmapSlice<'_> {
        BlockBitmapSlice::new(self.0.block(), self.0.offset_in_block()).slice_at(offset)
    }
}

/// [`BlockBitmap`] from one byte of a block on, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct BlockBitmapSlice<'a> {
    block: &'a RamBlock,
    offset: u64,
}

impl<'a> BlockBitmapSlice<'a> {
    #[inline]
    pub(crate) fn new(block: &'a RamBlock, offset: u64) -> BlockBitmapSlice<'a> {
        BlockBitmapSlice { block, offset }
    }

    /// What lies beyond 2^64 is beyond every block.
    #[inline]
    fn at(&self, offset: usize) -> u64 {
        self.offset.saturating_add(offset as u64)
    }
}

impl<'a> WithBitmapSlice<'_> for BlockBitmapSlice<'a> {
    type S = BlockBitmapSlice<'a>;
}

impl BitmapSlice for BlockBitmapSlice<'_> {}

impl Bitmap for BlockBitmapSlice<'_> {
    /// Bytes that the block does not have are not marked; nobody can have written them.
    #[inline]
    fn mark_dirty(&self, offset: usize, len: usize) {
        self.block.mark_dirty(self.at(offset), len as u64);
    }

    /// Whether the page is dirty for one of those who log now.
    fn dirty_at(&self, offset: usize) -> bool {
        let byte = AddressRange::new(self.at(offset), Size::from(1_u64));
        byte.is_some_and(|byte| self.block.is_dirty(byte, self.block.logged_by()))
    }

    #[inline]
    fn slice_at(&self, offset: usize) -> Self {
        BlockBitmapSlice::new(self.block, self.at(offset))
    }
}
