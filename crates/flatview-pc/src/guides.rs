//! The listings of the repository's texts, compiled and run as doctests.

#[doc = include_str!("../../../docs/guide/machine.md")]
mod machine {}
