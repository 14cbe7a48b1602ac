//! One IOMMU on the way of an access.

use super::{IommuAccess, IommuOps, IotlbEntry};
use crate::access::{Engaging, MemTxAttrs};
use crate::region::{Backing, Region};
use crate::space::AddressSpace;

/// How an access goes on that has met an IOMMU region (rule O2): what [`Region::iommu_step`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IommuStep {
    /// The space in which the access goes on; `None` if it is refused.
    pub target: Option<AddressSpace>,
    /// Where it goes on there.
    pub address: u64,
    /// For how many bytes behind the first the answer is the same, refused or not. The region may end before.
    pub following: u64,
    /// The size of the block around the address minus one: for its bytes, the answer is the same.
    pub address_mask: u64,
    /// What is permitted there.
    pub permission: IommuAccess,
}

impl IommuStep {
    /// How many IOMMUs may lie on the way of one access (rule O3 has no limit, and no end): whoever goes from step to
    /// step counts them.
    pub const MAX: usize = 16;

    /// For how many bytes, the first included, the answer is the same; of 2^64, it is one less.
    pub fn size(&self) -> u64 {
        self.following.saturating_add(1)
    }

    /// Nobody was asked.
    pub(crate) fn refused() -> IommuStep {
        IommuStep {
            target: None,
            address: 0,
            following: u64::MAX,
            address_mask: u64::MAX,
            permission: IommuAccess::empty(),
        }
    }
}

impl Region {
    /// Asks an IOMMU region where an access to `offset` goes on, as accesses of a space do: for who follows a view
    /// himself. It is a bus master's access with these attributes, that needs all that `access` says. Aliases are not
    /// followed.
    ///
    /// Without asking, it is refused if the region is no IOMMU, and if this thread is in the middle of a translation
    /// by the same (its page tables may lie behind itself) or of too many others.
    pub fn iommu_step(&self, offset: u64, access: IommuAccess, attrs: MemTxAttrs) -> IommuStep {
        let Backing::Iommu(iommu) = self.backing() else {
            return IommuStep::refused();
        };
        let ops = &*iommu.ops;
        let Some(entry) = translate(ops, self, offset, access, ops.attrs_to_index(attrs)) else {
            return IommuStep::refused();
        };
        let mask = entry.address_mask;
        IommuStep {
            target: entry.target.filter(|_| entry.permission.contains(access)),
            address: (entry.translated_address & !mask) | (offset & mask),
            following: mask - (offset & mask),
            address_mask: mask,
            permission: entry.permission,
        }
    }
}

/// One translation by the IOMMU of `region`; `None` if this thread is in the middle of one by the same.
pub(super) fn translate(
    ops: &dyn IommuOps,
    region: &Region,
    offset: u64,
    access: IommuAccess,
    index: u32,
) -> Option<IotlbEntry> {
    let _engaged = Engaging::new(region.key())?;
    Some(ops.translate(offset, access, index))
}
