//! What an accelerator is to a machine.
//!
//! A machine has memory ([`flatview::AddressSpace`]s), devices behind it, and something that executes the guest's
//! instructions: the *accelerator*. Which one it is, a hypervisor or a program, the machine does not know. It makes
//! [`Vcpu`]s and lets them run; what a guest reads and writes reaches memory and devices through the address spaces
//! that the vCPU was given, on the vCPU's thread, before [`run`](Vcpu::run) returns.
//!
//! # Words
//!
//! - An [`Accelerator`] makes vCPUs for one machine.
//! - A [`Vcpu`] executes instructions until there is an [`Exit`].
//! - [`Control`] is what others tell a running vCPU: [`Signals`] (an interrupt is pending, come out, …), and when it
//!   has to come out by itself. It is the only thing that is shared with other threads.
//! - An [`IrqChip`] is the interrupt controllers that an accelerator has itself, if it has any.
//! - [`InterruptSource`] is whom the vCPU asks for the vector of an interrupt: the machine's interrupt controllers.
//! - The [`Clock`] is the guest's time: the host's, or as many nanoseconds as instructions were executed.
//! - An [`AssistedAccelerator`] is two: what the first cannot execute, the second does.
//! - [`VcpuState`] is the registers, named and laid out as KVM's `kvm_regs` and `kvm_sregs`.
//!
//! # A machine's loop
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use flatview_accel::{AccelError, Control, Exit, Vcpu};
//! # fn timers_run() {}
//! # fn stop_was_asked_for() -> bool { true }
//! fn run(vcpu: &mut dyn Vcpu, control: &Control) -> Result<(), AccelError> {
//!     loop {
//!         match vcpu.run()? {
//!             Exit::Deadline => timers_run(), // devices whose time has come; they set the next deadline
//!             Exit::Halted => control.wait(), // until a signal, or the deadline
//!             Exit::Requested if stop_was_asked_for() => return Ok(()),
//!             Exit::Requested => {}
//!             _ => return Ok(()), // a triple fault: reset, or end
//!         }
//!     }
//! }
//! ```
#![forbid(unsafe_code)]

mod assist;
mod assist_statistics;
mod clock;
mod control;
mod dump;
mod irqchip;
mod power_on;
mod state;

use std::fmt::Debug;
use std::sync::Arc;

use flatview::{AddressSpace, FlatRange, Memory};
use thiserror::Error;

pub use assist::{AssistConfig, Assisted, AssistedAccelerator};
pub use assist_statistics::{AssistStatistics, AssistedInstruction};
pub use clock::Clock;
pub use control::{Control, Signals};
pub use irqchip::{EoiListener, IrqChip, MsiMessage};
pub use state::{
    CpuidLeaf, DebugRegs, DescriptorTable, Fpu, Injection, InjectionKind, InstructionBytes, Msrs, Regs,
    Segment, Sregs, VcpuState,
};

/// Executes a machine's instructions, one way or another.
pub trait Accelerator: Debug + Send + Sync {
    /// Its name on the command line and in messages: `soft`, `kvm`.
    fn name(&self) -> &'static str;

    /// Whether its vCPUs have system management mode: enter it at [`Signals::SMI`], and look at
    /// [`VcpuConfig::smm`] in it.
    fn has_smm(&self) -> bool;

    /// Makes a vCPU in the state after power-on (Intel SDM vol. 3, table 10-1).
    ///
    /// # Errors
    ///
    /// [`AccelError`].
    fn create_vcpu(&self, config: VcpuConfig) -> Result<Box<dyn Vcpu>, AccelError>;

    /// The interrupt controllers that it has itself. `None`: the board has them all.
    fn irqchip(&self) -> Option<Arc<dyn IrqChip>> {
        None
    }

    /// Whether it has this whole range of a space as memory of its own that the guest reaches without an exit: what
    /// `info mtree -f` marks (rule W14).
    fn has_memory(&self, space: &AddressSpace, range: &FlatRange) -> bool {
        let _ = (space, range);
        false
    }
}

/// What a vCPU is connected to.
#[derive(Clone, Debug)]
pub struct VcpuConfig {
    /// Its number, from 0; also its APIC id.
    pub index: u32,
    /// Whose memory it is.
    pub machine: Memory,
    /// What memory accesses see.
    pub memory: AddressSpace,
    /// What `IN` and `OUT` see: 64 KiB.
    pub io: AddressSpace,
    /// What memory accesses see in system management mode, if the machine has any.
    pub smm: Option<AddressSpace>,
    /// Its interrupt controllers.
    pub interrupts: Arc<dyn InterruptSource>,
    /// What it is told while it runs.
    pub control: Arc<Control>,
}

/// The interrupt controllers, as a vCPU sees them.
///
/// They set and clear [`Signals::INTR`] of the vCPU's [`Control`] as interrupts come and go.
pub trait InterruptSource: Debug + Send + Sync {
    /// The vCPU takes the interrupt of the highest priority: its vector. `None` if there is none any more.
    fn acknowledge(&self) -> Option<u8>;

    /// `IA32_APIC_BASE` (MSR 0x1b).
    fn apic_base(&self) -> u64;

    /// The guest writes `IA32_APIC_BASE`. Returns false if the value is not allowed: the guest gets #GP.
    fn set_apic_base(&self, value: u64) -> bool;

    /// The task priority as CR8 shows it: bits 4 to 7 of the APIC's TPR.
    fn cr8(&self) -> u8;

    /// The guest writes CR8 (0 to 15).
    fn set_cr8(&self, value: u8);
}

/// A virtual CPU. It belongs to the thread that runs it.
pub trait Vcpu: Debug + Send {
    /// Executes instructions until there is something that the vCPU cannot do alone.
    ///
    /// # Errors
    ///
    /// [`AccelError`]: the vCPU cannot go on.
    fn run(&mut self) -> Result<Exit, AccelError>;

    /// Executes one instruction (one iteration of a repeated string instruction may count as one), or delivers one
    /// interrupt. A halted vCPU stays halted: [`Exit::Halted`].
    ///
    /// # Errors
    ///
    /// [`AccelError`].
    fn step(&mut self) -> Result<Exit, AccelError>;

    /// The registers.
    ///
    /// # Errors
    ///
    /// [`AccelError`].
    fn state(&mut self) -> Result<VcpuState, AccelError>;

    /// Sets all registers.
    ///
    /// # Errors
    ///
    /// [`AccelError`].
    fn set_state(&mut self, state: &VcpuState) -> Result<(), AccelError>;

    /// Back to the state after power-on. What the guest had translated or cached is forgotten.
    ///
    /// # Errors
    ///
    /// [`AccelError`].
    fn reset(&mut self) -> Result<(), AccelError>;

    /// Whether it takes maskable interrupts: RFLAGS.IF. Cheap after [`run`](Self::run).
    fn takes_interrupts(&self) -> bool;

    /// How many instructions it has executed, if it counts them. Resets do not set it back.
    fn instructions(&self) -> Option<u64>;
}

/// No interrupt controller: for a machine that has none, or whose accelerator has its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoInterrupts;

impl InterruptSource for NoInterrupts {
    fn acknowledge(&self) -> Option<u8> {
        None
    }

    /// Where an enabled APIC of a boot processor would be.
    fn apic_base(&self) -> u64 {
        0xfee0_0900
    }

    fn set_apic_base(&self, value: u64) -> bool {
        value == self.apic_base()
    }

    fn cr8(&self) -> u8 {
        0
    }

    fn set_cr8(&self, _: u8) {}
}

/// Why a vCPU came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// The deadline of its [`Control`] has come.
    Deadline,
    /// It waits for an interrupt (`HLT`), and none is pending.
    Halted,
    /// [`Signals::EXIT`] was raised. It is cleared.
    Requested,
    /// A fault while delivering a double fault: the processor shuts down (Intel SDM vol. 3, 7.15, #DF).
    Shutdown,
    /// [`Vcpu::step`] made its step.
    Stepped,
    /// The accelerator cannot execute the instruction at CS:RIP. Nothing of it was done: another one may do it, and
    /// hand the vCPU back (`KVM_INTERNAL_ERROR_EMULATION`).
    Unemulated(InstructionBytes),
}

/// Why an accelerator did not do what it was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AccelError {
    /// Its listener could not be registered, or a region could not be made.
    #[error(transparent)]
    Memory(#[from] flatview::Error),
    /// It cannot make that many vCPUs.
    #[error("a vCPU with index {index}: the accelerator `{accelerator}` makes at most {most}")]
    TooManyVcpus {
        /// Which one was asked for.
        index: u32,
        /// How many there can be.
        most: u32,
        /// The accelerator's name.
        accelerator: &'static str,
    },
    /// A register cannot have this value.
    #[error("{register} cannot be {value:#x}: {why}")]
    BadState {
        /// The register.
        register: &'static str,
        /// What it was to be.
        value: u64,
        /// The reason.
        why: &'static str,
    },
    /// The vCPU came to an instruction that the accelerator cannot execute, and there is nobody else to do it.
    #[error("the instruction {instruction} at {:04x}:{:x} cannot be executed by this accelerator", state.sregs.cs.selector, state.regs.rip)]
    Unemulated {
        /// Its bytes.
        instruction: InstructionBytes,
        /// The vCPU, before it.
        state: Box<VcpuState>,
    },
    /// The hypervisor gave up on the vCPU.
    #[error("{what} ({code:#x}) at {:04x}:{:x}", state.sregs.cs.selector, state.regs.rip)]
    Internal {
        /// What it says.
        what: &'static str,
        /// Its number for it.
        code: u64,
        /// The vCPU as it was.
        state: Box<VcpuState>,
    },
    /// The host's hypervisor refused.
    #[error("{what}: {source}")]
    Host {
        /// What was asked of it.
        what: &'static str,
        /// Its answer.
        source: std::io::Error,
    },
}
