//! What can go wrong, and what there was instead.

use thiserror::Error;

/// Why something was refused. Nothing was changed, unless the variant says otherwise.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A handle of one machine was given to another.
    #[error("region `{region}` belongs to another memory")]
    ForeignRegion {
        /// The region's name.
        region: Box<str>,
    },

    /// The [`Memory`](crate::Memory) a handle belongs to is gone.
    #[error("the memory that `{what}` belongs to was dropped")]
    MemoryDropped {
        /// The name of the region or address space.
        what: Box<str>,
    },

    /// A region can be in one container only; an alias can show it elsewhere (rule B12).
    #[error("region `{region}` is already mapped at {address:#x} in `{container}`")]
    AlreadyMapped {
        /// The region's name.
        region: Box<str>,
        /// The container it is in.
        container: Box<str>,
        /// Its offset there.
        address: u64,
    },

    /// A region was to be taken out of a container that it is not in.
    #[error("region `{region}` is not in `{container}` but {}", match .actual {
        Some(actual) => format!("in `{actual}`"),
        None => "mapped nowhere".to_string(),
    })]
    NotASubregion {
        /// The container that was named.
        container: Box<str>,
        /// The region's name.
        region: Box<str>,
        /// The container it is in, if any.
        actual: Option<Box<str>>,
    },

    /// A region was to be put into itself, or into something within it (rule B15).
    #[error("region `{region}` cannot be put into `{container}`, which is within it")]
    ContainmentCycle {
        /// The container.
        container: Box<str>,
        /// The region's name.
        region: Box<str>,
    },

    /// An alias shows its target and has no children (rule B14).
    #[error("region `{region}` cannot be put into `{alias}`, which is an alias")]
    ChildOfAlias {
        /// The alias.
        alias: Box<str>,
        /// The region's name.
        region: Box<str>,
    },

    /// Something was asked of a region that only another kind has.
    #[error("region `{region}` is not {wanted} but of kind {actual:?}")]
    WrongKind {
        /// The region's name.
        region: Box<str>,
        /// What it would have to be.
        wanted: &'static str,
        /// What it is.
        actual: crate::RegionKind,
    },

    /// Something was to be done to a region that can only be done while it is mapped nowhere (rule S2).
    #[error("region `{region}` is still mapped")]
    StillMapped {
        /// The region's name.
        region: Box<str>,
    },

    /// A region has a discard manager already (rule S2).
    #[error("region `{region}` already has a discard manager")]
    HasDiscardManager {
        /// The region's name.
        region: Box<str>,
    },

    /// A chain of aliases of aliases is longer than any rendering could follow.
    #[error("an alias of `{target}` would be the end of a chain of more than {limit} aliases")]
    AliasChainTooLong {
        /// The target's name.
        target: Box<str>,
        /// The longest chain there may be.
        limit: usize,
    },

    /// A range has no byte, or ends beyond what holds it.
    #[error("{size:#x} bytes at {start:#x} are no range within the {limit:#x} bytes of `{within}`")]
    BadRange {
        /// The first byte.
        start: u64,
        /// The number of bytes.
        size: u128,
        /// What the range should lie in.
        within: Box<str>,
        /// The size of that.
        limit: u128,
    },

    /// An ioeventfd has a length that no access has.
    #[error("an ioeventfd on `{region}` cannot match writes of {size} bytes: 0 (any), 1, 2, 4 or 8 can be")]
    BadEventFdSize {
        /// The region's name.
        region: Box<str>,
        /// The length that was asked for.
        size: u32,
    },

    /// The same ioeventfd is there already, or is not there.
    #[error("region `{region}` {} this ioeventfd at {address:#x}", if *.present { "already has" } else { "does not have" })]
    EventFd {
        /// The region's name.
        region: Box<str>,
        /// Its offset in the region.
        address: u64,
        /// Whether the region has it.
        present: bool,
    },

    /// VGA logging was switched off more often than on, or on more often than can be counted (rule P2).
    #[error("region `{region}` has {count} users of its dirty log: one more {}", if *.on { "cannot be counted" } else { "cannot leave" })]
    LogCount {
        /// The region's name.
        region: Box<str>,
        /// How many there are.
        count: u8,
        /// Whether another one was to come.
        on: bool,
    },

    /// Containers and aliases nest deeper than a rendering follows.
    #[error("rendering reaches `{region}` more than {limit} levels deep: it may see itself without end")]
    RenderingTooDeep {
        /// Where the rendering gave up.
        region: Box<str>,
        /// The deepest level.
        limit: usize,
    },

    /// A rendering looks at more regions than it may.
    #[error("rendering `{root}` takes more than {limit} steps")]
    RenderingTooLarge {
        /// The root of the view.
        root: Box<str>,
        /// The most steps it may take.
        limit: usize,
    },

    /// An update was begun within another one on the same thread, or from a listener.
    #[error("an update of this memory already runs on this thread; updates do not nest")]
    NestedUpdate,

    /// A receipt was waited for where the wait could not end.
    #[error("cannot wait for a receipt within an update or a callback: the wait would be for itself")]
    WaitInCallback,

    /// A listener refused a change before it was made.
    #[error("listener `{listener}` of address space `{space}` refused: {source}")]
    Refused {
        /// The listener's name.
        listener: Box<str>,
        /// The address space's name.
        space: Box<str>,
        /// What the listener said.
        source: crate::ListenerError,
    },

    /// A listener failed in the middle of a change; everything was put back. (Where it says `log_global_stop`, tracking
    /// has ended for everybody all the same: who stops is not held up.)
    #[error("listener `{listener}` of address space `{space}` failed in {callback}: {source}")]
    ListenerFailed {
        /// The listener's name.
        listener: Box<str>,
        /// The address space's name.
        space: Box<str>,
        /// The callback.
        callback: &'static str,
        /// What the listener said.
        source: crate::ListenerError,
    },

    /// A listener failed, and so did one that was to take the change back. Listeners and views disagree,
    /// and no further update is accepted. (From a registration it says that the listener that did not join is
    /// in doubt about what it shows; everybody else is not, and updates go on.)
    #[error("inconsistent after a failed rollback: {failure}, then {rollback}")]
    Inconsistent {
        /// What failed first.
        failure: Box<str>,
        /// What failed while it was put back.
        rollback: Box<str>,
    },

    /// An address space was destroyed while listeners were registered on it.
    #[error("address space `{space}` still has {listeners} listeners")]
    AddressSpaceBusy {
        /// The space's name.
        space: Box<str>,
        /// How many listeners it has.
        listeners: usize,
    },

    /// An address space that was destroyed was used.
    #[error("address space `{space}` was destroyed")]
    AddressSpaceDestroyed {
        /// The space's name.
        space: Box<str>,
    },

    /// A RAM region's block cannot be what it was to become (rule Q13).
    #[error("region `{region}`: {source}")]
    Ram {
        /// The region's name.
        region: Box<str>,
        /// What is wrong.
        source: crate::RamError,
    },

    /// The caller's own reason to give a transaction up.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// The caller's own reason to give a transaction up.
    ///
    /// ```
    /// use flatview::{Error, Memory};
    /// let memory = Memory::new();
    /// let refused = memory.update(|_| -> Result<(), Error> { Err(Error::other("no slot left")) });
    /// assert_eq!(refused.unwrap_err().to_string(), "no slot left");
    /// ```
    pub fn other(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Other(reason.into())
    }
}

/// Memory that cannot be had is a reason to give a transaction up, or a set-up.
impl From<crate::RamError> for Error {
    fn from(reason: crate::RamError) -> Error {
        Error::other(reason)
    }
}
