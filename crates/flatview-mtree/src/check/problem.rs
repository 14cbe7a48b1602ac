//! What [`search`](super::search) has to explain.

use super::compare::{pairs, root, root_name};
use super::round::{Differing, Round};
use crate::graph::{Graph, NodeId};
use crate::rebuild::Rebuilt;
use crate::text::{FlatDump, RangeLine};

/// Something that is not as printed, for [`search`] to explain.
pub(super) enum Problem<'d, 'a> {
    /// A view begins elsewhere.
    Root { space_root: NodeId, printed: &'d str },
    /// Somebody else answers.
    Range {
        space_root: NodeId,
        root: NodeId,
        address: u64,
        printed: Option<&'d RangeLine<'a>>,
    },
    /// A region is cut in one of the views.
    Cut {
        root: NodeId,
        address: u64,
        is_printed: bool,
        /// What is printed before the cut, and behind it.
        printed: [&'d RangeLine<'a>; 2],
    },
}

/// All that is not as printed, but for missing spaces. `which` is that of [`pairs`].
pub(super) fn problems<'d, 'a>(
    graph: &Graph<'a>,
    built: &Rebuilt,
    flat: &'d FlatDump<'a>,
    which: usize,
) -> Vec<Problem<'d, 'a>> {
    let mut round = Round::new(graph, built);
    let mut problems = Vec::new();
    for pair in pairs(graph, built, flat, which) {
        let Some(space) = pair.space else {
            continue;
        };
        let space_root = graph.spaces[space].root;
        let from = root(built, space);
        if root_name(graph, from) != pair.view.root {
            let printed = pair.view.root;
            problems.push(Problem::Root { space_root, printed });
            continue;
        }
        let Some(root) = from else {
            continue;
        };
        let Differing { mismatches, cuts } = round.differing(&pair, space);
        problems.extend(mismatches.into_iter().map(|mismatch| Problem::Range {
            space_root,
            root,
            address: mismatch.range.start(),
            printed: mismatch.printed,
        }));
        let ranges = &pair.view.ranges;
        let at = |address: u64| ranges.partition_point(|range| range.line.last < address);
        problems.extend(cuts.into_iter().filter_map(|(address, is_printed)| {
            let printed = [ranges.get(at(address.wrapping_sub(1)))?, ranges.get(at(address))?];
            Some(Problem::Cut {
                root,
                address,
                is_printed,
                printed,
            })
        }));
    }
    problems
}
