//! Interrupt controllers that the accelerator has itself.

use std::fmt;
use std::sync::{Arc, Weak};

use flatview::{MemTxAttrs, MemTxError, MemoryRegionOps};
use flatview_accel::{EoiListener, IrqChip, MsiMessage};

use crate::device::Reset;
use crate::devices::DeviceRegion;
use crate::irq::{APIC_DEFAULT_BASE, InterruptMessage, InterruptSink, LocalApics};

/// The accelerator's local APICs, behind an I/O APIC of the board's; and what devices that write messages find at
/// 0xfee00000. A CPU that does finds its own APIC, and never comes here.
#[derive(Clone, Debug)]
pub struct AcceleratedApics(Arc<dyn IrqChip>);

impl AcceleratedApics {
    /// The local APICs of `chip`.
    pub fn new(chip: Arc<dyn IrqChip>) -> Arc<AcceleratedApics> {
        Arc::new(AcceleratedApics(chip))
    }

    /// `kvm-apic-msi`, 1 MiB at 0xfee00000.
    pub fn region(this: &Arc<AcceleratedApics>) -> DeviceRegion {
        DeviceRegion {
            name: "kvm-apic-msi",
            address: APIC_DEFAULT_BASE,
            size: 0x10_0000,
            ops: Arc::clone(this) as _,
        }
    }
}

impl LocalApics for AcceleratedApics {
    fn deliver(&self, message: InterruptMessage) -> bool {
        self.0.send_msi(message.to_msi());
        true
    }

    fn on_eoi(&self, listener: Weak<dyn EoiListener>) {
        self.0.on_eoi(listener);
    }

    fn set_pins(&self, pins: &mut dyn Iterator<Item = Option<InterruptMessage>>) {
        let messages: Vec<_> = pins.map(|pin| pin.map(InterruptMessage::to_msi)).collect();
        // It was asked for 24 pins when it was made, and an I/O APIC has no more.
        let _ = self.0.set_pin_messages(&messages);
    }
}

impl MemoryRegionOps for AcceleratedApics {
    fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(u64::MAX)
    }

    fn write(&self, offset: u64, _: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        #[expect(clippy::cast_possible_truncation, reason = "a message has 32 bits")]
        let data = value as u32;
        let address = APIC_DEFAULT_BASE + offset;
        self.0.send_msi(MsiMessage { address, data });
        Ok(())
    }
}

/// The lines of an accelerator that has all controllers.
pub struct AcceleratedLines(Arc<dyn IrqChip>);

impl AcceleratedLines {
    /// The lines of `chip`.
    pub fn new(chip: Arc<dyn IrqChip>) -> Arc<AcceleratedLines> {
        Arc::new(AcceleratedLines(chip))
    }
}

impl InterruptSink for AcceleratedLines {
    fn set_irq(&self, pin: u32, level: bool) {
        self.0.set_irq(pin, level);
    }
}

impl Reset for AcceleratedLines {
    fn reset(&self) {
        self.0.reset();
    }
}

impl fmt::Debug for AcceleratedLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AcceleratedLines").field(&self.0).finish()
    }
}
