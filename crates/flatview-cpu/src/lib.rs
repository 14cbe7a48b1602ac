//! An x86 CPU in software, on flatview's address spaces: the accelerator `soft`, for where there is no hypervisor.
//!
//! # Words
//!
//! - An *op* (`ops::Op`) is a decoded instruction: a function that executes it, made for its operand size and the
//!   kinds of its operands, and what the function needs to know. It does not depend on the address of the
//!   instruction.
//! - A *block* (`code::cache`) is a run of at most 64 ops that are executed one after the other. It is found by where
//!   its bytes are in the memory of this process, and by the mode that it was decoded for.
//! - The *TLB* (`exec::tlb`) knows the memory behind linear pages, each as a [`flatview::RamWindow`].
//! - The *slow way* (`exec::mem`) is for every access that the TLB does not answer: pages that are new to it,
//!   accesses across pages, devices, writes to ROM, writes beside code. It asks the
//!   [reader](flatview::Reader) of the address space.
//! - `exec::Exec` is the state of the CPU; [`SoftVcpu`] is that and the blocks.
//!
//! # The path of an instruction
//!
//! ```text
//!  SoftVcpu::run ──► events ──────► interrupts, SMI, INIT, deadline, changes of the map and of code
//!                       │
//!                    blocks ──────► linked to the one before? entered lately? decoded already? decode
//!                       │
//!                     ops ────────► TLB ──► RamWindow
//!                                    └────► the slow way ──► page tables ──► Reader ──► memory, devices
//! ```
//!
//! 1. [`run`](flatview_accel::Vcpu::run) looks at what is [pending](flatview_accel::Signals) and at the deadline, and
//!    works out how many instructions may be executed before it looks again.
//! 2. A block is looked for: among the two that followed the last one before, among those entered lately, by where
//!    its bytes are. If it is not there, `iced-x86` decodes it and `decode` makes ops of it.
//! 3. Each op is called. It says whether the next one follows, or the block is left; or that it could not be executed:
//!    then it has changed nothing, and the exception is delivered.
//! 4. After a block the signals are looked at again: one load.
//!
//! What an instruction does to the world is seen by the next one: an access to a device ends the block, and the views
//! of memory and the code are looked at before the next. So is a store into code, be it the next byte.
//!
//! # What is exact
//!
//! With a [counted clock](flatview_accel::Clock::counted) the CPU is deterministic: the same guest executes the same
//! instructions and sees the same times whenever it runs. Devices, `RDTSC` and the deadline are exact to the
//! instruction. An execution of a repeated string instruction counts as one, for as many iterations as it makes at
//! once.
//!
//! # What there is
//!
//! The instructions of an x86-64-v1, in 16-, 32- and 64-bit code; real mode with the segments that protected mode left
//! in it, protected mode with all checks of descriptors, gates and privilege levels, IA-32e mode; paging of all kinds;
//! system management mode with the state save map of AMD64; SYSCALL and SYSENTER; the x87, SSE and SSE2. CPUID says
//! what there is, with the signature of QEMU's `qemu64`. SeaBIOS, GRUB, U-Boot and Debian's Linux run: `flatview-pc`
//! tests it.
//!
//! # As an assistant
//!
//! A vCPU of [`SoftAccelerator::assistant`] executes what another accelerator cannot, an instruction now and then
//! ([`flatview_accel::AssistedAccelerator`]). It keeps nothing of the guest's memory from one step to the next, does not
//! ask for memory to be logged, and takes no signals but the level [A20M](flatview_accel::Signals::A20M): interrupts are
//! the other's. An [injection](flatview_accel::Injection) that comes with the state is delivered.
//!
//! An instruction that it has not, either, is [`Exit::Unemulated`](flatview_accel::Exit::Unemulated), with nothing done;
//! so are `CPUID`, CR8 and the MSRs that are no part of the state, of which the other one knows more, task switches,
//! and virtual 8086 mode. What is no instruction on any processor, and `UD2`, is the guest's #UD.
//!
//! It has a few instructions that the CPU by itself has not and does not announce: `POPCNT`, `TZCNT`, `LZCNT`, `CRC32`,
//! `STAC`, `CLAC`, `CLFLUSHOPT`, `CLWB`, `INVPCID`.
//!
//! It can be in states that the CPU by itself refuses ([`BadState`](flatview_accel::AccelError::BadState)):
//!
//! - CR4: UMIP, SMEP, SMAP and PCIDE count. VMXE, SMXE, FSGSBASE, OSXSAVE, KL and UINTR are kept: they enable what it
//!   does not execute. PKE is kept: a page that user mode reaches and that has a protection key other than 0 cannot be
//!   accessed (`Unemulated`), and key 0 is taken as open. LA57, CET, PKS and FRED are refused.
//! - EFER: FFXSR counts. SVME, TCE, MCOMMIT, INTWB and AIBRSE are kept. LMSLE and UAIE are refused.
//! - System management mode and virtual 8086 mode are refused.
//!
//! # What there is not
//!
//! - MMX; exceptions of floating point (they are noted, and answered as if masked); rounding of SSE other than to
//!   nearest; transcendental functions to more bits than the host's.
//! - Task switches and virtual 8086 mode (#GP), debug breakpoints (never hit), alignment checks, performance counters.
//! - More than one vCPU.
//!
//! What a guest executed and the CPU does not know: [`SoftVcpu::last_undefined`].
#![forbid(unsafe_code)]

#[macro_use]
mod macros;

mod accel;
mod blocks;
mod code;
mod decode;
mod exec;
mod flags;
mod int;
mod ops;
mod seg;
mod state;
mod undefined;
mod vcpu;

pub use accel::SoftAccelerator;
pub use decode::instruction_name;
pub use exec::cpuid::cpuid_leaves;
pub use undefined::UndefinedInstruction;
pub use vcpu::SoftVcpu;
