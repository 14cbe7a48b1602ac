//! Where a region is seen, where it is hidden and by whom, and why it is nowhere if it is.
//!
//! A region can be placed in many spaces, and in one of them on many ways: `pc.ram` of a PC is shown by an alias for
//! what is below 4 GiB and by thirty small ones for what the BIOS may shadow. Each way is a [`Sighting`]; spaces in
//! which all sightings of a region are the same are told once, as a [`Place`].

mod nowhere;
mod pattern;
mod text;

use std::collections::{BTreeMap, HashMap};

use flatview::AddressRange;
use flatview::explain::Span;
use serde::Serialize;

pub use nowhere::{Nowhere, Why};
pub use pattern::Pattern;

use crate::error::Error;
use crate::facts::Facts;
use crate::graph::{Graph, Node, NodeId, What};
use crate::layout::{Hidden, Kind, Layout};
use crate::machine::Machine;
use crate::survey::Survey;
use crate::units::sort_spaces;

/// A region that was looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its size in bytes, in hexadecimal in JSON: numbers of that size do not survive every reader.
    #[serde(serialize_with = "hex")]
    pub size: u128,
    /// The line of the dump where it stands first, from 1 on.
    pub line: Option<u32>,
    /// What the dump says of its owner, if it was printed with `-o`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Whether it is enabled itself.
    pub enabled: bool,
    /// Where it is placed, for each space; spaces in which that is the same are told once.
    pub places: Vec<Place>,
    /// Why there are no places, if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nowhere: Option<Nowhere>,
    /// The node of the graph.
    #[serde(skip)]
    pub node: NodeId,
}

/// What some spaces show and hide of a region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The names of the spaces.
    pub spaces: Vec<String>,
    /// The region, once for each way from the root to it.
    pub sightings: Vec<Sighting>,
}

/// A region on one way from the root of a space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sighting {
    /// From the root to the region, both included. Of spaces that are told together, that of the first.
    pub path: Vec<Step>,
    /// Where all of it would be: what clips it is not taken off.
    pub span: Span,
    /// Where it answers itself.
    pub shown: Vec<Shown>,
    /// Where something answers that is in it or is shown by it; of many ranges the first thousand.
    pub through: Vec<AddressRange>,
    /// Where something else answers although it is placed there; of many ranges the first thousand.
    pub hidden: Vec<Hidden>,
    /// Why nothing of it is seen, if nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
}

/// A region on the way to another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

/// Addresses at which a region answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Shown {
    /// The addresses.
    pub range: AddressRange,
    /// The byte of the region that the first of them is.
    pub offset: u64,
}

/// Finds all regions of a pattern, in the order of the dump.
///
/// # Errors
///
/// Those of [`Layout::new`].
///
/// ```
/// use flatview_mtree::find::{Pattern, find};
/// use flatview_mtree::machine::Machine;
/// use flatview_mtree::text::parse;
///
/// let dumps = parse(
///     "\
/// address-space: memory
///   0000000000000000-ffffffffffffffff (prio 0, i/o): system
///     0000000000000000-0000000007ffffff (prio 0, ram): pc.ram
///     00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem
///
/// ",
/// )?;
/// let found = find(&Machine::new(dumps)?, &Pattern::new("ram"))?;
/// assert_eq!(
///     found[0].to_string(),
///     "\
/// pc.ram: ram, 128 MiB, line 3
///   memory
///     seen    0x0-0x9ffff (640 KiB)
///     seen    0xc0000-0x7ffffff (127.2 MiB), from its byte 0xc0000 on
///     hidden  0xa0000-0xbffff (128 KiB) by vga-lowmem
/// "
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn find(machine: &Machine<'_>, pattern: &Pattern) -> Result<Vec<Found>, Error> {
    let survey = Survey::new(machine)?;
    let Machine { graph, facts, .. } = machine;
    let meant = |node: &Node<'_>| node.what != What::Unprinted && pattern.matches(node.name);
    let ids = (0..graph.nodes.len()).filter(|&id| meant(&graph.nodes[id]));
    let mut found: BTreeMap<NodeId, Found> = ids.map(|id| (id, named(graph, facts, id))).collect();
    // What is the same in a space that was met before.
    let mut known: HashMap<(NodeId, Vec<Key>), usize> = HashMap::new();
    for (layout, ends) in survey.layouts.iter().zip(&survey.ends) {
        let mut here: BTreeMap<NodeId, (Vec<usize>, Vec<Sighting>)> = BTreeMap::new();
        for (place, placement) in layout.placements.iter().enumerate() {
            if found.contains_key(&placement.node) {
                let (places, sightings) = here.entry(placement.node).or_default();
                places.push(place);
                sightings.push(sighting(layout, place, ends[place]));
            }
        }
        for (node, (places, mut sightings)) in here {
            let Some(found) = found.get_mut(&node) else {
                continue;
            };
            let key = sightings.iter().map(Key::new).collect();
            let at = *known.entry((node, key)).or_insert(found.places.len());
            if at == found.places.len() {
                let spaces = Vec::new();
                for (sighting, place) in sightings.iter_mut().zip(places) {
                    sighting.path = path(layout, place);
                }
                found.places.push(Place { spaces, sightings });
            }
            found.places[at].spaces.extend_from_slice(&layout.spaces);
        }
    }
    let mut found: Vec<Found> = found.into_values().collect();
    let reasons = nowhere::Reasons::new(graph, facts, &survey);
    for found in &mut found {
        for place in &mut found.places {
            sort_spaces(&mut place.spaces);
        }
        if found.places.is_empty() {
            found.nowhere = Some(reasons.nowhere(found.node));
        }
    }
    found.sort_by_key(|found| (found.line, found.node));
    Ok(found)
}

impl Found {
    /// Whether any byte of it, or of what is in it, is seen in any space.
    pub fn is_seen(&self) -> bool {
        let mut sightings = self.places.iter().flat_map(|place| &place.sightings);
        sightings.any(|sighting| sighting.why.is_none())
    }
}

fn named(graph: &Graph<'_>, facts: &Facts, id: NodeId) -> Found {
    let node = &graph.nodes[id];
    Found {
        name: node.name.to_owned(),
        kind: Kind::of(node, facts.of[id]),
        size: facts.of[id].size,
        line: node.line,
        owner: (!node.owner.is_empty()).then(|| node.owner.trim_start().to_owned()),
        enabled: node.enabled,
        places: Vec::new(),
        nowhere: None,
        node: id,
    }
}

/// The way from the root to a place.
fn path(layout: &Layout, place: usize) -> Vec<Step> {
    let step = |place: &usize| Step {
        name: layout.placements[*place].name.clone(),
        kind: layout.placements[*place].kind,
    };
    let around = |place: &usize| layout.placements[*place].parent;
    let mut path: Vec<Step> = std::iter::successors(Some(place), around)
        .map(|place| step(&place))
        .collect();
    path.reverse();
    path
}

/// All but the way, which is of interest only where the rest is new.
fn sighting(layout: &Layout, place: usize, end: usize) -> Sighting {
    let placement = &layout.placements[place];
    let shown = placement.shown.iter().map(|&range| {
        let offset = placement.span.offset_of(range.start()).unwrap_or_default();
        Shown { range, offset }
    });
    let mut shown: Vec<Shown> = shown.collect();
    shown.sort_by_key(|shown| shown.range.start());
    let through = through(layout, place, end);
    let why = (shown.is_empty() && through.is_empty()).then(|| nowhere::why(layout, place));
    Sighting {
        path: Vec::new(),
        span: placement.span,
        shown,
        through,
        hidden: placement.hidden.clone(),
        why,
    }
}

/// Ranges that are answered by what is behind a place and before its end: joined where they touch.
fn through(layout: &Layout, place: usize, end: usize) -> Vec<AddressRange> {
    let placement = &layout.placements[place];
    let mut through: Vec<AddressRange> = Vec::new();
    let Some(window) = placement.window.filter(|_| placement.enabled && end > place + 1) else {
        return through;
    };
    let from = layout
        .view
        .partition_point(|seen| seen.range.last() < window.start());
    let near = layout.view[from..].iter();
    for seen in near.take_while(|seen| seen.range.start() <= window.last()) {
        if !(place + 1..end).contains(&seen.placement) {
            continue;
        }
        if let Some(last) = through.last_mut().filter(|last| last.abuts(seen.range)) {
            *last = AddressRange::from_bounds(last.start(), seen.range.last()).unwrap_or(*last);
        } else if through.len() < MOST_THROUGH {
            through.push(seen.range);
        } else {
            break;
        }
    }
    through
}

/// As many as [hidden ranges](crate::layout::Placement::hidden).
const MOST_THROUGH: usize = 1000;

/// What makes sightings in two spaces the same: all but the way.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    span: Span,
    shown: Vec<Shown>,
    through: Vec<AddressRange>,
    hidden: Vec<(AddressRange, String)>,
    why: Option<Why>,
}

impl Key {
    fn new(sighting: &Sighting) -> Key {
        let hidden = sighting.hidden.iter();
        Key {
            span: sighting.span,
            shown: sighting.shown.clone(),
            through: sighting.through.clone(),
            hidden: hidden.map(|hidden| (hidden.range, hidden.by.clone())).collect(),
            why: sighting.why.clone(),
        }
    }
}

fn hex<S: serde::Serializer>(size: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{size:#x}"))
}

#[cfg(test)]
#[path = "../find_test.rs"]
mod tests;
