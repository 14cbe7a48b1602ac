//! Transactions: the verbs that change the tree.

use std::fmt;
use std::sync::Arc;

use crate::address::{AddressRange, Size};
use crate::error::Error;
use crate::ioeventfd::{EventNotifier, IoEventFd};
use crate::memory::Shared;
use crate::primitive::MutexGuard;
use crate::region::{Region, RegionKind};
use crate::tree::{Attributes, Extras, Tree};

/// The changes of one [`Memory::update`](crate::Memory::update): all of them happen, or none.
///
/// The names are QEMU's, less `memory_region_`. A verb that fails changes nothing, and the closure may go on
/// after it; only an error that the closure returns undoes the transaction.
pub struct Transaction<'a> {
    shared: &'a Arc<Shared>,
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("journal", self.shared.tree.lock().journal())
            .finish()
    }
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(shared: &'a Arc<Shared>) -> Transaction<'a> {
        Transaction { shared }
    }

    /// Maps `sub` at `offset` of `container`, at priority 0 (rule B1).
    ///
    /// Overlap is not an error: see [`add_subregion_overlap`](Self::add_subregion_overlap).
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRegion`], [`Error::AlreadyMapped`], [`Error::ContainmentCycle`],
    /// [`Error::ChildOfAlias`].
    pub fn add_subregion(&mut self, container: &Region, offset: u64, sub: &Region) -> Result<(), Error> {
        self.add_subregion_overlap(container, offset, sub, 0)
    }

    /// Maps `sub` at `offset` of `container`, at `priority` (rule B2).
    ///
    /// Where siblings overlap, the higher priority is seen; at equal priority, the one mapped or moved last
    /// (rule B3). Priorities compare among the children of one container only (rule C26).
    ///
    /// # Errors
    ///
    /// As [`add_subregion`](Self::add_subregion).
    pub fn add_subregion_overlap(
        &mut self,
        container: &Region,
        offset: u64,
        sub: &Region,
        priority: i32,
    ) -> Result<(), Error> {
        self.shared.check(container)?;
        self.tree(sub)?.add_subregion(container, offset, sub, priority)
    }

    /// Unmaps `sub` from `container`. Its address and priority are kept (rule B5).
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRegion`], [`Error::NotASubregion`].
    pub fn del_subregion(&mut self, container: &Region, sub: &Region) -> Result<(), Error> {
        self.shared.check(container)?;
        self.tree(sub)?.del_subregion(container, sub)
    }

    /// Moves a region to `address` in its container, on top of siblings of equal priority (rule B4). Nothing
    /// happens if it is there already. Of a region that is mapped nowhere, the address is only stored.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRegion`].
    pub fn set_address(&mut self, region: &Region, address: u64) -> Result<(), Error> {
        self.tree(region)?.set_address(region, address);
        Ok(())
    }

    /// Resizes a region of any kind (rule B6). RAM that is larger than its block shows no more than the block
    /// has when it is accessed.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRegion`].
    pub fn set_size(&mut self, region: &Region, size: impl Into<Size>) -> Result<(), Error> {
        let size = size.into();
        self.set(region, |attributes| attributes.size = size)
    }

    /// Lets a RAM block have `new_size` bytes, and the region with it (rule Q13).
    ///
    /// The region gets this very size, the block as many whole pages. When listeners have accepted the change and the
    /// new views are there, the block's [callback](crate::RamBlockBuilder::on_resize) and
    /// [notifiers](crate::RamBlockNotifier) hear of it; all its pages are dirty then, for whoever logs (rule P18).
    /// A transaction that fails changes nothing and says nothing. Other regions of the same block keep their sizes.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRegion`]; [`Error::WrongKind`] if there is no block; [`Error::Ram`] with
    /// [`RamError::NotResizeable`](crate::RamError::NotResizeable) if it would need another number of pages, or
    /// [`RamError::BeyondMaximum`](crate::RamError::BeyondMaximum).
    pub fn ram_resize(&mut self, region: &Region, new_size: u64) -> Result<(), Error> {
        let mut tree = self.tree(region)?;
        let Some(block) = region.ram_block() else {
            drop(tree);
            return Self::want(region, false, "made of a RAM block");
        };
        tree.ram_resize(region, block, new_size)
            .map_err(|source| Error::Ram {
                region: region.name().into(),
                source,
            })
    }

    /// Enables or disables a region. A disabled region disappears with all that is in it, and hides nothing
    /// (rule B7).
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRegion`].
    pub fn set_enabled(&mut self, region: &Region, enabled: bool) -> Result<(), Error> {
        self.set(region, |attributes| attributes.enabled = enabled)
    }

    /// Makes what is seen through a region of any kind read-only, or writable again (rule D1).
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRegion`].
    pub fn set_readonly(&mut self, region: &Region, readonly: bool) -> Result<(), Error> {
        self.set(region, |attributes| attributes.readonly = readonly)
    }

    /// Marks what is seen through a region of any kind as non-volatile memory, or not (rule D6).
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRegion`].
    pub fn set_nonvolatile(&mut self, region: &Region, nonvolatile: bool) -> Result<(), Error> {
        self.set(region, |attributes| attributes.nonvolatile = nonvolatile)
    }

    /// Keeps what is seen through a region of any kind apart from its neighbours, or not (rule D7).
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRegion`].
    pub fn set_unmergeable(&mut self, region: &Region, unmergeable: bool) -> Result<(), Error> {
        self.set(region, |attributes| attributes.unmergeable = unmergeable)
    }

    /// Lets an alias begin at byte `offset` of its target (rule B8): bank switching.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRegion`]; [`Error::WrongKind`] if it is no alias.
    pub fn set_alias_offset(&mut self, alias: &Region, offset: u64) -> Result<(), Error> {
        Self::want(alias, alias.kind() == RegionKind::Alias, "an alias")?;
        self.set(alias, |attributes| attributes.alias_offset = offset)
    }

    /// Lets a ROM device be read directly, or through its device (rule D4).
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRegion`]; [`Error::WrongKind`] if it is no ROM device.
    pub fn rom_device_set_romd(&mut self, region: &Region, romd_mode: bool) -> Result<(), Error> {
        Self::want(region, region.kind() == RegionKind::RomDevice, "a ROM device")?;
        self.set(region, |attributes| attributes.romd_mode = romd_mode)
    }

    /// Starts or ends one use of a region's dirty log by a display (rule P2). Uses are counted.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRegion`]; [`Error::LogCount`] if more uses end than began, or more than 255 begin.
    pub fn set_log(&mut self, region: &Region, on: bool) -> Result<(), Error> {
        let mut tree = self.tree(region)?;
        let attributes = tree.node(region.id()).attributes;
        let count = attributes.vga_logs;
        let vga_logs = if on {
            count.checked_add(1)
        } else {
            count.checked_sub(1)
        };
        let vga_logs = vga_logs.ok_or_else(|| Error::LogCount {
            region: region.name().into(),
            count,
            on,
        })?;
        tree.set_attributes(
            region,
            Attributes {
                vga_logs,
                ..attributes
            },
        );
        Ok(())
    }

    /// Says whether somebody translates code from guest memory, so that writes to any RAM are logged for
    /// [`DirtyClients::CODE`](crate::DirtyClients::CODE) (rule P4).
    pub fn set_code_logging(&mut self, on: bool) {
        let mut tree = self.shared.tree.lock();
        let global = tree.global_dirty;
        if tree.logs_code != on {
            tree.set_global_dirty(global, on);
        }
    }

    /// Lets writes of `size` bytes (0: any length) of the value `datamatch` (`None`: any) at `offset` signal
    /// `notifier` instead of reaching the device (rule I1).
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRegion`], [`Error::BadEventFdSize`]; [`Error::BadRange`] if it does not lie within the
    /// region; [`Error::EventFd`] if the region has this very one already.
    pub fn add_eventfd(
        &mut self,
        region: &Region,
        offset: u64,
        size: u32,
        datamatch: Option<u64>,
        notifier: &EventNotifier,
    ) -> Result<(), Error> {
        let mut tree = self.tree(region)?;
        if !matches!(size, 0 | 1 | 2 | 4 | 8) {
            return Err(Error::BadEventFdSize {
                region: region.name().into(),
                size,
            });
        }
        check_within(&tree, region, offset, u64::from(size.max(1)).into())?;
        let eventfd = IoEventFd {
            address: offset,
            size,
            datamatch,
            notifier: notifier.clone(),
        };
        let mut extras = extras_of(&tree, region);
        let Err(at) = extras.ioeventfds.binary_search(&eventfd) else {
            return Err(Error::EventFd {
                region: region.name().into(),
                address: offset,
                present: true,
            });
        };
        extras.ioeventfds.insert(at, eventfd);
        tree.set_extras(region, extras);
        Ok(())
    }

    /// Takes back exactly what [`add_eventfd`](Self::add_eventfd) gave (rule I2, without I5).
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRegion`]; [`Error::EventFd`] if the region does not have it.
    pub fn del_eventfd(
        &mut self,
        region: &Region,
        offset: u64,
        size: u32,
        datamatch: Option<u64>,
        notifier: &EventNotifier,
    ) -> Result<(), Error> {
        let mut tree = self.tree(region)?;
        let eventfd = IoEventFd {
            address: offset,
            size,
            datamatch,
            notifier: notifier.clone(),
        };
        let mut extras = extras_of(&tree, region);
        let Ok(at) = extras.ioeventfds.binary_search(&eventfd) else {
            return Err(Error::EventFd {
                region: region.name().into(),
                address: offset,
                present: false,
            });
        };
        extras.ioeventfds.remove(at);
        tree.set_extras(region, extras);
        Ok(())
    }

    /// Lets writes to `size` bytes at `offset` be collected and delivered later (rule J2), and marks
    /// the region: accesses to it are to come after what was collected. Who delivers is told at
    /// [`Memory::drain_coalesced`](crate::Memory::drain_coalesced).
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRegion`]; [`Error::BadRange`] if the range does not lie within the region.
    pub fn add_coalescing(
        &mut self,
        region: &Region,
        offset: u64,
        size: impl Into<Size>,
    ) -> Result<(), Error> {
        let mut tree = self.tree(region)?;
        let range = check_within(&tree, region, offset, size.into())?;
        let mut extras = extras_of(&tree, region);
        extras.coalesced.push(range);
        extras.flush_coalesced = true;
        tree.set_extras(region, extras);
        Ok(())
    }

    /// Lets writes to all of a region be collected (rule J1).
    ///
    /// # Errors
    ///
    /// As [`add_coalescing`](Self::add_coalescing).
    pub fn set_coalescing(&mut self, region: &Region) -> Result<(), Error> {
        let mut tree = self.tree(region)?;
        let size = tree.node(region.id()).attributes.size;
        let all = check_within(&tree, region, 0, size)?;
        let mut extras = extras_of(&tree, region);
        extras.coalesced = vec![all];
        extras.flush_coalesced = true;
        tree.set_extras(region, extras);
        Ok(())
    }

    /// Lets no write of a region be collected any more (rule J3).
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRegion`].
    pub fn clear_coalescing(&mut self, region: &Region) -> Result<(), Error> {
        let mut tree = self.tree(region)?;
        let mut extras = extras_of(&tree, region);
        if !extras.coalesced.is_empty() {
            extras.coalesced.clear();
            extras.flush_coalesced = false;
            tree.set_extras(region, extras);
        }
        Ok(())
    }

    /// Says whether accesses to a region are to come after what was collected (rule J4): a mark for whoever
    /// [delivers](crate::Memory::drain_coalesced). A region with coalesced ranges of its own keeps it.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRegion`].
    pub fn set_flush_coalesced(&mut self, region: &Region, flush: bool) -> Result<(), Error> {
        let mut tree = self.tree(region)?;
        let mut extras = extras_of(&tree, region);
        let flush = flush || !extras.coalesced.is_empty();
        if extras.flush_coalesced != flush {
            extras.flush_coalesced = flush;
            tree.set_extras(region, extras);
        }
        Ok(())
    }

    fn tree(&self, region: &Region) -> Result<MutexGuard<'a, Tree>, Error> {
        self.shared.check(region)?;
        self.shared.take_out_dropped();
        Ok(self.shared.tree.lock())
    }

    fn set(&mut self, region: &Region, change: impl FnOnce(&mut Attributes)) -> Result<(), Error> {
        let mut tree = self.tree(region)?;
        let mut attributes = tree.node(region.id()).attributes;
        change(&mut attributes);
        tree.set_attributes(region, attributes);
        Ok(())
    }

    fn want(region: &Region, is: bool, wanted: &'static str) -> Result<(), Error> {
        match is {
            true => Ok(()),
            false => Err(Error::WrongKind {
                region: region.name().into(),
                wanted,
                actual: region.kind(),
            }),
        }
    }
}

fn extras_of(tree: &Tree, region: &Region) -> Extras {
    tree.node(region.id())
        .extras
        .as_deref()
        .cloned()
        .unwrap_or_default()
}

fn check_within(tree: &Tree, region: &Region, offset: u64, size: Size) -> Result<AddressRange, Error> {
    let limit = tree.node(region.id()).attributes.size;
    AddressRange::new(offset, size)
        .filter(|range| u128::from(range.last()) < limit.bytes())
        .ok_or_else(|| Error::BadRange {
            start: offset,
            size: size.bytes(),
            within: region.name().into(),
            limit: limit.bytes(),
        })
}
