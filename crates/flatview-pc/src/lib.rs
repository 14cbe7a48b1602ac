//! A PC of QEMU's kind (`-machine pc`: i440FX and PIIX3), whose memory map is a [`flatview`] tree.
#![forbid(unsafe_code)]

pub mod device;
pub mod devices;
pub mod irq;
pub mod timer;
