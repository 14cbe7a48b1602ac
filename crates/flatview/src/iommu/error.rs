//! What can go wrong with notifiers, and between a translation and memory.

use thiserror::Error;

use super::{IommuAccess, IotlbEventKind};
use crate::address::AddressRange;
use crate::listener::ListenerError;

/// Why a notifier was not registered, or not told.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IommuError {
    /// Only IOMMU regions have notifiers.
    #[error("region `{region}` is no IOMMU")]
    NotAnIommu {
        /// The region's name.
        region: Box<str>,
    },

    /// A notifier wants no event at all.
    #[error("a notifier for IOMMU `{region}` wants no events")]
    NoEvents {
        /// The region's name.
        region: Box<str>,
    },

    /// A notifier is for a table that the IOMMU does not have.
    #[error("IOMMU `{region}` has {indexes} tables, and none with index {index}")]
    NoSuchIndex {
        /// The region's name.
        region: Box<str>,
        /// The index that was asked for.
        index: u32,
        /// How many there are.
        indexes: u32,
    },

    /// The device cannot tell of such events.
    #[error("IOMMU `{region}` refused a notifier: {source}")]
    Refused {
        /// The region's name.
        region: Box<str>,
        /// What the device said.
        source: ListenerError,
    },

    /// A notifier was registered from within the device's
    /// [`notify_flag_changed`](super::IommuOps::notify_flag_changed).
    #[error("IOMMU `{region}` is being told of another notifier by this thread")]
    Nested {
        /// The region's name.
        region: Box<str>,
    },

    /// An event's entry does not fit its kind: one that unmaps permits something, one that maps permits nothing, or
    /// it reaches beyond 2^64.
    #[error("no {kind:?} event: {address_mask:#x} + 1 bytes at {iova:#x}, which permit {permission:?}")]
    BadEvent {
        /// The event's kind.
        kind: IotlbEventKind,
        /// The first address.
        iova: u64,
        /// The number of bytes minus one.
        address_mask: u64,
        /// What the entry permits.
        permission: IommuAccess,
    },

    /// An event does not lie within the range of a notifier that cannot take a part of it (rule O11). It was not told.
    #[error("an event for {event} is not wholly within a notifier's {notifier}")]
    NotWithinNotifier {
        /// The event's addresses.
        event: AddressRange,
        /// The notifier's.
        notifier: AddressRange,
    },

    /// A replay has asked for as many translations as it may. What was told until then was told.
    #[error(
        "IOMMU `{region}` was asked for {limit} translations without reaching the end, up to {reached:#x}"
    )]
    ReplayTooLong {
        /// The region's name.
        region: Box<str>,
        /// The address that would have come next.
        reached: u64,
        /// The most translations of one replay.
        limit: u64,
    },

    /// The IOMMU is in the middle of a translation on this thread.
    #[error("IOMMU `{region}` cannot be asked from within one of its own translations")]
    Reentered {
        /// The region's name.
        region: Box<str>,
    },

    /// The region is gone, or its memory is.
    #[error("the IOMMU is gone")]
    Gone,
}

/// Why a translation does not lead to memory (rule O17).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IotlbError {
    /// The entry has no target, or permits nothing.
    #[error("nothing is mapped at {iova:#x}")]
    NotMapped {
        /// The entry's address.
        iova: u64,
    },

    /// Something else than RAM is there, or nothing.
    #[error("the translation leads to {address:#x}, where there is no memory")]
    NotMemory {
        /// The address in the entry's target.
        address: u64,
    },

    /// The RAM there is not populated, or not all of it (rule S12).
    #[error("the translation leads to discarded memory at {address:#x}")]
    Discarded {
        /// The address in the entry's target.
        address: u64,
    },

    /// The memory there ends before the entry does.
    #[error("{address_mask:#x} + 1 bytes at {address:#x} are not one piece of memory: {contiguous:#x} are")]
    Granularity {
        /// The address in the entry's target.
        address: u64,
        /// The size of the entry minus one.
        address_mask: u64,
        /// How many bytes are in one piece.
        contiguous: u64,
    },
}
