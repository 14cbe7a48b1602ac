//! What people look for who debug the memory of a virtual machine, with a reason for each.
//!
//! | kind | what it tells |
//! |---|---|
//! | [`hole`](Kind::Hole) | addresses between others at which nobody answers |
//! | [`fully-hidden`](Kind::FullyHidden) | an enabled region that others hide to the last byte, wherever it is |
//! | [`shadowed-partly`](Kind::ShadowedPartly) | RAM that others hide in part, below 1 MiB excepted |
//! | [`clipped`](Kind::Clipped) | a region that its container, or all that shows it, cuts off |
//! | [`alias-beyond-target`](Kind::AliasBeyondTarget) | an alias with bytes that its target has not |
//! | [`missing-target`](Kind::MissingTarget) | an alias to something that the dump has not |
//! | [`overflow`](Kind::Overflow) | a region that ends beyond 2^64 |
//! | [`same-priority-overlap`](Kind::SamePriorityOverlap) | regions of which only the order says who is in front |
//! | [`zero-or-one-byte`](Kind::ZeroOrOneByte) | an alias of which the text does not tell whether it has a byte |
//! | [`duplicate-mapping`](Kind::DuplicateMapping) | memory that is seen at two addresses |
//! | [`largest`](Kind::Largest) | the largest ranges of each view |
//!
//! Spaces that show the same are told once.

mod order;
mod regions;
mod text;
mod views;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::str::FromStr;

use flatview::AddressRange;
use serde::Serialize;

use crate::error::Error;
use crate::graph::{Graph, NodeId};
use crate::machine::Machine;
use crate::survey::Survey;
use crate::units::{rank, sort_spaces};

pub use text::Report;

/// What to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The kinds of finding; all of them if there is none.
    pub only: Vec<Kind>,
    /// How many of the largest ranges of each view.
    pub largest: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            only: Vec::new(),
            largest: 5,
        }
    }
}

/// A kind of finding; as text its name in kebab-case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// Addresses between others of a view with RAM at which nobody answers.
    Hole,
    /// An enabled region that others hide to the last byte in every space in which it is.
    FullyHidden,
    /// RAM that others hide in part. What a PC hides below 1 MiB is not told: all of them do.
    ShadowedPartly,
    /// A region that lies partly or wholly outside of its container, or outside of all windows that could show it.
    Clipped,
    /// An alias that goes on behind the end of its target, or begins there.
    AliasBeyondTarget,
    /// An alias whose target is not in the dump.
    MissingTarget,
    /// A region that begins or ends beyond 2^64.
    Overflow,
    /// Enabled siblings of one priority that overlap.
    SamePriorityOverlap,
    /// An alias that the text gives one byte, which is also what it prints for none. Flat views settle it.
    ZeroOrOneByte,
    /// The same bytes of memory at two addresses of one space.
    DuplicateMapping,
    /// A range that is among the largest of its view.
    Largest,
}

impl Kind {
    /// All of them, in the order of a report.
    pub const ALL: [Kind; 11] = [
        Kind::Overflow,
        Kind::MissingTarget,
        Kind::AliasBeyondTarget,
        Kind::FullyHidden,
        Kind::ShadowedPartly,
        Kind::Clipped,
        Kind::SamePriorityOverlap,
        Kind::ZeroOrOneByte,
        Kind::DuplicateMapping,
        Kind::Hole,
        Kind::Largest,
    ];

    /// Its name: `fully-hidden`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Hole => "hole",
            Kind::FullyHidden => "fully-hidden",
            Kind::ShadowedPartly => "shadowed-partly",
            Kind::Clipped => "clipped",
            Kind::AliasBeyondTarget => "alias-beyond-target",
            Kind::MissingTarget => "missing-target",
            Kind::Overflow => "overflow",
            Kind::SamePriorityOverlap => "same-priority-overlap",
            Kind::ZeroOrOneByte => "zero-or-one-byte",
            Kind::DuplicateMapping => "duplicate-mapping",
            Kind::Largest => "largest",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// There is no kind of finding of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no kind `{0}`")]
pub struct UnknownKind(pub String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Kind, UnknownKind> {
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        kind.ok_or_else(|| UnknownKind(name.to_owned()))
    }
}

/// Something worth a look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of thing.
    pub kind: Kind,
    /// The names of the spaces in which it is; none for what is wrong in the tree, wherever it is shown.
    pub spaces: Vec<String>,
    /// The regions: first the one that it is about.
    pub regions: Vec<RegionName>,
    /// The addresses in these spaces; none for what is wrong in the tree.
    pub ranges: Vec<AddressRange>,
    /// The line of the dump where to look, from 1 on.
    pub line: Option<u32>,
    /// What it is, and why.
    pub sentence: String,
    /// Nobody wonders about it: it is left out of the text, not of the JSON.
    pub is_usual: bool,
}

/// A region, as a finding names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RegionName {
    /// Its name.
    pub name: String,
    /// Its line of the dump, from 1 on, if it has one.
    pub line: Option<u32>,
}

impl RegionName {
    fn of(graph: &Graph<'_>, node: NodeId) -> RegionName {
        RegionName {
            name: graph.nodes[node].name.to_owned(),
            line: graph.nodes[node].line,
        }
    }
}

/// Looks through a machine. Findings of one kind stand together, in the order of [`Kind::ALL`].
///
/// # Errors
///
/// Those of [`Layout::new`](crate::layout::Layout::new).
///
/// ```
/// use flatview_mtree::lint::{Kind, Options, lint};
/// use flatview_mtree::machine::Machine;
/// use flatview_mtree::text::parse;
///
/// let dumps = parse(
///     "\
/// address-space: memory
///   0000000000000000-ffffffffffffffff (prio 0, i/o): system
///     0000000000000000-0000000007ffffff (prio 0, ram): pc.ram
///     0000000004000000-0000000004000fff (prio -1, i/o): lost
///
/// ",
/// )?;
/// let options = Options { only: vec![Kind::FullyHidden], ..Options::default() };
/// let findings = lint(&Machine::new(dumps)?, &options)?;
/// assert_eq!(
///     findings[0].to_string(),
///     "fully-hidden: memory: lost (line 4) at 0x4000000-0x4000fff (4 KiB) is hidden by pc.ram"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn lint(machine: &Machine<'_>, options: &Options) -> Result<Vec<Finding>, Error> {
    let survey = Survey::new(machine)?;
    let mut findings = Vec::new();
    for kind in Kind::ALL {
        if !options.only.is_empty() && !options.only.contains(&kind) {
            continue;
        }
        match kind {
            Kind::Hole => views::holes(machine, &survey, &mut findings),
            Kind::DuplicateMapping => views::duplicates(machine, &survey, &mut findings),
            Kind::Largest => views::largest(machine, &survey, options.largest, &mut findings),
            Kind::FullyHidden => regions::hidden(machine, &survey, &mut findings),
            Kind::ShadowedPartly => regions::shadowed(machine, &survey, &mut findings),
            Kind::Clipped => regions::clipped(machine, &survey, &mut findings),
            Kind::AliasBeyondTarget => regions::beyond(machine, &mut findings),
            Kind::MissingTarget => regions::missing(machine, &mut findings),
            Kind::Overflow => regions::overflows(machine, &mut findings),
            Kind::ZeroOrOneByte => regions::one_byte(machine, &survey, &mut findings),
            Kind::SamePriorityOverlap => order::overlaps(machine, &survey, &mut findings),
        }
    }
    Ok(merged(findings))
}

/// What is the same in several views is told once, of all their spaces; those of a kind and of the same spaces stand
/// together.
fn merged(findings: Vec<Finding>) -> Vec<Finding> {
    let mut known: HashMap<(Kind, String), usize> = HashMap::new();
    let mut told: Vec<Finding> = Vec::new();
    for mut finding in findings {
        match known.entry((finding.kind, finding.sentence.clone())) {
            Entry::Occupied(same) if told[*same.get()].ranges == finding.ranges => {
                let same = &mut told[*same.get()];
                same.spaces.append(&mut finding.spaces);
                same.is_usual &= finding.is_usual;
            }
            Entry::Occupied(_) => told.push(finding),
            Entry::Vacant(new) => {
                new.insert(told.len());
                told.push(finding);
            }
        }
    }
    for finding in &mut told {
        sort_spaces(&mut finding.spaces);
    }
    // A large group of spaces has what is common to them: it comes before what is special to one.
    told.sort_by_cached_key(|finding| {
        let place = Kind::ALL.iter().position(|kind| *kind == finding.kind);
        let first = finding.spaces.first().map_or(0, |first| rank(first));
        (
            place,
            first,
            Reverse(finding.spaces.len()),
            finding.spaces.clone(),
        )
    });
    told
}

#[cfg(test)]
#[path = "../lint_test.rs"]
mod tests;
