//! The examples, run: `cargo test` builds them and no more.

#[path = "../examples/vfio_quirk.rs"]
mod vfio_quirk;
