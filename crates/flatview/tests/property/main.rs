//! The library against an oracle: random worlds, random changes, everything compared.
//!
//! `PROPTEST_CASES=100000 cargo test -p flatview --test property` runs longer.

mod check;
mod events;
mod generate;
mod listener;
mod model;
mod picture;
mod steps;
mod update;
mod verbs;
mod world;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use generate::{Plot, Scale, story};
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

fn plot(scale: Scale) -> Plot {
    Plot {
        scale,
        listeners: 0,
        faults: 0,
        endings: 0,
        lifecycle: 1,
        steps: 10,
    }
}

proptest! {
    #![proptest_config(config(2500))]

    /// C1 to C37, B1 to B15, D1 to D7: what a view shows is what a walk to each byte finds.
    #[test]
    fn tiny_views_are_what_each_byte_says(steps in story(plot(Scale::Tiny))) {
        World::new(Scale::Tiny, false).run(&steps);
    }

    /// The same with all of 64 bits: C8, C10, C11, C15.
    #[test]
    fn full_views_are_what_their_edges_say(steps in story(plot(Scale::Full))) {
        World::new(Scale::Full, false).run(&steps);
    }
}
