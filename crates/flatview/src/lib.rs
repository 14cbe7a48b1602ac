//! Flatview: the guest-memory model of QEMU, for Rust.

mod access;
pub mod address;
mod commit;
mod compat;
mod damage;
mod deliver;
mod diff;
mod dirty;
mod error;
mod ioeventfd;
mod iommu;
pub mod listener;
pub mod listeners;
mod listening;
mod memory;
pub mod mtree;
mod primitive;
mod publish;
#[cfg(all(test, loom))]
mod publish_loom;
mod ram;
mod reader;
mod receipt;
mod region;
mod registry;
mod render;
mod space;
mod statistics;
#[cfg(test)]
mod test_random;
mod transaction;
mod tree;
mod view;

pub use access::*;
pub use address::{AddressRange, Size};
pub use compat::Compat;
pub use dirty::{DirtyClients, GlobalDirty};
pub use error::Error;
pub use ioeventfd::{EventNotifier, IoEventFd};
pub use iommu::{IommuAccess, IommuOps, IotlbEntry};
pub use listener::{
    ListenerError, ListenerResult, LogSync, MemoryListener, MemoryRegionSection, Registration, Undo,
    ViewChange,
};
pub use memory::{Memory, WeakMemory};
pub use mtree::{Mtree, MtreeFlat};
pub use ram::RamBlock;
pub use reader::Reader;
pub use receipt::Receipt;
pub use region::{Owner, OwnerKind, OwnerReference, Region, RegionBuilder, RegionKind, RegionState};
pub use space::{AddressSpace, Translation, ViewRef};
pub use statistics::ViewStatistics;
pub use transaction::Transaction;
pub use view::{FlatRange, FlatView, Ranges};
