//! One rendered machine beside the printed views: where they differ.

use std::collections::HashSet;

use super::compare::{Mismatch, Pair, Shown, cuts, mismatches, pairs, rendered, root, root_name};
use super::report::Difference;
use super::solve::Solver;
use crate::graph::{Graph, NodeId};
use crate::rebuild::Rebuilt;
use crate::text::{FlatDump, View};

/// One machine beside the printed views.
pub(super) struct Round<'r, 'a> {
    graph: &'r Graph<'a>,
    built: &'r Rebuilt,
    /// Printed and rendered views that are equal, and the views' roots: many spaces show the same.
    equal: HashSet<(*const View<'a>, NodeId)>,
}

/// Where the views of a space differ.
#[derive(Default)]
pub(super) struct Differing<'d, 'a> {
    pub(super) mismatches: Vec<Mismatch<'d, 'a>>,
    /// Only if there is no mismatch.
    pub(super) cuts: Vec<(u64, bool)>,
}

impl<'r, 'a> Round<'r, 'a> {
    pub(super) fn new(graph: &'r Graph<'a>, built: &'r Rebuilt) -> Round<'r, 'a> {
        Round {
            graph,
            built,
            equal: HashSet::new(),
        }
    }

    pub(super) fn differing<'d>(&mut self, pair: &Pair<'d, 'a>, space: usize) -> Differing<'d, 'a> {
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
    pub(super) fn improve(&mut self, solver: &mut Solver<'_, '_>, pair: &Pair<'_, 'a>) -> bool {
        let Some(space) = pair.space else {
            return false;
        };
        let from = root(self.built, space);
        if root_name(self.graph, from) != pair.view.root {
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

/// All that is not as printed, spaces that are missing as well.
pub(super) fn differences(graph: &Graph<'_>, built: &Rebuilt, flat: &FlatDump<'_>) -> Vec<Difference> {
    let mut round = Round::new(graph, built);
    let mut differences = Vec::new();
    let mut without_view = vec![true; graph.spaces.len()];
    for pair in pairs(graph, built, flat, 0) {
        let space_name = pair.line.name.to_owned();
        let Some(space) = pair.space else {
            differences.push(Difference::NoSpace {
                space: space_name,
                root: pair.line.root.to_owned(),
            });
            continue;
        };
        without_view[space] = false;
        let root = root_name(graph, root(built, space));
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
