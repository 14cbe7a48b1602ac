//! From bytes of a RAM block to a slice that vm-memory can work on: the only `unsafe` of this crate.
//!
//! # Concurrency model
//!
//! Guest memory is changed by the guest, by the kernel and by other threads at any time. Flatview touches it by
//! atomic and volatile accesses only and makes no reference to it; `VolatileSlice` does the same. So the two may work
//! on the same bytes at the same time, and what either reads may be torn, as on real hardware.
#![expect(
    unsafe_code,
    reason = "a VolatileSlice is made from a pointer; see the text above"
)]

use flatview::RamBlock;
use vm_memory::VolatileSlice;

use crate::bitmap::BlockBitmapSlice;

/// `len` bytes of the block from `offset` on; `None` if there is no memory at one of them.
#[inline]
pub(crate) fn slice_of(
    block: &RamBlock,
    offset: u64,
    len: usize,
) -> Option<VolatileSlice<'_, BlockBitmapSlice<'_>>> {
    let host = block.host_ptr(offset, len as u64)?;
    let bitmap = BlockBitmapSlice::new(block, offset);
    // SAFETY: the block has memory at these bytes and keeps it mapped while it lives; the slice borrows the block.
    // Who else touches guest memory does so by volatile and atomic accesses (see the text above).
    Some(unsafe { VolatileSlice::with_bitmap(host.as_ptr(), len, bitmap, None) })
}
