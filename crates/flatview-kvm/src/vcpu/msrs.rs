//! Model-specific registers (Intel SDM vol. 4, table 2-2).

use std::io;

use flatview_accel::{AccelError, Msrs, VcpuState};
use kvm_bindings::{Msrs as MsrList, kvm_msr_entry};
use kvm_ioctls::VcpuFd;

use crate::KvmError;

/// The numbers of those that [`VcpuState`] has, each with its name.
const KNOWN: [(u32, &str); 40] = [
    (TSC, "IA32_TIME_STAMP_COUNTER"),
    (SMBASE, "IA32_SMBASE"),
    (0x174, "IA32_SYSENTER_CS"),
    (0x175, "IA32_SYSENTER_ESP"),
    (0x176, "IA32_SYSENTER_EIP"),
    (0x1a0, "IA32_MISC_ENABLE"),
    (0x200, "IA32_MTRR_PHYSBASE0"),
    (0x201, "IA32_MTRR_PHYSMASK0"),
    (0x202, "IA32_MTRR_PHYSBASE1"),
    (0x203, "IA32_MTRR_PHYSMASK1"),
    (0x204, "IA32_MTRR_PHYSBASE2"),
    (0x205, "IA32_MTRR_PHYSMASK2"),
    (0x206, "IA32_MTRR_PHYSBASE3"),
    (0x207, "IA32_MTRR_PHYSMASK3"),
    (0x208, "IA32_MTRR_PHYSBASE4"),
    (0x209, "IA32_MTRR_PHYSMASK4"),
    (0x20a, "IA32_MTRR_PHYSBASE5"),
    (0x20b, "IA32_MTRR_PHYSMASK5"),
    (0x20c, "IA32_MTRR_PHYSBASE6"),
    (0x20d, "IA32_MTRR_PHYSMASK6"),
    (0x20e, "IA32_MTRR_PHYSBASE7"),
    (0x20f, "IA32_MTRR_PHYSMASK7"),
    (0x250, "IA32_MTRR_FIX64K_00000"),
    (0x258, "IA32_MTRR_FIX16K_80000"),
    (0x259, "IA32_MTRR_FIX16K_A0000"),
    (0x268, "IA32_MTRR_FIX4K_C0000"),
    (0x269, "IA32_MTRR_FIX4K_C8000"),
    (0x26a, "IA32_MTRR_FIX4K_D0000"),
    (0x26b, "IA32_MTRR_FIX4K_D8000"),
    (0x26c, "IA32_MTRR_FIX4K_E0000"),
    (0x26d, "IA32_MTRR_FIX4K_E8000"),
    (0x26e, "IA32_MTRR_FIX4K_F0000"),
    (0x26f, "IA32_MTRR_FIX4K_F8000"),
    (0x277, "IA32_PAT"),
    (0x2ff, "IA32_MTRR_DEF_TYPE"),
    (0xc000_0081, "IA32_STAR"),
    (0xc000_0082, "IA32_LSTAR"),
    (0xc000_0083, "IA32_CSTAR"),
    (0xc000_0084, "IA32_FMASK"),
    (0xc000_0102, "IA32_KERNEL_GS_BASE"),
];
const TSC: u32 = 0x10;
const SMBASE: u32 = 0x9e;
const FIXED_16K: u32 = 0x258;
const FIXED_4K: u32 = 0x268;

/// Where the value of a register is that is only stored.
fn place(msrs: &mut Msrs, number: u32) -> Option<&mut u64> {
    let at = |first: u32| (number - first) as usize;
    Some(match number {
        0x174..=0x176 => &mut msrs.sysenter[at(0x174)],
        0x1a0 => &mut msrs.misc_enable,
        0x200..=0x20f => &mut msrs.mtrr_variable[at(0x200)],
        0x250 => &mut msrs.mtrr_fixed[0],
        FIXED_16K..=0x259 => &mut msrs.mtrr_fixed[1 + at(FIXED_16K)],
        FIXED_4K..=0x26f => &mut msrs.mtrr_fixed[3 + at(FIXED_4K)],
        0x277 => &mut msrs.pat,
        0x2ff => &mut msrs.mtrr_def_type,
        0xc000_0081 => &mut msrs.star,
        0xc000_0082..=0xc000_0084 => &mut msrs.syscall[at(0xc000_0082)],
        0xc000_0102 => &mut msrs.kernel_gs_base,
        _ => return None,
    })
}

fn value(state: &VcpuState, number: u32) -> Option<u64> {
    match number {
        TSC => state.msrs.tsc,
        SMBASE => Some(state.smbase.into()),
        _ => place(&mut state.msrs.clone(), number).copied(),
    }
}

fn put(state: &mut VcpuState, number: u32, value: u64) {
    match number {
        TSC => state.msrs.tsc = Some(value),
        SMBASE => state.smbase = u32::try_from(value).unwrap_or_default(),
        _ => {
            if let Some(place) = place(&mut state.msrs, number) {
                *place = value;
            }
        }
    }
}

fn list(entries: impl Iterator<Item = (u32, u64)>) -> Result<MsrList, AccelError> {
    let entries: Vec<_> = entries
        .map(|(index, data)| kvm_msr_entry {
            index,
            data,
            ..kvm_msr_entry::default()
        })
        .collect();
    let refused = |_| AccelError::Host {
        what: "a list of MSRs",
        source: io::ErrorKind::InvalidInput.into(),
    };
    MsrList::from_entries(&entries).map_err(refused)
}

/// The registers that a vCPU has, of those that are known here.
#[derive(Debug)]
pub(super) struct MsrSet {
    numbers: Vec<u32>,
}

impl MsrSet {
    /// Asks the kernel for all, and leaves out what it stumbles over.
    pub(super) fn probe(vcpu: &VcpuFd) -> Result<MsrSet, AccelError> {
        let mut numbers: Vec<u32> = KNOWN.iter().map(|&(number, _)| number).collect();
        loop {
            let mut entries = list(numbers.iter().map(|&number| (number, 0)))?;
            let read = vcpu
                .get_msrs(&mut entries)
                .map_err(KvmError::of("KVM_GET_MSRS"))?;
            if read >= numbers.len() {
                return Ok(MsrSet { numbers });
            }
            numbers.remove(read);
        }
    }

    /// Reads them all into `state`.
    pub(super) fn read(&self, vcpu: &VcpuFd, state: &mut VcpuState) -> Result<(), AccelError> {
        let mut entries = list(self.numbers.iter().map(|&number| (number, 0)))?;
        let read = vcpu
            .get_msrs(&mut entries)
            .map_err(KvmError::of("KVM_GET_MSRS"))?;
        for entry in entries.as_slice().iter().take(read) {
            put(state, entry.index, entry.data);
        }
        Ok(())
    }

    /// Writes those that differ from what they are known to be.
    ///
    /// # Errors
    ///
    /// [`AccelError::BadState`] for a value that the kernel refuses; those before it, by number, are written.
    pub(super) fn write(
        &self,
        vcpu: &VcpuFd,
        state: &VcpuState,
        known: Option<&VcpuState>,
    ) -> Result<(), AccelError> {
        let changed: Vec<(u32, u64)> = self
            .numbers
            .iter()
            .filter_map(|&number| Some((number, value(state, number)?)))
            .filter(|&(number, new)| known.is_none_or(|known| value(known, number) != Some(new)))
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        let written = vcpu
            .set_msrs(&list(changed.iter().copied())?)
            .map_err(KvmError::of("KVM_SET_MSRS"))?;
        let Some(&(refused, value)) = changed.get(written) else {
            return Ok(());
        };
        let register = KNOWN.iter().find(|(number, _)| *number == refused);
        Err(AccelError::BadState {
            register: register.map_or("an MSR", |(_, name)| name),
            value,
            why: "KVM refuses it",
        })
    }
}
