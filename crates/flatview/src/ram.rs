//! RAM blocks: the memory behind RAM, ROM, ROM device and RAM device regions.

use std::fmt;
use std::sync::Arc;

use crate::address::Size;

/// A block of guest memory, shared by every region, view and window that shows it and freed with the last.
///
/// Cheap to clone; two are equal if they are clones of one.
///
/// This release has blocks without host memory behind them only: enough for every question about where
/// memory is, and what the `mtree` tools want for good. Blocks with memory come with the access path.
#[derive(Clone)]
pub struct RamBlock(Arc<RamBlockInner>);

struct RamBlockInner {
    size: u64,
    host_address: Option<usize>,
}

impl RamBlock {
    /// A block of `size` bytes with no host memory behind it. It can be mapped, rendered, printed and
    /// reasoned about, not read or written.
    pub fn unbacked(size: u64) -> RamBlock {
        RamBlock(Arc::new(RamBlockInner {
            size,
            host_address: None,
        }))
    }

    /// A block over host memory that the caller owns and keeps mapped: `size` bytes from `host_address` on
    /// (rule A10). The core never touches memory given this way; it only tells listeners where it is.
    pub fn foreign(size: u64, host_address: usize) -> RamBlock {
        RamBlock(Arc::new(RamBlockInner {
            size,
            host_address: Some(host_address),
        }))
    }

    /// The size in bytes.
    pub fn size(&self) -> Size {
        Size::from(self.0.size)
    }

    /// Where the first byte is in this process, if there is host memory.
    pub fn host_address(&self) -> Option<usize> {
        self.0.host_address
    }
}

impl PartialEq for RamBlock {
    fn eq(&self, other: &RamBlock) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for RamBlock {}

impl fmt::Debug for RamBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RamBlock")
            .field("size", &format_args!("{:#x}", self.0.size))
            .field("host_address", &format_args!("{:x?}", self.0.host_address))
            .finish()
    }
}
