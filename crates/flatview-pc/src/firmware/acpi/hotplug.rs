//! Slots into which memory is plugged while the guest runs: the guest's side of QEMU's
//! `docs/specs/acpi_mem_hotplug.rst`.
//!
//! The machine has 24 ports. The guest selects a slot; the ports then tell the memory that is in it, whether it has
//! just come or shall go, and take what became of it. General purpose event 3 says that something happened.

use acpi_tables::Aml;
use acpi_tables::aml::{
    Acquire, Add, AddressSpace, AddressSpaceCacheable, Arg, CreateQWordField, Device, EISAName, Else, Equal,
    Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, If, LessThan, Local, Method,
    MethodCall, Mutex, Name, Notify, ONE, OpRegion, OpRegionSpace, Or, Path, Release, ResourceTemplate,
    Return, Scope, ShiftLeft, Store, Subtract, While, ZERO,
};

use super::super::MemoryHotplug;
use super::aml::{Encoded, unique};
use super::dsdt::hidden;

const PORTS: u8 = 24;
/// Where the bits of a slot's state are among the ports.
const STATE_BIT: usize = 0x14 * 8;
/// Present, enabled, shown, working (ACPI 6.3.7).
const PRESENT: u8 = 0xf;
/// Notifications (ACPI 5.6.6): look what is there; please eject.
const DEVICE_CHECK: u8 = 1;
const EJECT_REQUEST: u8 = 3;
/// Where the fields of a QWord Address Space Descriptor are (ACPI 6.4.3.5.1).
const MINIMUM: u8 = 14;
const MAXIMUM: u8 = 22;
const LENGTH: u8 = 38;
const FOREVER: u16 = 0xffff;

/// The slots, in scopes of their own.
pub(super) fn slots(hotplug: MemoryHotplug) -> Encoded {
    let registers = hidden(
        "MHPD",
        &EISAName::new("PNP0A06"),
        &"Memory hotplug resources",
        hotplug.port,
        PORTS,
    );
    let mut controller = Encoded::new(&[
        &Name::new("_HID".into(), &EISAName::new("PNP0A06")),
        &unique(&"DIMM devices"),
        &fields(hotplug.port),
        &Mutex::new("MLCK".into(), 0),
        &scan(hotplug.slots),
        &in_slot("MRST", 1, &status()),
        &resources(),
        &in_slot("MPXM", 1, &Store::new(&Local(0), &Path::new("MPX_"))),
        &in_slot(
            "MOST",
            3,
            &Encoded::new(&[
                &Store::new(&Path::new("MOEV"), &Arg(1)),
                &Store::new(&Path::new("MOSC"), &Arg(2)),
            ]),
        ),
        &in_slot("MEJT", 1, &Store::new(&Path::new("MEJ_"), &ONE)),
    ]);
    let mut notify = Encoded::default();
    for slot in 0..hotplug.slots {
        let device = Path::new(&format!("M{slot:03X}"));
        controller.push(&memory_device(slot));
        notify.push(&If::new(
            &Equal::new(&Arg(0), &slot),
            vec![&Notify::new(&device, &Arg(1))],
        ));
    }
    controller.push(&Method::new("MTFY".into(), 2, false, vec![&notify]));
    let event = MethodCall::new("\\_SB_.MHPC.MSCN".into(), vec![]);
    Encoded::new(&[
        &Scope::new("\\_SB_.PCI0".into(), vec![&registers]),
        &Scope::new(
            "\\_SB_".into(),
            vec![&Device::new("MHPC".into(), vec![&controller])],
        ),
        &Scope::new(
            "\\_GPE".into(),
            vec![&Method::new("_E03".into(), 0, false, vec![&event])],
        ),
    ])
}

/// What reading means, and writing.
fn fields(port: u16) -> Encoded {
    let words = |names: &[&[u8; 4]]| {
        let entries = names.iter().map(|&&name| FieldEntry::Named(name, 32)).collect();
        let access = FieldAccessType::DWord;
        Field::new(
            "HPMR".into(),
            access,
            FieldLockRule::NoLock,
            FieldUpdateRule::Preserve,
            entries,
        )
    };
    let bits = [*b"MES_", *b"MINS", *b"MRMV", *b"MEJ_"].map(|name| FieldEntry::Named(name, 1));
    Encoded::new(&[
        &OpRegion::new("HPMR".into(), OpRegionSpace::SystemIO, &port, &PORTS),
        &words(&[b"MRBL", b"MRBH", b"MRLL", b"MRLH", b"MPX_"]),
        &Field::new(
            "HPMR".into(),
            FieldAccessType::Byte,
            FieldLockRule::NoLock,
            // A one of the others means something, too.
            FieldUpdateRule::WriteAsZeroes,
            [&[FieldEntry::Reserved(STATE_BIT)], bits.as_slice()].concat(),
        ),
        &words(&[b"MSEL", b"MOEV", b"MOSC"]),
    ])
}

/// A method whose first argument is a slot. It does something with the slot selected and returns Local0.
fn in_slot(name: &str, arguments: u8, what: &dyn Aml) -> Encoded {
    Encoded::new(&[&Method::new(
        name.into(),
        arguments,
        true,
        vec![
            &Acquire::new("MLCK".into(), FOREVER),
            &Store::new(&Path::new("MSEL"), &Arg(0)),
            &Store::new(&Local(0), &ZERO),
            what,
            &Release::new("MLCK".into()),
            &Return::new(&Local(0)),
        ],
    )])
}

fn status() -> Encoded {
    Encoded::new(&[&If::new(
        &Equal::new(&Path::new("MES_"), &ONE),
        vec![&Store::new(&Local(0), &PRESENT)],
    )])
}

/// MCRS: the resources of the memory in a slot.
fn resources() -> Encoded {
    let whole = AddressSpace::new_memory(AddressSpaceCacheable::Cacheable, true, 0, u64::MAX - 1, None);
    let (low, high) = (
        [Path::new("MRBL"), Path::new("MRLL")],
        [Path::new("MRBH"), Path::new("MRLH")],
    );
    let high_half =
        |local: &Local, register: &Path| Encoded::new(&[&ShiftLeft::new(local, register, &32_u8)]);
    in_slot(
        "MCRS",
        1,
        &Encoded::new(&[
            &Name::new("MRES".into(), &ResourceTemplate::new(vec![&whole])),
            &CreateQWordField::new(&Path::new("MINQ"), &Path::new("MRES"), &MINIMUM),
            &CreateQWordField::new(&Path::new("MAXQ"), &Path::new("MRES"), &MAXIMUM),
            &CreateQWordField::new(&Path::new("LENQ"), &Path::new("MRES"), &LENGTH),
            &high_half(&Local(1), &high[0]),
            &Or::new(&Path::new("MINQ"), &Local(1), &low[0]),
            &high_half(&Local(1), &high[1]),
            &Or::new(&Path::new("LENQ"), &Local(1), &low[1]),
            &Add::new(&Local(1), &Path::new("MINQ"), &Path::new("LENQ")),
            &Subtract::new(&Path::new("MAXQ"), &Local(1), &ONE),
            &Store::new(&Local(0), &Path::new("MRES")),
        ]),
    )
}

/// MSCN: asks each slot what happened to it.
fn scan(slots: u16) -> Encoded {
    let happened = |bit: &str, event: u8| {
        let bit = Path::new(bit);
        Encoded::new(&[&If::new(
            &Equal::new(&bit, &ONE),
            vec![
                &MethodCall::new("MTFY".into(), vec![&Local(0), &event]),
                &Store::new(&bit, &ONE),
            ],
        )])
    };
    Encoded::new(&[&Method::new(
        "MSCN".into(),
        0,
        true,
        vec![
            &Store::new(&Local(0), &ZERO),
            &Acquire::new("MLCK".into(), FOREVER),
            &While::new(
                &LessThan::new(&Local(0), &slots),
                vec![
                    &Store::new(&Path::new("MSEL"), &Local(0)),
                    &happened("MINS", DEVICE_CHECK),
                    &Else::new(vec![&happened("MRMV", EJECT_REQUEST)]),
                    &Add::new(&Local(0), &Local(0), &ONE),
                ],
            ),
            &Release::new("MLCK".into()),
        ],
    )])
}

/// A slot.
fn memory_device(slot: u16) -> Encoded {
    let asks = |name: &str, method: &str| {
        let call = MethodCall::new(method.into(), vec![&slot]);
        Encoded::new(&[&Method::new(name.into(), 0, false, vec![&Return::new(&call)])])
    };
    Encoded::new(&[&Device::new(
        Path::new(&format!("M{slot:03X}")),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0C80")),
            &unique(&slot),
            &asks("_CRS", "MCRS"),
            &asks("_STA", "MRST"),
            &asks("_PXM", "MPXM"),
            &Method::new(
                "_OST".into(),
                3,
                false,
                vec![&MethodCall::new("MOST".into(), vec![&slot, &Arg(0), &Arg(1)])],
            ),
            &Method::new(
                "_EJ0".into(),
                1,
                false,
                vec![&MethodCall::new("MEJT".into(), vec![&slot])],
            ),
        ],
    )])
}
