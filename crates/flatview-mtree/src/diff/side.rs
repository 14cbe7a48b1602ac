//! One of the two machines, prepared for the comparison.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::graph::{Graph, Node, NodeId, What};
use crate::machine::Machine;
use crate::units::rank;

/// A machine with what is asked of its regions again and again.
pub(super) struct Side<'m, 'a> {
    pub(super) machine: &'m Machine<'a>,
    /// What a region, and all in it, looks like.
    pub(super) look: Vec<u64>,
    /// It is enabled, and all that it lies in.
    pub(super) is_on: Vec<bool>,
    /// Where it begins in the tree that it is in, and the root of that.
    pub(super) start: Vec<u64>,
    pub(super) root: Vec<NodeId>,
    /// The names of the spaces that begin at a region.
    pub(super) spaces: HashMap<NodeId, Vec<&'a str>>,
    /// Disabled regions have lines.
    pub(super) complete: bool,
    pub(super) has_owners: bool,
}

impl<'m, 'a> Side<'m, 'a> {
    pub(super) fn new(machine: &'m Machine<'a>) -> Side<'m, 'a> {
        let graph = &machine.graph;
        let count = graph.nodes.len();
        let mut side = Side {
            machine,
            look: vec![0; count],
            is_on: vec![false; count],
            start: vec![0; count],
            root: (0..count).collect(),
            spaces: HashMap::new(),
            complete: machine.tree.has_disabled(),
            has_owners: machine.tree.has_owners(),
        };
        let order = side.walk();
        for &id in order.iter().rev() {
            let mut hasher = DefaultHasher::new();
            tell(&graph.nodes[id]).hash(&mut hasher);
            for &child in &graph.nodes[id].children {
                side.look[child].hash(&mut hasher);
            }
            side.look[id] = hasher.finish();
        }
        for space in &graph.spaces {
            side.spaces.entry(space.root).or_default().push(space.name);
        }
        for names in side.spaces.values_mut() {
            names.sort_by_key(|name| (rank(name), *name));
        }
        side
    }

    /// All regions, those that contain before those that are contained; says of each where it is.
    fn walk(&mut self) -> Vec<NodeId> {
        let nodes = &self.machine.graph.nodes;
        let mut order: Vec<NodeId> = Vec::with_capacity(nodes.len());
        order.extend((0..nodes.len()).filter(|&id| nodes[id].container.is_none()));
        let mut at = 0;
        while at < order.len() {
            let id = order[at];
            at += 1;
            let node = &nodes[id];
            let around = node.container;
            self.is_on[id] = node.enabled && around.is_none_or(|around| self.is_on[around]);
            self.root[id] = around.map_or(id, |around| self.root[around]);
            let base = around.map_or(0, |around| self.start[around]);
            self.start[id] = base.wrapping_add(node.address);
            order.extend_from_slice(&node.children);
        }
        order
    }

    pub(super) fn graph(&self) -> &'m Graph<'a> {
        &self.machine.graph
    }

    pub(super) fn node(&self, id: NodeId) -> &'m Node<'a> {
        &self.machine.graph.nodes[id]
    }

    /// The owner, if it may tell which of several regions is meant.
    pub(super) fn owner(&self, id: NodeId) -> Option<&'a str> {
        Some(self.node(id).owner).filter(|owner| self.has_owners && !owner.is_empty())
    }
}

/// What sort of line a region has.
pub(super) fn tag(node: &Node<'_>) -> &'static str {
    match node.what {
        What::Alias { .. } => "alias",
        What::Unprinted => "",
        _ => node.what.type_name(),
    }
}

/// What an alias shows.
pub(super) fn alias<'a>(node: &Node<'a>) -> Option<(&'a str, u64)> {
    match node.what {
        What::Alias { target, offset, .. } => Some((target, offset)),
        _ => None,
    }
}

/// All that the line of a region says of itself.
pub(super) fn tell<'a>(node: &Node<'a>) -> impl Hash + Eq + use<'a> {
    let place = (node.address, node.size, node.priority);
    let flags = (node.enabled, node.nonvolatile);
    (node.name, tag(node), alias(node), place, flags)
}
