//! Flatview: the guest-memory model of QEMU, for Rust.
//!
//! A machine's memory map is a pile of layers: RAM, a PCI hole over it, firmware over that, a BAR that the
//! guest moves about. This crate keeps the layers as they are, as a tree of regions with priorities, and
//! works out what is really seen at each address. It carries accesses to the memory or the device that answers,
//! from many threads while the map changes, tells accelerators what changed, and remembers which pages were
//! written. The rules are those of QEMU 10.0; how it is done is not.
//!
//! # Words
//!
//! - A [`Region`] is a piece of memory, or a device's registers, or a [container](RegionBuilder::container) of
//!   such: a named thing with a size. It is *mapped* at an offset of one container, with a priority.
//! - An *alias* is a region that is a window onto part of another one. With it one region is seen in many
//!   places.
//! - An [`AddressSpace`] is somebody who issues addresses (the CPU, the I/O ports, a bus master), and the
//!   region he looks at: its *root*.
//! - The *physical root* of a space is the region that its view is rendered from: the root itself, or what is
//!   left when containers and aliases that show exactly one other region are skipped. Spaces with the same
//!   physical root share one view.
//! - A [`FlatView`] is a rendered root: sorted, disjoint [ranges](FlatRange), immutable.
//! - A [`FlatRange`] says that from this address to that one region answers, beginning at that byte of it.
//! - A [`Transaction`] is a set of changes to the tree: all of them happen in one *commit*, or none.
//! - A [`MemoryListener`] hears how the view of a space changes and keeps something else true to it: KVM's
//!   slots, a vhost table, DMA mappings. The module `listeners` has some that are ready to use.
//! - A [`Reader`] is one thread's fast way to look at a space, and to read and write it.
//! - A [`RamBlock`] is the memory behind RAM and ROM; a [`RamWindow`] is some of it, to load from and store to.
//! - A [`DirtyBitmap`] says which pages were written since a client last asked.
//! - A [`Receipt`] comes from a commit and tells when nobody uses any more what the commit replaced.
//! - An [`Owner`] is the device or object that a region belongs to.
//! - [`Memory`] holds all of this for one machine. There are no globals.
//!
//! # What is seen
//!
//! `C` lies in `A` at priority 1; `B` in `A` at priority 2, so it is in front; `D` and `E` lie in `B`. `B` is
//! a container, so what its children leave free shows what is behind: `C`.
//!
//! ```text
//!          0     1000  2000  3000  4000  5000  6000  7000  8000
//!          :     :     :     :     :     :     :     :     :
//! A        +-----------------------------------------------+    container
//!   C   1  CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC
//!   B   2              +-----------------------+                container
//!     D                DDDDDD
//!     E                            EEEEEE
//!
//! the view CCCCCCCCCCCCDDDDDDCCCCCCEEEEEECCCCCC............
//! ```
//!
//! ```
//! use flatview::{Memory, RamBlock};
//!
//! let memory = Memory::new();
//! let ram = |name, size| memory.region(name).ram(RamBlock::unbacked(size)); // no memory: only the map matters
//! let (a, b) = (memory.region("A").container(0x8000), memory.region("B").container(0x4000));
//! let (c, d, e) = (ram("C", 0x6000), ram("D", 0x1000), ram("E", 0x1000));
//! let space = memory.create_address_space("example", &a)?;
//!
//! memory.update(|tx| {
//!     tx.add_subregion_overlap(&a, 0, &c, 1)?;
//!     tx.add_subregion_overlap(&a, 0x2000, &b, 2)?;
//!     tx.add_subregion(&b, 0, &d)?;
//!     tx.add_subregion(&b, 0x2000, &e)
//! })?;
//!
//! let seen: Vec<String> = space.view().iter().map(|range| format!("{range:?}")).collect();
//! assert_eq!(seen, [
//!     "0x0-0x1fff C@0x0",
//!     "0x2000-0x2fff D@0x0",
//!     "0x3000-0x3fff C@0x3000",
//!     "0x4000-0x4fff E@0x0",
//!     "0x5000-0x5fff C@0x5000",
//! ]);
//!
//! // Each thread that looks often has a reader.
//! let mut reader = space.reader();
//! assert_eq!(reader.find(0x4004).unwrap().region(), &e);
//!
//! // The guest moves something: all of a transaction is seen at once.
//! let receipt = memory.update(|tx| tx.set_address(&e, 0x3000))?;
//! assert_eq!(reader.find(0x4004).unwrap().region(), &c);
//! assert!(receipt.is_quiesced(), "nobody looks at the old view");
//! # Ok::<(), flatview::Error>(())
//! ```
//!
//! # The path of a change
//!
//! 1. [`Memory::update`] lets a closure call the verbs of a [`Transaction`]. Each changes the tree and writes
//!    down how to undo it and what it *damaged*: which bytes of which region may look different.
//! 2. Damage is carried up, through containers and through the aliases that a view sees, to the physical roots
//!    of views. There it is a list of windows.
//! 3. Each window is rendered from the tree and spliced into the [`FlatView`], which shares all the rest with
//!    the view it comes from. Cost follows the size of the change.
//! 4. The [listeners](listener) of the spaces that changed [prepare](MemoryListener::prepare), then hear the
//!    difference, then [commit](MemoryListener::commit). If one refuses or fails, everything is taken back.
//! 5. The new views are published, one atomic store each. What they replace is retired; the [`Receipt`] tells
//!    when it is gone.
//!
//! # The path of an access
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use flatview::{Endianness, MemTxAttrs, MemTxError, Memory, MemoryRegionOpsMut, RamBlock, Size};
//!
//! /// A serial port that only prints.
//! #[derive(Default)]
//! struct Serial(String);
//!
//! impl MemoryRegionOpsMut for Serial {
//!     fn read(&mut self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
//!         Ok(0)
//!     }
//!     fn write(&mut self, _: u64, _: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
//!         self.0.push(char::from(value as u8));
//!         Ok(())
//!     }
//! }
//!
//! let memory = Memory::new();
//! let system = memory.region("system").container(Size::MAX);
//! let ram = memory.region("ram").ram(RamBlock::anonymous(0x10_0000)?);
//! let serial = Arc::new(Mutex::new(Serial::default()));
//! let uart = memory.region("uart").io(8, serial.clone());
//! let space = memory.create_address_space("cpu", &system)?;
//! memory.update(|tx| {
//!     tx.add_subregion(&system, 0, &ram)?;
//!     tx.add_subregion(&system, 0x1000_0000, &uart)
//! })?;
//!
//! let mut cpu = space.reader();
//! let (little, attrs) = (Endianness::Little, MemTxAttrs::UNSPECIFIED);
//! cpu.write(0x1000, b"Hi", attrs)?;
//! for address in 0x1000..0x1002 {
//!     let letter: u8 = cpu.load(address, little, attrs)?;
//!     cpu.store(0x1000_0000, letter, little, attrs)?;
//! }
//! assert_eq!(serial.lock().unwrap().0, "Hi");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! 1. [`Reader::load`] and [`Reader::store`] ask by one atomic load whether the view that is held is still the
//!    current one, and whether the page of the address is remembered as memory. If so they load or store right
//!    there; a store then marks its page as dirty, if somebody logs. Nothing else happens.
//! 2. Otherwise the range is [found](Reader::find): see below. The whole access sees that one view.
//! 3. Memory is copied, range by range. What is seen through anything readonly is not written: see
//!    [accesses](Reader#accesses). What was found is remembered.
//! 4. At a device the re-entrancy guard asks first: a device that this thread is already in is not entered. Then
//!    the device's [rules](AccessRules) say whether the access is [valid](AccessRules::valid). A write that an
//!    [ioeventfd](Transaction::add_eventfd) waits for signals it. Everything else reaches the
//!    [device](MemoryRegionOps) in the pieces that it [implements](AccessRules::implemented), in its byte order.
//!    No lock of the library is held.
//! 5. At an IOMMU region the access is [translated](IommuOps), for as far as the translation goes, and goes on in
//!    the address space that it leads to, in the view that is current there.
//! 6. Where nobody answers, reads find zeros and fail.
//!
//! [`AddressSpace`] has the same calls without a memory of what was found before. [`AddressSpace::map`] gives a
//! device the memory itself for the length of a transfer, [`MemoryRegionCache`] for as long as it likes.
//!
//! # The path of a look-up
//!
//! 1. [`AddressSpace::reader`] gives a thread its [`Reader`].
//! 2. [`Reader::find`] asks by one atomic load whether the view it holds is still the current one. If not, it
//!    takes the current one and gives up the other.
//! 3. The page of the address chooses one of the ranges that answered before. If it contains the address, that
//!    is the answer.
//! 4. Otherwise [`FlatView::find`] searches three short arrays of first addresses.
//! 5. The [`FlatRange`] names the region and the byte of it. Before the thread blocks it
//!    [releases](Reader::release) the view, or unplugged memory would stay for its sake.
//!
//! [`AddressSpace::explain`] tells the whole way to that answer, from the root of the space down, and who would
//! have answered but was overruled: as a value, and as a text to read (module [`explain`]).
//!
//! `Memory::mtree` and `Memory::mtree_flat` print trees and views as QEMU's `info mtree` does (module `mtree`).
//!
//! # What is not there yet
//!
//! - Accelerators, a machine, a command line.
//!
//! `docs/unsupported.md` in the repository is the whole list; `docs/guide` leads from an empty file to
//! a guest that prints; `docs/qemu.md` has each function of QEMU's `memory.h` and what does its job here;
//! `docs/architecture.md` says how it is made.
//!
//! # Rules
//!
//! "Rule B3" in these texts is a numbered rule of QEMU's model, as the project wrote them down from its
//! behaviour; `docs/rules.md` in the repository lists them with the tests that prove them.

mod access;
pub mod address;
mod coalesced;
mod commit;
mod compat;
mod damage;
mod deliver;
mod diff;
mod dirty;
pub mod discard;
mod error;
pub mod explain;
#[cfg(doctest)]
mod guides;
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
mod thread_lock;
mod transaction;
mod tree;
mod view;

pub use access::*;
pub use address::{AddressRange, Size};
pub use coalesced::{CoalescedRing, CoalescedWrite};
pub use compat::Compat;
pub use dirty::{DirtyBitmap, DirtyClients, GlobalDirty, PAGE_SIZE};
pub use discard::{
    PopulatedRanges, RamDiscardError, RamDiscardListener, RamDiscardManager, RamDiscardRegistration,
    RamSection,
};
pub use error::Error;
pub use explain::Explanation;
pub use ioeventfd::{EventNotifier, IoEventFd};
pub use iommu::{
    IommuAccess, IommuError, IommuEvents, IommuNotifier, IommuOps, IommuRegistration, IommuReplay, IommuStep,
    IotlbEntry, IotlbError, IotlbEvent, IotlbEventKind, IotlbMemory,
};
pub use listener::{
    ListenerError, ListenerResult, LogSync, MemoryListener, MemoryRegionSection, Registration, Undo,
    ViewChange,
};
pub use memory::{Memory, WeakMemory};
pub use mtree::{Mtree, MtreeFlat};
pub use ram::{
    AtomicOp, HostMemory, HugePages, MemfdOptions, NumaMode, NumaPolicy, Prealloc, RamBlock, RamBlockBuilder,
    RamBlockNotifier, RamBlockRegistration, RamError, RamWindow, WindowError, Word,
};
pub use reader::Reader;
pub use receipt::Receipt;
pub use region::{
    Owner, OwnerKind, OwnerReference, Region, RegionBuilder, RegionKind, RegionState, WeakRegion,
};
pub use space::{AddressSpace, Translation, ViewRef};
pub use statistics::ViewStatistics;
pub use transaction::Transaction;
pub use view::{FlatRange, FlatView, Ranges};
