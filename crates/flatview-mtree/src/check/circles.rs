//! Regions that show themselves.

use std::collections::HashSet;

use crate::facts::Facts;
use crate::graph::{Graph, NodeId, What};

/// How many are found.
const MOST_FOUND: usize = 48;

/// Regions that show themselves through aliases, wherever these lie, and what is around them; only the first ones.
pub(super) fn circles(graph: &Graph<'_>, facts: &Facts) -> Vec<NodeId> {
    #[derive(Clone, Copy, PartialEq)]
    enum Visited {
        Not,
        /// It is on the way from the root.
        On,
        Done,
    }
    let inner = |id: NodeId, at: usize| match graph.nodes[id].what {
        What::Alias { .. } => facts.of[id].target.filter(|_| at == 0),
        _ => graph.nodes[id].children.get(at).copied(),
    };
    let mut visited = vec![Visited::Not; graph.nodes.len()];
    let mut found = Vec::new();
    for space in &graph.spaces {
        let mut way = vec![(space.root, 0)];
        while let Some((id, at)) = way.last_mut() {
            visited[*id] = Visited::On;
            let Some(next) = inner(*id, *at) else {
                visited[*id] = Visited::Done;
                way.pop();
                continue;
            };
            *at += 1;
            match visited[next] {
                Visited::Not if graph.nodes[next].enabled => way.push((next, 0)),
                Visited::On if found.len() < MOST_FOUND => {
                    found.extend(way.iter().rev().take(MOST_FOUND).map(|&(id, _)| id));
                }
                _ => {}
            }
        }
    }
    let mut seen = HashSet::new();
    found.retain(|&id| seen.insert(id));
    found
}
