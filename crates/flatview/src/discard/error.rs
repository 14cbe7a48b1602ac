//! What can go wrong with RAM that is there in part.

use thiserror::Error;

use crate::listener::ListenerError;

/// Why a manager of discarded RAM refused something. Nothing was changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RamDiscardError {
    /// A granularity is no power of two, or the size of the RAM no multiple of it.
    #[error("RAM of {size:#x} bytes cannot be populated in pieces of {granularity:#x}")]
    BadGranularity {
        /// The size of the RAM.
        size: u64,
        /// The granularity.
        granularity: u64,
    },

    /// A range does not begin and end at multiples of the granularity, or lies beyond the RAM.
    #[error("{start:#x}-{last:#x} are no whole pieces of {granularity:#x} bytes of {size:#x} bytes of RAM")]
    BadRange {
        /// The first byte.
        start: u64,
        /// The last byte, inclusive.
        last: u64,
        /// The granularity.
        granularity: u64,
        /// The size of the RAM.
        size: u64,
    },

    /// A listener cannot show what was to be populated.
    #[error("a listener refused the populated memory: {source}")]
    Refused {
        /// What the listener said.
        source: ListenerError,
    },

    /// A listener changed the manager from within a callback.
    #[error("the manager is being changed by this thread")]
    Nested,
}
