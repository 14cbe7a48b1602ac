//! A listener that tells `tracing` what it hears.

use tracing::debug;

use crate::address::AddressRange;
use crate::dirty::DirtyClients;
use crate::ioeventfd::IoEventFd;
use crate::listener::{
    ListenerResult, LogSync, MemoryListener, MemoryRegionSection, Undo, ViewChange, priority,
};
use crate::space::AddressSpace;
use crate::view::FlatView;

/// Turns every callback into a [`tracing`] event of level `DEBUG` and target `flatview::listener`.
///
/// The message is the callback's name. The fields are `listener`, and where there is one `space`, `range`,
/// `region` and `offset` (in the region), then what the callback adds to them.
///
/// ```
/// use std::sync::Arc;
/// use flatview::listeners::LoggingListener;
/// # use flatview::{Memory, Size};
/// # let memory = Memory::new();
/// # let system = memory.region("system").container(Size::MAX);
/// # let space = memory.create_address_space("memory", &system)?;
/// let _registration = space.register(Arc::new(LoggingListener::new("map")))?;
/// // DEBUG flatview::listener: region_add listener="map" space="memory" range=0x0-0xfff region="ram" offset=0x0
/// # Ok::<(), flatview::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LoggingListener {
    name: Box<str>,
    priority: u32,
    wants_nop: bool,
}

impl LoggingListener {
    /// A listener of that name.
    pub fn new(name: &str) -> LoggingListener {
        LoggingListener {
            name: name.into(),
            priority: priority::MIN,
            wants_nop: false,
        }
    }

    /// With another priority than [`priority::MIN`].
    pub fn with_priority(mut self, priority: u32) -> LoggingListener {
        self.priority = priority;
        self
    }

    /// That tells of ranges that stay, too.
    pub fn with_nop(mut self) -> LoggingListener {
        self.wants_nop = true;
        self
    }
}

/// An event of a callback about a range, with further fields.
macro_rules! section_event {
    ($self:ident, $section:expr, $message:literal $(, $($field:tt)+)?) => {{
        let section = $section;
        debug!(
            target: "flatview::listener",
            listener = &*$self.name,
            space = section.address_space().name(),
            range = %section.range().range(),
            region = section.region().name(),
            offset = %format_args!("{:#x}", section.offset_in_region()),
            $($($field)+,)?
            $message
        );
        Ok(())
    }};
}

/// An event of a callback that is not about a range, with further fields.
macro_rules! plain_event {
    ($self:ident, $message:literal $(, $($field:tt)+)?) => {{
        debug!(target: "flatview::listener", listener = &*$self.name, $($($field)+,)? $message);
        Ok(())
    }};
}

/// An event of a callback about an ioeventfd.
macro_rules! eventfd_event {
    ($self:ident, $space:ident, $eventfd:ident, $message:literal) => {
        plain_event!(
            $self,
            $message,
            space = $space.name(),
            address = %format_args!("{:#x}", $eventfd.address),
            size = $eventfd.size,
            datamatch = ?$eventfd.datamatch
        )
    };
}

impl MemoryListener for LoggingListener {
    fn name(&self) -> &str {
        &self.name
    }

    fn priority(&self) -> u32 {
        self.priority
    }

    fn wants_nop(&self) -> bool {
        self.wants_nop
    }

    /// A harvest is told of range by range.
    fn log_sync_mode(&self) -> LogSync {
        LogSync::PerSection
    }

    fn prepare(&self, change: &ViewChange<'_>) -> ListenerResult {
        plain_event!(
            self,
            "prepare",
            space = change.address_space().name(),
            removed = change.removed().count(),
            added = change.added().count()
        )
    }

    /// Tells that it was called, then of the inverse of everything it was told.
    fn abort(&self, undo: &Undo<'_>) -> ListenerResult {
        let told: ListenerResult = plain_event!(self, "abort");
        told.and_then(|()| undo.deliver_to(self))
    }

    fn begin(&self) -> ListenerResult {
        plain_event!(self, "begin")
    }

    fn commit(&self, view: &FlatView) -> ListenerResult {
        plain_event!(self, "commit", ranges = view.len())
    }

    fn region_add(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        section_event!(self, section, "region_add")
    }

    fn region_del(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        section_event!(self, section, "region_del")
    }

    fn region_nop(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        section_event!(self, section, "region_nop")
    }

    fn log_start(
        &self,
        section: &MemoryRegionSection<'_>,
        old: DirtyClients,
        new: DirtyClients,
    ) -> ListenerResult {
        section_event!(self, section, "log_start", old = ?old, new = ?new)
    }

    fn log_stop(
        &self,
        section: &MemoryRegionSection<'_>,
        old: DirtyClients,
        new: DirtyClients,
    ) -> ListenerResult {
        section_event!(self, section, "log_stop", old = ?old, new = ?new)
    }

    fn log_sync(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        section_event!(self, section, "log_sync")
    }

    fn log_clear(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        section_event!(self, section, "log_clear")
    }

    fn log_global_start(&self) -> ListenerResult {
        plain_event!(self, "log_global_start")
    }

    fn log_global_stop(&self) -> ListenerResult {
        plain_event!(self, "log_global_stop")
    }

    fn log_global_after_sync(&self) -> ListenerResult {
        plain_event!(self, "log_global_after_sync")
    }

    fn eventfd_add(&self, space: &AddressSpace, eventfd: &IoEventFd) -> ListenerResult {
        eventfd_event!(self, space, eventfd, "eventfd_add")
    }

    fn eventfd_del(&self, space: &AddressSpace, eventfd: &IoEventFd) -> ListenerResult {
        eventfd_event!(self, space, eventfd, "eventfd_del")
    }

    fn coalesced_io_add(&self, section: &MemoryRegionSection<'_>, addresses: AddressRange) -> ListenerResult {
        section_event!(self, section, "coalesced_io_add", addresses = %addresses)
    }

    fn coalesced_io_del(&self, section: &MemoryRegionSection<'_>, addresses: AddressRange) -> ListenerResult {
        section_event!(self, section, "coalesced_io_del", addresses = %addresses)
    }
}

#[cfg(test)]
#[path = "logging_test.rs"]
mod tests;
