//! What changed in the tree.

use std::collections::{HashMap, HashSet};

use super::pairs::Pairs;
use super::side::{Side, alias, tag};
use super::{SpaceChange, TreeChange, What};
use crate::graph::{self, NodeId};
use crate::units::{Count, rank};

/// Compares the trees of two machines.
pub(super) fn changes(
    before: &Side<'_, '_>,
    after: &Side<'_, '_>,
    notes: &mut Vec<String>,
) -> (Vec<SpaceChange>, Vec<TreeChange>) {
    let pairs = Pairs::new(before, after);
    let spaces = spaces(before, after, &pairs);
    let mut comparison = Comparison {
        before,
        after,
        pairs: &pairs,
        spaces: spaces
            .iter()
            .map(|change| (change.has_appeared, &*change.space))
            .collect(),
        changes: Vec::new(),
    };
    let mixed = before.complete != after.complete;
    comparison.compare_pairs(mixed);
    let left_out = comparison.tell_the_rest(mixed);
    let mut changes = comparison.changes;
    changes.sort_by_cached_key(|change| {
        let place = change.to.or(change.from);
        (
            rank(&change.tree),
            change.tree.clone(),
            place,
            change.region.clone(),
            change.what.order(),
        )
    });
    if mixed {
        let which = if before.complete { "second" } else { "first" };
        notes.push(format!(
            "the {which} dump has no disabled regions (-D); left out of the other: {}",
            Count(left_out, "region")
        ));
    } else if !before.complete && changes.iter().any(|change| change.what.is_whole()) {
        notes.push("without -D, what is disabled looks as if it had vanished".to_owned());
    }
    (spaces, changes)
}

struct Comparison<'s, 'm, 'a> {
    before: &'s Side<'m, 'a>,
    after: &'s Side<'m, 'a>,
    pairs: &'s Pairs<'s, 'm, 'a>,
    /// Spaces that have appeared (`true`) and vanished: nobody asks for their roots as well.
    spaces: HashSet<(bool, &'s str)>,
    changes: Vec<TreeChange>,
}

impl Comparison<'_, '_, '_> {
    fn compare_pairs(&mut self, mixed: bool) {
        for (one, other) in self.pairs.now.iter().enumerate() {
            let Some(other) = *other else {
                continue;
            };
            let (was, is) = (self.before.node(one), self.after.node(other));
            if [was, is].iter().any(|node| node.what == graph::What::Unprinted) {
                continue;
            }
            // Where what is disabled has no line, what is in it stands somewhere else.
            let is_off = !self.before.is_on[one] || !self.after.is_on[other];
            if mixed && is_off && was.enabled == is.enabled {
                continue;
            }
            self.compare(one, other);
        }
    }

    fn compare(&mut self, one: NodeId, other: NodeId) {
        let (was, is) = (self.before.node(one), self.after.node(other));
        let around = |side: &Side<'_, '_>, id: Option<NodeId>| {
            id.map_or_else(String::new, |id| side.node(id).name.to_owned())
        };
        let is_elsewhere = was.container.and_then(|around| self.pairs.now[around]) != is.container;
        if is_elsewhere || (was.container.is_some() && was.address != is.address) {
            let containers = is_elsewhere.then(|| {
                (
                    around(self.before, was.container),
                    around(self.after, is.container),
                )
            });
            self.tell(one, other, What::Moved { containers });
        }
        if was.size != is.size {
            let (from, to) = (was.size, is.size);
            self.tell(one, other, What::Resized { from, to });
        }
        if was.priority != is.priority {
            let (from, to) = (was.priority, is.priority);
            self.tell(one, other, What::Priority { from, to });
        }
        if was.enabled != is.enabled {
            let what = if is.enabled { What::Enabled } else { What::Disabled };
            self.tell(one, other, what);
        }
        if tag(was) != tag(is) {
            let (from, to) = (tag(was).to_owned(), tag(is).to_owned());
            self.tell(one, other, What::Type { from, to });
        }
        if was.nonvolatile != is.nonvolatile {
            let now = is.nonvolatile;
            self.tell(one, other, What::Nonvolatile { now });
        }
        if let (Some((from_target, from)), Some((to_target, to))) = (alias(was), alias(is)) {
            if from_target != to_target {
                let (from, to) = (from_target.to_owned(), to_target.to_owned());
                self.tell(one, other, What::AliasTarget { from, to });
            }
            if from != to {
                self.tell(one, other, What::AliasOffset { from, to });
            }
        }
    }

    fn tell(&mut self, one: NodeId, other: NodeId, what: What) {
        let mut change = of(self.after, other, what);
        change.to = Some(self.after.start[other]);
        change.from = Some(self.before.start[one]);
        change.line_before = self.before.node(one).line;
        change.line_after = self.after.node(other).line;
        self.changes.push(change);
    }

    /// What vanished and appeared, with what is in it. Gives how many regions are not told of.
    fn tell_the_rest(&mut self, mixed: bool) -> usize {
        let mut left_out = 0;
        // Regions of the dump with disabled ones for which the other may have a line in the wrong place.
        let mut hidden: HashMap<_, usize> = HashMap::new();
        if mixed {
            let (side, paired) = match self.before.complete {
                true => (self.before, &self.pairs.now),
                false => (self.after, &self.pairs.was),
            };
            for (id, node) in side.graph().nodes.iter().enumerate() {
                if paired[id].is_none() && !side.is_on[id] {
                    left_out += 1;
                    *hidden.entry((node.name, tag(node), node.size)).or_default() += 1;
                }
            }
        }
        for is_after in [false, true] {
            let (side, paired) = match is_after {
                true => (self.after, &self.pairs.was),
                false => (self.before, &self.pairs.now),
            };
            let within = sizes(side, paired);
            for (id, node) in side.graph().nodes.iter().enumerate() {
                let goes_along = node.container.is_some_and(|around| {
                    paired[around].is_none() && side.node(around).what != graph::What::Unprinted
                });
                if paired[id].is_some() || goes_along || node.what == graph::What::Unprinted {
                    continue;
                }
                let mut spaces = side.spaces.get(&id).into_iter().flatten();
                let is_told = spaces.any(|space| self.spaces.contains(&(is_after, space)));
                if is_told || mixed && !side.is_on[id] {
                    continue;
                }
                if mixed
                    && !side.complete
                    && let Some(count) = hidden.get_mut(&(node.name, tag(node), node.size))
                    && *count > 0
                {
                    *count -= 1;
                    continue;
                }
                let regions = within[id];
                let mut change = match is_after {
                    true => of(side, id, What::Appeared { regions }),
                    false => of(side, id, What::Vanished { regions }),
                };
                let start = Some(side.start[id]);
                *(if is_after {
                    &mut change.to
                } else {
                    &mut change.from
                }) = start;
                *(if is_after {
                    &mut change.line_after
                } else {
                    &mut change.line_before
                }) = node.line;
                self.changes.push(change);
            }
        }
        left_out
    }
}

/// How many regions without a pair lie in each.
fn sizes(side: &Side<'_, '_>, paired: &[Option<NodeId>]) -> Vec<usize> {
    let mut within = vec![0; paired.len()];
    let alone = paired.iter().enumerate().filter(|(_, other)| other.is_none());
    for (id, _) in alone {
        let mut at = id;
        // Deeper than any machine, but a dump may be nothing but brackets.
        for _ in 0..64 {
            let Some(around) = side.node(at).container else {
                break;
            };
            within[around] += 1;
            at = around;
        }
    }
    within
}

fn of(side: &Side<'_, '_>, id: NodeId, what: What) -> TreeChange {
    let node = side.node(id);
    let root = side.root[id];
    let spaces = side.spaces.get(&root).into_iter().flatten();
    let spaces: Vec<String> = spaces.map(|&name| name.to_owned()).collect();
    TreeChange {
        tree: spaces
            .first()
            .cloned()
            .unwrap_or_else(|| side.node(root).name.to_owned()),
        spaces,
        region: node.name.to_owned(),
        kind: match alias(node) {
            Some((target, offset)) => format!("alias of {target} from {offset:#x} on"),
            None => tag(node).to_owned(),
        },
        size: node.size,
        priority: node.priority,
        is_enabled: node.enabled,
        from: None,
        to: None,
        line_before: None,
        line_after: None,
        what,
    }
}

/// Spaces that are there but once. By name: which of several with one name it is does not matter.
fn spaces(before: &Side<'_, '_>, after: &Side<'_, '_>, pairs: &Pairs<'_, '_, '_>) -> Vec<SpaceChange> {
    let mut counts: HashMap<&str, (usize, usize)> = HashMap::new();
    for space in &before.graph().spaces {
        counts.entry(space.name).or_default().0 += 1;
    }
    for space in &after.graph().spaces {
        counts.entry(space.name).or_default().1 += 1;
    }
    let mut changes = Vec::new();
    for (side, paired, has_appeared) in [(before, &pairs.now, false), (after, &pairs.was, true)] {
        let mut spaces: Vec<_> = side.graph().spaces.iter().collect();
        // Those whose roots are new as well are the likelier ones.
        spaces.sort_by_key(|space| paired[space.root].is_some());
        for space in spaces {
            let Some((was, is)) = counts.get_mut(space.name) else {
                continue;
            };
            let (mine, other) = if has_appeared { (is, was) } else { (was, is) };
            if mine > other {
                *mine -= 1;
                changes.push(SpaceChange {
                    space: space.name.to_owned(),
                    root: side.node(space.root).name.to_owned(),
                    has_appeared,
                });
            }
        }
    }
    changes.sort_by(|one, other| {
        let key = |change: &SpaceChange| (rank(&change.space), change.space.clone(), change.has_appeared);
        key(one).cmp(&key(other))
    });
    changes
}
