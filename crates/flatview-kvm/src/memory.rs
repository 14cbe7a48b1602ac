//! The listener that keeps the kernel's memory slots true to an address space.

use std::sync::Arc;

use flatview::MemoryListener;
use flatview::listener::{ListenerResult, LogSync, MemoryRegionSection, priority};

use crate::dirty;
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

    fn log_sync_mode(&self) -> LogSync {
        self.vm.dirty.log_sync_mode(self.address_space)
    }

    fn log_sync(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        Ok(dirty::log_sync(
            &self.vm,
            self.address_space,
            section.range().range(),
        )?)
    }

    fn log_sync_global(&self, _: bool) -> ListenerResult {
        Ok(dirty::log_sync_global(&self.vm)?)
    }

    fn log_clear(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        Ok(dirty::log_clear(
            &self.vm,
            self.address_space,
            section.range().range(),
        )?)
    }
}
