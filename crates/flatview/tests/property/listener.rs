//! A listener that keeps its own picture of a space and doubts everything it hears.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard};

use flatview::{
    AddressRange, AddressSpace, DirtyClients, Error, EventNotifier, FlatView, IoEventFd, ListenerResult,
    MemoryListener, MemoryRegionSection, Undo, ViewChange, WeakMemory,
};

use crate::events::{Call, Event, Hearer, Unsaid};
use crate::model::EventFd;
use crate::picture::{Coalesced, Picture, Range, log_bits, ranges_of};

/// How a callback fails that was told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Error,
    Panic,
}

/// What all listeners of a world share: the order in which they were called, and who is to fail when.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    pub(crate) calls: Vec<(usize, Call)>,
    /// Callbacks that fail, by their place in `calls`.
    pub(crate) faults: BTreeMap<usize, Failure>,
    /// Which of them did.
    pub(crate) failed: Vec<(usize, Call)>,
    /// What made no sense.
    pub(crate) complaints: Vec<String>,
    /// The world's notifiers, to tell them apart.
    pub(crate) notifiers: Vec<EventNotifier>,
}

/// What the listener believes the space shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Belief {
    pub(crate) ranges: BTreeMap<u64, Range>,
    pub(crate) eventfds: BTreeSet<EventFd>,
    pub(crate) coalesced: BTreeSet<Coalesced>,
}

#[derive(Debug, Default)]
struct State {
    belief: Belief,
    /// Whether all memory is tracked: no part of a batch, and not undone with one.
    global: bool,
    /// Since `begin`: what was believed then, and what was heard.
    batch: Option<Batch>,
    /// What `prepare` said would go and come, and what there would be in the end.
    announced: Option<(Vec<Range>, Vec<Range>, Vec<Range>)>,
}

#[derive(Debug, Default)]
struct Batch {
    before: Belief,
    removed: Vec<Range>,
    added: Vec<Range>,
    /// Added or still there: a vhost backend makes its whole table of these (rule X1).
    table: Vec<Range>,
    /// The range that `log_start` was just called for: `log_stop` may follow for the same change.
    started: Option<(u64, u8, u8)>,
}

#[derive(Debug)]
pub(crate) struct TestListener {
    pub(crate) hearer: Hearer,
    pub(crate) name: String,
    pub(crate) stage: Arc<Mutex<Stage>>,
    pub(crate) memory: WeakMemory,
    state: Mutex<State>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("listeners panic with no lock held")
}

impl TestListener {
    pub(crate) fn new(hearer: Hearer, stage: &Arc<Mutex<Stage>>, memory: WeakMemory) -> TestListener {
        TestListener {
            name: format!("listener {}", hearer.number),
            hearer,
            stage: Arc::clone(stage),
            memory,
            state: Mutex::default(),
        }
    }

    pub(crate) fn belief(&self) -> Belief {
        lock(&self.state).belief.clone()
    }

    pub(crate) fn is_tracking(&self) -> bool {
        lock(&self.state).global
    }

    /// Whether it is between `begin` and `commit`, which it never is between updates.
    pub(crate) fn is_in_batch(&self) -> bool {
        lock(&self.state).batch.is_some()
    }

    fn complain(&self, what: impl Into<String>) {
        let text = format!("{}: {}", self.name, what.into());
        lock(&self.stage).complaints.push(text);
    }

    fn check(&self, sense: bool, what: impl FnOnce() -> String) {
        if !sense {
            self.complain(what());
        }
    }

    /// Takes note of a call. Says how to fail, if it is to.
    fn enter(&self, call: Call) -> Option<Failure> {
        let mut stage = lock(&self.stage);
        let at = stage.calls.len();
        stage.calls.push((self.hearer.number, call.clone()));
        let fault = stage.faults.get(&at).copied();
        if fault.is_some() {
            stage.failed.push((self.hearer.number, call));
        }
        fault
    }

    fn fail(failure: Failure) -> ListenerResult {
        match failure {
            Failure::Error => Err("told to fail".into()),
            // As a panic, without the message on the terminal.
            Failure::Panic => resume_unwind(Box::new("told to panic")),
        }
    }

    /// A callback about the batch that is under way.
    fn on(&self, event: Event, apply: impl FnOnce(&TestListener, &mut Belief, &mut Batch)) -> ListenerResult {
        if let Some(failure) = self.enter(Call::Event(event.clone())) {
            return Self::fail(failure);
        }
        let mut state = lock(&self.state);
        let State { belief, batch, .. } = &mut *state;
        match batch {
            None => self.complain(format!("{event:?} outside of begin and commit")),
            Some(batch) => {
                apply(self, belief, batch);
                if !matches!(event, Event::LogStart(..)) {
                    batch.started = None;
                }
            }
        }
        Ok(())
    }

    fn log(&self, range: Range, old: u8, new: u8, is_start: bool) -> ListenerResult {
        let event = match is_start {
            true => Event::LogStart(range, old, new),
            false => Event::LogStop(range, old, new),
        };
        let changes = if is_start { new & !old } else { old & !new };
        self.on(event, move |listener, belief, batch| {
            listener.check(changes != 0, || {
                format!("no client starts or stops at {range:x?}: {old} to {new}")
            });
            let Some(known) = belief.ranges.get_mut(&range.start) else {
                return listener.complain(format!("logging of {range:x?}, which is not there"));
            };
            listener.check(known.shows_the_same_as(&range), || {
                format!("logging of {range:x?}, but there is {known:x?}")
            });
            // A change that takes one client and gives another is told as both. Who joins is told of a range with
            // all its clients, then of the clients (F7).
            let follows = !is_start && batch.started == Some((range.start, old, new));
            let joins = is_start && old == 0 && known.log == new;
            listener.check(known.log == old || follows || joins, || {
                format!("logging of {range:x?} from {old}, but {} is logged", known.log)
            });
            known.log = new;
            if is_start {
                batch.started = Some((range.start, old, new));
            }
        })
    }

    fn eventfd(&self, eventfd: &IoEventFd) -> EventFd {
        let stage = lock(&self.stage);
        let notifier = stage
            .notifiers
            .iter()
            .position(|known| *known == eventfd.notifier);
        EventFd {
            address: eventfd.address,
            size: eventfd.size,
            datamatch: eventfd.datamatch,
            notifier: notifier.expect("tests use the world's notifiers"),
        }
    }

    fn view_is(&self, view: &FlatView, belief: &Belief, when: &str) {
        let ranges: Vec<Range> = belief.ranges.values().copied().collect();
        let view = ranges_of(view);
        self.check(view == ranges, || {
            format!("{when}: believed {ranges:x?}, shown {view:x?}")
        });
    }
}

impl Belief {
    pub(crate) fn is(&self, picture: &Picture) -> bool {
        self.ranges.values().eq(&picture.ranges)
            && self.eventfds == picture.eventfds
            && self.coalesced == picture.coalesced_set()
    }

    fn overlapping(&self, range: &Range) -> Option<&Range> {
        let below = self.ranges.range(..=range.last).next_back();
        below
            .map(|(_, below)| below)
            .filter(|below| below.last >= range.start)
    }
}

impl MemoryListener for TestListener {
    fn name(&self) -> &str {
        &self.name
    }

    fn priority(&self) -> u32 {
        self.hearer.priority
    }

    fn wants_nop(&self) -> bool {
        self.hearer.wants_nop
    }

    fn prepare(&self, change: &ViewChange<'_>) -> ListenerResult {
        if let Some(failure) = self.enter(Call::Prepare) {
            return Self::fail(failure);
        }
        // An update from here is refused, not waited for.
        if let Some(memory) = self.memory.upgrade() {
            let nested = memory.update(|_| Ok(()));
            self.check(matches!(nested, Err(Error::NestedUpdate)), || {
                format!("an update within a callback: {nested:?}")
            });
        }
        let mut state = lock(&self.state);
        self.check(state.batch.is_none(), || "prepare within a batch".into());
        self.view_is(change.old_view(), &state.belief, "the old view of prepare");
        if !state.belief.ranges.is_empty() {
            let seen = change.address_space().view();
            self.view_is(&seen, &state.belief, "what readers see before the commit");
        }
        state.announced = Some((
            change.removed().map(Range::from).collect(),
            change.added().map(Range::from).collect(),
            ranges_of(change.new_view()),
        ));
        Ok(())
    }

    fn begin(&self) -> ListenerResult {
        if let Some(failure) = self.enter(Call::Begin) {
            return Self::fail(failure);
        }
        let mut state = lock(&self.state);
        self.check(state.batch.is_none(), || "begin after begin".into());
        let before = state.belief.clone();
        state.batch = Some(Batch {
            before,
            ..Batch::default()
        });
        Ok(())
    }

    fn abort(&self, undo: &Undo<'_>) -> ListenerResult {
        let fault = self.enter(Call::Abort);
        let before = {
            let mut state = lock(&self.state);
            state.announced = None;
            state.batch.as_ref().map(|batch| batch.before.clone())
        };
        if let Some(failure) = fault {
            return Self::fail(failure);
        }
        match before {
            // It was prepared, and nothing more.
            None => self.check(undo.is_empty(), || "more to undo than was heard".into()),
            Some(before) if self.hearer.queues => lock(&self.state).belief = before,
            Some(before) => {
                undo.deliver_to(self)?;
                let belief = self.belief();
                self.check(belief == before, || {
                    format!("undone to {belief:x?} instead of {before:x?}")
                });
            }
        }
        lock(&self.state).batch = None;
        Ok(())
    }

    fn commit(&self, view: &FlatView) -> ListenerResult {
        let fault = self.enter(Call::Commit);
        let mut state = lock(&self.state);
        let announced = state.announced.take();
        let Some(batch) = state.batch.take() else {
            self.complain("commit without begin");
            return Ok(());
        };
        if let Some(failure) = fault {
            // The contract of a commit that fails: it has undone its batch.
            state.belief = batch.before;
            drop(state);
            return Self::fail(failure);
        }
        self.view_is(view, &state.belief, "the view of commit");
        if let Some((removed, added, new)) = announced {
            self.check(removed == batch.removed && added == batch.added, || {
                format!(
                    "prepared for -{removed:x?} +{added:x?}, heard -{:x?} +{:x?}",
                    batch.removed, batch.added
                )
            });
            self.check(new == ranges_of(view), || "another view than prepared for".into());
        }
        if self.hearer.wants_nop {
            let mut table = batch.table;
            table.sort_unstable();
            let same = table
                .iter()
                .map(|range| range.start)
                .eq(view.iter().map(|range| range.start()));
            self.check(same, || {
                format!("a table of nops and adds is {table:x?}, not {view:x?}")
            });
        }
        Ok(())
    }

    fn region_add(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        let range = Range::from(section.range());
        self.on(Event::RegionAdd(range), |listener, belief, batch| {
            if let Some(present) = belief.overlapping(&range) {
                listener.complain(format!("{range:x?} added over {present:x?}"));
            }
            belief.ranges.insert(range.start, range);
            batch.added.push(range);
            batch.table.push(range);
        })
    }

    fn region_del(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        let range = Range::from(section.range());
        self.on(Event::RegionDel(range), |listener, belief, batch| {
            let present = belief.ranges.remove(&range.start);
            // Who leaves has been told that nobody logs the range any more (F9).
            listener.check(
                present.is_some_and(|present| present == range || present == Range { log: 0, ..range }),
                || format!("{range:x?} deleted, but there is {present:x?}"),
            );
            let parts = belief.coalesced.iter().any(|&(start, ..)| start == range.start);
            listener.check(!parts, || {
                format!("{range:x?} deleted before its coalesced parts")
            });
            batch.removed.push(range);
        })
    }

    fn region_nop(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        let range = Range::from(section.range());
        self.on(Event::RegionNop(range, Unsaid(0)), |listener, belief, batch| {
            let present = belief.ranges.get(&range.start);
            listener.check(
                present.is_some_and(|present| present.shows_the_same_as(&range)),
                || format!("{range:x?} is said to stay, but there is {present:x?}"),
            );
            batch.table.push(range);
        })
    }

    fn log_start(
        &self,
        section: &MemoryRegionSection<'_>,
        old: DirtyClients,
        new: DirtyClients,
    ) -> ListenerResult {
        self.log(Range::from(section.range()), log_bits(old), log_bits(new), true)
    }

    fn log_stop(
        &self,
        section: &MemoryRegionSection<'_>,
        old: DirtyClients,
        new: DirtyClients,
    ) -> ListenerResult {
        self.log(Range::from(section.range()), log_bits(old), log_bits(new), false)
    }

    fn log_global_start(&self) -> ListenerResult {
        if let Some(failure) = self.enter(Call::GlobalStart) {
            return Self::fail(failure);
        }
        let mut state = lock(&self.state);
        self.check(!state.global, || "log_global_start twice".into());
        state.global = true;
        Ok(())
    }

    fn log_global_stop(&self) -> ListenerResult {
        if let Some(failure) = self.enter(Call::GlobalStop) {
            return Self::fail(failure);
        }
        let mut state = lock(&self.state);
        self.check(state.global, || "log_global_stop without log_global_start".into());
        state.global = false;
        Ok(())
    }

    fn eventfd_add(&self, _: &AddressSpace, eventfd: &IoEventFd) -> ListenerResult {
        let eventfd = self.eventfd(eventfd);
        self.on(Event::IoEventFdAdd(eventfd), |listener, belief, _| {
            listener.check(belief.eventfds.insert(eventfd), || {
                format!("{eventfd:x?} added twice")
            });
        })
    }

    fn eventfd_del(&self, _: &AddressSpace, eventfd: &IoEventFd) -> ListenerResult {
        let eventfd = self.eventfd(eventfd);
        self.on(Event::IoEventFdDel(eventfd), |listener, belief, _| {
            listener.check(belief.eventfds.remove(&eventfd), || {
                format!("{eventfd:x?} deleted, which is not there")
            });
        })
    }

    fn coalesced_io_add(&self, section: &MemoryRegionSection<'_>, addresses: AddressRange) -> ListenerResult {
        let range = Range::from(section.range());
        let part = (addresses.start(), addresses.last());
        self.on(Event::CoalescedAdd(range, part), |listener, belief, _| {
            let within = range.start <= part.0 && part.1 <= range.last;
            let fits = within && belief.ranges.contains_key(&range.start);
            listener.check(fits, || format!("coalesced {part:x?} of {range:x?}"));
            let new = belief.coalesced.insert((range.start, part.0, part.1));
            listener.check(new, || format!("coalesced {part:x?} of {range:x?} twice"));
        })
    }

    fn coalesced_io_del(&self, section: &MemoryRegionSection<'_>, addresses: AddressRange) -> ListenerResult {
        let range = Range::from(section.range());
        let part = (addresses.start(), addresses.last());
        self.on(Event::CoalescedDel(range, part), |listener, belief, _| {
            let known = belief.coalesced.remove(&(range.start, part.0, part.1));
            listener.check(known, || {
                format!("coalesced {part:x?} of {range:x?} deleted, which is not there")
            });
        })
    }
}
