//! What an accelerator is asked to be.

use std::path::PathBuf;
use std::time::Duration;

use flatview_accel::CpuidLeaf;

/// Which interrupt controllers the kernel has (QEMU's `kernel-irqchip`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IrqChip {
    /// None: the machine has them, and vCPUs ask their [`InterruptSource`](flatview_accel::InterruptSource).
    #[default]
    Off,
    /// The local APICs; the machine has the I/O APIC, the 8259As and the PIT (`split`).
    Split,
    /// All of them.
    Kernel,
}

/// How KVM is set up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KvmConfig {
    /// The device: `/dev/kvm`.
    pub device: PathBuf,
    /// Which interrupt controllers the kernel has.
    pub irqchip: IrqChip,
    /// With [`IrqChip::Kernel`]: the kernel has the PIT as well (`KVM_CREATE_PIT2`).
    pub pit: bool,
    /// Dirty pages are told of in rings of so many entries, one for each vCPU: a power of two (rule P21). `None`: in
    /// bitmaps.
    pub dirty_ring: Option<u32>,
    /// How often the rings are emptied when nobody asks, so that few vCPUs find theirs full. At least a millisecond.
    pub dirty_ring_interval: Duration,
    /// With bitmaps: pages are write-protected anew when they are cleared, in pieces, not when the bitmap is read
    /// (`KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2`, rule P20). Where the kernel has that.
    pub manual_protect: bool,
    /// The most memory slots that are used. `None`: as many as the kernel has.
    pub max_slots: Option<u32>,
    /// The most bytes of a memory slot: a power of two from 4 KiB to 4 TiB (rule W8). `None`: 4 TiB.
    pub max_slot_size: Option<u64>,
    /// What `CPUID` answers; each vCPU's APIC id is put in. `None`: everything that the kernel can give a guest
    /// (`KVM_GET_SUPPORTED_CPUID`).
    pub cpuid: Option<Vec<CpuidLeaf>>,
}

impl Default for KvmConfig {
    fn default() -> KvmConfig {
        KvmConfig {
            device: "/dev/kvm".into(),
            irqchip: IrqChip::Off,
            pit: true,
            dirty_ring: None,
            dirty_ring_interval: Duration::from_secs(1),
            manual_protect: true,
            max_slots: None,
            max_slot_size: None,
            cpuid: None,
        }
    }
}
