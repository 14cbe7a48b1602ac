//! What the kernel can do.

use kvm_bindings as kvm;
use kvm_ioctls::VmFd;

/// What this KVM can do, of what flatview asks for (`KVM_CHECK_EXTENSION`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Memory slots for each address space (`KVM_CAP_NR_MEMSLOTS`; 32 where it does not say, rule W3).
    pub memslots: u32,
    /// Address spaces: 2 where vCPUs see other memory in system management mode (`KVM_CAP_MULTI_ADDRESS_SPACE`).
    pub address_spaces: u32,
    /// Read-only slots (`KVM_CAP_READONLY_MEM`).
    pub readonly_memory: bool,
    /// What `KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2` can be set to; 0: nothing.
    pub manual_dirty_log_protect: u32,
    /// The most bytes of a dirty ring (`KVM_CAP_DIRTY_LOG_RING_ACQ_REL`, or `KVM_CAP_DIRTY_LOG_RING`); 0: none.
    pub dirty_ring: u32,
    /// ioeventfds (`KVM_CAP_IOEVENTFD`).
    pub ioeventfd: bool,
    /// ioeventfds for writes of any length (`KVM_CAP_IOEVENTFD_ANY_LENGTH`).
    pub ioeventfd_any_length: bool,
    /// Coalesced writes to memory: the page of a vCPU's mapping that the ring is in; 0: none (`KVM_CAP_COALESCED_MMIO`).
    pub coalesced_mmio: u32,
    /// Coalesced writes to ports, in the same ring (`KVM_CAP_COALESCED_PIO`).
    pub coalesced_pio: bool,
    /// Interrupt controllers in the kernel (`KVM_CAP_IRQCHIP`).
    pub irqchip: bool,
    /// Only the local APICs in the kernel (`KVM_CAP_SPLIT_IRQCHIP`).
    pub split_irqchip: bool,
    /// The PIT in the kernel (`KVM_CAP_PIT2`).
    pub pit: bool,
    /// Interrupts by eventfd (`KVM_CAP_IRQFD`).
    pub irqfd: bool,
    /// Routes of global system interrupts; 0: none (`KVM_CAP_IRQ_ROUTING`).
    pub irq_routes: u32,
    /// Message-signalled interrupts by ioctl (`KVM_CAP_SIGNAL_MSI`).
    pub signal_msi: bool,
    /// A vCPU can be kept from running without a signal (`KVM_CAP_IMMEDIATE_EXIT`).
    pub immediate_exit: bool,
    /// Registers come and go with `KVM_RUN`: bit 0 the general ones, bit 1 the system ones, bit 2 events
    /// (`KVM_CAP_SYNC_REGS`).
    pub sync_regs: u32,
    /// System management mode (`KVM_CAP_X86_SMM`).
    pub smm: bool,
    /// What the kernel cannot emulate always comes out. Without it the guest gets a #UD in user mode
    /// (`KVM_CAP_EXIT_ON_EMULATION_FAILURE`, Linux 5.15).
    pub exit_on_emulation_failure: bool,
    /// vCPUs (`KVM_CAP_MAX_VCPUS`).
    pub max_vcpus: u32,
}

/// Has the kernel do something, as `value` says (`KVM_ENABLE_CAP`).
pub(crate) fn enable(vm: &VmFd, capability: u32, value: u64) -> Result<(), kvm_ioctls::Error> {
    let mut enable = kvm::kvm_enable_cap {
        cap: capability,
        ..kvm::kvm_enable_cap::default()
    };
    enable.args[0] = value;
    vm.enable_cap(&enable)
}

impl Capabilities {
    /// Whether vCPUs can enter system management mode and see other memory in it.
    pub(crate) fn has_smm(&self) -> bool {
        self.smm && self.address_spaces > 1
    }

    pub(crate) fn of(vm: &VmFd) -> Capabilities {
        let number =
            |capability: u32| u32::try_from(vm.check_extension_raw(capability.into())).unwrap_or_default();
        let has = |capability| number(capability) != 0;
        let or = |value: u32, default| if value == 0 { default } else { value };
        Capabilities {
            memslots: or(number(kvm::KVM_CAP_NR_MEMSLOTS), 32),
            address_spaces: or(number(kvm::KVM_CAP_MULTI_ADDRESS_SPACE), 1),
            readonly_memory: has(kvm::KVM_CAP_READONLY_MEM),
            manual_dirty_log_protect: number(kvm::KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2),
            dirty_ring: or(
                number(kvm::KVM_CAP_DIRTY_LOG_RING_ACQ_REL),
                number(kvm::KVM_CAP_DIRTY_LOG_RING),
            ),
            ioeventfd: has(kvm::KVM_CAP_IOEVENTFD),
            ioeventfd_any_length: has(kvm::KVM_CAP_IOEVENTFD_ANY_LENGTH),
            coalesced_mmio: number(kvm::KVM_CAP_COALESCED_MMIO),
            coalesced_pio: has(kvm::KVM_CAP_COALESCED_PIO),
            irqchip: has(kvm::KVM_CAP_IRQCHIP),
            split_irqchip: has(kvm::KVM_CAP_SPLIT_IRQCHIP),
            pit: has(kvm::KVM_CAP_PIT2),
            irqfd: has(kvm::KVM_CAP_IRQFD),
            irq_routes: number(kvm::KVM_CAP_IRQ_ROUTING),
            signal_msi: has(kvm::KVM_CAP_SIGNAL_MSI),
            immediate_exit: has(kvm::KVM_CAP_IMMEDIATE_EXIT),
            sync_regs: number(kvm::KVM_CAP_SYNC_REGS),
            smm: has(kvm::KVM_CAP_X86_SMM),
            exit_on_emulation_failure: has(kvm::KVM_CAP_EXIT_ON_EMULATION_FAILURE),
            max_vcpus: or(number(kvm::KVM_CAP_MAX_VCPUS), 4),
        }
    }
}
