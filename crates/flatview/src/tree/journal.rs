//! What a transaction has done to the tree: how to undo it, and what it damaged.

use super::{Attributes, Extras, Tree};
use crate::address::{AddressRange, Size};
use crate::dirty::GlobalDirty;
use crate::ram::{RamBlock, RamError, Resize};
use crate::region::{Region, RegionId};

/// Bytes of a region, in its own coordinates, that may look different now. They may lie beyond its size:
/// that is where it ended before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) region: RegionId,
    pub(crate) range: AddressRange,
}

/// The handles in it keep every region alive that a verb named. A container that is damaged because of a
/// child may be gone before the transaction ends.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    undo: Vec<Undo>,
    pub(crate) damage: Vec<Damage>,
    /// Regions whose own address changed. A view rooted at one of them moves as a whole (rule B12).
    pub(crate) readdressed: Vec<RegionId>,
    /// Whether spaces may have to be rendered from other regions now.
    pub(crate) roots_moved: bool,
    /// Whether every view may look different now.
    pub(crate) everything: bool,
    /// Whether other clients may log a block than before.
    pub(crate) logs_moved: bool,
    /// Blocks that are to have other sizes.
    pub(crate) resizes: Vec<Resize>,
}

#[derive(Debug)]
enum Undo {
    Linked {
        container: Region,
        sub: Region,
    },
    Unlinked {
        container: Region,
        sub: Region,
        sequence: u64,
    },
    Attributes {
        region: Region,
        old: Attributes,
    },
    Extras {
        region: Region,
        old: Option<Box<Extras>>,
    },
    Global {
        old: (GlobalDirty, bool),
    },
}

impl Journal {
    /// Whether no view can look different, and no block is resized.
    pub(crate) fn is_clean(&self) -> bool {
        self.damage.is_empty()
            && self.readdressed.is_empty()
            && !self.roots_moved
            && !self.everything
            && self.resizes.is_empty()
    }

    /// Notes a block's new size, in place of an earlier one.
    pub(super) fn resize(&mut self, block: &RamBlock, size: u64, region_size: Size) -> Result<(), RamError> {
        let earlier = self.resizes.iter_mut().find(|resize| resize.is_of(block));
        let pending = earlier.as_ref().map(|resize| resize.size());
        let region_size = earlier
            .as_ref()
            .map_or(region_size, |resize| resize.region_size());
        let resize = Resize::new(block, pending, size, region_size)?;
        match earlier {
            Some(earlier) => *earlier = resize,
            None => self.resizes.push(resize),
        }
        Ok(())
    }

    /// The regions whose ioeventfds may be others.
    pub(crate) fn rearmed(&self) -> impl Iterator<Item = &Region> {
        self.undo.iter().filter_map(|step| match step {
            Undo::Extras { region, .. } => Some(region),
            _ => None,
        })
    }

    pub(super) fn linked(&mut self, container: &Region, sub: &Region, attributes: Attributes) {
        self.damage_window(container.id(), attributes);
        self.undo.push(Undo::Linked {
            container: container.clone(),
            sub: sub.clone(),
        });
    }

    pub(super) fn unlinked(&mut self, container: &Region, sub: &Region, sequence: u64, old: Attributes) {
        self.damage_window(container.id(), old);
        self.undo.push(Undo::Unlinked {
            container: container.clone(),
            sub: sub.clone(),
            sequence,
        });
    }

    /// `container` is where the region is mapped.
    ///
    /// What a change damages is written down in the container's coordinates at once: what comes later in the
    /// transaction may move the region, and damages the place where it was by what it was then.
    pub(super) fn set_attributes(
        &mut self,
        region: &Region,
        container: Option<RegionId>,
        old: Attributes,
        new: Attributes,
    ) {
        if old.address != new.address {
            self.readdressed.push(region.id());
        }
        self.logs_moved |= (old.vga_logs > 0) != (new.vga_logs > 0);
        // Where it is and what is above it matter to its container only, and a disabled region shows nothing.
        let looks = |of: Attributes| Attributes {
            address: 0,
            priority: 0,
            size: old.size,
            ..of
        };
        let (shorter, longer) = (old.size.min(new.size).bytes(), old.size.max(new.size).bytes());
        if old.enabled || new.enabled {
            let from = if looks(old) == looks(new) { shorter } else { 0 };
            self.damage_own(region.id(), from, longer);
            if let Some(container) = container {
                let address = u128::from(new.address);
                self.damage_own(container, address + from, address + longer);
            }
        }
        self.undo.push(Undo::Attributes {
            region: region.clone(),
            old,
        });
    }

    pub(super) fn set_extras(&mut self, region: &Region, size: u128, old: Option<Box<Extras>>) {
        self.damage_own(region.id(), 0, size);
        self.undo.push(Undo::Extras {
            region: region.clone(),
            old,
        });
    }

    pub(super) fn set_global(&mut self, old: (GlobalDirty, bool)) {
        self.everything = true;
        self.logs_moved = true;
        self.undo.push(Undo::Global { old });
    }

    /// Damages what a child with these attributes covers in its container.
    fn damage_window(&mut self, container: RegionId, child: Attributes) {
        if child.enabled {
            let start = u128::from(child.address);
            self.damage_own(container, start, start + child.size.bytes());
        }
    }

    fn damage_own(&mut self, region: RegionId, start: u128, end: u128) {
        let end = end.min(1 << 64);
        if start < end {
            let bound = |value: u128| u64::try_from(value).unwrap_or(u64::MAX);
            if let Some(range) = AddressRange::from_bounds(bound(start), bound(end - 1)) {
                self.damage.push(Damage { region, range });
            }
        }
    }

    pub(super) fn undo(&mut self, tree: &mut Tree) {
        for step in self.undo.iter_mut().rev() {
            match step {
                Undo::Linked { container, sub } => {
                    tree.unlink(container.id(), sub.id());
                }
                Undo::Unlinked {
                    container,
                    sub,
                    sequence,
                } => tree.link(container, sub, *sequence),
                Undo::Attributes { region, old } => tree.store_attributes(region.id(), *old),
                Undo::Extras { region, old } => tree.node_mut(region.id()).extras = old.take(),
                Undo::Global { old } => (tree.global_dirty, tree.logs_code) = *old,
            }
        }
    }
}
