//! Regions: what a guest's memory is made of, before it is flattened.

mod builder;
mod owner;

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

pub use builder::RegionBuilder;
pub use owner::{Owner, OwnerKind, OwnerReference};

use crate::access::{AccessRules, MemoryRegionOps};
use crate::address::{AddressRange, Size};
use crate::discard::RamDiscardManager;
use crate::error::Error;
use crate::ioeventfd::{EventNotifier, IoEventFd, signalled};
use crate::iommu::{Iommu, IommuOps};
use crate::memory::Shared;
use crate::primitive::{ArcSlot, Mutex};
use crate::ram::RamBlock;

/// The place of a region in its memory's tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RegionId(pub(crate) u32);

impl RegionId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A memory region: a cheap handle that can be cloned; two are equal if they mean the same region.
///
/// What a region *is* (its name, its kind, what backs it, its owner) never changes and is read from the
/// handle. What the tree says about it (where it is mapped, its size, its attributes) is changed by a
/// [`Transaction`](crate::Transaction) and read with [`Region::state`].
///
/// A container keeps its children alive, an alias its target, a view what it shows, an address space its
/// root. A region that nothing keeps alive leaves the tree.
#[derive(Clone)]
pub struct Region(Arc<RegionInner>);

// In this order: what an access needs lies together, in front.
#[repr(C)]
pub(crate) struct RegionInner {
    backing: Backing,
    is_guarded: bool,
    /// Whether it has, or had, ioeventfds.
    is_armed: AtomicBool,
    owner: Option<Owner>,
    parent: Option<Owner>,
    id: RegionId,
    home: Arc<Home>,
    name: Box<str>,
    /// Its ioeventfds as of the last commit.
    eventfds: OnceLock<ArcSlot<Vec<IoEventFd>>>,
}

/// What all regions of one memory have in common.
pub(crate) struct Home {
    memory: Weak<Shared>,
    /// Regions whose last handle went away; the tree takes them out before it is next asked or changed.
    ///
    /// Dropping a handle must be possible anywhere, under the tree's lock too, so it cannot take that lock.
    dropped: Mutex<Vec<RegionId>>,
    /// Few regions have one. Never dropped under the lock.
    discard_managers: Mutex<HashMap<RegionId, Arc<dyn RamDiscardManager>>>,
}

impl Home {
    pub(crate) fn new(memory: Weak<Shared>) -> Home {
        Home {
            memory,
            dropped: Mutex::new(Vec::new()),
            discard_managers: Mutex::new(HashMap::new()),
        }
    }

    pub(crate) fn take_dropped(&self) -> Vec<RegionId> {
        std::mem::take(&mut self.dropped.lock())
    }

    pub(crate) fn discard_manager(&self, region: RegionId) -> Option<Arc<dyn RamDiscardManager>> {
        self.discard_managers.lock().get(&region).cloned()
    }

    /// What was there before is to be dropped where no lock is held.
    pub(crate) fn set_discard_manager(
        &self,
        region: RegionId,
        manager: Option<Arc<dyn RamDiscardManager>>,
    ) -> Option<Arc<dyn RamDiscardManager>> {
        let mut managers = self.discard_managers.lock();
        match manager {
            Some(manager) => managers.insert(region, manager),
            None => managers.remove(&region),
        }
    }
}

impl Drop for RegionInner {
    fn drop(&mut self) {
        // Before the number can be given to another region.
        drop(self.home.set_discard_manager(self.id, None));
        self.home.dropped.lock().push(self.id);
    }
}

/// What a region is made of.
pub(crate) enum Backing {
    Container,
    Ram(RamBlock),
    RamDevice(RamBlock),
    RomDevice(RamBlock, DeviceOps),
    Mmio(DeviceOps),
    Reservation,
    Alias(Region),
    Iommu(Box<Iommu>),
}

/// A device, and how it is accessed.
pub(crate) struct DeviceOps {
    pub(crate) ops: Arc<dyn MemoryRegionOps>,
    /// As the device said when the region was made, made sane.
    pub(crate) rules: AccessRules,
}

impl DeviceOps {
    pub(crate) fn new(ops: Arc<dyn MemoryRegionOps>) -> DeviceOps {
        let rules = ops.access_rules().normalized();
        DeviceOps { ops, rules }
    }
}

/// What a region can be (rules A1 to A15).
///
/// ROM is RAM with the readonly attribute, as in QEMU (rule A12): see [`RegionState::readonly`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum RegionKind {
    /// Renders nothing of its own; offsets and clips its children (rule A1).
    Container,
    /// Backed by a RAM block; ROM if readonly (rules A4, A12).
    Ram,
    /// RAM of a device: mapped like RAM, accessed with the exact width by everybody else (rule A11).
    RamDevice,
    /// Reads come from a RAM block, writes go to a device; without romd mode, both go there (rule A13).
    RomDevice,
    /// A device answers (rule A2).
    Mmio,
    /// Nobody answers, but nothing below shines through: addresses the host kernel handles (rule A3).
    Reservation,
    /// A window onto another region (rule A14).
    Alias,
    /// Accesses are translated and go on in another address space (rule A15).
    Iommu,
}

impl RegionKind {
    /// Whether it is RAM, that of devices included: what may be mapped for others, and be there in part.
    pub(crate) fn is_ram(self) -> bool {
        matches!(self, RegionKind::Ram | RegionKind::RamDevice)
    }
}

impl Region {
    pub(crate) fn new(id: RegionId, home: Arc<Home>, builder: RegionBuilder<'_>, backing: Backing) -> Region {
        let RegionBuilder {
            name,
            owner,
            parent,
            is_guarded,
            ..
        } = builder;
        Region(Arc::new(RegionInner {
            id,
            home,
            name,
            backing,
            owner,
            parent,
            is_guarded,
            is_armed: AtomicBool::new(false),
            eventfds: OnceLock::new(),
        }))
    }

    pub(crate) fn id(&self) -> RegionId {
        self.0.id
    }

    pub(crate) fn backing(&self) -> &Backing {
        &self.0.backing
    }

    pub(crate) fn belongs_to(&self, memory: &Arc<Shared>) -> bool {
        std::ptr::eq(self.0.home.memory.as_ptr(), Arc::as_ptr(memory))
    }

    pub(crate) fn home(&self) -> &Home {
        &self.0.home
    }

    /// A handle that does not keep the region alive: for the device behind it.
    pub fn downgrade(&self) -> WeakRegion {
        WeakRegion(Arc::downgrade(&self.0))
    }

    /// The name it was made with. Names need not be unique.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What it is.
    pub fn kind(&self) -> RegionKind {
        match self.0.backing {
            Backing::Container => RegionKind::Container,
            Backing::Ram(_) => RegionKind::Ram,
            Backing::RamDevice(_) => RegionKind::RamDevice,
            Backing::RomDevice(..) => RegionKind::RomDevice,
            Backing::Mmio(_) => RegionKind::Mmio,
            Backing::Reservation => RegionKind::Reservation,
            Backing::Alias(_) => RegionKind::Alias,
            Backing::Iommu(_) => RegionKind::Iommu,
        }
    }

    /// Whether it answers accesses itself: every kind but containers and aliases. A terminating region with
    /// children fills the gaps between them (rule B13).
    pub fn terminates(&self) -> bool {
        !matches!(self.0.backing, Backing::Container | Backing::Alias(_))
    }

    /// The device or object it belongs to.
    pub fn owner(&self) -> Option<&Owner> {
        self.0.owner.as_ref()
    }

    /// The object that has it in the tree of objects, where that is not its owner (rule A24).
    pub fn parent(&self) -> Option<&Owner> {
        self.0.parent.as_ref()
    }

    /// Lets writes signal these ioeventfds from now on.
    pub(crate) fn arm(&self, eventfds: &[IoEventFd]) {
        if !eventfds.is_empty() || self.0.is_armed.load(Ordering::Relaxed) {
            let slot = self.0.eventfds.get_or_init(|| ArcSlot::new(Arc::default()));
            slot.swap(Arc::new(eventfds.to_vec()));
            self.0.is_armed.store(true, Ordering::Release);
        }
    }

    /// What a write signals instead of reaching the device; offsets and values are the device's.
    #[inline]
    pub(crate) fn signalled(&self, offset: u64, size: u8, value: u64) -> Option<EventNotifier> {
        if !self.0.is_armed.load(Ordering::Acquire) {
            return None;
        }
        let eventfds = self.0.eventfds.get()?.load();
        signalled(&eventfds, offset, size, value).map(|eventfd| eventfd.notifier.clone())
    }

    /// Different for each region that there is.
    pub(crate) fn key(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// What the re-entrancy guard takes for one: the owner, or the region that has none; 0 without a guard.
    pub(crate) fn guard_key(&self) -> usize {
        match &self.0.owner {
            _ if !self.0.is_guarded => 0,
            Some(owner) => owner.guard_key(),
            None => self.key(),
        }
    }

    /// What an alias is a window onto; `None` for every other kind.
    pub fn alias_target(&self) -> Option<&Region> {
        match &self.0.backing {
            Backing::Alias(target) => Some(target),
            _ => None,
        }
    }

    /// The region at the end of a chain of aliases; itself if it is no alias.
    pub fn alias_end(&self) -> &Region {
        let mut region = self;
        while let Some(target) = region.alias_target() {
            region = target;
        }
        region
    }

    /// The memory behind RAM, RAM devices and ROM devices. Aliases are not followed.
    pub fn ram_block(&self) -> Option<&RamBlock> {
        match &self.0.backing {
            Backing::Ram(block) | Backing::RamDevice(block) | Backing::RomDevice(block, _) => Some(block),
            _ => None,
        }
    }

    /// The block behind `bytes`, offsets in the region.
    ///
    /// # Errors
    ///
    /// [`Error::WrongKind`] without memory behind the region; [`Error::BadRange`] beyond it.
    pub(crate) fn block_behind(&self, bytes: AddressRange) -> Result<&RamBlock, Error> {
        let block = self.ram_block().filter(|block| block.is_accessible());
        let block = block.ok_or_else(|| Error::WrongKind {
            region: self.name().into(),
            wanted: "a region with memory that can be accessed",
            actual: self.kind(),
        })?;
        let limit = block.size().bytes();
        if u128::from(bytes.last()) >= limit {
            return Err(Error::BadRange {
                start: bytes.start(),
                size: bytes.size().bytes(),
                within: self.name().into(),
                limit,
            });
        }
        Ok(block)
    }

    /// Marks bytes, offsets in the region, as written for everybody who logs (rule P5); what a device does after it
    /// changed memory by other ways than an access, the memory of a ROM device for instance (rule D5).
    ///
    /// # Errors
    ///
    /// [`Error::WrongKind`] without memory behind the region; [`Error::BadRange`] beyond it.
    pub fn set_dirty(&self, bytes: AddressRange) -> Result<(), Error> {
        self.block_behind(bytes)?.set_dirty(bytes);
        Ok(())
    }

    /// The device behind MMIO and ROM devices. Aliases are not followed.
    pub fn ops(&self) -> Option<&Arc<dyn MemoryRegionOps>> {
        match &self.0.backing {
            Backing::Mmio(device) | Backing::RomDevice(_, device) => Some(&device.ops),
            _ => None,
        }
    }

    /// The translation behind an IOMMU region. Aliases are not followed.
    pub fn iommu_ops(&self) -> Option<&Arc<dyn IommuOps>> {
        match &self.0.backing {
            Backing::Iommu(iommu) => Some(&iommu.ops),
            _ => None,
        }
    }

    /// What the tree says about the region now. Within a transaction that is what the transaction has made
    /// of it so far.
    ///
    /// # Errors
    ///
    /// [`Error::MemoryDropped`] if the [`Memory`](crate::Memory) is gone.
    pub fn state(&self) -> Result<RegionState, Error> {
        let shared = self.shared()?;
        shared.take_out_dropped();
        Ok(shared.tree.lock().state(self.id()))
    }

    /// The children of a region, in the order in which they are rendered: highest priority first, at equal
    /// priority the newest first (rule B3).
    ///
    /// # Errors
    ///
    /// [`Error::MemoryDropped`] if the [`Memory`](crate::Memory) is gone.
    pub fn subregions(&self) -> Result<Vec<Region>, Error> {
        let shared = self.shared()?;
        shared.take_out_dropped();
        let tree = shared.tree.lock();
        Ok(tree.children(self.id()).cloned().collect())
    }

    pub(crate) fn shared(&self) -> Result<Arc<Shared>, Error> {
        self.0.home.memory.upgrade().ok_or_else(|| Error::MemoryDropped {
            what: self.name().into(),
        })
    }
}

impl fmt::Debug for RegionInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegionInner({:?})", self.name)
    }
}

impl PartialEq for Region {
    fn eq(&self, other: &Region) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Region {}

impl Hash for Region {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({:?}, {:?})", self.name(), self.kind())
    }
}

/// A handle that does not keep its [`Region`] alive.
#[derive(Clone, Debug)]
pub struct WeakRegion(Weak<RegionInner>);

impl WeakRegion {
    /// The region, unless it is gone.
    pub fn upgrade(&self) -> Option<Region> {
        self.0.upgrade().map(Region)
    }
}

/// What the tree says about a region at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegionState {
    /// The container it is mapped in.
    pub container: Option<Region>,
    /// Its offset in the container, in bytes; kept after it was unmapped (rule B5).
    pub address: u64,
    /// Its size.
    pub size: Size,
    /// Its priority among its siblings; higher wins. Kept after it was unmapped.
    pub priority: i32,
    /// Whether it and its subtree are rendered at all (rule B7).
    pub enabled: bool,
    /// Whether what is seen through it is read-only (rule C16). For RAM this means ROM.
    pub readonly: bool,
    /// Whether what is seen through it is non-volatile memory (rule C17).
    pub nonvolatile: bool,
    /// Whether what is seen through it must not be merged with its neighbours (rule C18).
    pub unmergeable: bool,
    /// Whether a ROM device is read directly (rule A13); true for every other kind (rule C19).
    pub romd_mode: bool,
    /// Which byte of the target an alias begins at; 0 for every other kind.
    pub alias_offset: u64,
    /// How many mapped aliases lead to it, directly or through other aliases (rule B10).
    pub mapped_via_alias: u32,
    /// Who logs its dirty pages now.
    pub dirty_log_mask: crate::dirty::DirtyClients,
    /// Its ioeventfds, sorted, with offsets in the region.
    pub ioeventfds: Vec<IoEventFd>,
    /// The parts whose writes may be coalesced, as offsets in the region, in the order they were added.
    pub coalesced: Vec<AddressRange>,
    /// Whether accesses to it are to come after writes that were collected (rule J4): a mark.
    pub flush_coalesced: bool,
}

impl RegionState {
    /// Whether it is mapped, in a container or through an alias (rule B11). Says nothing about whether an
    /// address space sees it.
    pub fn is_mapped(&self) -> bool {
        self.container.is_some() || self.mapped_via_alias != 0
    }
}
