//! Flatview under rust-vmm crates: an overlapping memory tree where they expect vm-memory's guest memory.
mod bitmap;
mod dma_view;
mod handle;
mod iommu;
mod ram_view;
mod slice;

pub use bitmap::{BlockBitmap, BlockBitmapSlice};
pub use dma_view::DmaView;
pub use handle::{DmaSpace, RamSpace};
pub use ram_view::{RamRange, RamView};
