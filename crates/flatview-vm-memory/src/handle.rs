//! Handles: what a device keeps to take snapshots from.

use std::sync::Arc;

use flatview::{AddressSpace, MemTxAttrs};
use vm_memory::GuestAddressSpace;

use crate::dma_view::DmaView;
use crate::ram_view::RamView;

/// A space that gives [`DmaView`]s, as `GuestAddressSpace`: what a virtio device keeps.
///
/// It remembers no snapshot, so an idle device keeps nothing alive. Cheap to clone.
///
/// ```
/// use flatview::{Memory, RamBlock, Size};
/// use flatview_vm_memory::DmaSpace;
/// use vm_memory::{Bytes, GuestAddress, GuestAddressSpace};
///
/// let memory = Memory::new();
/// let system = memory.region("system").container(Size::MAX);
/// let space = memory.create_address_space("memory", &system)?;
/// let device = DmaSpace::new(&space);
/// assert!(device.memory().read_obj::<u8>(GuestAddress(0)).is_err());
///
/// // The next batch sees memory that was plugged meanwhile.
/// let ram = memory.region("ram").ram(RamBlock::anonymous(0x1000)?);
/// memory.update(|tx| tx.add_subregion(&system, 0, &ram))?;
/// assert!(device.memory().read_obj::<u8>(GuestAddress(0)).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct DmaSpace {
    space: AddressSpace,
    attrs: MemTxAttrs,
}

impl DmaSpace {
    /// For a bus master of which nothing is known.
    pub fn new(space: &AddressSpace) -> DmaSpace {
        DmaSpace::with_attrs(space, MemTxAttrs::UNSPECIFIED)
    }

    /// For a bus master whose accesses have these attributes.
    pub fn with_attrs(space: &AddressSpace, attrs: MemTxAttrs) -> DmaSpace {
        DmaSpace {
            space: space.clone(),
            attrs,
        }
    }

    /// The space.
    pub fn space(&self) -> &AddressSpace {
        &self.space
    }
}

impl GuestAddressSpace for DmaSpace {
    type M = DmaView;
    type T = Arc<DmaView>;

    /// What the space shows now.
    fn memory(&self) -> Arc<DmaView> {
        Arc::new(DmaView::new(&self.space, self.attrs))
    }
}

/// A space that gives [`RamView`]s, as `GuestAddressSpace`: what the kernel's vhost devices of the `vhost` crate want.
///
/// It remembers no snapshot. Each costs a step for every range, which is nothing beside the system calls it is made for.
///
/// ```
/// use flatview::{Memory, RamBlock};
/// use flatview_vm_memory::RamSpace;
/// use vm_memory::{GuestAddress, GuestAddressSpace, GuestMemoryBackend};
///
/// let memory = Memory::new();
/// let ram = memory.region("ram").ram(RamBlock::anonymous(0x1000)?);
/// let space = RamSpace::new(&memory.create_address_space("memory", &ram)?);
/// assert!(space.memory().address_in_range(GuestAddress(0xfff)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct RamSpace(AddressSpace);

impl RamSpace {
    /// The memory of this space.
    pub fn new(space: &AddressSpace) -> RamSpace {
        RamSpace(space.clone())
    }

    /// The space.
    pub fn space(&self) -> &AddressSpace {
        &self.0
    }
}

impl GuestAddressSpace for RamSpace {
    type M = RamView;
    type T = Arc<RamView>;

    /// What the space shows now.
    fn memory(&self) -> Arc<RamView> {
        Arc::new(RamView::new(&self.0))
    }
}
