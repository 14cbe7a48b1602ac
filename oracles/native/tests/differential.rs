//! The software CPU does what the host's processor does.
//!
//! `FLATVIEW_ORACLE_CASES` says how many cases of each family in each mode (400), `FLATVIEW_ORACLE_SEED` begins elsewhere.
//! The program `examples/fuzz.rs` runs one family for as long as one likes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::env;

use flatview_cpu::SoftAccelerator;
use flatview_oracle_native::differential::Differential;
use flatview_oracle_native::generate::FAMILIES;
use flatview_oracle_native::{Host, Mode, Soft};

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().unwrap())
}

fn compare(paging: bool, modes: &[Mode]) {
    let host = match Host::new() {
        Ok(host) => host,
        Err(why) => return eprintln!("\n*** SKIPPED: {why} ***\n"),
    };
    let soft = Soft::new(&SoftAccelerator::default(), paging).unwrap();
    let mut differential = Differential::new(host, soft, paging);
    let (cases, seed) = (
        number("FLATVIEW_ORACLE_CASES", 400),
        number("FLATVIEW_ORACLE_SEED", 1),
    );
    let mut failed = 0;
    for family in FAMILIES {
        for mode in modes {
            let summary = differential.family(family, *mode, cases, seed);
            println!("{:30} {mode:?}: {summary}", family.name);
            summary.reports.iter().for_each(|report| println!("{report}"));
            failed += summary.mismatches;
        }
    }
    assert_eq!(failed, 0, "cases differ");
}

#[test]
fn without_paging() {
    compare(false, &[Mode::Flat32, Mode::Based32, Mode::Based16, Mode::Big16]);
}

#[test]
fn with_paging() {
    compare(true, &Mode::ALL);
}
