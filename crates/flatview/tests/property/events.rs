//! What listeners must hear, callback by callback (rules G2 to G8, J6, F4, F7, F9).

use std::collections::BTreeSet;

use crate::model::EventFd;
use crate::picture::{Picture, Range};

/// What a callback does not say, so that it makes no difference between two: who logged a range before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unsaid(pub(crate) u8);

impl PartialEq for Unsaid {
    fn eq(&self, _: &Unsaid) -> bool {
        true
    }
}

impl Eq for Unsaid {}

/// Something a listener is told about one range, coalesced part or ioeventfd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    CoalescedDel(Range, (u64, u64)),
    RegionDel(Range),
    RegionNop(Range, Unsaid),
    LogStart(Range, u8, u8),
    LogStop(Range, u8, u8),
    RegionAdd(Range),
    CoalescedAdd(Range, (u64, u64)),
    IoEventFdDel(EventFd),
    IoEventFdAdd(EventFd),
}

/// One callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Prepare,
    Begin,
    Event(Event),
    Commit,
    Abort,
    GlobalStart,
    GlobalStop,
}

impl Call {
    /// The name of the callback, as errors say it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Call::Prepare => "prepare",
            Call::Begin => "begin",
            Call::Commit => "commit",
            Call::Abort => "abort",
            Call::GlobalStart => "log_global_start",
            Call::GlobalStop => "log_global_stop",
            Call::Event(Event::CoalescedDel(..)) => "coalesced_io_del",
            Call::Event(Event::RegionDel(_)) => "region_del",
            Call::Event(Event::RegionNop(..)) => "region_nop",
            Call::Event(Event::LogStart(..)) => "log_start",
            Call::Event(Event::LogStop(..)) => "log_stop",
            Call::Event(Event::RegionAdd(_)) => "region_add",
            Call::Event(Event::CoalescedAdd(..)) => "coalesced_io_add",
            Call::Event(Event::IoEventFdDel(_)) => "eventfd_del",
            Call::Event(Event::IoEventFdAdd(_)) => "eventfd_add",
        }
    }
}

impl Event {
    /// Whether the highest priority hears it first (rule F4; for ioeventfds not F5).
    fn is_reverse(&self) -> bool {
        matches!(
            self,
            Event::CoalescedDel(..) | Event::RegionDel(_) | Event::LogStop(..) | Event::IoEventFdDel(_)
        )
    }

    fn is_nop(&self) -> bool {
        matches!(self, Event::RegionNop(..))
    }

    /// What takes it back: the range is as it was, and so is who logs it.
    pub(crate) fn inverse(&self) -> Event {
        match *self {
            Event::CoalescedDel(range, part) => Event::CoalescedAdd(range, part),
            Event::CoalescedAdd(range, part) => Event::CoalescedDel(range, part),
            Event::RegionDel(range) => Event::RegionAdd(range),
            Event::RegionAdd(range) => Event::RegionDel(range),
            Event::RegionNop(range, Unsaid(old)) => {
                Event::RegionNop(Range { log: old, ..range }, Unsaid(range.log))
            }
            Event::LogStart(range, old, new) => Event::LogStop(Range { log: old, ..range }, new, old),
            Event::LogStop(range, old, new) => Event::LogStart(Range { log: old, ..range }, new, old),
            Event::IoEventFdDel(eventfd) => Event::IoEventFdAdd(eventfd),
            Event::IoEventFdAdd(eventfd) => Event::IoEventFdDel(eventfd),
        }
    }
}

/// The difference of two pictures, nops included.
pub(crate) fn difference(old: &Picture, new: &Picture) -> Vec<Event> {
    let twin = |range: &Range, of: &Picture| {
        let found = of.ranges.iter().find(|other| other.shows_the_same_as(range));
        found.copied()
    };
    let mut events = Vec::new();
    // G2: all deletions before any addition, each ascending; G4: coalesced parts before their range.
    for range in &old.ranges {
        let stays = twin(range, new).map_or(&[][..], |same| new.coalesced_of(&same));
        for part in old.coalesced_of(range) {
            if !stays.contains(part) {
                events.push(Event::CoalescedDel(*range, *part));
            }
        }
        if twin(range, new).is_none() {
            events.push(Event::RegionDel(*range));
        }
    }
    // G5.
    for range in &new.ranges {
        let before = twin(range, old);
        match before {
            None => events.push(Event::RegionAdd(*range)),
            Some(Range { log, .. }) => {
                events.push(Event::RegionNop(*range, Unsaid(log)));
                if range.log & !log != 0 {
                    events.push(Event::LogStart(*range, log, range.log));
                }
                if log & !range.log != 0 {
                    events.push(Event::LogStop(*range, log, range.log));
                }
            }
        }
        let stayed = before.map_or(&[][..], |same| old.coalesced_of(&same));
        for part in new.coalesced_of(range) {
            if !stayed.contains(part) {
                events.push(Event::CoalescedAdd(*range, *part));
            }
        }
    }
    // G8.
    let only_in =
        |a: &BTreeSet<EventFd>, b: &BTreeSet<EventFd>| a.difference(b).copied().collect::<Vec<EventFd>>();
    events.extend(
        only_in(&old.eventfds, &new.eventfds)
            .into_iter()
            .map(Event::IoEventFdDel),
    );
    events.extend(
        only_in(&new.eventfds, &old.eventfds)
            .into_iter()
            .map(Event::IoEventFdAdd),
    );
    events
}

/// What a listener hears that joins (rule F7, with F8 put right).
pub(crate) fn joining(picture: &Picture) -> Vec<Event> {
    let mut events = Vec::new();
    for range in &picture.ranges {
        events.push(Event::RegionAdd(*range));
        for part in picture.coalesced_of(range) {
            events.push(Event::CoalescedAdd(*range, *part));
        }
        if range.log != 0 {
            events.push(Event::LogStart(*range, 0, range.log));
        }
    }
    events.extend(picture.eventfds.iter().copied().map(Event::IoEventFdAdd));
    events
}

/// What a listener hears that leaves (rule F9).
pub(crate) fn leaving(picture: &Picture) -> Vec<Event> {
    let mut events = Vec::new();
    for range in &picture.ranges {
        if range.log != 0 {
            events.push(Event::LogStop(*range, range.log, 0));
        }
        for part in picture.coalesced_of(range) {
            events.push(Event::CoalescedDel(*range, *part));
        }
        events.push(Event::RegionDel(*range));
    }
    events.extend(picture.eventfds.iter().copied().map(Event::IoEventFdDel));
    events
}

/// A listener, as far as the order of callbacks goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hearer {
    pub(crate) number: usize,
    pub(crate) priority: u32,
    pub(crate) wants_nop: bool,
    /// It forgets its queue when a batch is aborted, instead of hearing the inverse.
    pub(crate) queues: bool,
}

/// A space whose view is replaced, with its listeners in any order.
pub(crate) struct Change<'a> {
    pub(crate) old: &'a Picture,
    pub(crate) new: &'a Picture,
    pub(crate) hearers: Vec<Hearer>,
}

/// Every callback of a commit that succeeds, in order: who, and what.
///
/// Listeners are numbered in order of registration, so that (priority, number) is the order of rule F3.
pub(crate) fn commit(changes: &[Change<'_>]) -> Vec<(usize, Call)> {
    // E7 is not copied: who sees no change hears nothing.
    let changed: Vec<(Vec<Event>, Vec<Hearer>)> = changes
        .iter()
        .map(|change| {
            let mut hearers = change.hearers.clone();
            hearers.sort_by_key(|hearer| (hearer.priority, hearer.number));
            (difference(change.old, change.new), hearers)
        })
        .filter(|(events, _)| !events.iter().all(Event::is_nop))
        .collect();
    let mut everybody: Vec<Hearer> = changed.iter().flat_map(|(_, hearers)| hearers.clone()).collect();
    everybody.sort_by_key(|hearer| (hearer.priority, hearer.number));
    let all = |call: &Call| {
        let calls = everybody.iter().map(|hearer| (hearer.number, call.clone()));
        calls.collect::<Vec<_>>()
    };
    let mut calls = all(&Call::Prepare);
    calls.extend(all(&Call::Begin));
    for (events, hearers) in &changed {
        for event in events {
            let mut hearers = hearers.clone();
            if event.is_reverse() {
                hearers.reverse();
            }
            let hears = |hearer: &&Hearer| !event.is_nop() || hearer.wants_nop;
            calls.extend(
                hearers
                    .iter()
                    .filter(hears)
                    .map(|hearer| (hearer.number, Call::Event(event.clone()))),
            );
        }
    }
    calls.extend(all(&Call::Commit));
    calls
}

/// What one listener hears after `heard` when the commit fails; `failed` if it was the one that failed, in
/// the last of `heard`.
pub(crate) fn taking_back(heard: &[Call], failed: bool, queues: bool) -> Vec<Call> {
    let at = |call: &Call| heard.iter().position(|other| other == call);
    let inverses = |events: &[Call]| {
        let inverse = |call: &Call| match call {
            Call::Event(event) => Some(Call::Event(event.inverse())),
            _ => None,
        };
        events.iter().rev().filter_map(inverse).collect::<Vec<_>>()
    };
    // A failing callback did nothing; a failing `commit` undid its batch; who refuses has nothing to undo.
    let done = if failed { &heard[..heard.len() - 1] } else { heard };
    let committing = failed && heard.last() == Some(&Call::Commit);
    if at(&Call::Prepare).is_none_or(|at| at >= done.len()) || committing {
        return Vec::new();
    }
    if done.contains(&Call::Commit) {
        let mut calls = vec![Call::Begin];
        calls.extend(inverses(done));
        calls.push(Call::Commit);
        return calls;
    }
    let mut calls = vec![Call::Abort];
    if !queues {
        calls.extend(inverses(done));
    }
    calls
}
