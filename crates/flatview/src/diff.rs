//! The difference of two views, as the callbacks that carry it (rules G1 to G8).

use std::collections::BTreeSet;

use crate::address::AddressRange;
use crate::dirty::DirtyClients;
use crate::ioeventfd::IoEventFd;
use crate::listener::Event;
use crate::view::{FlatRange, FlatView, RangeExtras, ViewExtras};

/// What listeners hear when `new` replaces `old`, in order.
///
/// The views differ at most in `windows`, which are sorted and disjoint; only ranges that touch or abut one
/// are looked at. With `nops` there is an event for every range that stays, wherever it is.
pub(crate) fn events(old: &FlatView, new: &FlatView, windows: &[AddressRange], nops: bool) -> Vec<Event> {
    let whole = [AddressRange::ALL];
    let windows = if nops { &whole } else { windows };
    let walk = merge(near(old, windows), near(new, windows));
    let mut events = Vec::new();
    for step in &walk {
        step.deletions(old, new, &mut events);
    }
    for step in &walk {
        step.additions(old, new, nops, &mut events);
    }
    eventfds(&walk, old.extras(), new.extras(), &mut events);
    events
}

/// What a listener hears that is registered on a view: every range as new (rule F7).
pub(crate) fn replay_added(view: &FlatView) -> Vec<Event> {
    let mut events = Vec::new();
    for range in view.iter() {
        Step::Added(range).additions(&FlatView::empty(), view, false, &mut events);
        let mask = range.dirty_log_mask();
        if !mask.is_empty() {
            events.push(Event::LogStart(range.clone(), DirtyClients::empty(), mask));
        }
    }
    events.extend(
        distinct(view.extras())
            .into_iter()
            .map(|eventfd| Event::EventFdAdd(eventfd.clone())),
    );
    events
}

/// What a listener hears that is unregistered from a view: every range as gone, ascending (rule F9).
pub(crate) fn replay_removed(view: &FlatView) -> Vec<Event> {
    let mut events = Vec::new();
    for range in view.iter() {
        let mask = range.dirty_log_mask();
        if !mask.is_empty() {
            events.push(Event::LogStop(range.clone(), mask, DirtyClients::empty()));
        }
        Step::Gone(range).deletions(view, &FlatView::empty(), &mut events);
    }
    events.extend(
        distinct(view.extras())
            .into_iter()
            .map(|eventfd| Event::EventFdDel(eventfd.clone())),
    );
    events
}

/// The ranges of a view that touch or abut a window, ascending.
fn near<'a>(view: &'a FlatView, windows: &'a [AddressRange]) -> impl Iterator<Item = &'a FlatRange> {
    let mut seen = None;
    windows
        .iter()
        .flat_map(|window| view.meeting(window.widened()))
        .filter(move |range| {
            // One that two windows touch comes once.
            let is_new = seen < Some(range.start());
            seen = seen.max(Some(range.start()));
            is_new
        })
}

enum Step<'a> {
    Gone(&'a FlatRange),
    Same(&'a FlatRange, &'a FlatRange),
    Added(&'a FlatRange),
}

/// Walks both sorted lists in parallel (rule G3).
fn merge<'a>(
    was: impl Iterator<Item = &'a FlatRange>,
    is: impl Iterator<Item = &'a FlatRange>,
) -> Vec<Step<'a>> {
    let mut walk = Vec::new();
    let (mut was, mut is) = (was.peekable(), is.peekable());
    loop {
        match (was.peek().copied(), is.peek().copied()) {
            (None, None) => return walk,
            (Some(old), Some(new)) if old == new => {
                walk.push(Step::Same(old, new));
                was.next();
                is.next();
            }
            (Some(old), new) if new.is_none_or(|new| old.start() <= new.start()) => {
                walk.push(Step::Gone(old));
                was.next();
            }
            (_, Some(new)) => {
                walk.push(Step::Added(new));
                is.next();
            }
            (Some(old), None) => {
                walk.push(Step::Gone(old));
                was.next();
            }
        }
    }
}

fn extras_of<'a>(view: &'a FlatView, range: &FlatRange) -> Option<&'a RangeExtras> {
    view.extras().get(&range.start())
}

fn coalesced_of<'a>(view: &'a FlatView, range: &FlatRange) -> &'a [AddressRange] {
    extras_of(view, range).map_or(&[], |extras| &extras.coalesced)
}

impl Step<'_> {
    /// Pass 1 (rule G4).
    fn deletions(&self, old: &FlatView, new: &FlatView, events: &mut Vec<Event>) {
        match *self {
            Step::Gone(range) => {
                for &part in coalesced_of(old, range) {
                    events.push(Event::CoalescedDel(range.clone(), part));
                }
                events.push(Event::RegionDel(range.clone()));
            }
            Step::Same(was, is) => {
                let stays = coalesced_of(new, is);
                for &part in coalesced_of(old, was).iter().filter(|part| !stays.contains(part)) {
                    events.push(Event::CoalescedDel(was.clone(), part));
                }
            }
            Step::Added(_) => {}
        }
    }

    /// Pass 2 (rule G5).
    fn additions(&self, old: &FlatView, new: &FlatView, nops: bool, events: &mut Vec<Event>) {
        match *self {
            Step::Gone(_) => {}
            Step::Same(was, is) => {
                let (before, now) = (was.dirty_log_mask(), is.dirty_log_mask());
                if nops {
                    events.push(Event::RegionNop(is.clone(), before));
                }
                if !(now - before).is_empty() {
                    events.push(Event::LogStart(is.clone(), before, now));
                }
                if !(before - now).is_empty() {
                    events.push(Event::LogStop(is.clone(), before, now));
                }
                let stayed = coalesced_of(old, was);
                for &part in coalesced_of(new, is).iter().filter(|part| !stayed.contains(part)) {
                    events.push(Event::CoalescedAdd(is.clone(), part));
                }
            }
            Step::Added(range) => {
                events.push(Event::RegionAdd(range.clone()));
                for &part in coalesced_of(new, range) {
                    events.push(Event::CoalescedAdd(range.clone(), part));
                }
            }
        }
    }
}

/// The ioeventfds of a view. One that two ranges of its region show (rule I7) counts once.
fn distinct(extras: &ViewExtras) -> BTreeSet<&IoEventFd> {
    extras.values().flat_map(|extras| &extras.ioeventfds).collect()
}

/// What is gone, then what is new: an accelerator may refuse two of one address and data.
fn eventfds(walk: &[Step<'_>], old: &ViewExtras, new: &ViewExtras, events: &mut Vec<Event>) {
    let has_any = |extras: &ViewExtras, range: &FlatRange| {
        extras
            .get(&range.start())
            .is_some_and(|extras| !extras.ioeventfds.is_empty())
    };
    let concerned = walk.iter().any(|step| match step {
        Step::Gone(range) => has_any(old, range),
        Step::Same(was, is) => has_any(old, was) || has_any(new, is),
        Step::Added(range) => has_any(new, range),
    });
    if !concerned {
        return;
    }
    let (was, is) = (distinct(old), distinct(new));
    events.extend(
        was.difference(&is)
            .map(|&eventfd| Event::EventFdDel(eventfd.clone())),
    );
    events.extend(
        is.difference(&was)
            .map(|&eventfd| Event::EventFdAdd(eventfd.clone())),
    );
}
