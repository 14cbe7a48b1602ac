//! What is drawn: the boxes and frames, each for one placement or for an alias and what it shows.

use flatview::AddressRange;

use super::Options;
use crate::layout::{Kind, Layout, Placement};

/// A box or a frame of the drawing.
#[derive(Debug)]
pub(super) struct Node<'a> {
    /// What it is called by: of an alias and what it shows, the alias.
    pub(super) front: &'a Placement,
    /// Its place in the layout.
    pub(super) front_index: usize,
    /// What it shows: of an alias, its target; otherwise the same as `front`.
    pub(super) back: &'a Placement,
    /// Its place in the layout.
    pub(super) back_index: usize,
    /// The part of its window that is drawn.
    pub(super) window: AddressRange,
    /// The node that it is drawn in.
    pub(super) parent: Option<usize>,
    /// The hindmost of the nodes in it.
    pub(super) hindmost: Option<usize>,
    /// The next sibling towards the front.
    pub(super) in_front: Option<usize>,
}

impl Node<'_> {
    /// Whether others are drawn in it.
    pub(super) fn is_frame(&self) -> bool {
        self.hindmost.is_some()
    }

    /// All of its window, drawn or not.
    pub(super) fn whole(&self) -> AddressRange {
        self.front.window.unwrap_or(self.window)
    }

    /// What it looks like.
    pub(super) fn kind(&self) -> Kind {
        self.back.kind
    }

    /// The names that it is found by: of an alias, its own and those of what it leads to.
    pub(super) fn names<'b>(&self, layout: &'b Layout) -> impl Iterator<Item = &'b str> {
        // What an alias shows stands right behind it.
        let own = layout.placements[self.front_index..=self.back_index].iter();
        let lost = layout.placements[self.back_index].alias.as_ref();
        own.map(|placement| &placement.name[..])
            .chain(lost.map(|alias| &alias.target[..]))
    }

    pub(super) fn is_alias(&self) -> bool {
        self.front.alias.is_some()
    }
}

/// The nodes of a layout, in its order, and which node each placement is drawn by.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) node_of: Vec<Option<usize>>,
}

impl<'a> Tree<'a> {
    pub(super) fn of(layout: &'a Layout, options: &Options) -> Tree<'a> {
        let windows = windows(layout, options);
        let mut last_child = vec![None; layout.placements.len()];
        for (index, placement) in layout.placements.iter().enumerate() {
            if let (Some(_), Some(parent)) = (windows[index], parent(placement, index)) {
                last_child[parent] = Some(index);
            }
        }
        let mut tree = Tree {
            nodes: Vec::new(),
            node_of: vec![None; layout.placements.len()],
        };
        for (index, placement) in layout.placements.iter().enumerate() {
            let Some(window) = windows[index] else { continue };
            let parent = parent(placement, index);
            // An alias and what it shows would be a frame around a box of the same size: one box tells more.
            let shown_by = parent.filter(|&parent| {
                layout.placements[parent].alias.is_some()
                    && parent + 1 == index
                    && last_child[parent] == Some(index)
                    && windows[parent] == Some(window)
                    && layout.placements[parent].enabled == placement.enabled
            });
            if let Some(node) = shown_by.and_then(|alias| tree.node_of[alias]) {
                tree.nodes[node].back = placement;
                tree.nodes[node].back_index = index;
                tree.node_of[index] = Some(node);
                continue;
            }
            tree.node_of[index] = Some(tree.nodes.len());
            let parent = parent.and_then(|parent| tree.node_of[parent]);
            tree.push(Node {
                front: placement,
                front_index: index,
                back: placement,
                back_index: index,
                window,
                parent,
                hindmost: None,
                in_front: None,
            });
        }
        tree
    }

    fn push(&mut self, mut node: Node<'a>) {
        let index = self.nodes.len();
        if let Some(parent) = node.parent {
            // Siblings come from the front to the back, so the one before was the hindmost until now.
            node.in_front = self.nodes[parent].hindmost.replace(index);
        }
        self.nodes.push(node);
    }

    /// The nodes that are in no other, from the back to the front.
    pub(super) fn roots(&self) -> impl DoubleEndedIterator<Item = usize> {
        (0..self.nodes.len()).filter(|&node| self.nodes[node].parent.is_none())
    }

    /// The nodes in a node, from the back to the front.
    pub(super) fn children(&self, node: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(self.nodes[node].hindmost, |&child| self.nodes[child].in_front)
    }
}

/// The container or alias of a placement. A layout promises that it comes before; nobody checked.
pub(super) fn parent(placement: &Placement, index: usize) -> Option<usize> {
    placement.parent.filter(|&parent| parent < index)
}

/// What is drawn of each placement.
fn windows(layout: &Layout, options: &Options) -> Vec<Option<AddressRange>> {
    let mut windows: Vec<Option<AddressRange>> = Vec::with_capacity(layout.placements.len());
    for (index, placement) in layout.placements.iter().enumerate() {
        let room = match parent(placement, index) {
            Some(parent) => windows[parent],
            None => Some(options.only.unwrap_or(AddressRange::ALL)),
        };
        let drawn = placement.enabled || options.disabled;
        windows.push(match (room, placement.window) {
            (Some(room), Some(window)) if drawn => room.intersection(window),
            _ => None,
        });
    }
    windows
}
