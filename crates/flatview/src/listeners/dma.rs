//! What a [`VfioListener`](super::VfioListener) maps with, and what it maps.

use std::fmt;
use std::sync::Arc;

use super::vfio::VfioError;
use crate::discard::RamDiscardManager;
use crate::listener::{ListenerError, MemoryRegionSection};

/// What maps memory for the device: `VFIO_IOMMU_MAP_DMA` and `VFIO_IOMMU_UNMAP_DMA` of a container.
pub trait DmaMapper: Send + Sync {
    /// Lets the device reach `size` bytes of this process at `vaddr` as `iova` and up; for reading only if
    /// `readonly`.
    ///
    /// # Errors
    ///
    /// Anything; nothing must then be mapped.
    fn dma_map(&self, iova: u64, size: u64, vaddr: usize, readonly: bool) -> Result<(), ListenerError>;

    /// Takes back what [`dma_map`](Self::dma_map) mapped, or all that lies within a range that an IOMMU region or
    /// RAM with a discard manager covered.
    ///
    /// # Errors
    ///
    /// Anything; what was mapped must then still be.
    fn dma_unmap(&self, iova: u64, size: u64) -> Result<(), ListenerError>;

    /// An IOMMU region is in the way: from now on, map what it translates (rule X10). Its translations as of
    /// now are to be mapped at once; one of them may be mapped still, if a detaching failed half way.
    ///
    /// # Errors
    ///
    /// Anything; by default, that there is no support for it. Nothing must then be mapped.
    fn iommu_attach(&self, section: &MemoryRegionSection<'_>) -> Result<(), ListenerError> {
        Err(VfioError::NoIommuSupport {
            region: section.region().name().into(),
        }
        .into())
    }

    /// Map no longer what the IOMMU region translates. What was mapped is unmapped by the listener.
    ///
    /// # Errors
    ///
    /// Anything; the region must then still be attached.
    fn iommu_detach(&self, section: &MemoryRegionSection<'_>) -> Result<(), ListenerError> {
        let _ = section;
        Ok(())
    }

    /// RAM of which only a part may be there: from now on, map what `manager` says is populated, by
    /// [`register`](crate::discard::register) for a [`RamSection`](crate::RamSection) of the section (rule S11).
    ///
    /// # Errors
    ///
    /// As [`iommu_attach`](Self::iommu_attach).
    fn ram_discard_attach(
        &self,
        section: &MemoryRegionSection<'_>,
        manager: &Arc<dyn RamDiscardManager>,
    ) -> Result<(), ListenerError> {
        let _ = manager;
        Err(VfioError::NoDiscardSupport {
            region: section.region().name().into(),
        }
        .into())
    }

    /// Map nothing of that RAM any more. What was mapped is unmapped by the listener.
    ///
    /// # Errors
    ///
    /// As [`iommu_detach`](Self::iommu_detach).
    fn ram_discard_detach(&self, section: &MemoryRegionSection<'_>) -> Result<(), ListenerError> {
        let _ = section;
        Ok(())
    }
}

impl<T: DmaMapper + ?Sized> DmaMapper for Arc<T> {
    fn dma_map(&self, iova: u64, size: u64, vaddr: usize, readonly: bool) -> Result<(), ListenerError> {
        (**self).dma_map(iova, size, vaddr, readonly)
    }

    fn dma_unmap(&self, iova: u64, size: u64) -> Result<(), ListenerError> {
        (**self).dma_unmap(iova, size)
    }

    fn iommu_attach(&self, section: &MemoryRegionSection<'_>) -> Result<(), ListenerError> {
        (**self).iommu_attach(section)
    }

    fn iommu_detach(&self, section: &MemoryRegionSection<'_>) -> Result<(), ListenerError> {
        (**self).iommu_detach(section)
    }

    fn ram_discard_attach(
        &self,
        section: &MemoryRegionSection<'_>,
        manager: &Arc<dyn RamDiscardManager>,
    ) -> Result<(), ListenerError> {
        (**self).ram_discard_attach(section, manager)
    }

    fn ram_discard_detach(&self, section: &MemoryRegionSection<'_>) -> Result<(), ListenerError> {
        (**self).ram_discard_detach(section)
    }
}

/// One DMA mapping.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DmaMapping {
    /// The first address that the device uses.
    pub iova: u64,
    /// The number of bytes.
    pub size: u64,
    /// Where the first byte is in this process.
    pub vaddr: usize,
    /// Whether the device may only read.
    pub readonly: bool,
}

impl fmt::Debug for DmaMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DmaMapping {
            iova,
            size,
            vaddr,
            readonly,
        } = self;
        write!(
            f,
            "{iova:#x}+{size:#x} at {vaddr:#x}{}",
            if *readonly { " readonly" } else { "" }
        )
    }
}
