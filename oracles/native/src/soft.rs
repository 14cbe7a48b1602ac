//! The same case on an accelerator.
//!
//! User code at privilege level 3 with Linux's flat segments and our local ones, as on the host. Exceptions go to level 0,
//! on a stack of their own, so that the case's memory stays as the instruction left it. The handlers are never executed:
//! where the vCPU stands after its step says which vector it was, and the stack what was pushed.
//!
//! ```text
//! 0x2540_0000 + 0x01000 to 0x07fff  page tables: the system's pages are the supervisor's, the windows' the user's
//!               0x08000  GDT   0x09000  LDT   0x0a000  IDT of 32-bit gates   0x0b000  IDT of 64-bit gates
//!               0x0c000  TSSs  0x0e000  the stack of level 0   0x10000  handlers, 16 bytes for each vector
//! ```

mod tables;

use flatview_accel::{Accelerator, DescriptorTable, Exit, Regs, Segment, Sregs, VcpuState};
use thiserror::Error;

use crate::board::{Board, BoardError};
use crate::layout;
use crate::{Arena, Case, Fault, Mode, Outcome, Selectors, State};

/// The longest that a repeated instruction is followed.
const MOST_STEPS: u32 = 1000;

const BREAKPOINT: u8 = 3;

/// Why a case has no outcome.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Stuck {
    /// The vCPU came out in another way than by a step.
    #[error("the vCPU came out: {0:?}")]
    Exit(Exit),
    /// It stays at the instruction.
    #[error("after {MOST_STEPS} steps it is still at the instruction")]
    Endless,
    /// It failed, or refused the state.
    #[error(transparent)]
    Accelerator(#[from] flatview_accel::AccelError),
}

/// A vCPU that runs cases.
#[derive(Debug)]
pub struct Soft {
    board: Board,
    paging: bool,
    fresh: VcpuState,
    /// What is in the windows now, the low one and the high one.
    shadows: [Arena; 2],
}

impl Soft {
    /// With or without paging. Without it 64-bit code is as the accelerator has it, which no processor does.
    ///
    /// # Errors
    ///
    /// [`BoardError`].
    pub fn new(accelerator: &dyn Accelerator, paging: bool) -> Result<Soft, BoardError> {
        let window = layout::WINDOW as u64;
        let ram = [
            (tables::BASE, tables::SYSTEM),
            (layout::LOW.base, window),
            (layout::HIGH.base, window),
        ];
        let mut board = Board::new(accelerator, &ram)?;
        tables::write(&board);
        let fresh = board.vcpu.state()?;
        // Nothing is in memory yet: all pages of the shadows differ from what a case brings, or are zeroes as memory is.
        let mut empty = Arena::new();
        empty.bytes_mut().fill(0);
        let shadows = [empty.clone(), empty];
        Ok(Soft {
            board,
            paging,
            fresh,
            shadows,
        })
    }

    /// Runs the instruction of `case` on the memory of `arena`, where it already lies.
    ///
    /// # Errors
    ///
    /// [`Stuck`].
    pub fn run(&mut self, case: &Case, arena: &mut Arena) -> Result<Outcome, Stuck> {
        self.execute(case, arena, Self::step)
    }

    /// Runs all instructions of `case`, up to the `int3` behind them, without a stop.
    ///
    /// # Errors
    ///
    /// [`Stuck`].
    pub fn run_through(&mut self, case: &Case, arena: &mut Arena) -> Result<Outcome, Stuck> {
        self.execute(case, arena, Self::through)
    }

    /// Runs all instructions of `case` one by one.
    ///
    /// # Errors
    ///
    /// [`Stuck`].
    pub fn step_through(&mut self, case: &Case, arena: &mut Arena) -> Result<Outcome, Stuck> {
        self.execute(case, arena, Self::step_to_the_end)
    }

    fn execute(
        &mut self,
        case: &Case,
        arena: &mut Arena,
        way: fn(&mut Self, &Case) -> Result<Outcome, Stuck>,
    ) -> Result<Outcome, Stuck> {
        let shadow = &mut self.shadows[usize::from(case.mode == Mode::LongHigh)];
        let base = case.mode.window().base;
        let pages = layout::PAGES.map(|number| base + (number * layout::PAGE) as u64);
        let (new, old) = (
            arena.bytes().chunks(layout::PAGE),
            shadow.bytes().chunks(layout::PAGE),
        );
        for ((at, new), old) in pages.into_iter().zip(new).zip(old) {
            if new != old {
                self.board.write(at, new);
            }
        }
        let outcome = way(self, case);
        for (at, page) in pages.into_iter().zip(arena.bytes_mut().chunks_mut(layout::PAGE)) {
            self.board.read(at, page);
        }
        self.shadows[usize::from(case.mode == Mode::LongHigh)].clone_from(arena);
        outcome
    }

    fn begin(&mut self, case: &Case) -> Result<(), Stuck> {
        let mut state = self.fresh.clone();
        state.regs = Regs::new(case.state.gprs, case.state.rip, case.state.rflags);
        state.sregs = self.sregs(case);
        Ok(self.board.vcpu.set_state(&state)?)
    }

    /// One instruction. A repeated one may take several steps.
    fn step(&mut self, case: &Case) -> Result<Outcome, Stuck> {
        self.steps(case, |rip| rip != case.state.rip)
    }

    /// All instructions, one after the other.
    fn step_to_the_end(&mut self, case: &Case) -> Result<Outcome, Stuck> {
        self.steps(case, |rip| rip == case.state.rip + case.code.len() as u64)
    }

    fn steps(&mut self, case: &Case, is_over: impl Fn(u64) -> bool) -> Result<Outcome, Stuck> {
        self.begin(case)?;
        for _ in 0..MOST_STEPS {
            match self.board.vcpu.step()? {
                Exit::Stepped => {}
                other => return Err(Stuck::Exit(other)),
            }
            let after = self.board.vcpu.state()?;
            if after.sregs.cs.selector & 3 == 0 {
                return Ok(self.faulted(&after, case.state.rip));
            }
            if is_over(after.regs.rip) {
                let state = user_state(&after.regs, &after.sregs);
                return Ok(Outcome { state, fault: None });
            }
        }
        Err(Stuck::Endless)
    }

    fn through(&mut self, case: &Case) -> Result<Outcome, Stuck> {
        self.begin(case)?;
        self.board.allow(MOST_STEPS.into());
        match self.board.vcpu.run()? {
            // The handlers are all HLT.
            Exit::Halted => {}
            other => return Err(Stuck::Exit(other)),
        }
        let after = self.board.vcpu.state()?;
        let mut outcome = self.faulted(&after, case.state.rip);
        let end = case.state.rip + case.code.len() as u64;
        if outcome.fault.is_some_and(|fault| fault.vector == BREAKPOINT) && outcome.state.rip == end + 1 {
            outcome.fault = None;
            outcome.state.rip = end;
        }
        Ok(outcome)
    }

    fn long_mode(&self, mode: Mode) -> bool {
        self.paging || mode.bits() == 64
    }

    fn sregs(&self, case: &Case) -> Sregs {
        const PE_ET_NE: u64 = 0x31;
        const PG: u64 = 1 << 31;
        const PAE: u64 = 1 << 5;
        const OSFXSR_OSXMMEXCPT: u64 = 0x600;
        const LME_LMA_NXE: u64 = 0xd00;
        let long = self.long_mode(case.mode);
        let Selectors { cs, ss, ds, es, gs } = case.state.selectors;
        let table = |base, bytes: usize| DescriptorTable {
            base,
            limit: (bytes - 1) as u16,
        };
        Sregs {
            cs: segment(cs),
            ss: segment(ss),
            ds: segment(ds),
            es: segment(es),
            gs: segment(gs),
            fs: segment(0),
            tr: tables::task_register(long),
            ldt: tables::local_table(),
            gdt: table(tables::GDT, tables::GDT_BYTES),
            idt: if long {
                table(tables::IDT64, 256 * 16)
            } else {
                table(tables::IDT32, 256 * 8)
            },
            cr0: PE_ET_NE | if self.paging { PG } else { 0 },
            cr2: 0,
            cr3: tables::PML4,
            cr4: OSFXSR_OSXMMEXCPT | if long { PAE } else { 0 },
            efer: if long { LME_LMA_NXE } else { 0 },
        }
    }

    /// The vCPU stands in a handler: what was it?
    fn faulted(&self, after: &VcpuState, start: u64) -> Outcome {
        let long = after.sregs.efer & 0x400 != 0;
        let size = if long { 8 } else { 4 };
        let slot = |number: u64| {
            let mut bytes = [0; 8];
            let at = after.regs.rsp.wrapping_add(number * size);
            self.board.read(at, &mut bytes[..size as usize]);
            u64::from_le_bytes(bytes)
        };
        let vector = after.regs.rip.wrapping_sub(tables::HANDLERS) / 16;
        let has_code = matches!(vector, 8 | 10..=14 | 17 | 21);
        let frame = u64::from(has_code);
        let mut state = user_state(&after.regs, &after.sregs);
        state.rip = slot(frame);
        state.selectors.cs = slot(frame + 1) as u16;
        state.rflags = slot(frame + 2);
        state.gprs[4] = slot(frame + 3);
        state.selectors.ss = slot(frame + 4) as u16;
        let is_page_fault = vector == 14;
        let fault = Fault {
            vector: vector as u8,
            error_code: if has_code { slot(0) as u32 } else { 0 },
            address: if is_page_fault { after.sregs.cr2 } else { 0 },
        };
        // As on the host: the jump has been made.
        let fetch = is_page_fault && state.rip != start;
        Outcome {
            state,
            fault: (!fetch).then_some(fault),
        }
    }
}

fn user_state(r: &Regs, sregs: &Sregs) -> State {
    State {
        gprs: r.general(),
        rip: r.rip,
        rflags: r.rflags,
        selectors: Selectors {
            cs: sregs.cs.selector,
            ss: sregs.ss.selector,
            ds: sregs.ds.selector,
            es: sregs.es.selector,
            gs: sregs.gs.selector,
        },
    }
}

/// What a segment register has after this selector was loaded.
fn segment(selector: u16) -> Segment {
    let Some(descriptor) = layout::descriptor(selector) else {
        return Segment {
            selector,
            unusable: true,
            ..Segment::default()
        };
    };
    descriptor.cached(selector)
}
