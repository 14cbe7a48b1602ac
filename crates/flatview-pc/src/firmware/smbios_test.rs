#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;

/// Structures of one type, from the header to the last string.
fn of_type(files: &SmbiosFiles, kind: u8) -> Vec<Vec<u8>> {
    let mut rest = files.tables.as_slice();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let length = usize::from(rest[1]);
        let strings = rest[length..]
            .windows(2)
            .position(|zeros| zeros == [0, 0])
            .unwrap();
        let (structure, behind) = rest.split_at(length + strings + 2);
        if structure[0] == kind {
            found.push(structure.to_vec());
        }
        rest = behind;
    }
    found
}

#[test]
fn the_entry_point_counts_the_structures() {
    let files = SmbiosFiles::new(&FirmwareConfig::new(3 * GIB, GIB, 1));
    let kinds = [1, 3, 4, 16, 17, 19, 32, 127].map(|kind| of_type(&files, kind));
    let count = kinds.iter().map(Vec::len).sum::<usize>();
    let largest = kinds.iter().flatten().map(Vec::len).max().unwrap();
    let anchor = &files.anchor;
    let word = |at: usize| usize::from(u16::from_le_bytes([anchor[at], anchor[at + 1]]));
    assert_eq!(
        (anchor.len(), word(8), word(22), word(28)),
        (31, largest, files.tables.len(), count)
    );
    assert_eq!(count, 9, "RAM is in two places");
}

#[test]
fn the_system_says_its_name() {
    let mut config = FirmwareConfig::new(GIB, 0, 1);
    config.uuid = *b"\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f";
    let system = &of_type(&SmbiosFiles::new(&config), 1)[0];
    assert_eq!(
        system[8..24],
        [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15]
    );
    let strings = String::from_utf8(system[27..].to_vec()).unwrap();
    let strings: Vec<_> = strings.trim_end_matches('\0').split('\0').collect();
    assert_eq!(
        strings,
        ["Flatview", "Standard PC (i440FX + PIIX, 2026)", VERSION]
    );
}

#[test]
fn memory_devices_have_16_gib_until_there_are_too_many() {
    /// The number of devices, and the sizes of the first and the last in MiB.
    fn devices(ram: u64) -> (usize, u64, u64) {
        let files = SmbiosFiles::new(&FirmwareConfig::new(3 * GIB, ram - 3 * GIB, 1));
        let devices = of_type(&files, 17);
        let size = |device: &[u8]| match u16::from_le_bytes([device[12], device[13]]) {
            0x7fff => u32::from_le_bytes(device[28..32].try_into().unwrap()).into(),
            size => u64::from(size),
        };
        let count = u16::from_le_bytes(of_type(&files, 16)[0][13..15].try_into().unwrap());
        assert_eq!(usize::from(count), devices.len());
        (
            devices.len(),
            size(&devices[0]),
            size(&devices[devices.len() - 1]),
        )
    }
    assert_eq!(devices(16 * GIB), (1, 16 << 10, 16 << 10));
    assert_eq!(devices(40 * GIB), (3, 16 << 10, 8 << 10));
    assert_eq!(devices(8 * TIB), (512, 16 << 10, 16 << 10));
    assert_eq!(devices(16 * TIB), (512, 32 << 10, 32 << 10));
    let (count, ..) = devices(1 << 60);
    assert!(count <= 512);
}

#[test]
fn large_memory_is_in_the_extended_fields() {
    let above = 5 * TIB - 3 * GIB;
    let files = SmbiosFiles::new(&FirmwareConfig::new(3 * GIB, above, 1));
    let array = &of_type(&files, 16)[0];
    assert_eq!(array[7..11], [0, 0, 0, 0x80]);
    assert_eq!(array[15..23], (5 * TIB).to_le_bytes());
    let mapped = of_type(&files, 19);
    let number = |at: usize| u64::from_le_bytes(mapped[1][at..at + 8].try_into().unwrap());
    assert_eq!(mapped[1][4..12], [0xff; 8]);
    assert_eq!((number(15), number(23)), (4 * GIB, 4 * GIB + above - 1));
    assert_eq!(
        mapped[0][4..12],
        [[0; 4], ((3_u32 << 20) - 1).to_le_bytes()].concat()
    );
}
