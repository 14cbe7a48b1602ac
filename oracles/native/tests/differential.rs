//! The software CPU does what the host's processor does.
//!
//! `FLATVIEW_ORACLE_CASES` says how many cases of each family in each mode (200), `FLATVIEW_ORACLE_SEED` begins elsewhere.
//! The program `examples/fuzz.rs` runs one family for as long as one likes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::env;

use flatview_accel::{AccelError, Accelerator, Exit, Vcpu, VcpuConfig, VcpuState};
use flatview_cpu::SoftAccelerator;
use flatview_oracle_native::differential::{Differential, Summary};
use flatview_oracle_native::generate::FAMILIES;
use flatview_oracle_native::{Host, Mode, Soft};

const WITHOUT_PAGING: [Mode; 4] = [Mode::Flat32, Mode::Based32, Mode::Based16, Mode::Big16];

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().unwrap())
}

fn differential(accelerator: &dyn Accelerator, paging: bool) -> Option<Differential> {
    Some(Differential::new(
        Host::or_skip()?,
        Soft::new(accelerator, paging).unwrap(),
        paging,
    ))
}

fn tell(name: &str, mode: Mode, summary: &Summary) -> u64 {
    println!("{name:30} {mode:?}: {summary}");
    summary.reports.iter().for_each(|report| println!("{report}"));
    summary.mismatches
}

fn compare(paging: bool, modes: &[Mode]) {
    let Some(mut differential) = differential(&SoftAccelerator::default(), paging) else {
        return;
    };
    let (cases, seed) = (
        number("FLATVIEW_ORACLE_CASES", 200),
        number("FLATVIEW_ORACLE_SEED", 1),
    );
    let mut failed = 0;
    for mode in modes {
        for family in FAMILIES {
            let summary = differential.family(family, *mode, cases, seed);
            failed += tell(family.name, *mode, &summary);
        }
        let summary = differential.sequences(*mode, 16, cases, seed);
        failed += tell("sequences", *mode, &summary);
        let summary = differential.simd(*mode, cases, seed);
        failed += tell("simd", *mode, &summary);
    }
    assert_eq!(failed, 0, "cases differ");
}

#[test]
fn without_paging() {
    compare(false, &WITHOUT_PAGING);
}

#[test]
fn with_paging() {
    compare(true, &Mode::ALL);
}

/// Runs as another one, but sometimes leaves CF as it should not be.
#[derive(Debug)]
struct Wrong<T>(T);

impl Accelerator for Wrong<SoftAccelerator> {
    fn name(&self) -> &'static str {
        "wrong"
    }

    fn has_smm(&self) -> bool {
        self.0.has_smm()
    }

    fn create_vcpu(&self, config: VcpuConfig) -> Result<Box<dyn Vcpu>, AccelError> {
        Ok(Box::new(Wrong(self.0.create_vcpu(config)?)))
    }
}

impl Vcpu for Wrong<Box<dyn Vcpu>> {
    fn run(&mut self) -> Result<Exit, AccelError> {
        self.0.run()
    }

    fn step(&mut self) -> Result<Exit, AccelError> {
        self.0.step()
    }

    fn state(&mut self) -> Result<VcpuState, AccelError> {
        let mut state = self.0.state()?;
        state.regs.rflags ^= u64::from(state.regs.rax % 64 == 5);
        Ok(state)
    }

    fn set_state(&mut self, state: &VcpuState) -> Result<(), AccelError> {
        self.0.set_state(state)
    }

    fn reset(&mut self) -> Result<(), AccelError> {
        self.0.reset()
    }

    fn takes_interrupts(&self) -> bool {
        self.0.takes_interrupts()
    }

    fn instructions(&self) -> Option<u64> {
        self.0.instructions()
    }
}

#[test]
fn a_wrong_flag_is_found() {
    let accelerator = Wrong(SoftAccelerator::default());
    let Some(mut differential) = differential(&accelerator, false) else {
        return;
    };
    let summary = differential.family(&FAMILIES[0], Mode::Flat32, 500, 1);
    assert!((1..100).contains(&summary.mismatches), "{summary}");
    assert!(
        summary.reports[0].contains("rflags: host"),
        "{}",
        summary.reports[0]
    );
}
