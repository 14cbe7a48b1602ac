//! The oracle's own machine: regions as plain data, and the look-up of one address.
//!
//! It shares no code and no idea with the library. Children are an explicit list in QEMU's order, kept by
//! QEMU's insertion rule (B3); what a byte of an address space shows is found by walking down to it, for
//! this one byte alone, in arithmetic that cannot wrap. It is slow and obviously right.

use std::collections::BTreeSet;
use std::ops::{Index, IndexMut};

/// The number of a region. Never used again, unlike the library's ids; the region's name is `r` and this.
pub(crate) type Id = usize;

/// How deep a rendering follows containers and aliases.
pub(crate) const DEEPEST: usize = 256;

/// The clients of dirty logging, as bits (rule P1).
pub(crate) const VGA: u8 = 1;
pub(crate) const CODE: u8 = 2;
pub(crate) const MIGRATION: u8 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Container,
    Ram,
    RamDevice,
    RomDevice,
    Mmio,
    Reservation,
    Iommu,
    Alias,
}

impl Kind {
    /// Rules A1 to A15: everything but a container and an alias answers by itself.
    pub(crate) fn terminates(self) -> bool {
        !matches!(self, Kind::Container | Kind::Alias)
    }

    pub(crate) fn has_ram_block(self) -> bool {
        matches!(self, Kind::Ram | Kind::RamDevice | Kind::RomDevice)
    }
}

/// An ioeventfd; the order of the fields is rule I3's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EventFd {
    pub(crate) address: u64,
    pub(crate) size: u32,
    pub(crate) datamatch: Option<u64>,
    /// Which of the world's notifiers, in order of creation.
    pub(crate) notifier: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct RegionModel {
    pub(crate) kind: Kind,
    pub(crate) address: u64,
    /// Up to 2^64 (rule A16).
    pub(crate) size: u128,
    pub(crate) priority: i32,
    pub(crate) enabled: bool,
    pub(crate) readonly: bool,
    pub(crate) nonvolatile: bool,
    pub(crate) unmergeable: bool,
    pub(crate) romd: bool,
    pub(crate) target: Option<Id>,
    pub(crate) alias_offset: u64,
    pub(crate) container: Option<Id>,
    /// In rendering order.
    pub(crate) children: Vec<Id>,
    pub(crate) vga_logs: u8,
    pub(crate) eventfds: BTreeSet<EventFd>,
    /// First and last byte.
    pub(crate) coalesced: Vec<(u64, u64)>,
    pub(crate) flush_coalesced: bool,
}

impl RegionModel {
    /// Rule A19.
    pub(crate) fn new(kind: Kind, size: u128) -> RegionModel {
        RegionModel {
            kind,
            address: 0,
            size,
            priority: 0,
            enabled: true,
            readonly: false,
            nonvolatile: false,
            unmergeable: false,
            romd: true,
            target: None,
            alias_offset: 0,
            container: None,
            children: Vec::new(),
            vga_logs: 0,
            eventfds: BTreeSet::new(),
            coalesced: Vec::new(),
            flush_coalesced: false,
        }
    }
}

/// What is inherited on the way down (rules C16 to C18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Inherited {
    pub(crate) readonly: bool,
    pub(crate) nonvolatile: bool,
    pub(crate) unmergeable: bool,
}

impl Inherited {
    fn through(self, region: &RegionModel) -> Inherited {
        Inherited {
            readonly: self.readonly | region.readonly,
            nonvolatile: self.nonvolatile | region.nonvolatile,
            unmergeable: self.unmergeable | region.unmergeable,
        }
    }
}

/// What answers at one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) region: Id,
    pub(crate) offset: u64,
    pub(crate) inherited: Inherited,
    /// The regions on the way, the root first. One region has one place in its container, so this names one
    /// way: neighbouring bytes with the same way were painted in one go.
    pub(crate) path: Vec<Id>,
}

/// What a walk over the whole of a root's tree finds out.
#[derive(Debug)]
pub(crate) enum Survey {
    /// Where anything can begin or end within the address space.
    Edges(BTreeSet<u64>),
    /// Something lies deeper than a rendering follows.
    TooDeep,
    /// More than this oracle cares to look at.
    TooMuch,
}

/// A walk that finds everything within so many visits is one to compare byte by byte.
const EASY_VISITS: usize = 800;

/// How long to look for something that is too deep.
const MOST_VISITS: usize = 20_000;

#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    regions: Vec<Option<RegionModel>>,
    /// Why all memory is tracked, as bits (rule P13).
    pub(crate) global_dirty: u8,
    pub(crate) logs_code: bool,
}

impl Index<Id> for Machine {
    type Output = RegionModel;

    fn index(&self, id: Id) -> &RegionModel {
        self.regions[id].as_ref().expect("the oracle knows the region")
    }
}

impl IndexMut<Id> for Machine {
    fn index_mut(&mut self, id: Id) -> &mut RegionModel {
        self.regions[id].as_mut().expect("the oracle knows the region")
    }
}

impl Machine {
    pub(crate) fn next_id(&self) -> Id {
        self.regions.len()
    }

    /// Puts a region in its place, which is a new one or that of the same region before a rollback.
    pub(crate) fn put(&mut self, id: Id, region: RegionModel) {
        if self.regions.len() <= id {
            self.regions.resize(id + 1, None);
        }
        self.regions[id] = Some(region);
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = Id> {
        (0..self.regions.len()).filter(|&id| self.regions[id].is_some())
    }

    /// Takes out every region that nothing in `held`, no container and no alias keeps alive. A child does not
    /// keep its container. What sees itself through an alias keeps itself, as reference counts have it.
    /// Returns how many went.
    pub(crate) fn remove_unheld(&mut self, held: &BTreeSet<Id>) -> usize {
        let mut gone = 0;
        loop {
            let is_kept = |id: &Id| {
                held.contains(id)
                    || self[*id].container.is_some()
                    || self.ids().any(|alias| self[alias].target == Some(*id))
            };
            let dead: Vec<Id> = self.ids().filter(|id| !is_kept(id)).collect();
            if dead.is_empty() {
                return gone;
            }
            gone += dead.len();
            for id in dead {
                for child in std::mem::take(&mut self[id].children) {
                    self[child].container = None;
                }
                self.regions[id] = None;
            }
        }
    }

    /// How many mapped aliases lead to a region, directly or through others (rule B10).
    pub(crate) fn mapped_via_alias(&self, id: Id) -> usize {
        let leads_here = |mut from: Id| {
            while let Some(target) = self[from].target {
                if target == id {
                    return true;
                }
                from = target;
            }
            false
        };
        self.ids()
            .filter(|&alias| self[alias].container.is_some() && leads_here(alias))
            .count()
    }

    /// Whether `inner` is `outer` or lies somewhere in it.
    pub(crate) fn is_within(&self, inner: Id, outer: Id) -> bool {
        inner == outer
            || self[inner]
                .container
                .is_some_and(|container| self.is_within(container, outer))
    }

    /// Who logs writes to a region (rule C20).
    pub(crate) fn dirty_log_mask(&self, id: Id) -> u8 {
        let region = &self[id];
        let block = region.kind.has_ram_block();
        let mut mask = 0;
        if region.vga_logs > 0 {
            mask |= VGA;
        }
        if self.global_dirty != 0 && (block || region.kind == Kind::Iommu) {
            mask |= MIGRATION;
        }
        if self.logs_code && block {
            mask |= CODE;
        }
        mask
    }

    /// What answers at `address` of a space rooted at `root`: the root's own address counts (rules C2, B12).
    pub(crate) fn look_up(&self, root: Id, address: u64) -> Option<Hit> {
        let base = i128::from(self[root].address);
        self.look(
            root,
            base,
            i128::from(address),
            Inherited::default(),
            &mut Vec::new(),
        )
    }

    /// `base` is where byte 0 of the region lies, which aliases can put anywhere, below zero too (C8, C11).
    fn look(
        &self,
        id: Id,
        base: i128,
        address: i128,
        inherited: Inherited,
        path: &mut Vec<Id>,
    ) -> Option<Hit> {
        let region = &self[id];
        // C3, C9, A17.
        if !region.enabled || address < base || address - base >= size_of(region) {
            return None;
        }
        let inherited = inherited.through(region);
        path.push(id);
        let hit = if let Some(target) = region.target {
            // C4 to C8: byte x of the alias is byte alias_offset + x of the target, wherever that is mapped.
            self.look(
                target,
                base - i128::from(region.alias_offset),
                address,
                inherited,
                path,
            )
        } else {
            // C1: the first that answers hides the others; C24, C25: the region itself fills what they leave.
            let child = region.children.iter().find_map(|&child| {
                self.look(
                    child,
                    base + i128::from(self[child].address),
                    address,
                    inherited,
                    path,
                )
            });
            child.or_else(|| {
                region.kind.terminates().then(|| Hit {
                    region: id,
                    offset: u64::try_from(address - base).expect("a byte of a region has a 64-bit offset"),
                    inherited,
                    path: path.clone(),
                })
            })
        };
        path.pop();
        hit
    }

    /// Visits everything under a root, hidden or not, that has a byte in the address space.
    pub(crate) fn survey(&self, root: Id) -> Survey {
        struct Walk<'a> {
            machine: &'a Machine,
            edges: BTreeSet<u64>,
            visits: usize,
            too_deep: bool,
        }
        impl Walk<'_> {
            fn visit(&mut self, id: Id, base: i128, clip: (i128, i128), depth: usize) {
                let region = &self.machine[id];
                let start = clip.0.max(base);
                let end = clip.1.min(base + size_of(region));
                self.visits += 1;
                if !region.enabled || start >= end || self.too_deep || self.visits > MOST_VISITS {
                    return;
                }
                if depth >= DEEPEST {
                    self.too_deep = true;
                    return;
                }
                // An edge at 2^64 is none: nothing can begin there.
                self.edges.extend(
                    [start, end]
                        .into_iter()
                        .filter_map(|edge| u64::try_from(edge).ok()),
                );
                if let Some(target) = region.target {
                    let base = base - i128::from(region.alias_offset);
                    self.visit(target, base, (start, end), depth + 1);
                }
                for &child in &region.children {
                    let base = base + i128::from(self.machine[child].address);
                    self.visit(child, base, (start, end), depth + 1);
                }
            }
        }
        let mut walk = Walk {
            machine: self,
            edges: BTreeSet::from([0]),
            visits: 0,
            too_deep: false,
        };
        walk.visit(root, i128::from(self[root].address), (0, 1 << 64), 0);
        if walk.too_deep {
            Survey::TooDeep
        } else if walk.visits > EASY_VISITS {
            Survey::TooMuch
        } else {
            Survey::Edges(walk.edges)
        }
    }

    /// Which region a space's view is rendered from, so that spaces share it (rule C30); `None` if that view
    /// is empty. With `lossy`, a region is skipped even if its attributes or its address are lost (C32, C33).
    pub(crate) fn physical_root(&self, mut root: Id, lossy: bool) -> Option<Id> {
        // A region that sees itself as a whole leads nowhere; rendering it is refused.
        for _ in 0..DEEPEST {
            let region = &self[root];
            if !region.enabled {
                return None;
            }
            let plain = !region.readonly && !region.nonvolatile && !region.unmergeable;
            let next = if let Some(target) = region.target {
                let whole = region.alias_offset == 0 && region.size >= self[target].size;
                let lossless = plain && region.address == self[target].address;
                (whole && (lossy || lossless)).then_some(target)
            } else if region.kind.terminates() {
                None
            } else {
                let mut enabled = region.children.iter().filter(|&&child| self[child].enabled);
                match (enabled.next(), enabled.next()) {
                    (None, _) => return None,
                    (Some(&only), None) => {
                        let whole = self[only].address == 0 && region.size >= self[only].size;
                        let lossless = plain && region.address == 0;
                        (whole && (lossy || lossless)).then_some(only)
                    }
                    _ => None,
                }
            };
            match next {
                Some(next) => root = next,
                None => return Some(root),
            }
        }
        Some(root)
    }
}

fn size_of(region: &RegionModel) -> i128 {
    i128::try_from(region.size).expect("sizes are at most 2^64")
}
