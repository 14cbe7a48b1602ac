//! The file `etc/e820`: where memory is.

use super::FirmwareConfig;

/// The types of ranges (ACPI 6.4, table 15.4).
const RAM: u32 = 1;
const RESERVED: u32 = 2;

/// What the machine reserves, then its RAM: for each range the address and the size, 8 bytes each, and the type, 4
/// bytes. What is in RAM for the firmware's own sake, the firmware knows.
pub(super) fn e820(config: &FirmwareConfig) -> Vec<u8> {
    let reserved = config
        .reserved
        .iter()
        // A range of 2^64 bytes would need one more than there is.
        .map(|range| (range.start(), range.size().to_u64().unwrap_or(u64::MAX), RESERVED));
    let ram = config.ram_ranges().map(|(start, size)| (start, size, RAM));
    let entry = |(start, size, kind): (u64, u64, u32)| {
        [&start.to_le_bytes()[..], &size.to_le_bytes(), &kind.to_le_bytes()].concat()
    };
    reserved.chain(ram).flat_map(entry).collect()
}
