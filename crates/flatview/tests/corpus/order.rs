//! In which order QEMU happened to print, found with a machine whose text says who is who.
//!
//! A group of QEMU's text is found among ours by its own text. Where several are the same to the letter (two
//! buses without devices, say), their owners tell them apart, and what other groups have told about owners.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use flatview::{Compat, Owner};
use flatview_corpus::{RegionId, Truth};

use crate::Failure;
use crate::graph::{OwnerAndParent, Plan};
use crate::text::{TreeGroup, expect_equal, tree_groups, view_blocks};

/// What is found out about the trees of a dump.
#[derive(Default)]
pub(crate) struct Trees {
    /// The spaces in the order in which the dump shows their trees.
    pub(crate) order: Vec<usize>,
    /// What the dump with owners has at the end of a region's line.
    pub(crate) owner_of: BTreeMap<RegionId, String>,
}

/// One of our groups.
struct Candidate {
    spaces: Vec<usize>,
    /// Whose each line is; nobody's is the empty one at the end.
    regions: Vec<Option<RegionId>>,
}

/// One of QEMU's groups.
struct Dumped {
    text: String,
    /// The owner at the end of each line, if a dump says so.
    owners: Vec<String>,
}

/// Looks for the groups of a dump of `info mtree`, with `-D` if `disabled`, among ours: each must be there,
/// and no other. `with_owners` is the same dump with `-o` too.
pub(crate) fn of_trees(
    truth: &Truth,
    dump: &str,
    disabled: bool,
    with_owners: Option<&str>,
) -> Result<Trees, Failure> {
    let built = Plan::new(truth)
        .space_name(&|index| index.to_string())
        .owners(&|id| (Some(Owner::device(id.to_string())), None))
        .compat(Compat::LOSSY_VIEW_ROOTS)
        .build()?;
    let text = built.memory.mtree().disabled(disabled).owners(true).to_string();
    let mut candidates: HashMap<String, Vec<Candidate>> = HashMap::new();
    for group in tree_groups(&text) {
        let spaces = numbers(group.spaces.iter().copied());
        let mut names: Vec<&str> = spaces.iter().map(|&index| &*truth.spaces[index].0).collect();
        names.sort_unstable();
        let (lines, regions): (Vec<&str>, _) = group.lines.iter().map(|line| unmark(line)).unzip();
        let text = text_of(&names, &group, &lines);
        candidates
            .entry(text)
            .or_default()
            .push(Candidate { spaces, regions });
    }
    Matching {
        truth,
        trees: Trees::default(),
        number_of: BTreeMap::new(),
        text_of: BTreeMap::new(),
    }
    .run(candidates, dumped(dump, with_owners)?)
}

/// The groups of a dump, each line's owner cut off.
fn dumped(dump: &str, with_owners: Option<&str>) -> Result<Vec<Dumped>, Failure> {
    let groups = tree_groups(dump);
    let more = with_owners.map(tree_groups);
    let mut dumped = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let mut owners = Vec::new();
        let longer = more.as_ref().and_then(|groups| groups.get(index));
        if let Some(longer) = longer.filter(|longer| longer.lines.len() == group.lines.len()) {
            for (line, longer) in group.lines.iter().zip(&longer.lines) {
                let owner = longer.strip_prefix(line);
                owners.push(
                    owner
                        .ok_or_else(|| format!("{line} is not\n{longer}"))?
                        .to_string(),
                );
            }
        } else if more.is_some() {
            return Err(format!("the dump with owners has another group {index}"));
        }
        dumped.push(Dumped {
            text: text_of(&group.spaces, group, &group.lines),
            owners,
        });
    }
    Ok(dumped)
}

fn text_of(spaces: &[&str], group: &TreeGroup<'_>, lines: &[&str]) -> String {
    let mut text = spaces.join("\n");
    text.extend(group.region.map(|region| format!("memory-region: {region}")));
    text + "\n" + &lines.join("\n")
}

/// What QEMU's groups have told so far.
struct Matching<'a> {
    truth: &'a Truth,
    trees: Trees,
    /// The number of each path.
    number_of: BTreeMap<String, u32>,
    /// What is printed for each number.
    text_of: BTreeMap<u32, String>,
}

impl Matching<'_> {
    /// First those groups of which there is one; where nothing tells them apart, any.
    fn run(
        mut self,
        mut candidates: HashMap<String, Vec<Candidate>>,
        dumped: Vec<Dumped>,
    ) -> Result<Trees, Failure> {
        let mut spaces_of: Vec<Vec<usize>> = dumped.iter().map(|_| Vec::new()).collect();
        let mut open: BTreeSet<usize> = (0..dumped.len()).collect();
        let mut guess = false;
        while !open.is_empty() {
            let before = open.len();
            for index in open.clone() {
                let group = &dumped[index];
                let rivals = candidates.entry(group.text.clone()).or_default();
                let mut fitting = (0..rivals.len()).filter(|&rival| self.fits(group, &rivals[rival]));
                let (first, second) = (fitting.next(), fitting.next());
                let Some(found) = first else {
                    return Err(not_found(&group.text, &candidates));
                };
                if second.is_none() || guess {
                    let found = rivals.remove(found);
                    self.learn(group, &found);
                    spaces_of[index] = found.spaces;
                    open.remove(&index);
                    guess = false;
                }
            }
            guess = open.len() == before;
        }
        match candidates.into_iter().find(|(_, left)| !left.is_empty()) {
            Some((text, _)) => Err(format!("a group too many:\n{text}")),
            None => {
                self.trees.order = spaces_of.concat();
                Ok(self.trees)
            }
        }
    }

    /// Whether the owners of a group can be those of a candidate.
    fn fits(&self, group: &Dumped, candidate: &Candidate) -> bool {
        let mut lines = group.owners.iter().zip(&candidate.regions);
        lines.all(|(owner, region)| {
            let Some(region) = region else { return true };
            let known = self.trees.owner_of.get(region);
            known.is_none_or(|known| known == owner)
                && match (self.truth[*region].owner, owner_part(owner)) {
                    (None, None) => true,
                    (Some(number), Some(text)) => {
                        self.text_of.get(&number).is_none_or(|known| known == text)
                            && self.number_of.get(text).is_none_or(|&known| known == number)
                    }
                    _ => false,
                }
        })
    }

    fn learn(&mut self, group: &Dumped, candidate: &Candidate) {
        for (owner, region) in group.owners.iter().zip(&candidate.regions) {
            let Some(region) = region else { continue };
            self.trees.owner_of.insert(*region, owner.clone());
            if let (Some(number), Some(text)) = (self.truth[*region].owner, owner_part(owner)) {
                self.text_of.insert(number, text.to_string());
                // A device in a device may have the same id, and of a type there are many.
                if text.contains(" path=") {
                    self.number_of.insert(text.to_string(), number);
                }
            }
        }
    }
}

/// Without the parent; `None` if there is no owner.
fn owner_part(text: &str) -> Option<&str> {
    let text = text.strip_prefix(" owner:{")?;
    Some(text.split_once('}')?.0)
}

/// Shows a group beside one of ours that begins in the same way.
fn not_found(text: &str, candidates: &HashMap<String, Vec<Candidate>>) -> Failure {
    let heading = text.lines().next();
    let rival = candidates
        .iter()
        .filter(|(_, left)| !left.is_empty())
        .map(|(rival, _)| rival.as_str())
        .find(|rival| rival.lines().next() == heading);
    let rival = rival.unwrap_or("(no group begins like this)");
    match expect_equal("a group", text, rival) {
        Err(difference) => difference,
        Ok(()) => format!("owners are dealt out in another way in\n{text}"),
    }
}

/// The spaces in the order in which a dump of `info mtree -f`, with `-o` if `owners`, shows their views. All
/// views of the dump must be ours, and no other.
pub(crate) fn of_views(
    truth: &Truth,
    dump: &str,
    owners: Option<&dyn Fn(RegionId) -> OwnerAndParent>,
) -> Result<Vec<usize>, Failure> {
    let mut plan = Plan::new(truth)
        .space_name(&|index| index.to_string())
        .compat(Compat::LOSSY_VIEW_ROOTS);
    if let Some(owners) = owners {
        plan = plan.owners(owners);
    }
    let text = plan
        .build()?
        .memory
        .mtree_flat()
        .owners(owners.is_some())
        .to_string();
    let mut left: HashMap<String, Vec<Vec<usize>>> = HashMap::new();
    for block in view_blocks(&text) {
        let users = block.users.iter().filter_map(|user| user.split_once('"'));
        let (of, rest): (Vec<&str>, Vec<&str>) = users.unzip();
        let spaces = numbers(of.into_iter());
        let users = spaces.iter().zip(rest);
        let users = users.map(|(&space, rest)| format!("{}\"{rest}", truth.spaces[space].0));
        let lines = block.lines.iter().map(|&line| line.to_string());
        let text: Vec<String> = users.chain(lines).collect();
        left.entry(text.join("\n")).or_default().push(spaces);
    }
    let mut order = Vec::new();
    for block in view_blocks(dump) {
        let text = [block.users, block.lines].concat().join("\n");
        // Those that are the same, owners included, stay the same in any order.
        match left.get_mut(&text).and_then(Vec::pop) {
            Some(spaces) => order.extend(spaces),
            None => {
                let rival = left
                    .keys()
                    .find(|rival| rival.lines().next() == text.lines().next());
                let rival = rival.map_or("(no view begins like this)", String::as_str);
                expect_equal("a view", &text, rival)?;
                return Err(format!("a view is missing:\n{text}"));
            }
        }
    }
    match left.iter().find(|(_, left)| !left.is_empty()) {
        Some((text, _)) => Err(format!("a view too many:\n{text}")),
        None => Ok(order),
    }
}

fn numbers<'a>(names: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let mut numbers: Vec<usize> = names.filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// Takes the mark off the end of a line.
fn unmark(line: &str) -> (&str, Option<RegionId>) {
    let marked = line
        .strip_suffix('}')
        .and_then(|line| line.rsplit_once(" owner:{dev id="))
        .and_then(|(text, id)| Some((text, Some(RegionId(id.parse().ok()?)))));
    marked.unwrap_or((line, None))
}
