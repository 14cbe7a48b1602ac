//! Everything that happens to a world besides transactions.

use std::sync::Arc;

use flatview::{Error, GlobalDirty, MemoryListener};

use crate::check::same_calls;
use crate::events::{Call, Hearer, joining, leaving};
use crate::generate::{Fault, Pick, Step};
use crate::listener::TestListener;
use crate::model::{Id, Kind};
use crate::picture::{Picture, Rendering, ranges_of};
use crate::update::Outcome;
use crate::world::{Held, Listening, Space, World};

fn index<T>(of: &[T], pick: Pick) -> Option<usize> {
    (!of.is_empty()).then(|| usize::from(pick) % of.len())
}

impl World {
    pub(crate) fn perform(&mut self, step: &Step) {
        self.arm(None, &[]);
        match *step {
            Step::Update {
                ref verbs,
                ending,
                fault,
            } => self.update(verbs, ending, fault),
            Step::CreateSpace(pick) => self.create_space(pick),
            Step::DestroySpace(pick) => self.destroy_space(pick),
            Step::DropSpace(pick) => self.drop_space(pick),
            Step::Register {
                space,
                priority,
                wants_nop,
                queues,
                fault,
            } => {
                let hearer = Hearer {
                    number: self.next_listener,
                    priority,
                    wants_nop,
                    queues,
                };
                self.register(space, hearer, fault);
            }
            Step::Unregister {
                listener,
                by_drop,
                fault,
            } => self.unregister(listener, by_drop, fault),
            Step::TrackStart(why, fault) => self.track_start(why, fault),
            Step::TrackStop(why, fault) => self.track_stop(why, fault),
            Step::HoldView(pick) => self.hold_view(pick),
            Step::DropView(pick) => {
                if let Some(at) = index(&self.held, pick) {
                    self.held.remove(at);
                    self.check_quiesced();
                }
            }
            Step::ReaderLooks(pick) => self.reader_looks(pick),
            Step::ReaderReleases(pick) => {
                if let Some(at) = index(&self.spaces, pick) {
                    let space = &mut self.spaces[at];
                    space.reader.iter_mut().for_each(flatview::Reader::release);
                    space.reader_keeps = None;
                    self.check_quiesced();
                }
            }
            Step::DropHandle(pick) => {
                let id = self.pick_handle(pick).filter(|&id| id != 0);
                drop(id.and_then(|id| self.handles.remove(&id)));
            }
            Step::Find(pick, offset, size) => {
                let id = self.pick_handle(pick).unwrap_or_default();
                self.check_find(id, offset, size);
                self.check_find(id, offset, 1);
            }
        }
    }

    fn create_space(&mut self, pick: Pick) {
        let root: Option<Id> = match pick % 8 {
            0..=3 => Some(0),
            4 | 5 => self.pick_among(pick / 8, |region| region.kind == Kind::Container),
            6 => self.pick_among(pick / 8, |region| region.kind == Kind::Alias),
            _ => self.pick_handle(pick / 8),
        };
        let root = root.unwrap_or_default();
        let rendering = self.machine.render(root, self.lossy, self.scale.every_byte());
        let name = format!("space {}", self.next_space);
        let create = || self.memory.create_address_space(&name, &self.handles[&root]);
        match rendering {
            Rendering::Unclear => {}
            Rendering::Endless => {
                let refused = create();
                let endless = matches!(
                    refused,
                    Err(Error::RenderingTooDeep { .. } | Error::RenderingTooLarge { .. })
                );
                assert!(endless, "a space rooted at an endless r{root}: {refused:?}");
            }
            Rendering::Shows(picture) => {
                let handle = create().expect("r0 can be rendered");
                assert_eq!((handle.name(), handle.root()), (&*name, &self.handles[&root]));
                self.spaces.push(Space {
                    number: self.next_space,
                    handle,
                    root,
                    picture,
                    destroyed: false,
                    root_moves: 0,
                    reader: None,
                    reader_keeps: None,
                });
                self.next_space += 1;
            }
        }
        assert_eq!(self.take_calls(), [], "H1: nobody hears of a new space");
    }

    fn destroy_space(&mut self, pick: Pick) {
        let Some(at) = index(&self.spaces, pick) else {
            return;
        };
        let count = self.hearers_of(&self.spaces[at].handle).len();
        let space = &mut self.spaces[at];
        match space.handle.destroy() {
            Ok(receipt) => {
                assert!(
                    !space.destroyed && count == 0,
                    "destroyed twice, or with listeners"
                );
                space.destroyed = true;
                space.picture = Picture::default();
                space.root_moves += 1;
                self.receipt = Some(receipt);
                self.check_quiesced();
            }
            Err(Error::AddressSpaceDestroyed { .. }) => assert!(space.destroyed),
            Err(Error::AddressSpaceBusy { listeners, .. }) => assert_eq!(listeners, count, "H3"),
            Err(error) => panic!("destroying a space: {error}"),
        }
    }

    fn drop_space(&mut self, pick: Pick) {
        let Some(at) = index(&self.spaces, pick) else {
            return;
        };
        if self.hearers_of(&self.spaces[at].handle).is_empty() {
            self.spaces.remove(at);
        }
    }

    fn register(&mut self, space: Pick, hearer: Hearer, fault: Option<Fault>) {
        let Some(at) = index(&self.spaces, space) else {
            return;
        };
        let handle = self.spaces[at].handle.clone();
        let listener = Arc::new(TestListener::new(hearer, &self.stage, self.memory.downgrade()));
        if self.spaces[at].destroyed {
            let refused = handle.register(listener);
            assert!(
                matches!(refused, Err(Error::AddressSpaceDestroyed { .. })),
                "{refused:?}"
            );
            return;
        }
        let number = hearer.number;
        let tracked = self.machine.global_dirty != 0;
        // F7: everything, the ioeventfds of the first listener (F8) and all coalesced parts (J7) included.
        let mut expected = Vec::new();
        expected.extend([(number, Call::Prepare), (number, Call::Begin)]);
        expected.extend(tracked.then_some((number, Call::GlobalStart)));
        let events = joining(&self.spaces[at].picture);
        expected.extend(events.into_iter().map(|event| (number, Call::Event(event))));
        expected.push((number, Call::Commit));
        self.arm(fault, &expected);
        let as_listener: Arc<dyn MemoryListener> = Arc::clone(&listener) as _;
        let result = handle.register(as_listener);
        let failed = std::mem::take(&mut self.stage().failed);
        let calls = self.take_calls();
        match (result, failed.first()) {
            (Ok(registration), None) => {
                same_calls(&calls, &expected, "registering (F7)");
                assert_eq!(registration.address_space(), &handle);
                self.next_listener += 1;
                self.listeners.push(Listening {
                    space: handle,
                    listener,
                    registration: Some(registration),
                });
            }
            (Err(error), Some((who, call))) => {
                let (&at, &how) = self.stage().faults.first_key_value().expect("it was told to");
                self.check_error(&error, *who, call, how);
                let mut heard: Vec<Call> = expected[..=at].iter().map(|(_, call)| call.clone()).collect();
                heard.extend(World::after_failure(&heard, true, hearer.queues));
                assert!(
                    calls.iter().map(|(_, call)| call).eq(&heard),
                    "{calls:?}, not {heard:?}"
                );
                self.check_is_empty(&listener);
                assert!(!listener.is_tracking());
            }
            (result, failed) => panic!("registering: {result:?}, failed: {failed:?}"),
        }
    }

    fn unregister(&mut self, pick: Pick, by_drop: bool, fault: Option<Fault>) {
        let Some(at) = index(&self.listeners, pick) else {
            return;
        };
        let Listening {
            space,
            listener,
            registration,
        } = self.listeners.remove(at);
        let registration = registration.expect("it is taken out only on the way out");
        let number = listener.hearer.number;
        let picture = &self.spaces[self.space_index(&space)].picture;
        let mut expected = vec![(number, Call::Begin)];
        expected.extend(
            leaving(picture)
                .into_iter()
                .map(|event| (number, Call::Event(event))),
        );
        expected.push((number, Call::Commit));
        self.arm(fault, &expected);
        let result = match by_drop {
            true => {
                drop(registration);
                Ok(())
            }
            false => registration.unregister(),
        };
        let failed = std::mem::take(&mut self.stage().failed);
        same_calls(&self.take_calls(), &expected, "F9, whatever fails");
        match (result, failed.first()) {
            (Ok(()), None) => self.check_is_empty(&listener),
            (Ok(()), Some(_)) if by_drop => {}
            (Err(error), Some((who, call))) => {
                let (_, &how) = self.stage().faults.first_key_value().expect("it was told to");
                self.check_error(&error, *who, call, how);
            }
            (result, failed) => panic!("unregistering: {result:?}, failed: {failed:?}"),
        }
        if !failed.is_empty() {
            // One that failed on its way out has reason to wonder at the rest.
            self.stage().complaints.clear();
        }
    }

    fn everybody(&self) -> Vec<usize> {
        let mut hearers: Vec<Hearer> = self
            .listeners
            .iter()
            .map(|listening| listening.listener.hearer)
            .collect();
        hearers.sort_by_key(|hearer| (hearer.priority, hearer.number));
        hearers.into_iter().map(|hearer| hearer.number).collect()
    }

    /// Rule P13.
    fn track_start(&mut self, why: u8, fault: Option<Fault>) {
        let flags = GlobalDirty::from_bits_truncate(why);
        let first = self.machine.global_dirty == 0;
        let (after, outcome) = self.outcome_of(|machine| machine.global_dirty |= why);
        let Outcome::Shows(pictures) = outcome else {
            panic!("what was rendered before can be rendered");
        };
        let mut expected = Vec::new();
        if first {
            expected.extend(
                self.everybody()
                    .into_iter()
                    .map(|number| (number, Call::GlobalStart)),
            );
            expected.extend(self.expected_calls(&pictures));
        }
        // Who fails once more is not asked about: the listeners that had started are stopped in any case.
        self.arm(fault.map(|fault| Fault { again: None, ..fault }), &expected);
        match self.memory.global_dirty_log_start(flags) {
            Ok(receipt) => {
                assert_eq!(self.stage().failed, []);
                same_calls(&self.take_calls(), &expected, "P13, P14");
                self.machine = after;
                self.succeeded(receipt, pictures);
            }
            Err(error) => self.check_failure(&error, &expected),
        }
    }

    /// Rule P14.
    fn track_stop(&mut self, why: u8, fault: Option<Fault>) {
        let flags = GlobalDirty::from_bits_truncate(why);
        let before = self.machine.global_dirty;
        let (after, outcome) = self.outcome_of(|machine| machine.global_dirty &= !why);
        let last = before != 0 && after.global_dirty == 0;
        let Outcome::Shows(pictures) = outcome else {
            panic!("what was rendered before can be rendered");
        };
        let mut expected = self.expected_calls(&pictures);
        self.arm(fault, &expected);
        if last {
            expected.extend(
                self.everybody()
                    .into_iter()
                    .rev()
                    .map(|number| (number, Call::GlobalStop)),
            );
        }
        match self.memory.global_dirty_log_stop(flags) {
            Ok(receipt) => {
                assert_eq!(self.stage().failed, []);
                same_calls(&self.take_calls(), &expected, "P13, P14");
                self.machine = after;
                self.succeeded(receipt, pictures);
            }
            Err(error) => self.check_failure(&error, &expected),
        }
    }

    fn hold_view(&mut self, pick: Pick) {
        let Some(at) = index(&self.spaces, pick) else {
            return;
        };
        let space = &self.spaces[at];
        let view = space.handle.view();
        self.held.push(Held {
            space: space.number,
            kept: World::kept(space, &view),
            view,
        });
    }

    fn reader_looks(&mut self, pick: Pick) {
        let Some(at) = index(&self.spaces, pick) else {
            return;
        };
        let space = &mut self.spaces[at];
        let mut reader = space.reader.take().unwrap_or_else(|| space.handle.reader());
        let view = reader.view();
        assert_eq!(
            ranges_of(view),
            space.picture.ranges,
            "a reader sees what is published"
        );
        space.reader_keeps = Some(World::kept(space, view));
        assert_eq!(reader.address_space(), &space.handle);
        space.reader = Some(reader);
    }

    /// The end of the world: nobody holds anything, then the memory goes and listeners hear of it.
    pub(crate) fn end(mut self) {
        self.held.clear();
        for space in &mut self.spaces {
            space.reader = None;
            space.reader_keeps = None;
        }
        self.check_quiesced();
        if let Some(receipt) = &self.receipt {
            receipt.wait().expect("no update runs");
        }
        self.arm(None, &[]);
        drop(self.memory);
        for Listening { listener, .. } in &self.listeners {
            let belief = listener.belief();
            assert!(belief.ranges.is_empty() && belief.eventfds.is_empty() && belief.coalesced.is_empty());
        }
        let stage = self.stage.lock().expect("no test panics with the stage locked");
        assert_eq!(stage.complaints, Vec::<String>::new());
        drop(stage);
        for space in &self.spaces {
            assert!(
                space.handle.view().is_empty(),
                "a space of no memory shows nothing"
            );
        }
        for region in self.handles.values() {
            let state = region.state();
            assert!(matches!(state, Err(Error::MemoryDropped { .. })), "{state:?}");
        }
    }
}
