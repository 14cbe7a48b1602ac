//! The text of `info mtree`: parsed without loss, printed as it was.

mod cursor;
mod dispatch;
mod dump;
mod error;
mod lines;
mod parse;
mod reader;
mod split;

pub use dispatch::{Dispatch, EntryLine, Node, NodesLine, Pointer, SectionLine};
pub use dump::{Dump, FlatDump, Group, Heading, TreeDump, View};
pub use error::ParseError;
pub use lines::{RangeLine, RegionLine, SpaceLine};
pub use parse::parse;
pub use reader::{DumpKind, DumpText, MOST_LINE, Reader};
