//! A listener that writes down what it hears, keeps the picture that a real one would keep, and fails when
//! it is told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flatview::{
    AddressRange, AddressSpace, DirtyClients, FlatRange, FlatView, IoEventFd, ListenerResult, LogSync,
    MemoryListener, MemoryRegionSection, Registration, Undo, ViewChange,
};

use super::{line, lines};

/// What some recorders have heard, in the order in which they heard it: `L0.region_add 0-fff RAM@0`.
///
/// It also says when a recorder is to misbehave.
#[derive(Default)]
pub(crate) struct Log(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    lines: Vec<String>,
    triggers: Vec<Trigger>,
}

struct Trigger {
    when: When,
    what: What,
}

enum When {
    /// The next line that begins like this.
    Line(String),
    /// After so many more lines.
    Countdown(usize),
}

enum What {
    Fail,
    Panic,
    Run(Box<dyn FnOnce() + Send>),
}

impl Log {
    pub(crate) fn new() -> Arc<Log> {
        Arc::default()
    }

    /// What was heard since this was last called.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().lines)
    }

    /// Asserts what was heard since the last time.
    #[track_caller]
    pub(crate) fn heard(&self, expected: &[&str]) {
        assert_eq!(self.take(), expected);
    }

    /// Makes the next callback whose line begins with `line` fail.
    pub(crate) fn fail_at(&self, line: &str) {
        self.trigger(When::Line(line.to_owned()), What::Fail);
    }

    /// Makes the callback fail that comes after `count` more of them.
    pub(crate) fn fail_after(&self, count: usize) {
        self.trigger(When::Countdown(count), What::Fail);
    }

    /// Makes the callback panic that comes after `count` more of them.
    pub(crate) fn panic_after(&self, count: usize) {
        self.trigger(When::Countdown(count), What::Panic);
    }

    /// Runs `action` in the next callback whose line begins with `line`.
    pub(crate) fn run_at(&self, line: &str, action: impl FnOnce() + Send + 'static) {
        self.trigger(When::Line(line.to_owned()), What::Run(Box::new(action)));
    }

    /// Forgets failures that did not come to pass, and says how many.
    pub(crate) fn disarm(&self) -> usize {
        std::mem::take(&mut self.lock().triggers).len()
    }

    fn trigger(&self, when: When, what: What) {
        self.lock().triggers.push(Trigger { when, what });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a line down, and does what is to be done at it.
    fn note(&self, line: String) -> ListenerResult {
        let what = {
            let mut inner = self.lock();
            let mut due = None;
            for (index, trigger) in inner.triggers.iter_mut().enumerate() {
                let is_due = match &mut trigger.when {
                    When::Line(start) => line.starts_with(start.as_str()),
                    When::Countdown(left) => match left.checked_sub(1) {
                        None => true,
                        Some(fewer) => {
                            *left = fewer;
                            false
                        }
                    },
                };
                if is_due && due.is_none() {
                    due = Some(index);
                }
            }
            let what = due.map(|index| inner.triggers.remove(index).what);
            let mark = match &what {
                Some(What::Fail) => " FAILS",
                Some(What::Panic) => " PANICS",
                _ => "",
            };
            inner.lines.push(line.clone() + mark);
            what
        };
        match what {
            None => Ok(()),
            Some(What::Fail) => Err("told to fail".into()),
            Some(What::Panic) => panic!("told to panic at {line}"),
            Some(What::Run(action)) => {
                action();
                Ok(())
            }
        }
    }
}

/// What a listener believes: the ranges by address, who logs them, ioeventfds and coalesced ranges.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Picture {
    ranges: BTreeMap<u64, (FlatRange, DirtyClients)>,
    others: Vec<String>,
}

impl Picture {
    /// The ranges as [`lines`] would show a view of them.
    fn lines(&self) -> Vec<String> {
        let of = |(range, mask): &(FlatRange, DirtyClients)| {
            let plain = line(range);
            let plain = plain.split(" log=").next().unwrap_or_default();
            match mask.is_empty() {
                true => plain.to_owned(),
                false => format!("{plain} log={}", mask.bits()),
            }
        };
        self.ranges.values().map(of).collect()
    }

    /// Ioeventfds and coalesced ranges, sorted.
    pub(crate) fn others(&self) -> Vec<String> {
        let mut others = self.others.clone();
        others.sort();
        others
    }
}

/// A [`MemoryListener`] for tests. Every contradiction in what it hears is a line with `MISTAKE` in the log.
pub(crate) struct Recorder {
    name: String,
    priority: u32,
    nops: bool,
    sync: LogSync,
    queues: bool,
    log: Arc<Log>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    picture: Picture,
    /// The picture before the running commit.
    at_begin: Picture,
}

impl Recorder {
    pub(crate) fn new(name: &str, priority: u32, log: &Arc<Log>) -> Recorder {
        Recorder {
            name: name.to_owned(),
            priority,
            nops: false,
            sync: LogSync::None,
            queues: false,
            log: Arc::clone(log),
            state: Mutex::default(),
        }
    }

    /// Also hears of ranges that stay.
    pub(crate) fn with_nops(self) -> Recorder {
        Recorder { nops: true, ..self }
    }

    pub(crate) fn with_sync(self, sync: LogSync) -> Recorder {
        Recorder { sync, ..self }
    }

    /// Acts in `commit` only, as an accelerator that replaces slots in one go does.
    pub(crate) fn queueing(self) -> Recorder {
        Recorder { queues: true, ..self }
    }

    /// Registers it; what it hears by that is not kept in the log.
    #[track_caller]
    pub(crate) fn on(self, space: &AddressSpace) -> (Arc<Recorder>, Registration) {
        let recorder = Arc::new(self);
        let registration = space
            .register(recorder.clone())
            .unwrap_or_else(|error| panic!("the registration was refused: {error}"));
        let heard = recorder.log.take();
        assert!(!heard.iter().any(|line| line.contains("MISTAKE")), "{heard:#?}");
        (recorder, registration)
    }

    /// The ranges it believes in.
    pub(crate) fn picture(&self) -> Vec<String> {
        self.state().picture.lines()
    }

    /// The ioeventfds and coalesced ranges it believes in, sorted.
    pub(crate) fn others(&self) -> Vec<String> {
        self.state().picture.others()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, callback: &str, what: &str) -> ListenerResult {
        let line = format!("{}.{callback} {what}", self.name);
        self.log.note(line.trim_end().to_owned())
    }

    fn mistake(&self, what: &str) {
        self.log
            .lock()
            .lines
            .push(format!("{} MISTAKE: {what}", self.name));
    }

    fn set_log(&self, range: &FlatRange, new: DirtyClients) {
        let known = match self.state().picture.ranges.get_mut(&range.start()) {
            Some((known, mask)) if known == range => {
                *mask = new;
                true
            }
            _ => false,
        };
        if !known {
            self.mistake(&format!("no range to log at {range:?}"));
        }
    }

    fn expect(&self, range: &FlatRange) {
        let known = self
            .state()
            .picture
            .ranges
            .get(&range.start())
            .map(|(known, _)| known == range);
        if known != Some(true) {
            self.mistake(&format!("no such range: {range:?}"));
        }
    }

    fn add_other(&self, what: String) {
        self.state().picture.others.push(what);
    }

    fn del_other(&self, what: &str) {
        let mut state = self.state();
        let others = &mut state.picture.others;
        match others.iter().position(|other| other == what) {
            Some(index) => drop(others.remove(index)),
            None => self.mistake(&format!("not there: {what}")),
        }
    }
}

/// `1000/4=5`: address, length, value.
fn eventfd_text(eventfd: &IoEventFd) -> String {
    let value = eventfd
        .datamatch
        .map_or(String::new(), |value| format!("={value:x}"));
    format!("{:x}/{}{value}", eventfd.address, eventfd.size)
}

fn range_text(range: AddressRange) -> String {
    format!("{:x}-{:x}", range.start(), range.last())
}

impl MemoryListener for Recorder {
    fn name(&self) -> &str {
        &self.name
    }

    fn priority(&self) -> u32 {
        self.priority
    }

    fn wants_nop(&self) -> bool {
        self.nops
    }

    fn log_sync_mode(&self) -> LogSync {
        self.sync
    }

    fn prepare(&self, change: &ViewChange<'_>) -> ListenerResult {
        if lines(change.old_view()) != self.picture() {
            self.mistake("the old view of the change is not what I was told before");
        }
        let mut state = self.state();
        state.at_begin = state.picture.clone();
        drop(state);
        self.note("prepare", "")
    }

    fn abort(&self, undo: &Undo<'_>) -> ListenerResult {
        self.note("abort", "")?;
        if self.queues {
            let mut state = self.state();
            state.picture = state.at_begin.clone();
            return Ok(());
        }
        undo.deliver_to(self)
    }

    fn begin(&self) -> ListenerResult {
        let mut state = self.state();
        state.at_begin = state.picture.clone();
        drop(state);
        self.note("begin", "")
    }

    fn commit(&self, view: &FlatView) -> ListenerResult {
        if lines(view) != self.picture() {
            self.mistake("the view that is committed is not what I was told");
        }
        // Who fails here, by an error or a panic, has undone the batch.
        let mut state = self.state();
        let before = state.at_begin.clone();
        let now = std::mem::replace(&mut state.picture, before);
        drop(state);
        self.note("commit", "")?;
        self.state().picture = now;
        Ok(())
    }

    fn region_add(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        self.note("region_add", &line(section))?;
        let range = section.range().clone();
        let mask = range.dirty_log_mask();
        let before = self.state().picture.ranges.insert(range.start(), (range, mask));
        if let Some((range, _)) = before {
            self.mistake(&format!("there already: {range:?}"));
        }
        Ok(())
    }

    fn region_del(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        self.note("region_del", &line(section))?;
        self.expect(section);
        self.state().picture.ranges.remove(&section.start());
        Ok(())
    }

    fn region_nop(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        self.note("region_nop", &line(section))?;
        self.expect(section);
        Ok(())
    }

    fn log_start(
        &self,
        section: &MemoryRegionSection<'_>,
        old: DirtyClients,
        new: DirtyClients,
    ) -> ListenerResult {
        let masks = format!(
            "{} {}->{}",
            range_text(section.range().range()),
            old.bits(),
            new.bits()
        );
        self.note("log_start", &masks)?;
        self.set_log(section, new);
        Ok(())
    }

    fn log_stop(
        &self,
        section: &MemoryRegionSection<'_>,
        old: DirtyClients,
        new: DirtyClients,
    ) -> ListenerResult {
        let masks = format!(
            "{} {}->{}",
            range_text(section.range().range()),
            old.bits(),
            new.bits()
        );
        self.note("log_stop", &masks)?;
        self.set_log(section, new);
        Ok(())
    }

    fn log_sync(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        self.note("log_sync", &line(section))
    }

    fn log_sync_global(&self, last_stage: bool) -> ListenerResult {
        self.note("log_sync_global", if last_stage { "last" } else { "" })
    }

    fn log_clear(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        self.note("log_clear", &line(section))
    }

    fn log_global_start(&self) -> ListenerResult {
        self.note("log_global_start", "")
    }

    fn log_global_stop(&self) -> ListenerResult {
        self.note("log_global_stop", "")
    }

    fn log_global_after_sync(&self) -> ListenerResult {
        self.note("log_global_after_sync", "")
    }

    fn eventfd_add(&self, _: &AddressSpace, eventfd: &IoEventFd) -> ListenerResult {
        let text = eventfd_text(eventfd);
        self.note("eventfd_add", &text)?;
        self.add_other(format!("eventfd {text}"));
        Ok(())
    }

    fn eventfd_del(&self, _: &AddressSpace, eventfd: &IoEventFd) -> ListenerResult {
        let text = eventfd_text(eventfd);
        self.note("eventfd_del", &text)?;
        self.del_other(&format!("eventfd {text}"));
        Ok(())
    }

    fn coalesced_io_add(&self, section: &MemoryRegionSection<'_>, addresses: AddressRange) -> ListenerResult {
        self.note("coalesced_io_add", &range_text(addresses))?;
        self.expect(section);
        self.add_other(format!("coalesced {}", range_text(addresses)));
        Ok(())
    }

    fn coalesced_io_del(&self, section: &MemoryRegionSection<'_>, addresses: AddressRange) -> ListenerResult {
        self.note("coalesced_io_del", &range_text(addresses))?;
        self.expect(section);
        self.del_other(&format!("coalesced {}", range_text(addresses)));
        Ok(())
    }
}
