//! PCI: configuration space, base address registers as regions, bus-master address spaces.
//!
//! - A [`ConfigSpace`] is the 256 bytes, with what of them a guest may write.
//! - A [`PciFunction`] is a function on the bus: its configuration space, its [`Bar`]s, which appear in the memory
//!   map where the guest puts them, and the address space that its DMA sees, which the guest switches on and off by
//!   the bus-master bit.
//! - The [`PciHost`] is the bus and the two ports, 0xcf8 and 0xcfc, through which a guest reaches it.
//!
//! # Locks
//!
//! A function's configuration space is locked while a write to it changes the memory map, and only then is the
//! [behaviour](PciBehaviour) told, unlocked.

mod bar;
mod config;
mod function;
mod host;

pub use bar::{Bar, BarKind};
pub use config::{ConfigSpace, reg};
pub use function::{PciBehaviour, PciFunction, PciFunctionBuilder, PciSpaces};
pub use host::PciHost;

#[cfg(test)]
mod pci_test;
