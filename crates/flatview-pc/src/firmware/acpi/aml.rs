//! Pieces of AML that `acpi_tables` does not have, and short words for those that come often.

use acpi_tables::aml::{Device, EISAName, IO, Name, ResourceTemplate};
use acpi_tables::{Aml, AmlSink};

/// What is encoded already.
#[derive(Default)]
pub(super) struct Encoded(pub(super) Vec<u8>);

impl Encoded {
    pub(super) fn new(terms: &[&dyn Aml]) -> Encoded {
        let mut encoded = Encoded::default();
        for &term in terms {
            encoded.push(term);
        }
        encoded
    }

    pub(super) fn push(&mut self, term: &dyn Aml) {
        term.to_aml_bytes(&mut self.0);
    }
}

impl Aml for Encoded {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

/// An ISA interrupt: an IRQ Descriptor without flags (ACPI 6.4.2.1).
pub(super) struct IsaInterrupt(pub(super) u8);

impl Aml for IsaInterrupt {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.byte(0x22);
        sink.word(1_u16.checked_shl(self.0.into()).unwrap_or(0));
    }
}

/// Interrupts of PCI devices, of which one is used: an Extended Interrupt Descriptor (ACPI 6.4.3.6) that says
/// consumer, level triggered, active high, shared.
pub(super) struct PciInterrupts<'a>(pub(super) &'a [u8]);

impl PciInterrupts<'_> {
    /// Where the first number is in the descriptor.
    pub(super) const FIRST: u8 = 5;
}

impl Aml for PciInterrupts<'_> {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        let count = u8::try_from(self.0.len()).unwrap_or(u8::MAX);
        sink.byte(0x89);
        sink.word(2 + 4 * u16::from(count));
        sink.vec(&[0b1001, count]);
        for &number in self.0.iter().take(count.into()) {
            sink.dword(number.into());
        }
    }
}

/// Ports that are always at the same place.
pub(super) fn ports(first: u16, count: u8) -> IO {
    IO::new(first, first, 1, count)
}

/// A device with a hardware id of EISA's kind, these resources, and something more.
pub(super) fn eisa_device(name: &str, id: &str, resources: Vec<&dyn Aml>, more: &dyn Aml) -> Encoded {
    Encoded::new(&[&Device::new(
        name.into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new(id)),
            more,
            &Name::new("_CRS".into(), &ResourceTemplate::new(resources)),
        ],
    )])
}

/// The term that names a device among those of its kind.
pub(super) fn unique(id: &dyn Aml) -> Name {
    Name::new("_UID".into(), id)
}
