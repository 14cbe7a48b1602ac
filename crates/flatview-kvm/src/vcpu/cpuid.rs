//! What `CPUID` answers (Intel SDM vol. 2, CPUID).

use flatview_accel::CpuidLeaf;
use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};

use crate::vm::Vm;
use crate::{IrqChip, KvmError};

/// ECX of leaf 1.
const X2APIC: u32 = 1 << 21;
const TSC_DEADLINE: u32 = 1 << 24;
const HYPERVISOR: u32 = 1 << 31;
/// Of KVM's own features: two kvmclocks, no delays at ports, steal time, a stable kvmclock (Documentation/virt/kvm/x86/cpuid.rst). The
/// others go through a local APIC in the kernel.
const WITHOUT_APIC: u32 = 1 | 1 << 1 | 1 << 3 | 1 << 5 | 1 << 24;
const KVM_FEATURES: u32 = 0x4000_0001;
/// In EBX of leaf 1.
const APIC_ID_SHIFT: u32 = 24;

/// The table of vCPU `index`.
pub(super) fn table(vm: &Vm, index: u32) -> Result<CpuId, KvmError> {
    let mut entries: Vec<kvm_cpuid_entry2> = match &vm.config.cpuid {
        Some(leaves) => leaves.iter().map(entry).collect(),
        None => supported(vm)?,
    };
    for entry in &mut entries {
        match entry.function {
            1 => entry.ebx = entry.ebx & 0x00ff_ffff | index << APIC_ID_SHIFT,
            0xb | 0x1f => entry.edx = index,
            _ => {}
        }
    }
    let count = entries.len() as u64;
    CpuId::from_entries(&entries).map_err(|_| KvmError::BadOption {
        option: "cpuid",
        value: count,
        why: "there are too many leaves",
    })
}

/// EAX of leaf 1, which EDX is after a reset (Intel SDM vol. 3, 10.1.2).
pub(super) fn signature(table: &CpuId) -> u32 {
    let leaf = table.as_slice().iter().find(|entry| entry.function == 1);
    leaf.map_or(0, |entry| entry.eax)
}

fn supported(vm: &Vm) -> Result<Vec<kvm_cpuid_entry2>, KvmError> {
    let table = vm
        .kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(KvmError::of("KVM_GET_SUPPORTED_CPUID"))?;
    let mut entries = table.as_slice().to_vec();
    let has_apic = vm.config.irqchip != IrqChip::Off;
    let apic = |yes: bool, bits: u32| if yes { bits } else { 0 };
    let has_deadline = has_apic && vm.fd.check_extension(kvm_ioctls::Cap::TscDeadlineTimer);
    for entry in &mut entries {
        match entry.function {
            1 => {
                let x2apic = apic(has_apic, entry.ecx & X2APIC);
                let deadline = apic(has_deadline, TSC_DEADLINE);
                entry.ecx = entry.ecx & !(X2APIC | TSC_DEADLINE) | x2apic | deadline | HYPERVISOR;
            }
            KVM_FEATURES if !has_apic => entry.eax &= WITHOUT_APIC,
            _ => {}
        }
    }
    Ok(entries)
}

fn entry(leaf: &CpuidLeaf) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 {
        function: leaf.leaf,
        index: leaf.subleaf.unwrap_or_default(),
        flags: leaf.subleaf.map_or(0, |_| KVM_CPUID_FLAG_SIGNIFCANT_INDEX),
        eax: leaf.eax,
        ebx: leaf.ebx,
        ecx: leaf.ecx,
        edx: leaf.edx,
        ..kvm_cpuid_entry2::default()
    }
}
