//! Programs of a few instructions, on a tiny machine.
#![allow(clippy::unwrap_used, reason = "tests")]

mod assist;
mod assistant;
mod board;
mod code;
mod integers;
mod interrupts;
mod memory;
mod paging;
mod privileges;
mod real_mode;
mod robust;
mod simd;
mod smm;
mod state;
mod strings;
mod time;
mod x87;
