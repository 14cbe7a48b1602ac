//! A machine's memory: the tree of regions, the address spaces that look at it, the listeners that hear of
//! it.

use std::fmt;
use std::sync::{Arc, Weak};

use crate::address::{AddressRange, Size};
use crate::coalesced::Coalesced;
use crate::compat::Compat;
use crate::dirty::{self, DirtyBitmap, DirtyClients, GlobalDirty};
use crate::error::Error;
use crate::primitive::Mutex;
use crate::publish::{Retired, Unused};
use crate::ram::{RamBlock, RamList};
use crate::receipt::Receipt;
use crate::region::{Backing, Home, Region, RegionBuilder};
use crate::registry::{ListenerEntry, Registry, ViewSlot};
use crate::space::AddressSpace;
use crate::thread_lock::{ThreadLock, ThreadLockGuard};
use crate::transaction::Transaction;
use crate::tree::{Journal, MAX_DEPTH, Tree};
use crate::view::{FlatRange, FlatView};

/// The memory of one machine. There are no globals; many can live in one process.
///
/// Cheap to clone. It keeps its address spaces' listeners and, through containers and spaces, its regions
/// alive. Devices, which regions keep alive in turn, hold a [`WeakMemory`], so that dropping the machine
/// leaves nothing: address spaces that somebody still has show nothing from then on.
///
/// ```
/// use flatview::{Memory, RamBlock, Size};
///
/// let memory = Memory::new();
/// let system = memory.region("system").container(Size::MAX);
/// let ram = memory.region("pc.ram").ram(RamBlock::unbacked(0x800_0000));
/// let space = memory.create_address_space("memory", &system)?;
/// memory.update(|tx| tx.add_subregion(&system, 0, &ram))?;
/// assert_eq!(space.view().find(0x1234).unwrap().region(), &ram);
/// # Ok::<(), flatview::Error>(())
/// ```
#[derive(Clone)]
pub struct Memory(Arc<MemoryInner>);

struct MemoryInner {
    shared: Arc<Shared>,
}

/// A handle to a [`Memory`] that does not keep it alive.
#[derive(Clone)]
pub struct WeakMemory(Weak<MemoryInner>);

/// What the handles of one memory share.
///
/// # Lock order
///
/// `updating` is held for a whole update, listeners' callbacks included. `tree` and then `registry` are held
/// for moments, never while foreign code runs: a callback, or the drop of anything that may own a device.
///
/// The lock within `ram` comes last: it is held for moments, and no other is taken under it. A block's own lock, of
/// the lists that it is on, is taken right before it. Neither is held while notifiers run, or a block is dropped:
/// whoever upgrades a handle under the list's lock drops it later.
pub(crate) struct Shared {
    /// One update at a time, and who makes it.
    updating: ThreadLock,
    pub(crate) coalesced: Coalesced,
    pub(crate) tree: Mutex<Tree>,
    pub(crate) registry: Mutex<Registry>,
    pub(crate) ram: Arc<RamList>,
    pub(crate) home: Arc<Home>,
    pub(crate) retired: Arc<Retired<FlatView>>,
}

/// The right to change things, while it lives. What was changed and not committed is undone with it.
pub(crate) struct UpdateGuard<'a> {
    shared: &'a Shared,
    lock: Option<ThreadLockGuard<'a>>,
    garbage: Garbage,
}

/// What may own a device, whose drop may call back into this memory: it goes when no lock is held.
#[derive(Default)]
pub(crate) struct Garbage {
    pub(crate) journals: Vec<Journal>,
    pub(crate) regions: Vec<Region>,
    pub(crate) views: Vec<Unused<FlatView>>,
    pub(crate) listeners: Vec<ListenerEntry>,
    pub(crate) slots: Vec<ViewSlot>,
    pub(crate) blocks: Vec<RamBlock>,
}

impl UpdateGuard<'_> {
    pub(crate) fn garbage(&mut self) -> &mut Garbage {
        &mut self.garbage
    }
}

impl Drop for UpdateGuard<'_> {
    fn drop(&mut self) {
        self.garbage.journals.push(self.shared.tree.lock().roll_back());
        loop {
            let leaving = self.shared.registry.lock().take_leaving();
            if leaving.is_empty() {
                break;
            }
            for id in leaving {
                let (entry, _) = self.shared.unregister_locked(id);
                self.garbage.listeners.extend(entry);
            }
        }
        self.lock = None;
    }
}

impl Shared {
    /// Waits for other threads' updates to end.
    ///
    /// # Errors
    ///
    /// [`Error::NestedUpdate`]; [`Error::Inconsistent`] once listeners and views disagree.
    pub(crate) fn begin_update(&self) -> Result<UpdateGuard<'_>, Error> {
        let guard = self.begin_teardown()?;
        if let Some((failure, rollback)) = &self.registry.lock().inconsistent {
            return Err(Error::Inconsistent {
                failure: failure.clone(),
                rollback: rollback.clone(),
            });
        }
        Ok(guard)
    }

    /// As [`begin_update`](Self::begin_update), for what is still possible when listeners and views disagree.
    pub(crate) fn begin_teardown(&self) -> Result<UpdateGuard<'_>, Error> {
        let lock = self.updating.enter().ok_or(Error::NestedUpdate)?;
        Ok(UpdateGuard {
            shared: self,
            lock: Some(lock),
            garbage: Garbage::default(),
        })
    }

    /// Whether this thread is in an update already.
    pub(crate) fn is_updating_here(&self) -> bool {
        self.updating.is_held_here()
    }

    /// Takes regions out of the tree whose last handle is gone, and what only they kept.
    ///
    /// Their children are mapped nowhere then. Dropping those may run a device's code: call this where no
    /// lock is held.
    pub(crate) fn take_out_dropped(&self) {
        loop {
            let dropped = self.home.take_dropped();
            if dropped.is_empty() {
                return;
            }
            let orphans = self.tree.lock().remove_dropped(dropped);
            drop(orphans);
        }
    }

    /// Puts a new region into the tree.
    pub(crate) fn insert(self: &Arc<Self>, builder: RegionBuilder<'_>, backing: Backing) -> Region {
        self.take_out_dropped();
        let attributes = builder.attributes;
        let (region, clients) = {
            let mut tree = self.tree.lock();
            let region = tree.insert(attributes, |id| {
                Region::new(id, Arc::clone(&self.home), builder, backing)
            });
            // All of memory may be tracked already.
            let clients = tree.dirty_log_mask(region.id());
            (region, clients)
        };
        if let Some(block) = region.ram_block() {
            if block.inner().log.add_wanted(self.key(), clients) {
                dirty::barrier::all_threads();
            }
            block.name_if_none(region.name());
            self.ram.attach(block);
        }
        region
    }

    /// Different for each memory that there is.
    pub(crate) fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl Memory {
    /// An empty memory.
    #[expect(
        clippy::new_without_default,
        reason = "two empty memories are not the same thing"
    )]
    pub fn new() -> Memory {
        Memory::with_compat(Compat::empty())
    }

    /// An empty memory that copies the given bugs of QEMU.
    pub fn with_compat(compat: Compat) -> Memory {
        Memory(Arc::new(MemoryInner {
            shared: Arc::new_cyclic(|shared| Shared {
                updating: ThreadLock::default(),
                coalesced: Coalesced::default(),
                tree: Mutex::new(Tree::new(compat)),
                registry: Mutex::new(Registry::new()),
                ram: Arc::default(),
                home: Arc::new(Home::new(shared.clone())),
                retired: Arc::new(Retired::new()),
            }),
        }))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// A handle that does not keep the memory alive.
    pub fn downgrade(&self) -> WeakMemory {
        WeakMemory(Arc::downgrade(&self.0))
    }

    /// Begins a region of that name; see [`RegionBuilder`].
    pub fn region(&self, name: &str) -> RegionBuilder<'_> {
        RegionBuilder::new(self, name)
    }

    /// Makes an address space that looks at `root` (rule H1). Its view is there at once.
    ///
    /// The space lives until its last handle is dropped or it is [destroyed](AddressSpace::destroy).
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRegion`], [`Error::NestedUpdate`], and what rendering can say.
    pub fn create_address_space(&self, name: &str, root: &Region) -> Result<AddressSpace, Error> {
        self.check(root)?;
        self.shared().create_space(name, root)
    }

    /// The address spaces, in order of creation.
    pub fn address_spaces(&self) -> Vec<AddressSpace> {
        self.shared().registry.lock().spaces()
    }

    /// Changes the tree: everything that `change` does happens in one commit, or nothing does.
    ///
    /// Listeners hear of the difference and may refuse it; then readers see the new views. If `change` fails
    /// or panics, or a listener refuses or fails, all of it is undone.
    ///
    /// # Errors
    ///
    /// What `change` returns; [`Error::NestedUpdate`] within an update or a listener of this memory;
    /// [`Error::RenderingTooDeep`] and [`Error::RenderingTooLarge`]; [`Error::Refused`],
    /// [`Error::ListenerFailed`] and [`Error::Inconsistent`].
    pub fn update<T>(
        &self,
        change: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
    ) -> Result<Receipt<T>, Error> {
        let (value, number) = self.shared().update(change)?;
        Ok(Receipt::new(self.shared(), number, value))
    }

    /// Starts tracking all of guest memory for one more reason (rule P13). The first reason calls
    /// `log_global_start` and then `log_start` on every range that is memory.
    ///
    /// # Errors
    ///
    /// [`Error::NestedUpdate`]; [`Error::ListenerFailed`], with those who had started stopped again.
    pub fn global_dirty_log_start(&self, why: GlobalDirty) -> Result<Receipt, Error> {
        let number = self.shared().global_dirty_log_start(why)?;
        Ok(Receipt::new(self.shared(), number, ()))
    }

    /// Ends tracking for this reason. When none is left, every range hears `log_stop`, then the listeners
    /// `log_global_stop` (rule P14).
    ///
    /// # Errors
    ///
    /// [`Error::NestedUpdate`]; [`Error::ListenerFailed`], after which tracking has ended if it was `log_global_stop`
    /// that failed, and goes on if not.
    pub fn global_dirty_log_stop(&self, why: GlobalDirty) -> Result<Receipt, Error> {
        let number = self.shared().global_dirty_log_stop(why)?;
        Ok(Receipt::new(self.shared(), number, ()))
    }

    /// Brings in all dirty pages from every listener, then tells them all that it is done (rules P15, P16).
    ///
    /// # Errors
    ///
    /// [`Error::NestedUpdate`]; [`Error::ListenerFailed`] with the first failure, after all were asked.
    pub fn global_dirty_log_sync(&self, last_stage: bool) -> Result<(), Error> {
        self.shared().dirty_log_sync(None, last_stage)
    }

    /// Brings in the dirty pages of one region from every listener (rule P9).
    ///
    /// # Errors
    ///
    /// As [`global_dirty_log_sync`](Self::global_dirty_log_sync), and [`Error::ForeignRegion`].
    pub fn sync_dirty_bitmap(&self, region: &Region) -> Result<(), Error> {
        self.check(region)?;
        self.shared().dirty_log_sync(Some(region), false)
    }

    /// Tells listeners that the dirty pages of `range`, offsets in `region`, were taken note of (rule P12).
    ///
    /// # Errors
    ///
    /// As [`sync_dirty_bitmap`](Self::sync_dirty_bitmap).
    pub fn clear_dirty_bitmap(&self, region: &Region, range: AddressRange) -> Result<(), Error> {
        self.check(region)?;
        self.shared().dirty_log_clear(region, range)
    }

    /// Takes note of what a client has to know of `bytes`, offsets in `region`, and begins anew (rule P10): listeners
    /// bring in what they know, the marks are moved into a bitmap, listeners are told.
    ///
    /// Whatever was written before a mark was taken can be read when this returns. Marks of neighbouring pages stay
    /// (unlike P10). The bitmap's offsets are those of the region.
    ///
    /// # Errors
    ///
    /// As [`sync_dirty_bitmap`](Self::sync_dirty_bitmap); [`Error::WrongKind`] without memory behind the region,
    /// [`Error::BadRange`] beyond it. After [`Error::ListenerFailed`] all marks are still there.
    pub fn snapshot_and_clear_dirty(
        &self,
        region: &Region,
        bytes: AddressRange,
        client: DirtyClients,
    ) -> Result<DirtyBitmap, Error> {
        let block = region.block_behind(bytes)?;
        let harvest = block.harvest(bytes, client);
        self.sync_dirty_bitmap(region)?;
        take_dirty(block, harvest.finish(), bytes, client, || {
            self.clear_dirty_bitmap(region, bytes)?;
            self.shared().dirty_log_after_sync()
        })
    }

    /// Whether something within `bytes`, offsets in `region`, was marked for a client, whose marks there are gone
    /// then (rule P6). Listeners are told, but not asked first.
    ///
    /// # Errors
    ///
    /// As [`snapshot_and_clear_dirty`](Self::snapshot_and_clear_dirty).
    pub fn reset_dirty(
        &self,
        region: &Region,
        bytes: AddressRange,
        client: DirtyClients,
    ) -> Result<bool, Error> {
        let block = region.block_behind(bytes)?;
        let bitmap = DirtyBitmap::new(bytes);
        let taken = take_dirty(block, bitmap, bytes, client, || {
            self.clear_dirty_bitmap(region, bytes)
        })?;
        Ok(!taken.is_empty())
    }

    /// What answers first at or after `offset` of `region`, within `size` bytes: `memory_region_find` (rule
    /// B20).
    ///
    /// `region` need not be the root of a space: the first space, in order of creation, whose root contains
    /// it is asked. The range returned is clipped to what was asked; its region may be one that overlaps
    /// `region` rather than `region` itself. Aliases of `region` are not followed upwards.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRegion`]; [`Error::BadRange`] if `size` is zero.
    pub fn find(
        &self,
        region: &Region,
        offset: u64,
        size: impl Into<Size>,
    ) -> Result<Option<(AddressSpace, FlatRange)>, Error> {
        self.check(region)?;
        let size = size.into();
        if size.is_zero() {
            return Err(Error::BadRange {
                start: offset,
                size: 0,
                within: region.name().into(),
                limit: Size::MAX.bytes(),
            });
        }
        let (mut start, mut top) = (i128::from(offset), region.id());
        let space = {
            let tree = self.shared().tree.lock();
            loop {
                start += i128::from(tree.node(top).attributes.address);
                match tree.container(top) {
                    Some(container) => top = container,
                    None => break,
                }
            }
            self.shared().registry.lock().first_rooted_at(top)
        };
        let window = AddressRange::clamp(start, start.saturating_add_unsigned(size.bytes()));
        let (Some(space), Some(window)) = (space, window) else {
            return Ok(None);
        };
        let found = space
            .view()
            .meeting(window)
            .next()
            .and_then(|range| range.clipped(window));
        Ok(found.map(|range| (space, range)))
    }

    /// Whether something other than `container` itself answers at `offset` of it (rule B19).
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRegion`].
    pub fn present(&self, container: &Region, offset: u64) -> Result<bool, Error> {
        let found = self.find(container, offset, 1)?;
        Ok(found.is_some_and(|(_, range)| range.region() != container))
    }

    /// Whether a handle is one of ours, and may lead an alias.
    pub(crate) fn check(&self, region: &Region) -> Result<(), Error> {
        self.shared().check(region)
    }

    /// Whether one more alias may lead to `target`.
    pub(crate) fn check_alias_chain(&self, target: &Region) -> Result<(), Error> {
        if self.shared().tree.lock().alias_depth(target.id()) + 1 >= MAX_DEPTH {
            return Err(Error::AliasChainTooLong {
                target: target.name().into(),
                limit: MAX_DEPTH,
            });
        }
        Ok(())
    }
}

/// Takes a client's marks, beside those in `bitmap`, and tells of it. If that fails, the marks are back.
fn take_dirty(
    block: &RamBlock,
    mut bitmap: DirtyBitmap,
    bytes: AddressRange,
    client: DirtyClients,
    tell: impl FnOnce() -> Result<(), Error>,
) -> Result<DirtyBitmap, Error> {
    block.take_dirty(bytes, client, &mut bitmap);
    tell().inspect_err(|_| block.put_back_dirty(&bitmap, client))?;
    Ok(bitmap)
}

impl Shared {
    pub(crate) fn check(self: &Arc<Self>, region: &Region) -> Result<(), Error> {
        match region.belongs_to(self) {
            true => Ok(()),
            false => Err(Error::ForeignRegion {
                region: region.name().into(),
            }),
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("address_spaces", &self.address_spaces())
            .finish_non_exhaustive()
    }
}

/// Listeners hear of everything as gone, then everything that nobody else holds goes.
impl Drop for MemoryInner {
    fn drop(&mut self) {
        self.shared.unregister_all();
        let registered = self.shared.registry.lock().take();
        let blocks = self.shared.ram.blocks();
        for block in &blocks {
            block
                .inner()
                .log
                .set_wanted(self.shared.key(), DirtyClients::empty());
        }
        let regions = self.shared.tree.lock().clear();
        drop((registered, blocks, regions));
        self.shared.ram.close();
        // No commit comes any more that would free what readers gave up since the last one; and that may lead to a
        // device that holds the space which holds the list.
        self.shared.retired.is_quiesced(u64::MAX);
    }
}

impl WeakMemory {
    /// The memory, unless it is gone.
    pub fn upgrade(&self) -> Option<Memory> {
        self.0.upgrade().map(Memory)
    }
}

impl fmt::Debug for WeakMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakMemory")
    }
}
