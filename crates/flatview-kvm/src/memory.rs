//! The listener that keeps the kernel's memory slots true to an address space.

use std::sync::Arc;

use flatview::listener::priority;
use flatview::{AddressRange, AddressSpace, IoEventFd, ListenerResult, MemoryListener, MemoryRegionSection};

use crate::Slot;
use crate::io::Bus;
use crate::vm::Vm;

/// Keeps the memory slots of one address space.
#[derive(Debug)]
pub(crate) struct KvmMemoryListener {
    vm: Arc<Vm>,
    /// Its number in the kernel.
    address_space: usize,
}

impl KvmMemoryListener {
    pub(crate) fn new(vm: &Arc<Vm>, address_space: usize) -> KvmMemoryListener {
        KvmMemoryListener {
            vm: Arc::clone(vm),
            address_space,
        }
    }
}

impl MemoryListener for KvmMemoryListener {
    fn name(&self) -> &str {
        match self.address_space {
            0 => "kvm-memory",
            _ => "kvm-smram",
        }
    }

    fn priority(&self) -> u32 {
        priority::ACCEL
    }

    fn region_add(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        let region = section.region();
        let Some(block) = region.ram_block() else {
            return Ok(());
        };
        let size = section.size().to_u64().ok_or("all")?;
        if (section.start() | size) & 0xfff != 0 {
            return Ok(());
        }
        let mut slots = self.vm.slots[self.address_space].lock().unwrap();
        let block_offset = section.offset_in_region();
        let window = block.window(block_offset, size).ok_or("no window")?;
        let slot = Slot {
            id: slots.next_id().ok_or("no slot")?,
            gpa: section.start(),
            size,
            host_address: window.as_ptr().addr(),
            flags: if section.is_readonly() {
                crate::SlotFlags::READONLY
            } else {
                crate::SlotFlags::empty()
            },
            block: block.clone(),
            block_offset,
        };
        self.vm.set_slot(&slot)?;
        slots.insert(slot);
        Ok(())
    }

    fn region_del(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        let mut slots = self.vm.slots[self.address_space].lock().unwrap();
        if let Some(slot) = slots.remove(section.start()) {
            self.vm.delete_slot(&slot)?;
        }
        Ok(())
    }

    // The kernel has one bus for memory, and no other for system management mode.

    fn eventfd_add(&self, _: &AddressSpace, eventfd: &IoEventFd) -> ListenerResult {
        match self.address_space {
            0 => Ok(self.vm.add_ioeventfd(Bus::Memory, eventfd)?),
            _ => Ok(()),
        }
    }

    fn eventfd_del(&self, _: &AddressSpace, eventfd: &IoEventFd) -> ListenerResult {
        match self.address_space {
            0 => Ok(self.vm.remove_ioeventfd(Bus::Memory, eventfd)?),
            _ => Ok(()),
        }
    }

    fn coalesced_io_add(&self, _: &MemoryRegionSection<'_>, addresses: AddressRange) -> ListenerResult {
        if self.address_space == 0 {
            self.vm.add_coalesced_zone(Bus::Memory, addresses);
        }
        Ok(())
    }

    fn coalesced_io_del(&self, _: &MemoryRegionSection<'_>, addresses: AddressRange) -> ListenerResult {
        match self.address_space {
            0 => Ok(self.vm.remove_coalesced_zone(Bus::Memory, addresses)?),
            _ => Ok(()),
        }
    }
}
