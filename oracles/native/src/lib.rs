//! Oracles for the software CPU: who says what an instruction does.
//!
//! - [`Host`]: the processor that runs the test. It executes one instruction of user code, 64-, 32- or 16-bit, from a
//!   given state.
//! - Soft

//!
//! # Words
//!
//! - A [`Case`] is one instruction with the registers it begins with.
//! - An [`Arena`] is the memory it sees: six pages of a *window* of linear addresses; see [`layout`].
//! - An [`Outcome`] is the registers it leaves, and the [`Fault`] it raised, if any.
//! - A [`Mode`] is the size of its code segment, and which segments it runs with.

pub mod case;
pub mod host;
pub mod layout;

pub use case::{Arena, Case, Fault, Mode, Outcome, Selectors, State};
pub use host::{Host, Unavailable};
