//! What the CPU says of itself (Intel SDM vol. 2, CPUID).

use std::ops::RangeInclusive;

use flatview_accel::CpuidLeaf;

use super::Exec;

/// Family 15, model 107, stepping 1: what QEMU's `qemu64` says.
pub(crate) const SIGNATURE: u32 = 0x0006_0fb1;
/// "AuthenticAMD", as `qemu64` says under QEMU: SeaBIOS reserves memory by it.
const VENDOR: [u32; 3] = [0x6874_7541, 0x6974_6e65, 0x444d_4163];
/// FPU, DE, PSE, TSC, MSR, PAE, CX8, SEP, MTRR, PGE, CMOV, PAT, PSE36, CLFSH, FXSR, SSE, SSE2; the APIC's bit is
/// the controller's.
const FEATURES: u32 = 0x070b_b97d;
/// CX16, and that there is a hypervisor.
const MORE_FEATURES: u32 = 1 << 13 | 1 << 31;
/// SYSCALL, NX and long mode.
const EXTENDED: u32 = 1 << 11 | 1 << 20 | 1 << 29;
/// LAHF in 64-bit mode.
const MORE_EXTENDED: u32 = 1;
const BRAND: &[u8; 48] = b"Flatview Software CPU\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// The hypervisor's signature: "FlatviewSoft".
const HYPERVISOR: [u32; 3] = [0x7461_6c46, 0x7765_6976, 0x7466_6f53];
/// 40 bits of physical addresses, 48 of linear ones.
const ADDRESS_SIZES: u32 = 40 | 48 << 8;

/// The APIC's bit of leaf 1.
const APIC: u32 = 1 << 9;
/// All leaves that say something.
const LEAVES: [RangeInclusive<u32>; 3] = [0..=1, 0x4000_0000..=0x4000_0000, 0x8000_0000..=0x8000_0008];

/// What `CPUID` of the software CPU answers, all leaves that are not zero, so that another accelerator can show the
/// same processor. The bit of leaf 1 that says that the APIC is on is set.
pub fn cpuid_leaves() -> Vec<CpuidLeaf> {
    let leaf_of = |number| {
        let [eax, ebx, ecx, edx] = answer(number, true);
        CpuidLeaf {
            leaf: number,
            subleaf: None,
            eax,
            ebx,
            ecx,
            edx,
        }
    };
    let leaves = LEAVES.into_iter().flatten().map(leaf_of);
    leaves
        .filter(|leaf| leaf.eax | leaf.ebx | leaf.ecx | leaf.edx != 0)
        .collect()
}

impl Exec {
    /// EAX, EBX, ECX and EDX of a leaf.
    pub(crate) fn cpuid(&self, leaf: u32) -> [u32; 4] {
        answer(leaf, self.interrupts.apic_base() & 1 << 11 != 0)
    }
}

fn answer(leaf: u32, has_apic: bool) -> [u32; 4] {
    let apic = if has_apic { APIC } else { 0 };
    match leaf {
        0 => [1, VENDOR[0], VENDOR[2], VENDOR[1]],
        // One logical processor, cache lines of 64 bytes.
        1 => [SIGNATURE, 1 << 16 | 8 << 8, MORE_FEATURES, FEATURES | apic],
        0x4000_0000 => [0x4000_0000, HYPERVISOR[0], HYPERVISOR[1], HYPERVISOR[2]],
        0x8000_0000 => [0x8000_0008, VENDOR[0], VENDOR[2], VENDOR[1]],
        0x8000_0001 => [SIGNATURE, 0, MORE_EXTENDED, EXTENDED],
        0x8000_0002..=0x8000_0004 => {
            let first = (leaf - 0x8000_0002) as usize * 16;
            let word = |index: usize| {
                let bytes = BRAND[first + index * 4..].first_chunk::<4>();
                bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
            };
            [word(0), word(1), word(2), word(3)]
        }
        0x8000_0008 => [ADDRESS_SIZES, 0, 0, 0],
        _ => [0; 4],
    }
}
