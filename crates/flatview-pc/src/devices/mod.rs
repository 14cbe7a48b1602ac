//! The devices of the PC, and what is behind them.

pub mod block;
pub mod ide;
pub mod vga;
