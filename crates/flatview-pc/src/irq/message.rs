//! What interrupt controllers send to local APICs.

use std::sync::Weak;

use bitflags::bitflags;
use flatview_accel::{EoiListener, MsiMessage};

use super::APIC_DEFAULT_BASE;

/// How an interrupt is delivered (Intel SDM vol. 3, 10.6.1, bits 8 to 10 of the ICR).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the manual's")]
pub enum DeliveryMode {
    Fixed,
    LowestPriority,
    Smi,
    Reserved,
    Nmi,
    Init,
    StartUp,
    ExtInt,
}

impl DeliveryMode {
    /// From bits 8 to 10 of a register or of a message's data.
    pub(crate) fn of(register: u32) -> DeliveryMode {
        match register >> 8 & 7 {
            0 => DeliveryMode::Fixed,
            1 => DeliveryMode::LowestPriority,
            2 => DeliveryMode::Smi,
            3 => DeliveryMode::Reserved,
            4 => DeliveryMode::Nmi,
            5 => DeliveryMode::Init,
            6 => DeliveryMode::StartUp,
            _ => DeliveryMode::ExtInt,
        }
    }
}

bitflags! {
    /// Bits that the LVT, the ICR, redirection entries and messages have in common.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Bits: u32 {
        /// The destination is logical.
        const LOGICAL = 1 << 11;
        const PENDING = 1 << 12;
        const ACTIVE_LOW = 1 << 13;
        const REMOTE_IRR = 1 << 14;
        const ASSERT = 1 << 14;
        const LEVEL = 1 << 15;
        const MASKED = 1 << 16;
    }
}

/// An interrupt on its way to local APICs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterruptMessage {
    /// An APIC id, or a set of logical ones; 0xff means all.
    pub destination: u8,
    /// Whether the destination is logical.
    pub logical: bool,
    /// How.
    pub mode: DeliveryMode,
    /// The vector, for modes that have one.
    pub vector: u8,
    /// The trigger mode: an EOI is announced to the I/O APICs.
    pub level: bool,
}

/// Local APICs, as an I/O APIC reaches them.
pub trait LocalApics: Send + Sync {
    /// An interrupt for them. Returns false if nobody takes it.
    fn deliver(&self, message: InterruptMessage) -> bool;

    /// Whom to tell that level-triggered interrupts have ended. The first one stays.
    fn on_eoi(&self, listener: Weak<dyn EoiListener>);

    /// What the pins of the I/O APIC send from now on, from pin 0 on; `None` for one that is masked.
    fn set_pins(&self, pins: &mut dyn Iterator<Item = Option<InterruptMessage>>) {
        let _ = pins;
    }
}

impl InterruptMessage {
    /// What a write of `data` to `address` (the window at 0xfee00000) means: a message-signalled interrupt (Intel SDM
    /// vol. 3, 10.11).
    pub fn msi(address: u64, data: u32) -> InterruptMessage {
        let [_, destination, ..] = (address >> 4).to_le_bytes();
        InterruptMessage::new(destination, address & 4 != 0, data)
    }

    /// The inverse of [`msi`](Self::msi).
    pub(crate) fn to_msi(self) -> MsiMessage {
        let logical = u64::from(self.logical) << 2;
        let level = if self.level {
            Bits::LEVEL | Bits::ASSERT
        } else {
            Bits::empty()
        };
        MsiMessage {
            address: APIC_DEFAULT_BASE | u64::from(self.destination) << 12 | logical,
            data: u32::from(self.vector) | (self.mode as u32) << 8 | level.bits(),
        }
    }

    /// With mode, vector and trigger as the low bits of ICR, redirection entries and data have them.
    pub(crate) fn new(destination: u8, logical: bool, low: u32) -> InterruptMessage {
        let [vector, ..] = low.to_le_bytes();
        InterruptMessage {
            destination,
            logical,
            mode: DeliveryMode::of(low),
            vector,
            level: low & Bits::LEVEL.bits() != 0,
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn an_msi_has_its_destination_in_the_address_and_the_rest_in_the_data() {
        let expected = InterruptMessage {
            destination: 0x12,
            logical: true,
            mode: DeliveryMode::LowestPriority,
            vector: 0x41,
            level: true,
        };
        assert_eq!(InterruptMessage::msi(0xfee1_200c, 0xc141), expected);
        let MsiMessage { address, data } = expected.to_msi();
        assert_eq!(InterruptMessage::msi(address, data), expected);
        let expected = InterruptMessage {
            logical: false,
            mode: DeliveryMode::Fixed,
            level: false,
            ..expected
        };
        assert_eq!(InterruptMessage::msi(0xfee1_2000, 0x41), expected);
    }
}
