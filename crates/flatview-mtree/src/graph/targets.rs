//! What aliases lead to.

use std::collections::{HashMap, HashSet};

use super::{Graph, NodeId, What};

/// Finds candidates for every alias, the likeliest first. `regions` are those that the dump has under a heading of
/// their own, as it does with what aliases lead to, in the order in which it met them.
pub(super) fn find<'a>(graph: &mut Graph<'a>, regions: &[(&'a str, NodeId)]) {
    let mut named: HashMap<&str, Vec<NodeId>> = HashMap::new();
    for &(name, id) in regions {
        let of_name = named.entry(name).or_default();
        if !of_name.contains(&id) {
            of_name.push(id);
        }
    }
    // A text that is cut off, or made by hand, may lack the heading.
    let mut elsewhere: HashMap<&str, Vec<NodeId>> = HashMap::new();
    let wanted = graph.nodes.iter().filter_map(|node| match node.what {
        What::Alias { target, .. } if !named.contains_key(target) => Some((target, Vec::new())),
        _ => None,
    });
    elsewhere.extend(wanted);
    if !elsewhere.is_empty() {
        for (id, node) in graph.nodes.iter().enumerate() {
            if let Some(found) = elsewhere.get_mut(node.name) {
                found.push(id);
            }
        }
    }
    let mut shown = Shown::default();
    let mut met: HashMap<&str, Met<'_>> = HashMap::new();
    // As the dump meets them, wherever a tree of which there are copies is kept.
    let mut order: Vec<NodeId> = (0..graph.nodes.len()).collect();
    order.sort_by_key(|&id| graph.nodes[id].line);
    for id in order {
        let What::Alias { target, offset, .. } = graph.nodes[id].what else {
            continue;
        };
        let all = named.get(target).or_else(|| elsewhere.get(target));
        let mut likely: Vec<NodeId> = all
            .into_iter()
            .flatten()
            .copied()
            .filter(|&of| of != id)
            .take(MOST_SORTED)
            .collect();
        if likely.len() > 1 {
            met.entry(target)
                .or_default()
                .sort(graph, &mut shown, id, offset, &mut likely);
            likely.truncate(MOST_CANDIDATES);
            // There may be as many aliases as regions.
            likely.shrink_to_fit();
        }
        if let What::Alias { candidates, .. } = &mut graph.nodes[id].what {
            *candidates = likely;
        }
    }
}

/// Bounds that keep a hostile dump from being quadratic: how many regions of one name are looked at, and how many
/// are kept as candidates.
const MOST_SORTED: usize = 256;
const MOST_CANDIDATES: usize = 8;

/// What was taken for the target of the aliases before.
#[derive(Default)]
struct Met<'a> {
    /// By container: the names of the aliases in it, and their targets.
    beside: HashMap<Option<NodeId>, Vec<(&'a str, NodeId)>>,
    /// Those that were chosen: the dump meets targets in the order of its aliases.
    chosen: HashSet<NodeId>,
}

/// What was taken for the target of an alias of which there are several.
#[derive(Default)]
struct Shown {
    /// By target.
    aliases: HashMap<NodeId, Vec<NodeId>>,
}

impl<'a> Met<'a> {
    fn sort(
        &mut self,
        graph: &Graph<'a>,
        shown: &mut Shown,
        alias: NodeId,
        offset: u64,
        likely: &mut [NodeId],
    ) {
        let node = &graph.nodes[alias];
        let beside = self.beside.entry(node.container).or_default();
        let around = shown.around(graph, alias);
        likely.sort_by_cached_key(|&id| {
            let target = &graph.nodes[id];
            let uses = beside
                .iter()
                .rev()
                .take(MOST_SORTED)
                .filter(|&&(_, target)| target == id);
            let names: Vec<&str> = uses.map(|&(name, _)| name).collect();
            (
                // A device's alias leads to the device's own region.
                !target.owner.is_empty() && !node.owner.is_empty() && target.owner != node.owner,
                // Few regions show themselves.
                around.contains(&id),
                u128::from(offset) + node.size > target.size,
                // The windows of one device on one bus have different names; those of two have the same.
                match (names.is_empty(), names.contains(&node.name)) {
                    (false, false) => 0,
                    (true, _) if !self.chosen.contains(&id) => 1,
                    (true, _) => 2,
                    (false, true) => 3,
                },
            )
        });
        if let Some(&first) = likely.first() {
            beside.push((node.name, first));
            self.chosen.insert(first);
            shown.aliases.entry(first).or_default().push(alias);
        }
    }
}

impl Shown {
    /// The regions in which one is seen: its containers, and those that aliases of them lie in, by what was chosen
    /// so far. A region that is led to from there would show itself.
    fn around(&self, graph: &Graph<'_>, id: NodeId) -> HashSet<NodeId> {
        let mut around = HashSet::from([id]);
        let mut next = vec![id];
        while let Some(id) = next.pop()
            && around.len() < MOST_AROUND
        {
            let container = graph.nodes[id].container;
            let aliases = self.aliases.get(&id).into_iter().flatten().copied();
            next.extend(
                container
                    .into_iter()
                    .chain(aliases)
                    .filter(|&id| around.insert(id)),
            );
        }
        around
    }
}

/// How far it is looked whether an alias leads to what it is seen in.
const MOST_AROUND: usize = 256;
