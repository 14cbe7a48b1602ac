//! At which region a view could begin (rule C30).

use std::collections::HashSet;

use super::change::{Answers, Change, Question};
use crate::graph::{Graph, NodeId, What};

/// Bounds: on regions that are met on all ways, and on changes on one.
const MOST_STEPS: usize = 256;
const MOST_CHANGES: usize = 8;

/// The changes, one list for each way, after which the view of a space begins at a region of this name; the shortest
/// first, an empty one if it does so now. What is decided stays.
pub(super) fn roots(
    graph: &Graph<'_>,
    answers: &Answers,
    decided: &HashSet<Question>,
    space_root: NodeId,
    printed: &str,
) -> Vec<Vec<Change>> {
    let mut roots = Roots {
        graph,
        answers,
        decided,
        printed,
        changes: Vec::new(),
        found: Vec::new(),
        steps: 0,
    };
    roots.visit(space_root);
    roots.found.sort_by_key(Vec::len);
    roots.found
}

/// Goes all the ways that lead to the root of a view.
struct Roots<'r, 'a> {
    graph: &'r Graph<'a>,
    answers: &'r Answers,
    decided: &'r HashSet<Question>,
    printed: &'r str,
    changes: Vec<Change>,
    found: Vec<Vec<Change>>,
    steps: usize,
}

impl Roots<'_, '_> {
    /// Ends at a bound.
    fn visit(&mut self, id: NodeId) {
        self.steps += 1;
        if self.steps > MOST_STEPS || self.changes.len() > MOST_CHANGES {
            return;
        }
        let graph = self.graph;
        let node = &graph.nodes[id];
        let fact = self.answers.facts.of[id];
        if !node.enabled {
            return self.end("(none)");
        }
        match &node.what {
            What::Alias {
                offset, candidates, ..
            } => {
                let first = fact.target.into_iter();
                let others = candidates
                    .iter()
                    .copied()
                    .filter(|&target| Some(target) != fact.target);
                for target in first.chain(others) {
                    let to = (Some(target) != fact.target).then_some(Change::Target(id, target));
                    self.with(to, |roots| {
                        if *offset == 0 {
                            roots.fitting(id, target);
                        } else {
                            roots.end(node.name);
                        }
                    });
                }
            }
            What::Io => {
                let silent = fact.answers.then_some(Change::Answers(id, false));
                self.with(silent, |roots| roots.container(id));
                let answers = (!fact.answers).then_some(Change::Answers(id, true));
                self.with(answers, |roots| roots.end(node.name));
            }
            _ => self.end(node.name),
        }
    }

    /// A pure container: nothing, the only one in it, or itself.
    fn container(&mut self, id: NodeId) {
        let graph = self.graph;
        let facts = &self.answers.facts;
        let is_enabled = |child: &&NodeId| graph.nodes[**child].enabled;
        let mut enabled = graph.nodes[id].children.iter().filter(is_enabled).copied();
        let (first, second) = (enabled.next(), enabled.next());
        let is_seen = |child: NodeId| facts.of[child].seen;
        let may_hold_less = graph.may_hold_less(&graph.nodes[id]);
        // Children lie elsewhere from some place on.
        let none = first.filter(|&first| is_seen(first)).map(Change::Unseen);
        if none.is_none() || may_hold_less {
            self.with(none, |roots| roots.end("(none)"));
        }
        let Some(first) = first else {
            return;
        };
        let see_first = (!is_seen(first)).then_some(Change::Seen(first));
        let unsee_second = second.filter(|&second| is_seen(second)).map(Change::Unseen);
        if unsee_second.is_none() || may_hold_less {
            self.with(see_first.or(unsee_second), |roots| {
                if graph.nodes[first].address == 0 {
                    roots.fitting(id, first);
                } else {
                    roots.end(graph.nodes[id].name);
                }
            });
        }
        if let Some(second) = second {
            let see_second = (!is_seen(second)).then_some(Change::Seen(second));
            self.with(see_second, |roots| roots.end(graph.nodes[id].name));
        }
    }

    /// Goes on with what one shows if all of it is shown.
    fn fitting(&mut self, id: NodeId, inner: NodeId) {
        let graph = self.graph;
        let facts = &self.answers.facts;
        let sizes = |of: NodeId| match graph.nodes[of].size {
            1 => vec![facts.of[of].size, 1 - facts.of[of].size.min(1)],
            _ => vec![facts.of[of].size],
        };
        let change = |of: NodeId, size: u128| (facts.of[of].size != size).then_some(Change::Size(of, size));
        if graph.nodes[inner].what == What::Unprinted {
            let size = facts.of[id].size;
            let fits = (facts.of[inner].size > size).then_some(Change::Size(inner, size));
            self.with(fits, |roots| roots.visit(inner));
            if facts.of[inner].size > size {
                self.end(graph.nodes[id].name);
            }
            return;
        }
        for outer_size in sizes(id) {
            for inner_size in sizes(inner) {
                self.with(change(id, outer_size), |roots| {
                    roots.with(change(inner, inner_size), |roots| {
                        if outer_size >= inner_size {
                            roots.visit(inner);
                        } else {
                            roots.end(graph.nodes[id].name);
                        }
                    });
                });
            }
        }
    }

    fn with(&mut self, change: Option<Change>, then: impl FnOnce(&mut Self)) {
        if change.is_some_and(|change| self.decided.contains(&change.question())) {
            return;
        }
        self.changes.extend(change);
        then(self);
        if change.is_some() {
            self.changes.pop();
        }
    }

    fn end(&mut self, name: &str) {
        if name == self.printed {
            self.found.push(self.changes.clone());
        }
    }
}
