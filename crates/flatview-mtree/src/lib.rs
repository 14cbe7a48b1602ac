//! Understand the memory map of any QEMU: what `info mtree` prints, parsed, rebuilt, checked and drawn.

#![forbid(unsafe_code)]

pub mod address;
pub mod check;
pub mod draw;
mod error;
pub mod explain;
pub mod facts;
pub mod graph;
pub mod layout;
pub mod machine;
pub mod qmp;
pub mod rebuild;
pub mod text;

pub use error::Error;
