//! The listings of the repository's texts, compiled and run as doctests.

#[doc = include_str!("../../../README.md")]
mod readme {}

#[doc = include_str!("../../../docs/guide/README.md")]
mod guide {}

#[doc = include_str!("../../../docs/qemu.md")]
mod qemu {}
