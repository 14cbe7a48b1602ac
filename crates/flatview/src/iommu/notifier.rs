//! Notifiers: who hears of some events in some range of an IOMMU.

use std::fmt;
use std::thread::{self, ThreadId};

use bitflags::bitflags;

use super::{IommuAccess, IommuError, IotlbEntry};
use crate::address::AddressRange;
use crate::primitive::{Condvar, Mutex, wait};

bitflags! {
    /// Kinds of events that a notifier wants (rule O7).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct IommuEvents: u8 {
        /// [`IotlbEventKind::Unmap`].
        const UNMAP = 1;
        /// [`IotlbEventKind::Map`].
        const MAP = 2;
        /// [`IotlbEventKind::DevIotlbUnmap`].
        const DEVIOTLB_UNMAP = 4;
        /// What somebody wants who keeps a copy of all translations.
        const IOTLB = Self::UNMAP.bits() | Self::MAP.bits();
    }
}

/// What happened to a translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IotlbEventKind {
    /// It is gone.
    Unmap,
    /// It is new.
    Map,
    /// Caches in devices must forget it: an invalidation that is meant for them alone.
    DevIotlbUnmap,
}

impl IotlbEventKind {
    /// The flag that asks for such events.
    pub fn flag(self) -> IommuEvents {
        match self {
            IotlbEventKind::Unmap => IommuEvents::UNMAP,
            IotlbEventKind::Map => IommuEvents::MAP,
            IotlbEventKind::DevIotlbUnmap => IommuEvents::DEVIOTLB_UNMAP,
        }
    }
}

/// An event. A translation that changes in place is two: it is gone, then there is a new one (rule O15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IotlbEvent {
    /// What happened.
    pub kind: IotlbEventKind,
    /// To which translation. What is gone permits nothing and may lead nowhere; only its addresses count.
    pub entry: IotlbEntry,
}

impl IotlbEvent {
    /// A translation is new.
    pub fn map(entry: IotlbEntry) -> IotlbEvent {
        IotlbEvent {
            kind: IotlbEventKind::Map,
            entry,
        }
    }

    /// All translations of `range`, offsets in the region, are gone.
    pub fn unmap(range: AddressRange) -> IotlbEvent {
        IotlbEvent::gone(IotlbEventKind::Unmap, range)
    }

    /// Caches in devices must forget all translations of `range`, offsets in the region.
    pub fn deviotlb_unmap(range: AddressRange) -> IotlbEvent {
        IotlbEvent::gone(IotlbEventKind::DevIotlbUnmap, range)
    }

    fn gone(kind: IotlbEventKind, range: AddressRange) -> IotlbEvent {
        let entry = IotlbEntry {
            target: None,
            iova: range.start(),
            translated_address: 0,
            address_mask: range.last() - range.start(),
            permission: IommuAccess::empty(),
        };
        IotlbEvent { kind, entry }
    }

    /// Its addresses, if it makes sense.
    fn range(&self) -> Result<AddressRange, IommuError> {
        let permits = !self.entry.permission.is_empty();
        let range = self.entry.range();
        range
            .filter(|_| permits == (self.kind == IotlbEventKind::Map))
            .ok_or(IommuError::BadEvent {
                kind: self.kind,
                iova: self.entry.iova,
                address_mask: self.entry.address_mask,
                permission: self.entry.permission,
            })
    }
}

/// Hears of events in a range of one of an IOMMU's tables (rule O7). It is registered with
/// [`Region::register_iommu_notifier`](crate::Region::register_iommu_notifier).
pub struct IommuNotifier {
    events: IommuEvents,
    range: AddressRange,
    index: u32,
    notify: Box<dyn Fn(&IotlbEvent) + Send + Sync>,
    calls: Mutex<Calls>,
    returned: Condvar,
}

#[derive(Default)]
struct Calls {
    /// Who is in the callback.
    threads: Vec<ThreadId>,
    /// Nobody enters it any more.
    is_over: bool,
}

impl IommuNotifier {
    /// A notifier for `events` within `range`, offsets in the IOMMU region, in the table with this index.
    ///
    /// `notify` runs on the thread of the device that notifies, without any lock of this library, and perhaps on
    /// many at the same time. It must keep neither the region nor its [`Memory`](crate::Memory) alive, or both would
    /// stay for ever.
    pub fn new(
        events: IommuEvents,
        range: AddressRange,
        index: u32,
        notify: impl Fn(&IotlbEvent) + Send + Sync + 'static,
    ) -> IommuNotifier {
        IommuNotifier {
            events,
            range,
            index,
            notify: Box::new(notify),
            calls: Mutex::new(Calls::default()),
            returned: Condvar::new(),
        }
    }

    /// What it wants to hear.
    pub fn events(&self) -> IommuEvents {
        self.events
    }

    /// Where: offsets in the IOMMU region.
    pub fn range(&self) -> AddressRange {
        self.range
    }

    /// In which table.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Gives the event to this notifier alone, whatever its table (rule O11): for devices that go through their
    /// [notifiers](crate::Region::iommu_notifiers) themselves.
    ///
    /// It does not hear of kinds that it does not want, nor of what lies outside its range. If it wants
    /// [`DEVIOTLB_UNMAP`](IommuEvents::DEVIOTLB_UNMAP), it hears of the part that lies inside; the length of that may
    /// be anything (rule O12).
    ///
    /// # Errors
    ///
    /// [`IommuError::BadEvent`]; [`IommuError::NotWithinNotifier`] if the event lies in part outside and may not be
    /// cut: the device has to split it, or what should have been forgotten is not.
    pub fn notify(&self, event: &IotlbEvent) -> Result<(), IommuError> {
        let range = event.range()?;
        let Some(inside) = self.range.intersection(range) else {
            return Ok(());
        };
        if !self.events.contains(event.kind.flag()) {
            return Ok(());
        }
        if inside == range {
            self.call(event);
        } else if self.events.contains(IommuEvents::DEVIOTLB_UNMAP) {
            let entry = event.entry.cut(inside);
            self.call(&IotlbEvent { entry, ..*event });
        } else {
            return Err(IommuError::NotWithinNotifier {
                event: range,
                notifier: self.range,
            });
        }
        Ok(())
    }

    /// Tells it that nothing in its range is mapped any more (rule O13): when the IOMMU is switched off, or before it
    /// is told everything anew. It hears this only if it wants [`UNMAP`](IommuEvents::UNMAP).
    pub fn unmap_range(&self) {
        if self.events.contains(IommuEvents::UNMAP) {
            self.call(&IotlbEvent::unmap(self.range));
        }
    }

    fn call(&self, event: &IotlbEvent) {
        let mut calls = self.calls.lock();
        if calls.is_over {
            return;
        }
        calls.threads.push(thread::current().id());
        drop(calls);
        let _call = Call(self);
        (self.notify)(event);
    }

    /// Ends it, and waits for the other threads that are in the callback.
    pub(super) fn end(&self) {
        let me = thread::current().id();
        let mut calls = self.calls.lock();
        calls.is_over = true;
        while calls.threads.iter().any(|&thread| thread != me) {
            calls = wait(&self.returned, calls);
        }
    }
}

/// As long as it lives, this thread is in the callback.
struct Call<'a>(&'a IommuNotifier);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let me = thread::current().id();
        let mut calls = self.0.calls.lock();
        if let Some(place) = calls.threads.iter().rposition(|&thread| thread == me) {
            calls.threads.swap_remove(place);
        }
        drop(calls);
        self.0.returned.notify_all();
    }
}

impl fmt::Debug for IommuNotifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IommuNotifier")
            .field("events", &self.events)
            .field("range", &self.range)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}
