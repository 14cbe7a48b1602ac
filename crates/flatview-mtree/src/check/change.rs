//! What may be otherwise than it was guessed, one thing at a time.

use std::collections::{BTreeMap, BinaryHeap, HashMap};

use crate::facts::Facts;
use crate::graph::{Graph, NodeId};

/// A change of one fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Change {
    Answers(NodeId, bool),
    Readonly(NodeId, bool),
    Unmergeable(NodeId, bool),
    /// It lies in an unprinted region, and so do the siblings behind it.
    Unseen(NodeId),
    /// It lies in its container, and so do the siblings before it.
    Seen(NodeId),
    Size(NodeId, u128),
    Target(NodeId, NodeId),
    /// In a container, one child before another.
    Order {
        container: NodeId,
        front: NodeId,
        back: NodeId,
    },
}

/// What a change answers. There is one answer to each of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Question {
    Answers(NodeId),
    Readonly(NodeId),
    Unmergeable(NodeId),
    Seen(NodeId),
    Size(NodeId),
    Target(NodeId),
    /// Which of two siblings is in front, the lower number first.
    Order(NodeId, NodeId),
}

impl Change {
    pub(super) fn question(self) -> Question {
        match self {
            Change::Answers(id, _) => Question::Answers(id),
            Change::Readonly(id, _) => Question::Readonly(id),
            Change::Unmergeable(id, _) => Question::Unmergeable(id),
            Change::Unseen(id) | Change::Seen(id) => Question::Seen(id),
            Change::Size(id, _) => Question::Size(id),
            Change::Target(id, _) => Question::Target(id),
            Change::Order { front, back, .. } => Question::Order(front.min(back), front.max(back)),
        }
    }
}

/// Facts, and which siblings were put in front of which.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub(super) facts: Facts,
    /// By container: who is in front, and of whom.
    pub(super) fronts: BTreeMap<NodeId, Vec<(NodeId, NodeId)>>,
}

impl Answers {
    pub(super) fn new(facts: Facts) -> Answers {
        Answers {
            facts,
            fronts: BTreeMap::new(),
        }
    }

    /// Makes a change. Whether it can be: not every order goes with those that were asked for before.
    pub(super) fn make(&mut self, graph: &Graph<'_>, change: Change) -> bool {
        let of = &mut self.facts.of;
        match change {
            Change::Answers(id, answers) => of[id].answers = answers,
            Change::Readonly(id, readonly) => of[id].readonly = readonly,
            Change::Unmergeable(id, unmergeable) => of[id].unmergeable = unmergeable,
            Change::Size(id, size) => of[id].size = size,
            Change::Target(id, target) => of[id].target = Some(target),
            Change::Unseen(id) => {
                for &sibling in later_siblings(graph, id) {
                    of[sibling].seen = false;
                }
            }
            Change::Seen(id) => {
                let container = graph.nodes[id].container;
                let siblings = container.map_or(&[][..], |container| &graph.nodes[container].children);
                for &sibling in siblings {
                    of[sibling].seen = true;
                    if sibling == id {
                        break;
                    }
                }
            }
            Change::Order {
                container,
                front,
                back,
            } => {
                let fronts = self.fronts.entry(container).or_default();
                fronts.push((front, back));
                let Some(order) = arrange(graph, container, fronts) else {
                    fronts.pop();
                    return false;
                };
                self.facts.order.insert(container, order);
            }
        }
        true
    }
}

/// A region and what is printed behind it in the same place: if it lies in an unprinted region, so does that, in the
/// same one or in another.
pub(super) fn later_siblings<'g>(graph: &'g Graph<'_>, id: NodeId) -> &'g [NodeId] {
    let container = graph.nodes[id].container;
    let siblings = container.map_or(&[][..], |container| &graph.nodes[container].children);
    let from = siblings.iter().position(|&sibling| sibling == id);
    &siblings[from.unwrap_or(siblings.len())..]
}

/// The children of a container, from the front to the back, so that `fronts` hold and as little as possible is not as
/// usual. None if they contradict each other, or what is printed: at one address the newest is first.
fn arrange(graph: &Graph<'_>, container: NodeId, fronts: &[(NodeId, NodeId)]) -> Option<Vec<NodeId>> {
    let usual = Facts::usual_children(graph, container);
    let place: HashMap<NodeId, usize> = usual.iter().copied().zip(0..).collect();
    // By place: those in front, and how many are behind it that were not put anywhere yet.
    let mut ahead: Vec<Vec<usize>> = vec![Vec::new(); usual.len()];
    let mut waits_for = vec![0_usize; usual.len()];
    let beside = usual.windows(2).filter(|pair| {
        let [one, other] = [&graph.nodes[pair[0]], &graph.nodes[pair[1]]];
        (one.address, one.priority) == (other.address, other.priority)
    });
    let beside = beside.map(|pair| (pair[0], pair[1]));
    for (front, back) in fronts.iter().copied().chain(beside) {
        let (front, back) = (*place.get(&front)?, *place.get(&back)?);
        ahead[back].push(front);
        waits_for[front] += 1;
    }
    // From the back on: who is to be in front comes as late as it can, and nobody else has to move.
    let mut free: BinaryHeap<usize> = (0..usual.len()).filter(|&at| waits_for[at] == 0).collect();
    let mut order = Vec::with_capacity(usual.len());
    while let Some(at) = free.pop() {
        order.push(usual[at]);
        for &front in &ahead[at] {
            waits_for[front] -= 1;
            if waits_for[front] == 0 {
                free.push(front);
            }
        }
    }
    order.reverse();
    (order.len() == usual.len()).then_some(order)
}
