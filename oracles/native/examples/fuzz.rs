//! Compares the software CPU with the host's processor for as long as one likes:
//! `cargo run --release -p flatview-oracle-native --example fuzz -- FAMILY CASES SEED`, all of them optional; `all` is
//! every family.
#![allow(clippy::unwrap_used, reason = "a developer's program")]

use std::env;

use flatview_cpu::SoftAccelerator;
use flatview_oracle_native::differential::Differential;
use flatview_oracle_native::generate::FAMILIES;
use flatview_oracle_native::{Host, Mode, Soft};

fn main() {
    let mut arguments = env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "all".to_owned());
    let cases = arguments.next().map_or(100_000, |cases| cases.parse().unwrap());
    let seed = arguments.next().map_or(1, |seed| seed.parse().unwrap());
    let mut failed = 0;
    for paging in [false, true] {
        let soft = Soft::new(&SoftAccelerator::default(), paging).unwrap();
        let mut differential = Differential::new(Host::new().unwrap(), soft, paging);
        for mode in Mode::ALL.into_iter().filter(|mode| paging || mode.bits() != 64) {
            if matches!(name.as_str(), "all" | "sequences") {
                let summary = differential.sequences(mode, 16, cases / 3, seed);
                println!("sequences paging={paging} {mode:?}: {summary}");
                summary.reports.iter().for_each(|report| println!("{report}"));
                failed += summary.mismatches;
            }
            if matches!(name.as_str(), "all" | "simd") {
                let summary = differential.simd(mode, cases / 3, seed);
                println!("simd paging={paging} {mode:?}: {summary}");
                summary.reports.iter().for_each(|report| println!("{report}"));
                failed += summary.mismatches;
            }
        }
        for family in FAMILIES
            .iter()
            .filter(|family| name == "all" || family.name == name)
        {
            // Without paging there is no 64-bit code.
            for mode in Mode::ALL.into_iter().filter(|mode| paging || mode.bits() != 64) {
                let summary = differential.family(family, mode, cases, seed);
                let paged = if paging { "paged" } else { "plain" };
                println!("{:30} {paged} {mode:?}: {summary}", family.name);
                summary.reports.iter().for_each(|report| println!("{report}"));
                failed += summary.mismatches;
            }
        }
    }
    assert_eq!(failed, 0, "cases differ");
}
