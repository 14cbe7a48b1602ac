//! Dirty logging: who wants to know which pages were written.

pub(crate) mod barrier;
mod bitmap;
mod log;
#[cfg(all(test, loom))]
mod log_loom;

use bitflags::bitflags;

use crate::primitive;
pub use bitmap::DirtyBitmap;
pub(crate) use log::DirtyLog;

/// Log2 of [`PAGE_SIZE`].
pub(crate) const PAGE_SHIFT: u32 = 12;

/// The granularity of dirty logs, in bytes: a page of the guest.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;

bitflags! {
    /// The clients of dirty logging (rule P1).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct DirtyClients: u8 {
        /// A display that redraws what changed.
        const VGA = 1 << 0;
        /// A software CPU that translated code from these pages.
        const CODE = 1 << 1;
        /// Migration, or whoever tracks all of guest memory.
        const MIGRATION = 1 << 2;
    }
}

bitflags! {
    /// Why all of guest memory is being tracked (rule P13).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct GlobalDirty: u8 {
        /// A migration.
        const MIGRATION = 1;
        /// A measurement of how fast memory is dirtied.
        const DIRTY_RATE = 2;
        /// A limit on how fast memory is dirtied.
        const LIMIT = 4;
    }
}
