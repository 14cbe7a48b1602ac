//! The same jobs done by vm-memory, vm-device and the plain structures that bound what is possible.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use arc_swap::ArcSwap;
use vm_device::bus::{MmioAddress, MmioAddressOffset, MmioRange};
use vm_device::device_manager::{IoManager, MmioManager};
use vm_device::{DeviceMmio, bus};
use vm_memory::{
    Bytes, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryBackend, GuestMemoryMmap,
    GuestMemoryRegion,
};

use crate::scenes::{BANK_SIZE, BANK_STRIDE, Device, WINDOW_SIZE, window_address};

/// What every structure here keeps about a window.
#[derive(Clone, Debug)]
pub struct Entry {
    start: u64,
    last: u64,
    device: Arc<Device>,
}

/// The entry of window number `index`.
pub fn entry(index: usize) -> Entry {
    let start = window_address(index);
    Entry {
        start,
        last: start + WINDOW_SIZE - 1,
        device: Arc::new(Device(index as u64)),
    }
}

/// A sorted vector behind an [`ArcSwap`]: each change clones it and splices.
#[derive(Debug)]
pub struct ClonedVec(ArcSwap<Vec<Entry>>);

impl ClonedVec {
    /// With so many windows.
    pub fn new(count: usize) -> ClonedVec {
        ClonedVec(ArcSwap::from_pointee((0..count).map(entry).collect()))
    }

    /// Takes window number `index` out and publishes.
    pub fn remove(&self, index: usize) -> Option<Entry> {
        let start = window_address(index);
        let mut entries = Vec::clone(&self.0.load());
        let at = entries.binary_search_by_key(&start, |entry| entry.start).ok()?;
        let removed = entries.remove(at);
        self.0.store(Arc::new(entries));
        Some(removed)
    }

    /// Puts a window in and publishes.
    pub fn insert(&self, entry: Entry) {
        let mut entries = Vec::clone(&self.0.load());
        let at = entries.partition_point(|other| other.start < entry.start);
        entries.insert(at, entry);
        self.0.store(Arc::new(entries));
    }
}

/// A map behind a lock: what most VMMs have.
#[derive(Debug, Default)]
pub struct LockedMap(RwLock<BTreeMap<u64, Entry>>);

impl LockedMap {
    /// With so many windows.
    pub fn new(count: usize) -> LockedMap {
        LockedMap::from_entries((0..count).map(entry))
    }

    /// With so many ranges of [`Banks`](crate::scenes::Banks).
    pub fn banks(count: usize) -> LockedMap {
        LockedMap::from_entries((0..count as u64).map(|index| Entry {
            start: index * BANK_STRIDE,
            last: index * BANK_STRIDE + BANK_SIZE - 1,
            device: Arc::new(Device(index)),
        }))
    }

    /// With these entries.
    pub fn from_entries(entries: impl Iterator<Item = Entry>) -> LockedMap {
        LockedMap(RwLock::new(entries.map(|entry| (entry.start, entry)).collect()))
    }

    /// Takes window number `index` out.
    ///
    /// # Panics
    ///
    /// If the lock is poisoned.
    pub fn remove(&self, index: usize) -> Option<Entry> {
        let mut map = self.0.write().expect("nobody panics with it");
        map.remove(&window_address(index))
    }

    /// Puts a window in.
    ///
    /// # Panics
    ///
    /// If the lock is poisoned.
    pub fn insert(&self, entry: Entry) {
        let mut map = self.0.write().expect("nobody panics with it");
        map.insert(entry.start, entry);
    }

    /// Looks an address up.
    ///
    /// # Panics
    ///
    /// If the lock is poisoned.
    #[inline]
    pub fn find(&self, address: u64) -> Option<u64> {
        let map = self.0.read().expect("nobody panics with it");
        let (_, entry) = map.range(..=address).next_back()?;
        (address <= entry.last).then(|| entry.start ^ entry.device.0)
    }
}

/// The least that a look-up with a change counter can be: one atomic load and a binary search over bare
/// starts.
#[derive(Debug)]
pub struct BareStarts {
    generation: AtomicU64,
    starts: Vec<u64>,
}

impl BareStarts {
    /// With so many windows.
    pub fn windows(count: usize) -> BareStarts {
        BareStarts::new((0..count).map(window_address))
    }

    /// With so many ranges of [`Banks`](crate::scenes::Banks).
    pub fn banks(count: usize) -> BareStarts {
        BareStarts::new((0..count as u64).map(|index| index * BANK_STRIDE))
    }

    fn new(starts: impl Iterator<Item = u64>) -> BareStarts {
        BareStarts {
            generation: AtomicU64::new(0),
            starts: starts.collect(),
        }
    }

    /// Only the atomic load.
    #[inline]
    pub fn load(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// What a commit does to the counter.
    pub fn touch(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// The start of the last range that begins at or before `address`.
    #[inline]
    pub fn find(&self, address: u64) -> Option<u64> {
        if self.load() == u64::MAX {
            return None;
        }
        let after = self.starts.partition_point(|&start| start <= address);
        Some(self.starts[after.checked_sub(1)?])
    }
}

impl DeviceMmio for Device {
    fn mmio_read(&self, _: MmioAddress, _: MmioAddressOffset, data: &mut [u8]) {
        data.fill(0);
    }

    fn mmio_write(&self, _: MmioAddress, _: MmioAddressOffset, _: &[u8]) {}
}

/// vm-device's bus.
pub struct VmDevice(IoManager);

impl fmt::Debug for VmDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VmDevice")
    }
}

impl VmDevice {
    /// With so many windows.
    ///
    /// # Errors
    ///
    /// None that is expected.
    pub fn new(count: usize) -> Result<VmDevice, bus::Error> {
        let mut bus = VmDevice(IoManager::new());
        (0..count).try_for_each(|index| bus.insert(index))?;
        Ok(bus)
    }

    /// Takes window number `index` out.
    pub fn remove(&mut self, index: usize) {
        self.0.deregister_mmio(MmioAddress(window_address(index)));
    }

    /// Puts it in.
    ///
    /// # Errors
    ///
    /// None that is expected.
    pub fn insert(&mut self, index: usize) -> Result<(), bus::Error> {
        let range = MmioRange::new(MmioAddress(window_address(index)), WINDOW_SIZE)?;
        self.0.register_mmio(range, Arc::new(Device(index as u64)))
    }

    /// Reads 4 bytes.
    #[inline]
    pub fn read(&self, address: u64) -> u64 {
        let mut bytes = [0; 4];
        let _ = self.0.mmio_read(MmioAddress(address), &mut bytes);
        u32::from_le_bytes(bytes).into()
    }

    /// Looks an address up.
    #[inline]
    pub fn find(&self, address: u64) -> Option<u64> {
        let (range, _) = self.0.mmio_device(MmioAddress(address))?;
        Some(range.base().0)
    }
}

/// vm-memory's guest memory, mapped but untouched.
#[derive(Debug)]
pub struct VmMemory {
    fixed: GuestMemoryMmap<()>,
    atomic: GuestMemoryAtomic<GuestMemoryMmap<()>>,
}

impl VmMemory {
    /// With so many ranges of [`Banks`](crate::scenes::Banks).
    ///
    /// # Panics
    ///
    /// If the host has not that much address space.
    pub fn banks(count: usize) -> VmMemory {
        let size = usize::try_from(BANK_SIZE).expect("a small number");
        let ranges: Vec<_> = (0..count as u64)
            .map(|index| (GuestAddress(index * BANK_STRIDE), size))
            .collect();
        let fixed = GuestMemoryMmap::from_ranges(&ranges).expect("enough address space");
        VmMemory {
            atomic: GuestMemoryAtomic::new(fixed.clone()),
            fixed,
        }
    }

    /// Looks an address up in memory that cannot change.
    #[inline]
    pub fn find_region(&self, address: u64) -> Option<u64> {
        let region = self.fixed.find_region(GuestAddress(address))?;
        Some(region.start_addr().0)
    }

    /// Looks an address up in memory that can change: what a [`Reader`](flatview::Reader) does.
    #[inline]
    pub fn find_region_atomic(&self, address: u64) -> Option<u64> {
        let memory = self.atomic.memory();
        let region = memory.find_region(GuestAddress(address))?;
        Some(region.start_addr().0)
    }

    /// Reads 8 bytes in memory that cannot change.
    #[inline]
    pub fn read(&self, address: u64) -> Option<u64> {
        // One page of each range, so that it is the look-up that is measured and not the caches.
        self.fixed.read_obj(GuestAddress(address & !0xf000)).ok()
    }
}
