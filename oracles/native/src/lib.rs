//! Oracles for the software CPU: who says what an instruction does.
//!
//! - [`Host`]: the processor that runs the test. It executes one instruction of user code, 64-, 32- or 16-bit, from a
//!   given state.
//! - [`Soft`]: the same instruction on any [`flatview_accel::Accelerator`], in the same place, with the same descriptors.
//! - [`generate`](mod@generate): random instructions, family by family.
//! - [`differential`]: runs both and compares.
//!
//! # Words
//!
//! - A [`Case`] is one instruction with the registers it begins with.
//! - An [`Arena`] is the memory it sees: six pages of a *window* of linear addresses; see [`layout`].
//! - An [`Outcome`] is the registers it leaves, and the [`Fault`] it raised, if any.
//! - A [`Mode`] is the size of its code segment, and which segments it runs with.
#![expect(
    clippy::cast_possible_truncation,
    reason = "a processor's numbers are cut to operand sizes everywhere"
)]

pub mod board;
pub mod case;
pub mod differential;
pub mod generate;
pub mod host;
pub mod layout;
pub mod soft;
pub mod undefined;

pub use case::{Arena, Case, Fault, Mode, Outcome, Selectors, State};
pub use host::{Host, Unavailable};
pub use soft::{Soft, Stuck};
