//! Facts that would make the rendered views the printed ones.
//!
//! At every address where they differ, somebody answers who should not, or does not who should. What the text leaves
//! open about them is changed, the least unlikely thing first, and everything is rendered again. No fact takes the
//! same value twice this way, so it ends; what then still differs, nothing that was tried explains.

use std::collections::HashMap;

use super::change::{Answers, Change};
use super::compare::Mismatch;
use super::printed;
use super::walk::{Candidate, Work, alternatives, candidates, open_order};
use crate::facts::Facts;
use crate::graph::{Graph, NodeId, What};
use crate::text::RangeLine;

/// To sort a sibling is so many times the work of looking at it.
const SIBLING: usize = 16;

/// What is looked for in one go.
pub(super) struct Solver<'g, 'a> {
    graph: &'g Graph<'a>,
    pub(super) answers: Answers,
    /// What may still be looked at.
    pub(super) work: Work,
    /// How often a change was made.
    made: HashMap<Change, u32>,
}

/// How many aliases are changed at once, how many changes are tried for one address, and how often an alias is made to
/// lead to the same region again.
const MOST_ALIASES: usize = 3;
const MOST_TRIES: usize = 512;
const MOST_TARGETS: u32 = 3;

/// How many regions are looked at in all: a second's work.
const MOST_WORK: usize = 1 << 26;

impl<'g, 'a> Solver<'g, 'a> {
    pub(super) fn new(graph: &'g Graph<'a>, facts: Facts) -> Solver<'g, 'a> {
        Solver {
            graph,
            answers: Answers::new(facts),
            work: Work::new(MOST_WORK),
            made: HashMap::new(),
        }
    }

    /// Changes facts so that the view of a space begins at a region of this name (rule C30). Whether anything was
    /// changed.
    pub(super) fn explain_root(&mut self, space_root: NodeId, printed: &str) -> bool {
        // From the root down, as long as each may show one other region only.
        let mut chain = vec![space_root];
        while let Some(next) = self.only_one_shown(chain[chain.len() - 1])
            && !chain.contains(&next)
        {
            chain.push(next);
        }
        let begins = match printed {
            "(none)" => chain.len(),
            _ => match chain.iter().position(|&id| self.graph.nodes[id].name == printed) {
                Some(begins) => begins,
                None => return false,
            },
        };
        let mut changes: Vec<Change> = chain[..begins]
            .iter()
            .map(|&id| Change::Answers(id, false))
            .collect();
        changes.extend(chain.get(begins).map(|&id| Change::Answers(id, true)));
        self.make_all(&changes)
    }

    /// The only region that one shows, if it is none that answers.
    fn only_one_shown(&self, id: NodeId) -> Option<NodeId> {
        let node = &self.graph.nodes[id];
        let fact = self.answers.facts.of[id];
        let is_shown = |id: NodeId| self.graph.nodes[id].enabled && self.answers.facts.of[id].seen;
        if !node.enabled {
            return None;
        }
        match node.what {
            What::Alias { offset, .. } => {
                let target = fact.target?;
                (offset == 0 && fact.size >= self.answers.facts.of[target].size).then_some(target)
            }
            What::Io => {
                let mut shown = node.children.iter().copied().filter(|&child| is_shown(child));
                let only = shown.next().filter(|_| shown.next().is_none())?;
                let fits =
                    self.graph.nodes[only].address == 0 && fact.size >= self.answers.facts.of[only].size;
                fits.then_some(only)
            }
            _ => None,
        }
    }

    /// Changes facts so that at the first of the addresses answers who is printed. Whether anything was changed.
    pub(super) fn explain(&mut self, root: NodeId, mismatch: &Mismatch<'_, '_>) -> bool {
        let address = mismatch.range.start();
        let ways = candidates(self.graph, &self.answers.facts, (root, address), &self.work);
        let Some(printed) = mismatch.printed else {
            let answering = ways
                .iter()
                .filter(|way| self.answers.facts.of[way.node()].answers);
            let mut changes = Vec::new();
            for way in answering {
                match self.silence(way, &[]) {
                    Some(change) => changes.push(change),
                    None => return false,
                }
            }
            return self.make_all(&changes);
        };
        if let Some(plan) = self.plan(&ways, printed, address) {
            return self.make_all(&plan);
        }
        // Nobody there is the one who is printed: some alias leads elsewhere, or is no window of zero bytes.
        let mut tries = MOST_TRIES;
        let answers = self.answers.clone();
        match self.elsewhere(&answers, root, (printed, address), MOST_ALIASES, &mut tries) {
            Some(changes) => self.make_all(&changes),
            None => false,
        }
    }

    /// Changes of what aliases lead to after which the printed region is among those that could answer.
    fn elsewhere(
        &self,
        answers: &Answers,
        root: NodeId,
        (printed, address): (&RangeLine<'_>, u64),
        most: usize,
        tries: &mut usize,
    ) -> Option<Vec<Change>> {
        let facts = &answers.facts;
        let aliases = alternatives(self.graph, facts, (root, address), &self.work);
        let mut next = Vec::new();
        for change in aliases
            .iter()
            .flat_map(|&alias| printed::other_values(self.graph, facts, alias))
        {
            if self.possible(change).is_none() || *tries == 0 {
                continue;
            }
            *tries -= 1;
            let mut answers = answers.clone();
            answers.make(self.graph, change);
            let ways = candidates(self.graph, &answers.facts, (root, address), &self.work);
            if ways
                .iter()
                .any(|way| printed::is(self.graph, way, printed, address))
            {
                return Some(vec![change]);
            }
            next.push(change);
        }
        // Bridges behind bridges: what one leads to, leads elsewhere.
        next.into_iter().filter(|_| most > 1).find_map(|change| {
            let mut answers = answers.clone();
            answers.make(self.graph, change);
            let mut changes = self.elsewhere(&answers, root, (printed, address), most - 1, tries)?;
            changes.insert(0, change);
            Some(changes)
        })
    }

    /// Changes facts so that one region is cut in two at an address, or is not. Whether anything was changed.
    pub(super) fn explain_cut(&mut self, root: NodeId, (address, is_printed): (u64, bool)) -> bool {
        for address in [address, address.wrapping_sub(1)] {
            let ways = candidates(self.graph, &self.answers.facts, (root, address), &self.work);
            let Some(way) = ways.iter().find(|way| self.answers.facts.of[way.node()].answers) else {
                continue;
            };
            for &id in way.path.iter().rev() {
                let change = Change::Unmergeable(id, is_printed);
                if self.graph.nodes[id].is_alias() && self.make_all(&[change]) {
                    return true;
                }
            }
        }
        false
    }

    /// The shortest list of changes after which the printed region answers.
    fn plan(&self, ways: &[Candidate], printed: &RangeLine<'_>, address: u64) -> Option<Vec<Change>> {
        let right = ways
            .iter()
            .enumerate()
            .filter(|(_, way)| printed::is(self.graph, way, printed, address));
        let plans = right.filter_map(|(index, way)| {
            let mut changes = Vec::new();
            for front in &ways[..index] {
                if self.answers.facts.of[front.node()].answers {
                    changes.push(self.silence(front, &way.path)?);
                }
            }
            if !self.answers.facts.of[way.node()].answers {
                changes.push(self.possible(Change::Answers(way.node(), true))?);
            }
            changes.extend(self.right_access(way, printed)?);
            Some(changes)
        });
        plans.min_by_key(Vec::len)
    }

    /// What makes a region read-only on the way, or lets it be written.
    fn right_access(&self, way: &Candidate, printed: &RangeLine<'_>) -> Option<Vec<Change>> {
        let mut accesses = printed::accesses(self.graph, &self.answers.facts, way, printed).into_iter();
        accesses.find(|changes| changes.iter().all(|&change| self.possible(change).is_some()))
    }

    /// A change after which a region does not answer, or not in front of the one that is to be kept.
    fn silence(&self, front: &Candidate, keep: &[NodeId]) -> Option<Change> {
        let node = front.node();
        let is_io = self.graph.nodes[node].what == What::Io;
        let silent = || self.possible(Change::Answers(node, false)).filter(|_| is_io);
        if let Some((container, back, first)) = open_order(self.graph, &front.path, keep)
            && let Some(change) = self.possible(Change::Order {
                container,
                front: first,
                back,
            })
        {
            return Some(change);
        }
        if let Some(change) = silent() {
            return Some(change);
        }
        let own = front.path.iter().rev().copied().filter(|id| !keep.contains(id));
        let own: Vec<NodeId> = own.collect();
        let changes = own
            .iter()
            .flat_map(|&id| printed::other_values(self.graph, &self.answers.facts, id));
        let mut changes = changes.chain(
            own.iter()
                .filter(|&&id| printed::may_be_unseen(self.graph, id))
                .map(|&id| Change::Unseen(id)),
        );
        changes.find_map(|change| self.possible(change))
    }

    fn possible(&self, change: Change) -> Option<Change> {
        // What an alias leads to can depend on what others do.
        let most = if matches!(change, Change::Target(..)) {
            MOST_TARGETS
        } else {
            1
        };
        let made = self.made.get(&change).copied().unwrap_or(0);
        (made < most).then_some(change)
    }

    /// Makes all changes, or none if one of them was made before. Whether they change anything.
    fn make_all(&mut self, changes: &[Change]) -> bool {
        let new: Vec<Change> = changes
            .iter()
            .copied()
            .filter(|&change| self.is_new(change))
            .collect();
        if new.is_empty() || new.iter().any(|&change| self.possible(change).is_none()) {
            return false;
        }
        for change in new {
            // All of the siblings are looked at.
            if let Change::Order { container, .. } | Change::Unseen(container) = change {
                let around = match change {
                    Change::Order { .. } => Some(container),
                    _ => self.graph.nodes[container].container,
                };
                let siblings = around.map_or(0, |around| self.graph.nodes[around].children.len());
                if !self.work.spend(siblings * SIBLING) {
                    return false;
                }
            }
            *self.made.entry(change).or_insert(0) += 1;
            self.answers.make(self.graph, change);
        }
        true
    }

    /// Whether a fact is otherwise now, and can be as it is to be.
    fn is_new(&self, change: Change) -> bool {
        let fact = |id: NodeId| self.answers.facts.of[id];
        match change {
            Change::Answers(id, answers) => {
                self.graph.nodes[id].what == What::Io && fact(id).answers != answers
            }
            Change::Readonly(id, readonly) => fact(id).readonly != readonly,
            Change::Unmergeable(id, unmergeable) => fact(id).unmergeable != unmergeable,
            Change::Unseen(id) => fact(id).seen,
            Change::Seen(id) => !fact(id).seen,
            Change::Size(id, size) => fact(id).size != size,
            Change::Target(id, target) => fact(id).target != Some(target),
            Change::Order { .. } => true,
        }
    }
}
