//! Interrupts: lines between devices and controllers, and the controllers.
//!
//! # Locks
//!
//! A device may raise or lower a line while it holds its own lock: a controller never calls a device.

mod line;

pub use line::{InterruptSink, IrqLine};
