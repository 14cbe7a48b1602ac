//! What a listener was told, as a value that can be kept, compared and printed.

use std::fmt;
use std::sync::Arc;

use crate::address::AddressRange;
use crate::dirty::DirtyClients;
use crate::ioeventfd::IoEventFd;
use crate::view::FlatRange;

/// A callback of [`MemoryListener`](crate::MemoryListener).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the callback of that name")]
pub enum Callback {
    Prepare,
    Abort,
    Begin,
    Commit,
    RegionAdd,
    RegionDel,
    RegionNop,
    LogStart,
    LogStop,
    LogSync,
    LogSyncGlobal,
    LogClear,
    LogGlobalStart,
    LogGlobalStop,
    LogGlobalAfterSync,
    EventfdAdd,
    EventfdDel,
    CoalescedIoAdd,
    CoalescedIoDel,
}

impl Callback {
    /// The name of the method.
    pub fn name(self) -> &'static str {
        match self {
            Callback::Prepare => "prepare",
            Callback::Abort => "abort",
            Callback::Begin => "begin",
            Callback::Commit => "commit",
            Callback::RegionAdd => "region_add",
            Callback::RegionDel => "region_del",
            Callback::RegionNop => "region_nop",
            Callback::LogStart => "log_start",
            Callback::LogStop => "log_stop",
            Callback::LogSync => "log_sync",
            Callback::LogSyncGlobal => "log_sync_global",
            Callback::LogClear => "log_clear",
            Callback::LogGlobalStart => "log_global_start",
            Callback::LogGlobalStop => "log_global_stop",
            Callback::LogGlobalAfterSync => "log_global_after_sync",
            Callback::EventfdAdd => "eventfd_add",
            Callback::EventfdDel => "eventfd_del",
            Callback::CoalescedIoAdd => "coalesced_io_add",
            Callback::CoalescedIoDel => "coalesced_io_del",
        }
    }
}

impl fmt::Display for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One callback that a [`RecordingListener`](super::RecordingListener) heard.
///
/// Prints as one line: `kvm.region_add 0x0-0xfff ram@0x0`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The listener's name.
    pub listener: Arc<str>,
    /// What was called.
    pub callback: Callback,
    /// With what.
    pub detail: Detail,
    /// Whether the listener was made to fail here.
    pub failed: bool,
}

impl Record {
    pub(crate) fn new(listener: &Arc<str>, callback: Callback, detail: Detail) -> Record {
        Record {
            listener: Arc::clone(listener),
            callback,
            detail,
            failed: false,
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.listener, self.callback)?;
        if !matches!(self.detail, Detail::None) {
            write!(f, " {}", self.detail)?;
        }
        if self.failed {
            f.write_str(" => failed")?;
        }
        Ok(())
    }
}

/// What a callback was called with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Detail {
    /// Nothing worth a word.
    None,
    /// The ranges that would go and come.
    Change {
        /// Those that would go, ascending.
        removed: Vec<SectionRecord>,
        /// Those that would come, ascending.
        added: Vec<SectionRecord>,
    },
    /// A range.
    Section(SectionRecord),
    /// A range and who logs it.
    Log {
        /// The range.
        section: SectionRecord,
        /// Who logged it.
        old: DirtyClients,
        /// Who logs it now.
        new: DirtyClients,
    },
    /// A harvest of all dirty pages.
    Sync {
        /// Whether it is the last.
        last_stage: bool,
    },
    /// An ioeventfd. Its notifier stays open for as long as the record is kept.
    EventFd(IoEventFd),
    /// Coalesced addresses of a range.
    Coalesced {
        /// The range.
        section: SectionRecord,
        /// The addresses.
        addresses: AddressRange,
    },
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Detail::None => Ok(()),
            Detail::Change { removed, added } => write!(f, "-{} +{}", removed.len(), added.len()),
            Detail::Section(section) => write!(f, "{section}"),
            Detail::Log { section, old, new } => {
                write!(f, "{section}: {} -> {}", Clients(*old), Clients(*new))
            }
            Detail::Sync { last_stage: false } => f.write_str("more follows"),
            Detail::Sync { last_stage: true } => f.write_str("last stage"),
            Detail::EventFd(eventfd) => {
                write!(f, "{:#x} size {}", eventfd.address, eventfd.size)?;
                match eventfd.datamatch {
                    Some(value) => write!(f, " data {value:#x}"),
                    None => Ok(()),
                }
            }
            Detail::Coalesced { section, addresses } => write!(f, "{addresses} of {section}"),
        }
    }
}

/// A range as a listener saw it.
///
/// The region is kept by name, so that a record keeps no memory alive and those of two machines compare. Equality is of everything, unlike that of [`FlatRange`], which leaves out who logs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SectionRecord {
    /// The addresses.
    pub range: AddressRange,
    /// The region's name.
    pub region: Box<str>,
    /// Which byte of the region lies at the first address.
    pub offset_in_region: u64,
    /// See [`FlatRange::is_readonly`].
    pub readonly: bool,
    /// See [`FlatRange::is_nonvolatile`].
    pub nonvolatile: bool,
    /// See [`FlatRange::is_unmergeable`].
    pub unmergeable: bool,
    /// See [`FlatRange::is_romd`].
    pub romd: bool,
    /// See [`FlatRange::dirty_log_mask`].
    pub dirty_log_mask: DirtyClients,
}

impl From<&FlatRange> for SectionRecord {
    fn from(range: &FlatRange) -> SectionRecord {
        SectionRecord {
            range: range.range(),
            region: range.region().name().into(),
            offset_in_region: range.offset_in_region(),
            readonly: range.is_readonly(),
            nonvolatile: range.is_nonvolatile(),
            unmergeable: range.is_unmergeable(),
            romd: range.is_romd(),
            dirty_log_mask: range.dirty_log_mask(),
        }
    }
}

/// `0xc0000-0xdffff pc.rom@0x0 readonly`.
impl fmt::Display for SectionRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}@{:#x}", self.range, self.region, self.offset_in_region)?;
        let marks = [
            (self.readonly, " readonly"),
            (self.nonvolatile, " nonvolatile"),
            (self.unmergeable, " unmergeable"),
            (!self.romd, " romd-off"),
        ];
        for (_, mark) in marks.into_iter().filter(|(is, _)| *is) {
            f.write_str(mark)?;
        }
        if !self.dirty_log_mask.is_empty() {
            write!(f, " log {}", Clients(self.dirty_log_mask))?;
        }
        Ok(())
    }
}

/// `VGA|MIGRATION`, or `none`.
struct Clients(DirtyClients);

impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (index, (name, _)) in self.0.iter_names().enumerate() {
            write!(f, "{}{name}", if index == 0 { "" } else { "|" })?;
        }
        Ok(())
    }
}
