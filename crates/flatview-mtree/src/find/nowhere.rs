//! Why nothing of a region is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use flatview::AddressRange;
use serde::Serialize;

use crate::facts::Facts;
use crate::graph::{Graph, NodeId};
use crate::layout::{Kind, Layout};
use crate::survey::Survey;

/// Why nothing of a region is seen on one way to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Why {
    /// It is disabled, or something around it is.
    Disabled {
        /// Who is disabled: the outermost.
        by: String,
    },
    /// It has no bytes.
    Empty,
    /// It lies outside of what something on the way lets through.
    Clipped {
        /// Who: a container that it is not in, or an alias that does not show it.
        by: String,
    },
    /// Something else answers wherever it is: [`Sighting::hidden`](super::Sighting::hidden) says who.
    Hidden,
    /// It is a container and nothing in it answers.
    Bare,
}

/// Why a region has no place in any space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Nowhere {
    /// It is in no space, and no alias leads to it or to what is around it.
    NotPlaced,
    /// Aliases lead to it or to what is around it, but they are in no space either.
    BehindAliases {
        /// Their names.
        aliases: Vec<String>,
    },
    /// What is around it, or an alias that leads to it, is clipped away or empty or disabled in all spaces.
    OutOfSight {
        /// Who: the containers and aliases nearest to it that have a place.
        of: Vec<String>,
    },
}

/// Why a placement shows nothing.
pub(super) fn why(layout: &Layout, place: usize) -> Why {
    let placement = &layout.placements[place];
    let name = |of: usize| layout.placements[of].name.clone();
    let parent = |of: usize| layout.placements[of].parent;
    if !placement.enabled {
        let mut by = place;
        while let Some(around) = parent(by).filter(|&around| !layout.placements[around].enabled) {
            by = around;
        }
        return Why::Disabled { by: name(by) };
    }
    if placement.span.size().is_zero() {
        return Why::Empty;
    }
    if placement.window.is_none() {
        let within = placement.span.within_space();
        let mut at = place;
        while let Some(around) = parent(at) {
            let limit = layout.placements[around].span.within_space();
            let left: Option<AddressRange> = within.and_then(|within| within.intersection(limit?));
            if left.is_none() {
                return Why::Clipped { by: name(around) };
            }
            at = around;
        }
        return Why::Clipped {
            by: parent(place).map(name).unwrap_or_default(),
        };
    }
    match placement.kind {
        Kind::Container | Kind::Alias if placement.hidden.is_empty() => Why::Bare,
        _ => Why::Hidden,
    }
}

/// Looks for the way to regions that are nowhere.
pub(super) struct Reasons<'g, 'a> {
    graph: &'g Graph<'a>,
    aliases: BTreeMap<NodeId, Vec<NodeId>>,
    placed: BTreeSet<NodeId>,
}

/// How far it is looked, for each region.
const MOST_STEPS: usize = 1000;

impl<'g, 'a> Reasons<'g, 'a> {
    pub(super) fn new(graph: &'g Graph<'a>, facts: &Facts, survey: &Survey) -> Reasons<'g, 'a> {
        let mut aliases: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
        for (id, fact) in facts.of.iter().enumerate() {
            if let Some(target) = fact.target {
                aliases.entry(target).or_default().push(id);
            }
        }
        let placements = survey.layouts.iter().flat_map(|layout| &layout.placements);
        Reasons {
            graph,
            aliases,
            placed: placements.map(|placement| placement.node).collect(),
        }
    }

    pub(super) fn nowhere(&self, id: NodeId) -> Nowhere {
        let mut seen = BTreeSet::from([id]);
        let mut next = vec![id];
        let mut aliases = BTreeSet::new();
        let mut out_of_sight = BTreeSet::new();
        while let Some(at) = next.pop()
            && seen.len() < MOST_STEPS
        {
            if self.placed.contains(&at) {
                out_of_sight.insert(self.graph.nodes[at].name.to_owned());
                continue;
            }
            let leading = self.aliases.get(&at).into_iter().flatten().copied();
            for alias in leading.take(MOST_STEPS) {
                aliases.insert(self.graph.nodes[alias].name.to_owned());
                if seen.insert(alias) {
                    next.push(alias);
                }
            }
            next.extend(
                self.graph.nodes[at]
                    .container
                    .filter(|&around| seen.insert(around)),
            );
        }
        if !out_of_sight.is_empty() {
            let of = out_of_sight.into_iter().collect();
            return Nowhere::OutOfSight { of };
        }
        if aliases.is_empty() {
            return Nowhere::NotPlaced;
        }
        let aliases = aliases.into_iter().collect();
        Nowhere::BehindAliases { aliases }
    }
}

impl fmt::Display for Nowhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |names: &[String]| match names {
            [few @ .., last] if names.len() <= 4 && !few.is_empty() => {
                format!("{} and {last}", few.join(", "))
            }
            [first, second, third, rest @ ..] if !rest.is_empty() => {
                format!("{first}, {second}, {third} and {} more", rest.len())
            }
            _ => names.join(", "),
        };
        match self {
            Nowhere::NotPlaced => f.write_str("it is in no space, and no alias leads to it"),
            Nowhere::BehindAliases { aliases } => {
                write!(
                    f,
                    "only aliases lead to it, in no space themselves: {}",
                    names(aliases)
                )
            }
            Nowhere::OutOfSight { of } => {
                write!(f, "nothing of it is let through by {}", names(of))
            }
        }
    }
}
