//! Where every region of an address space lies, what of it is seen, and who hides the rest.

use flatview::AddressRange;
use flatview::explain::Span;
use serde::Serialize;

/// All that one address space shows and hides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Layout {
    /// The names of the spaces that begin at this root; more than one if they share it.
    pub spaces: Vec<String>,
    /// The name of the root.
    pub root: String,
    /// The regions, as they are met on the ways from the root: a region that two aliases show is met twice. What
    /// contains or shows a region stands before it, and siblings stand from the front to the back.
    pub placements: Vec<Placement>,
    /// The flat view: sorted, disjoint.
    pub view: Vec<Seen>,
}

/// A region on one way from the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Placement {
    /// The place in [`Layout::placements`] of the container that it is in, or of the alias that shows it; `None`
    /// for the root.
    pub parent: Option<usize>,
    /// The number of steps from the root.
    pub depth: usize,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its priority in its own container. For what an alias shows, and for the root, it does not count.
    pub priority: i32,
    /// Whether it is enabled, and all on the way to it.
    pub enabled: bool,
    /// Where all of it would be: what clips it is not taken off.
    pub span: Span,
    /// The part that all on the way let through; `None` if nothing is left.
    pub window: Option<AddressRange>,
    /// What it leads to, if it is an alias.
    pub alias: Option<AliasOf>,
    /// Where it answers itself, as the view has it.
    pub shown: Vec<AddressRange>,
    /// The parts of its window where somebody else answers who is neither in it nor shown by it.
    pub hidden: Vec<Hidden>,
    /// The line of the dump where it stands, from 1 on, if it came from one.
    pub line: Option<u32>,
}

/// What an alias leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AliasOf {
    /// The name of the target.
    pub target: String,
    /// The byte of the target that the alias begins at.
    pub offset: u64,
}

/// A part of a region that somebody else hides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hidden {
    /// The addresses.
    pub range: AddressRange,
    /// Who answers there.
    pub by: String,
}

/// A range of a flat view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// The addresses.
    pub range: AddressRange,
    /// The region that answers.
    pub region: String,
    /// The byte of the region that the range begins at.
    pub offset: u64,
    /// What the region is here: a `Ram` that is seen through something readonly is a `Rom`.
    pub kind: Kind,
    /// Whether it is non-volatile.
    pub nonvolatile: bool,
    /// The place in [`Layout::placements`] of the region that answers.
    pub placement: usize,
}

/// What a region is, as far as `info mtree` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Shows its children and what is behind them; answers nothing itself.
    Container,
    /// A window onto another region.
    Alias,
    /// Memory.
    Ram,
    /// Memory that only the host writes.
    Rom,
    /// Memory of a device, mapped into the guest.
    RamDevice,
    /// Flash in the mode in which it is read directly.
    RomDevice,
    /// Registers: each access goes to the device.
    Io,
}
