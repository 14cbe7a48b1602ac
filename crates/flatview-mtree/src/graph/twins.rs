//! One node for a region that several groups show.
//!
//! Two trees that look alike to the last line are taken for one region if one of them is the root of its group, for
//! a group shows what is somewhere else, too; two places in one group are never one region, as a region lies in one
//! container only.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::grow::Grown;
use super::{Graph, Node, NodeId, What};

/// Unites what is one region. Gives what the groups of regions (not those of spaces) show, in their order.
pub(super) fn unite<'a>(graph: &mut Graph<'a>, groups: &[Grown<'a>]) -> Vec<(&'a str, NodeId)> {
    let mut likes = Likes::new(graph, groups);
    let mut order: Vec<usize> = (0..groups.len()).collect();
    // What contains comes before what is contained, so that of the copies of a region one is left to be met.
    order.sort_by_key(|&group| std::cmp::Reverse(groups[group].end - groups[group].root));
    for group in order {
        likes.place(graph, groups, group);
    }
    let regions = groups
        .iter()
        .filter_map(|group| Some((group.region?, group.root)));
    let mut regions: Vec<(&str, NodeId)> = regions.collect();
    bury(graph, &likes.home, &mut regions);
    regions
}

/// Leaves only the nodes that stand for themselves.
fn bury(graph: &mut Graph<'_>, home: &[NodeId], regions: &mut [(&str, NodeId)]) {
    let mut moved = vec![0; home.len()];
    let mut left = 0;
    for (id, &home) in home.iter().enumerate() {
        moved[id] = left;
        left += usize::from(home == id);
    }
    let mut lines: Vec<Option<u32>> = graph.nodes.iter().map(|node| node.line).collect();
    let mut is_root: Vec<bool> = graph.nodes.iter().map(|node| node.is_root).collect();
    for id in 0..home.len() {
        let mut at = id;
        while home[at] != at {
            at = home[at];
        }
        lines[at] = lines[at].min(lines[id]);
        is_root[at] |= is_root[id];
    }
    let settle = |id: &mut NodeId| {
        // A home may have found one itself.
        while home[*id] != *id {
            *id = home[*id];
        }
        *id = moved[*id];
    };
    let mut id = 0..;
    graph.nodes.retain_mut(|node| {
        let id = id.next().unwrap_or_default();
        node.line = lines[id];
        node.is_root = is_root[id];
        node.container.as_mut().map(settle);
        node.children.iter_mut().for_each(settle);
        home[id] == id
    });
    graph.spaces.iter_mut().for_each(|space| settle(&mut space.root));
    regions.iter_mut().for_each(|(_, root)| settle(root));
}

struct Likes {
    /// What a node, and all in it, looks like.
    look: Vec<u64>,
    /// For roots of a look: of spaces, and of regions.
    homes: HashMap<u64, [Homes; 2]>,
    /// The node that stands for it; itself at first.
    home: Vec<NodeId>,
}

/// Nodes that the root of a group can be: what is inside of others first, then roots of the other sort, as two groups
/// of one sort have two roots.
#[derive(Default)]
struct Homes {
    inside: Vec<NodeId>,
    roots: Vec<NodeId>,
    /// So many were asked, and are taken or no use.
    asked: usize,
}

impl Likes {
    fn new(graph: &Graph<'_>, groups: &[Grown<'_>]) -> Likes {
        let count = graph.nodes.len();
        let mut look = vec![0; count];
        for id in (0..count).rev() {
            look[id] = looks(&graph.nodes[id], &look);
        }
        let mut homes: HashMap<u64, [Homes; 2]> = HashMap::new();
        for group in groups {
            let other_sort = usize::from(group.region.is_none());
            homes.entry(look[group.root]).or_default()[other_sort]
                .roots
                .push(group.root);
        }
        for group in groups {
            for (look, id) in look[group.root..group.end].iter().zip(group.root..).skip(1) {
                for homes in homes.get_mut(look).into_iter().flatten() {
                    homes.inside.push(id);
                }
            }
        }
        Likes {
            look,
            homes,
            home: (0..count).collect(),
        }
    }

    /// Finds a home for the root of a group: a node of another one, inside of it if there is such a node.
    fn place(&mut self, graph: &Graph<'_>, groups: &[Grown<'_>], group: usize) {
        let Grown { root, end, region } = groups[group];
        // The root of an unknown thing tells nothing.
        if graph.nodes[root].line.is_none() {
            return;
        }
        let homes = self.homes.get_mut(&self.look[root]);
        let Some(homes) = homes.map(|homes| &mut homes[usize::from(region.is_some())]) else {
            return;
        };
        let candidates = homes.inside.iter().chain(&homes.roots).skip(homes.asked);
        let mut asked = homes.asked;
        let home = candidates.copied().find(|&id| {
            asked += 1;
            self.home[id] == id && same(graph, root, id, end - root)
        });
        homes.asked = asked;
        if let Some(home) = home {
            for offset in 0..end - root {
                self.home[root + offset] = self.home[home + offset];
            }
        }
    }
}

/// Whether two trees of `count` nodes are alike, line by line. Nodes of a tree stand in a row.
fn same(graph: &Graph<'_>, one: NodeId, other: NodeId, count: usize) -> bool {
    let nodes = &graph.nodes;
    let row = |id: NodeId| nodes.get(id..id + count);
    let (Some(left), Some(right)) = (row(one), row(other)) else {
        return false;
    };
    left.iter().zip(right).enumerate().all(|(at, (left, right))| {
        key(left) == key(right)
            && (at == 0
                || left.container.map(|id| id - one) == right.container.and_then(|id| id.checked_sub(other)))
    })
}

fn looks(node: &Node<'_>, look: &[u64]) -> u64 {
    let mut hasher = DefaultHasher::new();
    key(node).hash(&mut hasher);
    for &child in &node.children {
        look[child].hash(&mut hasher);
    }
    hasher.finish()
}

/// All that its line says of a node but where the containers around it are.
fn key<'a>(node: &Node<'a>) -> impl Hash + Eq + use<'a> {
    let (what, alias) = match node.what {
        What::Ram => (0, None),
        What::Rom => (1, None),
        What::RamDevice => (2, None),
        What::RomDevice => (3, None),
        What::Io => (4, None),
        What::Alias { target, offset, .. } => (5, Some((target, offset))),
        What::Unprinted => (6, None),
    };
    let place = (node.address, node.size, node.priority);
    (
        node.name,
        what,
        alias,
        place,
        node.enabled,
        node.nonvolatile,
        node.owner,
    )
}
