//! Whether a tree and the flat views that were printed beside it agree.

pub(crate) mod compare;
mod solve;
mod text;
pub(crate) mod walk;

use std::collections::HashSet;

use flatview::{AddressRange, Error};
use serde::Serialize;

pub use compare::Shown;

use crate::facts::Facts;
use crate::graph::{Graph, NodeId};
use crate::rebuild::Rebuilt;
use crate::text::{FlatDump, TreeDump, View};
use compare::{Mismatch, Pair, cuts, mismatches, pairs, rendered, root};
use solve::Solver;

/// What the comparison came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The tree, with the usual answers to what its text leaves open, renders to just these views.
    Equal,
    /// It does with other answers: [`Report::assumed`] says which.
    Open,
    /// No answers were found with which it does.
    Different,
}

/// A comparison of a tree with flat views.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What it came to.
    pub verdict: Verdict,
    /// What the views show of the tree that its text does not say and that is not the usual thing.
    pub assumed: Vec<Assumed>,
    /// Where the views differ even so.
    pub differences: Vec<Difference>,
    /// How many spaces were compared.
    pub spaces: usize,
    /// How many ranges their printed views have together.
    pub ranges: usize,
}

/// Something that the text of a tree does not say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Assumed {
    /// The region that it is about.
    pub region: String,
    /// The line of the tree where it stands.
    pub line: Option<u32>,
    /// What is taken for true.
    pub what: Assumption,
}

/// What is taken for true of a region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Assumption {
    /// It answers where its children do not (rule A1).
    Answers,
    /// It is a pure container: it answers nowhere itself.
    PureContainer,
    /// What is seen through it can only be read (rule C16).
    Readonly,
    /// What is seen through it can be written.
    Writable,
    /// It is not joined to its neighbours (rule C18).
    Unmergeable,
    /// It is joined to its neighbours.
    Mergeable,
    /// It lies in a disabled region without a line.
    Unseen,
    /// It has no bytes.
    Empty,
    /// It has one byte.
    OneByte,
    /// It leads to the region at this line of the tree, of several with the name.
    LeadsTo {
        /// The line, if it has one.
        line: Option<u32>,
    },
    /// Of the regions with its priority in its container it is in front of these.
    InFrontOf {
        /// Their names.
        regions: Vec<String>,
    },
}

/// A difference that nothing explains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "difference")]
pub enum Difference {
    /// A space of this name and with a root of this name is printed, but the tree has none, or not as many.
    NoSpace {
        /// The space.
        space: String,
        /// Its root.
        root: String,
    },
    /// The tree has a space that no printed view mentions.
    NoView {
        /// The space.
        space: String,
        /// Its root.
        root: String,
    },
    /// A view begins at another region (rule C30).
    Root {
        /// The space.
        space: String,
        /// The name of the region that is printed.
        printed: String,
        /// The name of the one that it is rendered from.
        rendered: String,
    },
    /// Something else answers.
    Range {
        /// The space.
        space: String,
        /// The addresses.
        range: AddressRange,
        /// Who answers as printed; nobody in a hole.
        printed: Option<Shown>,
        /// Who answers as rendered.
        rendered: Option<Shown>,
        /// The line of the printed view, if there is one.
        line: Option<u32>,
    },
    /// One region is cut in two ranges in one of the views.
    Cut {
        /// The space.
        space: String,
        /// The first address of the second range.
        address: u64,
        /// Whether it is the printed view that has the cut.
        is_printed: bool,
    },
}

/// Compares a tree with flat views.
///
/// If the usual answers to what the text leaves open do not do, others are looked for. `complete` says that the tree
/// was printed with `-D`, so that nothing disabled is left out; a tree with a disabled region tells it by itself.
///
/// # Errors
///
/// Those of [`Rebuilt::new`].
pub fn check(tree: &TreeDump<'_>, flat: &FlatDump<'_>) -> Result<Report, Error> {
    let graph = Graph::new(tree);
    let (mut facts, outcome) = solve(&graph, flat, tree.has_disabled())?;
    let guess = Facts::guess(&graph);
    if outcome.is_empty() && facts != guess {
        facts = without_needless(&graph, flat, &guess, facts)?;
    }
    let assumed = assumed(&graph, &guess, &facts);
    let verdict = match (outcome.is_empty(), facts == guess) {
        (true, true) => Verdict::Equal,
        (true, false) => Verdict::Open,
        (false, _) => Verdict::Different,
    };
    Ok(Report {
        verdict,
        assumed,
        differences: outcome,
        spaces: flat.views.iter().map(|view| view.spaces.len()).sum(),
        ranges: flat
            .views
            .iter()
            .map(|view| view.spaces.len() * view.ranges.len())
            .sum(),
    })
}

/// Facts about a graph with which it renders to these views, or comes near to it.
///
/// # Errors
///
/// Those of [`Rebuilt::new`].
pub fn facts_from(graph: &Graph<'_>, flat: &FlatDump<'_>, complete: bool) -> Result<Facts, Error> {
    Ok(solve(graph, flat, complete)?.0)
}

fn solve(graph: &Graph<'_>, flat: &FlatDump<'_>, complete: bool) -> Result<(Facts, Vec<Difference>), Error> {
    let mut solver = Solver::new(graph, Facts::guess(graph), complete);
    for _ in 0..MOST_ROUNDS {
        let built = Rebuilt::new(graph, &solver.facts)?;
        let mut round = Round::new(graph, &built);
        let mut changed = false;
        for pair in pairs(graph, &built, flat) {
            changed |= round.improve(&mut solver, &pair);
        }
        if !changed {
            return Ok((solver.facts, differences(graph, &built, flat)));
        }
    }
    let built = Rebuilt::new(graph, &solver.facts)?;
    let differences = differences(graph, &built, flat);
    Ok((solver.facts, differences))
}

/// Takes back what was assumed on the way to facts that explain everything, but is not needed.
fn without_needless(
    graph: &Graph<'_>,
    flat: &FlatDump<'_>,
    guess: &Facts,
    facts: Facts,
) -> Result<Facts, Error> {
    let changed = (0..graph.nodes.len()).filter(|&id| facts.of[id] != guess.of[id]);
    let ordered = facts.order.keys().copied();
    let questions: Vec<(NodeId, bool)> = changed
        .map(|id| (id, false))
        .chain(ordered.map(|id| (id, true)))
        .collect();
    let mut needed = facts;
    for (id, is_order) in questions.into_iter().take(MOST_TAKEN_BACK) {
        let mut fewer = needed.clone();
        if is_order {
            fewer.order.remove(&id);
        } else {
            fewer.of[id] = guess.of[id];
        }
        if differences(graph, &Rebuilt::new(graph, &fewer)?, flat).is_empty() {
            needed = fewer;
        }
    }
    Ok(needed)
}

/// How many facts are tried without.
const MOST_TAKEN_BACK: usize = 256;

/// How often everything is rendered again.
const MOST_ROUNDS: usize = 64;

/// One machine beside the printed views.
struct Round<'r, 'a> {
    graph: &'r Graph<'a>,
    built: &'r Rebuilt,
    /// Printed and rendered views that are equal, and the views' roots: many spaces show the same.
    equal: HashSet<(*const View<'a>, NodeId)>,
}

/// Where the views of a space differ.
#[derive(Default)]
struct Differing<'d, 'a> {
    mismatches: Vec<Mismatch<'d, 'a>>,
    /// Only if there is no mismatch.
    cuts: Vec<(u64, bool)>,
}

impl<'r, 'a> Round<'r, 'a> {
    fn new(graph: &'r Graph<'a>, built: &'r Rebuilt) -> Round<'r, 'a> {
        Round {
            graph,
            built,
            equal: HashSet::new(),
        }
    }

    fn root_name(&self, root: Option<NodeId>) -> &'a str {
        root.map_or("(none)", |root| self.graph.nodes[root].name)
    }

    fn differing<'d>(&mut self, pair: &Pair<'d, 'a>, space: usize) -> Differing<'d, 'a> {
        let key = root(self.built, space).map(|root| (std::ptr::from_ref(pair.view), root));
        if key.is_some_and(|key| self.equal.contains(&key)) {
            return Differing::default();
        }
        let rendered = rendered(self.graph, self.built, space);
        let mismatches = mismatches(&pair.view.ranges, &rendered);
        let cuts = match mismatches.is_empty() {
            true => cuts(&pair.view.ranges, &rendered),
            false => Vec::new(),
        };
        if mismatches.is_empty() && cuts.is_empty() {
            self.equal.extend(key);
        }
        Differing { mismatches, cuts }
    }

    /// Changes facts where the views of a space differ. Whether it has.
    fn improve(&mut self, solver: &mut Solver<'_, '_>, pair: &Pair<'_, 'a>) -> bool {
        let Some(space) = pair.space else {
            return false;
        };
        let from = root(self.built, space);
        if self.root_name(from) != pair.view.root {
            return solver.explain_root(self.graph.spaces[space].root, pair.view.root);
        }
        let Some(from) = from else {
            return false;
        };
        let Differing { mismatches, cuts } = self.differing(pair, space);
        let mut changed = false;
        for mismatch in &mismatches {
            changed |= solver.explain(from, mismatch);
        }
        for cut in cuts {
            changed |= solver.explain_cut(from, cut);
        }
        changed
    }
}

fn differences(graph: &Graph<'_>, built: &Rebuilt, flat: &FlatDump<'_>) -> Vec<Difference> {
    let mut round = Round::new(graph, built);
    let mut differences = Vec::new();
    let mut without_view = vec![true; graph.spaces.len()];
    for pair in pairs(graph, built, flat) {
        let space_name = pair.line.name.to_owned();
        let Some(space) = pair.space else {
            differences.push(Difference::NoSpace {
                space: space_name,
                root: pair.line.root.to_owned(),
            });
            continue;
        };
        without_view[space] = false;
        let root = round.root_name(root(built, space));
        if root != pair.view.root {
            differences.push(Difference::Root {
                space: space_name.clone(),
                printed: pair.view.root.to_owned(),
                rendered: root.to_owned(),
            });
        }
        let Differing { mismatches, cuts } = round.differing(&pair, space);
        differences.extend(mismatches.iter().map(|mismatch| {
            let at = mismatch.range.start();
            Difference::Range {
                space: space_name.clone(),
                range: mismatch.range,
                printed: mismatch.printed.map(|range| Shown::new(&range.line, at)),
                rendered: mismatch.rendered.map(|range| Shown::new(&range.line, at)),
                line: mismatch.printed.map(|range| range.number),
            }
        }));
        differences.extend(cuts.into_iter().map(|(address, is_printed)| Difference::Cut {
            space: space_name.clone(),
            address,
            is_printed,
        }));
    }
    let left = without_view
        .into_iter()
        .zip(&graph.spaces)
        .filter(|(without, _)| *without);
    differences.extend(left.map(|(_, space)| Difference::NoView {
        space: space.name.to_owned(),
        root: graph.nodes[space.root].name.to_owned(),
    }));
    differences
}

fn assumed(graph: &Graph<'_>, guess: &Facts, facts: &Facts) -> Vec<Assumed> {
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
            tell(if now.size == 0 {
                Assumption::Empty
            } else {
                Assumption::OneByte
            });
        }
        if before.seen != now.seen {
            tell(Assumption::Unseen);
        }
        if before.target != now.target {
            tell(Assumption::LeadsTo {
                line: now.target.and_then(|target| graph.nodes[target].line),
            });
        }
        let before = guess.children(graph, id);
        for (place, &child) in facts.children(graph, id).iter().enumerate() {
            let old = before.iter().position(|&other| other == child).unwrap_or(place);
            let overtaken = before[..old]
                .iter()
                .filter(|other| !facts.children(graph, id)[..place].contains(other));
            let regions: Vec<String> = overtaken
                .map(|&other| graph.nodes[other].name.to_owned())
                .collect();
            if !regions.is_empty() {
                assumed.push(Assumed {
                    region: graph.nodes[child].name.to_owned(),
                    line: graph.nodes[child].line,
                    what: Assumption::InFrontOf { regions },
                });
            }
        }
    }
    assumed
}
