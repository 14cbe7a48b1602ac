//! The library against an oracle: random worlds, random changes, everything compared.
//!
//! `PROPTEST_CASES=100000 cargo test -p flatview --test property` runs longer.

mod check;
mod directed;
mod events;
mod explain;
mod generate;
mod listener;
mod misuse;
mod model;
mod picture;
mod steps;
mod update;
mod verbs;
mod world;

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{FileFailurePersistence, TestRunner};

use generate::{Plot, Scale, Step, story};
use world::World;

/// Few enough for every change to be tested, unless the environment asks for another number.
fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: asked.and_then(|text| text.parse().ok()).unwrap_or(cases),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/property/regressions/seeds.txt",
        ))),
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

const TREES: Plot = Plot {
    scale: Scale::Tiny,
    listeners: 0,
    faults: 0,
    endings: 0,
    lifecycle: 1,
    steps: 14,
    crowd: 0,
};

const LISTENERS: Plot = Plot {
    listeners: 4,
    endings: 10,
    ..TREES
};

const FAULTS: Plot = Plot {
    listeners: 5,
    faults: 70,
    endings: 20,
    ..TREES
};

const LIVES: Plot = Plot {
    listeners: 2,
    faults: 5,
    endings: 10,
    lifecycle: 12,
    steps: 24,
    ..TREES
};

/// Views of more than a hundred ranges, in several chunks.
const CROWDS: Plot = Plot {
    scale: Scale::Full,
    faults: 10,
    crowd: 90,
    ..LISTENERS
};

fn full(plot: Plot) -> Plot {
    Plot {
        scale: Scale::Full,
        ..plot
    }
}

fn run(plot: Plot, steps: &[Step]) {
    World::new(plot.scale, false).run(steps);
}

proptest! {
    #![proptest_config(config(2500))]

    /// C1 to C37, B1 to B15, D1 to D7: what a view shows is what a walk to each byte finds.
    #[test]
    fn tiny_views_are_what_each_byte_says(steps in story(TREES)) {
        run(TREES, &steps);
    }

    /// The same with all of 64 bits: C8, C10, C11, C15.
    #[test]
    fn full_views_are_what_their_edges_say(steps in story(full(TREES))) {
        run(full(TREES), &steps);
    }

    /// C30 to C33: the same where QEMU's lossy choice of roots is copied.
    #[test]
    fn lossy_views_are_what_their_physical_roots_show(steps in story(LISTENERS)) {
        World::new(Scale::Tiny, true).run(&steps);
    }

    /// E1 to E13, F3 to F9, G2 to G9, I3, I7, J6, P2, P13, P14, X1: what listeners hear, call by call.
    #[test]
    fn listeners_hear_what_changes(steps in story(LISTENERS)) {
        run(LISTENERS, &steps);
    }

    #[test]
    fn listeners_hear_what_changes_in_64_bits(steps in story(full(LISTENERS))) {
        run(full(LISTENERS), &steps);
    }

    /// Instead of E10: who fails, wherever, leaves no trace.
    #[test]
    fn failures_leave_no_trace(steps in story(FAULTS)) {
        run(FAULTS, &steps);
    }

    #[test]
    fn failures_leave_no_trace_in_64_bits(steps in story(full(FAULTS))) {
        run(full(FAULTS), &steps);
    }

    /// B16 to B20, C41, H1 to H3: regions, spaces, listeners and readers come and go.
    #[test]
    fn everything_may_go_at_any_time(steps in story(LIVES)) {
        run(LIVES, &steps);
    }
}

proptest! {
    #![proptest_config(config(500))]

    /// The same as all of the above, where there is more than fits into one piece.
    #[test]
    fn crowds_are_kept_in_order(steps in story(CROWDS)) {
        run(CROWDS, &steps);
    }
}

/// Stories that reach nothing prove nothing: this one fails when a change to the generators, or to a rule,
/// leaves something untried.
#[test]
fn stories_reach_everything() {
    let mut runner = TestRunner::deterministic();
    let mut reached = BTreeSet::new();
    for plot in [LISTENERS, FAULTS, full(FAULTS), LIVES] {
        let stories = story(plot);
        for _ in 0..600 {
            let steps = stories.new_tree(&mut runner).unwrap().current();
            reached.extend(World::new(plot.scale, false).run(&steps));
        }
    }
    let callbacks = [
        "begin",
        "region_del",
        "region_add",
        "log_start",
        "log_stop",
        "eventfd_del",
        "eventfd_add",
        "coalesced_io_del",
        "coalesced_io_add",
        "commit",
    ];
    let mut wanted: Vec<String> = callbacks.iter().map(|name| format!("failed {name}")).collect();
    wanted.extend(callbacks.map(str::to_owned));
    wanted.extend(
        [
            "region_nop",
            "failed prepare",
            "failed region_nop",
            "failed log_global_start",
            "AlreadyMapped",
            "NotASubregion",
            "ContainmentCycle",
            "ChildOfAlias",
            "WrongKind",
            "BadRange",
            "BadEventFdSize",
            "EventFd",
            "LogCount",
            "endless",
            "sees itself",
            "mapped root (B12)",
            "shared root (C30)",
            "inconsistent",
            "in use",
        ]
        .map(str::to_owned),
    );
    wanted.retain(|what| !reached.contains(what));
    assert_eq!(wanted, Vec::<String>::new(), "never happened");
}
