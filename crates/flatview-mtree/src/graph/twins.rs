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
    for id in 0..home.len() {
        let mut at = id;
        while home[at] != at {
            at = home[at];
        }
        lines[at] = lines[at].min(lines[id]);
    }
    let settle = |id: &mut NodeId| {
        // A home may have found one itself.
        while home[*id] != *id {
            *id = home[*id];
        }
        *id = moved[*id];
    };
    let nodes = std::mem::take(&mut graph.nodes).into_iter().enumerate();
    graph
        .nodes
        .extend(nodes.filter(|&(id, _)| home[id] == id).map(|(id, mut node)| {
            node.line = lines[id];
            node.container.as_mut().map(settle);
            node.children.iter_mut().for_each(settle);
            node
        }));
    graph.spaces.iter_mut().for_each(|space| settle(&mut space.root));
    regions.iter_mut().for_each(|(_, root)| settle(root));
}

struct Likes {
    /// What a node, and all in it, looks like.
    look: Vec<u64>,
    /// Those of a look, in the order of the text.
    alike: HashMap<u64, Vec<NodeId>>,
    /// The group of a node.
    group: Vec<usize>,
    /// The node that stands for it; itself at first.
    home: Vec<NodeId>,
    /// The node stands for the root of a group of spaces, of regions: at most one of each.
    taken: Vec<[bool; 2]>,
}

impl Likes {
    fn new(graph: &Graph<'_>, groups: &[Grown<'_>]) -> Likes {
        let count = graph.nodes.len();
        let mut look = vec![0; count];
        for id in (0..count).rev() {
            look[id] = looks(&graph.nodes[id], &look);
        }
        let roots: std::collections::HashSet<u64> = groups.iter().map(|group| look[group.root]).collect();
        let mut alike: HashMap<u64, Vec<NodeId>> = HashMap::new();
        for (id, &look) in look.iter().enumerate() {
            if roots.contains(&look) {
                alike.entry(look).or_default().push(id);
            }
        }
        let mut group = vec![0; count];
        for (number, of) in groups.iter().enumerate() {
            group[of.root..of.end].fill(number);
        }
        Likes {
            look,
            alike,
            group,
            home: (0..count).collect(),
            taken: vec![[false; 2]; count],
        }
    }

    /// Finds a home for the root of a group: a node of another one, inside of it if there is such a node.
    fn place(&mut self, graph: &mut Graph<'_>, groups: &[Grown<'_>], group: usize) {
        let Grown { root, end, region } = groups[group];
        let mine = usize::from(region.is_some());
        let is_root = |id: NodeId| groups[self.group[id]].root == id;
        let candidates = self.alike[&self.look[root]].iter().copied().filter(|&id| {
            self.home[id] == id
                && self.group[id] != group
                && !self.taken[id][mine]
                // Two groups of one sort have two roots.
                && !(is_root(id) && groups[self.group[id]].region.is_some() == region.is_some())
                && same(graph, root, id, end - root)
        });
        // A space that was met already is a better home than a region's copy of it.
        let home = candidates.min_by_key(|&id| (is_root(id), id));
        // The root of an unknown thing tells nothing.
        let home = home.filter(|_| graph.nodes[root].line.is_some());
        if let Some(home) = home {
            self.taken[home][mine] = true;
            for offset in 0..end - root {
                self.home[root + offset] = self.home[home + offset];
            }
        } else {
            self.taken[root][mine] = true;
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
