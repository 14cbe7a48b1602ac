//! Facts that would make the rendered views the printed ones.
//!
//! At every address where they differ, somebody answers who should not, or does not who should. What the text leaves
//! open about them is changed, the least unlikely thing first, and everything is rendered again. No fact takes the
//! same value twice this way, so it ends; what then still differs, nothing that was tried explains.

use std::collections::HashMap;

use super::compare::Mismatch;
use super::walk::{Candidate, alternatives, candidates};
use crate::facts::Facts;
use crate::graph::{Graph, NodeId, What};
use crate::text::RangeLine;

/// A change of one fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Change {
    Answers(NodeId, bool),
    Readonly(NodeId, bool),
    Unmergeable(NodeId, bool),
    Unseen(NodeId),
    Size(NodeId, u128),
    Target(NodeId, NodeId),
    /// In a container, one child before another.
    Order {
        container: NodeId,
        front: NodeId,
        back: NodeId,
    },
}

/// What is looked for in one go.
pub(super) struct Solver<'g, 'a> {
    graph: &'g Graph<'a>,
    pub(super) facts: Facts,
    /// Disabled regions have lines, so nothing lies in one that has none.
    complete: bool,
    /// How often a change was made.
    made: HashMap<Change, u32>,
}

/// How many aliases are changed at once, how many changes are tried for one address, and how often an alias is made to
/// lead to the same region again.
const MOST_ALIASES: usize = 3;
const MOST_TRIES: usize = 512;
const MOST_TARGETS: u32 = 3;

impl<'g, 'a> Solver<'g, 'a> {
    pub(super) fn new(graph: &'g Graph<'a>, facts: Facts, complete: bool) -> Solver<'g, 'a> {
        Solver {
            graph,
            facts,
            complete,
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
        let fact = self.facts.of[id];
        let is_shown = |id: NodeId| self.graph.nodes[id].enabled && self.facts.of[id].seen;
        if !is_shown(id) {
            return None;
        }
        match node.what {
            What::Alias { offset, .. } => {
                let target = fact.target?;
                (offset == 0 && fact.size >= self.facts.of[target].size).then_some(target)
            }
            What::Io => {
                let mut shown = node.children.iter().copied().filter(|&child| is_shown(child));
                let only = shown.next().filter(|_| shown.next().is_none())?;
                let fits = self.graph.nodes[only].address == 0 && fact.size >= self.facts.of[only].size;
                fits.then_some(only)
            }
            _ => None,
        }
    }

    /// Changes facts so that at the first of the addresses answers who is printed. Whether anything was changed.
    pub(super) fn explain(&mut self, root: NodeId, mismatch: &Mismatch<'_, '_>) -> bool {
        let address = mismatch.range.start();
        let ways = candidates(self.graph, &self.facts, root, address);
        let Some(printed) = mismatch.printed else {
            let answering = ways.iter().filter(|way| self.facts.of[way.node()].answers);
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
        let facts = self.facts.clone();
        match self.elsewhere(&facts, root, (printed, address), MOST_ALIASES, &mut tries) {
            Some(changes) => self.make_all(&changes),
            None => false,
        }
    }

    /// Changes of what aliases lead to after which the printed region is among those that could answer.
    fn elsewhere(
        &self,
        facts: &Facts,
        root: NodeId,
        (printed, address): (&RangeLine<'_>, u64),
        most: usize,
        tries: &mut usize,
    ) -> Option<Vec<Change>> {
        let aliases = alternatives(self.graph, facts, root, address);
        let mut next = Vec::new();
        for change in aliases.iter().flat_map(|&alias| self.other_values(facts, alias)) {
            if self.possible(change).is_none() || *tries == 0 {
                continue;
            }
            *tries -= 1;
            let mut facts = facts.clone();
            apply(&mut facts, self.graph, change);
            let ways = candidates(self.graph, &facts, root, address);
            if ways.iter().any(|way| self.is(way, printed, address)) {
                return Some(vec![change]);
            }
            next.push((change, facts));
        }
        // Bridges behind bridges: what one leads to, leads elsewhere.
        next.into_iter().filter(|_| most > 1).find_map(|(change, facts)| {
            let mut changes = self.elsewhere(&facts, root, (printed, address), most - 1, tries)?;
            changes.insert(0, change);
            Some(changes)
        })
    }

    /// Changes facts so that one region is cut in two at an address, or is not. Whether anything was changed.
    pub(super) fn explain_cut(&mut self, root: NodeId, (address, is_printed): (u64, bool)) -> bool {
        for address in [address, address.wrapping_sub(1)] {
            let ways = candidates(self.graph, &self.facts, root, address);
            let Some(way) = ways.iter().find(|way| self.facts.of[way.node()].answers) else {
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
            .filter(|(_, way)| self.is(way, printed, address));
        let plans = right.filter_map(|(index, way)| {
            let mut changes = Vec::new();
            for front in &ways[..index] {
                if self.facts.of[front.node()].answers {
                    changes.push(self.silence(front, &way.path)?);
                }
            }
            if !self.facts.of[way.node()].answers {
                changes.push(self.possible(Change::Answers(way.node(), true))?);
            }
            changes.extend(self.right_access(way, printed)?);
            Some(changes)
        });
        plans.min_by_key(Vec::len)
    }

    /// Whether a region is the one that is printed. Whether it may be written is another question.
    fn is(&self, way: &Candidate, printed: &RangeLine<'_>, address: u64) -> bool {
        let node = &self.graph.nodes[way.node()];
        let line = &printed.line;
        let nonvolatile = way.path.iter().any(|&id| self.graph.nodes[id].nonvolatile);
        let type_name = match node.what {
            What::Rom => "rom",
            What::Ram => "ram",
            What::RamDevice => "ramd",
            What::RomDevice => "romd",
            What::Io | What::Alias { .. } | What::Unprinted => "i/o",
        };
        line.name == node.name
            && line.priority == node.priority
            && line.nonvolatile == nonvolatile
            && line.offset.wrapping_add(address - line.start) == way.offset
            && (line.type_name == type_name || line.type_name == "rom")
            && (printed.owner.is_empty() || node.owner.is_empty() || printed.owner == node.owner)
    }

    /// What makes a region read-only on the way, or lets it be written.
    fn right_access(&self, way: &Candidate, printed: &RangeLine<'_>) -> Option<Vec<Change>> {
        let is_rom = self.graph.nodes[way.node()].what == What::Rom;
        let readonly: Vec<_> = way
            .path
            .iter()
            .copied()
            .filter(|&id| self.facts.of[id].readonly)
            .collect();
        match (printed.line.type_name == "rom", is_rom || !readonly.is_empty()) {
            (true, true) | (false, false) => Some(Vec::new()),
            (false, true) if is_rom => None,
            (false, true) => {
                let changes = readonly
                    .into_iter()
                    .map(|id| self.possible(Change::Readonly(id, false)));
                changes.collect()
            }
            (true, false) => {
                // RAM says itself whether it is ROM.
                let may = way
                    .path
                    .iter()
                    .rev()
                    .filter(|&&id| !self.graph.nodes[id].is_memory());
                let mut likely: Vec<NodeId> = may.copied().collect();
                likely.sort_by_key(|&id| !self.graph.nodes[id].is_alias());
                let change = likely
                    .into_iter()
                    .find_map(|id| self.possible(Change::Readonly(id, true)));
                change.map(|change| vec![change])
            }
        }
    }

    /// A change after which a region does not answer, or not in front of the one that is to be kept.
    fn silence(&self, front: &Candidate, keep: &[NodeId]) -> Option<Change> {
        let node = front.node();
        let is_io = self.graph.nodes[node].what == What::Io;
        let silent = || self.possible(Change::Answers(node, false)).filter(|_| is_io);
        let common = front
            .path
            .iter()
            .zip(keep)
            .take_while(|(one, other)| one == other)
            .count();
        if let (Some(&container), Some(&back), Some(&first)) = (
            front.path.get(common.wrapping_sub(1)),
            front.path.get(common),
            keep.get(common),
        ) && self.may_swap(container, back, first)
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
        let changes = own.iter().flat_map(|&id| self.other_values(&self.facts, id));
        let mut changes = changes.chain(
            own.iter()
                .filter(|&&id| self.may_be_unseen(id))
                .map(|&id| Change::Unseen(id)),
        );
        changes.find_map(|change| self.possible(change))
    }

    /// Whether the text leaves open which of two siblings is in front.
    fn may_swap(&self, container: NodeId, one: NodeId, other: NodeId) -> bool {
        let nodes = &self.graph.nodes;
        nodes[one].container == Some(container)
            && nodes[other].container == Some(container)
            && nodes[one].priority == nodes[other].priority
            // At one address they are printed in their order.
            && nodes[one].address != nodes[other].address
    }

    /// Whether a region could lie in a disabled one without a line, behind the one that it seems to lie in.
    fn may_be_unseen(&self, id: NodeId) -> bool {
        let container = self.graph.nodes[id].container;
        let beside = container.and_then(|container| self.graph.nodes[container].container);
        !self.complete && beside.is_some()
    }

    /// What else a line of one byte, and an alias by its name, may mean.
    fn other_values(&self, facts: &Facts, id: NodeId) -> Vec<Change> {
        let node = &self.graph.nodes[id];
        let fact = facts.of[id];
        let mut changes = Vec::new();
        if node.size == 1 {
            changes.push(Change::Size(id, 1 - fact.size.min(1)));
        }
        if let What::Alias { candidates, .. } = &node.what {
            let others = candidates.iter().filter(|&&target| Some(target) != fact.target);
            changes.extend(others.map(|&target| Change::Target(id, target)));
        }
        changes
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
            *self.made.entry(change).or_insert(0) += 1;
            apply(&mut self.facts, self.graph, change);
        }
        true
    }

    /// Whether a fact is otherwise now, and can be as it is to be.
    fn is_new(&self, change: Change) -> bool {
        let fact = |id: NodeId| self.facts.of[id];
        match change {
            Change::Answers(id, answers) => {
                self.graph.nodes[id].what == What::Io && fact(id).answers != answers
            }
            Change::Readonly(id, readonly) => fact(id).readonly != readonly,
            Change::Unmergeable(id, unmergeable) => fact(id).unmergeable != unmergeable,
            Change::Unseen(id) => fact(id).seen,
            Change::Size(id, size) => fact(id).size != size,
            Change::Target(id, target) => fact(id).target != Some(target),
            Change::Order { .. } => true,
        }
    }
}

/// Changes a fact.
pub(super) fn apply(facts: &mut Facts, graph: &Graph<'_>, change: Change) {
    match change {
        Change::Answers(id, answers) => facts.of[id].answers = answers,
        Change::Readonly(id, readonly) => facts.of[id].readonly = readonly,
        Change::Unmergeable(id, unmergeable) => facts.of[id].unmergeable = unmergeable,
        Change::Size(id, size) => facts.of[id].size = size,
        Change::Target(id, target) => facts.of[id].target = Some(target),
        Change::Unseen(id) => {
            // What is printed behind it in the same place lies in the same unprinted region, or in another one.
            let siblings = graph.nodes[id]
                .container
                .map_or(&[][..], |of| &graph.nodes[of].children);
            let from = siblings
                .iter()
                .position(|&sibling| sibling == id)
                .unwrap_or(siblings.len());
            for &sibling in &siblings[from..] {
                facts.of[sibling].seen = false;
            }
        }
        Change::Order {
            container,
            front,
            back,
        } => {
            let mut order = facts.children(graph, container);
            let place = |order: &[NodeId], of: NodeId| order.iter().position(|&child| child == of);
            if let (Some(from), Some(to)) = (place(&order, front), place(&order, back))
                && from > to
            {
                order[to..=from].rotate_right(1);
                facts.order.insert(container, order);
            }
        }
    }
}
