//! What tests of several crates need and none should copy.
//!
//! - [`program`]: a program that may be missing on this machine. The test then skips, loudly; where the environment
//!   variable `FLATVIEW_REQUIRE` names the program, as it does in CI, the test fails instead.
//! - [`file()`]: the same for what a package installs that is no program.
//! - [`unpacked`]: the same for a file of a package that is not installed, but unpacked into a folder.
//! - [`kvm`]: the same for the kernel's KVM.
//! - [`Qemu`]: a real QEMU, which answers on a QMP socket until it is dropped.
//! - [`Qtest`]: a real QEMU without a guest, whose ports and memory a test reads and writes.
//! - [`QmpServer`]: a server that says what a test wants to hear: events in between, half lines, nothing at all.
//! - [`wait_until`]: another thread does something, or the test fails.
//! - [`bios`], [`disk`]: guests of a few bytes.
//!
//! Everything here panics when it fails: that is what a test wants.

#![forbid(unsafe_code)]

mod guest;
mod need;
mod qemu;
mod qmp_server;
mod qtest;
mod wait;

pub use guest::{bios, disk};
pub use need::{file, kvm, program, unpacked};
pub use qemu::Qemu;
pub use qmp_server::{Peer, QmpServer};
pub use qtest::Qtest;
pub use wait::wait_until;
