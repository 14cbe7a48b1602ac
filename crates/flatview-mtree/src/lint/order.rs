//! Siblings of one priority that overlap.

use std::collections::{BTreeMap, HashMap};

use flatview::AddressRange;

use super::regions::told;
use super::views::range;
use super::{Finding, Kind, RegionName};
use crate::graph::{NodeId, What};
use crate::machine::Machine;
use crate::survey::Survey;
use crate::units::sort_spaces;

/// How it is known who is in front.
#[derive(Clone, Copy)]
enum Known {
    /// At one address the newer one is printed first.
    FromTree,
    /// The flat view has one of them there.
    FromFlat,
    Guessed,
}

/// In one container, and together: what overlaps a thousand times is no more interesting than what does a few times.
const MOST_IN_CONTAINER: usize = 256;
const MOST_PAIRS: usize = 4096;

pub(super) fn overlaps(machine: &Machine<'_>, survey: &Survey, findings: &mut Vec<Finding>) {
    let mut pairs = Vec::new();
    for id in 0..machine.graph.nodes.len() {
        if pairs.len() < MOST_PAIRS {
            of_container(machine, id, &mut pairs);
        }
    }
    let mut wanted: HashMap<NodeId, Vec<usize>> = HashMap::new();
    for (at, &(front, _)) in pairs.iter().enumerate() {
        wanted.entry(front).or_default().push(at);
    }
    // It matters where both would answer if they were alone, and one of them does.
    let mut matters: BTreeMap<usize, (AddressRange, Vec<String>)> = BTreeMap::new();
    for (layout, ends) in survey.layouts.iter().zip(&survey.ends) {
        let mut places: HashMap<(NodeId, Option<usize>), usize> = HashMap::new();
        for (place, placement) in layout.placements.iter().enumerate() {
            places.insert((placement.node, placement.parent), place);
        }
        for (place, placement) in layout.placements.iter().enumerate() {
            let Some(window) = placement.window.filter(|_| placement.enabled) else {
                continue;
            };
            for &at in wanted.get(&placement.node).into_iter().flatten() {
                let Some(&back) = places.get(&(pairs[at].1, placement.parent)) else {
                    continue;
                };
                let other = &layout.placements[back];
                let Some(both) = other.window.and_then(|other| other.intersection(window)) else {
                    continue;
                };
                let from = layout
                    .view
                    .partition_point(|seen| seen.range.last() < both.start());
                let near = layout.view[from..].iter();
                let mut near = near.take_while(|seen| seen.range.start() <= both.last());
                let is_front = |by: usize| (place..ends[place]).contains(&by);
                let Some(seen) = near.find(|seen| is_front(seen.placement)) else {
                    continue;
                };
                let both = both.intersection(seen.range).unwrap_or(both);
                let would_answer = would_answer(layout, back..ends[back], both);
                if would_answer {
                    let (_, spaces) = matters.entry(at).or_insert((both, Vec::new()));
                    spaces.extend_from_slice(&layout.spaces);
                }
            }
        }
    }
    let has_flat = machine.flat.is_some();
    let first = findings.len();
    for (at, (both, mut spaces)) in matters {
        let (front, back) = pairs[at];
        let nodes = &machine.graph.nodes;
        let known = match nodes[front].address == nodes[back].address {
            true => Known::FromTree,
            false if has_flat => Known::FromFlat,
            false => Known::Guessed,
        };
        sort_spaces(&mut spaces);
        spaces.dedup();
        let regions = [front, back].map(|id| RegionName::of(&machine.graph, id));
        let how = match known {
            Known::FromTree => "it is printed first at this address",
            Known::FromFlat => "the flat view has it",
            Known::Guessed => "a guess: flat views (-f) would tell",
        };
        let [one, other] = &regions;
        let sentence = format!(
            "{} is in front of {} at {}: both have priority {}; {how}",
            told(one),
            told(other),
            range(both),
            nodes[front].priority
        );
        findings.push(Finding {
            kind: Kind::SamePriorityOverlap,
            spaces,
            line: one.line,
            regions: regions.to_vec(),
            ranges: vec![both],
            sentence,
            is_usual: false,
        });
    }
    findings[first..].sort_by(|one, other| {
        (&one.spaces, &one.ranges, one.line).cmp(&(&other.spaces, &other.ranges, other.line))
    });
}

/// Whether anything in these places would answer somewhere in a range if nothing were in front.
fn would_answer(layout: &crate::layout::Layout, places: std::ops::Range<usize>, range: AddressRange) -> bool {
    let mut places = layout.placements[places].iter();
    places.any(|placement| {
        let answers = !matches!(
            placement.kind,
            crate::layout::Kind::Alias | crate::layout::Kind::Container
        );
        answers && placement.enabled && placement.window.is_some_and(|window| window.overlaps(range))
    })
}

/// Pairs of children of a container, the one in front first.
fn of_container(machine: &Machine<'_>, id: NodeId, pairs: &mut Vec<(NodeId, NodeId)>) {
    let nodes = &machine.graph.nodes;
    if nodes[id].children.len() < 2 {
        return;
    }
    let mut place = HashMap::new();
    for (at, child) in machine.facts.children(&machine.graph, id).into_iter().enumerate() {
        place.insert(child, at);
    }
    let mut by_priority: BTreeMap<i32, Vec<NodeId>> = BTreeMap::new();
    for &child in &nodes[id].children {
        let fact = machine.facts.of[child];
        if nodes[child].enabled && fact.seen && fact.size > 0 && nodes[child].what != What::Unprinted {
            by_priority.entry(nodes[child].priority).or_default().push(child);
        }
    }
    let until = pairs.len() + MOST_IN_CONTAINER;
    for mut children in by_priority.into_values() {
        children.sort_by_key(|&child| nodes[child].address);
        // Those before that reach to where the next begins, and beyond.
        let mut open: Vec<NodeId> = Vec::new();
        for child in children {
            let end = |id: NodeId| u128::from(nodes[id].address) + machine.facts.of[id].size;
            open.retain(|&before| end(before) > u128::from(nodes[child].address));
            for &before in &open {
                if pairs.len() >= until {
                    return;
                }
                let in_front = place.get(&before) < place.get(&child);
                pairs.push(if in_front {
                    (before, child)
                } else {
                    (child, before)
                });
            }
            open.push(child);
        }
    }
}
