//! Where every region of an address space lies, what of it is seen, and who hides the rest.

use std::collections::BTreeMap;

use flatview::explain::Span;
use flatview::{AddressRange, Size};
use serde::Serialize;

use crate::error::Error;
use crate::facts::{Fact, Facts};
use crate::graph::{ALL, Graph, Node, NodeId, What};
use crate::rebuild::Rebuilt;

/// All that one address space shows and hides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Layout {
    /// The names of the spaces that begin at this root; more than one if they share it.
    pub spaces: Vec<String>,
    /// The name of the root.
    pub root: String,
    /// The regions, as they are met on the ways from the root: a region that two aliases show is met twice. What
    /// contains or shows a region stands before it, and siblings stand from the front to the back.
    pub placements: Vec<Placement>,
    /// The flat view: sorted, disjoint.
    pub view: Vec<Seen>,
}

/// A region on one way from the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Placement {
    /// The place in [`Layout::placements`] of the container that it is in, or of the alias that shows it; `None`
    /// for the root.
    pub parent: Option<usize>,
    /// The number of steps from the root.
    pub depth: usize,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its priority in its own container. For what an alias shows, and for the root, it does not count.
    pub priority: i32,
    /// Whether it is enabled, and all on the way to it.
    pub enabled: bool,
    /// Where all of it would be: what clips it is not taken off.
    pub span: Span,
    /// The part that all on the way let through; `None` if nothing is left.
    pub window: Option<AddressRange>,
    /// What it leads to, if it is an alias.
    pub alias: Option<AliasOf>,
    /// Where it answers itself, as the view has it.
    pub shown: Vec<AddressRange>,
    /// The parts of its window where somebody else answers who is neither in it nor shown by it; of those only the
    /// first thousand.
    pub hidden: Vec<Hidden>,
    /// The node of the graph.
    #[serde(skip)]
    pub node: NodeId,
    /// The line of the dump where it stands, from 1 on, if it came from one.
    pub line: Option<u32>,
}

/// What an alias leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AliasOf {
    /// The name of the target.
    pub target: String,
    /// The byte of the target that the alias begins at.
    pub offset: u64,
}

/// A part of a region that somebody else hides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hidden {
    /// The addresses.
    pub range: AddressRange,
    /// Who answers there.
    pub by: String,
}

/// A range of a flat view; two, if one region is seen in it on two ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// The addresses.
    pub range: AddressRange,
    /// The region that answers.
    pub region: String,
    /// The byte of the region that the range begins at.
    pub offset: u64,
    /// What the region is here: a `Ram` that is seen through something readonly is a `Rom`.
    pub kind: Kind,
    /// Whether it is non-volatile.
    pub nonvolatile: bool,
    /// The place in [`Layout::placements`] of the region that answers.
    pub placement: usize,
}

/// What a region is, as far as `info mtree` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Shows its children and what is behind them; answers nothing itself.
    Container,
    /// A window onto another region.
    Alias,
    /// Memory.
    Ram,
    /// Memory that only the host writes.
    Rom,
    /// Memory of a device, mapped into the guest.
    RamDevice,
    /// Flash in the mode in which it is read directly.
    RomDevice,
    /// Registers: each access goes to the device.
    Io,
}

impl Kind {
    pub(crate) fn of(node: &Node<'_>, fact: Fact) -> Kind {
        match node.what {
            What::Alias { .. } => Kind::Alias,
            What::Ram => Kind::Ram,
            What::Rom => Kind::Rom,
            What::RamDevice => Kind::RamDevice,
            What::RomDevice => Kind::RomDevice,
            What::Io if fact.answers => Kind::Io,
            What::Io | What::Unprinted => Kind::Container,
        }
    }
}

impl Layout {
    /// The layout of a space: a place in [`Graph::spaces`].
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] for a space with more placements than any machine has.
    pub fn new(graph: &Graph<'_>, facts: &Facts, built: &Rebuilt, space: usize) -> Result<Layout, Error> {
        let root = graph.spaces[space].root;
        let sharing = graph.spaces.iter().filter(|space| space.root == root);
        let too_large = |placements| Error::TooLarge {
            space: graph.spaces[space].name.to_owned(),
            placements,
        };
        let mut placing = Placing::new(graph, facts, root).map_err(too_large)?;
        let view_root = built.spaces[space]
            .view()
            .root()
            .and_then(|root| built.node(root));
        if let Some(view_root) = view_root
            && !placing.has_at_its_address(view_root)
        {
            // What is around the root of the view does not count, not even where it is (rule C33).
            placing = Placing::new(graph, facts, view_root).map_err(too_large)?;
        }
        let mut placements = placing.placements;
        let ends = ends(&placements);
        let pieces = answers(built, space, &mut placements);
        hide(&pieces, &ends, &mut placements);
        let view = pieces.into_iter().map(|(start, piece)| Seen {
            range: piece.range(start),
            region: graph.nodes[piece.node].name.to_owned(),
            offset: start.wrapping_add(piece.delta),
            kind: piece.kind,
            nonvolatile: piece.nonvolatile,
            placement: piece.placement.unwrap_or_default(),
        });
        Ok(Layout {
            spaces: sharing.map(|space| space.name.to_owned()).collect(),
            root: graph.nodes[root].name.to_owned(),
            view: view.collect(),
            placements,
        })
    }
}

/// What is not placed: real machines are far from it.
const MOST_PLACEMENTS: usize = 1 << 17;
const MOST_DEPTH: usize = 256;
const MOST_HIDDEN: usize = 1000;

/// Goes down from a root.
struct Placing<'g, 'a> {
    graph: &'g Graph<'a>,
    facts: &'g Facts,
    placements: Vec<Placement>,
}

/// For each placement, the place behind the last that is in it.
pub(crate) fn ends(placements: &[Placement]) -> Vec<usize> {
    let mut ends: Vec<usize> = (1..=placements.len()).collect();
    // Children stand behind their parents.
    for place in (0..ends.len()).rev() {
        if let Some(parent) = placements[place].parent {
            ends[parent] = ends[parent].max(ends[place]);
        }
    }
    ends
}

impl<'g, 'a> Placing<'g, 'a> {
    fn new(graph: &'g Graph<'a>, facts: &'g Facts, root: NodeId) -> Result<Placing<'g, 'a>, usize> {
        let mut placing = Placing {
            graph,
            facts,
            placements: Vec::new(),
        };
        placing.place(root)?;
        Ok(placing)
    }

    /// Whether a region is where it would be as the root of a view.
    fn has_at_its_address(&self, id: NodeId) -> bool {
        let address = i128::from(self.graph.nodes[id].address);
        // It may show itself again further in.
        let mut placed = self.placements.iter();
        placed
            .find(|placement| placement.node == id && placement.enabled)
            .is_some_and(|placement| placement.span.start() == address)
    }

    /// Whether an alias leads to something that it is seen in.
    fn shows_itself(&self, place: usize) -> bool {
        let target = self.facts.of[self.placements[place].node].target;
        let parent = |&place: &usize| self.placements[place].parent;
        let mut around = std::iter::successors(Some(place), parent);
        around.any(|place| Some(self.placements[place].node) == target)
    }

    fn place(&mut self, root: NodeId) -> Result<(), usize> {
        // A region with the placement around it, and the address of what that is relative to.
        let mut stack = vec![(root, None, 0_i128)];
        let mut steps = 0;
        // What is disabled is not rendered, so nothing else bounds what it would show.
        let most_invisible = 4 * self.graph.nodes.len();
        let mut invisible = 0;
        while let Some((id, parent, base)) = stack.pop() {
            steps += 1;
            if steps > MOST_PLACEMENTS {
                return Err(MOST_PLACEMENTS);
            }
            let place = self.placements.len();
            let placement = self.placement(id, parent, base);
            let goes_on = placement.window.is_some() && placement.depth < MOST_DEPTH;
            let enabled = placement.enabled;
            invisible += usize::from(!enabled);
            let start = placement.span.start();
            self.placements.push(placement);
            if !goes_on {
                continue;
            }
            match self.graph.nodes[id].what {
                What::Alias { .. }
                    if !enabled && (invisible > most_invisible || self.shows_itself(place)) => {}
                What::Alias { offset, .. } => stack.extend(self.facts.of[id].target.map(|target| {
                    let address = i128::from(self.graph.nodes[target].address);
                    (target, Some(place), start - i128::from(offset) - address)
                })),
                _ => {
                    let children = self.facts.children(self.graph, id);
                    stack.extend(
                        children
                            .into_iter()
                            .rev()
                            .map(|child| (child, Some(place), start)),
                    );
                }
            }
        }
        Ok(())
    }

    fn placement(&self, id: NodeId, parent: Option<usize>, base: i128) -> Placement {
        let node = &self.graph.nodes[id];
        let fact = self.facts.of[id];
        let around = parent.map(|parent| &self.placements[parent]);
        let size = Size::new(fact.size.min(ALL)).unwrap_or(Size::MAX);
        let span = Span::new(base + i128::from(node.address), size);
        let limit = around.map_or(Some(AddressRange::ALL), |around| around.window);
        // What is shown by an alias, or the root, may lie anywhere.
        let is_there = fact.seen || around.is_none_or(|around| around.kind == Kind::Alias);
        let alias = match node.what {
            What::Alias { target, offset, .. } => Some(AliasOf {
                target: target.to_owned(),
                offset,
            }),
            _ => None,
        };
        Placement {
            parent,
            depth: around.map_or(0, |around| around.depth + 1),
            name: node.name.to_owned(),
            kind: Kind::of(node, fact),
            priority: node.priority,
            enabled: node.enabled && is_there && around.is_none_or(|around| around.enabled),
            span,
            window: limit.and_then(|limit| window(span, limit)),
            alias,
            shown: Vec::new(),
            hidden: Vec::new(),
            line: node.line,
            node: id,
        }
    }
}

/// The part of a span within some addresses.
fn window(span: Span, limit: AddressRange) -> Option<AddressRange> {
    let start = span.start().max(i128::from(limit.start()));
    let last = (span.end() - 1).min(i128::from(limit.last()));
    // Both lie within the limit, if there is anything.
    AddressRange::from_bounds(u64::try_from(start).ok()?, u64::try_from(last).ok()?)
}

/// A part of a view that one placement answers, by its first address.
struct Piece {
    last: u64,
    node: NodeId,
    /// What is added to an address to get the byte of the region, modulo 2^64.
    delta: u64,
    kind: Kind,
    nonvolatile: bool,
    placement: Option<usize>,
}

impl Piece {
    fn range(&self, start: u64) -> AddressRange {
        AddressRange::from_bounds(start, self.last).unwrap_or(AddressRange::ALL)
    }
}

/// Who answers where, and for every placement where it does.
fn answers(built: &Rebuilt, space: usize, placements: &mut [Placement]) -> BTreeMap<u64, Piece> {
    let view = built.spaces[space].view();
    let pieces = view.iter().filter_map(|range| {
        let node = built.node(range.region())?;
        let piece = Piece {
            last: range.last(),
            node,
            delta: range.offset_in_region().wrapping_sub(range.start()),
            kind: Kind::Container,
            nonvolatile: range.is_nonvolatile(),
            placement: None,
        };
        let kind = range.is_readonly().then_some(Kind::Rom);
        Some((
            range.start(),
            Piece {
                kind: kind.unwrap_or(piece.kind),
                ..piece
            },
        ))
    });
    let mut pieces: BTreeMap<u64, Piece> = pieces.collect();
    for (place, placement) in placements.iter_mut().enumerate() {
        let Some(window) = placement
            .window
            .filter(|_| placement.enabled && placement.kind != Kind::Alias)
        else {
            continue;
        };
        // Modulo 2^64.
        let delta = (-placement.span.start()).rem_euclid(1 << 64);
        let delta = u64::try_from(delta).unwrap_or_default();
        let before = pieces
            .range(..window.start())
            .next_back()
            .map(|(&start, _)| start);
        let touched = pieces.range(before.unwrap_or(window.start())..=window.last());
        let mine = touched.filter(|(_, piece)| {
            piece.last >= window.start()
                && (piece.node, piece.delta, piece.placement) == (placement.node, delta, None)
        });
        let mine: Vec<u64> = mine.map(|(&start, _)| start).collect();
        for start in mine {
            let start = cut(&mut pieces, start, window);
            if let Some(piece) = pieces.get_mut(&start) {
                piece.placement = Some(place);
                if piece.kind == Kind::Container {
                    piece.kind = placement.kind;
                }
                placement.shown.push(piece.range(start));
            }
        }
    }
    pieces
}

/// Cuts off what of a piece is not in a window; gives the start of what is.
fn cut(pieces: &mut BTreeMap<u64, Piece>, start: u64, window: AddressRange) -> u64 {
    let Some(mut piece) = pieces.remove(&start) else {
        return start;
    };
    let part = |piece: &Piece, last: u64| Piece { last, ..*piece };
    let mut from = start;
    if from < window.start() {
        pieces.insert(from, part(&piece, window.start() - 1));
        from = window.start();
    }
    if piece.last > window.last() {
        pieces.insert(window.last() + 1, part(&piece, piece.last));
        piece.last = window.last();
    }
    pieces.insert(from, piece);
    from
}

/// For every placement, where others answer.
fn hide(pieces: &BTreeMap<u64, Piece>, ends: &[usize], placements: &mut [Placement]) {
    for place in 0..placements.len() {
        let Some(window) = placements[place].window.filter(|_| placements[place].enabled) else {
            continue;
        };
        let before = pieces
            .range(..window.start())
            .next_back()
            .map(|(&start, _)| start);
        let mut hidden: Vec<Hidden> = Vec::new();
        for (&start, piece) in pieces.range(before.unwrap_or(window.start())..=window.last()) {
            let Some(by) = piece.placement.filter(|by| !(place..ends[place]).contains(by)) else {
                continue;
            };
            let Some(range) = piece.range(start).intersection(window) else {
                continue;
            };
            let by = &placements[by].name;
            if let Some(last) = hidden.last_mut()
                && last.by == *by
                && last.range.abuts(range)
            {
                last.range = AddressRange::from_bounds(last.range.start(), range.last()).unwrap_or(range);
            } else if hidden.len() < MOST_HIDDEN {
                hidden.push(Hidden {
                    range,
                    by: by.clone(),
                });
            } else {
                break;
            }
        }
        placements[place].hidden = hidden;
    }
}
