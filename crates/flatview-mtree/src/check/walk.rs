//! Who could answer at an address, in the order in which they are asked.

use crate::facts::Facts;
use crate::graph::{Graph, NodeId, What};

/// A region that answers at an address, or would if it answered at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// From the physical root to the region.
    pub(crate) path: Vec<NodeId>,
    /// The byte of the region.
    pub(crate) offset: u64,
}

impl Candidate {
    pub(crate) fn node(&self) -> NodeId {
        self.path[self.path.len() - 1]
    }
}

/// What is looked through: real machines are far from it.
const MOST_STEPS: usize = 1 << 13;
const MOST_CANDIDATES: usize = 64;
const MOST_DEPTH: usize = 256;

/// All regions that could answer at an address of a view with this root: first those in front. Whether they do, a
/// [fact](crate::facts::Fact::answers) says.
pub(crate) fn candidates(graph: &Graph<'_>, facts: &Facts, root: NodeId, address: u64) -> Vec<Candidate> {
    let mut walk = Walk {
        graph,
        facts,
        address,
        path: Vec::new(),
        steps: 0,
        found: Vec::new(),
        alternatives: Vec::new(),
    };
    walk.visit(root, 0);
    walk.found
}

/// The aliases that could lead elsewhere, or have a byte that they are not taken to have, on all ways to an address.
pub(crate) fn alternatives(graph: &Graph<'_>, facts: &Facts, root: NodeId, address: u64) -> Vec<NodeId> {
    let mut walk = Walk {
        graph,
        facts,
        address,
        path: Vec::new(),
        steps: 0,
        found: Vec::new(),
        alternatives: Vec::new(),
    };
    walk.visit(root, 0);
    walk.alternatives
}

struct Walk<'g, 'a> {
    graph: &'g Graph<'a>,
    facts: &'g Facts,
    address: u64,
    path: Vec<NodeId>,
    steps: usize,
    found: Vec<Candidate>,
    alternatives: Vec<NodeId>,
}

impl Walk<'_, '_> {
    /// Recursion ends at a bound.
    fn visit(&mut self, id: NodeId, base: i128) {
        self.steps += 1;
        if self.steps > MOST_STEPS || self.path.len() == MOST_DEPTH || self.found.len() == MOST_CANDIDATES {
            return;
        }
        let node = &self.graph.nodes[id];
        let fact = self.facts.of[id];
        let start = base + i128::from(node.address);
        let offset = i128::from(self.address) - start;
        let within = |size: u128| (0..size as i128).contains(&offset);
        if !node.enabled || !fact.seen || !within(node.size) {
            return;
        }
        let ambiguous = matches!(&node.what, What::Alias { candidates, .. } if candidates.len() > 1);
        if ambiguous || !within(fact.size) {
            self.alternatives.push(id);
        }
        if !within(fact.size) {
            return;
        }
        self.path.push(id);
        match node.what {
            What::Alias { offset, .. } => {
                if let Some(target) = fact.target {
                    let base = start - i128::from(offset) - i128::from(self.graph.nodes[target].address);
                    self.visit(target, base);
                }
            }
            _ => {
                for child in self.facts.children(self.graph, id) {
                    self.visit(child, start);
                }
                self.found.push(Candidate {
                    path: self.path.clone(),
                    // Within the region, so below 2^64.
                    offset: u64::try_from(offset).unwrap_or_default(),
                });
            }
        }
        self.path.pop();
    }
}
