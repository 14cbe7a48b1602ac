//! Runs cases on the host and on an accelerator, and compares what became of them.

use std::fmt::{self, Write as _};

use iced_x86::{Decoder, DecoderOptions, FastFormatter, Instruction};

use crate::case::GPR_NAMES;
use crate::generate::{Family, Generator};
use crate::{Arena, Case, Fault, Host, Mode, Outcome, Soft, Stuck, layout, undefined};

/// CF, PF, AF, ZF, SF, IF, DF, OF, IOPL and NT. TF is never set. RF is set in what a fault pushes on some paths of some
/// processors only, and VM, AC, VIF, VIP and ID do not come up.
const COMPARED_FLAGS: u64 = 0x7ed5;
const PAGE_FAULT: u8 = 14;
type Way = fn(&mut Soft, &Case, &mut Arena) -> Result<Outcome, Stuck>;
/// How many mismatches of one family and mode are told in full.
const TOLD: usize = 3;

/// What came out of many cases.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Both ran them.
    pub compared: u64,
    /// Of those, how many raised an exception.
    pub faults: u64,
    /// Generated, but they have no result to compare.
    pub skipped: u64,
    /// How many differed.
    pub mismatches: u64,
    /// The first of those, each with all that is known.
    pub reports: Vec<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary {
            compared,
            faults,
            skipped,
            mismatches,
            ..
        } = self;
        write!(
            f,
            "{compared} compared ({faults} faults), {skipped} skipped, {mismatches} differ"
        )
    }
}

/// A host, an accelerator, and cases for both.
#[derive(Debug)]
pub struct Differential {
    host: Host,
    soft: Soft,
    paging: bool,
}

impl Differential {
    /// `paging`: whether `soft` was made with paging, so that page faults can be compared.
    #[must_use]
    pub fn new(host: Host, soft: Soft, paging: bool) -> Differential {
        Differential { host, soft, paging }
    }

    /// Runs so many cases of a family.
    pub fn family(&mut self, family: &Family, mode: Mode, cases: u64, seed: u64) -> Summary {
        let mut generator = Generator::new(seed);
        let mut arena = Arena::new();
        generator.scramble(&mut arena);
        let mut summary = Summary::default();
        for _ in 0..cases {
            if let Some(case) = generator.case(family, mode, &mut arena) {
                self.case(&case, &mut arena, &mut summary);
            }
        }
        summary
    }

    /// Runs so many sequences of instructions, of `length` at most, each from several states, in one go or step by step.
    pub fn sequences(&mut self, mode: Mode, length: usize, cases: u64, seed: u64) -> Summary {
        let mut generator = Generator::new(seed);
        let mut arena = Arena::new();
        generator.scramble(&mut arena);
        let mut summary = Summary::default();
        for number in 0..cases {
            let length = 1 + number as usize % length;
            if let Some((mut case, open)) = generator.sequence(mode, length, &mut arena) {
                for way in [Soft::run_through as Way, Soft::step_through, Soft::run_through] {
                    self.compare(&case, open, way, &mut arena, &mut summary);
                    generator.other_registers(&mut case);
                }
            }
        }
        summary
    }

    /// Runs so many cases of SSE and SSE2, of up to four instructions.
    pub fn simd(&mut self, mode: Mode, cases: u64, seed: u64) -> Summary {
        let mut generator = Generator::new(seed);
        let mut arena = Arena::new();
        let mut summary = Summary::default();
        for number in 0..cases {
            generator.scramble_floats(&mut arena);
            let count = 1 + number as usize % 4;
            if let Some(case) = generator.simd(mode, count, &mut arena) {
                self.compare(&case, 0, Soft::run_through, &mut arena, &mut summary);
            }
        }
        summary
    }

    /// Runs one case, and leaves in `arena` what the host did.
    pub fn case(&mut self, case: &Case, arena: &mut Arena, summary: &mut Summary) {
        let instruction = decode(case);
        let Some(undefined) = undefined::flags(&instruction, &case.state) else {
            summary.skipped += 1;
            return;
        };
        self.compare(case, undefined, Soft::run, arena, summary);
    }

    fn compare(&mut self, case: &Case, undefined: u64, way: Way, arena: &mut Arena, summary: &mut Summary) {
        let instruction = decode(case);
        arena.place(case, case.code.iter().copied());
        let (before, mut soft_arena) = (arena.clone(), arena.clone());
        let host = self.host.run(case, arena);
        // The upper half of the addresses is the host's kernel, which the accelerator has not.
        let unseen = |fault: Fault| fault.vector == PAGE_FAULT && (!self.paging || fault.address >> 47 != 0);
        let unseen = host.fault.is_some_and(unseen);
        if unseen || undefined::outcome(&instruction, &case.state, &host.state) {
            summary.skipped += 1;
        } else {
            let soft = way(&mut self.soft, case, &mut soft_arena);
            summary.compared += 1;
            summary.faults += u64::from(host.fault.is_some());
            let seen = Seen {
                case,
                instruction: &instruction,
                undefined,
                host: (&host, arena),
                before: &before,
            };
            let differences = seen.differences(&soft, &soft_arena);
            if !differences.is_empty() {
                summary.mismatches += 1;
                if summary.reports.len() < TOLD {
                    summary.reports.push(seen.report(&differences));
                }
            }
        }
        arena.place(case, case.code.iter().map(|_| layout::INT3));
    }
}

/// A case that ran on the host.
struct Seen<'a> {
    case: &'a Case,
    instruction: &'a Instruction,
    undefined: u64,
    host: (&'a Outcome, &'a Arena),
    before: &'a Arena,
}

impl Seen<'_> {
    fn differences(&self, soft: &Result<Outcome, Stuck>, soft_arena: &Arena) -> Vec<String> {
        let (host, host_arena) = self.host;
        let soft = match soft {
            Ok(soft) => soft,
            Err(stuck) => return vec![format!("soft: {stuck}; host: {:x?}", host.fault)],
        };
        let mut found = Vec::new();
        let both = host.fault.is_some() && soft.fault.is_some();
        if host.fault != soft.fault && !(both && undefined::order_of_faults(self.instruction)) {
            found.push(format!("fault: host {:x?}, soft {:x?}", host.fault, soft.fault));
        }
        let mut differ = |name: &str, host: u64, soft: u64| {
            if host != soft {
                found.push(format!("{name}: host {host:#x}, soft {soft:#x}"));
            }
        };
        // A far transfer out of 64-bit code leaves the upper halves to the processor.
        let long = self.case.mode.bits() == 64 && host.state.selectors.cs == layout::USER_CODE64;
        let registers = if long { u64::MAX } else { 0xffff_ffff };
        let (h, s) = (&host.state, &soft.state);
        for (number, name) in GPR_NAMES.iter().enumerate() {
            let compared = registers & !undefined::register(self.instruction, number, &self.case.state, h);
            differ(name, h.gprs[number] & compared, s.gprs[number] & compared);
        }
        let flags = COMPARED_FLAGS & !self.undefined;
        differ("rip", h.rip, s.rip);
        differ("rflags", h.rflags & flags, s.rflags & flags);
        for (name, host, soft) in [
            ("cs", h.selectors.cs, s.selectors.cs),
            ("ss", h.selectors.ss, s.selectors.ss),
            ("ds", h.selectors.ds, s.selectors.ds),
            ("es", h.selectors.es, s.selectors.es),
            ("gs", h.selectors.gs, s.selectors.gs),
        ] {
            differ(name, null_is_0(host).into(), null_is_0(soft).into());
        }
        // What a faulting instruction has already written is its own affair.
        if host.fault.is_none() {
            let bytes = self
                .before
                .bytes()
                .iter()
                .zip(host_arena.bytes())
                .zip(soft_arena.bytes());
            for (index, ((before, host), soft)) in
                bytes.enumerate().filter(|(_, ((_, h), s))| h != s).take(16)
            {
                let offset = Arena::offset_of(index);
                found.push(format!(
                    "window+{offset:#x}: was {before:#04x}, host {host:#04x}, soft {soft:#04x}"
                ));
            }
        }
        found
    }

    fn report(&self, differences: &[String]) -> String {
        let Case { mode, code, state } = self.case;
        let mut text = String::new();
        let mut formatter = FastFormatter::new();
        for instruction in decoder(self.case) {
            if !text.is_empty() {
                text.push_str("; ");
            }
            formatter.format(&instruction, &mut text);
        }
        let bytes: Vec<String> = code.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut report = format!("{mode:?}: {} ({text})\n   ", bytes.join(" "));
        for (name, value) in GPR_NAMES.iter().zip(state.gprs) {
            // Writing to a String does not fail.
            let _ = write!(report, " {name}={value:x}");
        }
        let _ = write!(
            report,
            " rip={:x} rflags={:x} {:x?}",
            state.rip, state.rflags, state.selectors
        );
        for difference in differences {
            let _ = write!(report, "\n    {difference}");
        }
        report
    }
}

/// The host's kernel clears null selectors, RPL and all, on the way to us: its IRET does (Intel SDM vol. 2, IRET).
fn null_is_0(selector: u16) -> u16 {
    if selector < 4 { 0 } else { selector }
}

fn decoder(case: &Case) -> Decoder<'_> {
    Decoder::with_ip(case.mode.bits(), &case.code, case.state.rip, DecoderOptions::NONE)
}

fn decode(case: &Case) -> Instruction {
    decoder(case).decode()
}
