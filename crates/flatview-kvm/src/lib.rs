//! KVM behind flatview's address spaces: the accelerator `kvm`.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod accel;
mod capabilities;
mod config;
mod counters;
mod dirty;
mod error;
mod gate;
mod memory;
mod slots;
mod sys;
mod vcpu;
mod vm;

pub use accel::KvmAccelerator;
pub use capabilities::Capabilities;
pub use config::{IrqChip, KvmConfig};
pub use counters::Statistics;
pub use error::KvmError;
pub use slots::{Slot, SlotFlags};
pub use vcpu::KvmVcpu;
