//! What one `info mtree` printed.

use std::fmt;

use super::dispatch::Dispatch;
use super::lines::{RangeLine, RegionLine, SpaceLine};

/// What one `info mtree` printed; [`Display`](fmt::Display) prints it again, to the letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dump<'a> {
    /// Without `-f`.
    Tree(TreeDump<'a>),
    /// With `-f`.
    Flat(FlatDump<'a>),
}

/// Trees of regions: first those of address spaces, then those that aliases lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeDump<'a> {
    /// The trees, as they were printed.
    pub groups: Vec<Group<'a>>,
}

/// A tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group<'a> {
    /// The line of the text of its first heading, from 1 on.
    pub number: u32,
    /// Whose tree it is.
    pub heading: Heading<'a>,
    /// The regions. None if the root is disabled and was to be left out; a root that was is not the first line
    /// here: that one has a level of 2 or more.
    pub lines: Vec<RegionLine<'a>>,
    /// How many marks of an overflow stand behind the last line: those of regions that have none.
    pub overflows: u32,
}

/// Whose tree it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Heading<'a> {
    /// That of these address spaces, which have the same root.
    Spaces(Vec<&'a str>),
    /// That of a region of this name, which an alias leads to.
    Region(&'a str),
}

/// Flat views.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlatDump<'a> {
    /// The views, as they were printed.
    pub views: Vec<View<'a>>,
}

/// A view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View<'a> {
    /// The line of the text of its heading, from 1 on.
    pub number: u32,
    /// What stands behind the `#`.
    pub index: u32,
    /// The spaces that show it, the oldest first.
    pub spaces: Vec<SpaceLine<'a>>,
    /// The region that it is rendered from (rule C30); `(none)` if there is nothing.
    pub root: &'a str,
    /// The line of the root was read.
    pub(super) has_root: bool,
    /// The ranges.
    pub ranges: Vec<RangeLine<'a>>,
    /// What `-d` adds, if the view has ranges.
    pub dispatch: Option<Dispatch<'a>>,
}

impl<'a> Dump<'a> {
    /// The trees, if that is what was printed.
    pub fn tree(&self) -> Option<&TreeDump<'a>> {
        match self {
            Dump::Tree(tree) => Some(tree),
            Dump::Flat(_) => None,
        }
    }

    /// The views, if that is what was printed.
    pub fn flat(&self) -> Option<&FlatDump<'a>> {
        match self {
            Dump::Flat(flat) => Some(flat),
            Dump::Tree(_) => None,
        }
    }
}

impl<'a> TreeDump<'a> {
    /// All regions' lines.
    pub fn lines(&self) -> impl Iterator<Item = &RegionLine<'a>> {
        self.groups.iter().flat_map(|group| &group.lines)
    }

    /// Whether it was printed with `-o`.
    pub fn has_owners(&self) -> bool {
        self.lines().next().is_some_and(|line| !line.owner.is_empty())
    }

    /// Whether it was printed with `-D`. A machine without a disabled region looks the same both ways.
    pub fn has_disabled(&self) -> bool {
        self.lines().any(|line| line.line.disabled)
    }
}

impl FlatDump<'_> {
    /// Whether it was printed with `-o`.
    pub fn has_owners(&self) -> bool {
        let mut ranges = self.views.iter().flat_map(|view| &view.ranges);
        ranges.next().is_some_and(|range| !range.owner.is_empty())
    }
}

impl fmt::Display for Dump<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dump::Tree(tree) => tree.fmt(f),
            Dump::Flat(flat) => flat.fmt(f),
        }
    }
}

impl fmt::Display for TreeDump<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.groups.iter().try_for_each(|group| group.fmt(f))
    }
}

impl fmt::Display for Group<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.heading {
            Heading::Spaces(names) => {
                for name in names {
                    writeln!(f, "{SPACE}{name}")?;
                }
            }
            Heading::Region(name) => writeln!(f, "{REGION}{name}")?,
        }
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        for _ in 0..self.overflows {
            f.write_str(OVERFLOW)?;
        }
        f.write_str("\n")
    }
}

impl fmt::Display for FlatDump<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.views.iter().try_for_each(|view| view.fmt(f))
    }
}

impl fmt::Display for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{VIEW}{}", self.index)?;
        for space in &self.spaces {
            writeln!(f, "{space}")?;
        }
        writeln!(f, "{ROOT}{}", self.root)?;
        if self.ranges.is_empty() {
            writeln!(f, "{EMPTY}")?;
        }
        for range in &self.ranges {
            writeln!(f, "{range}")?;
        }
        if let Some(dispatch) = &self.dispatch {
            write!(f, "{dispatch}")?;
        }
        f.write_str("\n")
    }
}

pub(super) const SPACE: &str = "address-space: ";
pub(super) const REGION: &str = "memory-region: ";
pub(super) const VIEW: &str = "FlatView #";
pub(super) const ROOT: &str = " Root memory region: ";
pub(super) const EMPTY: &str = "  No rendered FlatView";
pub(super) const OVERFLOW: &str = "[DETECTED OVERFLOW!] ";
