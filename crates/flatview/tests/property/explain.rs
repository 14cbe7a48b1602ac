//! Explanations agree with the views they explain, and each reason is a reason: taken away, it changes what
//! answers.

use std::collections::BTreeSet;

use flatview::explain::{Explanation, Reason, Step as Crossing};
use flatview::{AddressSpace, FlatRange};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::generate::{Plot, Scale, Step, Verb, story};
use crate::model::{Hit, Id, Kind, Machine};
use crate::picture::id_of;
use crate::verbs::name_of;
use crate::world::World;
use crate::{CROWDS, LISTENERS, TREES, config, full};

/// Where something may begin or end, and the bytes beside, and a few more.
fn addresses(space: &AddressSpace, scale: Scale) -> BTreeSet<u64> {
    let mut addresses = BTreeSet::from([0, 1 << 31, 1 << 63, u64::MAX]);
    if scale == Scale::Tiny {
        addresses.extend(0..72);
    }
    for range in space.view().iter() {
        addresses.extend([
            range.start(),
            range.last(),
            range.start().saturating_sub(1),
            range.last().saturating_add(1),
            range.start() / 2 + range.last() / 2,
        ]);
    }
    addresses
}

/// All that an explanation says is true of the view and, by the oracle, of the tree.
fn check(world: &World, space: &AddressSpace, root: Id, address: u64) -> Explanation {
    let explanation = space
        .explain(address)
        .expect("what is published can be explained");
    let view = space.view();
    assert!(explanation.complete, "{explanation}");
    assert_eq!(
        (explanation.address, &*explanation.space),
        (address, space.name())
    );
    assert_eq!(
        explanation.view_root.as_deref(),
        view.root().map(|root| root.name()),
        "C30"
    );
    match (view.find(address), explanation.answer()) {
        (Some(range), Some(answer)) => {
            let shown = (
                range.region(),
                range.offset_in_region() + (address - range.start()),
                range.range(),
            );
            assert_eq!(
                (&answer.region, answer.offset, answer.range),
                shown,
                "{explanation}"
            );
            let flags = (
                !answer.readonly_by.is_empty(),
                !answer.nonvolatile_by.is_empty(),
                !answer.unmergeable_by.is_empty(),
                answer.romd,
            );
            assert_eq!(flags, flags_of(range), "C16 to C19: {explanation}");
            assert_eq!(answer.name, answer.region.name());
        }
        (None, None) => {
            if let flatview::explain::Outcome::Unassigned(gap) = &explanation.outcome {
                check_gap(space, gap, address);
            }
        }
        (range, _) => panic!("the view says {range:?}, but\n{explanation}"),
    }
    check_way(&world.machine, root, &explanation);
    for rival in &explanation.overruled {
        assert!(!rival.reasons.is_empty());
        check_links(&world.machine, &rival.way, address);
    }
    explanation
}

fn flags_of(range: &FlatRange) -> (bool, bool, bool, bool) {
    (
        range.is_readonly(),
        range.is_nonvolatile(),
        range.is_unmergeable(),
        range.is_romd(),
    )
}

fn check_gap(space: &AddressSpace, gap: &flatview::explain::Gap, address: u64) {
    let view = space.view();
    assert!(gap.range.contains(address));
    assert_eq!(view.meeting(gap.range).next(), None);
    let name = |at: Option<u64>| {
        let range = at.map(|at| view.find(at).expect("a hole ends where something begins").clone());
        range.map(|range| range.region().name().to_owned())
    };
    assert_eq!(gap.below, name(gap.range.start().checked_sub(1)));
    assert_eq!(gap.above, name(gap.range.last().checked_add(1)));
}

/// The way is the one that the oracle walks.
fn check_way(machine: &Machine, root: Id, explanation: &Explanation) {
    let skipped = explanation.way.iter().take_while(|step| step.skipped.is_some());
    let from = id_of(&explanation.way[skipped.count()].region);
    if explanation.answer().is_some() {
        let hit = machine
            .look_up(from, explanation.address)
            .expect("something answers");
        let way: Vec<Id> = explanation.way.iter().map(|step| id_of(&step.region)).collect();
        assert!(way.ends_with(&hit.path), "{:?} is not\n{explanation}", hit.path);
    }
    assert_eq!(explanation.way[0].region, name_of(root));
    check_links(machine, &explanation.way, explanation.address);
}

/// Each step follows from the one before, by where things are.
fn check_links(machine: &Machine, way: &[Crossing], address: u64) {
    for pair in way.windows(2) {
        let (above, below) = (&pair[0], &pair[1]);
        let (outer, inner) = (&machine[id_of(&above.region)], &machine[id_of(&below.region)]);
        let shift = below.span.start() - above.span.start();
        if let Some(of) = &above.alias {
            assert_eq!(outer.kind, Kind::Alias);
            assert_eq!(of.target, below.region);
            assert_eq!(shift, -i128::from(of.offset), "C5");
            assert_eq!(below.priority, None);
            if let (Some(byte), Some(there)) = (above.offset, below.offset) {
                assert_eq!(u128::from(byte) + u128::from(of.offset), u128::from(there), "C6");
            }
        } else {
            assert_eq!(inner.container, Some(id_of(&above.region)));
            assert_eq!(below.priority, Some(inner.priority));
            let lost = above.skipped.is_some_and(|skipped| skipped.lost_address);
            assert!(lost || shift == i128::from(inner.address), "C12");
        }
    }
    for step in way {
        let region = &machine[id_of(&step.region)];
        let attributes = (
            region.enabled,
            region.readonly,
            region.nonvolatile,
            region.unmergeable,
            region.romd,
        );
        let told = (
            step.enabled,
            step.readonly,
            step.nonvolatile,
            step.unmergeable,
            step.romd,
        );
        assert_eq!(told, attributes);
        assert_eq!(step.span.size().bytes(), region.size);
        let byte = i128::from(address) - step.span.start();
        let within = step.offset.is_some();
        assert_eq!(
            within,
            byte >= 0 && byte.unsigned_abs() < region.size && step.span.contains(address)
        );
        assert!(step.offset.is_none_or(|offset| i128::from(offset) == byte));
    }
}

/// Takes the reasons away one by one: the rival's candidate must answer then, at the byte it was said to.
///
/// Only where a region is seen in one way does a change to it change nothing else.
fn check_reasons(world: &World, root: Id, explanation: &Explanation) {
    let answers = |machine: &Machine| {
        machine
            .look_up(root, explanation.address)
            .map(|hit| (hit.region, hit.offset))
    };
    let before = answers(&world.machine);
    for rival in &explanation.overruled {
        let mut machine = world.machine.clone();
        let candidate = rival.candidate();
        let wanted = candidate.offset.map(|offset| (id_of(&candidate.region), offset));
        for reason in &rival.reasons {
            match reason {
                Reason::Disabled { region } => machine[id_of(region)].enabled = true,
                Reason::LowerPriority { than, priority } => {
                    assert_eq!(machine[id_of(than)].priority, *priority);
                    assert!(rival.top().priority < Some(*priority), "{explanation}");
                    machine[id_of(than)].enabled = false;
                }
                Reason::MappedEarlier { than } => {
                    assert_eq!(Some(machine[id_of(than)].priority), rival.top().priority);
                    machine[id_of(than)].enabled = false;
                }
                Reason::BehindChild { child } => {
                    assert_eq!(machine[id_of(child)].container, Some(id_of(&candidate.region)));
                    machine[id_of(child)].enabled = false;
                }
                Reason::Clipped { by, .. } | Reason::Empty { region: by } => {
                    let region = &mut machine[id_of(by)];
                    assert!(region.enabled);
                    region.size = 1 << 65;
                }
                Reason::Hole | Reason::BeyondTarget { .. } => {
                    assert_eq!(rival.reasons.len(), 1);
                    assert!(rival.top().offset.is_some());
                }
                other => panic!("a reason that nobody knows: {other:?}"),
            }
        }
        let after = answers(&machine);
        match &rival.reasons[0] {
            // Nothing is in the way, nothing changes.
            Reason::Hole | Reason::BeyondTarget { .. } => assert_eq!(after, before),
            // Whoever else is behind the winner, or lower than it begins, may be better than this one.
            Reason::LowerPriority { .. } | Reason::MappedEarlier { .. } | Reason::BehindChild { .. } => {
                assert_ne!(after, None, "{rival:?}\n{explanation}");
            }
            Reason::Disabled { .. } => assert_eq!(after, wanted, "{rival:?}\n{explanation}"),
            _ => assert_ne!(after, before, "{rival:?}\n{explanation}"),
        }
    }
}

/// Changes things one by one: whenever another region answers then, it was told as a rival, with that reason.
fn check_nobody_is_missing(world: &World, root: Id, explanation: &Explanation) {
    let answers = |machine: &Machine| machine.look_up(root, explanation.address);
    let before = answers(&world.machine);
    let expect = |after: Option<Hit>, reason: &dyn Fn(&Reason) -> bool| {
        let Some(after) = after else { return };
        if before
            .as_ref()
            .is_some_and(|before| before.region == after.region)
        {
            return;
        }
        let is_told = explanation.overruled.iter().any(|rival| {
            let candidate = rival.candidate();
            let is_it = id_of(&candidate.region) == after.region && candidate.offset == Some(after.offset);
            is_it && matches!(&rival.reasons[..], [only] if reason(only))
        });
        assert!(is_told, "{after:?} is missing:\n{explanation}");
    };
    for id in world.machine.ids() {
        let name = name_of(id);
        let region = &world.machine[id];
        let mut machine = world.machine.clone();
        machine[id].enabled = !region.enabled;
        expect(answers(&machine), &|reason| match reason {
            Reason::Disabled { region } => *region == name,
            // What goes is this one, or what it is in.
            Reason::LowerPriority { than: winner, .. }
            | Reason::MappedEarlier { than: winner }
            | Reason::BehindChild { child: winner } => {
                let way = before.as_ref().map_or(&[][..], |before| &before.path);
                way.contains(&id_of(winner))
            }
            _ => false,
        });
        if region.enabled && region.kind == Kind::Container {
            let mut machine = world.machine.clone();
            machine[id].size = 1 << 65;
            expect(answers(&machine), &|reason| match reason {
                Reason::Clipped { by: region, .. } | Reason::Empty { region } => *region == name,
                _ => false,
            });
        }
    }
}

/// Tells a story, then explains all that there is at its end. Returns the kinds of reason that were given.
fn explains(plot: Plot, lossy: bool, steps: &[Step]) -> BTreeSet<&'static str> {
    let mut given = BTreeSet::new();
    let has_aliases = steps.iter().any(|step| match step {
        Step::Update { verbs, .. } => verbs
            .iter()
            .any(|verb| matches!(verb, Verb::New(region) if region.kind == Kind::Alias)),
        _ => false,
    });
    let mut world = World::new(plot.scale, lossy);
    for step in steps {
        world.perform(step);
        world.settle();
    }
    for space in world.spaces.iter().filter(|space| !space.destroyed) {
        for address in addresses(&space.handle, plot.scale) {
            let explanation = check(&world, &space.handle, space.root, address);
            if !has_aliases && !lossy {
                check_reasons(&world, space.root, &explanation);
                // Each region is changed for each address: not in a crowd.
                if world.machine.ids().count() < 40 {
                    check_nobody_is_missing(&world, space.root, &explanation);
                }
            }
            assert!(explanation.to_string().ends_with('\n'));
            let reasons = explanation.overruled.iter().flat_map(|rival| &rival.reasons);
            given.extend(reasons.map(name_of_reason));
        }
    }
    given
}

fn name_of_reason(reason: &Reason) -> &'static str {
    match reason {
        Reason::LowerPriority { .. } => "lower priority",
        Reason::MappedEarlier { .. } => "mapped earlier",
        Reason::BehindChild { .. } => "behind child",
        Reason::Disabled { .. } => "disabled",
        Reason::Clipped { .. } => "clipped",
        Reason::Empty { .. } => "empty",
        Reason::Hole => "hole",
        Reason::BeyondTarget { .. } => "beyond target",
        _ => "unknown",
    }
}

/// The same without aliases: then every region is seen in one way, and a change to it changes nothing else.
fn without_aliases(mut steps: Vec<Step>) -> Vec<Step> {
    for step in &mut steps {
        let Step::Update { verbs, .. } = step else {
            continue;
        };
        for verb in verbs {
            if let Verb::New(region) = verb
                && region.kind == Kind::Alias
            {
                region.kind = Kind::Ram;
            }
        }
    }
    steps
}

const QUIET_CROWDS: Plot = Plot {
    faults: 0,
    listeners: 0,
    ..CROWDS
};

proptest! {
    #![proptest_config(config(250))]

    #[test]
    fn tiny_worlds_are_explained(steps in story(TREES)) {
        explains(TREES, false, &steps);
    }

    /// What is taken away as a reason is no reason any more, and nobody who has one is missing.
    #[test]
    fn reasons_are_what_they_say(steps in story(TREES).prop_map(without_aliases)) {
        explains(TREES, false, &steps);
    }

    #[test]
    fn full_worlds_are_explained(steps in story(full(TREES))) {
        explains(full(TREES), false, &steps);
    }

    /// C32, C33.
    #[test]
    fn lossy_worlds_are_explained(steps in story(LISTENERS)) {
        explains(LISTENERS, true, &steps);
    }
}

proptest! {
    #![proptest_config(config(25))]

    #[test]
    fn crowds_are_explained(steps in story(QUIET_CROWDS)) {
        explains(QUIET_CROWDS, false, &steps);
    }
}

/// Reasons that are never given are not tested.
#[test]
fn every_reason_is_given() {
    let mut runner = TestRunner::deterministic();
    let stories = story(TREES);
    let mut given = BTreeSet::new();
    for _ in 0..150 {
        let steps = stories.new_tree(&mut runner).expect("a story").current();
        given.extend(explains(TREES, false, &steps));
    }
    assert_eq!(given.len(), 8, "{given:?}");
}
