//! What a comparison came to.

use flatview::AddressRange;
use serde::Serialize;

use super::Shown;

/// What the comparison came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The tree, with the usual answers to what its text leaves open, renders to just these views.
    Equal,
    /// It does with other answers: [`Report::assumed`] says which.
    Open,
    /// No answers were found with which it does.
    Different,
}

/// A comparison of a tree with flat views.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What it came to.
    pub verdict: Verdict,
    /// What the views show of the tree that its text does not say and that is not the usual thing.
    pub assumed: Vec<Assumed>,
    /// Where the views differ even so.
    pub differences: Vec<Difference>,
    /// How many spaces were compared.
    pub spaces: usize,
    /// How many ranges their printed views have together.
    pub ranges: usize,
}

/// Something that the text of a tree does not say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Assumed {
    /// The region that it is about.
    pub region: String,
    /// The line of the tree where it stands.
    pub line: Option<u32>,
    /// What is taken for true.
    pub what: Assumption,
}

/// What is taken for true of a region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Assumption {
    /// It answers where its children do not (rule A1).
    Answers,
    /// It is a pure container: it answers nowhere itself.
    PureContainer,
    /// What is seen through it can only be read (rule C16).
    Readonly,
    /// What is seen through it can be written.
    Writable,
    /// It is not joined to its neighbours (rule C18).
    Unmergeable,
    /// It is joined to its neighbours.
    Mergeable,
    /// It lies in a disabled region without a line.
    Unseen,
    /// It lies in the region that it stands under, although it begins behind its end.
    Within,
    /// It has no bytes.
    Empty,
    /// It has one byte.
    OneByte,
    /// It has no more than so many bytes, and no line that says it.
    NotLarger {
        /// The bytes.
        size: u128,
    },
    /// It leads to the region at this line of the tree, of several with the name.
    LeadsTo {
        /// The line, if it has one.
        line: Option<u32>,
    },
    /// Of the regions with its priority in its container that it overlaps with it is in front of these.
    InFrontOf {
        /// Their names; of one container, no more than a thousand in all.
        regions: Vec<String>,
    },
}

/// A difference that nothing explains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "difference")]
pub enum Difference {
    /// A space of this name and with a root of this name is printed, but the tree has none, or not as many.
    NoSpace {
        /// The space.
        space: String,
        /// Its root.
        root: String,
    },
    /// The tree has a space that no printed view mentions.
    NoView {
        /// The space.
        space: String,
        /// Its root.
        root: String,
    },
    /// A view begins at another region (rule C30).
    Root {
        /// The space.
        space: String,
        /// The name of the region that is printed.
        printed: String,
        /// The name of the one that it is rendered from.
        rendered: String,
    },
    /// Something else answers.
    Range {
        /// The space.
        space: String,
        /// The addresses.
        range: AddressRange,
        /// Who answers as printed; nobody in a hole.
        printed: Option<Shown>,
        /// Who answers as rendered.
        rendered: Option<Shown>,
        /// The line of the printed view, if there is one.
        line: Option<u32>,
    },
    /// One region is cut in two ranges in one of the views.
    Cut {
        /// The space.
        space: String,
        /// The first address of the second range.
        address: u64,
        /// Whether it is the printed view that has the cut.
        is_printed: bool,
    },
}
