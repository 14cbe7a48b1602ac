//! The verbs of a transaction, as changes of the tree: each is journalled.

use super::{Attributes, Extras, Tree};
use crate::dirty::GlobalDirty;
use crate::error::Error;
use crate::ram::{RamBlock, RamError};
use crate::region::{Region, RegionId};

impl Tree {
    /// Puts `sub` into `container`, above the siblings of its priority (rules B1 to B3).
    pub(crate) fn add_subregion(
        &mut self,
        container: &Region,
        address: u64,
        sub: &Region,
        priority: i32,
    ) -> Result<(), Error> {
        if let Some(present) = self.container(sub.id()) {
            return Err(Error::AlreadyMapped {
                region: sub.name().into(),
                container: self.name(present),
                address: self.node(sub.id()).attributes.address,
            });
        }
        if container.alias_target().is_some() {
            return Err(Error::ChildOfAlias {
                alias: container.name().into(),
                region: sub.name().into(),
            });
        }
        let mut above = Some(container.id());
        while let Some(id) = above {
            if id == sub.id() {
                return Err(Error::ContainmentCycle {
                    container: container.name().into(),
                    region: sub.name().into(),
                });
            }
            above = self.container(id);
        }
        let attributes = Attributes {
            address,
            priority,
            ..self.node(sub.id()).attributes
        };
        self.set_attributes(sub, attributes);
        let sequence = self.next_sequence();
        self.link(container, sub, sequence);
        self.journal.linked(container, sub, attributes);
        Ok(())
    }

    /// Takes `sub` out of `container`; its address and priority stay (rule B5).
    pub(crate) fn del_subregion(&mut self, container: &Region, sub: &Region) -> Result<(), Error> {
        let present = self.container(sub.id());
        if present != Some(container.id()) {
            return Err(Error::NotASubregion {
                container: container.name().into(),
                region: sub.name().into(),
                actual: present.map(|actual| self.name(actual)),
            });
        }
        let sequence = self.unlink(container.id(), sub.id());
        self.journal
            .unlinked(container, sub, sequence, self.node(sub.id()).attributes);
        Ok(())
    }

    /// Moves `sub`; where it is mapped it comes to lie above the siblings of its priority (rule B4).
    pub(crate) fn set_address(&mut self, sub: &Region, address: u64) {
        let old = self.node(sub.id()).attributes;
        if old.address == address {
            return;
        }
        let new = Attributes { address, ..old };
        match self
            .container(sub.id())
            .and_then(|container| self.node(container).region())
        {
            None => self.set_attributes(sub, new),
            Some(container) => {
                let sequence = self.unlink(container.id(), sub.id());
                self.journal.unlinked(&container, sub, sequence, old);
                self.set_attributes(sub, new);
                let sequence = self.next_sequence();
                self.link(&container, sub, sequence);
                self.journal.linked(&container, sub, new);
            }
        }
    }

    /// Sets everything that can be set at once; the address only of a region that is mapped nowhere.
    pub(crate) fn set_attributes(&mut self, region: &Region, new: Attributes) {
        let id = region.id();
        let old = self.node(id).attributes;
        if old == new {
            return;
        }
        let before = self.root_step_around(id);
        self.store_attributes(id, new);
        // An alias skips to its target only while it shows the whole of it.
        let reshaped = (old.size, old.address) != (new.size, new.address);
        let aliased = !self.node(id).links().aliases.is_empty();
        self.journal.roots_moved |= self.root_step_around(id) != before || (reshaped && aliased);
        self.journal.set_attributes(region, self.container(id), old, new);
    }

    pub(super) fn store_attributes(&mut self, id: RegionId, new: Attributes) {
        let old = std::mem::replace(&mut self.node_mut(id).attributes, new);
        if let Some(container) = self.container(id) {
            let children = &mut self.node_mut(container).links_mut().children;
            if old.enabled != new.enabled {
                children.toggle_enabled(id, new.enabled);
            }
            if old.size != new.size {
                children.resize(id, new.address, old.size, new.size);
            }
        }
    }

    /// Resizes a region, and its block when the transaction is accepted (rule Q13).
    pub(crate) fn ram_resize(
        &mut self,
        region: &Region,
        block: &RamBlock,
        size: u64,
    ) -> Result<(), RamError> {
        let old = self.node(region.id()).attributes;
        self.journal.resize(block, size, old.size)?;
        let size = size.into();
        self.set_attributes(region, Attributes { size, ..old });
        Ok(())
    }

    /// Sets what few regions have: ioeventfds and coalesced ranges.
    pub(crate) fn set_extras(&mut self, region: &Region, new: Extras) {
        let node = self.node_mut(region.id());
        let old = node.extras.replace(Box::new(new));
        let size = node.attributes.size.bytes();
        self.journal.set_extras(region, size, old);
    }

    /// Starts or ends tracking of all memory.
    pub(crate) fn set_global_dirty(&mut self, global: GlobalDirty, logs_code: bool) {
        let old = (self.global_dirty, self.logs_code);
        (self.global_dirty, self.logs_code) = (global, logs_code);
        self.journal.set_global(old);
    }

    fn next_sequence(&mut self) -> u64 {
        self.next_sequence += 1;
        self.next_sequence
    }

    pub(super) fn link(&mut self, container: &Region, sub: &Region, sequence: u64) {
        let before = self.root_step(container.id());
        let child = self.node_mut(sub.id());
        child.container = Some(container.id());
        child.sequence = sequence;
        let (
            key,
            Attributes {
                address,
                size,
                enabled,
                ..
            },
        ) = (child.key(), child.attributes);
        let children = &mut self.node_mut(container.id()).links_mut().children;
        children.insert(key, sub.clone(), address, size, enabled);
        if children.wants_index() {
            self.index_children(container.id());
        }
        self.count_alias_mapping(sub.id(), true);
        if self.node(container.id()).is_seen {
            self.mark_seen(sub.id());
        }
        self.journal.roots_moved |= self.root_step(container.id()) != before;
    }

    /// Returns the rank it had.
    pub(super) fn unlink(&mut self, container: RegionId, sub: RegionId) -> u64 {
        let before = self.root_step(container);
        let child = self.node_mut(sub);
        child.container = None;
        let (
            key,
            Attributes {
                address,
                size,
                enabled,
                ..
            },
        ) = (child.key(), child.attributes);
        let (sequence, leads_on) = (
            child.sequence,
            child.alias_target.is_some() || child.has_children(),
        );
        self.stale_marks += usize::from(leads_on);
        let removed = self
            .node_mut(container)
            .links_mut()
            .children
            .remove(key, address, size, enabled);
        debug_assert!(removed.is_some(), "parent and child agree");
        self.count_alias_mapping(sub, false);
        self.journal.roots_moved |= self.root_step(container) != before;
        sequence
    }

    fn index_children(&mut self, container: RegionId) {
        let entries: Vec<_> = self
            .children(container)
            .map(|child| {
                let Attributes { address, size, .. } = self.node(child.id()).attributes;
                (child.id(), address, size)
            })
            .collect();
        self.node_mut(container)
            .links_mut()
            .children
            .set_index(entries.into_iter());
    }

    /// Counts a mapped alias at everything it leads to (rule B10).
    pub(super) fn count_alias_mapping(&mut self, alias: RegionId, mapped: bool) {
        let mut next = self.node(alias).alias_target;
        while let Some(target) = next {
            let node = self.node_mut(target);
            if mapped {
                node.mapped_via_alias += 1;
            } else {
                node.mapped_via_alias -= 1;
            }
            next = node.alias_target;
        }
    }
}
