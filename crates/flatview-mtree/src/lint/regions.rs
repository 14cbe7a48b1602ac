//! What is to be said of regions one by one.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use flatview::AddressRange;

use super::views::range;
use super::{Finding, Kind, RegionName};
use crate::graph::{ALL, NodeId, What};
use crate::layout::{self, Hidden, Placement};
use crate::machine::Machine;
use crate::survey::Survey;
use crate::units::Bytes;

/// Something about a region in the tree.
fn of_region(machine: &Machine<'_>, kind: Kind, id: NodeId, sentence: String) -> Finding {
    let region = RegionName::of(&machine.graph, id);
    Finding {
        kind,
        spaces: Vec::new(),
        line: region.line,
        sentence: format!("{} {sentence}", told(&region)),
        regions: vec![region],
        ranges: Vec::new(),
        is_usual: false,
    }
}

/// The name of a region, and where to look.
pub(super) fn told(region: &RegionName) -> String {
    match region.line {
        Some(line) => format!("{} (line {line})", region.name),
        None => region.name.clone(),
    }
}

fn answers(placement: &Placement) -> bool {
    !matches!(placement.kind, layout::Kind::Alias | layout::Kind::Container)
}

/// The first few names of those who hide something.
fn names<'a>(hidden: impl Iterator<Item = &'a Hidden>) -> (String, Vec<String>) {
    let mut all: Vec<String> = Vec::new();
    let mut met = HashSet::new();
    for hidden in hidden {
        if met.insert(&hidden.by) {
            all.push(hidden.by.clone());
        }
    }
    let text = match &all[..] {
        [first, second, third, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        few => few.join(", "),
    };
    (text, all)
}

/// A region, with all the spaces in which it is placed in the way that is looked for.
struct Placed<'s> {
    first: &'s Placement,
    /// The layout that was met last.
    layout: usize,
    spaces: Vec<String>,
}

impl<'s> Placed<'s> {
    fn add(
        all: &mut BTreeMap<NodeId, Placed<'s>>,
        survey: &'s Survey,
        layout: usize,
        placement: &'s Placement,
    ) {
        let placed = all.entry(placement.node).or_insert_with(|| Placed {
            first: placement,
            layout: usize::MAX,
            spaces: Vec::new(),
        });
        // A space that shows it on two ways is one space.
        if placed.layout != layout {
            placed.layout = layout;
            placed.spaces.extend_from_slice(&survey.layouts[layout].spaces);
        }
    }
}

/// Regions that would answer, are enabled on some way, and do not answer anywhere.
pub(super) fn hidden(machine: &Machine<'_>, survey: &Survey, findings: &mut Vec<Finding>) {
    let mut shown = BTreeSet::new();
    let mut placed = BTreeMap::new();
    for (at, layout) in survey.layouts.iter().enumerate() {
        for placement in &layout.placements {
            if !placement.shown.is_empty() {
                shown.insert(placement.node);
            }
            if placement.enabled && answers(placement) && !placement.hidden.is_empty() {
                Placed::add(&mut placed, survey, at, placement);
            }
        }
    }
    for (node, Placed { first, spaces, .. }) in placed {
        let Some(window) = first.window.filter(|_| !shown.contains(&node)) else {
            continue;
        };
        let (by, all) = names(first.hidden.iter());
        let sentence = format!("at {} is hidden by {by}", range(window));
        let mut finding = of_region(machine, Kind::FullyHidden, node, sentence);
        let all = all.into_iter();
        finding
            .regions
            .extend(all.map(|name| RegionName { name, line: None }));
        finding.ranges.push(window);
        finding.spaces = spaces;
        findings.push(finding);
    }
    order(findings, Kind::FullyHidden);
}

/// Findings of a kind by address; those of the same spaces are put together later.
fn order(findings: &mut [Finding], kind: Kind) {
    let from = findings.partition_point(|finding| finding.kind != kind);
    findings[from..].sort_by(|one, other| (&one.ranges, one.line).cmp(&(&other.ranges, other.line)));
}

/// Where a PC keeps what is older than it: told of every machine, it would be told of none.
const LEGACY: AddressRange = match AddressRange::from_bounds(0, 0xf_ffff) {
    Some(range) => range,
    None => AddressRange::ALL,
};

/// What is hidden of a region, and by whom.
type Key = Vec<(u64, u64, String)>;

/// RAM that is hidden in part by something else, where it is not usual.
pub(super) fn shadowed(machine: &Machine<'_>, survey: &Survey, findings: &mut Vec<Finding>) {
    let mut told: BTreeMap<(NodeId, Key), usize> = BTreeMap::new();
    for layout in &survey.layouts {
        // What is seen of a region on other ways: there it is not hidden.
        let mut seen: BTreeMap<NodeId, usize> = BTreeMap::new();
        for piece in &layout.view {
            *seen.entry(layout.placements[piece.placement].node).or_default() += 1;
        }
        for placement in &layout.placements {
            if placement.kind != layout::Kind::Ram
                || !placement.enabled
                || !seen.contains_key(&placement.node)
            {
                continue;
            }
            let strange = |hidden: &&Hidden| {
                let is_legacy = is_pc(machine) && LEGACY.contains_range(hidden.range);
                hidden.by != placement.name && !is_legacy
            };
            let strange: Vec<&Hidden> = placement.hidden.iter().filter(strange).collect();
            let (Some(first), Some(last)) = (strange.first(), strange.last()) else {
                continue;
            };
            let key = strange.iter().take(MOST_COMPARED);
            let key = key.map(|hidden| (hidden.range.start(), hidden.range.last(), hidden.by.clone()));
            let key = (placement.node, key.collect());
            if let Some(&known) = told.get(&key) {
                let finding: &mut Finding = &mut findings[known];
                finding.spaces.extend_from_slice(&layout.spaces);
                continue;
            }
            let (by, all) = names(strange.iter().copied());
            let bytes: u128 = strange.iter().map(|hidden| hidden.range.size().bytes()).sum();
            let at = match strange.len() {
                1 => range(first.range),
                many => format!(
                    "{many} ranges from {:#x} to {:#x} (together {})",
                    first.range.start(),
                    last.range.last(),
                    Bytes(bytes)
                ),
            };
            let sentence = format!("is hidden at {at} by {by}");
            let mut finding = of_region(machine, Kind::ShadowedPartly, placement.node, sentence);
            finding
                .regions
                .extend(all.into_iter().map(|name| RegionName { name, line: None }));
            finding.ranges = strange.iter().map(|hidden| hidden.range).collect();
            finding.spaces.clone_from(&layout.spaces);
            told.insert(key, findings.len());
            findings.push(finding);
        }
    }
    order(findings, Kind::ShadowedPartly);
}

/// More ranges are not looked at to tell whether spaces hide the same.
const MOST_COMPARED: usize = 64;

fn is_pc(machine: &Machine<'_>) -> bool {
    machine.graph.spaces.iter().any(|space| space.name == "I/O")
}

/// Regions that are cut off by their containers, and those that no window shows.
pub(super) fn clipped(machine: &Machine<'_>, survey: &Survey, findings: &mut Vec<Finding>) {
    let nodes = &machine.graph.nodes;
    let mut told = BTreeSet::new();
    for (id, node) in nodes.iter().enumerate() {
        let Some(around) = node.container.filter(|_| node.enabled && node.line.is_some()) else {
            continue;
        };
        let (within, size) = (nodes[around].size, machine.facts.of[id].size);
        let address = u128::from(node.address);
        if nodes[around].what == What::Unprinted || nodes[around].is_alias() || size == 0 {
            continue;
        }
        // What ends beyond 2^64 is an overflow.
        if address + size <= within || within >= ALL {
            continue;
        }
        let name = nodes[around].name;
        let sentence = match address >= within {
            true => {
                format!("begins at byte {address:#x} of {name}, which has {within:#x}: nothing of it is seen")
            }
            false => format!(
                "loses its last {} to the end of {name}, which has {within:#x} bytes",
                Bytes(address + size - within)
            ),
        };
        told.insert(id);
        findings.push(of_region(machine, Kind::Clipped, id, sentence));
    }
    let mut limits: BTreeMap<NodeId, &Placement> = BTreeMap::new();
    let mut open = BTreeSet::new();
    let mut shut = BTreeMap::new();
    for (at, layout) in survey.layouts.iter().enumerate() {
        for placement in &layout.placements {
            let parent = placement.parent.map(|parent| &layout.placements[parent]);
            let Some((parent, _)) = parent
                .zip(parent.and_then(|parent| parent.window))
                .filter(|_| placement.window.is_none())
            else {
                open.insert(placement.node);
                continue;
            };
            if placement.enabled && answers(placement) && !placement.span.size().is_zero() {
                limits.entry(placement.node).or_insert(parent);
                Placed::add(&mut shut, survey, at, placement);
            }
        }
    }
    for (node, Placed { first, spaces, .. }) in shut {
        let parent = limits
            .get(&node)
            .filter(|_| !open.contains(&node) && !told.contains(&node));
        let Some((parent, window)) = parent.and_then(|parent| Some((parent, parent.window?))) else {
            continue;
        };
        let sentence = format!(
            "at {} is not seen: of {} only {window} is",
            first.span, parent.name
        );
        let mut finding = of_region(machine, Kind::Clipped, node, sentence);
        finding.ranges.extend(first.span.within_space());
        finding.spaces = spaces;
        findings.push(finding);
    }
    order(findings, Kind::Clipped);
}

pub(super) fn beyond(machine: &Machine<'_>, findings: &mut Vec<Finding>) {
    for (id, node) in machine.graph.nodes.iter().enumerate() {
        let What::Alias { target, offset, .. } = node.what else {
            continue;
        };
        let fact = machine.facts.of[id];
        let Some(of) = fact.target.filter(|_| node.enabled && fact.size > 0) else {
            continue;
        };
        let (has, from) = (machine.facts.of[of].size, u128::from(offset));
        let sentence = if from >= has {
            format!("begins at byte {from:#x} of {target}, which has {has:#x}: it shows nothing")
        } else if from + fact.size > has {
            let lost = Bytes(from + fact.size - has);
            format!(
                "shows bytes of {target} from {from:#x} on, which ends after {has:#x}: its last {lost} are empty"
            )
        } else {
            continue;
        };
        let mut finding = of_region(machine, Kind::AliasBeyondTarget, id, sentence);
        finding.regions.push(RegionName::of(&machine.graph, of));
        findings.push(finding);
    }
}

pub(super) fn missing(machine: &Machine<'_>, findings: &mut Vec<Finding>) {
    for (id, node) in machine.graph.nodes.iter().enumerate() {
        if let What::Alias {
            target, candidates, ..
        } = &node.what
            && candidates.is_empty()
        {
            let sentence = format!("leads to {target}, which is not in the dump");
            findings.push(of_region(machine, Kind::MissingTarget, id, sentence));
        }
    }
}

/// From the marks of the dump: a region of which only the sum with its containers' addresses is too large is seen
/// nowhere else.
pub(super) fn overflows(machine: &Machine<'_>, findings: &mut Vec<Finding>) {
    let mut told = HashSet::new();
    let mut tell = |name: &str, line: Option<u32>, sentence: String| {
        if told.insert(sentence.clone()) {
            let name = name.to_owned();
            findings.push(Finding {
                kind: Kind::Overflow,
                spaces: Vec::new(),
                regions: vec![RegionName { name, line }],
                ranges: Vec::new(),
                line,
                sentence,
                is_usual: false,
            });
        }
    };
    for group in &machine.tree.groups {
        for line in group.lines.iter().filter(|line| line.line.overflows > 0) {
            let text = &line.line;
            let own = if text.last < text.start {
                format!("{} begins at {:#x} and ends beyond 2^64", text.name, text.start)
            } else if machine.tree.has_disabled() {
                format!(
                    "{} begins beyond 2^64: its address is printed as {:#x}",
                    text.name, text.start
                )
            } else {
                format!(
                    "{}, or something disabled before it, begins or ends beyond 2^64",
                    text.name
                )
            };
            tell(text.name, Some(line.number), own);
        }
        if group.overflows > 0 {
            tell(
                "",
                None,
                "something disabled without a line begins or ends beyond 2^64".to_owned(),
            );
        }
    }
}

/// Aliases of which the text does not tell whether they have a byte, if nothing else did and it matters.
pub(super) fn one_byte(machine: &Machine<'_>, survey: &Survey, findings: &mut Vec<Finding>) {
    if machine.flat.is_some() {
        return;
    }
    let mut matters = BTreeSet::new();
    for layout in &survey.layouts {
        let enabled = layout.placements.iter().filter(|placement| placement.enabled);
        matters.extend(enabled.map(|placement| placement.node));
    }
    for (id, node) in machine.graph.nodes.iter().enumerate() {
        if let What::Alias { target, .. } = node.what
            && node.size == 1
            && matters.contains(&id)
        {
            let sentence = format!("shows one byte of {target} or none; it is taken for none");
            findings.push(of_region(machine, Kind::ZeroOrOneByte, id, sentence));
        }
    }
}
