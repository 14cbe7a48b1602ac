//! Accesses against an oracle: random maps, devices and accesses; values, errors, calls of devices, contents and
//! dirty marks are compared after each.
//!
//! `PROPTEST_CASES=100000 cargo test -p flatview --test accesses` runs longer. [`run`] is made for a fuzzer, too: any
//! string of bytes is a machine and what is done to it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::cast_possible_truncation, reason = "small numbers of the tests' own")]

mod bytes;
mod device;
mod directed;
mod model;
mod pieces;
mod steps;
mod world;

use std::collections::BTreeSet;
use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{FileFailurePersistence, TestRunner};

use bytes::Bytes;
use world::World;

/// Does what `bytes` say to a machine that they describe.
///
/// # Panics
///
/// If the library does anything else than the model.
fn run(bytes: &[u8]) -> BTreeSet<&'static str> {
    let mut bytes = Bytes::new(bytes);
    let mut world = World::new(&mut bytes);
    while !bytes.is_empty() {
        world.step(&mut bytes);
    }
    world.model.reached.take()
}

/// In the form in which `directed.rs` has those that failed.
struct Story(Vec<u8>);

impl fmt::Debug for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: asked.and_then(|text| text.parse().ok()).unwrap_or(cases),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/accesses/regressions.txt",
        ))),
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(2000))]

    /// K1 to K23, L1 to L16, N1 to N12, D2 to D5, O2, P5, P7.
    #[test]
    fn accesses_do_what_each_byte_says(story in vec(any::<u8>(), 0..1500).prop_map(Story)) {
        run(&story.0);
    }
}

/// Fails when a change to the generators leaves something untried.
#[test]
fn stories_reach_everything() {
    let mut runner = TestRunner::deterministic();
    let stories = vec(any::<u8>(), 0..1500);
    let mut reached = BTreeSet::new();
    for _ in 0..1000 {
        reached.extend(run(&stories.new_tree(&mut runner).unwrap().current()));
    }
    let mut wanted = vec![
        "load",
        "store",
        "compare_exchange",
        "atomic",
        "read",
        "write",
        "fill",
        "write_rom",
        "access_valid",
        "copy_to",
        "map",
        "a map without bounce space",
        "a store in a mapping",
        "unmap",
        "a cached word",
        "a cached slice",
        "a slice beyond the cache",
        "another translation",
        "release",
        "a change",
        "memory",
        "a mark",
        "a hole",
        "round 2^64",
        "a device after something else",
        "refused by the device",
        "refused by the IOMMU",
        "round and round",
        "a word behind the IOMMU",
        "a word across pages",
        "a mapping behind the IOMMU",
        "whole beyond the end (K22)",
        "unaligned to the device",
        "aligned pieces (K8, K11)",
        "a part of a read (K10)",
        "read, modify, write (K10)",
        "read, fail (K10)",
        "on after an error (K14)",
    ];
    wanted.retain(|what| !reached.contains(what));
    assert_eq!(wanted, Vec::<&str>::new(), "never happened");
}
