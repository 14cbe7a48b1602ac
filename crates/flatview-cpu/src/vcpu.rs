//! The vCPU: what it does between runs of instructions. `blocks.rs` is about the runs.

use std::sync::Arc;

use flatview::{FlatView, Memory, RamBlock};
use flatview_accel::{AccelError, DescriptorTable, Exit, Fpu, Signals, Vcpu, VcpuConfig, VcpuState};

use crate::code::cache::Cache;
use crate::code::pages::CodePages;
use crate::exec::msr::Msrs;
use crate::exec::tlb::Tlb;
use crate::exec::{Bus, Exception, Exec, Flow, Registers};
use crate::flags::{Flags, TF};
use crate::ops::sse::Sse;
use crate::ops::x87::X87;
use crate::seg::Seg;
use crate::undefined::{UndefinedInstruction, UndefinedRing};

/// After this many instructions the host's clock is looked at.
const CLOCK_INTERVAL: u64 = 8192;
/// After this many instructions a deadline that another thread has set is seen.
const MOST: u64 = 65536;
/// Physical addresses have 52 bits at most.
const PHYSICAL: u64 = (1 << 52) - 1;
const A20: u64 = 1 << 20;

/// A virtual CPU in software.
#[derive(Debug)]
pub struct SoftVcpu {
    pub(crate) exec: Exec,
    pub(crate) cache: Cache,
    /// Which view of memory the TLB was filled from.
    view: u64,
    /// The signals as they were looked at last.
    pub(crate) seen: Signals,
    #[expect(dead_code, reason = "keeps the memory map alive")]
    machine: Memory,
}

impl SoftVcpu {
    pub(crate) fn new(config: &VcpuConfig, is_assistant: bool) -> SoftVcpu {
        let table = DescriptorTable::default();
        let none = Seg::null(0);
        let exec = Exec {
            r: Registers {
                gpr: [0; 32],
                flags: Flags::new(0),
            },
            rip: 0,
            segs: [none; 6],
            ldtr: none,
            tr: none,
            gdtr: table,
            idtr: table,
            cr0: 0,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            dr: [0; 8],
            msrs: Msrs::default(),
            x87: X87::from_state(&Fpu::default()),
            sse: Sse::from_state(&Fpu::default()),
            mode: Exec::no_mode(),
            halted: false,
            shadow: false,
            nmi_masked: false,
            smm: false,
            smbase: 0,
            is_in_handler: false,
            shutdown: false,
            injected: None,
            nmi_pending: false,
            is_assistant,
            unemulated: None,
            exception: Exception::default(),
            flow: Flow::Next,
            attention: false,
            count: 0,
            done: 0,
            clock_base: (0, 0),
            bus: Bus {
                memory: config.memory.reader(),
                smm: config.smm.as_ref().map(|space| space.reader()),
                io: config.io.reader(),
                in_smm: false,
                a20_mask: PHYSICAL,
            },
            tlb: Tlb::new(),
            code: CodePages::default(),
            control: Arc::clone(&config.control),
            interrupts: Arc::clone(&config.interrupts),
            undefined: UndefinedRing::default(),
        };
        let mut vcpu = SoftVcpu {
            exec,
            cache: Cache::new(),
            view: 0,
            seen: Signals::empty(),
            machine: config.machine.clone(),
        };
        vcpu.exec.power_on();
        vcpu
    }

    /// The last instructions that were answered with #UD, the oldest first: undefined, or not implemented.
    pub fn last_undefined(&self) -> Vec<UndefinedInstruction> {
        self.exec.undefined.records().collect()
    }

    /// Before instructions are executed: everything may have changed.
    fn begin(&mut self) {
        let exec = &mut self.exec;
        exec.clock_base = (exec.control.clock().now(), exec.instructions());
        exec.code.may_have_changed();
        exec.shutdown &= !exec.control.signals().contains(Signals::INIT);
    }

    /// Makes code and translations true again.
    fn refresh(&mut self) {
        let exec = &mut self.exec;
        let view = exec.bus.space().generation();
        if view != self.view {
            self.view = view;
            exec.tlb.flush();
            let (bus, code) = (&mut exec.bus, &mut exec.code);
            let shows = |view: &FlatView, block: &RamBlock| {
                view.iter().any(|range| range.region().ram_block() == Some(block))
            };
            let memory = bus.memory.view();
            let smm = bus.smm.as_mut().map(|smm| smm.view());
            code.retain(|block| shows(memory, block) || smm.is_some_and(|view| shows(view, block)));
        }
        exec.code.look();
        self.cache.forget(exec.code.take_killed());
    }

    /// Takes what is pending. Returns an exit, or whether there was something.
    fn events(&mut self, looks_at_deadline: bool) -> Result<bool, Exit> {
        self.refresh();
        let exec = &mut self.exec;
        if exec.shutdown {
            return Err(Exit::Shutdown);
        }
        let control = Arc::clone(&exec.control);
        let mut signals = control.signals();
        if exec.is_assistant {
            // Everything else is for the accelerator that it works for.
            signals &= Signals::A20M;
        }
        self.seen = signals;
        if signals.contains(Signals::EXIT) {
            self.seen -= control.clear(Signals::EXIT);
            return Err(Exit::Requested);
        }
        let a20_mask = if signals.contains(Signals::A20M) {
            PHYSICAL & !A20
        } else {
            PHYSICAL
        };
        if a20_mask != exec.bus.a20_mask {
            exec.bus.a20_mask = a20_mask;
            exec.tlb.flush();
        }
        exec.sync_clock();
        if looks_at_deadline && control.deadline() != u64::MAX && control.clock().now() >= control.deadline()
        {
            return Err(Exit::Deadline);
        }
        if signals.contains(Signals::INIT) && !exec.smm {
            self.seen -= control.clear(Signals::INIT);
            exec.init();
            return Ok(true);
        }
        if exec.inject() || self.interrupt(signals) {
            return Ok(true);
        }
        if self.exec.halted {
            return Err(Exit::Halted);
        }
        Ok(false)
    }

    /// Lets go of the views of memory: whoever waits until nobody looks at something does not wait for this CPU.
    fn release(&mut self) {
        if self.exec.is_assistant {
            // Others write to memory and page tables in the meantime.
            self.exec.tlb.flush();
        }
        let bus = &mut self.exec.bus;
        bus.memory.release();
        bus.io.release();
        if let Some(smm) = &mut bus.smm {
            smm.release();
        }
    }

    /// Takes the interrupt of the highest priority (Intel SDM vol. 3, table 7-2).
    fn interrupt(&mut self, signals: Signals) -> bool {
        let exec = &mut self.exec;
        if exec.shadow || exec.is_assistant {
            return false;
        }
        if signals.contains(Signals::SMI) && !exec.smm {
            self.seen -= exec.control.clear(Signals::SMI);
            exec.enter_smm();
            return true;
        }
        if (exec.nmi_pending || signals.contains(Signals::NMI)) && !exec.nmi_masked {
            if !std::mem::take(&mut exec.nmi_pending) {
                self.seen -= exec.control.clear(Signals::NMI);
            }
            exec.nmi_masked = true;
            exec.halted = false;
            exec.hardware_interrupt(2);
            return true;
        }
        if signals.contains(Signals::INTR)
            && exec.has_if()
            && let Some(vector) = exec.interrupts.acknowledge()
        {
            exec.halted = false;
            // A device may say with it that it has written to memory.
            exec.code.may_have_changed();
            exec.hardware_interrupt(vector);
            return true;
        }
        false
    }

    /// How many instructions may be executed before the time is looked at.
    fn budget(&self) -> u64 {
        let control = &self.exec.control;
        let deadline = control.deadline();
        match control.clock().counted_shift() {
            _ if deadline == u64::MAX => MOST,
            None => CLOCK_INTERVAL,
            Some(shift) => {
                let left = deadline.saturating_sub(control.clock().now());
                (left >> shift)
                    .saturating_add(u64::from(!left.is_multiple_of(1 << shift)))
                    .min(MOST)
            }
        }
    }

    /// Executes at most `most` instructions; fewer if something happens.
    fn execute(&mut self, most: u64) {
        let is_traced = self.exec.r.flags.has(TF);
        if is_traced || self.exec.shadow {
            let shadow = std::mem::take(&mut self.exec.shadow);
            self.exec.is_in_handler = false;
            self.execute_blocks(1);
            if self.exec.unemulated.is_some() {
                self.exec.shadow = shadow;
            } else if is_traced && !self.exec.shadow && !self.exec.is_in_handler {
                // The shadow of an instruction that loads SS covers the trap, too.
                self.exec.single_step_trap();
            }
        } else {
            self.execute_blocks(most);
        }
    }
}

impl Vcpu for SoftVcpu {
    fn run(&mut self) -> Result<Exit, AccelError> {
        self.begin();
        loop {
            if let Some(instruction) = self.exec.unemulated.take() {
                self.release();
                return Ok(Exit::Unemulated(instruction));
            }
            match self.events(true) {
                Err(Exit::Deadline) => return Ok(Exit::Deadline),
                Err(exit) => {
                    // Nobody knows for how long it is not to run.
                    self.release();
                    return Ok(exit);
                }
                Ok(true) => continue,
                Ok(false) => {}
            }
            let budget = self.budget();
            self.execute(budget);
        }
    }

    fn step(&mut self) -> Result<Exit, AccelError> {
        self.begin();
        let events = self.events(false);
        if events == Ok(false) {
            self.execute(1);
        }
        self.exec.sync_clock();
        if self.exec.is_assistant {
            // Nobody knows when it is asked again.
            self.release();
        }
        Ok(match (self.exec.unemulated.take(), events) {
            (_, Err(exit)) => exit,
            (Some(instruction), _) => Exit::Unemulated(instruction),
            (None, Ok(_)) if self.exec.shutdown => Exit::Shutdown,
            (None, Ok(_)) => Exit::Stepped,
        })
    }

    fn state(&mut self) -> Result<VcpuState, AccelError> {
        Ok(self.exec.state())
    }

    fn set_state(&mut self, state: &VcpuState) -> Result<(), AccelError> {
        self.exec.set_state(state)
    }

    fn reset(&mut self) -> Result<(), AccelError> {
        self.exec.power_on();
        self.exec.unemulated = None;
        self.exec.code.clear();
        self.cache.clear();
        Ok(())
    }

    fn takes_interrupts(&self) -> bool {
        self.exec.has_if()
    }

    fn instructions(&self) -> Option<u64> {
        Some(self.exec.instructions())
    }
}
