//! What had to be assumed, as a report tells it.

use std::collections::HashMap;

use super::report::{Assumed, Assumption};
use crate::facts::Facts;
use crate::graph::{Graph, Node, NodeId, What};

/// What is otherwise than it is usually.
pub(super) fn assumed(graph: &Graph<'_>, guess: &Facts, facts: &Facts) -> Vec<Assumed> {
    let mut assumed = Vec::new();
    for (id, (before, now)) in guess.of.iter().zip(&facts.of).enumerate() {
        let mut tell = |what: Assumption| {
            assumed.push(Assumed {
                region: graph.nodes[id].name.to_owned(),
                line: graph.nodes[id].line,
                what,
            });
        };
        if before.answers != now.answers {
            tell(if now.answers {
                Assumption::Answers
            } else {
                Assumption::PureContainer
            });
        }
        if before.readonly != now.readonly {
            tell(if now.readonly {
                Assumption::Readonly
            } else {
                Assumption::Writable
            });
        }
        if before.unmergeable != now.unmergeable {
            tell(if now.unmergeable {
                Assumption::Unmergeable
            } else {
                Assumption::Mergeable
            });
        }
        if before.size != now.size {
            tell(match now.size {
                _ if graph.nodes[id].what == What::Unprinted => Assumption::NotLarger { size: now.size },
                0 => Assumption::Empty,
                _ => Assumption::OneByte,
            });
        }
        if before.seen != now.seen {
            tell(if now.seen {
                Assumption::Within
            } else {
                Assumption::Unseen
            });
        }
        if before.target != now.target {
            tell(Assumption::LeadsTo {
                line: now.target.and_then(|target| graph.nodes[target].line),
            });
        }
    }
    for (&container, order) in &facts.order {
        assumed.extend(overtaken(graph, guess, facts, container, order.len()));
    }
    assumed
}

/// Which children of a container are in front of others that they meet, though they usually are not.
fn overtaken(
    graph: &Graph<'_>,
    guess: &Facts,
    facts: &Facts,
    container: NodeId,
    count: usize,
) -> Vec<Assumed> {
    let mut place: HashMap<NodeId, usize> = HashMap::with_capacity(count);
    place.extend(guess.children(graph, container).into_iter().zip(0..));
    let now = facts.children(graph, container);
    let mut assumed = Vec::new();
    let mut named = 0;
    for (at, &child) in now.iter().enumerate() {
        let node = &graph.nodes[child];
        let meets = |other: &NodeId| {
            let other = &graph.nodes[*other];
            let end = |node: &Node<'_>| u128::from(node.address) + node.size;
            u128::from(node.address) < end(other) && u128::from(other.address) < end(node)
        };
        let behind = now[at + 1..].iter().filter(|&other| place[other] < place[&child]);
        let regions = behind.filter(|other| meets(other)).take(MOST_NAMED - named);
        let regions: Vec<String> = regions.map(|&other| graph.nodes[other].name.to_owned()).collect();
        named += regions.len();
        if !regions.is_empty() {
            assumed.push(Assumed {
                region: node.name.to_owned(),
                line: node.line,
                what: Assumption::InFrontOf { regions },
            });
        }
        if named == MOST_NAMED {
            break;
        }
    }
    assumed
}

/// How many regions are named in all that others of a container are in front of.
const MOST_NAMED: usize = 1000;
