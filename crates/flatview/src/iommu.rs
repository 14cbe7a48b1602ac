//! IOMMU regions: accesses that are translated and go on in another address space.

use bitflags::bitflags;

use crate::space::AddressSpace;

bitflags! {
    /// What a translation permits, or what an access wants.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct IommuAccess: u8 {
        /// Reading.
        const READ = 1;
        /// Writing.
        const WRITE = 2;
    }
}

/// One translation: a naturally aligned block of addresses and where it leads.
#[derive(Clone, Debug)]
pub struct IotlbEntry {
    /// Where accesses go on; `None` refuses them.
    pub target: Option<AddressSpace>,
    /// The address that was asked for, aligned down to the block.
    pub iova: u64,
    /// Where the block begins in the target.
    pub translated_address: u64,
    /// The size of the block minus one: `0xfff` for 4 KiB.
    pub address_mask: u64,
    /// What is permitted.
    pub permission: IommuAccess,
}

/// What translates in an IOMMU region (rule A15).
pub trait IommuOps: Send + Sync {
    /// The translation of `iova`, an offset in the region, for an access of this kind.
    ///
    /// `index` is what [`IommuOps::attrs_to_index`] made of the access's attributes.
    fn translate(&self, iova: u64, access: IommuAccess, index: u32) -> IotlbEntry;

    /// Which of the IOMMU's tables an access with these attributes uses.
    fn attrs_to_index(&self, _attrs: crate::access::MemTxAttrs) -> u32 {
        0
    }
}
