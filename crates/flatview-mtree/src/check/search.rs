//! Facts with which everything is as printed, looked for with second thoughts.
//!
//! [`Solver`](super::solve::Solver) goes straight ahead: it is fast, and what it finds is likely. Where one answer
//! shuts the door to another one that is needed elsewhere, it ends with differences. Then this begins again: it takes
//! the difference that leaves the fewest answers, tries them in turn, and comes back if none leads to an end.
//!
//! An answer that was given to explain a difference stays on the way down. So it ends, and a bound on the work ends
//! it earlier where there are too many ways: what is different then may have an explanation all the same.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::change::{Answers, Change, Question, later_siblings};
use super::circles::circles;
use super::printed;
use super::problem::{Problem, problems};
use super::roots::roots;
use super::walk::{Candidate, Work, alternatives, candidates, open_order};
use crate::facts::Facts;
use crate::graph::{Graph, NodeId, What};
use crate::rebuild::Rebuilt;
use crate::text::{FlatDump, RangeLine};

/// Regions that are looked at on ways to addresses.
const MOST_WORK: usize = 1 << 24;
/// Bounds: on nodes and ranges that are rendered in all, on second thoughts, and on answers to one difference.
const MOST_RENDERED: usize = 1 << 18;
const MOST_DEPTH: usize = 48;
const MOST_OPTIONS: usize = 48;
/// In how many ways spaces of one name are told from each other.
const MOST_PAIRINGS: usize = 3;
/// How many differences are looked at to find the one with the fewest answers.
const MOST_PROBLEMS: usize = 32;

/// Facts with which the graph renders to these views, if any were found.
pub(super) fn search(graph: &Graph<'_>, flat: &FlatDump<'_>, guess: Facts) -> Option<Facts> {
    let names: HashSet<&str> = graph.spaces.iter().map(|space| space.name).collect();
    let pairings = if names.len() < graph.spaces.len() {
        MOST_PAIRINGS
    } else {
        1
    };
    (0..pairings).find_map(|pairing| {
        let mut search = Search {
            graph,
            flat,
            pairing,
            decided: HashSet::new(),
            tried: HashSet::new(),
            rendered: Work::new(MOST_RENDERED / pairings),
            work: Work::new(MOST_WORK),
        };
        search
            .go(&Answers::new(guess.clone()), 0)
            .map(|answers| answers.facts)
    })
}

struct Search<'s, 'a> {
    graph: &'s Graph<'a>,
    flat: &'s FlatDump<'a>,
    /// Which of several spaces of one name is which.
    pairing: usize,
    /// What was answered on the way down.
    decided: HashSet<Question>,
    /// Facts that were tried.
    tried: HashSet<u64>,
    /// What is left to be rendered.
    rendered: Work,
    /// What may still be looked at.
    work: Work,
}

/// Changes that are made together.
type Changes = Vec<Change>;

impl<'a> Search<'_, 'a> {
    /// Recursion ends at a bound.
    fn go(&mut self, answers: &Answers, depth: usize) -> Option<Answers> {
        if depth > MOST_DEPTH || !self.tried.insert(hash(&answers.facts)) {
            return None;
        }
        let cost = self.graph.nodes.len() + 1;
        if !self.rendered.spend(cost) {
            return None;
        }
        let mut options = match Rebuilt::new(self.graph, &answers.facts) {
            Ok(built) => {
                let ranges: usize = built.spaces.iter().map(|space| space.view().len()).sum();
                if !self.rendered.spend(ranges) {
                    return None;
                }
                let problems = problems(self.graph, &built, self.flat, self.pairing);
                if problems.is_empty() {
                    return Some(answers.clone());
                }
                self.fewest(answers, &problems)
            }
            // It shows itself without an end: something leads elsewhere.
            Err(_) => self.break_circle(answers),
        };
        options.truncate(MOST_OPTIONS);
        for changes in options {
            let mut next = answers.clone();
            if !changes.iter().all(|&change| next.make(self.graph, change)) {
                continue;
            }
            let questions: Vec<Question> = changes.iter().map(|change| change.question()).collect();
            self.decided.extend(&questions);
            let found = self.go(&next, depth + 1);
            questions.iter().for_each(|question| {
                self.decided.remove(question);
            });
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The answers to the difference that has the fewest.
    fn fewest(&self, answers: &Answers, problems: &[Problem<'_, 'a>]) -> Vec<Changes> {
        let mut fewest: Option<Vec<Changes>> = None;
        for problem in problems.iter().take(MOST_PROBLEMS) {
            let options = self.options(answers, problem);
            if fewest.as_ref().is_none_or(|fewest| options.len() < fewest.len()) {
                let none = options.is_empty();
                fewest = Some(options);
                if none {
                    break;
                }
            }
        }
        fewest.unwrap_or_default()
    }

    /// Each element is a way to explain a difference, the likeliest first.
    fn options(&self, answers: &Answers, problem: &Problem<'_, 'a>) -> Vec<Changes> {
        let mut options = match *problem {
            Problem::Root { space_root, printed } => self.roots(answers, space_root, printed),
            Problem::Range {
                space_root,
                root,
                address,
                printed,
            } => {
                let mut options = self.ranges(answers, root, printed, address);
                // It may begin at another region of that name.
                options.extend(self.roots(answers, space_root, self.graph.nodes[root].name));
                options
            }
            Problem::Cut {
                root,
                address,
                is_printed,
                printed,
            } => {
                let mut options = self.cuts(answers, root, address, is_printed);
                // Another region that looks alike may answer on one side.
                for (line, address) in printed.into_iter().zip([address.wrapping_sub(1), address]) {
                    options.extend(self.ranges(answers, root, Some(line), address));
                }
                options
            }
        };
        options.retain(|changes| {
            !changes.is_empty()
                && changes.iter().enumerate().all(|(at, &change)| {
                    !self.decided.contains(&change.question())
                        && changes[..at]
                            .iter()
                            .all(|before| before.question() != change.question())
                })
        });
        options
    }

    fn roots(&self, answers: &Answers, space_root: NodeId, printed: &str) -> Vec<Changes> {
        roots(self.graph, answers, &self.decided, space_root, printed)
    }

    /// Who answers at an address.
    fn ranges(
        &self,
        answers: &Answers,
        root: NodeId,
        printed: Option<&RangeLine<'_>>,
        address: u64,
    ) -> Vec<Changes> {
        let facts = &answers.facts;
        let ways = candidates(self.graph, facts, (root, address), &self.work);
        let Some(line) = printed else {
            let mut options = self.silence_all(facts, &ways, &[]);
            options.sort_by_key(Vec::len);
            return options;
        };
        let mut options = Vec::new();
        for (index, way) in ways.iter().enumerate() {
            if !printed::is(self.graph, way, line, address) {
                continue;
            }
            let mut first = Vec::new();
            if !facts.of[way.node()].answers {
                first.push(Change::Answers(way.node(), true));
            }
            for silent in self.silence_all(facts, &ways[..index], &way.path) {
                for access in printed::accesses(self.graph, facts, way, line) {
                    let changes = first.iter().chain(&silent).chain(&access);
                    options.push(changes.copied().collect());
                }
            }
        }
        options.sort_by_key(Vec::len);
        options.truncate(MOST_OPTIONS / 2);
        options.extend(self.elsewhere(answers, root, line, address));
        options
    }

    /// What is met on the way to an address may lead elsewhere, or have another size.
    fn elsewhere(&self, answers: &Answers, root: NodeId, line: &RangeLine<'_>, address: u64) -> Vec<Changes> {
        let nodes = &self.graph.nodes;
        if !nodes.iter().any(|node| printed::is_line_of(node, line)) {
            return Vec::new();
        }
        let met = alternatives(self.graph, &answers.facts, (root, address), &self.work);
        let mut options: Vec<(bool, Change)> = Vec::new();
        for change in met
            .iter()
            .flat_map(|&id| printed::other_values(self.graph, &answers.facts, id))
        {
            if options.len() == MOST_OPTIONS || self.decided.contains(&change.question()) {
                continue;
            }
            let mut next = answers.clone();
            next.make(self.graph, change);
            let ways = candidates(self.graph, &next.facts, (root, address), &self.work);
            let is_there = ways.iter().any(|way| printed::is(self.graph, way, line, address));
            options.push((!is_there, change));
        }
        options.sort_by_key(|&(is_not_there, _)| is_not_there);
        options.into_iter().map(|(_, change)| vec![change]).collect()
    }

    /// The ways to have none of these answer, but what is on the way `keep`.
    fn silence_all(&self, facts: &Facts, fronts: &[Candidate], keep: &[NodeId]) -> Vec<Changes> {
        let mut options: Vec<Changes> = vec![Vec::new()];
        for front in fronts.iter().filter(|front| facts.of[front.node()].answers) {
            let silencers = self.silencers(facts, front, keep);
            let mut next: Vec<Changes> = Vec::new();
            for changes in &options {
                // One change may silence several.
                if silencers.iter().any(|change| changes.contains(change)) {
                    next.push(changes.clone());
                    continue;
                }
                next.extend(silencers.iter().map(|&change| {
                    let mut changes = changes.clone();
                    changes.push(change);
                    changes
                }));
            }
            next.truncate(MOST_OPTIONS);
            options = next;
        }
        options
    }

    /// Single changes after which a region does not answer in front of what is on the way `keep`.
    fn silencers(&self, facts: &Facts, front: &Candidate, keep: &[NodeId]) -> Changes {
        let graph = self.graph;
        let mut changes = Vec::new();
        if let Some((container, back, first)) = open_order(graph, &front.path, keep) {
            changes.push(Change::Order {
                container,
                front: first,
                back,
            });
        }
        if graph.nodes[front.node()].what == What::Io {
            changes.push(Change::Answers(front.node(), false));
        }
        let own: Vec<NodeId> = front
            .path
            .iter()
            .rev()
            .copied()
            .filter(|id| !keep.contains(id))
            .collect();
        changes.extend(own.iter().flat_map(|&id| printed::other_values(graph, facts, id)));
        changes.extend(
            own.iter()
                .filter(|&&id| {
                    printed::may_be_unseen(graph, id)
                        && !later_siblings(graph, id)
                            .iter()
                            .any(|sibling| keep.contains(sibling))
                })
                .map(|&id| Change::Unseen(id)),
        );
        changes.retain(|change| !self.decided.contains(&change.question()));
        changes
    }

    fn cuts(&self, answers: &Answers, root: NodeId, address: u64, is_printed: bool) -> Vec<Changes> {
        let facts = &answers.facts;
        let around = [address, address.wrapping_sub(1)].map(|address| {
            let ways = candidates(self.graph, facts, (root, address), &self.work);
            ways.into_iter().find(|way| facts.of[way.node()].answers)
        });
        let met = around.iter().flatten().flat_map(|way| way.path.iter().rev());
        let mut met: Vec<NodeId> = met
            .copied()
            .filter(|&id| facts.of[id].unmergeable != is_printed)
            .collect();
        met.sort_by_key(|&id| !self.graph.nodes[id].is_alias());
        let mut seen = HashSet::new();
        met.retain(|&id| seen.insert(id));
        if is_printed {
            met.into_iter()
                .map(|id| vec![Change::Unmergeable(id, true)])
                .collect()
        } else {
            vec![met.into_iter().map(|id| Change::Unmergeable(id, false)).collect()]
        }
    }

    /// What may break a circle: something in it leads elsewhere, or has no bytes, or lies elsewhere.
    fn break_circle(&self, answers: &Answers) -> Vec<Changes> {
        let mut options = Vec::new();
        for id in circles(self.graph, &answers.facts) {
            options.extend(printed::other_values(self.graph, &answers.facts, id));
            if printed::may_be_unseen(self.graph, id) && answers.facts.of[id].seen {
                options.push(Change::Unseen(id));
            }
        }
        options.retain(|change| !self.decided.contains(&change.question()));
        options.into_iter().map(|change| vec![change]).collect()
    }
}

fn hash(facts: &Facts) -> u64 {
    let mut hasher = DefaultHasher::new();
    facts.hash(&mut hasher);
    hasher.finish()
}
