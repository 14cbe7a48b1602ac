//! Interrupts: lines between devices and controllers, and the controllers.
//!
//! # Locks
//!
//! A device may raise or lower a line while it holds its own lock: a controller never calls a device. Among the
//! controllers the order is [`Pic`], I/O APIC, local APIC, [`Control`](flatview_accel::Control).

mod line;
mod pic;
#[cfg(test)]
pub(crate) mod probe;

pub use line::{InterruptSink, IrqLine};
pub use pic::Pic;
