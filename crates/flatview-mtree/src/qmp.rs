//! Ask a running QEMU: a client of the QEMU Machine Protocol, with just what `info mtree` needs.
//!
//! QEMU must have been started with a QMP socket, say `-qmp unix:/tmp/qmp.sock,server=on,wait=off`:
//!
//! ```no_run
//! use flatview_mtree::qmp::{Address, Client, Flags};
//!
//! # fn main() -> Result<(), flatview_mtree::qmp::Error> {
//! let mut qemu = Client::connect(&Address::unix("/tmp/qmp.sock"))?;
//! println!("QEMU {}", qemu.version());
//! print!("{}", qemu.info_mtree(Flags { flat: true, ..Flags::default() })?);
//! # Ok(())
//! # }
//! ```
//!
//! # What goes over the wire
//!
//! QEMU greets with its version, the client asks for `qmp_capabilities`, and from then on each command gets one
//! answer, which has the `id` of the command. A message is a line of JSON. Events come in between at any time; they
//! are skipped, and so are answers to commands that were given up. An answer without an `id` counts for the command
//! that waits, for there is only one.
//!
//! A QMP socket serves one client at a time, and lets the next one wait without a word. Nothing tells that from a
//! QEMU that hangs, so [`Error::NoGreeting`] names both.
//!
//! # Whom it trusts
//!
//! Nobody. Every step has a time to be done in, however slowly the bytes come, and every line a length: see
//! [`Options`].

mod address;
mod client;
mod error;
mod flags;
mod lines;
mod message;
mod stream;

pub use address::{Address, ParseAddressError};
pub use client::{Client, Options};
pub use error::Error;
pub use flags::Flags;
pub use message::Version;
