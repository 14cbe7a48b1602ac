//! The chipset: what decides which memory is seen where, and the functions that every PC of this kind has.

mod i440fx;
mod pam;
mod piix3;
mod piix4_pm;
mod pm;

pub use i440fx::{I440fx, MemoryMap};
pub use pam::{Pam, PamMode};
pub use piix3::{PirqRouter, ResetControl, isa_bridge};
pub use piix4_pm::{Apm, piix4_pm};
pub use pm::{AcpiPm, Gpe0, PmControl, PmEvents, PmTimer};

#[cfg(test)]
mod chipset_test;
