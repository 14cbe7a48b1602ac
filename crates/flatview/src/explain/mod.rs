//! Why an address resolves as it does: the whole way from the root of an address space to the region that
//! answers, and who else would have answered but was overruled.
//!
//! [`AddressSpace::explain`] makes an [`Explanation`]: a value to look into, and with
//! [`Display`](std::fmt::Display) a text to read.
//!
//! # Reading the text
//!
//! ```text
//! 0xe1000 of address space `memory`
//!   system (container, 0x0-0xffffffffffffffff) at its byte 0xe1000
//!     isa-bios (alias, 0xe0000-0xfffff, prio 1) at its byte 0x1000
//!       pc.bios (ram, 0xc0000-0xfffff, readonly) at its byte 0x21000, which is 0x1000 + 0x20000
//! is answered by pc.bios at its byte 0x21000
//!   in the view 0xe0000-0xfffff
//!   readonly by pc.bios
//! overruled:
//!   pc.ram (ram, 0x0-0x7ffffff, prio 0) at its byte 0xe1000
//!     within system: lower priority than isa-bios (prio 1)
//! ```
//!
//! - The way comes first, a line for each region, indented by what it is in. Ranges are those of the space, and
//!   those of the whole region: `pc.bios` would begin at 0xc0000, but the alias shows only a part of it (rule
//!   C12). They may begin below 0 and end beyond 2^64 (rules C10, C11).
//! - A priority stands where it was compared: a root has no siblings, and an alias shows its target whatever
//!   that is mapped at (rule C4).
//! - Behind what an alias shows stands the sum: byte of the alias + byte of the target at which the alias
//!   begins (rule C5).
//! - Each who was overruled is followed by the way from there to the region that would have answered, and by
//!   the reasons: all of them have to go for that region to answer. See [`Reason`].
//!
//! # What is told of the overruled
//!
//! Every region that would answer at the address if nothing stood against it but one thing: a sibling in
//! front, its being disabled, its having no bytes, a cut. For a container or an alias that is overruled as a
//! whole, the one in it that would answer is told, not all of them; and if that one is disabled in addition,
//! so be it, if none is better. Containers and aliases that are in front and let the address through are told,
//! too ([`Reason::Hole`], [`Reason::BeyondTarget`]).
//!
//! Not told: what is cut off *and* behind a sibling or disabled. Nor most of what the windows of aliases leave
//! out, because leaving things out is what an alias is for: it is told if the window shows a part of the
//! region and ends where the range or the hole of the view begins, or the other way round, and if that byte of
//! the region neither answers nor is overruled for another reason.

mod rivals;
mod span;
mod text;
mod walk;

pub use span::Span;

use crate::address::AddressRange;
use crate::error::Error;
use crate::region::{Region, RegionKind};
use crate::space::AddressSpace;

impl AddressSpace {
    /// Why `address` resolves as it does in the view that is published: the way to the region that answers,
    /// and who was overruled. See [`explain`](crate::explain).
    ///
    /// It waits for an update that another thread makes. It looks at the whole tree of the space; who only
    /// wants to know what answers asks the [`view`](Self::view).
    ///
    /// # Errors
    ///
    /// [`Error::NestedUpdate`] within an update or a listener's callback, where the tree and the published
    /// view need not agree; [`Error::MemoryDropped`], [`Error::AddressSpaceDestroyed`];
    /// [`Error::RenderingTooDeep`] and [`Error::RenderingTooLarge`] if the way itself is beyond the limits of
    /// a rendering. Who was overruled is looked for in a quarter of the steps; if they do not suffice, the
    /// explanation is not [complete](Explanation::complete).
    ///
    /// ```
    /// use flatview::explain::Reason;
    /// use flatview::{Memory, RamBlock, Size};
    ///
    /// let memory = Memory::new();
    /// let system = memory.region("system").container(Size::MAX);
    /// let ram = memory.region("pc.ram").ram(RamBlock::unbacked(0x800_0000));
    /// let bios = memory.region("pc.bios").rom(RamBlock::unbacked(0x4_0000));
    /// let isa_bios = memory.region("isa-bios").alias(&bios, 0x2_0000, 0x2_0000)?;
    /// let space = memory.create_address_space("memory", &system)?;
    /// memory.update(|tx| {
    ///     tx.add_subregion(&system, 0, &ram)?;
    ///     tx.add_subregion_overlap(&system, 0xe_0000, &isa_bios, 1)
    /// })?;
    ///
    /// let explanation = space.explain(0xe_1000)?;
    /// assert_eq!(explanation.region(), Some(&bios));
    /// assert_eq!(explanation.way.len(), 3, "system, isa-bios, pc.bios");
    /// let [loser] = &explanation.overruled[..] else { panic!("{explanation}") };
    /// assert_eq!(loser.candidate().region, "pc.ram");
    /// assert!(matches!(loser.reasons[..], [Reason::LowerPriority { priority: 1, .. }]));
    /// assert_eq!(
    ///     explanation.to_string(),
    ///     "0xe1000 of address space `memory`
    ///   system (container, 0x0-0xffffffffffffffff) at its byte 0xe1000
    ///     isa-bios (alias, 0xe0000-0xfffff, prio 1) at its byte 0x1000
    ///       pc.bios (ram, 0xc0000-0xfffff, readonly) at its byte 0x21000, which is 0x1000 + 0x20000
    /// is answered by pc.bios at its byte 0x21000
    ///   in the view 0xe0000-0xfffff
    ///   readonly by pc.bios
    /// overruled:
    ///   pc.ram (ram, 0x0-0x7ffffff, prio 0) at its byte 0xe1000
    ///     within system: lower priority than isa-bios (prio 1)
    /// "
    /// );
    /// # Ok::<(), flatview::Error>(())
    /// ```
    pub fn explain(&self, address: u64) -> Result<Explanation, Error> {
        let shared = self.shared()?;
        // Published views agree with the tree while nobody changes it. A memory that is inconsistent can be
        // looked at, so this is no `begin_update`.
        let guard = shared.begin_teardown()?;
        self.check_alive()?;
        let view = self.view();
        let explanation = walk::explain(&shared.tree.lock(), self, &view, address);
        drop(view);
        drop(guard);
        explanation
    }
}

/// Why an address resolves as it does, at one moment. It stays as it is when the memory changes; it keeps the
/// region that answers alive, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Explanation {
    /// The address that was asked for.
    pub address: u64,
    /// The name of the address space.
    pub space: String,
    /// The region that the view is rendered from (rule C30); `None` if the space shows nothing at all. The
    /// steps of the way before it are [skipped](Step::skipped).
    pub view_root: Option<String>,
    /// From the root of the space to the region that answers. If none does, to the region whose holes let the
    /// address through, or that is disabled or does not reach there.
    pub way: Vec<Step>,
    /// What the way came to.
    pub outcome: Outcome,
    /// Who else would have answered, in the order of the tree: what a region says of its children comes before
    /// what these say of theirs.
    pub overruled: Vec<Overruled>,
    /// Whether all who were overruled are told. If not, there was too much to look through: real machines are
    /// far from that, but what no view shows may be of any size.
    pub complete: bool,
}

impl Explanation {
    /// The region that answers.
    pub fn region(&self) -> Option<&Region> {
        self.answer().map(|answer| &answer.region)
    }

    /// Who answers and how; `None` if nobody does.
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Answered(answer) => Some(answer),
            Outcome::Unassigned(_) => None,
        }
    }
}

/// A region on a way, as the address space sees it there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Step {
    /// Its name.
    pub region: String,
    /// What it is.
    pub kind: RegionKind,
    /// Where all of it would be, in addresses of the space: what clips it is not taken off.
    pub span: Span,
    /// Its priority among its siblings; `None` where siblings do not count: for a root, and for what an alias
    /// shows (rules C4, C26).
    pub priority: Option<i32>,
    /// Which byte of it the address is; `None` if it is none of its bytes.
    pub offset: Option<u64>,
    /// What it leads to, if it is an alias. Byte `offset` of it is byte `offset + alias.offset` of that, which
    /// is the `offset` of the next step (rules C5, C6).
    pub alias: Option<AliasOf>,
    /// Whether it is enabled. On the way to an answer all are.
    pub enabled: bool,
    /// Whether it makes what is seen through it readonly (rule C16).
    pub readonly: bool,
    /// Whether it makes what is seen through it nonvolatile (rule C17).
    pub nonvolatile: bool,
    /// Whether it makes what is seen through it unmergeable (rule C18).
    pub unmergeable: bool,
    /// Whether it is a ROM device that is read directly; true for every other kind (rule C19).
    pub romd: bool,
    /// Set if the view is not rendered from here but from a later step, which shows the same (rules C30 to
    /// C33).
    pub skipped: Option<Skipped>,
}

/// What an alias leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct AliasOf {
    /// The name of the target.
    pub target: String,
    /// Which byte of the target the alias begins at.
    pub offset: u64,
}

/// What was lost when a view's root was looked for further down: nothing, unless
/// [`Compat::LOSSY_VIEW_ROOTS`](crate::Compat::LOSSY_VIEW_ROOTS) asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Skipped {
    /// That it is readonly, nonvolatile or unmergeable does not count (rule C32).
    pub lost_attributes: bool,
    /// Its own address does not count (rule C33).
    pub lost_address: bool,
}

/// What the way came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum Outcome {
    /// A region answers.
    Answered(Answer),
    /// The address is in no range of the view (rule C27).
    Unassigned(Gap),
}

/// Who answers, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Answer {
    /// The region. It is not serialised; its name is.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub region: Region,
    /// Its name.
    pub name: String,
    /// Which byte of it answers.
    pub offset: u64,
    /// The range of the published view that the address is in.
    pub range: AddressRange,
    /// Who on the way makes it readonly; it is not if this is empty (rule C16).
    pub readonly_by: Vec<String>,
    /// Who on the way makes it nonvolatile; it is not if this is empty (rule C17).
    pub nonvolatile_by: Vec<String>,
    /// Who on the way makes it unmergeable; it is not if this is empty (rule C18).
    pub unmergeable_by: Vec<String>,
    /// Whether a ROM device is read directly; true for every other kind (rule C19).
    pub romd: bool,
}

/// The hole of the view that an address is in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Gap {
    /// The addresses of the hole.
    pub range: AddressRange,
    /// The region that answers just below it; `None` if it begins at 0.
    pub below: Option<String>,
    /// The region that answers just above it; `None` if it goes up to 2^64.
    pub above: Option<String>,
}

/// A region that would have answered, or in which one would have, had it not been for the reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Overruled {
    /// The name of the container it is in, or of the alias that shows it; `None` for the root.
    pub within: Option<String>,
    /// From the region that was overruled as a whole to the one in it that would have answered. Never empty;
    /// one step if these are the same.
    pub way: Vec<Step>,
    /// Why it did not. Never empty; if there are several, each of them would have been enough.
    pub reasons: Vec<Reason>,
}

impl Overruled {
    /// The region that was overruled as a whole.
    ///
    /// # Panics
    ///
    /// Panics if the caller has emptied `way`; so does [`candidate`](Self::candidate).
    pub fn top(&self) -> &Step {
        &self.way[0]
    }

    /// The region that would have answered. It is the [`top`](Self::top) for [`Reason::Hole`] and
    /// [`Reason::BeyondTarget`], where none would.
    pub fn candidate(&self) -> &Step {
        &self.way[self.way.len() - 1]
    }
}

/// Why a region does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Reason {
    /// A sibling of higher priority answers, or something in it (rules C1, C26).
    LowerPriority {
        /// The sibling.
        than: String,
        /// The sibling's priority.
        priority: i32,
    },
    /// A sibling of the same priority was mapped, moved or given that priority later (rules B3, B4).
    MappedEarlier {
        /// The sibling.
        than: String,
    },
    /// It has children, and one of these answers: it fills only what they leave free (rules B13, C24).
    BehindChild {
        /// The child.
        child: String,
    },
    /// A region on the way to it is disabled, or it is itself (rules B7, C3).
    Disabled {
        /// The one that is.
        region: String,
    },
    /// It would reach the address, but what it is seen through ends before (rules C6, C9).
    Clipped {
        /// The container or alias that cuts it off.
        by: String,
        /// All of that, in addresses of the space. Other regions may clip it further.
        window: Span,
    },
    /// A region has no bytes, so neither it nor anything in it is seen (rules A17, C14).
    Empty {
        /// The one that has none.
        region: String,
    },
    /// It is no obstacle: nothing in it answers here, so what is behind shows through (rules A1, C25).
    Hole,
    /// It is no obstacle: an alias that is larger than what it shows, or begins beyond its end (rules C7, C8).
    BeyondTarget {
        /// What it shows.
        target: String,
        /// All of that, in addresses of the space.
        span: Span,
    },
}
