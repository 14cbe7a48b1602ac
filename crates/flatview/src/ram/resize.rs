//! Blocks that grow and shrink (rule Q13).

use super::list::shielded;
use super::{RamBlock, RamBlockInner, RamError};
use crate::address::{AddressRange, Size};
use crate::dirty::{DirtyBitmap, DirtyClients};

/// A new size that a transaction wants for a block.
#[derive(Debug)]
pub(crate) struct Resize {
    block: RamBlock,
    /// The number of bytes, not rounded.
    size: u64,
    /// The size of the region before.
    region_size: Size,
}

/// `size` bytes of a block in whole pages, but no more than it can have.
pub(super) fn whole_pages(block: &RamBlockInner, size: u64) -> u64 {
    let page_size = block.page_size();
    size.checked_next_multiple_of(page_size)
        .unwrap_or(u64::MAX)
        .min(block.max)
}

impl Resize {
    /// Checks that the block can have `size` bytes. `pending` is the size that the transaction has wanted before.
    pub(crate) fn new(
        block: &RamBlock,
        pending: Option<u64>,
        size: u64,
        region_size: Size,
    ) -> Result<Resize, RamError> {
        let inner = &*block.0;
        let old = pending.unwrap_or_else(|| inner.used());
        let pages = |size: u64| size.div_ceil(inner.page_size());
        if pages(size) != pages(old) && !block.is_resizeable() {
            return Err(RamError::NotResizeable {
                block: block.name().into(),
                size: old,
                wanted: size,
            });
        }
        if size > inner.max {
            return Err(RamError::BeyondMaximum {
                block: block.name().into(),
                wanted: size,
                max_size: inner.max,
            });
        }
        Ok(Resize {
            block: block.clone(),
            size,
            region_size,
        })
    }

    pub(crate) fn is_of(&self, block: &RamBlock) -> bool {
        self.block == *block
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The size of the region before the transaction.
    pub(crate) fn region_size(&self) -> Size {
        self.region_size
    }

    /// What must be so before anybody sees the new view: bytes that come are there, and dirty (rule P18).
    pub(crate) fn grow(&self) {
        let inner = &*self.block.0;
        if self.size > inner.used() {
            let (old, new) = (inner.used_pages(), whole_pages(inner, self.size));
            inner.set_used(self.size);
            if old != new {
                inner.log.mark(0, new, DirtyClients::all());
            }
        }
    }

    /// What cannot be undone, and what others hear: when the new view is there.
    pub(crate) fn finish(self) {
        let inner = &*self.block.0;
        if self.size < inner.used() {
            let (old, new) = (inner.used_pages(), whole_pages(inner, self.size));
            inner.set_used(self.size);
            // Nobody asks for what the guest does not have.
            if let Some(gone) = AddressRange::new(new, old - new) {
                self.block
                    .take_dirty(gone, DirtyClients::all(), &mut DirtyBitmap::new(gone));
                inner.log.mark(0, new, DirtyClients::all());
            }
        }
        inner.tell_resized();
        let resized = inner.owned_memory().and_then(|memory| memory.resized.as_ref());
        if Size::from(self.size) != self.region_size
            && let Some(resized) = resized
        {
            shielded("on_resize", || resized(&self.block, self.size));
        }
    }
}

#[cfg(test)]
#[path = "resize_test.rs"]
mod tests;
