//! The lines of a dispatch table (`info mtree -f -d`).

use std::fmt;

use super::cursor::{Cursor, Expected};

/// QEMU's table from addresses to sections, as `-d` prints it behind a view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dispatch<'a> {
    /// The sections, in the order of their numbers.
    pub sections: Vec<SectionLine<'a>>,
    /// The root of the tree of nodes.
    pub root: NodesLine,
    /// The nodes.
    pub nodes: Vec<Node>,
}

/// A section: a range of a region, cut so that the table can tell it by whole pages, or such a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionLine<'a> {
    /// Its number.
    pub number: u32,
    /// The first address.
    pub start: u64,
    /// The last address, inclusive.
    pub last: u64,
    /// The region's name, `(noname)` if it has none, and all marks behind it: which are whose is not sure, as
    /// the first four are printed by number alone.
    pub text: &'a str,
}

/// Where the tree of nodes begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodesLine {
    /// Bits of an address that one level looks at.
    pub bits: u32,
    /// Levels.
    pub levels: u32,
    /// The node or section where it begins; all ones of its 26 bits for none.
    pub ptr: u32,
    /// How many levels to go down.
    pub skip: u32,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub number: u32,
    /// Its entries, equal neighbours as one.
    pub entries: Vec<EntryLine>,
}

/// A run of equal entries of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryLine {
    /// The first entry.
    pub first: u32,
    /// The last entry, inclusive.
    pub last: u32,
    /// How many levels to go down; 0 for a section.
    pub skip: u32,
    /// Where to.
    pub to: Pointer,
}

/// What an entry points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pointer {
    /// Nothing.
    Nil,
    /// A section.
    Section(u32),
    /// A node.
    Node(u32),
}

pub(super) const DISPATCH: &str = "  Dispatch";
pub(super) const SECTIONS: &str = "    Physical sections";

impl<'a> SectionLine<'a> {
    pub(super) fn parse(mut text: Cursor<'a>) -> Result<Self, Expected> {
        text.expect("      #", "a section, `      #` and its number")?;
        let number = text.number()?;
        text.expect(" @", "` @` and the first address")?;
        let start = text.hex16()?;
        text.expect("..", "`..` and the last address")?;
        let last = text.hex16()?;
        text.expect(" ", "a space and the name")?;
        Ok(SectionLine {
            number,
            start,
            last,
            text: text.rest(),
        })
    }
}

impl NodesLine {
    pub(super) const START: &str = "    Nodes (";

    pub(super) fn parse(mut text: Cursor<'_>) -> Result<Self, Expected> {
        text.expect(NodesLine::START, "`    Nodes (`")?;
        let bits = text.number()?;
        text.expect(" bits per level, ", "` bits per level, `")?;
        let levels = text.number()?;
        text.expect(" levels) ptr=[", "` levels) ptr=[`")?;
        let ptr = text.number()?;
        text.expect("] skip=", "`] skip=`")?;
        let skip = text.number()?;
        end(&text)?;
        Ok(NodesLine {
            bits,
            levels,
            ptr,
            skip,
        })
    }
}

impl Node {
    pub(super) const START: &str = "      [";

    pub(super) fn parse(mut text: Cursor<'_>) -> Result<Self, Expected> {
        text.expect(Node::START, "a node, `      [` and its number")?;
        let number = text.number()?;
        text.expect("]", "`]`")?;
        end(&text)?;
        Ok(Node {
            number,
            entries: Vec::new(),
        })
    }
}

impl EntryLine {
    pub(super) fn parse(mut text: Cursor<'_>) -> Result<Self, Expected> {
        text.expect("\t", "an entry, behind a tabulator")?;
        while text.eat(" ") {}
        let first = text.number()?;
        let last = if text.eat("..") { text.number()? } else { first };
        while text.eat(" ") {}
        text.expect("skip=", "`skip=`")?;
        let skip = text.number()?;
        text.expect("  ptr=", "two spaces and `ptr=`")?;
        let to = if text.eat("NIL") {
            Pointer::Nil
        } else if text.eat("#") {
            Pointer::Section(text.number()?)
        } else {
            text.expect("[", "NIL, `#` and a section, or `[` and a node")?;
            let node = text.number()?;
            text.expect("]", "`]`")?;
            Pointer::Node(node)
        };
        end(&text)?;
        Ok(EntryLine {
            first,
            last,
            skip,
            to,
        })
    }
}

fn end(text: &Cursor<'_>) -> Result<(), Expected> {
    match text.rest().is_empty() {
        true => Ok(()),
        false => text.expected("the end of the line"),
    }
}

impl fmt::Display for Dispatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{DISPATCH}\n{SECTIONS}")?;
        for section in &self.sections {
            let SectionLine {
                number,
                start,
                last,
                text,
            } = section;
            writeln!(f, "      #{number} @{start:016x}..{last:016x} {text}")?;
        }
        let NodesLine {
            bits,
            levels,
            ptr,
            skip,
        } = self.root;
        let start = NodesLine::START;
        writeln!(
            f,
            "{start}{bits} bits per level, {levels} levels) ptr=[{ptr}] skip={skip}"
        )?;
        for node in &self.nodes {
            writeln!(f, "{}{}]", Node::START, node.number)?;
            for entry in &node.entries {
                writeln!(f, "{entry}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for EntryLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "\t{:3}      ", self.first)?;
        } else {
            write!(f, "\t{:3}..{:<3} ", self.first, self.last)?;
        }
        write!(f, " skip={}  ptr=", self.skip)?;
        match self.to {
            Pointer::Nil => f.write_str("NIL"),
            Pointer::Section(section) => write!(f, "#{section}"),
            Pointer::Node(node) => write!(f, "[{node}]"),
        }
    }
}
