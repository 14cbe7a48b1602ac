//! Understand the memory map of any QEMU: what `info mtree` prints, parsed, rebuilt, checked and drawn.

#![forbid(unsafe_code)]

pub mod draw;
pub mod layout;
