//! A PC of QEMU's kind (`-machine pc`: i440FX and PIIX3), whose memory map is a [`flatview`] tree.
#![forbid(unsafe_code)]

pub mod board;
pub mod chipset;
pub mod demo;
pub mod device;
pub mod devices;
pub mod firmware;
pub mod irq;
pub mod layout;
pub mod machine;
pub mod pci;
pub mod request;
pub mod timer;
pub mod trace;

#[cfg(doctest)]
mod guides;
