//! The listener that keeps the kernel's memory slots true to an address space.

use std::sync::Arc;

use flatview::listener::priority;
use flatview::{AddressRange, AddressSpace, IoEventFd, ListenerResult, MemoryListener, MemoryRegionSection};

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
