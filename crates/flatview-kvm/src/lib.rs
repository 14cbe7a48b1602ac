//! KVM behind flatview's address spaces: the accelerator `kvm`.
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
