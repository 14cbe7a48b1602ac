//! Coalesced writes: the kernel collects them in a ring, and the vCPU goes on.
//!
//! - [`Zones`] is what the kernel was told of which writes it may collect (rule J8).
//! - [`Ring`](ring::Ring) is where they are, oldest first. There is one for the virtual machine, in a page that every
//!   vCPU maps; the first vCPU brings it ([`Vm::map_coalesced_ring`]).
//! - [`Collected`] is the ring as [`Memory::drain_coalesced`] sees it, for as long as an accelerator is
//!   [attached](Drained).
//!
//! Collecting is a favour: where the kernel does not do it, because it cannot or because it has as many zones as it
//! takes, the write comes out as any other does, and the guest sees no difference.

mod ring;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};

use flatview::{AddressRange, AddressSpace, CoalescedRing, CoalescedWrite, Memory, WeakMemory};
use kvm_ioctls::{IoEventAddress, VcpuFd};
use tracing::debug;

use crate::KvmError;
use crate::io::Bus;
use crate::lock::lock;
use crate::vm::Vm;
use ring::Ring;

/// What a virtual machine knows of its coalesced writes.
#[derive(Debug, Default)]
pub(crate) struct Coalesced {
    zones: Mutex<Zones>,
    ring: OnceLock<Ring>,
}

/// The zones that the kernel has.
type Zones = BTreeSet<Zone>;

/// Addresses, writes to which are collected if they lie within.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Zone {
    bus: Bus,
    addresses: AddressRange,
}

impl Zone {
    /// As the kernel is told of it; `None` if it is too large for that.
    fn in_kernel(self) -> Option<(IoEventAddress, u32)> {
        let start = self.addresses.start();
        let size = u32::try_from(self.addresses.size().to_u64()?).ok()?;
        match self.bus {
            Bus::Memory => Some((IoEventAddress::Mmio(start), size)),
            Bus::Ports => Some((IoEventAddress::Pio(start), size)),
        }
    }

    fn contains(self, other: Zone) -> bool {
        self.bus == other.bus && self.addresses.contains_range(other.addresses)
    }
}

impl Vm {
    /// Lets the kernel collect writes to these addresses, if it does that.
    pub(crate) fn add_coalesced_zone(&self, bus: Bus, addresses: AddressRange) {
        let has_them = match bus {
            Bus::Memory => self.capabilities.coalesced_mmio != 0,
            Bus::Ports => self.capabilities.coalesced_mmio != 0 && self.capabilities.coalesced_pio,
        };
        let zone = Zone { bus, addresses };
        if has_them && bus.has(addresses.start()) && self.register_zone(zone) {
            self.zones(|zones| zones.insert(zone));
        }
    }

    /// Lets it collect them no longer.
    pub(crate) fn remove_coalesced_zone(&self, bus: Bus, addresses: AddressRange) -> Result<(), KvmError> {
        let zone = Zone { bus, addresses };
        if !self.zones(|zones| zones.contains(&zone)) {
            return Ok(());
        }
        if let Some((start, size)) = zone.in_kernel() {
            self.counters.coalesced_zones.add(1);
            self.fd
                .unregister_coalesced_mmio(start, size)
                .map_err(KvmError::of("KVM_UNREGISTER_COALESCED_MMIO"))?;
        }
        self.zones(|zones| {
            zones.remove(&zone);
            // The kernel has let go of every zone that contains this one.
            zones.retain(|&other| !other.contains(zone) || self.register_zone(other));
        });
        Ok(())
    }

    /// Returns whether the kernel has it now.
    fn register_zone(&self, zone: Zone) -> bool {
        let Some((start, size)) = zone.in_kernel() else {
            return false;
        };
        self.counters.coalesced_zones.add(1);
        let registered = self.fd.register_coalesced_mmio(start, size);
        if let Err(error) = registered {
            debug!(bus = %zone.bus, addresses = %zone.addresses, %error, "writes are not coalesced");
        }
        registered.is_ok()
    }

    fn zones<T>(&self, with: impl FnOnce(&mut Zones) -> T) -> T {
        with(&mut lock(&self.coalesced.zones))
    }

    /// Maps the ring, if the kernel has one: by any vCPU, once. What was collected before is in it.
    pub(crate) fn map_coalesced_ring(&self, vcpu: &VcpuFd) -> Result<(), KvmError> {
        let page = self.capabilities.coalesced_mmio;
        if page != 0 && self.coalesced.ring.get().is_none() {
            let ring = Ring::map(vcpu, page).map_err(|source| KvmError::Ioctl {
                ioctl: "mmap of the coalesced ring",
                source,
            })?;
            // Another vCPU may have been faster: it has mapped the same page.
            let _ = self.coalesced.ring.set(ring);
        }
        Ok(())
    }

    /// Whether [`Memory::drain_coalesced`] has something to do. Two loads: a vCPU asks at each exit.
    #[inline]
    pub(crate) fn has_coalesced_writes(&self) -> bool {
        self.coalesced.ring.get().is_some_and(|ring| !ring.is_empty())
    }
}

/// The ring, and the spaces to which its writes go.
struct Collected {
    vm: Arc<Vm>,
    memory: AddressSpace,
    ports: AddressSpace,
}

impl CoalescedRing for Collected {
    fn take(&self) -> Option<CoalescedWrite> {
        let entry = self.vm.coalesced.ring.get()?.take()?;
        self.vm.counters.coalesced_writes.add(1);
        let space = match entry.bus {
            Bus::Memory => &self.memory,
            Bus::Ports => &self.ports,
        };
        Some(CoalescedWrite::new(space, entry.address, entry.bytes()))
    }
}

/// A memory that drains a virtual machine's ring, until this is dropped.
#[derive(Debug)]
pub(crate) struct Drained(WeakMemory);

impl Drained {
    /// Writes that the kernel collects at memory go to `memory`, those at ports to `ports`.
    pub(crate) fn new(
        vm: &Arc<Vm>,
        machine: &Memory,
        memory: &AddressSpace,
        ports: &AddressSpace,
    ) -> Drained {
        machine.set_coalesced_ring(Some(Arc::new(Collected {
            vm: Arc::clone(vm),
            memory: memory.clone(),
            ports: ports.clone(),
        })));
        Drained(machine.downgrade())
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        if let Some(machine) = self.0.upgrade() {
            machine.set_coalesced_ring(None);
        }
    }
}

#[cfg(test)]
#[path = "coalesced_test.rs"]
mod test;
