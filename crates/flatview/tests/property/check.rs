//! Whether the two worlds agree.

use flatview::{AddressRange, Error, Size};

use crate::events::{Call, taking_back};
use crate::listener::TestListener;
use crate::model::{Id, Machine};
use crate::picture::{Range, log_bits, ranges_of};
use crate::update::Outcome;
use crate::verbs::{Verdict, name_of};
use crate::world::{Space, World, address_of};

impl World {
    /// Everything there is to see between two steps.
    pub(crate) fn check(&self) {
        let complaints = std::mem::take(&mut self.stage().complaints);
        assert_eq!(complaints, Vec::<String>::new());
        self.stage().faults.clear();
        self.check_tree_and_views();
        let alive: Vec<_> = self.spaces.iter().filter(|space| !space.destroyed).collect();
        assert!(
            alive
                .iter()
                .map(|space| &space.handle)
                .eq(&self.memory.address_spaces()),
            "spaces are listed in order of creation (G9)"
        );
        for listening in &self.listeners {
            let picture = &self.spaces[self.space_index(&listening.space)].picture;
            let belief = listening.listener.belief();
            assert!(
                belief.is(picture),
                "{} believes {belief:x?}, shown is {picture:x?}",
                listening.listener.name
            );
            assert_eq!(
                listening.listener.is_tracking(),
                self.machine.global_dirty != 0,
                "P13"
            );
            assert!(!listening.listener.is_in_batch());
        }
    }

    pub(crate) fn check_tree_and_views(&self) {
        for &id in self.handles.keys() {
            self.check_state(id);
        }
        for space in &self.spaces {
            self.check_view(space);
        }
        for held in &self.held {
            assert_eq!(
                ranges_of(&held.view),
                held.kept.ranges,
                "a view that is held stays as it was"
            );
        }
    }

    fn check_view(&self, space: &Space) {
        let view = space.handle.view();
        let picture = &space.picture;
        assert_eq!(
            ranges_of(&view),
            picture.ranges,
            "what r{} shows (C1 to C37)",
            space.root
        );
        let root = view.root().map(|root| root.name().to_owned());
        assert_eq!(
            root,
            picture.root.map(name_of),
            "the physical root of r{} (C30)",
            space.root
        );
        assert_eq!(view.len(), picture.ranges.len());
        assert_eq!(view.is_empty(), picture.ranges.is_empty());
        assert_eq!(space.handle.is_destroyed(), space.destroyed);
        for range in view.iter() {
            if let Some(handle) = self.handles.get(&Range::from(range).region) {
                assert_eq!(range.region(), handle, "a region is itself, not one of its name");
            }
        }
        for range in picture.ranges.iter().take(4) {
            for address in [
                range.start.wrapping_sub(1),
                range.start,
                range.last,
                range.last.wrapping_add(1),
            ] {
                let found = view.find(address).map(Range::from);
                assert_eq!(found.as_ref(), picture.find(address), "find({address:#x})");
            }
            let window = AddressRange::from_bounds(range.last / 2, range.last).expect("half is less");
            let meeting: Vec<Range> = view.meeting(window).map(Range::from).collect();
            let meets = |range: &&Range| range.start <= window.last() && range.last >= window.start();
            assert!(meeting.iter().eq(picture.ranges.iter().filter(meets)), "{window}");
        }
    }

    /// While a transaction runs, and before it is published, readers see nothing of it.
    pub(crate) fn check_readers_see_the_old(&self) {
        for space in &self.spaces {
            assert_eq!(ranges_of(&space.handle.view()), space.picture.ranges);
        }
    }

    /// Where the views are that readers see now: a failed update replaces none.
    pub(crate) fn view_addresses(&self) -> Vec<usize> {
        self.spaces
            .iter()
            .map(|space| address_of(&space.handle.view()))
            .collect()
    }

    /// What the library says about a region is what the oracle says.
    pub(crate) fn check_state(&self, id: Id) {
        let region = &self.handles[&id];
        let model = &self.machine[id];
        let state = region.state().expect("the memory is there");
        assert_eq!(
            state.container.map(|container| container.name().to_owned()),
            model.container.map(name_of),
            "container of r{id}"
        );
        assert_eq!(
            (state.address, state.size.bytes(), state.priority),
            (model.address, model.size, model.priority),
            "place of r{id}"
        );
        assert_eq!(
            (
                state.enabled,
                state.readonly,
                state.nonvolatile,
                state.unmergeable
            ),
            (
                model.enabled,
                model.readonly,
                model.nonvolatile,
                model.unmergeable
            ),
            "attributes of r{id}"
        );
        assert_eq!(
            (state.romd_mode, state.alias_offset, state.flush_coalesced),
            (model.romd, model.alias_offset, model.flush_coalesced),
            "kind's attributes of r{id}"
        );
        assert_eq!(
            log_bits(state.dirty_log_mask),
            self.machine.dirty_log_mask(id),
            "C20"
        );
        assert_eq!(
            usize::try_from(state.mapped_via_alias).ok(),
            Some(self.machine.mapped_via_alias(id)),
            "aliases to r{id} (B10)"
        );
        let coalesced: Vec<_> = state
            .coalesced
            .iter()
            .map(|part| (part.start(), part.last()))
            .collect();
        assert_eq!(coalesced, model.coalesced, "coalesced parts of r{id}");
        let eventfds: Vec<_> = state
            .ioeventfds
            .iter()
            .map(|eventfd| {
                (
                    eventfd.address,
                    eventfd.size,
                    eventfd.datamatch,
                    eventfd.notifier.clone(),
                )
            })
            .collect();
        let expected: Vec<_> = model
            .eventfds
            .iter()
            .map(|eventfd| {
                let notifier = self.notifiers[eventfd.notifier].clone();
                (eventfd.address, eventfd.size, eventfd.datamatch, notifier)
            })
            .collect();
        assert_eq!(eventfds, expected, "ioeventfds of r{id} (I3)");
        let children: Vec<_> = region.subregions().expect("the memory is there");
        assert!(
            children.iter().map(|child| child.name().to_owned()).eq(model
                .children
                .iter()
                .copied()
                .map(name_of)),
            "children of r{id} (B3): {children:?}, not {:?}",
            model.children
        );
        assert_eq!(
            region.alias_target().map(|target| target.name().to_owned()),
            model.target.map(name_of)
        );
        assert_eq!(region.terminates(), model.kind.terminates());
    }

    pub(crate) fn check_verdict(&mut self, result: Result<(), Error>, verdict: Verdict, what: &str) {
        match (result, verdict) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(reasons)) => {
                let right = reasons.iter().any(|reason| reason.is(&error));
                let kind = format!("{error:?}");
                self.note(kind.split_whitespace().next().unwrap_or_default());
                assert!(right, "{what}: refused with {error:?}, not one of {reasons:?}");
            }
            (result, verdict) => panic!("{what}: {result:?}, but by the rules {verdict:?}"),
        }
    }

    pub(crate) fn take_calls(&self) -> Vec<(usize, Call)> {
        std::mem::take(&mut self.stage().calls)
    }

    /// A callback failed: who was called, who heard the inverse, and what the caller is told.
    pub(crate) fn check_failure(&mut self, error: &Error, expected: &[(usize, Call)]) {
        let calls = self.take_calls();
        let failed = std::mem::take(&mut self.stage().failed);
        let faults = std::mem::take(&mut self.stage().faults);
        let Some((who, call)) = failed.first() else {
            panic!("no callback failed, but the update did: {error}");
        };
        if failed.len() > 1 {
            assert!(
                matches!(error, Error::Inconsistent { .. }),
                "{failed:?} failed, also in taking back, and the error is {error}"
            );
            self.inconsistent = true;
            self.note("inconsistent");
            return;
        }
        let (&at, &how) = faults.first_key_value().expect("it was told to");
        self.check_error(error, *who, call, how);
        self.note(format!("failed {}", call.name()));
        same_calls(
            &calls[..=at],
            &expected[..=at],
            "until the failure all goes as ever",
        );
        for listening in &self.listeners {
            let hearer = listening.listener.hearer;
            let of_it = |calls: &[(usize, Call)]| -> Vec<Call> {
                let its = calls.iter().filter(|(number, _)| *number == hearer.number);
                its.map(|(_, call)| call.clone()).collect()
            };
            let heard = of_it(&expected[..=at]);
            let then = Self::after_failure(&heard, *who == hearer.number, hearer.queues);
            let expected = [heard, then].concat();
            let who = hearer.number;
            let numbered = |calls: Vec<Call>| calls.into_iter().map(|call| (who, call)).collect::<Vec<_>>();
            let what = format!("when {call:?} of {} failed", failed[0].0);
            same_calls(&numbered(of_it(&calls)), &numbered(expected), &what);
        }
    }

    /// What a listener hears after a failure: the inverse of the batch, and that tracking does not begin.
    pub(crate) fn after_failure(heard: &[Call], failed: bool, queues: bool) -> Vec<Call> {
        let start = heard.iter().position(|call| *call == Call::GlobalStart);
        let batch: Vec<Call> = heard
            .iter()
            .filter(|call| **call != Call::GlobalStart)
            .cloned()
            .collect();
        let failed_to_start = failed && heard.last() == Some(&Call::GlobalStart);
        let mut calls = taking_back(&batch, failed && !failed_to_start, queues);
        if start.is_some() && !failed_to_start {
            calls.push(Call::GlobalStop);
        }
        calls
    }

    pub(crate) fn check_error(&self, error: &Error, who: usize, call: &Call, how: crate::listener::Failure) {
        let text = match how {
            crate::listener::Failure::Error => "told to fail",
            crate::listener::Failure::Panic => "panicked: told to panic",
        };
        let right = match error {
            Error::Refused { listener, source, .. } => {
                *call == Call::Prepare
                    && **listener == *format!("listener {who}")
                    && source.to_string() == text
            }
            Error::ListenerFailed {
                listener,
                callback,
                source,
                ..
            } => {
                *call != Call::Prepare
                    && *callback == call.name()
                    && **listener == *format!("listener {who}")
                    && source.to_string() == text
            }
            _ => false,
        };
        assert!(
            right,
            "{call:?} of listener {who} failed, and the error is {error:?}"
        );
    }

    /// A listener that is not registered any more believes in nothing (F9). Of `log_global_stop` it does not
    /// hear.
    pub(crate) fn check_is_empty(&self, listener: &TestListener) {
        let belief = listener.belief();
        let empty = belief.ranges.is_empty() && belief.eventfds.is_empty() && belief.coalesced.is_empty();
        assert!(empty, "{} still believes {belief:x?}", listener.name);
        assert!(!listener.is_in_batch());
    }

    /// The last receipt knows whether somebody uses what was replaced.
    pub(crate) fn check_quiesced(&mut self) {
        let Some(receipt) = &self.receipt else { return };
        // `None`: the view is the current one, but may have been reached in a way that is not.
        let mut stale = Vec::new();
        for held in &self.held {
            let space = self.spaces.iter().find(|space| space.number == held.space);
            stale.push(space.and_then(|space| World::is_stale(space, &held.kept)));
        }
        for space in &self.spaces {
            let kept = space.reader_keeps.iter();
            stale.extend(kept.map(|kept| World::is_stale(space, kept)));
        }
        if stale.contains(&Some(true)) {
            assert!(!receipt.is_quiesced(), "somebody uses what was replaced");
            self.note("in use");
        } else if !stale.contains(&None) {
            assert!(receipt.is_quiesced(), "nobody uses what was replaced");
        }
    }

    /// What `memory_region_find` says (rules B19, B20), and where an access goes (L17, K22).
    pub(crate) fn check_find(&self, id: Id, offset: u64, size: u128) {
        let region = &self.handles[&id];
        let result = self
            .memory
            .find(region, offset, Size::new(size).expect("at most 2^64"));
        if size == 0 {
            assert!(matches!(result, Err(Error::BadRange { .. })), "{result:?}");
            return;
        }
        let found = result.expect("a region of ours");
        let (mut start, mut top) = (i128::from(offset), id);
        loop {
            start += i128::from(self.machine[top].address);
            match self.machine[top].container {
                Some(container) => top = container,
                None => break,
            }
        }
        let end = start + i128::try_from(size).expect("at most 2^64");
        let space = self
            .spaces
            .iter()
            .find(|space| space.root == top && !space.destroyed);
        let expected = space.and_then(|space| {
            let clip = |range: &Range| {
                let first = i128::from(range.start).max(start);
                let last = i128::from(range.last).min(end - 1);
                let bound = |value: i128| u64::try_from(value).expect("within the range");
                (first <= last).then(|| Range {
                    start: bound(first),
                    last: bound(last),
                    offset: range.offset + (bound(first) - range.start),
                    ..*range
                })
            };
            space
                .picture
                .ranges
                .iter()
                .find_map(clip)
                .map(|range| (space, range))
        });
        let shown = found.as_ref().map(|(_, range)| Range::from(range));
        assert_eq!(shown, expected.as_ref().map(|(_, range)| *range), "B20");
        assert_eq!(
            found.as_ref().map(|(space, _)| space),
            expected.map(|(space, _)| &space.handle)
        );
        if size == 1 {
            let present = self.memory.present(region, offset).expect("a region of ours");
            assert_eq!(present, shown.is_some_and(|range| range.region != id), "B19");
        }
        for space in &self.spaces {
            let translation = space
                .handle
                .translate(offset, Size::new(size).expect("at most 2^64"));
            let expected = space.picture.find(offset).map(|range| {
                let left = u128::from(range.last - offset) + 1;
                let is_ram = matches!(
                    self.machine[range.region].kind,
                    crate::model::Kind::Ram | crate::model::Kind::RamDevice
                );
                let reached = if is_ram { size.min(left) } else { size };
                (
                    name_of(range.region),
                    range.offset + (offset - range.start),
                    reached,
                )
            });
            let translation = translation.map(|to| (to.region.name().to_owned(), to.offset, to.size.bytes()));
            assert_eq!(translation, expected, "L17, K22, A22 at {offset:#x}");
        }
    }

    /// Once listeners and views disagree, nothing is accepted, and nothing has changed.
    pub(crate) fn check_refuses_everything(&self) {
        let update = self.memory.update(|_| Ok(()));
        assert!(matches!(update, Err(Error::Inconsistent { .. })), "{update:?}");
        let space = self.memory.create_address_space("late", &self.handles[&0]);
        assert!(matches!(space, Err(Error::Inconsistent { .. })), "{space:?}");
        let tracking = self
            .memory
            .global_dirty_log_start(flatview::GlobalDirty::MIGRATION);
        assert!(
            matches!(tracking, Err(Error::Inconsistent { .. })),
            "{tracking:?}"
        );
    }

    /// What a change outside of transactions comes to: dirty tracking.
    pub(crate) fn outcome_of(&mut self, change: impl FnOnce(&mut Machine)) -> (Machine, Outcome) {
        let before = self.machine.clone();
        change(&mut self.machine);
        let outcome = self.outcome();
        let after = std::mem::replace(&mut self.machine, before);
        (after, outcome)
    }
}

/// Compares what was heard with what should have been; says where they part.
pub(crate) fn same_calls(heard: &[(usize, Call)], expected: &[(usize, Call)], what: &str) {
    if heard != expected {
        let at = heard.iter().zip(expected).take_while(|(a, b)| a == b).count();
        panic!(
            "{what}: call {at} was {:x?}, not {:x?}; before it {:x?}; {} calls, not {}",
            heard.get(at),
            expected.get(at),
            at.checked_sub(1).and_then(|before| heard.get(before)),
            heard.len(),
            expected.len()
        );
    }
}
