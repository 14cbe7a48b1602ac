//! The kernel's 8259As, I/O APIC and PIT as after power-on.

use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_ioapic_state, kvm_irqchip,
    kvm_irqchip__bindgen_ty_1, kvm_pic_state, kvm_pit_channel_state, kvm_pit_state2,
};

use crate::vm::Vm;
use crate::{IrqChip, KvmError};

/// The 8259As, and which inputs of each can be levels: not those of the PIT, the keyboard, the cascade, the RTC and the
/// coprocessor (82371SB datasheet, ELCR1 and ELCR2).
const PICS: [(u32, u8); 2] = [(KVM_IRQCHIP_PIC_MASTER, 0xf8), (KVM_IRQCHIP_PIC_SLAVE, 0xde)];
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
        for (chip, elcr_mask) in PICS {
            let pic = kvm_pic_state {
                elcr_mask,
                ..kvm_pic_state::default()
            };
            self.set_irqchip(chip, kvm_irqchip__bindgen_ty_1 { pic })?;
        }
        let mut ioapic = kvm_ioapic_state {
            base_address: IOAPIC_BASE,
            ..kvm_ioapic_state::default()
        };
        for entry in &mut ioapic.redirtbl {
            entry.bits = MASKED;
        }
        self.set_irqchip(KVM_IRQCHIP_IOAPIC, kvm_irqchip__bindgen_ty_1 { ioapic })?;
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

    fn set_irqchip(&self, chip_id: u32, chip: kvm_irqchip__bindgen_ty_1) -> Result<(), KvmError> {
        let state = kvm_irqchip {
            chip_id,
            chip,
            ..kvm_irqchip::default()
        };
        self.fd
            .set_irqchip(&state)
            .map_err(KvmError::of("KVM_SET_IRQCHIP"))
    }
}
