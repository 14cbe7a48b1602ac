//! The DMA mappings of a VFIO container.
//!
//! A device that is passed through reads and writes the guest's memory on its own, through the host's IOMMU.
//! [`VfioListener`] keeps the IOMMU's page tables equal to the map of the device's address space, range by
//! range, as soon as it hears of a change: there is no table to replace as a whole.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;
use tracing::{debug, warn};

use super::dma::{DmaMapper, DmaMapping};
use super::host::HostMemory;
use crate::address::AddressRange;
use crate::discard::RamDiscardManager;
use crate::listener::{ListenerResult, MemoryListener, MemoryRegionSection, Undo};
use crate::primitive::Mutex;
use crate::region::RegionKind;
use crate::view::FlatRange;

/// What a [`VfioListener`] cannot do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VfioError {
    /// A page size is no power of two.
    #[error("a page cannot have {size:#x} bytes")]
    BadPageSize {
        /// The size that was given.
        size: u64,
    },

    /// The mapper does not follow IOMMUs.
    #[error(
        "IOMMU region `{region}` is in the way of DMA, and this container cannot follow its translations"
    )]
    NoIommuSupport {
        /// The region's name.
        region: Box<str>,
    },

    /// The mapper does not follow discard managers.
    #[error("RAM region `{region}` is there in part only, and this container cannot follow which part")]
    NoDiscardSupport {
        /// The region's name.
        region: Box<str>,
    },

    /// A change failed half way, and what had been done of it could not be undone.
    #[error("{failure}; then the IOMMU mappings could not be restored: {rollback}")]
    NotRestored {
        /// What failed first.
        failure: Box<str>,
        /// What failed while it was put back.
        rollback: Box<str>,
    },
}

/// Keeps the DMA mappings of a VFIO container equal to the map.
///
/// Mapped is RAM of every kind, ROM and read-only ranges for reading only, and RAM devices. It needs host
/// memory, and only whole host pages of it are mapped (rule X8): what does not fill a page, a device does not
/// reach. Not mapped are:
///
/// - what begins in the upper half of the 64-bit space: a guest sizing a 64-bit BAR puts it there for a moment
///   (rule X7);
/// - RAM that lies at another offset within a host page than it has in its region, with a warning (rule X7);
/// - RAM devices that do not fill whole pages of the IOMMU (rule X8), or that the container refuses to map:
///   other devices can live without reaching them;
/// - every range of any other kind.
///
/// IOMMU regions are handed to [`DmaMapper::iommu_attach`] (rule X10), RAM with a discard manager to
/// [`DmaMapper::ram_discard_attach`] (rule S11).
///
/// The regions are kept alive for as long as they are mapped.
///
/// ```
/// use std::sync::Arc;
/// use flatview::listeners::{DmaMapper, VfioListener};
/// use flatview::{ListenerError, Memory, RamBlock, Size};
///
/// struct Container;
///
/// impl DmaMapper for Container {
///     fn dma_map(&self, iova: u64, size: u64, vaddr: usize, readonly: bool) -> Result<(), ListenerError> {
///         println!("VFIO_IOMMU_MAP_DMA {iova:#x} {size:#x} {vaddr:#x} {readonly}");
///         Ok(())
///     }
///     fn dma_unmap(&self, iova: u64, size: u64) -> Result<(), ListenerError> {
///         println!("VFIO_IOMMU_UNMAP_DMA {iova:#x} {size:#x}");
///         Ok(())
///     }
/// }
///
/// let memory = Memory::new();
/// let system = memory.region("system").container(Size::MAX);
/// let space = memory.create_address_space("bus master", &system)?;
/// let ram = memory.region("ram").ram(RamBlock::foreign(0x10_0000, 0x7f00_0000_0000));
/// let registers = memory.region("registers").reservation(0x10);
/// memory.update(|tx| {
///     tx.add_subregion(&system, 0, &ram)?;
///     tx.add_subregion_overlap(&system, 0x8010, &registers, 1)
/// })?;
///
/// let vfio = Arc::new(VfioListener::new("vfio0", Container));
/// let _registration = space.register(vfio.clone())?;
/// let mapped: Vec<_> = vfio.mappings().iter().map(|map| (map.iova, map.size, map.vaddr)).collect();
/// // The page with the registers stays out.
/// assert_eq!(mapped, [(0, 0x8000, 0x7f00_0000_0000), (0x9000, 0xf_7000, 0x7f00_0000_9000)]);
/// # Ok::<(), flatview::Error>(())
/// ```
pub struct VfioListener<M> {
    name: Box<str>,
    mapper: M,
    host_page_size: u64,
    iommu_page_size: u64,
    /// Never locked while the mapper runs.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By iova.
    mapped: BTreeMap<u64, Mapped>,
    /// A change that is half done for ever.
    not_restored: Option<VfioError>,
}

struct Mapped {
    mapping: DmaMapping,
    #[expect(dead_code, reason = "held only to be dropped: it keeps the memory alive")]
    range: FlatRange,
}

/// Who says what of a section is mapped. It stays the same for as long as the section is there.
enum Guide {
    Iommu,
    Manager(Arc<dyn RamDiscardManager>),
}

impl<M: DmaMapper> VfioListener<M> {
    /// A listener of that name for one container, with pages of 4 KiB.
    pub fn new(name: &str, mapper: M) -> VfioListener<M> {
        VfioListener {
            name: name.into(),
            mapper,
            host_page_size: 0x1000,
            iommu_page_size: 0x1000,
            state: Mutex::new(State::default()),
        }
    }

    /// With other page sizes: of the host, and the smallest that the IOMMU has.
    ///
    /// # Errors
    ///
    /// [`VfioError::BadPageSize`] if one is no power of two.
    pub fn with_page_sizes(mut self, host: u64, iommu: u64) -> Result<VfioListener<M>, VfioError> {
        for size in [host, iommu] {
            if !size.is_power_of_two() {
                return Err(VfioError::BadPageSize { size });
            }
        }
        (self.host_page_size, self.iommu_page_size) = (host, iommu);
        Ok(self)
    }

    /// What maps.
    pub fn mapper(&self) -> &M {
        &self.mapper
    }

    /// What is mapped now, less what IOMMU regions translate and discard managers populate; ascending.
    pub fn mappings(&self) -> Vec<DmaMapping> {
        self.state
            .lock()
            .mapped
            .values()
            .map(|mapped| mapped.mapping)
            .collect()
    }

    /// Whether a device may use a range at all (rule X7).
    fn is_reachable(&self, range: &FlatRange) -> bool {
        range.start() < 1 << 63 && self.is_aligned(range)
    }

    /// Whether a page of the region is a page of the space.
    fn is_aligned(&self, range: &FlatRange) -> bool {
        range.start() % self.host_page_size == range.offset_in_region() % self.host_page_size
    }

    /// The whole host pages of some addresses (rule X8).
    fn whole_pages(&self, range: AddressRange) -> Option<AddressRange> {
        let start = range.start().checked_next_multiple_of(self.host_page_size)?;
        let end = (u128::from(range.last()) + 1) & !(u128::from(self.host_page_size) - 1);
        AddressRange::from_bounds(start, u64::try_from(end.checked_sub(1)?).ok()?)
    }

    /// The mapping of a range of memory, if it is to have one.
    fn mapping_of(&self, range: &FlatRange) -> Option<DmaMapping> {
        let memory = HostMemory::behind(range).filter(|_| self.is_reachable(range))?;
        let pages = self.whole_pages(memory.range())?;
        let (iova, size) = (pages.start(), pages.size().to_u64()?);
        if range.region().kind() == RegionKind::RamDevice
            && (iova % self.iommu_page_size != 0 || size % self.iommu_page_size != 0)
        {
            debug!(
                listener = &*self.name,
                ?range,
                "a RAM device does not fill pages of the IOMMU"
            );
            return None;
        }
        let skipped = usize::try_from(iova - memory.range().start()).ok()?;
        Some(DmaMapping {
            iova,
            size,
            vaddr: memory.address() + skipped,
            readonly: range.is_readonly(),
        })
    }

    /// What says which parts of a section are mapped, and when.
    fn guide(range: &FlatRange) -> Option<Guide> {
        match range.region().kind() {
            RegionKind::Iommu => Some(Guide::Iommu),
            _ => range.region().ram_discard_manager().map(Guide::Manager),
        }
    }

    fn attach(&self, section: &MemoryRegionSection<'_>, guide: &Guide) -> ListenerResult {
        match guide {
            Guide::Iommu => self.mapper.iommu_attach(section),
            Guide::Manager(manager) => self.mapper.ram_discard_attach(section, manager),
        }
    }

    /// The addresses of a guided section that a device may use, if any.
    fn guided_pages(&self, range: &FlatRange) -> Option<AddressRange> {
        self.whole_pages(range.range())
            .filter(|_| self.is_reachable(range))
    }

    fn map(&self, range: &FlatRange) -> ListenerResult {
        if !self.is_aligned(range) {
            warn!(
                listener = &*self.name,
                ?range,
                "DMA cannot reach a range that is not aligned to host pages"
            );
        }
        let Some(mapping) = self.mapping_of(range) else {
            return Ok(());
        };
        let DmaMapping {
            iova,
            size,
            vaddr,
            readonly,
        } = mapping;
        if let Err(error) = self.mapper.dma_map(iova, size, vaddr, readonly) {
            if range.region().kind() != RegionKind::RamDevice {
                return Err(error);
            }
            warn!(listener = &*self.name, ?range, %error, "DMA cannot reach a RAM device");
            return Ok(());
        }
        let range = range.clone();
        self.state.lock().mapped.insert(iova, Mapped { mapping, range });
        Ok(())
    }

    fn unmap(&self, range: &FlatRange) -> ListenerResult {
        let Some(DmaMapping { iova, size, .. }) = self.mapping_of(range) else {
            return Ok(());
        };
        // A RAM device may not have been mapped.
        if !self.state.lock().mapped.contains_key(&iova) {
            return Ok(());
        }
        self.mapper.dma_unmap(iova, size)?;
        let unmapped = self.state.lock().mapped.remove(&iova);
        drop(unmapped);
        Ok(())
    }

    /// What was translated is unmapped with everything else in the range, of which 2^64 bytes are one too many
    /// for a `u64` (rule X9).
    fn detach(
        &self,
        section: &MemoryRegionSection<'_>,
        guide: &Guide,
        pages: AddressRange,
    ) -> ListenerResult {
        match guide {
            Guide::Iommu => self.mapper.iommu_detach(section)?,
            Guide::Manager(_) => self.mapper.ram_discard_detach(section)?,
        }
        let unmapped = match pages.size().to_u64() {
            Some(size) => self.mapper.dma_unmap(pages.start(), size),
            None => self
                .mapper
                .dma_unmap(0, 1 << 63)
                .and_then(|()| self.mapper.dma_unmap(1 << 63, 1 << 63)),
        };
        let Err(failure) = unmapped else { return Ok(()) };
        if let Err(rollback) = self.attach(section, guide) {
            let error = VfioError::NotRestored {
                failure: failure.to_string().into(),
                rollback: rollback.to_string().into(),
            };
            self.state.lock().not_restored = Some(error.clone());
            return Err(error.into());
        }
        Err(failure)
    }
}

impl<M: DmaMapper> MemoryListener for VfioListener<M> {
    fn name(&self) -> &str {
        &self.name
    }

    fn region_add(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        if let Some(guide) = Self::guide(section.range()) {
            return match self.guided_pages(section.range()) {
                Some(_) => self.attach(section, &guide),
                None => Ok(()),
            };
        }
        match section.region().kind().is_ram() {
            true => self.map(section.range()),
            false => Ok(()),
        }
    }

    fn region_del(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        if let Some(guide) = Self::guide(section.range()) {
            return match self.guided_pages(section.range()) {
                Some(pages) => self.detach(section, &guide, pages),
                None => Ok(()),
            };
        }
        match section.region().kind().is_ram() {
            true => self.unmap(section.range()),
            false => Ok(()),
        }
    }

    /// The inverse, and a failure if that is not enough.
    fn abort(&self, undo: &Undo<'_>) -> ListenerResult {
        undo.deliver_to(self)?;
        match self.state.lock().not_restored.take() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}

impl<M> fmt::Debug for VfioListener<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        let mappings = state.mapped.values().map(|mapped| mapped.mapping);
        f.debug_struct("VfioListener")
            .field("name", &self.name)
            .field("mappings", &mappings.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "vfio_test.rs"]
mod tests;
