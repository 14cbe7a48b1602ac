//! Interrupts: lines between devices and controllers, and the controllers.
//!
//! ```text
//!                  ┌─► Pic ───── INTR ──► LINT0 ┐
//!   IrqLine ─► Gsi ┤                            Lapic ─► Control: INTR, NMI, SMI, INIT
//!                  └─► Ioapic ── message ───────┘  ▲
//!                                   MSI ───────────┘
//! ```
//!
//! An accelerator may have some of them itself: [`AcceleratedApics`], [`AcceleratedLines`].
//!
//! The CPU asks [`CpuInterrupts`] for vectors. This is how a board puts them together:
//!
//! ```
//! use std::sync::Arc;
//! use flatview_accel::{Clock, Control};
//! use flatview_pc::irq::{CpuInterrupts, Gsi, Ioapic, IrqLine, Lapic, Pic};
//! use flatview_pc::timer::TimerQueue;
//!
//! let control = Arc::new(Control::new(Clock::host()));
//! let timers = TimerQueue::new(Arc::clone(&control));
//! let lapic = Lapic::new(0, &timers, Arc::clone(&control));
//! let pic = Pic::new(IrqLine::new(lapic.clone(), Lapic::LINT0));
//! let ioapic = Ioapic::new(lapic.clone());
//! let gsi = Gsi::new(Arc::clone(&pic), Arc::clone(&ioapic));
//! let interrupts = CpuInterrupts::new(lapic, pic);
//! let keyboard = IrqLine::new(gsi, 1);
//! # let _ = (interrupts, keyboard);
//! ```
//!
//! # Locks
//!
//! A device may raise or lower a line while it holds its own lock: a controller never calls a device. Among the
//! controllers the order is [`Gsi`], [`Pic`], [`Ioapic`], [`Lapic`], [`Control`](flatview_accel::Control).

mod accelerated;
mod ioapic;
mod lapic;
mod line;
mod message;
mod pic;
#[cfg(test)]
pub(crate) mod probe;
mod wiring;

pub use accelerated::{AcceleratedApics, AcceleratedLines};
pub use ioapic::Ioapic;
pub use lapic::{APIC_DEFAULT_BASE, Lapic};
pub use line::{InterruptSink, IrqLine};
pub use message::{DeliveryMode, InterruptMessage, LocalApics};
pub use pic::Pic;
pub use wiring::{CpuInterrupts, ExternalInterrupts, Gsi};
