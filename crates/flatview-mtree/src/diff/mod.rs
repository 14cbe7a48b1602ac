//! What changed between two dumps: of one machine at two times, of two machines, of two versions of QEMU.
//!
//! The [trees](Diff::tree) say what was done: a BAR moved, a window was enabled. The [flat views](Diff::flat) say
//! what came of it. Neither depends on the order of groups, views and spaces, which in QEMU is that of a hash table;
//! names of owners do not count. A dump with disabled regions (`-D`) can be compared with one that has none: what
//! only the former can have is counted in a [note](Diff::notes).

mod flat;
mod pairs;
mod side;
mod text;
mod tree;

use flatview::AddressRange;
use serde::Serialize;

use crate::machine::Machine;
use side::Side;

/// The changes from one machine to another. As text, one line each: `+` for what is new, `-` for what is gone, `~`
/// for what is different.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// Spaces that only one of them has.
    pub spaces: Vec<SpaceChange>,
    /// Changes in the tree, by space and address.
    pub tree: Vec<TreeChange>,
    /// Changes in what spaces show: printed flat views where there are any, otherwise rendered ones.
    pub flat: Vec<FlatChanges>,
    /// What is to be said of the comparison itself.
    pub notes: Vec<String>,
}

/// A space that only one of the machines has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpaceChange {
    /// Its name.
    pub space: String,
    /// The name of its root.
    pub root: String,
    /// The later machine has it, not the earlier one.
    pub has_appeared: bool,
}

/// A change of one region in the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TreeChange {
    /// Where it stands: the name of a space, or of a region that aliases lead to and that is in nothing.
    pub tree: String,
    /// The names of all spaces that begin at the root of that tree; none if it is that of a region.
    pub spaces: Vec<String>,
    /// The name of the region.
    pub region: String,
    /// What it is, as the dump has it.
    pub kind: String,
    /// Its size in bytes; in hexadecimal in JSON.
    #[serde(serialize_with = "hex")]
    pub size: u128,
    /// Its priority.
    pub priority: i32,
    /// Whether it is enabled.
    pub is_enabled: bool,
    /// Where it began before, as the dump prints it.
    pub from: Option<u64>,
    /// Where it begins after.
    pub to: Option<u64>,
    /// Its line in the first dump, from 1 on.
    pub line_before: Option<u32>,
    /// Its line in the second.
    pub line_after: Option<u32>,
    /// What changed.
    pub what: What,
}

/// What changed of a region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "change")]
#[non_exhaustive]
pub enum What {
    /// It is new.
    Appeared {
        /// How many new regions are in it.
        regions: usize,
    },
    /// It is gone.
    Vanished {
        /// How many others went with it.
        regions: usize,
    },
    /// It is at another address, or in something else.
    Moved {
        /// The names of the containers before and after, if that is another one. Empty if there is none.
        containers: Option<(String, String)>,
    },
    /// It has another size, in bytes.
    Resized {
        /// Before; in hexadecimal in JSON.
        #[serde(serialize_with = "hex")]
        from: u128,
        /// After.
        #[serde(serialize_with = "hex")]
        to: u128,
    },
    /// It has another priority.
    Priority {
        /// Before.
        from: i32,
        /// After.
        to: i32,
    },
    /// It was disabled.
    Enabled,
    /// It was enabled.
    Disabled,
    /// It is something else, such as `rom` that was `ram`.
    Type {
        /// Before.
        from: String,
        /// After.
        to: String,
    },
    /// It is non-volatile now, or was.
    Nonvolatile {
        /// After.
        now: bool,
    },
    /// The alias leads to a region of another name.
    AliasTarget {
        /// Before.
        from: String,
        /// After.
        to: String,
    },
    /// The alias begins at another byte of its target.
    AliasOffset {
        /// Before.
        from: u64,
        /// After.
        to: u64,
    },
}

/// What changed in spaces that changed alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlatChanges {
    /// The names of the spaces.
    pub spaces: Vec<String>,
    /// They show nothing on one of the two sides, and on the other what this space shows: a device that may access
    /// memory now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub like: Option<String>,
    /// The changes, by address.
    pub changes: Vec<FlatChange>,
}

/// Addresses at which something else answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct FlatChange {
    /// The addresses.
    pub range: AddressRange,
    /// Who answered before; nobody in a hole.
    pub before: Option<Answer>,
    /// Who answers after.
    pub after: Option<Answer>,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Answer {
    /// The region.
    pub region: String,
    /// The byte of it that the first of the addresses is.
    pub offset: u64,
    /// Its type, as `info mtree -f` prints it: `rom` for what is seen read-only.
    pub type_name: String,
}

/// Compares two machines.
///
/// ```
/// use flatview_mtree::diff::diff;
/// use flatview_mtree::machine::Machine;
/// use flatview_mtree::text::parse;
///
/// let dump = |at: &str| {
///     format!(
///         "address-space: memory\n  {:016x}-{:016x} (prio 0, i/o): system\n    {at} (prio 1, i/o): e1000-mmio\n\n",
///         0,
///         u64::MAX
///     )
/// };
/// let texts = [
///     dump("00000000febc0000-00000000febdffff"),
///     dump("00000000e0000000-00000000e001ffff"),
/// ];
/// let dumps = [parse(&texts[0])?, parse(&texts[1])?];
/// let changes = diff(&Machine::new(dumps[0].clone())?, &Machine::new(dumps[1].clone())?);
/// assert_eq!(
///     changes.to_string(),
///     "\
/// ~ memory: e1000-mmio moved 0xfebc0000 -> 0xe0000000 (128 KiB)
/// ~ memory shows
/// +   0xe0000000-0xe001ffff (128 KiB)  nothing -> e1000-mmio (i/o)
/// -   0xfebc0000-0xfebdffff (128 KiB)  e1000-mmio (i/o) -> nothing
/// "
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn diff<'a>(before: &Machine<'a>, after: &Machine<'a>) -> Diff {
    let mut notes = Vec::new();
    let (spaces, tree) = tree::changes(&Side::new(before), &Side::new(after), &mut notes);
    if before.flat.is_some() != after.flat.is_some() {
        let which = if before.flat.is_some() { "second" } else { "first" };
        notes.push(format!(
            "the {which} dump has no flat views (-f): they are rendered from its tree, with guesses"
        ));
    }
    Diff {
        spaces,
        tree,
        flat: flat::changes(before, after),
        notes,
    }
}

impl Diff {
    /// Whether nothing changed. Notes do not count.
    pub fn is_empty(&self) -> bool {
        self.spaces.is_empty() && self.tree.is_empty() && self.flat.is_empty()
    }
}

impl What {
    /// Whether the region is there but once.
    fn is_whole(&self) -> bool {
        matches!(self, What::Appeared { .. } | What::Vanished { .. })
    }

    /// The order of the lines of one region.
    fn order(&self) -> usize {
        match self {
            What::Vanished { .. } => 0,
            What::Appeared { .. } => 1,
            What::Enabled => 2,
            What::Disabled => 3,
            What::Moved { .. } => 4,
            What::Resized { .. } => 5,
            What::Priority { .. } => 6,
            What::Type { .. } => 7,
            What::Nonvolatile { .. } => 8,
            What::AliasTarget { .. } => 9,
            What::AliasOffset { .. } => 10,
        }
    }
}

fn hex<S: serde::Serializer>(size: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{size:#x}"))
}

#[cfg(test)]
#[path = "../diff_test.rs"]
mod tests;
