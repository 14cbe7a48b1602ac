//! Which region of one machine is which of the other.
//!
//! From the roots down: spaces by their names, what they contain by name, and of several with one name first those
//! that are alike to the last line in them, then those that are less and less alike; at last the nearest. What is
//! left then may have moved: it is looked for in all other places.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use super::side::{Side, alias, tag, tell};
use crate::graph::{NodeId, What};

/// Pairs of regions.
pub(super) struct Pairs<'s, 'm, 'a> {
    before: &'s Side<'m, 'a>,
    after: &'s Side<'m, 'a>,
    /// For each region before, the one that it is after.
    pub(super) now: Vec<Option<NodeId>>,
    /// For each region after, the one that it was before.
    pub(super) was: Vec<Option<NodeId>>,
    /// Pairs whose children have not been looked at.
    open: Vec<(NodeId, NodeId)>,
}

impl<'s, 'm, 'a> Pairs<'s, 'm, 'a> {
    pub(super) fn new(before: &'s Side<'m, 'a>, after: &'s Side<'m, 'a>) -> Pairs<'s, 'm, 'a> {
        let mut pairs = Pairs {
            before,
            after,
            now: vec![None; before.graph().nodes.len()],
            was: vec![None; after.graph().nodes.len()],
            open: Vec::new(),
        };
        pairs.pair_spaces(false);
        pairs.pair_targets();
        pairs.descend();
        pairs.pair_spaces(true);
        pairs.descend();
        pairs.pair_moved();
        pairs.descend();
        pairs
    }

    fn pair(&mut self, one: NodeId, other: NodeId) {
        self.now[one] = Some(other);
        self.was[other] = Some(one);
        self.open.push((one, other));
    }

    /// Roots of spaces: by the names of all of their spaces, then of one of them; at last even if the root has
    /// another name, as it has in another version of QEMU.
    ///
    /// What is in something is known by its place first: of devices that are alike, a dump does not tell which one a
    /// space belongs to.
    fn pair_spaces(&mut self, contained: bool) {
        let roots = |side: &Side<'_, '_>| {
            let roots = side.spaces.keys().copied();
            let mut roots: Vec<NodeId> = roots
                .filter(|&root| contained || side.node(root).container.is_none())
                .collect();
            roots.sort_unstable();
            roots
        };
        let mut by_names: HashMap<(&str, &[&str]), [Vec<NodeId>; 2]> = HashMap::new();
        for (which, side) in [self.before, self.after].into_iter().enumerate() {
            for root in roots(side) {
                let key = (side.node(root).name, &side.spaces[&root][..]);
                by_names.entry(key).or_default()[which].push(root);
            }
        }
        let mut buckets: Vec<[Vec<NodeId>; 2]> = by_names.into_values().collect();
        buckets.sort_unstable();
        for [one, other] in buckets {
            self.pair_alike(one, other);
        }
        for with_root in [true, false] {
            let mut named: HashMap<(&str, &str), Vec<NodeId>> = HashMap::new();
            for root in roots(self.after).into_iter().rev() {
                let name = if with_root { self.after.node(root).name } else { "" };
                for space in &self.after.spaces[&root] {
                    named.entry((space, name)).or_default().push(root);
                }
            }
            for root in roots(self.before) {
                if self.now[root].is_some() {
                    continue;
                }
                let name = if with_root {
                    self.before.node(root).name
                } else {
                    ""
                };
                let other = self.before.spaces[&root].iter().find_map(|space| {
                    let free = named.get_mut(&(*space, name))?;
                    while free.pop_if(|other| self.was[*other].is_some()).is_some() {}
                    free.pop()
                });
                if let Some(other) = other {
                    self.pair(root, other);
                }
            }
        }
    }

    /// Regions that are in nothing but that aliases lead to.
    fn pair_targets(&mut self) {
        let targets = |side: &Side<'_, '_>| -> Vec<NodeId> {
            let ids = 0..side.graph().nodes.len();
            ids.filter(|id| side.node(*id).container.is_none() && !side.spaces.contains_key(id))
                .collect()
        };
        self.pair_named(targets(self.before), targets(self.after));
    }

    fn descend(&mut self) {
        while let Some((one, other)) = self.open.pop() {
            let children = |side: &Side<'_, '_>, of: NodeId| side.node(of).children.clone();
            self.pair_named(children(self.before, one), children(self.after, other));
        }
    }

    fn pair_named(&mut self, one: Vec<NodeId>, other: Vec<NodeId>) {
        let mut named: HashMap<&str, [Vec<NodeId>; 2]> = HashMap::new();
        for id in one {
            named.entry(self.before.node(id).name).or_default()[0].push(id);
        }
        for id in other {
            named.entry(self.after.node(id).name).or_default()[1].push(id);
        }
        for [one, other] in named.into_values() {
            self.pair_alike(one, other);
        }
    }

    /// Pairs what has one name and may be in one place: each round takes less for alike.
    fn pair_alike(&mut self, mut one: Vec<NodeId>, mut other: Vec<NodeId>) {
        one.retain(|&id| self.now[id].is_none());
        other.retain(|&id| self.was[id].is_none());
        if let ([one], [other]) = (&one[..], &other[..]) {
            return self.pair(*one, *other);
        }
        self.round(&mut one, &mut other, |side, id| {
            Some((side.look[id], side.owner(id)?))
        });
        self.round(&mut one, &mut other, |side, id| Some(side.look[id]));
        self.round(&mut one, &mut other, |side, id| Some(tell(side.node(id))));
        self.round(&mut one, &mut other, |side, id| {
            Some((side.owner(id)?, tag(side.node(id))))
        });
        self.round(&mut one, &mut other, |side, id| {
            let node = side.node(id);
            Some((tag(node), node.size, node.priority, alias(node)))
        });
        self.round(&mut one, &mut other, |side, id| {
            Some((tag(side.node(id)), side.node(id).size))
        });
        self.round(&mut one, &mut other, |_, _| Some(()));
    }

    /// Pairs those of one key, the nearest with each other, and leaves the others.
    fn round<K: Hash + Eq>(
        &mut self,
        one: &mut Vec<NodeId>,
        other: &mut Vec<NodeId>,
        key: impl Fn(&Side<'m, 'a>, NodeId) -> Option<K>,
    ) {
        if one.is_empty() || other.is_empty() {
            return;
        }
        let mut free: HashMap<K, BTreeSet<(u64, NodeId)>> = HashMap::new();
        for &id in &*other {
            if let Some(key) = key(self.after, id) {
                free.entry(key)
                    .or_default()
                    .insert((self.after.node(id).address, id));
            }
        }
        // Those at the same address do not lose each other to neighbours.
        for nearest in [false, true] {
            for &id in &*one {
                if self.now[id].is_some() {
                    continue;
                }
                let Some(free) = key(self.before, id).and_then(|key| free.get_mut(&key)) else {
                    continue;
                };
                let address = self.before.node(id).address;
                let above = free.range((address, 0)..).next().copied();
                let below = free.range(..(address, 0)).next_back().copied();
                let near = [above, below].into_iter().flatten();
                let near = near.min_by_key(|&(there, _)| there.abs_diff(address));
                if let Some((there, other)) = near.filter(|&(there, _)| nearest || there == address) {
                    free.remove(&(there, other));
                    self.pair(id, other);
                }
            }
        }
        one.retain(|&id| self.now[id].is_none());
        other.retain(|&id| self.was[id].is_none());
    }

    /// What is left and has but one like it, or one of the same owner, has moved there.
    fn pair_moved(&mut self) {
        let owners = self.before.has_owners && self.after.has_owners;
        let mut alike: HashMap<_, [Vec<NodeId>; 2]> = HashMap::new();
        for (which, side) in [self.before, self.after].into_iter().enumerate() {
            let paired = if which == 0 { &self.now } else { &self.was };
            for (id, node) in side.graph().nodes.iter().enumerate() {
                // What is in something that is left goes with it.
                let is_top = node.container.is_none_or(|around| paired[around].is_some());
                if paired[id].is_none()
                    && is_top
                    && !side.spaces.contains_key(&id)
                    && node.what != What::Unprinted
                {
                    let owner = if owners { node.owner } else { "" };
                    let key = (node.name, tag(node), node.size, alias(node), owner);
                    alike.entry(key).or_default()[which].push(id);
                }
            }
        }
        for [one, other] in alike.into_values() {
            if let ([one], [other]) = (&one[..], &other[..]) {
                self.pair(*one, *other);
            }
        }
    }
}
