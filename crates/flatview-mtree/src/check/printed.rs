//! What the lines of regions and ranges say, and what they leave open.

use super::change::Change;
use super::walk::Candidate;
use crate::facts::Facts;
use crate::graph::{Graph, Node, NodeId, What};
use crate::text::RangeLine;

/// Whether a region is the one that is printed at an address. Whether it may be written is another question.
pub(super) fn is(graph: &Graph<'_>, way: &Candidate, printed: &RangeLine<'_>, address: u64) -> bool {
    let line = &printed.line;
    let nonvolatile = way.path.iter().any(|&id| graph.nodes[id].nonvolatile);
    is_line_of(&graph.nodes[way.node()], printed)
        && line.nonvolatile == nonvolatile
        && line.offset.wrapping_add(address - line.start) == way.offset
}

/// Whether a range may be one of a region, wherever it is seen.
pub(super) fn is_line_of(node: &Node<'_>, printed: &RangeLine<'_>) -> bool {
    let line = &printed.line;
    line.name == node.name
        && line.priority == node.priority
        && (line.type_name == node.what.type_name() || line.type_name == "rom")
        && (printed.owner.is_empty() || node.owner.is_empty() || printed.owner == node.owner)
}

/// What makes a region read-only on the way, or lets it be written: each element is one way to have it, the likeliest
/// first. None if there is no way.
pub(super) fn accesses(
    graph: &Graph<'_>,
    facts: &Facts,
    way: &Candidate,
    printed: &RangeLine<'_>,
) -> Vec<Vec<Change>> {
    let is_rom = graph.nodes[way.node()].what == What::Rom;
    let readonly = way.path.iter().copied().filter(|&id| facts.of[id].readonly);
    let readonly: Vec<NodeId> = readonly.collect();
    match (printed.line.type_name == "rom", is_rom || !readonly.is_empty()) {
        (true, true) | (false, false) => vec![Vec::new()],
        (false, true) if is_rom => Vec::new(),
        (false, true) => {
            let changes = readonly.into_iter().map(|id| Change::Readonly(id, false));
            vec![changes.collect()]
        }
        (true, false) => {
            // RAM says itself whether it is ROM; RAM of a device does not.
            let open = way
                .path
                .iter()
                .rev()
                .filter(|&&id| graph.nodes[id].what != What::Ram);
            let mut likely: Vec<NodeId> = open.copied().collect();
            likely.sort_by_key(|&id| !graph.nodes[id].is_alias());
            let changes = likely.into_iter().map(|id| vec![Change::Readonly(id, true)]);
            changes.collect()
        }
    }
}

/// Whether a region could lie in a disabled one without a line, behind the one that it seems to lie in.
pub(super) fn may_be_unseen(graph: &Graph<'_>, id: NodeId) -> bool {
    let container = graph.nodes[id].container;
    container.is_some_and(|container| graph.may_hold_less(&graph.nodes[container]))
}

/// What else a line of one byte, an alias by its name, and what begins outside of its container may mean.
pub(super) fn other_values(graph: &Graph<'_>, facts: &Facts, id: NodeId) -> Vec<Change> {
    let node = &graph.nodes[id];
    let fact = facts.of[id];
    let mut changes = Vec::new();
    if node.size == 1 {
        changes.push(Change::Size(id, 1 - fact.size.min(1)));
    }
    if !fact.seen {
        changes.push(Change::Seen(id));
    }
    if let What::Alias { candidates, .. } = &node.what {
        let others = candidates.iter().filter(|&&target| Some(target) != fact.target);
        changes.extend(others.map(|&target| Change::Target(id, target)));
    }
    changes
}
