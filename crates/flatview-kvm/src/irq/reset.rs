//! The kernel's 8259As, I/O APIC and PIT as after power-on.
#![expect(unsafe_code, reason = "a chip's state is a union")]

use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_ioapic_state, kvm_irqchip,
    kvm_pic_state, kvm_pit_channel_state, kvm_pit_state2,
};

use crate::vm::Vm;
use crate::{IrqChip, KvmError};

/// In a redirection entry of an I/O APIC: its pin is masked (Intel 82093AA).
const MASKED: u64 = 1 << 16;
/// Where the I/O APIC is.
const IOAPIC_BASE: u64 = 0xfec0_0000;

impl Vm {
    /// All interrupt controllers that the kernel has, but the local APICs.
    pub(crate) fn reset_irqchips(&self) -> Result<(), KvmError> {
        if self.config.irqchip != IrqChip::Kernel {
            return Ok(());
        }
        for chip in [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE] {
            self.change_irqchip(chip, |state| {
                // SAFETY: the kernel has filled in the state of an 8259A, and any bits are one.
                let pic = unsafe { &mut state.chip.pic };
                // Which inputs can be levels is how the chip is wired.
                *pic = kvm_pic_state {
                    elcr_mask: pic.elcr_mask,
                    ..kvm_pic_state::default()
                };
            })?;
        }
        self.change_irqchip(KVM_IRQCHIP_IOAPIC, |state| {
            let mut ioapic = kvm_ioapic_state {
                base_address: IOAPIC_BASE,
                ..kvm_ioapic_state::default()
            };
            for entry in &mut ioapic.redirtbl {
                entry.bits = MASKED;
            }
            state.chip.ioapic = ioapic;
        })?;
        if !self.config.pit {
            return Ok(());
        }
        // As long as a count of 0 lasts, and running.
        let channel = kvm_pit_channel_state {
            count: 0x1_0000,
            mode: 3,
            gate: 1,
            ..kvm_pit_channel_state::default()
        };
        let mut pit = kvm_pit_state2 {
            channels: [channel; 3],
            ..kvm_pit_state2::default()
        };
        pit.channels[2].gate = 0;
        self.fd.set_pit2(&pit).map_err(KvmError::of("KVM_SET_PIT2"))
    }

    fn change_irqchip(&self, chip: u32, change: impl FnOnce(&mut kvm_irqchip)) -> Result<(), KvmError> {
        let mut state = kvm_irqchip {
            chip_id: chip,
            ..kvm_irqchip::default()
        };
        self.fd
            .get_irqchip(&mut state)
            .map_err(KvmError::of("KVM_GET_IRQCHIP"))?;
        change(&mut state);
        self.fd
            .set_irqchip(&state)
            .map_err(KvmError::of("KVM_SET_IRQCHIP"))
    }
}
