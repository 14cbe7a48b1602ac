//! Carrying the difference of views to listeners, all the way or not at all.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::diff;
use crate::error::Error;
use crate::listener::{Event, ListenerError, ListenerResult, Undo, ViewChange};
use crate::registry::ListenerEntry;
use crate::space::AddressSpace;
use crate::view::FlatView;

/// What the listeners of one space are to hear.
pub(crate) struct Delivery {
    pub(crate) space: AddressSpace,
    pub(crate) old: Arc<FlatView>,
    pub(crate) new: Arc<FlatView>,
    pub(crate) events: Arc<[Event]>,
    /// Whether `events` has those for ranges that stay.
    pub(crate) nops: bool,
    /// Ascending.
    pub(crate) listeners: Vec<ListenerEntry>,
}

/// How far one listener has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Waiting,
    Prepared,
    /// How many of the events it has heard, or need not hear.
    Begun(usize),
    Committed,
    /// Its `commit` failed, which by contract undid the batch.
    Failed,
}

struct Participant<'a> {
    delivery: usize,
    entry: &'a ListenerEntry,
    progress: Progress,
}

impl Participant<'_> {
    fn hears(&self, event: &Event) -> bool {
        self.entry.wants_nop || !event.is_nop()
    }
}

/// Runs one callback; a panic in it is a failure.
pub(crate) fn call(callback: impl FnOnce() -> ListenerResult) -> ListenerResult {
    caught(callback).flatten()
}

/// Runs one callback that cannot fail but by a panic.
pub(crate) fn caught<T>(callback: impl FnOnce() -> T) -> Result<T, ListenerError> {
    catch_unwind(AssertUnwindSafe(callback)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        format!("panicked: {}", text.as_deref().unwrap_or("no message")).into()
    })
}

/// The error that says which listener failed in which callback.
pub(crate) fn failed(
    entry: &ListenerEntry,
    callback: &'static str,
    result: ListenerResult,
) -> Result<(), Error> {
    result.map_err(|source| Error::ListenerFailed {
        listener: entry.listener.name().into(),
        space: entry.space.name().into(),
        callback,
        source,
    })
}

/// Lets every listener hear of every change, in the order that [`crate::listener`] describes. They are
/// [settled](Round::settle) when readers see the new views.
///
/// # Errors
///
/// [`Error::Refused`] and [`Error::ListenerFailed`] after everything was put back; [`Error::Inconsistent`] if
/// it could not be. Everybody is settled then.
pub(crate) fn deliver(deliveries: &[Delivery]) -> Result<Round<'_>, Error> {
    let mut round = Round::new(deliveries);
    match round.run() {
        Ok(()) => Ok(round),
        Err(failure) => {
            let taken_back = round.take_back(failure);
            round.settle();
            taken_back.map(|()| round)
        }
    }
}

/// Says to a listener that it is over. Nobody can do anything about a panic.
pub(crate) fn settle(entry: &ListenerEntry) {
    let _ = caught(|| entry.listener.settled());
}

/// Who has heard what of one change.
pub(crate) struct Round<'a> {
    deliveries: &'a [Delivery],
    /// Ascending priority, whatever the space; then order of registration.
    participants: Vec<Participant<'a>>,
    /// For each delivery, its participants, ascending.
    of_delivery: Vec<Vec<usize>>,
}

impl<'a> Round<'a> {
    fn new(deliveries: &'a [Delivery]) -> Round<'a> {
        let mut participants: Vec<Participant<'a>> = Vec::new();
        for (index, delivery) in deliveries.iter().enumerate() {
            participants.extend(delivery.listeners.iter().map(|entry| Participant {
                delivery: index,
                entry,
                progress: Progress::Waiting,
            }));
        }
        participants.sort_by_key(|participant| (participant.entry.priority, participant.entry.id));
        let mut of_delivery = vec![Vec::new(); deliveries.len()];
        for (index, participant) in participants.iter().enumerate() {
            of_delivery[participant.delivery].push(index);
        }
        Round {
            deliveries,
            participants,
            of_delivery,
        }
    }

    /// Says that it is over, to all who heard of it.
    pub(crate) fn settle(&self) {
        let heard = |participant: &&Participant<'_>| participant.progress != Progress::Waiting;
        for participant in self.participants.iter().filter(heard) {
            settle(participant.entry);
        }
    }

    fn run(&mut self) -> Result<(), Error> {
        for participant in &mut self.participants {
            let Delivery {
                space,
                old,
                new,
                events,
                ..
            } = &self.deliveries[participant.delivery];
            let change = ViewChange {
                space,
                old,
                new,
                events,
            };
            let entry = participant.entry;
            call(|| entry.listener.prepare(&change)).map_err(|source| Error::Refused {
                listener: entry.listener.name().into(),
                space: space.name().into(),
                source,
            })?;
            participant.progress = Progress::Prepared;
        }
        for participant in &mut self.participants {
            let entry = participant.entry;
            failed(entry, "begin", call(|| entry.listener.begin()))?;
            participant.progress = Progress::Begun(0);
        }
        for (delivery, hearers) in self.deliveries.iter().zip(&self.of_delivery) {
            for (index, event) in delivery.events.iter().enumerate() {
                for hearer in in_direction(hearers, event.is_reverse()) {
                    let participant = &mut self.participants[hearer];
                    let listener = &*participant.entry.listener;
                    if participant.hears(event) {
                        let result = call(|| event.deliver(&delivery.space, listener));
                        failed(participant.entry, event.callback(), result)?;
                    }
                    participant.progress = Progress::Begun(index + 1);
                }
            }
        }
        for participant in &mut self.participants {
            let entry = participant.entry;
            let new = &self.deliveries[participant.delivery].new;
            participant.progress = Progress::Failed;
            failed(entry, "commit", call(|| entry.listener.commit(new)))?;
            participant.progress = Progress::Committed;
        }
        Ok(())
    }

    /// Puts everything back: first those who have not committed give up, then those who have hear the exact
    /// inverse, in exactly the reverse order.
    fn take_back(&self, failure: Error) -> Result<(), Error> {
        let mut first_failure = Ok(());
        let mut note = |result: Result<(), Error>| {
            if first_failure.is_ok() {
                first_failure = result;
            }
        };
        for participant in self.participants.iter().rev() {
            let heard = match participant.progress {
                Progress::Waiting | Progress::Committed | Progress::Failed => continue,
                Progress::Prepared => 0,
                Progress::Begun(heard) => heard,
            };
            let delivery = &self.deliveries[participant.delivery];
            let undo = Undo {
                space: &delivery.space,
                heard: &delivery.events[..heard],
                wants_nop: participant.entry.wants_nop,
            };
            note(failed(
                participant.entry,
                "abort",
                call(|| participant.entry.listener.abort(&undo)),
            ));
        }
        let committed = |participant: &&Participant<'_>| participant.progress == Progress::Committed;
        for participant in self.participants.iter().filter(committed) {
            note(failed(
                participant.entry,
                "begin",
                call(|| participant.entry.listener.begin()),
            ));
        }
        for (delivery, hearers) in self.deliveries.iter().zip(&self.of_delivery).rev() {
            for event in delivery.events.iter().rev() {
                let inverse = event.inverse();
                for hearer in in_direction(hearers, !event.is_reverse()) {
                    let participant = &self.participants[hearer];
                    let listener = &*participant.entry.listener;
                    if participant.progress == Progress::Committed && participant.hears(&inverse) {
                        let result = call(|| inverse.deliver(&delivery.space, listener));
                        note(failed(participant.entry, inverse.callback(), result));
                    }
                }
            }
        }
        for participant in self.participants.iter().filter(committed) {
            let old = &self.deliveries[participant.delivery].old;
            note(failed(
                participant.entry,
                "commit",
                call(|| participant.entry.listener.commit(old)),
            ));
        }
        Err(match first_failure {
            Ok(()) => failure,
            Err(rollback) => Error::Inconsistent {
                failure: failure.to_string().into(),
                rollback: rollback.to_string().into(),
            },
        })
    }
}

fn in_direction(hearers: &[usize], reverse: bool) -> impl Iterator<Item = usize> {
    let count = hearers.len();
    (0..count).map(move |index| hearers[if reverse { count - 1 - index } else { index }])
}

/// Lets one listener hear of everything its space shows, as it joins (rule F7); `tracked`: and that all of
/// memory is.
///
/// # Errors
///
/// [`Error::Refused`] and [`Error::ListenerFailed`] after it has heard the inverse; [`Error::Inconsistent`] if
/// it could not take that.
pub(crate) fn join(entry: &ListenerEntry, view: &FlatView, tracked: bool) -> Result<(), Error> {
    let mut joining = Joining {
        entry,
        events: &diff::replay_added(view),
        progress: Progress::Waiting,
        tracks: false,
    };
    let joined = joining
        .run(view, tracked)
        .map_err(|failure| joining.take_back(failure));
    if joining.progress != Progress::Waiting {
        settle(entry);
    }
    joined
}

struct Joining<'a> {
    entry: &'a ListenerEntry,
    events: &'a [Event],
    progress: Progress,
    /// Whether it was told that all of memory is tracked.
    tracks: bool,
}

impl Joining<'_> {
    fn run(&mut self, view: &FlatView, tracked: bool) -> Result<(), Error> {
        let ListenerEntry { listener, space, .. } = self.entry;
        let listener = &**listener;
        let change = ViewChange {
            space,
            old: &FlatView::empty(),
            new: view,
            events: self.events,
        };
        call(|| listener.prepare(&change)).map_err(|source| Error::Refused {
            listener: listener.name().into(),
            space: space.name().into(),
            source,
        })?;
        self.progress = Progress::Prepared;
        failed(self.entry, "begin", call(|| listener.begin()))?;
        self.progress = Progress::Begun(0);
        if tracked {
            failed(
                self.entry,
                "log_global_start",
                call(|| listener.log_global_start()),
            )?;
            self.tracks = true;
        }
        for (index, event) in self.events.iter().enumerate() {
            failed(
                self.entry,
                event.callback(),
                call(|| event.deliver(space, listener)),
            )?;
            self.progress = Progress::Begun(index + 1);
        }
        self.progress = Progress::Failed;
        failed(self.entry, "commit", call(|| listener.commit(view)))?;
        self.progress = Progress::Committed;
        Ok(())
    }

    /// Puts everything back. Returns why that was necessary.
    fn take_back(&self, failure: Error) -> Error {
        let heard = match self.progress {
            Progress::Waiting | Progress::Committed | Progress::Failed => None,
            Progress::Prepared => Some(0),
            Progress::Begun(heard) => Some(heard),
        };
        let listener = &*self.entry.listener;
        let aborted = heard.map_or(Ok(()), |heard| {
            let undo = Undo {
                space: &self.entry.space,
                heard: &self.events[..heard],
                wants_nop: false,
            };
            failed(self.entry, "abort", call(|| listener.abort(&undo)))
        });
        let stopped = match self.tracks {
            true => failed(self.entry, "log_global_stop", call(|| listener.log_global_stop())),
            false => Ok(()),
        };
        match aborted.and(stopped) {
            Ok(()) => failure,
            Err(rollback) => Error::Inconsistent {
                failure: failure.to_string().into(),
                rollback: rollback.to_string().into(),
            },
        }
    }
}
