//! The loop in which a machine runs.

use std::sync::Arc;

use flatview_accel::{AccelError, Control, Exit, Injection, InjectionKind, Signals, Vcpu, VcpuState};

use crate::device::Reset;
use crate::request::{Request, Requests};
use crate::timer::TimerQueue;

/// The privilege level of programs.
const USER: u8 = 3;
/// #UD (Intel SDM vol. 3, table 7-1).
const INVALID_OPCODE: Injection = Injection {
    kind: InjectionKind::Exception,
    vector: 6,
    error_code: None,
};

/// Why a machine does not run any more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The guest switched it off.
    PowerOff,
    /// The guest asked for a reset, and [`Machine::set_reboot`] says that this is the end. How it asked.
    Reset(&'static str),
    /// The guest's processor shut down: a triple fault. Where it was.
    TripleFault {
        /// The code segment.
        cs: u16,
        /// The instruction pointer.
        rip: u64,
    },
    /// The guest halted with interrupts off and nothing to wait for. Where it would go on: after the `HLT`.
    Halted {
        /// The code segment.
        cs: u16,
        /// The instruction pointer.
        rip: u64,
    },
    /// Somebody outside asked, by [`Request::Quit`].
    Quit,
}

/// A vCPU, its timers, and what a reset resets.
pub struct Machine {
    vcpu: Box<dyn Vcpu>,
    control: Arc<Control>,
    timers: Arc<TimerQueue>,
    requests: Requests,
    /// In the order in which they are reset.
    devices: Vec<Arc<dyn Reset>>,
    reboot: bool,
    resets: u64,
}

impl Machine {
    /// A machine of these parts. Its devices are [reset](Self::reset) before it runs.
    pub fn new(
        vcpu: Box<dyn Vcpu>,
        control: Arc<Control>,
        timers: Arc<TimerQueue>,
        requests: Requests,
        devices: Vec<Arc<dyn Reset>>,
    ) -> Machine {
        Machine {
            vcpu,
            control,
            timers,
            requests,
            devices,
            reboot: true,
            resets: 0,
        }
    }

    /// Whether a reset that the guest asks for is done. Otherwise it ends the machine.
    pub fn set_reboot(&mut self, reboot: bool) {
        self.reboot = reboot;
    }

    /// The guest's time.
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// How to ask the machine for something, from any thread.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// How many instructions the guest has executed, if the accelerator counts.
    pub fn instructions(&self) -> Option<u64> {
        self.vcpu.instructions()
    }

    /// How often it was reset since it began to run.
    pub fn resets(&self) -> u64 {
        self.resets
    }

    /// The registers.
    ///
    /// # Errors
    ///
    /// [`AccelError`].
    pub fn state(&mut self) -> Result<VcpuState, AccelError> {
        self.vcpu.state()
    }

    /// The vCPU, for who wants to step it.
    pub fn vcpu(&mut self) -> &mut dyn Vcpu {
        &mut *self.vcpu
    }

    /// All devices and the vCPU as after power-on. RAM keeps what it has.
    ///
    /// # Errors
    ///
    /// [`AccelError`].
    pub fn reset(&mut self) -> Result<(), AccelError> {
        for device in &self.devices {
            device.reset();
        }
        // What the guest was told and has not taken is of the life before. The levels are the devices' own.
        self.control.clear(Signals::NMI | Signals::SMI | Signals::INIT);
        self.vcpu.reset()
    }

    /// Runs until there is an end.
    ///
    /// # Errors
    ///
    /// [`AccelError`]: the vCPU cannot go on.
    pub fn run(&mut self) -> Result<End, AccelError> {
        loop {
            if let Some(end) = self.turn()? {
                return Ok(end);
            }
        }
    }

    /// Runs the vCPU until it comes out, and does what it came out for.
    ///
    /// # Errors
    ///
    /// [`AccelError`]: the vCPU cannot go on.
    pub fn turn(&mut self) -> Result<Option<End>, AccelError> {
        self.timers.run_due();
        match self.requests.take() {
            None => {}
            Some(Request::PowerOff) => return Ok(Some(End::PowerOff)),
            Some(Request::Quit) => return Ok(Some(End::Quit)),
            Some(Request::Reset(why)) if !self.reboot => return Ok(Some(End::Reset(why))),
            Some(Request::Reset(_)) => {
                self.resets += 1;
                self.reset()?;
            }
        }
        match self.vcpu.run()? {
            Exit::Halted => {
                if self.is_dead() {
                    let (cs, rip) = self.place()?;
                    return Ok(Some(End::Halted { cs, rip }));
                }
                self.control.wait();
            }
            Exit::Shutdown => {
                let (cs, rip) = self.place()?;
                return Ok(Some(End::TripleFault { cs, rip }));
            }
            Exit::Unemulated(instruction) => {
                let mut state = self.vcpu.state()?;
                if state.sregs.ss.dpl != USER || state.injected.is_some() {
                    let state = Box::new(state);
                    return Err(AccelError::Unemulated { instruction, state });
                }
                // A program of the guest's must not end the machine.
                state.injected = Some(INVALID_OPCODE);
                self.vcpu.set_state(&state)?;
            }
            _ => {}
        }
        Ok(None)
    }

    /// Where the vCPU is: CS and RIP.
    fn place(&mut self) -> Result<(u16, u64), AccelError> {
        let state = self.vcpu.state()?;
        Ok((state.sregs.cs.selector, state.regs.rip))
    }

    /// Whether a halted guest can never wake: no interrupt is taken, even if one is pending, and nobody is there to cause
    /// anything else but those who press a button.
    fn is_dead(&self) -> bool {
        let wakes = self.control.signals() - Signals::A20M - Signals::INTR;
        !self.vcpu.takes_interrupts() && wakes.is_empty()
    }
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("vcpu", &self.vcpu)
            .field("control", &self.control)
            .field("resets", &self.resets)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "machine_test.rs"]
mod test;
