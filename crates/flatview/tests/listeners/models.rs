//! What ready-made listeners are compared with, and what they act on.

use std::collections::BTreeMap;
use std::sync::Mutex;

use flatview::listeners::{DmaMapper, VhostBackend, VhostMemoryRegion};
use flatview::{
    DirtyClients, FlatRange, FlatView, ListenerError, ListenerResult, MemoryListener, MemoryRegionSection,
    RegionKind, Undo,
};

use crate::walk::BAR_AT;

/// Rule X1 as QEMU has it: sections are collected from region_add and region_nop between begin and commit.
#[derive(Default)]
pub(crate) struct QemuVhost {
    pub(crate) collected: Mutex<Vec<FlatRange>>,
    pub(crate) table: Mutex<Vec<VhostMemoryRegion>>,
}

impl QemuVhost {
    fn collect(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        self.collected.lock().unwrap().push(section.range().clone());
        Ok(())
    }
}

impl MemoryListener for QemuVhost {
    fn name(&self) -> &str {
        "qemu-vhost"
    }
    fn wants_nop(&self) -> bool {
        true
    }
    fn begin(&self) -> ListenerResult {
        self.collected.lock().unwrap().clear();
        Ok(())
    }
    fn region_add(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        self.collect(section)
    }
    fn region_nop(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        self.collect(section)
    }
    fn abort(&self, _: &Undo<'_>) -> ListenerResult {
        Ok(())
    }
    fn commit(&self, view: &FlatView) -> ListenerResult {
        let mut collected = std::mem::take(&mut *self.collected.lock().unwrap());
        // A commit that is taken back comes the other way round.
        collected.sort_by_key(|range| range.start());
        let masks = |range: &FlatRange| (range.clone(), range.dirty_log_mask());
        let whole: Vec<_> = view.iter().map(masks).collect();
        assert_eq!(
            collected.iter().map(masks).collect::<Vec<_>>(),
            whole,
            "X1: nothing is left out"
        );

        let mut table: Vec<(VhostMemoryRegion, FlatRange)> = Vec::new();
        for range in collected {
            let Some(next) = vhost_region(&range) else {
                continue;
            };
            if let Some((last, before)) = table.last_mut() {
                let is_next = last.guest_phys_addr + last.memory_size == next.guest_phys_addr
                    && last.userspace_addr + last.memory_size == next.userspace_addr;
                if is_next
                    && before.region() == range.region()
                    && !before.is_unmergeable()
                    && !range.is_unmergeable()
                {
                    last.memory_size += next.memory_size;
                    continue;
                }
            }
            table.push((next, range));
        }
        *self.table.lock().unwrap() = table.into_iter().map(|(region, _)| region).collect();
        Ok(())
    }
}

/// The entry of one section (rule X2).
fn vhost_region(range: &FlatRange) -> Option<VhostMemoryRegion> {
    let is_ram = matches!(range.region().kind(), RegionKind::Ram | RegionKind::RamDevice);
    if !is_ram || range.is_readonly() || range.dirty_log_mask().contains(DirtyClients::VGA) {
        return None;
    }
    let block = range.region().ram_block()?;
    let left = (block.size().bytes() as u64).checked_sub(range.offset_in_region())?;
    let size = (range.size().bytes() as u64).min(left);
    (size != 0).then_some(VhostMemoryRegion {
        guest_phys_addr: range.start(),
        memory_size: size,
        userspace_addr: block.host_address()? as u64 + range.offset_in_region(),
    })
}

/// A backend that remembers what it was sent.
#[derive(Default)]
pub(crate) struct Backend {
    pub(crate) limit: Option<usize>,
    pub(crate) sent: Mutex<Vec<Vec<VhostMemoryRegion>>>,
    pub(crate) failing: Mutex<bool>,
}

impl VhostBackend for Backend {
    fn set_mem_table(&self, table: &[VhostMemoryRegion]) -> Result<(), ListenerError> {
        if std::mem::take(&mut *self.failing.lock().unwrap()) {
            return Err("no".into());
        }
        self.sent.lock().unwrap().push(table.to_vec());
        Ok(())
    }
    fn memslots_limit(&self) -> usize {
        self.limit.unwrap_or(usize::MAX)
    }
}

/// An IOMMU that checks what it is told.
#[derive(Default)]
pub(crate) struct Container(pub(crate) Mutex<ContainerState>);

#[derive(Default)]
pub(crate) struct ContainerState {
    /// By iova: size, where, whether readonly.
    pub(crate) maps: BTreeMap<u64, (u64, usize, bool)>,
    /// IOMMU regions, by first address.
    pub(crate) attached: BTreeMap<u64, String>,
    /// How many calls from now will fail.
    pub(crate) failing: Option<usize>,
}

impl ContainerState {
    fn attempt(&mut self) -> Result<(), ListenerError> {
        match self.failing {
            Some(0) => {
                self.failing = None;
                Err("no".into())
            }
            Some(calls) => {
                self.failing = Some(calls - 1);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl DmaMapper for Container {
    fn dma_map(&self, iova: u64, size: u64, vaddr: usize, readonly: bool) -> Result<(), ListenerError> {
        let mut state = self.0.lock().unwrap();
        // That a RAM device cannot be mapped is no failure: see the tests of the listener itself.
        if vaddr >> 32 != BAR_AT >> 32 {
            state.attempt()?;
        }
        assert!(iova.is_multiple_of(0x1000) && size.is_multiple_of(0x1000) && size != 0);
        let before = state.maps.range(..iova + size).next_back();
        assert!(
            before.is_none_or(|(start, (size, ..))| start + size <= iova),
            "overlap"
        );
        state.maps.insert(iova, (size, vaddr, readonly));
        Ok(())
    }

    fn dma_unmap(&self, iova: u64, size: u64) -> Result<(), ListenerError> {
        let mut state = self.0.lock().unwrap();
        state.attempt()?;
        if let Some((mapped, ..)) = state.maps.remove(&iova) {
            assert_eq!(mapped, size, "an unmap must not split a mapping");
        }
        Ok(())
    }

    fn iommu_attach(&self, section: &MemoryRegionSection<'_>) -> Result<(), ListenerError> {
        let mut state = self.0.lock().unwrap();
        state.attempt()?;
        let before = state
            .attached
            .insert(section.start(), section.region().name().into());
        assert_eq!(before, None);
        Ok(())
    }

    fn iommu_detach(&self, section: &MemoryRegionSection<'_>) -> Result<(), ListenerError> {
        let mut state = self.0.lock().unwrap();
        state.attempt()?;
        assert!(state.attached.remove(&section.start()).is_some());
        Ok(())
    }
}

/// What a VFIO container with 4 KiB host pages and 8 KiB IOMMU pages has to map for a view: rules X7, X8,
/// worked out page by page.
pub(crate) fn expected_pages(view: &FlatView) -> BTreeMap<u64, (usize, bool)> {
    let mut pages = BTreeMap::new();
    for range in view.iter() {
        let kind = range.region().kind();
        let is_ram = matches!(kind, RegionKind::Ram | RegionKind::RamDevice);
        let host = range
            .region()
            .ram_block()
            .and_then(|block| Some((block.host_address()?, block.size())));
        let (true, Some((host, block_size))) = (is_ram, host) else {
            continue;
        };
        if range.start() >> 63 == 1 || (range.start() ^ range.offset_in_region()) & 0xfff != 0 {
            continue;
        }
        let whole = (range.start() >> 12..=range.last() >> 12).filter(|page| {
            let (start, last) = (page << 12, page << 12 | 0xfff);
            let in_block = |address| {
                let offset = address - range.start() + range.offset_in_region();
                u128::from(offset) < block_size.bytes()
            };
            range.start() <= start && last <= range.last() && in_block(last)
        });
        let whole: Vec<u64> = whole.collect();
        let fills_iommu_pages =
            whole.first().is_none_or(|page| page % 2 == 0) && whole.len().is_multiple_of(2);
        if kind == RegionKind::RamDevice && !fills_iommu_pages {
            continue;
        }
        for page in whole {
            let offset = (page << 12) - range.start() + range.offset_in_region();
            pages.insert(
                page << 12,
                (host + usize::try_from(offset).unwrap(), range.is_readonly()),
            );
        }
    }
    pages
}
