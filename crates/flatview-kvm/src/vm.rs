//! The virtual machine, as the kernel has it.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Mutex;

use kvm_bindings::{
    KVM_API_VERSION, KVM_CAP_EXIT_ON_EMULATION_FAILURE, KVM_MAX_CPUID_ENTRIES, kvm_userspace_memory_region,
};
use kvm_ioctls::{Kvm, VmFd};
use tracing::trace;

use crate::coalesced::Coalesced;
use crate::counters::Counters;
use crate::dirty::{self, Dirty};
use crate::gate::Gate;
use crate::irq::Irq;
use crate::slots::SlotTable;
use crate::{Capabilities, KvmConfig, KvmError, Slot, capabilities, sys};

/// Everything that listeners and vCPUs share.
#[derive(Debug)]
pub(crate) struct Vm {
    pub(crate) kvm: Kvm,
    pub(crate) fd: VmFd,
    pub(crate) capabilities: Capabilities,
    /// The last physical address that a guest can have.
    pub(crate) last_address: u64,
    pub(crate) config: KvmConfig,
    pub(crate) gate: Gate,
    pub(crate) counters: Counters,
    /// By number of the address space: memory, and memory in system management mode.
    pub(crate) slots: [Mutex<SlotTable>; 2],
    pub(crate) coalesced: Coalesced,
    pub(crate) irq: Irq,
    pub(crate) dirty: Dirty,
}

/// Where the identity map and the TSS are that processors without unrestricted guests need: four pages below the
/// firmware that no machine of this project uses, and that QEMU uses for it.
const IDENTITY_MAP: u64 = 0xfeff_c000;
const TSS: usize = 0xfeff_d000;

/// The most bytes of a slot where nothing else is asked for. The kernel takes less than 2^31 pages
/// (`KVM_MEM_MAX_NR_PAGES`); this is the next power of two.
const MAX_SLOT_SIZE: u64 = 1 << 42;

impl Vm {
    /// Opens KVM and makes a virtual machine without memory and vCPUs, in QEMU's order.
    pub(crate) fn new(config: KvmConfig) -> Result<Vm, KvmError> {
        if let Some(value) = config.max_slot_size
            && !(value.is_power_of_two() && (0x1000..=MAX_SLOT_SIZE).contains(&value))
        {
            return Err(KvmError::BadOption {
                option: "max_slot_size",
                value,
                why: "it has to be a power of two from a page to 4 TiB",
            });
        }
        let kvm = open(&config)?;
        let version = kvm.get_api_version();
        if u32::try_from(version) != Ok(KVM_API_VERSION) {
            return Err(KvmError::ApiVersion { version });
        }
        let fd = kvm.create_vm().map_err(KvmError::of("KVM_CREATE_VM"))?;
        let capabilities = Capabilities::of(&fd);
        let lacks = |capability, what| Err(KvmError::Lacks { capability, what });
        if !capabilities.immediate_exit {
            return lacks("KVM_CAP_IMMEDIATE_EXIT", "every vCPU");
        }
        if capabilities.exit_on_emulation_failure {
            // Else a #UD is the guest's before anybody can help.
            capabilities::enable(&fd, KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1).map_err(KvmError::of(
                "KVM_ENABLE_CAP of KVM_CAP_EXIT_ON_EMULATION_FAILURE",
            ))?;
        }
        fd.set_identity_map_address(IDENTITY_MAP)
            .map_err(KvmError::of("KVM_SET_IDENTITY_MAP_ADDR"))?;
        fd.set_tss_address(TSS)
            .map_err(KvmError::of("KVM_SET_TSS_ADDR"))?;
        let last_address = last_address(&kvm)?;
        let irq = Irq::new(&fd, &capabilities, &config)?;
        let dirty = Dirty::new(&fd, &config, &capabilities)?;
        let most = config.max_slots.unwrap_or(u32::MAX).min(capabilities.memslots);
        let vm = Vm {
            kvm,
            fd,
            capabilities,
            last_address,
            config,
            gate: Gate::default(),
            counters: Counters::default(),
            slots: [0, 1].map(|space| Mutex::new(SlotTable::new(space, most))),
            coalesced: Coalesced::default(),
            irq,
            dirty,
        };
        sys::install_kick_handler()?;
        Ok(vm)
    }

    /// The most bytes of a slot (rule W8).
    pub(crate) fn max_slot_size(&self) -> u64 {
        self.config.max_slot_size.unwrap_or(MAX_SLOT_SIZE)
    }

    /// Makes a slot, or changes the flags of one.
    pub(crate) fn set_slot(&self, slot: &Slot) -> Result<(), KvmError> {
        let before = self.dirty.note(slot);
        self.set_memory_region(slot, slot.size)
            .inspect_err(|_| self.dirty.restore(slot, before))?;
        if !slot.logs() {
            dirty::forget(self, slot.id);
        }
        Ok(())
    }

    /// Deletes a slot.
    pub(crate) fn delete_slot(&self, slot: &Slot) -> Result<(), KvmError> {
        self.set_memory_region(slot, 0)?;
        dirty::forget(self, slot.id);
        Ok(())
    }

    #[expect(unsafe_code, reason = "the kernel is given a piece of this process's memory")]
    fn set_memory_region(&self, slot: &Slot, size: u64) -> Result<(), KvmError> {
        let region = kvm_userspace_memory_region {
            slot: slot.id,
            flags: slot.flags.bits(),
            guest_phys_addr: slot.gpa,
            memory_size: size,
            userspace_addr: slot.host_address as u64,
        };
        trace!(
            target: "flatview::kvm",
            slot = slot.id,
            gpa = format_args!("{:#x}", slot.gpa),
            size = format_args!("{size:#x}"),
            flags = slot.flags.bits(),
            "KVM_SET_USER_MEMORY_REGION"
        );
        // SAFETY: the memory is a block's, which the slot keeps mapped until the kernel has let go of it; that others
        // change it is what a block is for. The kernel refuses slots that overlap.
        let set = unsafe { self.fd.set_user_memory_region(region) };
        set.map_err(|error| KvmError::SetMemoryRegion {
            slot: slot.id,
            gpa: slot.gpa,
            size,
            host_address: slot.host_address,
            flags: slot.flags,
            source: io::Error::from_raw_os_error(error.errno()),
        })
    }
}

/// What the kernel's page tables for guests reach: it refuses slots beyond (Intel SDM vol. 3, 4.1.4).
fn last_address(kvm: &Kvm) -> Result<u64, KvmError> {
    /// EAX has the number of bits of a physical address in its low byte.
    const ADDRESS_SIZES: u32 = 0x8000_0008;
    let table = kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(KvmError::of("KVM_GET_SUPPORTED_CPUID"))?;
    let leaf = table
        .as_slice()
        .iter()
        .find(|leaf| leaf.function == ADDRESS_SIZES);
    let bits = leaf.map_or(36, |leaf| leaf.eax & 0xff).clamp(32, 52);
    Ok((1 << bits) - 1)
}

fn open(config: &KvmConfig) -> Result<Kvm, KvmError> {
    let failed = |source| KvmError::Open {
        path: config.device.clone(),
        source,
    };
    let path = CString::new(config.device.as_os_str().as_bytes()).map_err(|error| failed(error.into()))?;
    Kvm::new_with_path(path).map_err(|error| failed(io::Error::from_raw_os_error(error.errno())))
}
