//! The ISA bridge and what is behind it.

use acpi_tables::aml::{
    Device, Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, Name, OpRegion,
    OpRegionSpace, Path,
};

use super::super::FirmwareConfig;
use super::aml::{Encoded, IsaInterrupt, eisa_device, ports, unique};

/// The PIIX3 is device 1, function 0.
const ADDRESS: u32 = 1 << 16;
/// The PIRQ Route Control registers A to D in its configuration space (PIIX3 datasheet, 2.5.4).
const ROUTE_CONTROL: u8 = 0x60;
const ROUTES: u8 = 4;
/// The usual serial ports: the first port, and the interrupt.
const SERIAL: [(u16, u8); 4] = [(0x3f8, 4), (0x2f8, 3), (0x3e8, 4), (0x2e8, 3)];
const SERIAL_PORTS: u8 = 8;

pub(super) fn bridge(config: &FirmwareConfig) -> Encoded {
    let routes = (b'A'..).take(ROUTES.into());
    let fields = Field::new(
        "PIRQ".into(),
        FieldAccessType::Byte,
        FieldLockRule::NoLock,
        FieldUpdateRule::Preserve,
        routes
            .map(|route| FieldEntry::Named([b'P', b'R', b'Q', route], 8))
            .collect(),
    );
    let none = Encoded::default();
    let mut devices = Encoded::new(&[
        &eisa_device(
            "KBD_",
            "PNP0303",
            vec![&ports(0x60, 1), &ports(0x64, 1), &IsaInterrupt(1)],
            &none,
        ),
        &eisa_device("MOU_", "PNP0F13", vec![&IsaInterrupt(12)], &none),
        &eisa_device("RTC_", "PNP0B00", vec![&ports(0x70, 8), &IsaInterrupt(8)], &none),
    ]);
    for (number, (port, interrupt)) in (1_u8..).zip(SERIAL).take(config.serial_ports.into()) {
        devices.push(&eisa_device(
            &format!("COM{number}"),
            "PNP0501",
            vec![&ports(port, SERIAL_PORTS), &IsaInterrupt(interrupt)],
            &unique(&number),
        ));
    }
    Encoded::new(&[&Device::new(
        Path::new("ISA_"),
        vec![
            &Name::new("_ADR".into(), &ADDRESS),
            &OpRegion::new("PIRQ".into(), OpRegionSpace::PCIConfig, &ROUTE_CONTROL, &ROUTES),
            &fields,
            &devices,
        ],
    )])
}
