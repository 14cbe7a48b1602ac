//! An x86 CPU in software: the accelerator `soft`.
#![forbid(unsafe_code)]

#[macro_use]
mod macros;

mod accel;
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
pub use undefined::UndefinedInstruction;
pub use vcpu::SoftVcpu;
