//! KVM behind flatview's address spaces: the accelerator `kvm`.
//!
//! # Words
//!
//! - A [`KvmAccelerator`] is a virtual machine of KVM. It is made as a [`KvmConfig`] says, with what the kernel
//!   [can do](Capabilities).
//! - A [`KvmVcpu`] is one of its vCPUs.
//! - A [`Slot`] is a piece of the guest's memory that the kernel knows: the guest reads and writes it without an exit.
//! - A *listener* keeps something in the kernel true to an [address space](flatview::AddressSpace): slots, ioeventfds,
//!   zones of coalesced writes.
//! - To be *attached* is to have these listeners. The first vCPU attaches its virtual machine to the spaces that it is
//!   connected to; [`KvmAccelerator::attach`] does it without one.
//! - *Inside* is a vCPU while its thread is in `KVM_RUN`. A *kick* gets it out: a signal, SIGRTMIN+1, whose handler also
//!   sets `immediate_exit`. The *gate* is where vCPUs go in; who closes it waits until nobody is inside.
//! - *Unemulated* is an instruction that the kernel would have to emulate and cannot.
//!
//! # A guest of four bytes
//!
//! ```
//! use std::sync::Arc;
//!
//! use flatview::{MemTxAttrs, Memory, RamBlock, Size, UnassignedIo};
//! use flatview_accel::{Accelerator, Clock, Control, Exit, NoInterrupts, VcpuConfig};
//! use flatview_kvm::{KvmAccelerator, KvmConfig, KvmError};
//!
//! let kvm = match KvmAccelerator::new(KvmConfig::default()) {
//!     Ok(kvm) => kvm,
//!     Err(KvmError::Open { .. }) => return Ok(()), // there is none here
//!     Err(error) => return Err(error.into()),
//! };
//! let machine = Memory::new();
//! let system = machine.region("system").container(Size::MAX);
//! let ram = machine.region("ram").ram(RamBlock::anonymous(0x1_0000)?);
//! machine.update(|tx| tx.add_subregion(&system, 0, &ram))?;
//! let ports = machine.region("io").io(0x1_0000, Arc::new(UnassignedIo));
//! let memory = machine.create_address_space("memory", &system)?;
//! memory.write(0x1000, &[0xb0, 42, 0x40, 0xf4], MemTxAttrs::UNSPECIFIED)?; // mov al, 42; inc ax; hlt
//!
//! let mut vcpu = kvm.create_vcpu(VcpuConfig {
//!     index: 0,
//!     machine: machine.clone(),
//!     memory,
//!     io: machine.create_address_space("I/O", &ports)?,
//!     smm: None,
//!     interrupts: Arc::new(NoInterrupts),
//!     control: Arc::new(Control::new(Clock::host())),
//! })?;
//! let mut state = vcpu.state()?;
//! (state.sregs.cs.base, state.sregs.cs.selector, state.regs.rip) = (0, 0, 0x1000);
//! vcpu.set_state(&state)?;
//! assert_eq!(vcpu.run()?, Exit::Halted);
//! assert_eq!(vcpu.state()?.regs.rax, 43);
//! let slots = kvm.slots(0);
//! assert_eq!((slots.len(), slots[0].gpa, slots[0].size), (1, 0, 0x1_0000));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The way of a change of the map
//!
//! 1. `prepare`: the listener of memory counts the slots that are needed, and refuses what the kernel has not.
//! 2. It hears of ranges that go and come, and queues them as pieces that can be slots: whole pages of memory.
//! 3. `commit`: what goes and comes as it was is left alone. If memory goes that comes again, or whose writes are logged,
//!    the gate is closed (rules W5, P22). Then slots are deleted, flags changed in place, slots made. An ioctl that fails
//!    has those before it taken back, and the whole transaction with them.
//! 4. Readers see the new view, and the gate is opened. So no vCPU ever runs while what is in the kernel and what is in
//!    the view differ in memory that both have.
//!
//! ioeventfds and zones of coalesced writes are made and deleted when they are heard of: nothing replaces them, so there
//! is no hole to see.
//!
//! # The way of an exit
//!
//! 1. [`run`](flatview_accel::Vcpu::run) looks at the vCPU's [`Control`](flatview_accel::Control), injects what is pending,
//!    lets go of the views that it holds, and goes in through the gate.
//! 2. It comes out, and the kernel has put the reason into the page that the two share. Coalesced writes came before
//!    it: they are done first.
//! 3. An access to memory or a port is done on this thread, through the vCPU's [readers](flatview::Reader) of the
//!    address spaces. There is no lock and no allocation on the way. The next `KVM_RUN` finishes the instruction.
//! 4. What it cannot do alone is an [`Exit`](flatview_accel::Exit): the loop of the machine goes on.
//!
//! An unemulated instruction is one of them. An [`AssistedAccelerator`](flatview_accel::AssistedAccelerator) has the
//! software CPU execute it.
//!
//! # The way of a dirty page
//!
//! 1. A client logs a range: its slot gets the flag, in place.
//! 2. The guest writes. The kernel notes the page in a bitmap of the slot, or in the vCPU's dirty ring.
//! 3. Somebody asks the [memory](flatview::Memory::snapshot_and_clear_dirty). The listener reads the bitmap, or empties the
//!    rings, and marks the pages in their [block](flatview::RamBlock), beside what devices have written.
//! 4. The client takes the marks. With manual protect only now the kernel write-protects the pages, and just those.
//!
//! A thread empties rings that nobody asks for, and a slot hands in what it has before it goes.
//!
//! # Threads and locks
//!
//! A vCPU belongs to the thread that runs it, and can go to another one between runs. Everything else can be called
//! from everywhere, a device's handler included: no vCPU is inside then, on that thread. A thread that runs vCPUs takes
//! the kick signal, also if it had blocked it; nobody else in the process may use that signal.
//!
//! The order of locks: the memory's own, while it is updated; then the listener's queue; then the table of slots; then
//! what is known of dirty pages. The gate's lock and that of the interrupts' routes are leaves, held for a moment. Who
//! waits for the gate to open holds no lock and no view.
//!
//! # Rooms
//!
//! | module | what is in it |
//! |---|---|
//! | `accel`, `config`, `capabilities`, `error`, `counters` | the accelerator, and how it is asked for and looked at |
//! | `vm` | the kernel's virtual machine, and everything that listeners and vCPUs share |
//! | `memory`, `slots` | the listener of memory: from ranges to ioctls, and back if they fail |
//! | `io`, `coalesced` | ioeventfds; coalesced writes and their ring |
//! | `dirty` | bitmaps, manual protect, dirty rings |
//! | `irq` | interrupt controllers in the kernel: lines, messages, irqfds, routes |
//! | `gate` | kicks, and keeping vCPUs out |
//! | `vcpu` | `KVM_RUN`, exits, interrupts, registers |
//! | `speed` | how fast this KVM is |
//! | `sys` | system calls that no other crate has |
//!
//! # What is not there
//!
//! Guests whose memory this process cannot see (`guest_memfd`, memory attributes: rules W12, W17), nested virtualization,
//! and processors other than x86-64: elsewhere the crate is empty. Kernels without `KVM_CAP_IMMEDIATE_EXIT` (before
//! Linux 4.13) are refused.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod accel;
mod capabilities;
mod coalesced;
mod config;
mod counters;
mod dirty;
mod error;
mod gate;
mod io;
mod irq;
mod lock;
mod memory;
#[cfg(test)]
mod probe;
mod slots;
mod speed;
mod sys;
mod vcpu;
mod vm;

pub use accel::KvmAccelerator;
pub use capabilities::Capabilities;
pub use config::{IrqChip, KvmConfig};
pub use counters::Statistics;
pub use error::KvmError;
pub use io::Bus;
pub use irq::{IrqFd, KvmIrqChip, Route, Routes};
pub use slots::{Slot, SlotFlags};
pub use speed::measure_speed;
pub use vcpu::KvmVcpu;
