//! Understand the memory map of any QEMU: what `info mtree` prints, parsed, rebuilt, checked and drawn.

#![forbid(unsafe_code)]

pub mod check;
pub mod diff;
mod error;
pub mod facts;
pub mod find;
pub mod graph;
pub mod layout;
pub mod lint;
pub mod machine;
pub mod rebuild;
mod survey;
#[cfg(test)]
mod test_dump;
pub mod text;
mod units;

pub use error::Error;
