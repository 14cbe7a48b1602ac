//! How interrupts of PCI devices reach the interrupt controllers: ACPI's interrupt link devices (ACPI 6.2.13), one for
//! each PIRQ of the PIIX3.

use acpi_tables::aml::{
    And, Arg, CreateDWordField, Device, EISAName, If, LessThan, Method, MethodCall, Name, Or, Package,
    PackageBuilder, Path, ResourceTemplate, Return, Store, ZERO,
};

use super::aml::{Encoded, PciInterrupts, unique};

/// The interrupts of PCI devices, by QEMU's firmware.
const POSSIBLE: [u8; 3] = [5, 10, 11];
/// The interrupt of power management, which is wired.
const SCI: u8 = 9;
/// PIIX3 datasheet, 2.5.4: the route is off.
const OFF: u8 = 0x80;
/// There and working; there and off (ACPI 6.3.7).
const ENABLED: u8 = 0b1011;
const DISABLED: u8 = 0b1001;
/// Devices on bus 0, and interrupt pins of a device.
const SLOTS: u8 = 32;
const PINS: u8 = 4;
/// The PIIX3 with the PIIX4's power management.
const PIIX_SLOT: u8 = 1;

/// The links, and two methods that they share.
pub(super) fn links() -> Encoded {
    let mut links = Encoded::new(&[
        // IQST: a link's status, from its register.
        &Method::new(
            "IQST".into(),
            1,
            false,
            vec![
                &If::new(&And::new(&ZERO, &Arg(0), &OFF), vec![&Return::new(&DISABLED)]),
                &Return::new(&ENABLED),
            ],
        ),
        // IQCR: its current resources, from its register.
        &Method::new(
            "IQCR".into(),
            1,
            true,
            vec![
                &Name::new("IRQR".into(), &ResourceTemplate::new(vec![&PciInterrupts(&[0])])),
                &CreateDWordField::new(&Path::new("IRQN"), &Path::new("IRQR"), &PciInterrupts::FIRST),
                &If::new(
                    &LessThan::new(&Arg(0), &OFF),
                    vec![&Store::new(&Path::new("IRQN"), &Arg(0))],
                ),
                &Return::new(&Path::new("IRQR")),
            ],
        ),
    ]);
    for (number, letter) in (0_u8..).zip(['A', 'B', 'C', 'D']) {
        links.push(&link(number, letter));
    }
    links.push(&power_management_link());
    links
}

/// The link of the PIRQ with this letter.
fn link(number: u8, letter: char) -> Encoded {
    let register = Path::new(&format!("\\_SB_.PCI0.ISA_.PRQ{letter}"));
    let possible = ResourceTemplate::new(vec![&PciInterrupts(&POSSIBLE)]);
    Encoded::new(&[&Device::new(
        Path::new(&format!("LNK{letter}")),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0C0F")),
            &unique(&number),
            &Name::new("_PRS".into(), &possible),
            &Method::new(
                "_STA".into(),
                0,
                false,
                vec![&Return::new(&MethodCall::new("IQST".into(), vec![&register]))],
            ),
            &Method::new(
                "_DIS".into(),
                0,
                false,
                vec![&Or::new(&register, &register, &OFF)],
            ),
            &Method::new(
                "_CRS".into(),
                0,
                false,
                vec![&Return::new(&MethodCall::new("IQCR".into(), vec![&register]))],
            ),
            &Method::new(
                "_SRS".into(),
                1,
                false,
                vec![
                    &CreateDWordField::new(&Path::new("IRQN"), &Arg(0), &PciInterrupts::FIRST),
                    &Store::new(&register, &Path::new("IRQN")),
                ],
            ),
        ],
    )])
}

/// Power management has an interrupt of its own, and nothing about it can be changed.
fn power_management_link() -> Encoded {
    let resources = ResourceTemplate::new(vec![&PciInterrupts(&[SCI])]);
    Encoded::new(&[&Device::new(
        Path::new("LNKS"),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0C0F")),
            &unique(&4_u8),
            &Name::new("_PRS".into(), &resources),
            &Name::new("_CRS".into(), &resources),
            &Name::new("_STA".into(), &ENABLED),
            &Method::new("_DIS".into(), 0, false, vec![]),
            &Method::new("_SRS".into(), 1, false, vec![]),
        ],
    )])
}

/// Which pin of which device is which link (`_PRT`, ACPI 6.2.13): as the slots of QEMU's i440FX are wired.
pub(super) fn routing() -> PackageBuilder {
    let mut routing = PackageBuilder::new();
    for (slot, pin) in (0..SLOTS).flat_map(|slot| (0..PINS).map(move |pin| (slot, pin))) {
        let letter = match (slot + pin) % 4 {
            1 if slot == PIIX_SLOT => 'S',
            1 => 'A',
            2 => 'B',
            3 => 'C',
            _ => 'D',
        };
        // The device, all its functions.
        let address = u32::from(slot) << 16 | 0xffff;
        let link = Path::new(&format!("\\_SB_.LNK{letter}"));
        routing.add_element(&Package::new(vec![&address, &pin, &link, &ZERO]));
    }
    routing
}
