//! The printer of trees and views: the text of QEMU's `info mtree`, to the letter.
//!
//! | QEMU's monitor | here | what is printed |
//! |---|---|---|
//! | `info mtree` | [`memory.mtree()`](Memory::mtree) | the enabled regions, as trees |
//! | `info mtree -D` | [`.disabled(true)`](Mtree::disabled) | the disabled ones too |
//! | `info mtree -o` | [`.owners(true)`](Mtree::owners) | who owns each region |
//! | `info mtree -f` | [`memory.mtree_flat()`](Memory::mtree_flat) | what each address space shows |
//! | `info mtree -f -o` | [`.owners(true)`](MtreeFlat::owners) | who owns each range |
//! | `info mtree -f -d` | nothing | QEMU's dispatch tables, a structure that this crate does not have |
//! | nothing | [`region.mtree()`](Region::mtree) | one region's tree |
//! | nothing | [`space.mtree_flat()`](AddressSpace::mtree_flat) | one space's view |
//!
//! All of these are values that say how to print; [`Display`](std::fmt::Display) prints. A text is of one
//! moment: that at which it is written, between two updates. Writing it waits for an update that another
//! thread makes. Within an update or a listener's callback, on the thread that makes the update, the tree is
//! printed as the update has made it so far, and the views as readers see them.
//!
//! QEMU prints trees and views in the order of a hash of pointers, another one each time. Here the order is
//! that in which the address spaces were created, so texts can be compared line by line.
//!
//! # Reading a tree
//!
//! ```text
//! address-space: memory
//!   0000000000000000-ffffffffffffffff (prio 0, i/o): system
//!     0000000000000000-000000000009ffff (prio 0, ram): alias ram-below-4g @pc.ram 0000000000000000-000000000009ffff
//!     00000000fffc0000-00000000ffffffff (prio 0, rom): pc.bios
//!
//! memory-region: pc.ram
//!   0000000000000000-0000000007ffffff (prio 0, ram): pc.ram
//! ```
//!
//! - Spaces with the same root share a tree; then come the regions that aliases lead to, each once.
//! - Both addresses are inclusive, and those of the space if all containers were seen at their own address:
//!   clipping, priorities and holes are what the flat view is for. A region of size zero looks like one of a
//!   single byte.
//! - Children are sorted by address, then from the highest priority down, then from the newest.
//! - The type is `ramd` (RAM of a device), `romd` (a ROM device that is read directly), `rom`, `ram`, or
//!   `i/o` for everything else, containers too; of an alias, that of what it leads to (rule A28). `nv-`
//!   before it: non-volatile. That an alias or a container is read-only is not shown.
//! - `[DETECTED OVERFLOW!]` stands before the indentation of a region that begins or ends beyond 2^64, or,
//!   if that line is not printed, of the next that is.
//! - Without [`disabled`](Mtree::disabled) a disabled region has no line, but its children have theirs.
//!
//! # Reading a view
//!
//! ```text
//! FlatView #0
//!  AS "memory", root: system
//!  AS "cpu-memory-0", root: system
//!  Root memory region: system
//!   0000000000000000-000000000009ffff (prio 0, ram): pc.ram
//!   00000000fffc0000-00000000ffffffff (prio 0, rom): pc.bios
//! ```
//!
//! - Spaces that show the same share a view (rule C31). The root memory region is the one that is rendered
//!   for them (rule C30), which need not be the root of any of them.
//! - The priority is the one that the region has in its own container, not that of the alias through which
//!   it is seen.
//! - `@` and a number: where in its region the range begins, unless at its first byte.
//! - Here `rom` is everything that is read-only through some region on the way, and `nv-` likewise.

mod flat;
mod line;
mod tree;

use std::fmt;

pub use flat::MtreeFlat;
pub use line::{AliasWindow, FlatLine, TreeLine};
pub use tree::Mtree;

use crate::address::Size;
use crate::error::Error;
use crate::memory::{Memory, Shared};
use crate::region::{Region, RegionKind};
use crate::registry::Registry;
use crate::space::AddressSpace;
use crate::tree::Tree;

impl Memory {
    /// The trees of all address spaces, as `info mtree` prints them. See [`mtree`](crate::mtree).
    ///
    /// ```
    /// use flatview::{Memory, RamBlock, Size};
    ///
    /// let memory = Memory::new();
    /// let system = memory.region("system").container(Size::MAX);
    /// let ram = memory.region("pc.ram").ram(RamBlock::unbacked(0x800_0000));
    /// let space = memory.create_address_space("memory", &system)?;
    /// memory.update(|tx| tx.add_subregion(&system, 0, &ram))?;
    /// assert_eq!(
    ///     memory.mtree().to_string(),
    ///     "address-space: memory
    ///   0000000000000000-ffffffffffffffff (prio 0, i/o): system
    ///     0000000000000000-0000000007ffffff (prio 0, ram): pc.ram
    ///
    /// "
    /// );
    /// # Ok::<(), flatview::Error>(())
    /// ```
    pub fn mtree(&self) -> Mtree {
        Mtree::new(self.shared(), None)
    }

    /// The views of all address spaces, as `info mtree -f` prints them. See [`mtree`](crate::mtree).
    ///
    /// ```
    /// # use flatview::{Memory, RamBlock, Size};
    /// # let memory = Memory::new();
    /// # let system = memory.region("system").container(Size::MAX);
    /// let bios = memory.region("pc.bios").rom(RamBlock::unbacked(0x4_0000));
    /// let isa_bios = memory.region("isa-bios").alias(&bios, 0x2_0000, 0x2_0000)?;
    /// let space = memory.create_address_space("memory", &system)?;
    /// memory.update(|tx| {
    ///     tx.add_subregion(&system, 0xfffc_0000, &bios)?;
    ///     tx.add_subregion_overlap(&system, 0xe_0000, &isa_bios, 1)
    /// })?;
    /// assert_eq!(
    ///     memory.mtree_flat().to_string(),
    ///     "FlatView #0
    ///  AS \"memory\", root: system
    ///  Root memory region: system
    ///   00000000000e0000-00000000000fffff (prio 0, rom): pc.bios @0000000000020000
    ///   00000000fffc0000-00000000ffffffff (prio 0, rom): pc.bios
    ///
    /// "
    /// );
    /// # Ok::<(), flatview::Error>(())
    /// ```
    pub fn mtree_flat(&self) -> MtreeFlat<'static> {
        MtreeFlat::new(self.shared(), None)
    }
}

impl Region {
    /// The tree of this region alone, as `info mtree` prints that of an alias's target: at its own address,
    /// under its own name. What aliases in it lead to is not printed. See [`mtree`](crate::mtree).
    ///
    /// # Errors
    ///
    /// [`Error::MemoryDropped`] if the [`Memory`] is gone.
    ///
    /// ```
    /// # use flatview::{Memory, RamBlock, Size};
    /// # let memory = Memory::new();
    /// # let system = memory.region("system").container(Size::MAX);
    /// let pci = memory.region("pci").container(Size::MAX);
    /// let vram = memory.region("vga.vram").ram(RamBlock::unbacked(0x100_0000));
    /// memory.update(|tx| {
    ///     tx.add_subregion(&pci, 0xfd00_0000, &vram)?;
    ///     tx.add_subregion_overlap(&system, 0, &pci, -1)
    /// })?;
    /// assert_eq!(
    ///     pci.mtree()?.to_string(),
    ///     "memory-region: pci
    ///   0000000000000000-ffffffffffffffff (prio -1, i/o): pci
    ///     00000000fd000000-00000000fdffffff (prio 0, ram): vga.vram
    ///
    /// "
    /// );
    /// # Ok::<(), flatview::Error>(())
    /// ```
    pub fn mtree(&self) -> Result<Mtree, Error> {
        Ok(Mtree::new(&self.shared()?, Some(self)))
    }
}

impl AddressSpace {
    /// The view of this space alone, as `info mtree -f` prints it: other spaces that share the view are not
    /// mentioned. See [`mtree`](crate::mtree).
    ///
    /// # Errors
    ///
    /// [`Error::MemoryDropped`] if the [`Memory`] is gone.
    ///
    /// ```
    /// # use flatview::{Memory, Size};
    /// # let memory = Memory::new();
    /// let bus = memory.region("bus master container").container(Size::MAX);
    /// let space = memory.create_address_space("nic", &bus)?;
    /// assert_eq!(
    ///     space.mtree_flat()?.to_string(),
    ///     "FlatView #0
    ///  AS \"nic\", root: bus master container
    ///  Root memory region: (none)
    ///   No rendered FlatView
    ///
    /// "
    /// );
    /// # Ok::<(), flatview::Error>(())
    /// ```
    pub fn mtree_flat(&self) -> Result<MtreeFlat<'static>, Error> {
        Ok(MtreeFlat::new(&self.shared()?, Some(self)))
    }
}

/// Looks at everything while nobody changes it.
///
/// What is returned is dropped by the caller, when no lock is held: it may hold the last handle to something.
fn at_rest<T>(shared: &Shared, look: impl FnOnce(&Tree, &Registry) -> T) -> T {
    // It fails on the thread that makes an update, which then sees how far it has come.
    let guard = shared.begin_teardown();
    let seen = {
        let tree = shared.tree.lock();
        let registry = shared.registry.lock();
        look(&tree, &registry)
    };
    drop(guard);
    seen
}

/// The type of what is no alias, in QEMU's order of tests (rule A28).
fn type_of(kind: RegionKind, readonly: bool, romd_mode: bool) -> &'static str {
    match kind {
        RegionKind::RamDevice => "ramd",
        RegionKind::RomDevice if romd_mode => "romd",
        RegionKind::Ram if readonly => "rom",
        RegionKind::Ram => "ram",
        _ => "i/o",
    }
}

/// What is added to the first address to get the last; nothing for size zero.
fn length_to_last(size: Size) -> u64 {
    size.last_offset().unwrap_or_default()
}

/// Rule A24.
fn write_owner(f: &mut fmt::Formatter<'_>, region: &Region) -> fmt::Result {
    let (owner, parent) = (region.owner(), region.parent());
    if owner.is_none() && parent.is_none() {
        return f.write_str(" orphan");
    }
    if let Some(owner) = owner {
        write!(f, " owner:{{{owner}}}")?;
    }
    if let Some(parent) = parent.filter(|_| parent != owner) {
        write!(f, " parent:{{{parent}}}")?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "mtree_test.rs"]
mod tests;
