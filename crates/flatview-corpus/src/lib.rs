//! Real machines, as QEMU showed them and as QEMU held them: the yardstick of the Flatview project.
//!
//! # Words
//!
//! - A [`Machine`] is one stopped QEMU 10.0.2, seen several ways at the same instant.
//! - Its [`Texts`] are what the monitor printed: `info mtree` with each of its flags.
//! - Its [`Truth`] is the exact graph of memory regions that QEMU held in memory: every [`TruthRegion`], by
//!   [`RegionId`], and the address spaces that begin at them. A model that is right makes the texts from the
//!   truth, to the letter.
//! - A [`Corpus`] is a source of machines: the 277 that the project carries ([`Corpus::packed`]), or a folder
//!   of one's own ([`Corpus::folder`]). Tests ask [`Corpus::from_env`], so that
//!   `FLATVIEW_CORPUS=FOLDER cargo test` judges the model by other machines without a change of code.
//!
//! # A walk over all machines
//!
//! Machines come one at a time, and only the one in hand is in memory:
//!
//! ```
//! use flatview_corpus::Corpus;
//!
//! let mut aliases = 0;
//! for machine in &Corpus::packed() {
//!     let machine = machine?;
//!     aliases += machine.truth.regions.values().filter(|region| region.alias.is_some()).count();
//! }
//! assert_eq!(aliases, 12_814);
//! # Ok::<(), flatview_corpus::Error>(())
//! ```
//!
//! One machine, by name:
//!
//! ```
//! use flatview_corpus::Corpus;
//!
//! let machine = Corpus::packed().machine("x86-pc-i440fx-4.2")?;
//! let (name, root) = &machine.truth.spaces[0];
//! assert_eq!((name.as_str(), machine.truth[*root].name.as_str()), ("memory", "system"));
//! assert_eq!(machine.truth[*root].size, 1 << 64);
//! # Ok::<(), flatview_corpus::Error>(())
//! ```
//!
//! # A folder of machines
//!
//! Each subfolder is a machine and gives it its name; plain files beside them are not looked at.
//!
//! | file | what | |
//! |---|---|---|
//! | `cmdline.txt` | [`Machine::cmdline`] | may be missing |
//! | `mtree.txt`, `mtree-D.txt`, `mtree-o.txt`, `mtree-Do.txt` | the tree, in [`Texts`] | may be missing |
//! | `mtree-f.txt`, `mtree-fd.txt`, `mtree-fo.txt` | the flat views, in [`Texts`] | may be missing |
//! | `truth.json` | [`Machine::truth`] | must be there, or in `extra.json.gz` |
//! | `extra.json.gz` | an object that may hold `mtree-fo.txt`, `mtree-Do.txt` and `truth` | may be missing |
//!
//! # The packed file
//!
//! `data/machines.tar.xz` is just such a folder (with `truth.json`, without `extra.json.gz`) as a tar in one
//! xz stream: `tar xf` unpacks it into a folder that [`Corpus::folder`] reads. Two things make it small, and
//! the order of the members serves both: machines of similar name stand side by side, and in a machine the
//! text that says most (`mtree-Do.txt`, `mtree-fo.txt`) stands before those that repeat parts of it. It is
//! made by [`pack`]:
//!
//! ```text
//! cargo run --release -p flatview-corpus --bin pack -- crates/flatview-corpus/data/machines.tar.xz FOLDER...
//! ```
//!
//! Currently there is this hole: two machines (`riscv64-virt-iommu`, `riscv64-virt-iommu-pci`) have no text
//! with owners (`-o`).

#![forbid(unsafe_code)]

mod archive;
mod corpus;
mod error;
mod machine;
mod truth;

pub use archive::pack;
pub use corpus::{Corpus, FOLDER_VARIABLE, Machines};
pub use error::Error;
pub use machine::{Machine, Texts};
pub use truth::{RegionId, Truth, TruthRegion};
