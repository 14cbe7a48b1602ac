//! Flatview under rust-vmm crates: an overlapping memory tree where they expect the guest memory of vm-memory 0.18.
//!
//! # Words
//!
//! - A *snapshot* is what a space showed at one moment. While it lives, the memory that it shows stays, whatever is
//!   unplugged, and [receipts](flatview::Receipt) wait for it.
//! - A [`RamView`] is the snapshot for those who are trusted: loaders, and the kernel's vhost devices. RAM and ROM,
//!   all of it writable, as vm-memory's `GuestMemoryBackend`.
//! - A [`DmaView`] is the snapshot for a bus master, which does what the guest tells it: only what the map lets it
//!   do, through any IOMMUs, as vm-memory's `GuestMemory`. vm-memory splits its world in these two and
//!   implements the second for every type that has the first, without permissions; so one type cannot be both.
//! - A [`RamRange`] is a region in vm-memory's sense: a window onto a [RAM block](flatview::RamBlock) at an address.
//!   Two ranges may show the same bytes.
//! - A [`DmaSpace`] or [`RamSpace`] is what a device keeps: a handle that gives the snapshot of the moment,
//!   vm-memory's `GuestAddressSpace`.
//! - A [`BlockBitmap`] is the log of a block as vm-memory's `Bitmap`: marks go to all clients that log (display,
//!   code, migration), at offsets in the block, and cost one load when there are none.
//!
//! # Who takes what
//!
//! | crate | wants | give it |
//! |---|---|---|
//! | virtio-queue 0.18, virtio-vsock 0.12 | `M: Deref`, `M::Target: GuestMemory` | [`DmaSpace::memory`](vm_memory::GuestAddressSpace::memory), one for a batch |
//! | linux-loader 0.14 | `GuestMemoryBackend` | [`RamView`] |
//! | vhost 0.18, kernel devices | `GuestAddressSpace` whose memory is a `GuestMemoryBackend` | [`RamSpace`] |
//! | vhost 0.18, `set_mem_table` | its own structs | [`VhostListener`](flatview::listeners::VhostListener)'s table |
//!
//! # An example
//!
//! RAM is seen through two windows, with ROM in front of one. A loader writes all of it; a device may not write ROM; and
//! what the device writes through a window is dirty in the RAM.
//!
//! ```
//! use flatview::{AddressRange, DirtyClients, Memory, RamBlock, Size};
//! use flatview_vm_memory::{DmaSpace, RamView};
//! use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryBackend};
//!
//! let memory = Memory::new();
//! let system = memory.region("system").container(Size::MAX);
//! let space = memory.create_address_space("memory", &system)?;
//! let ram = memory.region("pc.ram").ram(RamBlock::anonymous(0x20_0000)?);
//! let low = memory.region("ram-below-4g").alias(&ram, 0, 0x10_0000_u64)?;
//! let high = memory.region("ram-above-4g").alias(&ram, 0x10_0000, 0x10_0000_u64)?;
//! let bios = memory.region("bios").rom(RamBlock::anonymous(0x1_0000)?);
//! memory.update(|tx| {
//!     tx.add_subregion(&system, 0, &low)?;
//!     tx.add_subregion(&system, 4 << 30, &high)?;
//!     tx.add_subregion_overlap(&system, 0xf_0000, &bios, 1)?;
//!     tx.set_log(&ram, true)
//! })?;
//!
//! let loader = RamView::new(&space);
//! assert_eq!(loader.num_regions(), 3);
//! loader.write_slice(b"firmware", GuestAddress(0xf_0000))?;
//!
//! let device = DmaSpace::new(&space);
//! let whole = AddressRange::new(0, 0x20_0000_u64).unwrap();
//! memory.snapshot_and_clear_dirty(&ram, whole, DirtyClients::VGA)?;
//! let batch = device.memory();
//! assert!(batch.write_slice(b"virus", GuestAddress(0xf_0000)).is_err());
//! batch.write_slice(b"packet", GuestAddress((4 << 30) + 0x3000))?;
//! drop(batch);
//!
//! let dirty = memory.snapshot_and_clear_dirty(&ram, whole, DirtyClients::VGA)?;
//! assert_eq!(dirty.pages().collect::<Vec<_>>(), [0x10_3000]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `docs/guide/rust-vmm.md` in the repository has a queue, a loader and a vhost device.
//!
//! # What it does not do
//!
//! - Devices, and RAM devices, which want accesses of exact width, are holes: vm-memory hands out host memory. What
//!   has to reach them calls the [`AddressSpace`](flatview::AddressSpace) itself.
//! - `GuestMemoryRegion::file_offset` is `None`: a block does not tell its file yet.
//! - vm-memory's `iommu` feature is not used: it marks dirty pages by the address that the device used, and translates for
//!   one table. Here the map has IOMMU regions, and pages are marked where they are.
//! - vm-memory's `xen` feature is not supported.

mod bitmap;
mod dma_view;
#[cfg(doctest)]
mod guides;
mod handle;
mod iommu;
mod ram_view;
mod slice;

pub use bitmap::{BlockBitmap, BlockBitmapSlice};
pub use dma_view::DmaView;
pub use handle::{DmaSpace, RamSpace};
pub use ram_view::{RamRange, RamView};
