//! The graph of regions behind a tree dump: who contains whom, and what aliases lead to.
//!
//! A tree dump shows a region once for each tree that it is in: `pc.ram` under its own heading and wherever it is
//! mapped, `system` as the root of a space and as what bus masters lead to. Here it is one [`Node`].
//!
//! What the text does not say is left open here; [`Facts`](crate::facts::Facts) has an opinion.

mod grow;
mod targets;
mod twins;

use crate::text::TreeDump;

/// The regions that a tree dump shows, and the address spaces that begin at them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph<'a> {
    /// The regions. Some are [unprinted](What::Unprinted).
    pub nodes: Vec<Node<'a>>,
    /// The spaces, in the order of the text.
    pub spaces: Vec<Space<'a>>,
    /// Disabled regions have lines, so nothing lies in one that has none: the tree was printed with `-D`. One of a
    /// machine without a disabled region looks the same both ways, and counts as printed without.
    pub is_complete: bool,
}

/// A region: a place in [`Graph::nodes`].
pub type NodeId = usize;

/// A region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node<'a> {
    /// Its name.
    pub name: &'a str,
    /// The line of the text where it was found first, from 1 on; `None` if it has none.
    pub line: Option<u32>,
    /// What it is.
    pub what: What<'a>,
    /// Where it lies in its container, in bytes. For a region without one that is printed, where it lies in the one
    /// that is not.
    pub address: u64,
    /// Its size in bytes, up to 2^64. 1 may be 0 in truth.
    pub size: u128,
    /// Its priority in its container.
    pub priority: i32,
    /// Whether it is enabled.
    pub enabled: bool,
    /// Whether it is marked as non-volatile itself.
    pub nonvolatile: bool,
    /// What it lies in.
    pub container: Option<NodeId>,
    /// What lies in it, as printed: by address, then from the highest priority down, then from the newest.
    pub children: Vec<NodeId>,
    /// What `-o` said of it, with the space before it; empty without `-o`.
    pub owner: &'a str,
    /// Whether it is the root of a tree of the text, so that what stands under it lies in it for sure.
    pub is_root: bool,
}

/// What a region is, as far as the text tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What<'a> {
    /// `ram`.
    Ram,
    /// `rom`, and `R-` of QEMU before 2.9.
    Rom,
    /// `ramd`.
    RamDevice,
    /// `romd`.
    RomDevice,
    /// `i/o`: registers, a pure container, an IOMMU, a ROM device that is not read directly.
    Io,
    /// A window.
    Alias {
        /// The name of the target.
        target: &'a str,
        /// The byte of the target that it begins at.
        offset: u64,
        /// The regions that it may lead to, the likeliest first; none if the text has no region of that name.
        candidates: Vec<NodeId>,
    },
    /// Something disabled that has no line, although what lies in it has one. Its name, size and address are not
    /// known; as it is disabled, they matter to nobody.
    Unprinted,
}

impl What<'_> {
    /// Its type, as `info mtree` prints it; of an alias, that depends on what it leads to.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            What::Ram => "ram",
            What::Rom => "rom",
            What::RamDevice => "ramd",
            What::RomDevice => "romd",
            What::Io | What::Alias { .. } | What::Unprinted => "i/o",
        }
    }
}

/// An address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space<'a> {
    /// Its name. Several may have the same.
    pub name: &'a str,
    /// The region that it looks at.
    pub root: NodeId,
}

/// The size of all there is, in bytes.
pub(crate) const ALL: u128 = 1 << 64;

impl<'a> Graph<'a> {
    /// The graph behind a dump.
    pub fn new(tree: &TreeDump<'a>) -> Graph<'a> {
        let (mut graph, groups) = grow::grow(tree);
        let regions = twins::unite(&mut graph, &groups);
        targets::find(&mut graph, &regions);
        graph
    }

    /// Whether what stands under a region could lie in another one, which is disabled and has no line. A root has
    /// nothing behind it.
    pub(crate) fn may_hold_less(&self, node: &Node<'_>) -> bool {
        !self.is_complete && !node.is_root
    }

    /// From the outermost container to the region: the region last. Ends at a bound, as a graph that is not made by
    /// [`Graph::new`] may have a circle.
    pub fn path(&self, of: NodeId) -> Vec<NodeId> {
        let mut path = vec![of];
        while let Some(container) = self.nodes[path[path.len() - 1]].container
            && path.len() < self.nodes.len()
        {
            path.push(container);
        }
        path.reverse();
        path
    }
}

impl Graph<'_> {
    /// The place of the space with a name, the first of several; of `memory` without one, or of the first space if none
    /// has that name.
    pub fn space(&self, name: Option<&str>) -> Option<usize> {
        let place = |name: &str| self.spaces.iter().position(|space| space.name == name);
        match name {
            Some(name) => place(name),
            None => place("memory").or((!self.spaces.is_empty()).then_some(0)),
        }
    }

    /// Leaves only some of the spaces, by their places, and the regions that they can show.
    pub fn retain_spaces(&mut self, is_wanted: impl Fn(usize) -> bool) {
        let mut place = 0..;
        self.spaces.retain(|_| place.next().is_some_and(&is_wanted));
        let mut kept = vec![false; self.nodes.len()];
        let mut next: Vec<NodeId> = self.spaces.iter().map(|space| space.root).collect();
        while let Some(id) = next.pop() {
            if std::mem::replace(&mut kept[id], true) {
                continue;
            }
            next.extend(&self.nodes[id].children);
            if let What::Alias { candidates, .. } = &self.nodes[id].what {
                next.extend(candidates);
            }
        }
        let mut left = 0;
        let moved: Vec<NodeId> = kept
            .iter()
            .map(|&kept| {
                left += usize::from(kept);
                left - usize::from(kept)
            })
            .collect();
        let mut id = 0..;
        self.nodes.retain_mut(|node| {
            node.container = node
                .container
                .filter(|&around| kept[around])
                .map(|around| moved[around]);
            node.children.iter_mut().for_each(|child| *child = moved[*child]);
            if let What::Alias { candidates, .. } = &mut node.what {
                candidates.iter_mut().for_each(|target| *target = moved[*target]);
            }
            id.next().is_some_and(|id: NodeId| kept[id])
        });
        self.spaces
            .iter_mut()
            .for_each(|space| space.root = moved[space.root]);
    }
}

impl Node<'_> {
    /// Whether it has bytes of its own for sure.
    pub fn is_memory(&self) -> bool {
        matches!(
            self.what,
            What::Ram | What::Rom | What::RamDevice | What::RomDevice
        )
    }

    /// Whether it is an alias.
    pub fn is_alias(&self) -> bool {
        matches!(self.what, What::Alias { .. })
    }
}
