//! ioeventfds, and the listener of the I/O space.
//!
//! The kernel takes a write over and signals a descriptor, so that the vCPU does not come out (rule I12). What it
//! compares is what the guest puts on the bus, which is what listeners hear: the software's dispatch and the kernel's
//! agree, also about a big-endian device. Each registration is made and deleted at once, so that the default
//! [`abort`](MemoryListener::abort) takes it back.
//!
//! The kernel has one bus for memory and one for ports, whatever address spaces a vCPU has; on each of them two
//! ioeventfds that a single write could signal are refused (rule I13).

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use flatview::listener::priority;
use flatview::{AddressRange, AddressSpace, IoEventFd, ListenerResult, MemoryListener, MemoryRegionSection};
use kvm_bindings::{
    kvm_ioeventfd, kvm_ioeventfd_flag_nr_datamatch, kvm_ioeventfd_flag_nr_deassign, kvm_ioeventfd_flag_nr_pio,
};

use crate::vm::Vm;
use crate::{KvmError, sys};

/// Where the kernel's devices are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bus {
    /// Memory.
    Memory,
    /// Ports.
    Ports,
}

impl Bus {
    /// Whether a guest can write to this address at all: it has 65536 ports.
    pub(crate) fn has(self, address: u64) -> bool {
        self == Bus::Memory || address <= 0xffff
    }
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bus::Memory => "memory",
            Bus::Ports => "ports",
        })
    }
}

impl Vm {
    /// Lets the kernel signal an ioeventfd.
    pub(crate) fn add_ioeventfd(&self, bus: Bus, eventfd: &IoEventFd) -> Result<(), KvmError> {
        let lacks = |capability| {
            Err(KvmError::Lacks {
                capability,
                what: "an ioeventfd of this length",
            })
        };
        if !self.capabilities.ioeventfd {
            return lacks("KVM_CAP_IOEVENTFD");
        }
        if eventfd.size == 0 && !self.capabilities.ioeventfd_any_length {
            return lacks("KVM_CAP_IOEVENTFD_ANY_LENGTH");
        }
        self.ioeventfd(bus, eventfd, 0)
    }

    /// Takes [`add_ioeventfd`](Self::add_ioeventfd) back.
    pub(crate) fn remove_ioeventfd(&self, bus: Bus, eventfd: &IoEventFd) -> Result<(), KvmError> {
        self.ioeventfd(bus, eventfd, 1 << kvm_ioeventfd_flag_nr_deassign)
    }

    fn ioeventfd(&self, bus: Bus, eventfd: &IoEventFd, mut flags: u32) -> Result<(), KvmError> {
        if !bus.has(eventfd.address) {
            return Ok(());
        }
        if bus == Bus::Ports {
            flags |= 1 << kvm_ioeventfd_flag_nr_pio;
        }
        if eventfd.datamatch.is_some() {
            flags |= 1 << kvm_ioeventfd_flag_nr_datamatch;
        }
        let request = kvm_ioeventfd {
            datamatch: eventfd.datamatch.unwrap_or_default(),
            addr: eventfd.address,
            len: eventfd.size,
            fd: eventfd.notifier.as_fd().as_raw_fd(),
            flags,
            ..kvm_ioeventfd::default()
        };
        self.counters.ioeventfds.add(1);
        sys::ioeventfd(&self.fd, &request).map_err(|source| KvmError::IoEventFd {
            bus,
            address: eventfd.address,
            length: eventfd.size,
            data: eventfd.datamatch,
            source,
        })
    }
}

/// Hears what the kernel is to do at the devices of an address space.
///
/// At memory it is not the listener that has the slots: what acts at once is taken back by the core's
/// [`abort`](MemoryListener::abort), which one whose `commit` has failed does not hear.
#[derive(Debug)]
pub(crate) struct KvmIoListener {
    vm: Arc<Vm>,
    bus: Bus,
}

impl KvmIoListener {
    pub(crate) fn new(vm: &Arc<Vm>, bus: Bus) -> KvmIoListener {
        KvmIoListener {
            vm: Arc::clone(vm),
            bus,
        }
    }
}

impl MemoryListener for KvmIoListener {
    fn name(&self) -> &str {
        match self.bus {
            Bus::Memory => "kvm-mmio",
            Bus::Ports => "kvm-io",
        }
    }

    fn priority(&self) -> u32 {
        priority::DEV_BACKEND
    }

    fn eventfd_add(&self, _: &AddressSpace, eventfd: &IoEventFd) -> ListenerResult {
        Ok(self.vm.add_ioeventfd(self.bus, eventfd)?)
    }

    fn eventfd_del(&self, _: &AddressSpace, eventfd: &IoEventFd) -> ListenerResult {
        Ok(self.vm.remove_ioeventfd(self.bus, eventfd)?)
    }

    fn coalesced_io_add(&self, _: &MemoryRegionSection<'_>, addresses: AddressRange) -> ListenerResult {
        self.vm.add_coalesced_zone(self.bus, addresses);
        Ok(())
    }

    fn coalesced_io_del(&self, _: &MemoryRegionSection<'_>, addresses: AddressRange) -> ListenerResult {
        Ok(self.vm.remove_coalesced_zone(self.bus, addresses)?)
    }
}

#[cfg(test)]
#[path = "io_test.rs"]
mod test;
