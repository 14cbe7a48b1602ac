//! Texts: taken apart, and compared.

use std::collections::HashMap;
use std::fmt::Write as _;

use flatview::{AddressSpace, FlatRange};

use crate::Failure;

const SPACE: &str = "address-space: ";
const REGION: &str = "memory-region: ";
const VIEW: &str = "FlatView #";
const USER: &str = " AS \"";
const KVM: &str = " KVM";

/// Says where two texts differ, if they do.
pub(crate) fn expect_equal(what: &str, expected: &str, ours: &str) -> Result<(), Failure> {
    if expected == ours {
        return Ok(());
    }
    let (expected, ours): (Vec<&str>, Vec<&str>) =
        (expected.split('\n').collect(), ours.split('\n').collect());
    let same = expected.iter().zip(&ours).take_while(|(a, b)| a == b).count();
    let mut message = format!("{what} differs from line {} on:\n", same + 1);
    for line in &expected[same.saturating_sub(2)..same] {
        let _ = writeln!(message, "  {line}");
    }
    for (sign, lines) in [('-', &expected), ('+', &ours)] {
        for line in lines[same..].iter().take(4) {
            let _ = writeln!(message, "{sign} {line}");
        }
    }
    Err(message)
}

/// One group of a tree text: the spaces, or the region, and the tree.
#[derive(Debug, Default)]
pub(crate) struct TreeGroup<'a> {
    /// Names of spaces; empty if this is the tree of an alias's target.
    pub(crate) spaces: Vec<&'a str>,
    pub(crate) region: Option<&'a str>,
    pub(crate) lines: Vec<&'a str>,
}

/// The groups of a tree text. What ends one is the heading of the next: a hidden overflow can stand in the
/// empty line between them.
pub(crate) fn tree_groups(text: &str) -> Vec<TreeGroup<'_>> {
    let mut groups: Vec<TreeGroup<'_>> = Vec::new();
    for line in text.lines() {
        let heading = (line.strip_prefix(SPACE), line.strip_prefix(REGION));
        match (heading, groups.last_mut()) {
            ((Some(space), _), Some(group)) if group.lines.is_empty() && group.region.is_none() => {
                group.spaces.push(space);
            }
            ((Some(space), _), _) => groups.push(TreeGroup {
                spaces: vec![space],
                ..TreeGroup::default()
            }),
            ((_, region @ Some(_)), _) => groups.push(TreeGroup {
                region,
                ..TreeGroup::default()
            }),
            (_, Some(group)) => group.lines.push(line),
            (_, None) => groups.push(TreeGroup {
                lines: vec![line],
                ..TreeGroup::default()
            }),
        }
    }
    groups
}

/// One view of a flat text.
#[derive(Debug, Default)]
pub(crate) struct ViewBlock<'a> {
    /// What follows ` AS "` on each line.
    pub(crate) users: Vec<&'a str>,
    /// The root and the ranges, without marks of an accelerator.
    pub(crate) lines: Vec<&'a str>,
    /// How often each of the lines is marked.
    pub(crate) marks: Vec<usize>,
}

pub(crate) fn view_blocks(text: &str) -> Vec<ViewBlock<'_>> {
    let mut blocks: Vec<ViewBlock<'_>> = Vec::new();
    for line in text.lines() {
        if line.starts_with(VIEW) || blocks.is_empty() {
            blocks.push(ViewBlock::default());
            continue;
        }
        let Some(block) = blocks.last_mut() else { continue };
        if let Some(user) = line.strip_prefix(USER) {
            block.users.push(user);
            continue;
        }
        let bare = line.trim_end_matches(KVM);
        block.lines.push(bare);
        block.marks.push((line.len() - bare.len()) / KVM.len());
    }
    blocks
}

/// Which ranges of which spaces a dump shows as KVM's. It only says how many spaces of a view have a range:
/// here it is the first ones.
pub(crate) struct Marks {
    /// By name of the space's place in the dump.
    places: HashMap<usize, (usize, usize)>,
    spaces: Vec<AddressSpace>,
    counts: HashMap<(usize, u64), usize>,
}

impl Marks {
    /// `spaces` come in the order of the dump.
    pub(crate) fn of(dump: &str, spaces: &[AddressSpace]) -> Marks {
        let mut marks = Marks {
            places: HashMap::new(),
            spaces: spaces.to_vec(),
            counts: HashMap::new(),
        };
        for (view, block) in view_blocks(dump).iter().enumerate() {
            for position in 0..block.users.len() {
                marks.places.insert(marks.places.len(), (view, position));
            }
            for (line, &count) in block.lines.iter().zip(&block.marks) {
                if count != 0
                    && let Some(start) = line.get(2..18)
                    && let Ok(start) = u64::from_str_radix(start, 16)
                {
                    marks.counts.insert((view, start), count);
                }
            }
        }
        marks
    }

    pub(crate) fn has(&self, space: &AddressSpace, range: &FlatRange) -> bool {
        let place = self.spaces.iter().position(|other| other == space);
        let Some(&(view, position)) = place.and_then(|place| self.places.get(&place)) else {
            return false;
        };
        self.counts
            .get(&(view, range.start()))
            .is_some_and(|&count| position < count)
    }
}
