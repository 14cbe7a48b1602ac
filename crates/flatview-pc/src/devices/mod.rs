//! The small chips of a PC: timers, clock, keyboard, serial port, and two ports of a byte.
//!
//! A device is a state in a [`Mutex`](std::sync::Mutex), made by its `new`. Its `regions` say what of it is to be
//! mapped, and where QEMU's `pc` has it: a [`DeviceRegion`] each. Devices know wires
//! ([`IrqLine`](crate::irq::IrqLine)), the guest's time ([`TimerQueue`](crate::timer::TimerQueue)), and nothing of
//! the board.

mod debugcon;
mod hpet;
mod i8042;
mod pit;
mod port92;
mod regions;
mod rtc;
mod serial;

pub use debugcon::Debugcon;
pub use hpet::{Hpet, HpetLines};
pub use i8042::{I8042, I8042Lines, Key};
pub use pit::{PIT_FREQUENCY, Pit};
pub use port92::Port92;
pub use regions::DeviceRegion;
pub(crate) use regions::{ByteDevice, Bytes};
pub use rtc::Rtc;
pub use serial::Serial;

/// The shortest time between two interrupts of a timer, in nanoseconds. A guest may program shorter periods; it finds
/// the count right whenever it looks, but a vCPU that came out for each would do nothing else. (KVM does the same with
/// `min_timer_period_us`.)
pub(crate) const MIN_PERIOD: u64 = 10_000;
