//! A listener that takes note of what it hears, and fails when it is told to.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::record::{Callback, Detail, Record, SectionRecord};
use crate::address::AddressRange;
use crate::dirty::DirtyClients;
use crate::ioeventfd::IoEventFd;
use crate::listener::{
    ListenerResult, LogSync, MemoryListener, MemoryRegionSection, Undo, ViewChange, priority,
};
use crate::primitive::Mutex;
use crate::space::AddressSpace;
use crate::view::FlatView;

/// What listeners heard, oldest first. Cheap to clone: listeners that are given clones share the log, and
/// with it the order in which they heard.
#[derive(Clone, Debug)]
pub struct EventLog(Arc<Mutex<Vec<Record>>>);

impl EventLog {
    /// An empty log.
    #[expect(clippy::new_without_default, reason = "two empty logs are not the same thing")]
    pub fn new() -> EventLog {
        EventLog(Arc::new(Mutex::new(Vec::new())))
    }

    /// What was heard so far, which stays in the log.
    pub fn events(&self) -> Vec<Record> {
        self.0.lock().clone()
    }

    /// What was heard since it was last taken, which leaves the log.
    pub fn take(&self) -> Vec<Record> {
        std::mem::take(&mut self.0.lock())
    }

    /// As [`take`](Self::take), printed one to a line.
    pub fn take_text(&self) -> String {
        self.take().iter().map(|record| format!("{record}\n")).collect()
    }

    fn push(&self, record: Record) {
        self.0.lock().push(record);
    }
}

/// Records every callback, and fails in the one it is told to.
///
/// For tests of a machine: what does a change look like to an accelerator, and what becomes of the machine's
/// own listeners if another one fails in the middle?
///
/// ```
/// use std::sync::Arc;
/// use flatview::listeners::{Callback, EventLog, RecordingListener};
/// use flatview::{Memory, RamBlock, Size};
///
/// let memory = Memory::new();
/// let system = memory.region("system").container(Size::MAX);
/// let ram = memory.region("ram").ram(RamBlock::unbacked(0x1000));
/// let space = memory.create_address_space("memory", &system)?;
///
/// // Your own listener has the lower priority and hears additions first …
/// let log = EventLog::new();
/// let _mine = space.register(Arc::new(RecordingListener::new("mine", &log)))?;
/// // … so it is the one that has to take something back.
/// let other = Arc::new(RecordingListener::new("other", &log).with_priority(10));
/// let _other = space.register(other.clone())?;
/// log.take();
///
/// other.fail_in(Callback::RegionAdd, 0);
/// memory.update(|tx| tx.add_subregion(&system, 0, &ram)).unwrap_err();
/// assert_eq!(
///     log.take_text(),
///     "mine.prepare -0 +1\n\
///      other.prepare -0 +1\n\
///      mine.begin\n\
///      other.begin\n\
///      mine.region_add 0x0-0xfff ram@0x0\n\
///      other.region_add 0x0-0xfff ram@0x0 => failed\n\
///      other.abort\n\
///      mine.abort\n\
///      mine.region_del 0x0-0xfff ram@0x0\n",
/// );
/// # Ok::<(), flatview::Error>(())
/// ```
pub struct RecordingListener {
    name: Arc<str>,
    priority: u32,
    wants_nop: bool,
    log_sync: LogSync,
    log: EventLog,
    faults: Mutex<Vec<Fault>>,
}

/// The listener was told to fail here.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{listener}` was told to fail in {callback}")]
#[non_exhaustive]
pub struct InjectedFailure {
    /// The listener's name.
    pub listener: Arc<str>,
    /// The callback.
    pub callback: Callback,
}

/// A failure to come.
#[derive(Clone, Copy, Debug)]
struct Fault {
    callback: Callback,
    /// How many calls will succeed before.
    successes: usize,
    panics: bool,
}

impl RecordingListener {
    /// A listener of that name that writes to `log`.
    pub fn new(name: &str, log: &EventLog) -> RecordingListener {
        RecordingListener {
            name: name.into(),
            priority: priority::MIN,
            wants_nop: false,
            log_sync: LogSync::None,
            log: log.clone(),
            faults: Mutex::new(Vec::new()),
        }
    }

    /// With another priority than [`priority::MIN`].
    pub fn with_priority(mut self, priority: u32) -> RecordingListener {
        self.priority = priority;
        self
    }

    /// That hears `region_nop`, too.
    pub fn with_nop(mut self) -> RecordingListener {
        self.wants_nop = true;
        self
    }

    /// That is asked for dirty pages this way.
    pub fn with_log_sync(mut self, mode: LogSync) -> RecordingListener {
        self.log_sync = mode;
        self
    }

    /// The log it writes to.
    pub fn log(&self) -> &EventLog {
        &self.log
    }

    /// Fails, once, in a call of this callback to come: 0 is the next one.
    ///
    /// The error is an [`InjectedFailure`]. The callback is recorded, and has otherwise done nothing.
    pub fn fail_in(&self, callback: Callback, nth: usize) {
        self.inject(callback, nth, false);
    }

    /// As [`fail_in`](Self::fail_in), but panics, without the message that a panic prints.
    pub fn panic_in(&self, callback: Callback, nth: usize) {
        self.inject(callback, nth, true);
    }

    /// Forgets failures that have not happened yet.
    pub fn clear_failures(&self) {
        self.faults.lock().clear();
    }

    fn inject(&self, callback: Callback, successes: usize, panics: bool) {
        self.faults.lock().push(Fault {
            callback,
            successes,
            panics,
        });
    }

    /// The failure that is due in this call.
    fn due(&self, callback: Callback) -> Option<Fault> {
        let mut faults = self.faults.lock();
        let mut due = None;
        faults.retain_mut(|fault| {
            if fault.callback != callback {
                return true;
            }
            if fault.successes == 0 {
                due = Some(*fault);
                return false;
            }
            fault.successes -= 1;
            true
        });
        due
    }

    fn hear(&self, callback: Callback, detail: Detail) -> ListenerResult {
        let due = self.due(callback);
        self.log.push(Record {
            failed: due.is_some(),
            ..Record::new(&self.name, callback, detail)
        });
        let Some(fault) = due else { return Ok(()) };
        let failure = InjectedFailure {
            listener: Arc::clone(&self.name),
            callback,
        };
        if fault.panics {
            std::panic::resume_unwind(Box::new(failure.to_string()));
        }
        Err(failure.into())
    }

    fn hear_section(&self, callback: Callback, section: &MemoryRegionSection<'_>) -> ListenerResult {
        self.hear(callback, Detail::Section(record(section)))
    }
}

fn record(section: &MemoryRegionSection<'_>) -> SectionRecord {
    SectionRecord::from(section.range())
}

impl MemoryListener for RecordingListener {
    fn name(&self) -> &str {
        &self.name
    }

    fn priority(&self) -> u32 {
        self.priority
    }

    fn wants_nop(&self) -> bool {
        self.wants_nop
    }

    fn log_sync_mode(&self) -> LogSync {
        self.log_sync
    }

    fn prepare(&self, change: &ViewChange<'_>) -> ListenerResult {
        let detail = Detail::Change {
            removed: change.removed().map(SectionRecord::from).collect(),
            added: change.added().map(SectionRecord::from).collect(),
        };
        self.hear(Callback::Prepare, detail)
    }

    /// Records that it was called, then hears the inverse of what it heard.
    fn abort(&self, undo: &Undo<'_>) -> ListenerResult {
        self.hear(Callback::Abort, Detail::None)?;
        undo.deliver_to(self)
    }

    fn begin(&self) -> ListenerResult {
        self.hear(Callback::Begin, Detail::None)
    }

    fn commit(&self, _view: &FlatView) -> ListenerResult {
        self.hear(Callback::Commit, Detail::None)
    }

    fn region_add(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        self.hear_section(Callback::RegionAdd, section)
    }

    fn region_del(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        self.hear_section(Callback::RegionDel, section)
    }

    fn region_nop(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        self.hear_section(Callback::RegionNop, section)
    }

    fn log_start(
        &self,
        section: &MemoryRegionSection<'_>,
        old: DirtyClients,
        new: DirtyClients,
    ) -> ListenerResult {
        let section = record(section);
        self.hear(Callback::LogStart, Detail::Log { section, old, new })
    }

    fn log_stop(
        &self,
        section: &MemoryRegionSection<'_>,
        old: DirtyClients,
        new: DirtyClients,
    ) -> ListenerResult {
        let section = record(section);
        self.hear(Callback::LogStop, Detail::Log { section, old, new })
    }

    fn log_sync(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        self.hear_section(Callback::LogSync, section)
    }

    fn log_sync_global(&self, last_stage: bool) -> ListenerResult {
        self.hear(Callback::LogSyncGlobal, Detail::Sync { last_stage })
    }

    fn log_clear(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        self.hear_section(Callback::LogClear, section)
    }

    fn log_global_start(&self) -> ListenerResult {
        self.hear(Callback::LogGlobalStart, Detail::None)
    }

    fn log_global_stop(&self) -> ListenerResult {
        self.hear(Callback::LogGlobalStop, Detail::None)
    }

    fn log_global_after_sync(&self) -> ListenerResult {
        self.hear(Callback::LogGlobalAfterSync, Detail::None)
    }

    fn eventfd_add(&self, _space: &AddressSpace, eventfd: &IoEventFd) -> ListenerResult {
        self.hear(Callback::EventfdAdd, Detail::EventFd(eventfd.clone()))
    }

    fn eventfd_del(&self, _space: &AddressSpace, eventfd: &IoEventFd) -> ListenerResult {
        self.hear(Callback::EventfdDel, Detail::EventFd(eventfd.clone()))
    }

    fn coalesced_io_add(&self, section: &MemoryRegionSection<'_>, addresses: AddressRange) -> ListenerResult {
        let section = record(section);
        self.hear(Callback::CoalescedIoAdd, Detail::Coalesced { section, addresses })
    }

    fn coalesced_io_del(&self, section: &MemoryRegionSection<'_>, addresses: AddressRange) -> ListenerResult {
        let section = record(section);
        self.hear(Callback::CoalescedIoDel, Detail::Coalesced { section, addresses })
    }
}

impl fmt::Debug for RecordingListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordingListener({:?})", self.name)
    }
}

#[cfg(test)]
#[path = "recording_test.rs"]
mod tests;
