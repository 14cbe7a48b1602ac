//! The standard VGA of QEMU (`-vga std`, PCI 1234:1111): a VGA with the Bochs display interface (DISPI).
//!
//! # Words
//!
//! - *VRAM* is its memory, all of which BAR 0 shows: the linear frame buffer.
//! - The *legacy window* is 0xa0000-0xbffff. What a guest reads and writes there goes through the VGA's logic: four
//!   *planes*, a bit or a byte of each at every address; *latches*, that keep what was read last; write modes.
//! - VRAM has the planes interleaved: byte `p` of every four belongs to plane `p`. So *chain 4* mode, where consecutive
//!   addresses are consecutive planes, is VRAM as it is; then the region `vga.chain4` shows it directly, in front of
//!   the legacy window. In text mode, characters are in plane 0, attributes in plane 1, fonts in plane 2, and
//!   *odd/even* addressing makes two consecutive addresses of a character and its attribute.
//! - *DISPI* is a few 16-bit registers that set resolutions a VGA does not have, and the *bank* of VRAM in the window.
//!
//! # What is there
//!
//! - `registers`: the VGA's registers behind ports 0x3b4-0x3da. `dispi`: those of the Bochs interface.
//! - `memory`: the logic of the legacy window.
//! - [`Screen`]: what is to be seen, for people and for tests. Nothing is drawn.
//! - [`Vga`]: all of it, its regions, and who moves `vga.chain4`.
//!
//! # Locks
//!
//! One lock has the registers and the latches. The memory map is changed without it.
//!
//! Sources: FreeVGA's register descriptions, which have IBM's names; the VBE DISPI interface of the Bochs VGA BIOS. Where
//! VRAM is what in the window, and how regions are named and placed, is as in QEMU.

mod adapter;
mod cp437;
mod dispi;
mod memory;
mod ports;
mod registers;
mod screen;

#[cfg(test)]
mod bench;
#[cfg(test)]
mod qemu_test;
#[cfg(test)]
mod vga_test;

pub use adapter::{Vga, VgaRegions};
pub use screen::{Cell, Screen, TextScreen};
