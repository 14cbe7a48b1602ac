//! ioeventfds: a write to an address that becomes a signal on a descriptor, without the device's code.
//!
//! Rules I1 to I15. A region keeps a sorted set of [`IoEventFd`]s; a view shows each of them once for every
//! range of the region that meets it, and listeners hear the difference.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use crate::access::Device;
use crate::address::AddressRange;
use crate::region::Region;

/// What an ioeventfd signals: something with a descriptor that an accelerator can hand to the kernel.
///
/// Cheap to clone; two are equal if they are clones of one. The descriptor stays open for as long as a
/// region, a view or a listener's queue holds a clone, so a listener never sees a closed one (rule I14).
#[derive(Clone)]
pub struct EventNotifier(Arc<NotifierInner>);

struct NotifierInner {
    id: u64,
    source: Box<dyn AsFd + Send + Sync>,
}

static NEXT_NOTIFIER: AtomicU64 = AtomicU64::new(0);

impl EventNotifier {
    /// A notifier that signals `source`, usually an eventfd.
    pub fn new(source: impl AsFd + Send + Sync + 'static) -> EventNotifier {
        let id = NEXT_NOTIFIER.fetch_add(1, Ordering::Relaxed);
        EventNotifier(Arc::new(NotifierInner {
            id,
            source: Box::new(source),
        }))
    }

    /// A notifier with an eventfd of its own, which does not block.
    ///
    /// # Errors
    ///
    /// What the kernel says if there are no more descriptors.
    pub fn eventfd() -> io::Result<EventNotifier> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(EventNotifier::new(eventfd(0, flags)?))
    }

    /// Signals it, as the kernel does when it takes a write over.
    ///
    /// # Errors
    ///
    /// What the kernel says, other than that it is signalled as often as can be counted.
    pub fn set(&self) -> io::Result<()> {
        match rustix::io::write(self, &1_u64.to_ne_bytes()) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether it was signalled since the last time; it is not any more then. Of an eventfd that blocks, this waits.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn test_and_clear(&self) -> io::Result<bool> {
        match rustix::io::read(self, &mut [0; 8]) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for EventNotifier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.source.as_fd()
    }
}

impl fmt::Debug for EventNotifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventNotifier(#{})", self.0.id)
    }
}

impl PartialEq for EventNotifier {
    fn eq(&self, other: &EventNotifier) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for EventNotifier {}

impl PartialOrd for EventNotifier {
    fn partial_cmp(&self, other: &EventNotifier) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// In order of creation.
impl Ord for EventNotifier {
    fn cmp(&self, other: &EventNotifier) -> core::cmp::Ordering {
        self.0.id.cmp(&other.0.id)
    }
}

/// One ioeventfd: which writes signal which notifier.
///
/// The order of the fields is the order in which they sort (rule I3). Equality is exact: unlike QEMU (rule
/// I5), an entry for any length equals no other entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IoEventFd {
    /// Where the write must start: an offset in the region, or an address in the space a listener hears of.
    pub address: u64,
    /// How long the write must be in bytes: 1, 2, 4 or 8, or 0 for any length.
    pub size: u32,
    /// The value that must be written; `None` for any value. Of a region it is the device's value, of which the low
    /// `size` bytes count. A listener hears what these bytes are as a little-endian number (rule I6): what is on the
    /// bus, whatever the device's byte order.
    pub datamatch: Option<u64>,
    /// What is signalled.
    pub notifier: EventNotifier,
}

impl IoEventFd {
    /// The bytes it listens at; an entry for any length counts as one byte.
    pub(crate) fn range(&self) -> Option<AddressRange> {
        AddressRange::new(self.address, u64::from(self.size.max(1)))
    }

    /// As listeners hear of it, if `region` is shown so that it is at `address`.
    pub(crate) fn shown(&self, address: u64, region: &Region) -> IoEventFd {
        let in_order = |value| match (u8::try_from(self.size), Device::of(region)) {
            (Ok(size @ 1..), Some(device)) => device.in_order(value, size),
            _ => value,
        };
        IoEventFd {
            address,
            datamatch: self.datamatch.map(in_order),
            ..self.clone()
        }
    }

    /// Whether a write of the low `size` bytes of `value` at `address` signals it. Values are the device's.
    fn matches(&self, address: u64, size: u8, value: u64) -> bool {
        let low = |value: u64| value & (u64::MAX >> (64 - 8 * u32::from(size)));
        self.address == address
            && (self.size == 0 || self.size == u32::from(size))
            && self.datamatch.is_none_or(|data| low(data) == low(value))
    }
}

/// Which of some ioeventfds, sorted, a write signals: of several that match the one that says most, a size before
/// none and a value before any (not I5, by which it would be the first).
pub(crate) fn signalled(eventfds: &[IoEventFd], address: u64, size: u8, value: u64) -> Option<&IoEventFd> {
    let matching = eventfds
        .iter()
        .filter(|eventfd| eventfd.matches(address, size, value));
    matching.max_by_key(|eventfd| (eventfd.size, eventfd.datamatch.is_some()))
}
