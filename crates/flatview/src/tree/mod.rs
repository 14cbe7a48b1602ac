//! The mutable tree of regions: who contains whom, where, at what priority, and who is an alias of whom.
//!
//! The tree knows no views and no listeners. Every change is journalled, so that a transaction that fails is
//! undone step by step, and leaves *damage*: which bytes of which region may look different now.

mod children;
mod journal;
mod roots;
mod seen;
mod verbs;

use children::{ChildKey, Children};
pub(crate) use journal::{Damage, Journal};

use crate::address::{AddressRange, Size};
use crate::compat::Compat;
use crate::dirty::{DirtyClients, GlobalDirty};
use crate::ioeventfd::IoEventFd;
use crate::region::{Backing, Region, RegionId, RegionState, WeakRegion};

/// How deep aliases of aliases may go, and containers and aliases nest in a rendering.
pub(crate) const MAX_DEPTH: usize = 256;

/// What a transaction can set on a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) address: u64,
    pub(crate) size: Size,
    pub(crate) alias_offset: u64,
    pub(crate) priority: i32,
    pub(crate) enabled: bool,
    pub(crate) readonly: bool,
    pub(crate) nonvolatile: bool,
    pub(crate) unmergeable: bool,
    pub(crate) romd_mode: bool,
    /// How many times VGA logging was switched on (rule P2).
    pub(crate) vga_logs: u8,
}

impl Default for Attributes {
    /// Rule A19.
    fn default() -> Attributes {
        Attributes {
            address: 0,
            size: Size::ZERO,
            alias_offset: 0,
            priority: 0,
            enabled: true,
            readonly: false,
            nonvolatile: false,
            unmergeable: false,
            romd_mode: true,
            vga_logs: 0,
        }
    }
}

impl Attributes {
    /// Whether nothing would be lost if views skipped this region on the way to its only content (rule C32).
    pub(crate) fn is_plain(&self) -> bool {
        !self.readonly && !self.nonvolatile && !self.unmergeable
    }
}

/// What few regions have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extras {
    pub(crate) ioeventfds: Vec<IoEventFd>,
    pub(crate) coalesced: Vec<AddressRange>,
    pub(crate) flush_coalesced: bool,
}

/// What leads to other regions. Most regions are leaves and have none of it.
#[derive(Debug, Default)]
struct Links {
    children: Children,
    /// The aliases that lead here directly.
    aliases: Vec<RegionId>,
    /// Those of them that a view sees.
    seen_through: Vec<RegionId>,
}

static NO_LINKS: Links = Links {
    children: Children::new(),
    aliases: Vec::new(),
    seen_through: Vec::new(),
};

#[derive(Debug)]
pub(crate) struct Node {
    handle: WeakRegion,
    pub(crate) attributes: Attributes,
    pub(crate) terminates: bool,
    has_ram_block: bool,
    is_iommu: bool,
    pub(crate) alias_target: Option<RegionId>,
    alias_depth: u16,
    container: Option<RegionId>,
    /// When it was mapped last: its rank among siblings of its priority.
    sequence: u64,
    mapped_via_alias: u32,
    links: Option<Box<Links>>,
    is_seen: bool,
    is_view_root: bool,
    /// Whether a space looks, or looked, at it.
    is_space_root: bool,
    pub(crate) extras: Option<Box<Extras>>,
}

impl Node {
    /// The region; `None` only while its last handle is being dropped, and then nothing leads here.
    pub(crate) fn region(&self) -> Option<Region> {
        self.handle.upgrade()
    }

    /// Whether a view is rendered from here.
    pub(crate) fn is_view_root(&self) -> bool {
        self.is_view_root
    }

    /// Whether damage is carried on from here in more ways than one.
    pub(crate) fn is_crossroads(&self) -> bool {
        !self.seen_through().is_empty()
    }

    pub(crate) fn has_children(&self) -> bool {
        self.links().children.len() != 0
    }

    /// The aliases through which a view sees it.
    pub(crate) fn seen_through(&self) -> &[RegionId] {
        &self.links().seen_through
    }

    fn links(&self) -> &Links {
        self.links.as_deref().unwrap_or(&NO_LINKS)
    }

    fn links_mut(&mut self) -> &mut Links {
        self.links.get_or_insert_default()
    }

    /// Its place among its siblings.
    fn key(&self) -> ChildKey {
        ChildKey::new(self.attributes.priority, self.sequence)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: Vec<Option<Node>>,
    free: Vec<RegionId>,
    next_sequence: u64,
    /// Whether view roots are chosen exactly as QEMU does, with C32 and C33.
    lossy_roots: bool,
    pub(crate) global_dirty: GlobalDirty,
    /// Whether somebody translates code from guest memory (rule P4).
    pub(crate) logs_code: bool,
    journal: Journal,
    /// How many changes may have left a mark of being seen that is not true any more.
    stale_marks: usize,
}

impl Tree {
    pub(crate) fn new(compat: Compat) -> Tree {
        Tree {
            lossy_roots: compat.contains(Compat::LOSSY_VIEW_ROOTS),
            ..Tree::default()
        }
    }

    /// Makes room for a region. The handle is made by `make`, which is told the id.
    ///
    /// An alias chain that is too deep is the caller's to refuse; see [`Tree::alias_depth`].
    pub(crate) fn insert(&mut self, attributes: Attributes, make: impl FnOnce(RegionId) -> Region) -> Region {
        let id = self.free.pop().unwrap_or_else(|| {
            if self.nodes.len() == self.nodes.capacity() {
                // Doubling would leave up to half of a large machine's table empty.
                self.nodes.reserve_exact((self.nodes.len() / 8).max(64));
            }
            self.nodes.push(None);
            RegionId(u32::try_from(self.nodes.len() - 1).expect("fewer than 2^32 regions fit in memory"))
        });
        let region = make(id);
        let alias_target = region.alias_target().map(Region::id);
        let alias_depth = alias_target.map_or(0, |target| self.node(target).alias_depth + 1);
        if let Some(target) = alias_target {
            self.node_mut(target).links_mut().aliases.push(id);
        }
        self.nodes[id.index()] = Some(Node {
            handle: region.downgrade(),
            attributes,
            terminates: region.terminates(),
            has_ram_block: region.ram_block().is_some(),
            is_iommu: matches!(region.backing(), Backing::Iommu(_)),
            alias_target,
            alias_depth,
            container: None,
            sequence: 0,
            mapped_via_alias: 0,
            links: None,
            is_seen: false,
            is_view_root: false,
            is_space_root: false,
            extras: None,
        });
        region
    }

    /// Notes that a space looks at a region.
    pub(crate) fn set_space_root(&mut self, id: RegionId) {
        self.node_mut(id).is_space_root = true;
    }

    /// How many aliases lead from `id` to a region that is none.
    pub(crate) fn alias_depth(&self, id: RegionId) -> usize {
        self.node(id).alias_depth.into()
    }

    /// Takes regions out whose last handle is gone. The children they kept alive are returned, to be dropped
    /// where that may run a device's code: not under the tree's lock.
    pub(crate) fn remove_dropped(&mut self, dropped: Vec<RegionId>) -> Vec<Region> {
        let mut orphans = Vec::new();
        for id in dropped {
            let Some(mut node) = self.nodes[id.index()].take() else {
                continue;
            };
            self.free.push(id);
            if let Some(target) = node.alias_target
                && let Some(target) = self.nodes[target.index()].as_mut()
            {
                let links = target.links_mut();
                links.aliases.retain(|&alias| alias != id);
                links.seen_through.retain(|&alias| alias != id);
            }
            for child in node.links.take().unwrap_or_default().children.take() {
                self.node_mut(child.id()).container = None;
                if child.alias_target().is_some() {
                    self.count_alias_mapping(child.id(), false);
                }
                orphans.push(child);
            }
        }
        orphans
    }

    /// The regions that are made of RAM blocks. Drop them outside the tree's lock.
    pub(crate) fn regions_with_blocks(&self) -> Vec<Region> {
        let nodes = self.nodes.iter().flatten();
        nodes
            .filter(|node| node.has_ram_block)
            .filter_map(Node::region)
            .collect()
    }

    /// Lets go of all children and ioeventfds, when the memory is dropped.
    pub(crate) fn clear(&mut self) -> (Vec<Region>, Vec<Extras>) {
        let mut held = (Vec::new(), Vec::new());
        for node in self.nodes.iter_mut().flatten() {
            held.0.extend(
                node.links
                    .as_mut()
                    .into_iter()
                    .flat_map(|links| links.children.take()),
            );
            held.1.extend(node.extras.take().map(|extras| *extras));
        }
        held
    }

    /// # Panics
    ///
    /// Panics if there is no such region, which would be a mistake in this crate: ids are only taken from
    /// handles, and a handle keeps its node.
    pub(crate) fn node(&self, id: RegionId) -> &Node {
        self.nodes[id.index()].as_ref().expect("a handle keeps its node")
    }

    fn node_mut(&mut self, id: RegionId) -> &mut Node {
        self.nodes[id.index()].as_mut().expect("a handle keeps its node")
    }

    /// Whether a region of that id is there.
    pub(crate) fn contains(&self, id: RegionId) -> bool {
        self.nodes[id.index()].is_some()
    }

    pub(crate) fn container(&self, id: RegionId) -> Option<RegionId> {
        self.node(id).container
    }

    pub(crate) fn children(&self, id: RegionId) -> impl DoubleEndedIterator<Item = &Region> {
        self.node(id).links().children.iter()
    }

    /// The children of `id` that meet `range` (offsets in `id`), in rendering order, appended to `found`.
    pub(crate) fn children_meeting(&self, id: RegionId, range: AddressRange, found: &mut Vec<RegionId>) {
        let children = &self.node(id).links().children;
        let meets = |&child: &RegionId| {
            let attributes = &self.node(child).attributes;
            let start = i128::from(attributes.address);
            let end = start.saturating_add_unsigned(attributes.size.bytes());
            AddressRange::clamp(start, end).is_some_and(|child| child.overlaps(range))
        };
        match children.index() {
            None => found.extend(children.iter().map(Region::id).filter(meets)),
            Some(index) => {
                let first = found.len();
                found.extend(index.candidates(range).filter(meets));
                found[first..].sort_unstable_by_key(|&child| self.node(child).key());
            }
        }
    }

    pub(crate) fn state(&self, id: RegionId) -> RegionState {
        let node = self.node(id);
        let attributes = &node.attributes;
        let extras = node.extras.as_deref().cloned().unwrap_or_default();
        RegionState {
            container: self
                .container(id)
                .and_then(|container| self.node(container).region()),
            address: attributes.address,
            size: attributes.size,
            priority: attributes.priority,
            enabled: attributes.enabled,
            readonly: attributes.readonly,
            nonvolatile: attributes.nonvolatile,
            unmergeable: attributes.unmergeable,
            romd_mode: attributes.romd_mode,
            alias_offset: attributes.alias_offset,
            mapped_via_alias: node.mapped_via_alias,
            dirty_log_mask: self.dirty_log_mask(id),
            ioeventfds: extras.ioeventfds,
            coalesced: extras.coalesced,
            flush_coalesced: extras.flush_coalesced,
        }
    }

    /// Who logs writes to a region (rule C20).
    pub(crate) fn dirty_log_mask(&self, id: RegionId) -> DirtyClients {
        let node = self.node(id);
        let mut mask = DirtyClients::empty();
        mask.set(DirtyClients::VGA, node.attributes.vga_logs > 0);
        mask.set(
            DirtyClients::MIGRATION,
            !self.global_dirty.is_empty() && (node.has_ram_block || node.is_iommu),
        );
        mask.set(DirtyClients::CODE, self.logs_code && node.has_ram_block);
        mask
    }

    /// Undoes everything since the journal was last taken. What is returned holds handles: drop it outside
    /// the tree's lock.
    pub(crate) fn roll_back(&mut self) -> Journal {
        let mut journal = std::mem::take(&mut self.journal);
        journal.undo(self);
        self.journal.roots_moved = false;
        journal
    }

    /// What was changed since the journal was last taken.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Accepts what was changed. The journal holds handles: drop it outside the tree's lock.
    pub(crate) fn take_journal(&mut self) -> Journal {
        std::mem::take(&mut self.journal)
    }

    pub(crate) fn name(&self, id: RegionId) -> Box<str> {
        self.node(id)
            .region()
            .map(|region| region.name().into())
            .unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "tree_test.rs"]
mod tests;
