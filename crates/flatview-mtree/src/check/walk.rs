//! Who could answer at an address, in the order in which they are asked.

use std::cell::Cell;

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

/// How much may still be looked at, so that no text takes long. When nothing is left, nobody is found.
#[derive(Debug)]
pub(crate) struct Work(Cell<usize>);

impl Work {
    /// For so many regions.
    pub(crate) fn new(regions: usize) -> Work {
        Work(Cell::new(regions))
    }

    /// Whether so many more may be looked at.
    pub(crate) fn spend(&self, regions: usize) -> bool {
        let left = self.0.get().checked_sub(regions);
        self.0.set(left.unwrap_or(0));
        left.is_some()
    }
}

/// What is looked through for one address: real machines are far from it.
const MOST_STEPS: usize = 1 << 13;
const MOST_CANDIDATES: usize = 64;
const MOST_DEPTH: usize = 256;

/// All regions that could answer at an address of a view with this root: first those in front. Whether they do, a
/// [fact](crate::facts::Fact::answers) says.
pub(crate) fn candidates(
    graph: &Graph<'_>,
    facts: &Facts,
    (root, address): (NodeId, u64),
    work: &Work,
) -> Vec<Candidate> {
    Walk::through(graph, facts, (root, address), work).found
}

/// The regions that could lead elsewhere, or have a byte that they are not taken to have, or lie where they are not taken
/// to lie, on all ways to an address.
pub(crate) fn alternatives(
    graph: &Graph<'_>,
    facts: &Facts,
    (root, address): (NodeId, u64),
    work: &Work,
) -> Vec<NodeId> {
    Walk::through(graph, facts, (root, address), work).alternatives
}

struct Walk<'g, 'a> {
    graph: &'g Graph<'a>,
    facts: &'g Facts,
    address: u64,
    work: &'g Work,
    path: Vec<NodeId>,
    steps: usize,
    found: Vec<Candidate>,
    alternatives: Vec<NodeId>,
}

impl<'g, 'a> Walk<'g, 'a> {
    fn through(
        graph: &'g Graph<'a>,
        facts: &'g Facts,
        (root, address): (NodeId, u64),
        work: &'g Work,
    ) -> Walk<'g, 'a> {
        let mut walk = Walk {
            graph,
            facts,
            address,
            work,
            path: Vec::new(),
            steps: 0,
            found: Vec::new(),
            alternatives: Vec::new(),
        };
        walk.visit(root, 0);
        walk
    }

    /// Recursion ends at a bound.
    fn visit(&mut self, id: NodeId, base: i128) {
        self.steps += 1;
        let costs = 1 + self.graph.nodes[id].children.len();
        if !self.work.spend(costs)
            || self.steps > MOST_STEPS
            || self.path.len() == MOST_DEPTH
            || self.found.len() == MOST_CANDIDATES
        {
            return;
        }
        let node = &self.graph.nodes[id];
        let fact = self.facts.of[id];
        let start = base + i128::from(node.address);
        let offset = i128::from(self.address) - start;
        let within = |size: u128| (0..size as i128).contains(&offset);
        if !node.enabled || !within(node.size) {
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
                let (address, nodes) = (i128::from(self.address), &self.graph.nodes);
                let is_here = |child: NodeId| {
                    let start = start + i128::from(nodes[child].address);
                    (0..nodes[child].size as i128).contains(&(address - start))
                };
                for child in self.facts.children_where(self.graph, id, is_here) {
                    if self.facts.of[child].seen {
                        self.visit(child, start);
                    } else if self.graph.nodes[child].enabled {
                        self.alternatives.push(child);
                    }
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

/// Where two ways part in a container: that, and the sibling on each, if the text leaves open which is in front.
pub(crate) fn open_order(
    graph: &Graph<'_>,
    one: &[NodeId],
    other: &[NodeId],
) -> Option<(NodeId, NodeId, NodeId)> {
    let common = one.iter().zip(other).take_while(|(one, other)| one == other);
    let common = common.count();
    let &container = one.get(common.checked_sub(1)?)?;
    let (&one, &other) = (one.get(common)?, other.get(common)?);
    let (left, right) = (&graph.nodes[one], &graph.nodes[other]);
    let is_open = left.container == Some(container)
        && right.container == Some(container)
        && left.priority == right.priority
        // At one address they are printed in their order.
        && left.address != right.address;
    is_open.then_some((container, one, other))
}
