//! What is to be said of views as they are.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use flatview::AddressRange;

use super::{Finding, Kind, RegionName};
use crate::graph::NodeId;
use crate::layout::{self, Layout, Seen};
use crate::machine::Machine;
use crate::survey::{Survey, Views};
use crate::units::Bytes;

/// Gaps are of interest where RAM is: views of ports, or of what a device sees behind an IOMMU, are made of gaps.
pub(super) fn holes(machine: &Machine<'_>, survey: &Survey, findings: &mut Vec<Finding>) {
    for views in survey.views() {
        let layout = &survey.layouts[views.layout];
        if !has_ram(layout) {
            continue;
        }
        let name = |seen: &Seen| RegionName::of(&machine.graph, layout.placements[seen.placement].node);
        let mut below: Option<&Seen> = None;
        for seen in &layout.view {
            let from = below.map_or(Some(0), |below| below.range.last().checked_add(1));
            let hole = from
                .zip(seen.range.start().checked_sub(1))
                .and_then(|(from, last)| AddressRange::from_bounds(from, last));
            if let Some(hole) = hole {
                let between = match below {
                    Some(below) => format!("between {} and {}", below.region, seen.region),
                    None => format!("below {}", seen.region),
                };
                let regions = below.into_iter().chain([seen]).map(name).collect();
                findings.push(finding(
                    &views,
                    regions,
                    hole,
                    format!("{} {between}", range(hole)),
                ));
            }
            below = Some(seen);
        }
        let last = below.and_then(|below| {
            let from = below.range.last().checked_add(1)?;
            Some((below, AddressRange::from_bounds(from, u64::MAX)?))
        });
        if let Some((below, hole)) = last {
            let sentence = format!("{} above {}, to the end", range(hole), below.region);
            findings.push(Finding {
                is_usual: true,
                ..finding(&views, vec![name(below)], hole, sentence)
            });
        }
    }
}

fn has_ram(layout: &Layout) -> bool {
    layout.view.iter().any(|seen| seen.kind == layout::Kind::Ram)
}

fn finding(views: &Views, regions: Vec<RegionName>, range: AddressRange, sentence: String) -> Finding {
    Finding {
        kind: Kind::Hole,
        spaces: views.spaces.clone(),
        line: regions.first().and_then(|region| region.line),
        regions,
        ranges: vec![range],
        sentence,
        is_usual: false,
    }
}

/// A range as it is told: with its size.
pub(super) fn range(range: AddressRange) -> String {
    format!("{range} ({})", Bytes(range.size().bytes()))
}

pub(super) fn largest(machine: &Machine<'_>, survey: &Survey, count: usize, findings: &mut Vec<Finding>) {
    for views in survey.views() {
        let layout = &survey.layouts[views.layout];
        let mut parts = joined(layout);
        parts.sort_by_key(|&(part, _)| (Reverse(part.size()), part));
        for &(part, seen) in parts.iter().take(count) {
            let region = RegionName::of(&machine.graph, layout.placements[seen.placement].node);
            findings.push(Finding {
                kind: Kind::Largest,
                sentence: format!("{} {} ({})", range(part), region.name, seen.kind.words()),
                line: region.line,
                regions: vec![region],
                // Of ports, gaps are the largest; what a device sees of itself is no news.
                is_usual: !has_ram(layout),
                ..finding(&views, Vec::new(), part, String::new())
            });
        }
    }
}

/// The ranges of a view, those joined that show one region without a break: PAM cuts the RAM of a PC in pieces.
fn joined(layout: &Layout) -> Vec<(AddressRange, &Seen)> {
    let mut parts: Vec<(AddressRange, &Seen)> = Vec::new();
    let node = |seen: &Seen| layout.placements[seen.placement].node;
    let delta = |seen: &Seen| seen.offset.wrapping_sub(seen.range.start());
    for seen in &layout.view {
        if let Some((part, first)) = parts.last_mut()
            && part.abuts(seen.range)
            && (node(first), delta(first), first.kind) == (node(seen), delta(seen), seen.kind)
        {
            *part = AddressRange::from_bounds(part.start(), seen.range.last()).unwrap_or(*part);
        } else {
            parts.push((seen.range, seen));
        }
    }
    parts
}

/// Memory that is seen twice. It is looked for between neighbours in the memory only, so that what is seen a hundred
/// times is told ninety-nine times.
pub(super) fn duplicates(machine: &Machine<'_>, survey: &Survey, findings: &mut Vec<Finding>) {
    for views in survey.views() {
        let layout = &survey.layouts[views.layout];
        let mut of: BTreeMap<NodeId, Vec<(u64, AddressRange)>> = BTreeMap::new();
        for (part, seen) in joined(layout) {
            let node = layout.placements[seen.placement].node;
            if machine.graph.nodes[node].is_memory() {
                let offset = seen.offset;
                of.entry(node).or_default().push((offset, part));
            }
        }
        for (node, mut parts) in of {
            parts.sort_unstable();
            // The part that reaches farthest of those before.
            let mut widest: Option<(u64, u64, AddressRange)> = None;
            for (offset, part) in parts {
                let last = offset.saturating_add(part.last() - part.start());
                if let Some((from, until, before)) = widest
                    && offset <= until
                {
                    let length = until.min(last) - offset;
                    let there = before.start() + (offset - from);
                    let both = [(there, there + length), (part.start(), part.start() + length)];
                    let both = both.map(|(start, last)| AddressRange::from_bounds(start, last));
                    let [Some(one), Some(other)] = both else {
                        continue;
                    };
                    let (one, other) = (one.min(other), one.max(other));
                    let region = RegionName::of(&machine.graph, node);
                    let from = match offset {
                        0 => String::new(),
                        offset => format!(", its bytes from {offset:#x} on"),
                    };
                    findings.push(Finding {
                        kind: Kind::DuplicateMapping,
                        sentence: format!(
                            "{} at {one} and at {other} ({}){from}",
                            region.name,
                            Bytes(one.size().bytes())
                        ),
                        line: region.line,
                        regions: vec![region],
                        ranges: vec![one, other],
                        ..finding(&views, Vec::new(), one, String::new())
                    });
                }
                if widest.is_none_or(|(_, until, _)| last > until) {
                    widest = Some((offset, last, part));
                }
            }
        }
    }
}
