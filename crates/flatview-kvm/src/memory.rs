//! The listener that keeps the kernel's memory slots true to an address space.

use std::sync::Arc;

use flatview::MemoryListener;
use flatview::listener::priority;

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
}
