//! The SMBIOS tables: who made the machine, and what it is made of, for people to read.
//!
//! As in QEMU 10.0's `pc`: version 2.8 with the 32-bit entry point. The firmware puts the table into memory, writes its
//! address and the checksums into the entry point, and adds the structure about itself (type 0). "SMBIOS" with a number
//! is a section of the specification (DSP0134), version 2.8.

use super::FirmwareConfig;

const MANUFACTURER: &str = "Flatview";
const PRODUCT: &str = "Standard PC (i440FX + PIIX, 2026)";
const VERSION: &str = env!("CARGO_PKG_VERSION");

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
/// A memory device has at most this, as in QEMU, unless there would be more of them than there are handles.
const DEVICE_BYTES: u64 = 16 * GIB;
const MOST_DEVICES: u64 = 0x200;

/// The first handle of each type is its number and eight zero bits.
const ARRAY_HANDLE: u16 = 16 << 8;
/// What is not known, where a field has 16 bits.
const UNKNOWN: u16 = 0xffff;
/// There is no structure about errors (SMBIOS 7.17, 7.18).
const NO_ERRORS: u16 = 0xfffe;

/// The tables, as files of fw_cfg.
#[derive(Clone, Debug)]
pub(super) struct SmbiosFiles {
    /// `etc/smbios/smbios-tables`: the structures.
    pub(super) tables: Vec<u8>,
    /// `etc/smbios/smbios-anchor`: the entry point, without address and checksums.
    pub(super) anchor: Vec<u8>,
}

impl SmbiosFiles {
    pub(super) const NAMES: [&str; 2] = ["etc/smbios/smbios-tables", "etc/smbios/smbios-anchor"];

    pub(super) fn new(config: &FirmwareConfig) -> SmbiosFiles {
        let mut structures = Structures::default();
        structures.add(system(config));
        structures.add(chassis());
        structures.add(processor(config));
        memory(&mut structures, config);
        structures.add(boot());
        structures.add(Structure::new(127, 0));
        SmbiosFiles {
            anchor: structures.anchor(),
            tables: structures.bytes,
        }
    }
}

/// SMBIOS 7.2: the system. The first three fields of the UUID have their lowest byte first.
fn system(config: &FirmwareConfig) -> Structure {
    const POWER_SWITCH: u8 = 6;
    let mut uuid = config.uuid;
    uuid[..4].reverse();
    uuid[4..6].reverse();
    uuid[6..8].reverse();
    let mut system = Structure::new(1, 0);
    let strings = [MANUFACTURER, PRODUCT, VERSION].map(|string| system.string(string));
    system.bytes(&strings);
    // No serial number.
    system.bytes(&[0]);
    system.bytes(&uuid);
    system.bytes(&[POWER_SWITCH, 0, 0]);
    system
}

/// SMBIOS 7.4: what it is in. Nobody asks for its height.
fn chassis() -> Structure {
    const OTHER: u8 = 1;
    const SAFE: u8 = 3;
    const NO_SECURITY_KNOWN: u8 = 2;
    let mut chassis = Structure::new(3, 0);
    let manufacturer = chassis.string(MANUFACTURER);
    let version = chassis.string(VERSION);
    chassis.bytes(&[manufacturer, OTHER, version, 0, 0]);
    chassis.bytes(&[SAFE, SAFE, SAFE, NO_SECURITY_KNOWN]);
    chassis.bytes(&[0; 9]);
    chassis
}

/// SMBIOS 7.5: one socket with all CPUs.
fn processor(config: &FirmwareConfig) -> Structure {
    const CENTRAL: u8 = 3;
    const OTHER: u8 = 1;
    const POPULATED_AND_ENABLED: u8 = 0x41;
    /// What QEMU says, in MHz.
    const SPEED: u16 = 2000;
    const UNKNOWN_CHARACTERISTICS: u16 = 2;
    let mut processor = Structure::new(4, 0);
    let socket = processor.string("CPU 0");
    let manufacturer = processor.string(MANUFACTURER);
    let version = processor.string(VERSION);
    let cores = u8::try_from(config.cpus.len()).unwrap_or(u8::MAX);
    processor.bytes(&[socket, CENTRAL, OTHER, manufacturer]);
    processor.bytes(&config.processor_id.to_le_bytes());
    processor.bytes(&[version, 0]);
    processor.words(&[0, SPEED, SPEED]);
    processor.bytes(&[POPULATED_AND_ENABLED, OTHER]);
    // No structures about caches; no serial number, asset tag, part number.
    processor.words(&[UNKNOWN; 3]);
    processor.bytes(&[0, 0, 0, cores, cores, cores]);
    processor.words(&[UNKNOWN_CHARACTERISTICS, OTHER.into()]);
    processor
}

/// SMBIOS 7.17, 7.18 and 7.20: the memory, the devices it is made of, and where it is.
fn memory(structures: &mut Structures, config: &FirmwareConfig) {
    const OTHER: u8 = 1;
    const SYSTEM_MEMORY: u8 = 3;
    const MULTI_BIT_ECC: u8 = 6;
    /// The size is in the extended field.
    const EXTENDED: u32 = 0x8000_0000;
    let ram = config.ram();
    let device_bytes = DEVICE_BYTES.max(ram.div_ceil(MOST_DEVICES).next_multiple_of(GIB));
    let devices = u16::try_from(ram.div_ceil(device_bytes)).unwrap_or(u16::MAX);

    let mut array = Structure::new(16, 0);
    array.bytes(&[OTHER, SYSTEM_MEMORY, MULTI_BIT_ECC]);
    let small = u32::try_from(ram / KIB).ok().filter(|_| ram < 2 * TIB);
    array.bytes(&small.unwrap_or(EXTENDED).to_le_bytes());
    array.words(&[NO_ERRORS, devices]);
    array.bytes(&if small.is_some() { 0 } else { ram }.to_le_bytes());
    structures.add(array);

    let mut left = ram;
    for number in 0..devices {
        let size = left.min(device_bytes);
        structures.add(memory_device(number, size));
        left -= size;
    }
    for (number, (start, size)) in (0..).zip(config.ram_ranges()) {
        structures.add(mapped_address(number, start, size));
    }
}

fn memory_device(number: u16, size: u64) -> Structure {
    const DIMM: u8 = 9;
    const RAM: u8 = 7;
    const OTHER_DETAIL: u16 = 2;
    /// The size is in the extended field.
    const EXTENDED: u16 = 0x7fff;
    let mut device = Structure::new(17, number);
    let locator = device.string(&format!("DIMM {number}"));
    let manufacturer = device.string(MANUFACTURER);
    let mebibytes = size / MIB;
    let small = u16::try_from(mebibytes).ok().filter(|&size| size < EXTENDED);
    device.words(&[
        ARRAY_HANDLE,
        NO_ERRORS,
        UNKNOWN,
        UNKNOWN,
        small.unwrap_or(EXTENDED),
    ]);
    device.bytes(&[DIMM, 0, locator, 0, RAM]);
    device.words(&[OTHER_DETAIL, 0]);
    device.bytes(&[manufacturer, 0, 0, 0, 0]);
    let extended = u32::try_from(mebibytes).ok().filter(|_| small.is_none());
    device.bytes(&extended.unwrap_or(0).to_le_bytes());
    device.words(&[0; 4]);
    device
}

fn mapped_address(number: u16, start: u64, size: u64) -> Structure {
    let last = start + (size - 1);
    let kibibytes = (u32::try_from(start / KIB), u32::try_from(last / KIB));
    let mut mapped = Structure::new(19, number);
    let (small, large) = match kibibytes {
        (Ok(start), Ok(end)) if end != u32::MAX => ([start, end], [0, 0]),
        _ => ([u32::MAX; 2], [start, last]),
    };
    mapped.bytes(&small.map(u32::to_le_bytes).concat());
    mapped.words(&[ARRAY_HANDLE]);
    mapped.bytes(&[1]);
    mapped.bytes(&large.map(u64::to_le_bytes).concat());
    mapped
}

/// SMBIOS 7.33: it boots, and nothing went wrong.
fn boot() -> Structure {
    let mut boot = Structure::new(32, 0);
    boot.bytes(&[0; 7]);
    boot
}

/// A structure about to be written (SMBIOS 6.1).
struct Structure {
    kind: u8,
    number: u16,
    /// What is behind the header. Numbers have their lowest byte first.
    formatted: Vec<u8>,
    /// Each with a zero at the end.
    strings: Vec<u8>,
    string_count: u8,
}

impl Structure {
    fn new(kind: u8, number: u16) -> Structure {
        Structure {
            kind,
            number,
            formatted: Vec::new(),
            strings: Vec::new(),
            string_count: 0,
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.formatted.extend(bytes);
    }

    fn words(&mut self, words: &[u16]) {
        self.bytes(
            &words
                .iter()
                .flat_map(|word| word.to_le_bytes())
                .collect::<Vec<_>>(),
        );
    }

    /// Adds a string and returns its number, which is what fields have of it.
    fn string(&mut self, string: &str) -> u8 {
        self.strings.extend(string.as_bytes());
        self.strings.push(0);
        self.string_count += 1;
        self.string_count
    }

    fn finish(self) -> Vec<u8> {
        const HEADER: u8 = 4;
        let handle = (u16::from(self.kind) << 8) | self.number;
        let length = u8::try_from(self.formatted.len()).map_or(u8::MAX, |length| length + HEADER);
        let mut bytes = vec![self.kind, length];
        bytes.extend(handle.to_le_bytes());
        bytes.extend(self.formatted);
        bytes.extend(&self.strings);
        // An empty list of strings has two zeros as well.
        bytes.extend(if self.string_count == 0 { &[0, 0][..] } else { &[0] });
        bytes
    }
}

#[derive(Default)]
struct Structures {
    bytes: Vec<u8>,
    count: u16,
    largest: u16,
}

impl Structures {
    fn add(&mut self, structure: Structure) {
        let bytes = structure.finish();
        self.count += 1;
        self.largest = self.largest.max(u16::try_from(bytes.len()).unwrap_or(u16::MAX));
        self.bytes.extend(bytes);
    }

    /// The entry point (SMBIOS 5.2.1), all but its checksums and the address of the structures.
    fn anchor(&self) -> Vec<u8> {
        let length = u16::try_from(self.bytes.len()).unwrap_or(u16::MAX);
        let mut anchor = b"_SM_\0\x1f\x02\x08".to_vec();
        anchor.extend(self.largest.to_le_bytes());
        anchor.extend([0; 6]);
        anchor.extend(b"_DMI_\0");
        anchor.extend(length.to_le_bytes());
        anchor.extend([0; 4]);
        anchor.extend(self.count.to_le_bytes());
        anchor.push(0x28);
        anchor
    }
}

#[cfg(test)]
#[path = "smbios_test.rs"]
mod test;
