//! Whether a tree and the flat views that were printed beside it agree.

mod assumed;
mod change;
mod circles;
pub(crate) mod compare;
mod printed;
mod problem;
mod report;
mod roots;
mod round;
mod search;
mod solve;
mod text;
pub(crate) mod walk;

use flatview::Error;

pub use compare::Shown;
pub use report::{Assumed, Assumption, Difference, Report, Verdict};

use crate::facts::Facts;
use crate::graph::{Graph, NodeId};
use crate::rebuild::Rebuilt;
use crate::text::{FlatDump, TreeDump};
use assumed::assumed;
use compare::pairs;
use round::{Round, differences};
use solve::Solver;
use walk::Work;

/// Compares a tree with flat views.
///
/// If the usual answers to what the text leaves open do not do, others are looked for. A tree with a disabled region was
/// printed with `-D`, so that nothing disabled is left out.
///
/// The search for answers is bounded, so that no text takes long. What goes beyond the bounds is
/// [`Verdict::Different`]. So is a machine whose tree shows one region in two ways, as something disabled has no line.
///
/// # Errors
///
/// Those of [`Rebuilt::new`].
pub fn check(tree: &TreeDump<'_>, flat: &FlatDump<'_>) -> Result<Report, Error> {
    let graph = Graph::new(tree);
    let (mut facts, outcome) = solve(&graph, flat)?;
    let guess = Facts::guess(&graph);
    if outcome.is_empty() && facts != guess {
        facts = without_needless(&graph, flat, &guess, facts);
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

/// Facts about a graph with which it renders to these views, or comes near to it. What [`check`] takes back, as it is not
/// needed, is still in them.
///
/// # Errors
///
/// Those of [`Rebuilt::new`].
pub fn facts_from(graph: &Graph<'_>, flat: &FlatDump<'_>) -> Result<Facts, Error> {
    Ok(solve(graph, flat)?.0)
}

fn solve(graph: &Graph<'_>, flat: &FlatDump<'_>) -> Result<(Facts, Vec<Difference>), Error> {
    let guess = Facts::guess(graph);
    let straight = straight_ahead(graph, flat, guess.clone());
    if !matches!(&straight, Ok((_, differences)) if differences.is_empty())
        && let Some(facts) = search::search(graph, flat, guess)
    {
        let differences = differences(graph, &Rebuilt::new(graph, &facts)?, flat);
        return Ok((facts, differences));
    }
    straight
}

fn straight_ahead(
    graph: &Graph<'_>,
    flat: &FlatDump<'_>,
    guess: Facts,
) -> Result<(Facts, Vec<Difference>), Error> {
    let mut solver = Solver::new(graph, guess);
    for _ in 0..MOST_ROUNDS {
        if !solver.work.spend(graph.nodes.len() * RENDERING) {
            break;
        }
        let built = Rebuilt::new(graph, &solver.answers.facts)?;
        let mut round = Round::new(graph, &built);
        let mut changed = false;
        for pair in pairs(graph, &built, flat, 0) {
            changed |= round.improve(&mut solver, &pair);
        }
        if !changed {
            return Ok((solver.answers.facts, differences(graph, &built, flat)));
        }
    }
    let built = Rebuilt::new(graph, &solver.answers.facts)?;
    let differences = differences(graph, &built, flat);
    Ok((solver.answers.facts, differences))
}

/// Takes back what was assumed on the way to facts that explain everything, but is not needed.
fn without_needless(graph: &Graph<'_>, flat: &FlatDump<'_>, guess: &Facts, facts: Facts) -> Facts {
    let changed = (0..graph.nodes.len()).filter(|&id| facts.of[id] != guess.of[id]);
    let ordered = facts.order.keys().copied();
    let questions: Vec<(NodeId, bool)> = changed
        .map(|id| (id, false))
        .chain(ordered.map(|id| (id, true)))
        .collect();
    let mut needed = facts;
    let work = Work::new(MOST_TAKEN_BACK * RENDERING * LARGE);
    for (id, is_order) in questions.into_iter().take(MOST_TAKEN_BACK) {
        if !work.spend(graph.nodes.len() * RENDERING) {
            break;
        }
        let mut fewer = needed.clone();
        if is_order {
            fewer.order.remove(&id);
        } else {
            fewer.of[id] = guess.of[id];
        }
        if !is_seen_in_order(graph, &fewer, id) {
            continue;
        }
        // Without it, a region may even show itself without an end.
        let built = Rebuilt::new(graph, &fewer);
        if built.is_ok_and(|built| differences(graph, &built, flat).is_empty()) {
            needed = fewer;
        }
    }
    needed
}

/// Whether all of the siblings of a region that lie elsewhere stand behind those that do not.
fn is_seen_in_order(graph: &Graph<'_>, facts: &Facts, id: NodeId) -> bool {
    let container = graph.nodes[id].container;
    let siblings = container.map_or(&[][..], |container| &graph.nodes[container].children);
    siblings.is_sorted_by_key(|&sibling| !facts.of[sibling].seen)
}

/// How many facts are tried without; fewer in a machine with more than [`LARGE`] regions.
const MOST_TAKEN_BACK: usize = 256;
const LARGE: usize = 1 << 11;

/// To build and render a region is so many times the work of looking at it.
const RENDERING: usize = 256;

/// How often everything is rendered again.
const MOST_ROUNDS: usize = 64;
