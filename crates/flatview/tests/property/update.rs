//! Transactions: every verb in both worlds, then one of the endings.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use flatview::{Error, Receipt, Size, Transaction};

use crate::check::same_calls;
use crate::events::{self, Call, Change};
use crate::generate::{Ending, Fault, NewRegion, Verb};
use crate::listener::Failure;
use crate::model::{EventFd, Id, Kind, Machine};
use crate::picture::{Picture, Rendering};
use crate::verbs::Verdict;
use crate::world::{World, pick_from};

/// What the transaction is expected to come to, as far as the tree decides it.
pub(crate) enum Outcome {
    Shows(Vec<Picture>),
    Endless,
    /// The closure gives up.
    Cancelled,
}

impl World {
    pub(crate) fn update(&mut self, verbs: &[Verb], ending: Ending, fault: Option<Fault>) {
        let memory = self.memory.clone();
        let before = self.machine.clone();
        self.created.clear();
        let mut doomed = Vec::new();
        let mut leaving = Vec::new();
        let seen = self.view_addresses();
        self.arm(None, &[]);
        let mut outcome = Outcome::Cancelled;
        let mut expected = Vec::new();
        let result = catch_unwind(AssertUnwindSafe(|| {
            memory.update(|tx| {
                for verb in verbs {
                    match *verb {
                        // Verbs to come do not find the handle any more; regions stay while they are in use.
                        Verb::Drop(pick) => {
                            let id = self.pick_handle(pick).filter(|&id| id != 0);
                            doomed.extend(id.and_then(|id| self.handles.remove(&id)));
                        }
                        Verb::Leave(pick) => leaving.extend(self.leave_within(pick)),
                        _ => self.verb(tx, verb),
                    }
                }
                doomed.clear();
                self.check_readers_see_the_old();
                match ending {
                    Ending::Fails(Failure::Error) => return Err(Error::other("given up")),
                    Ending::Fails(Failure::Panic) => resume_unwind(Box::new("panic in a closure")),
                    Ending::Commit => {}
                }
                outcome = self.outcome();
                match &outcome {
                    Outcome::Cancelled => return Err(Error::other("given up")),
                    Outcome::Endless => {}
                    Outcome::Shows(pictures) => {
                        expected = self.expected_calls(pictures);
                        let again = |fault: Fault| fault.again.filter(|_| leaving.is_empty());
                        let fault = fault.map(|fault| Fault {
                            again: again(fault),
                            ..fault
                        });
                        self.arm(fault, &expected);
                    }
                }
                Ok(())
            })
        }));
        let (receipt, failure) = match result {
            Err(_) if ending == Ending::Fails(Failure::Panic) => (None, None),
            Err(panic) => resume_unwind(panic),
            Ok(Ok(receipt)) => (Some(receipt), None),
            Ok(Err(error)) => (None, Some(error)),
        };
        let Some(receipt) = receipt else {
            self.take_back(before);
            self.forget_leaving(&leaving);
            let unchanged = self.view_addresses() == seen;
            assert!(unchanged, "a failed update published something: {failure:?}");
            match (failure, outcome) {
                // The closure panicked or gave up.
                (None | Some(Error::Other(_)), Outcome::Cancelled) => assert_eq!(self.take_calls(), []),
                (Some(error), Outcome::Endless) => {
                    let endless = matches!(
                        error,
                        Error::RenderingTooDeep { .. } | Error::RenderingTooLarge { .. }
                    );
                    assert!(endless, "an endless rendering gave {error}");
                    self.note("endless");
                    assert_eq!(self.take_calls(), [], "nobody hears of what cannot be rendered");
                }
                (Some(error), Outcome::Shows(_)) => self.check_failure(&error, &expected),
                (failure, _) => panic!("an update of no clear outcome ended with {failure:?}"),
            }
            return;
        };
        let Outcome::Shows(pictures) = outcome else {
            panic!("an update that had to fail did not");
        };
        self.succeeded(receipt, pictures);
        self.forget_leaving(&leaving);
        assert_eq!(self.stage().failed, [], "a callback failed, the update did not");
        same_calls(&self.take_calls(), &expected, "a commit (G2 to G8)");
        self.note_what_is_shown(&expected);
    }

    fn note_what_is_shown(&mut self, calls: &[(usize, Call)]) {
        for (_, call) in calls {
            self.note(call.name());
        }
        for space in &self.spaces {
            let first = space.picture.ranges.first();
            let hit = first.and_then(|range| self.machine.look_up(space.root, range.start));
            let mut path = hit.map(|hit| hit.path).unwrap_or_default();
            let depth = path.len();
            path.sort_unstable();
            path.dedup();
            if path.len() < depth && !self.lossy {
                self.tally.insert("sees itself".into());
            }
            if self.machine[space.root].container.is_some() && first.is_some() {
                self.tally.insert("mapped root (B12)".into());
            }
            if space.picture.root.is_some_and(|root| root != space.root) {
                self.tally.insert("shared root (C30)".into());
            }
        }
    }

    /// Nothing happened, except that regions were made.
    fn take_back(&mut self, before: Machine) {
        self.machine = before;
        for (id, region) in self.created.drain(..) {
            self.machine.put(id, region);
        }
    }

    /// Listeners that left within an update have heard of it what they could, then that everything is gone.
    fn forget_leaving(&mut self, leaving: &[usize]) {
        let mut farewell = Vec::new();
        for &number in leaving {
            let at = self
                .listeners
                .iter()
                .position(|listening| listening.listener.hearer.number == number)
                .expect("it was registered");
            let listening = self.listeners.remove(at);
            let picture = &self.spaces[self.space_index(&listening.space)].picture;
            farewell.push((number, Call::Begin));
            farewell.extend(
                events::leaving(picture)
                    .into_iter()
                    .map(|event| (number, Call::Event(event))),
            );
            farewell.push((number, Call::Commit));
            self.check_is_empty(&listening.listener);
        }
        let mut stage = self.stage();
        let before = stage
            .calls
            .len()
            .checked_sub(farewell.len())
            .expect("all were called");
        let last = stage.calls.split_off(before);
        same_calls(
            &last,
            &farewell,
            "who leaves within an update does so when it is over (F9)",
        );
    }

    /// What the spaces show after the verbs so far.
    pub(crate) fn outcome(&self) -> Outcome {
        let mut pictures = Vec::new();
        let mut endless = false;
        for rendering in self.render_all() {
            match rendering {
                None => pictures.push(Picture::default()),
                Some(Rendering::Shows(picture)) => pictures.push(picture),
                Some(Rendering::Endless) => endless = true,
                Some(Rendering::Unclear) => return Outcome::Cancelled,
            }
        }
        if endless {
            Outcome::Endless
        } else {
            Outcome::Shows(pictures)
        }
    }

    /// The callbacks of a commit to these pictures, if none fails.
    pub(crate) fn expected_calls(&self, pictures: &[Picture]) -> Vec<(usize, Call)> {
        let changes: Vec<Change<'_>> = self
            .spaces
            .iter()
            .zip(pictures)
            .map(|(space, new)| Change {
                old: &space.picture,
                new,
                hearers: self.hearers_of(&space.handle),
            })
            .collect();
        events::commit(&changes)
    }

    /// Lets one of the callbacks to come fail, and one after that.
    pub(crate) fn arm(&self, fault: Option<Fault>, expected: &[(usize, Call)]) {
        let mut stage = self.stage();
        stage.calls.clear();
        stage.failed.clear();
        if let Some(fault) = fault
            && !expected.is_empty()
        {
            // First which callback, then which of its calls, so that the rare ones fail as often as others.
            let mut names: Vec<&str> = expected.iter().map(|(_, call)| call.name()).collect();
            let calls_of = |name: &str| {
                let of_name = expected
                    .iter()
                    .enumerate()
                    .filter(|(_, (_, call))| call.name() == name);
                of_name.map(|(at, _)| at).collect::<Vec<_>>()
            };
            names.sort_unstable();
            names.dedup();
            let (which, rest) = (
                usize::from(fault.at) % names.len(),
                usize::from(fault.at) / names.len(),
            );
            let calls = calls_of(names[which]);
            let at = calls[rest % calls.len()];
            stage.faults.insert(at, fault.how);
            if let Some(again) = fault.again {
                let again = at + 1 + usize::from(again) % expected.len();
                stage.faults.insert(again, Failure::Error);
            }
        }
    }

    pub(crate) fn succeeded(&mut self, receipt: Receipt, pictures: Vec<Picture>) {
        self.receipt = Some(receipt);
        self.adopt(pictures);
        self.check_quiesced();
    }

    fn verb(&mut self, tx: &mut Transaction<'_>, verb: &Verb) {
        match verb {
            Verb::New(new) => {
                let id = self.create(new);
                if let Some((offset, priority, container)) = new.mapped
                    && let Some(container) = self.pick_container(container)
                {
                    self.add(tx, container, offset, id, Some(priority));
                }
            }
            Verb::Crowd {
                container,
                count,
                stride,
                size,
            } => {
                let container = self.pick_container(*container).unwrap_or_default();
                for n in 0..u64::from(*count) {
                    let child = self.create(&NewRegion {
                        kind: if n % 5 == 4 { Kind::Mmio } else { Kind::Ram },
                        size: u128::from(*size),
                        attributes: 0,
                        target: 0,
                        offset: 0,
                        whole: false,
                        mapped: None,
                    });
                    self.add(tx, container, n * stride, child, None);
                }
            }
            Verb::Add {
                container,
                sub,
                offset,
                priority,
                sensible,
            } => {
                let sub = match sensible {
                    true => self.pick_among(*sub, |region| region.container.is_none()),
                    false => self.pick_handle(*sub),
                };
                if let (Some(container), Some(sub)) = (self.pick_container(*container), sub) {
                    self.add(tx, container, *offset, sub, *priority);
                }
            }
            _ => self.set(tx, verb),
        }
    }

    fn add(&mut self, tx: &mut Transaction<'_>, container: Id, offset: u64, sub: Id, priority: Option<i32>) {
        let (above, below) = (&self.handles[&container], &self.handles[&sub]);
        let result = match priority {
            Some(priority) => tx.add_subregion_overlap(above, offset, below, priority),
            None => tx.add_subregion(above, offset, below),
        };
        let verdict = self
            .machine
            .add_subregion(container, offset, sub, priority.unwrap_or(0));
        self.check_verdict(result, verdict, &format!("add {sub} to {container}"));
        self.check_state(sub);
        self.check_state(container);
    }

    /// The verbs about one region.
    fn set(&mut self, tx: &mut Transaction<'_>, verb: &Verb) {
        let alias = |world: &World, pick, fits: bool| match fits {
            true => world.pick_among(pick, |region| region.kind == Kind::Alias),
            false => world.pick_handle(pick),
        };
        let rom_device = |world: &World, pick, fits: bool| match fits {
            true => world.pick_among(pick, |region| region.kind == Kind::RomDevice),
            false => world.pick_handle(pick),
        };
        let mapped = |world: &World, pick| world.pick_among(pick, |region| region.container.is_some());
        let id = match *verb {
            Verb::SetAliasOffset(pick, _, fits) => alias(self, pick, fits),
            Verb::SetRomd(pick, _, fits) => rom_device(self, pick, fits),
            Verb::Del { sub, .. } => mapped(self, sub),
            Verb::DelEventFd { region, .. } => self.pick_among(region, |region| !region.eventfds.is_empty()),
            Verb::ClearCoalescing(pick) => self.pick_among(pick, |region| !region.coalesced.is_empty()),
            Verb::SetLog(pick, false) if pick % 4 != 0 => {
                self.pick_among(pick / 4, |region| region.vga_logs > 0)
            }
            // Mostly where it can be seen.
            Verb::AddEventFd { region: pick, .. } | Verb::SetLog(pick, _) | Verb::AddCoalescing(pick, ..)
                if pick % 4 != 0 =>
            {
                self.pick_among(pick / 4, |region| {
                    region.kind.terminates() && region.container.is_some()
                })
            }
            Verb::AddEventFd { region: pick, .. } | Verb::SetLog(pick, _) | Verb::AddCoalescing(pick, ..) => {
                self.pick_handle(pick / 4)
            }
            Verb::SetAddress(pick, _)
            | Verb::SetSize(pick, _)
            | Verb::SetEnabled(pick, _)
            | Verb::SetReadonly(pick, _)
            | Verb::SetNonvolatile(pick, _)
            | Verb::SetUnmergeable(pick, _)
            | Verb::SetCoalescing(pick)
            | Verb::SetFlushCoalesced(pick, _) => self.pick_handle(pick),
            _ => Some(0),
        };
        let Some(id) = id else { return };
        let region = &self.handles[&id];
        let machine = &mut self.machine;
        let (result, verdict): (_, Verdict) = match *verb {
            Verb::Del { container, .. } => {
                let own = machine[id].container;
                let other = container.and_then(|pick| self.pick_handle(pick));
                let Some(container) = other.or(own).filter(|id| self.handles.contains_key(id)) else {
                    return;
                };
                (
                    tx.del_subregion(&self.handles[&container], region),
                    self.machine.del_subregion(container, id),
                )
            }
            Verb::SetAddress(_, to) => (tx.set_address(region, to), {
                machine.set_address(id, to);
                Ok(())
            }),
            Verb::SetSize(_, size) => {
                machine[id].size = size;
                let size = Size::new(size).expect("sizes are at most 2^64");
                (tx.set_size(region, size), Ok(()))
            }
            Verb::SetEnabled(_, on) => {
                machine[id].enabled = on;
                (tx.set_enabled(region, on), Ok(()))
            }
            Verb::SetReadonly(_, on) => {
                machine[id].readonly = on;
                (tx.set_readonly(region, on), Ok(()))
            }
            Verb::SetNonvolatile(_, on) => {
                machine[id].nonvolatile = on;
                (tx.set_nonvolatile(region, on), Ok(()))
            }
            Verb::SetUnmergeable(_, on) => {
                machine[id].unmergeable = on;
                (tx.set_unmergeable(region, on), Ok(()))
            }
            Verb::SetAliasOffset(_, to, _) => {
                (tx.set_alias_offset(region, to), machine.set_alias_offset(id, to))
            }
            Verb::SetRomd(_, on, _) => (tx.rom_device_set_romd(region, on), machine.set_romd(id, on)),
            Verb::SetLog(_, on) => (tx.set_log(region, on), machine.set_log(id, on)),
            Verb::AddEventFd {
                offset,
                size,
                datamatch,
                notifier,
                ..
            } => {
                let eventfd = EventFd {
                    address: offset,
                    size,
                    datamatch,
                    notifier,
                };
                let notifier = &self.notifiers[notifier];
                (
                    tx.add_eventfd(region, offset, size, datamatch, notifier),
                    machine.add_eventfd(id, eventfd),
                )
            }
            Verb::DelEventFd { which, .. } => {
                let present: Vec<EventFd> = machine[id].eventfds.iter().copied().collect();
                let eventfd = match which {
                    Ok(pick) => pick_from(&present, pick),
                    Err(_) => None,
                };
                let eventfd = eventfd.unwrap_or(EventFd {
                    address: which.err().unwrap_or_default(),
                    size: 4,
                    datamatch: None,
                    notifier: 0,
                });
                let EventFd {
                    address,
                    size,
                    datamatch,
                    notifier,
                } = eventfd;
                let notifier = &self.notifiers[notifier];
                (
                    tx.del_eventfd(region, address, size, datamatch, notifier),
                    machine.del_eventfd(id, eventfd),
                )
            }
            Verb::AddCoalescing(pick, offset, size) => {
                let fits = machine[id].size.saturating_sub(u128::from(offset));
                let size = if pick % 8 == 1 { size } else { size.min(fits) };
                let verdict = machine.add_coalescing(id, offset, size);
                let size = Size::new(size).expect("sizes are at most 2^64");
                (tx.add_coalescing(region, offset, size), verdict)
            }
            Verb::SetCoalescing(_) => (tx.set_coalescing(region), machine.set_coalescing(id)),
            Verb::ClearCoalescing(_) => {
                machine.clear_coalescing(id);
                (tx.clear_coalescing(region), Ok(()))
            }
            Verb::SetFlushCoalesced(_, on) => {
                machine.set_flush_coalesced(id, on);
                (tx.set_flush_coalesced(region, on), Ok(()))
            }
            Verb::SetCodeLogging(on) => {
                machine.logs_code = on;
                tx.set_code_logging(on);
                (Ok(()), Ok(()))
            }
            Verb::Foreign(pick) => return self.misuse_a_foreign_region(tx, pick),
            Verb::Nested(pick) => return self.nest(pick),
            _ => return,
        };
        self.check_verdict(result, verdict, &format!("{verb:?} on {id}"));
        self.check_state(id);
    }
}
