//! Understand the memory map of any QEMU: what `info mtree` prints, parsed, rebuilt, checked, explained and drawn.
//!
//! # Words
//!
//! - A [dump](text::Dump) is what one `info mtree` printed: a [tree](text::TreeDump) of regions, or, with `-f`, the
//!   [flat views](text::FlatDump) of address spaces.
//! - The [`Graph`](graph::Graph) is what a tree's text is about: each region once, however often it is printed.
//! - The text does not say everything. [`Facts`](facts::Facts) answer what it leaves open: by what is likely, or by
//!   what the flat views prove.
//! - Graph and facts are [rebuilt](rebuild::Rebuilt) as a [`flatview::Memory`], which renders, explains and prints.
//! - A [`Machine`](machine::Machine) is all of that, from the dumps of one QEMU. A [`Layout`](layout::Layout) says where
//!   everything lies in one of its spaces, what of it is seen, and who hides the rest.
//!
//! # From a text to an answer
//!
//! ```
//! use flatview_mtree::machine::Machine;
//! use flatview_mtree::text::parse;
//!
//! let text = "\
//! (qemu) info mtree
//! address-space: memory
//!   0000000000000000-ffffffffffffffff (prio 0, i/o): system
//!     0000000000000000-0000000007ffffff (prio 0, ram): pc.ram
//!     00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem
//!
//! (qemu) quit
//! ";
//! let machine = Machine::new(parse(text)?)?;
//! let explained = machine.explain(machine.space(None)?, 0xa_0000)?;
//! assert_eq!(explained.explanation.answer().unwrap().name, "vga-lowmem");
//! assert_eq!(
//!     explained.to_string(),
//!     "\
//! 0xa0000 of address space `memory`
//!   system (container, 0x0-0xffffffffffffffff) at its byte 0xa0000
//!     vga-lowmem (i/o, 0xa0000-0xbffff, prio 1) at its byte 0x0
//! is answered by vga-lowmem at its byte 0x0
//!   in the view 0xa0000-0xbffff
//! overruled:
//!   pc.ram (ram, 0x0-0x7ffffff, prio 0) at its byte 0xa0000
//!     within system: lower priority than vga-lowmem (prio 1)
//! "
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The rooms
//!
//! | module | what it does |
//! |---|---|
//! | [`text`] | from text to dumps and back, to the letter; streams of any length, one dump at a time |
//! | [`graph`] | from lines to regions: who contains whom, which lines are one region, what aliases lead to |
//! | [`facts`], [`rebuild`] | what is taken for true beyond the text; the machine as a [`flatview::Memory`] |
//! | [`check`] | whether a tree and flat views agree, and what has to be true for it |
//! | [`machine`], [`layout`] | the dumps of one machine together; where everything lies in a space |
//! | [`explain`], [`find`], [`lint`], [`diff`] | answers: why an address resolves as it does, where a region is seen, what is odd, what changed |
//! | [`draw`] | pictures: SVG, and a page to look around in |
//! | [`qmp`] | dumps from a running QEMU |
//! | [`address`] | `4G-64K` |
//!
//! The program `flatview` (crate `flatview-cli`) has a command for each; `docs/mtree.md` in the repository shows them.
//!
//! # Bounds
//!
//! A text may come from anybody. Parsing takes memory linear in the largest dump; what means more than any machine does
//! (aliases of aliases that multiply, hundreds of levels) is an [error](Error) when it is rendered or laid out.

#![forbid(unsafe_code)]

pub mod address;
pub mod check;
pub mod diff;
pub mod draw;
mod error;
pub mod explain;
pub mod facts;
pub mod find;
pub mod graph;
pub mod layout;
pub mod lint;
pub mod machine;
pub mod qmp;
pub mod rebuild;
mod survey;
mod sweep;
#[cfg(test)]
mod test_dump;
pub mod text;
mod units;

pub use error::Error;
