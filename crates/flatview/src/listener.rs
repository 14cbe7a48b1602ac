//! Listeners: who hears every change of an address space.
//!
//! An accelerator, a vhost device, a VFIO container: each keeps a picture of the guest's memory somewhere
//! else, and a [`MemoryListener`] keeps that picture true. The callbacks are QEMU's (rule F1) with three
//! differences: a listener can refuse a change before it is made ([`prepare`](MemoryListener::prepare)),
//! every callback can fail and the whole transaction is then taken back, and only listeners of spaces that
//! really changed are called (QEMU calls all, rule E7).
//!
//! # One commit, as its listeners hear it
//!
//! 1. [`prepare`](MemoryListener::prepare), all listeners of all changed spaces.
//! 2. [`begin`](MemoryListener::begin), the same, ascending priority.
//! 3. For each changed space, in order of creation:
//!    what is gone, ascending ([`coalesced_io_del`](MemoryListener::coalesced_io_del), then
//!    [`region_del`](MemoryListener::region_del)); what stays or is new, ascending
//!    ([`region_nop`](MemoryListener::region_nop), [`log_start`](MemoryListener::log_start),
//!    [`log_stop`](MemoryListener::log_stop), or [`region_add`](MemoryListener::region_add), then
//!    [`coalesced_io_add`](MemoryListener::coalesced_io_add)); then ioeventfds that are gone, then new ones.
//! 4. [`commit`](MemoryListener::commit), all, ascending priority; then readers see the new views.
//! 5. [`settled`](MemoryListener::settled), all, ascending priority.
//!
//! Whatever adds goes to the listener with the lowest [`priority`](MemoryListener::priority) first, whatever
//! removes goes to the highest first (rule F4; for ioeventfds as QEMU documents it, not as it does it, F5).

use crate::address::AddressRange;
use crate::dirty::DirtyClients;
use crate::error::Error;
use crate::ioeventfd::IoEventFd;
use crate::space::AddressSpace;
use crate::view::{FlatRange, FlatView};

/// Why a listener refuses or fails; anything that is an error, or text.
pub type ListenerError = Box<dyn std::error::Error + Send + Sync>;

/// What a callback of a [`MemoryListener`] returns.
pub type ListenerResult = Result<(), ListenerError>;

/// Priorities that QEMU's listeners have (rule F6): the lowest hears of additions first.
pub mod priority {
    /// Most listeners.
    pub const MIN: u32 = 0;
    /// An accelerator.
    pub const ACCEL: u32 = 10;
    /// A backend of devices, such as vhost.
    pub const DEV_BACKEND: u32 = 10;
}

/// A range of an address space that a listener is told of (rule F12).
#[derive(Clone, Copy, Debug)]
pub struct MemoryRegionSection<'a> {
    space: &'a AddressSpace,
    range: &'a FlatRange,
}

impl<'a> MemoryRegionSection<'a> {
    pub(crate) fn new(space: &'a AddressSpace, range: &'a FlatRange) -> MemoryRegionSection<'a> {
        MemoryRegionSection { space, range }
    }

    /// The address space.
    pub fn address_space(self) -> &'a AddressSpace {
        self.space
    }

    /// The range; clone it to keep it, and with it the region, after the callback (rule F13).
    pub fn range(self) -> &'a FlatRange {
        self.range
    }
}

impl std::ops::Deref for MemoryRegionSection<'_> {
    type Target = FlatRange;

    fn deref(&self) -> &FlatRange {
        self.range
    }
}

/// How a listener brings dirty pages in (rule F2: one way or the other).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LogSync {
    /// It knows of no dirty pages.
    #[default]
    None,
    /// Range by range: [`MemoryListener::log_sync`].
    PerSection,
    /// Everything at once: [`MemoryListener::log_sync_global`].
    Global,
}

/// Hears every change of one address space.
///
/// Callbacks run on the thread that updates, one at a time for the whole [`Memory`](crate::Memory). They may
/// look at regions and views (the old ones: nothing is published yet), but an update or a registration from
/// within fails with [`Error::NestedUpdate`]; one on another thread, waited for from within, never ends. A panic
/// counts as a failure.
///
/// # Errors
///
/// A callback that fails must have done nothing, and for [`commit`](Self::commit) must have undone what it
/// had done of the whole batch. The transaction is then taken back: listeners whose `commit` was already done
/// hear `begin`, the exact inverse in reverse order, `commit`; the others hear [`abort`](Self::abort).
#[expect(unused_variables, reason = "the default callbacks ignore what they are told")]
pub trait MemoryListener: Send + Sync {
    /// A name for messages and traces.
    fn name(&self) -> &str;

    /// Who hears first; see the [module's text](self). Equal priorities: in order of registration (rule F3).
    fn priority(&self) -> u32 {
        priority::MIN
    }

    /// Whether [`region_nop`](Self::region_nop) is wanted. It costs a walk over the whole view. Asked once, at
    /// registration, as is [`priority`](Self::priority).
    fn wants_nop(&self) -> bool {
        false
    }

    /// How dirty pages are brought in.
    fn log_sync_mode(&self) -> LogSync {
        LogSync::None
    }

    /// A change is coming. Reserve what it needs (slots, memory), or refuse; change nothing yet.
    fn prepare(&self, change: &ViewChange<'_>) -> ListenerResult {
        Ok(())
    }

    /// What was prepared or begun does not happen.
    ///
    /// `undo` lists the inverse of every callback this listener has had since [`begin`](Self::begin), newest
    /// first. The default delivers them one by one, which suits a listener that acts at once; one that queues
    /// until [`commit`](Self::commit) overrides this and forgets the queue.
    fn abort(&self, undo: &Undo<'_>) -> ListenerResult {
        undo.deliver_to(self)
    }

    /// The callbacks of a commit follow.
    fn begin(&self) -> ListenerResult {
        Ok(())
    }

    /// The callbacks of a commit are over. `view` is the whole new view, which readers see next.
    ///
    /// Nothing was prepared for two kinds of commit, which cannot be refused: one that takes another one back,
    /// and the one with which a listener leaves.
    fn commit(&self, view: &FlatView) -> ListenerResult {
        Ok(())
    }

    /// It is over: what this listener was told and what readers see agree again. Either the new views are published,
    /// or everything was taken back.
    ///
    /// Called once, and last, of whatever began with [`prepare`](Self::prepare), or with [`begin`](Self::begin) where
    /// nothing is prepared. An accelerator that keeps vCPUs out while it replaces memory lets them in here.
    fn settled(&self) {}

    /// A range is new.
    fn region_add(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        Ok(())
    }

    /// A range is gone. A range whose size or attributes changed is gone and new (rule G3).
    fn region_del(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        Ok(())
    }

    /// A range stays as it is. Only for those who [want it](Self::wants_nop).
    fn region_nop(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        Ok(())
    }

    /// A range that stays is logged by more clients than before. Not called for new ranges: see
    /// [`FlatRange::dirty_log_mask`] in [`region_add`](Self::region_add) (rule G6).
    fn log_start(
        &self,
        section: &MemoryRegionSection<'_>,
        old: DirtyClients,
        new: DirtyClients,
    ) -> ListenerResult {
        Ok(())
    }

    /// A range that stays is logged by fewer clients than before.
    fn log_stop(
        &self,
        section: &MemoryRegionSection<'_>,
        old: DirtyClients,
        new: DirtyClients,
    ) -> ListenerResult {
        Ok(())
    }

    /// Bring in the dirty pages of a range.
    fn log_sync(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        Ok(())
    }

    /// Bring in all dirty pages. `last_stage`: for the last time.
    fn log_sync_global(&self, last_stage: bool) -> ListenerResult {
        Ok(())
    }

    /// The dirty pages of a range were taken note of: track them anew.
    fn log_clear(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        Ok(())
    }

    /// All of memory is tracked from now on (rule P13).
    fn log_global_start(&self) -> ListenerResult {
        Ok(())
    }

    /// All of memory is tracked no longer.
    fn log_global_stop(&self) -> ListenerResult {
        Ok(())
    }

    /// Dirty pages were brought in by all listeners (rule P16).
    fn log_global_after_sync(&self) -> ListenerResult {
        Ok(())
    }

    /// An ioeventfd is new; its address is one of the space.
    fn eventfd_add(&self, space: &AddressSpace, eventfd: &IoEventFd) -> ListenerResult {
        Ok(())
    }

    /// An ioeventfd is gone.
    fn eventfd_del(&self, space: &AddressSpace, eventfd: &IoEventFd) -> ListenerResult {
        Ok(())
    }

    /// Writes to these addresses of the range may be coalesced.
    fn coalesced_io_add(&self, section: &MemoryRegionSection<'_>, addresses: AddressRange) -> ListenerResult {
        Ok(())
    }

    /// Writes to these addresses of the range must not be coalesced any more.
    fn coalesced_io_del(&self, section: &MemoryRegionSection<'_>, addresses: AddressRange) -> ListenerResult {
        Ok(())
    }
}

/// What a listener is asked to prepare for.
#[derive(Debug)]
pub struct ViewChange<'a> {
    pub(crate) space: &'a AddressSpace,
    pub(crate) old: &'a FlatView,
    pub(crate) new: &'a FlatView,
    pub(crate) events: &'a [Event],
}

impl<'a> ViewChange<'a> {
    /// The address space.
    pub fn address_space(&self) -> &'a AddressSpace {
        self.space
    }

    /// What readers see now.
    pub fn old_view(&self) -> &'a FlatView {
        self.old
    }

    /// What they will see.
    pub fn new_view(&self) -> &'a FlatView {
        self.new
    }

    /// The ranges that will go, ascending.
    pub fn removed(&self) -> impl Iterator<Item = &'a FlatRange> {
        self.events.iter().filter_map(|event| match event {
            Event::RegionDel(range) => Some(range),
            _ => None,
        })
    }

    /// The ranges that will come, ascending.
    pub fn added(&self) -> impl Iterator<Item = &'a FlatRange> {
        self.events.iter().filter_map(|event| match event {
            Event::RegionAdd(range) => Some(range),
            _ => None,
        })
    }
}

/// The inverse of what a listener has heard of a commit that does not happen.
#[derive(Debug)]
pub struct Undo<'a> {
    pub(crate) space: &'a AddressSpace,
    /// What was heard, oldest first.
    pub(crate) heard: &'a [Event],
    /// Whether that includes ranges that stay.
    pub(crate) wants_nop: bool,
}

impl Undo<'_> {
    /// Whether nothing was heard but `prepare` and `begin`.
    pub fn is_empty(&self) -> bool {
        self.heard.is_empty()
    }

    /// Calls the inverse of every callback heard, newest first.
    ///
    /// # Errors
    ///
    /// The first failure.
    pub fn deliver_to<L: MemoryListener + ?Sized>(&self, listener: &L) -> ListenerResult {
        for event in self.heard.iter().rev() {
            if self.wants_nop || !event.is_nop() {
                event.inverse().deliver(self.space, listener)?;
            }
        }
        Ok(())
    }
}

/// One callback about one range, ioeventfd or coalesced range.
#[expect(clippy::enum_variant_names, reason = "named after the callbacks")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    CoalescedDel(FlatRange, AddressRange),
    RegionDel(FlatRange),
    /// With who logged it before.
    RegionNop(FlatRange, DirtyClients),
    LogStart(FlatRange, DirtyClients, DirtyClients),
    LogStop(FlatRange, DirtyClients, DirtyClients),
    RegionAdd(FlatRange),
    CoalescedAdd(FlatRange, AddressRange),
    EventFdDel(IoEventFd),
    EventFdAdd(IoEventFd),
}

impl Event {
    /// Whether it goes to the highest priority first (rule F4).
    pub(crate) fn is_reverse(&self) -> bool {
        matches!(
            self,
            Event::CoalescedDel(..) | Event::RegionDel(_) | Event::LogStop(..) | Event::EventFdDel(_)
        )
    }

    pub(crate) fn is_nop(&self) -> bool {
        matches!(self, Event::RegionNop(..))
    }

    /// What takes this back: ranges are as they were, and so is who logs them.
    pub(crate) fn inverse(&self) -> Event {
        match self.clone() {
            Event::CoalescedDel(range, part) => Event::CoalescedAdd(range, part),
            Event::CoalescedAdd(range, part) => Event::CoalescedDel(range, part),
            Event::RegionDel(range) => Event::RegionAdd(range),
            Event::RegionAdd(range) => Event::RegionDel(range),
            Event::RegionNop(range, old) => {
                let new = range.dirty_log_mask();
                Event::RegionNop(range.logged_by(old), new)
            }
            Event::LogStart(range, old, new) => Event::LogStop(range.logged_by(old), new, old),
            Event::LogStop(range, old, new) => Event::LogStart(range.logged_by(old), new, old),
            Event::EventFdDel(eventfd) => Event::EventFdAdd(eventfd),
            Event::EventFdAdd(eventfd) => Event::EventFdDel(eventfd),
        }
    }

    pub(crate) fn callback(&self) -> &'static str {
        match self {
            Event::CoalescedDel(..) => "coalesced_io_del",
            Event::RegionDel(_) => "region_del",
            Event::RegionNop(..) => "region_nop",
            Event::LogStart(..) => "log_start",
            Event::LogStop(..) => "log_stop",
            Event::RegionAdd(_) => "region_add",
            Event::CoalescedAdd(..) => "coalesced_io_add",
            Event::EventFdDel(_) => "eventfd_del",
            Event::EventFdAdd(_) => "eventfd_add",
        }
    }

    pub(crate) fn deliver<L: MemoryListener + ?Sized>(
        &self,
        space: &AddressSpace,
        listener: &L,
    ) -> ListenerResult {
        let section = |range| MemoryRegionSection::new(space, range);
        match self {
            Event::CoalescedDel(range, part) => listener.coalesced_io_del(&section(range), *part),
            Event::RegionDel(range) => listener.region_del(&section(range)),
            Event::RegionNop(range, _) => listener.region_nop(&section(range)),
            Event::LogStart(range, old, new) => listener.log_start(&section(range), *old, *new),
            Event::LogStop(range, old, new) => listener.log_stop(&section(range), *old, *new),
            Event::RegionAdd(range) => listener.region_add(&section(range)),
            Event::CoalescedAdd(range, part) => listener.coalesced_io_add(&section(range), *part),
            Event::EventFdDel(eventfd) => listener.eventfd_del(space, eventfd),
            Event::EventFdAdd(eventfd) => listener.eventfd_add(space, eventfd),
        }
    }
}

/// A listener registered on an address space. Dropping it unregisters the listener, which then hears of every
/// range as gone (rule F9).
#[derive(Debug)]
#[must_use = "dropping a registration unregisters the listener"]
pub struct Registration {
    pub(crate) space: AddressSpace,
    /// `None` once unregistered.
    pub(crate) id: Option<ListenerId>,
}

/// In order of registration, memory-wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ListenerId(pub(crate) u64);

impl Registration {
    /// The address space.
    pub fn address_space(&self) -> &AddressSpace {
        &self.space
    }

    /// Unregisters the listener.
    ///
    /// # Errors
    ///
    /// [`Error::NestedUpdate`] within an update or a listener: the listener is then unregistered when that
    /// update is over. [`Error::ListenerFailed`] if a callback failed; the listener is unregistered all the
    /// same, and has heard the rest.
    pub fn unregister(mut self) -> Result<(), Error> {
        match self.id.take() {
            Some(id) => self.space.unregister(id),
            None => Ok(()),
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            // A failure leaves the listener unregistered, too, and a drop has nobody to tell.
            let _ = self.space.unregister(id);
        }
    }
}
