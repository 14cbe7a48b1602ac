//! The way to one address: rendering, for one byte.

use super::rivals;
use super::{AliasOf, Answer, Explanation, Gap, Outcome, Skipped, Span, Step};
use crate::address::AddressRange;
use crate::error::Error;
use crate::region::{Region, RegionId};
use crate::render::MAX_STEPS;
use crate::space::AddressSpace;
use crate::tree::{Attributes, MAX_DEPTH, Node, Tree};
use crate::view::FlatView;

/// A region as the space sees it by some way: `base` is the address of its byte 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) region: RegionId,
    pub(super) base: i128,
}

/// A tree, looked at for the sake of one address.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) tree: &'a Tree,
    pub(super) address: u64,
}

impl<'a> Look<'a> {
    pub(super) fn node(self, place: Place) -> &'a Node {
        self.tree.node(place.region)
    }

    pub(super) fn span(self, place: Place) -> Span {
        Span::new(place.base, self.node(place).attributes.size)
    }

    pub(super) fn name(self, place: Place) -> String {
        self.tree.name(place.region).into()
    }

    pub(super) fn is_enabled(self, place: Place) -> bool {
        self.node(place).attributes.enabled
    }

    /// Whether the address is a byte of a region, whatever clips that.
    pub(super) fn covers(self, place: Place) -> bool {
        self.span(place).contains(self.address)
    }

    pub(super) fn child(self, container: Place, child: RegionId) -> Place {
        Place {
            region: child,
            base: container.base + i128::from(self.tree.node(child).attributes.address),
        }
    }

    /// What an alias shows: the address of the target's own mapping does not matter (rules C4, C5).
    pub(super) fn target(self, alias: Place) -> Option<Place> {
        let node = self.node(alias);
        Some(Place {
            region: node.alias_target?,
            base: alias.base - i128::from(node.attributes.alias_offset),
        })
    }

    /// What is looked at before the region itself: the target of an alias; the children that the address is a
    /// byte of, disabled or not, in rendering order.
    pub(super) fn below(self, place: Place) -> Vec<Place> {
        if let Some(target) = self.target(place) {
            return if self.covers(target) {
                vec![target]
            } else {
                Vec::new()
            };
        }
        let mut found = Vec::new();
        let offset = self.span(place).offset_of(self.address);
        if let Some(byte) = offset.and_then(|offset| AddressRange::from_bounds(offset, offset)) {
            self.tree.children_meeting(place.region, byte, &mut found);
        }
        found.into_iter().map(|child| self.child(place, child)).collect()
    }

    /// The same, wherever the children are.
    pub(super) fn all_below(self, place: Place) -> impl DoubleEndedIterator<Item = Place> + 'a {
        let target = self.target(place);
        let children = self.tree.children(place.region).map(Region::id);
        let children = children.map(move |child| self.child(place, child));
        // An alias has no children (rule B14).
        target.into_iter().chain(children)
    }

    /// What is told of a region; `is_child` says that it is where it is because its container has it there.
    pub(super) fn step(self, place: Place, is_child: bool) -> Step {
        let node = self.node(place);
        let attributes: &Attributes = &node.attributes;
        let span = self.span(place);
        Step {
            region: self.name(place),
            // A region in a tree that is seen has a handle; see `Node::region`.
            kind: node
                .region()
                .map_or(crate::RegionKind::Container, |region| region.kind()),
            span,
            priority: is_child.then_some(attributes.priority),
            offset: span.offset_of(self.address),
            alias: node.alias_target.map(|target| AliasOf {
                target: self.tree.name(target).into(),
                offset: attributes.alias_offset,
            }),
            enabled: attributes.enabled,
            readonly: attributes.readonly,
            nonvolatile: attributes.nonvolatile,
            unmergeable: attributes.unmergeable,
            romd: attributes.romd_mode,
            skipped: None,
        }
    }

    /// The steps of a way that begins below `within`.
    pub(super) fn steps(self, within: Option<Place>, way: &[Place]) -> Vec<Step> {
        let above = std::iter::once(within).chain(way.iter().copied().map(Some));
        let is_child = |above: Option<Place>| above.is_some_and(|above| !self.is_alias(above));
        way.iter()
            .zip(above)
            .map(|(&place, above)| self.step(place, is_child(above)))
            .collect()
    }

    pub(super) fn is_alias(self, place: Place) -> bool {
        self.node(place).alias_target.is_some()
    }
}

/// A region that the search for the answer came to: enabled, and nothing hides the address from it.
pub(super) struct Visit {
    pub(super) place: Place,
    /// By which other one; `None` for the one it began with.
    pub(super) above: Option<usize>,
}

/// What the search came by.
pub(super) struct Walk {
    /// In the order of the search.
    pub(super) visits: Vec<Visit>,
    /// Which of them lead to the answer, the first one first; empty if there is none.
    pub(super) way: Vec<usize>,
}

/// Looks for what answers: the children of a region before itself, in rendering order (rules C1, C24).
fn walk(look: Look<'_>, start: Place) -> Result<Walk, Error> {
    let mut visits = Vec::new();
    let mut stack: Vec<(usize, std::vec::IntoIter<Place>)> = Vec::new();
    let mut steps = 0;
    let mut next = Some(start);
    loop {
        if let Some(place) = next.take()
            && look.is_enabled(place)
            && look.covers(place)
        {
            if stack.len() >= MAX_DEPTH {
                return Err(Error::RenderingTooDeep {
                    region: look.tree.name(place.region),
                    limit: MAX_DEPTH,
                });
            }
            let below = look.below(place);
            steps += 1 + below.len();
            if steps > MAX_STEPS {
                return Err(Error::RenderingTooLarge {
                    root: look.tree.name(start.region),
                    limit: MAX_STEPS,
                });
            }
            visits.push(Visit {
                place,
                above: stack.last().map(|&(above, _)| above),
            });
            stack.push((visits.len() - 1, below.into_iter()));
        }
        let Some((at, below)) = stack.last_mut() else {
            let way = Vec::new();
            return Ok(Walk { visits, way });
        };
        next = below.next();
        if next.is_some() {
            continue;
        }
        if look.node(visits[*at].place).terminates {
            let way = stack.iter().map(|&(at, _)| at).collect();
            return Ok(Walk { visits, way });
        }
        stack.pop();
    }
}

pub(super) fn explain(
    tree: &Tree,
    space: &AddressSpace,
    view: &FlatView,
    address: u64,
) -> Result<Explanation, Error> {
    let look = Look { tree, address };
    let to_root = tree.way_to_flatview_root(space.root().id());
    let Some((&root, skipped)) = to_root.split_last() else {
        // There is at least the root of the space.
        return Err(Error::AddressSpaceDestroyed {
            space: space.name().into(),
        });
    };
    let start = Place {
        region: root,
        // A root's own address counts (rules C2, B12).
        base: i128::from(tree.node(root).attributes.address),
    };
    let walk = walk(look, start)?;
    // Each of these shows the root from its first byte on, so all lie where that lies, even where their own
    // address is lost.
    let skipped: Vec<Place> = skipped.iter().map(|&region| Place { region, ..start }).collect();
    let mut way = skipped_steps(look, &skipped);
    let places: Vec<Place> = walk.way.iter().map(|&at| walk.visits[at].place).collect();
    let places = if places.is_empty() { vec![start] } else { places };
    let steps = look.steps(skipped.last().copied(), &places);
    let answer = walk
        .way
        .last()
        .and_then(|&at| look.node(walk.visits[at].place).region())
        .map(|region| answer(region, &steps, view, address));
    way.extend(steps);
    let outcome = answer.map_or_else(|| Outcome::Unassigned(gap(view, address)), Outcome::Answered);
    let shown = match &outcome {
        Outcome::Answered(answer) => answer.range,
        Outcome::Unassigned(gap) => gap.range,
    };
    let rivals = rivals::overruled(look, &walk, &skipped, start, shown);
    Ok(Explanation {
        address,
        space: space.name().into(),
        view_root: view.root().map(|root| root.name().into()),
        way,
        outcome,
        overruled: rivals.overruled,
        complete: rivals.complete,
    })
}

/// The regions above the one that the view is rendered from.
fn skipped_steps(look: Look<'_>, skipped: &[Place]) -> Vec<Step> {
    let mut steps = look.steps(None, skipped);
    for (step, &place) in steps.iter_mut().zip(skipped) {
        let attributes = &look.node(place).attributes;
        let counts = look
            .target(place)
            .map_or(0, |target| look.node(target).attributes.address);
        step.skipped = Some(Skipped {
            lost_attributes: !attributes.is_plain(),
            lost_address: attributes.address != counts,
        });
    }
    steps
}

fn answer(region: Region, way: &[Step], view: &FlatView, address: u64) -> Answer {
    let names = |has: fn(&Step) -> bool| -> Vec<String> {
        let steps = way.iter().filter(|step| has(step));
        steps.map(|step| step.region.clone()).collect()
    };
    let last = way.last();
    Answer {
        name: region.name().into(),
        offset: last.and_then(|step| step.offset).unwrap_or_default(),
        // The published view and the tree agree, as no update runs.
        range: view.find(address).map_or(byte(address), |range| range.range()),
        readonly_by: names(|step| step.readonly),
        nonvolatile_by: names(|step| step.nonvolatile),
        unmergeable_by: names(|step| step.unmergeable),
        romd: last.is_none_or(|step| step.romd),
        region,
    }
}

fn byte(address: u64) -> AddressRange {
    AddressRange::from_bounds(address, address).unwrap_or(AddressRange::ALL)
}

/// The hole of a view around an address.
fn gap(view: &FlatView, address: u64) -> Gap {
    let below = view.iter().take_while(|range| range.last() < address).last();
    let from_here = AddressRange::from_bounds(address, u64::MAX).unwrap_or(AddressRange::ALL);
    let above = view.meeting(from_here).next();
    let start = below.map_or(0, |range| range.last().saturating_add(1));
    let last = above.map_or(u64::MAX, |range| range.start().saturating_sub(1));
    Gap {
        range: AddressRange::from_bounds(start, last).unwrap_or(byte(address)),
        below: below.map(|range| range.region().name().into()),
        above: above.map(|range| range.region().name().into()),
    }
}
