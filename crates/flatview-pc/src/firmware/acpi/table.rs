//! Tables with the header that all have (ACPI 5.2.6).

/// Who made the tables.
pub(super) const OEM_ID: [u8; 6] = *b"FLATVW";
const OEM_TABLE_ID: [u8; 8] = *b"FLATVWPC";
const CREATOR: [u8; 4] = *b"FLTV";
/// The size of the header.
pub(super) const HEADER_BYTES: u32 = 36;
/// Where the length is in the header.
const LENGTH: usize = 4;
/// Where the checksum is in the header.
pub(super) const CHECKSUM: u32 = 9;

/// A table about to be written. All numbers have their lowest byte first.
pub(super) struct TableBuilder {
    bytes: Vec<u8>,
}

impl TableBuilder {
    pub(super) fn new(signature: [u8; 4], revision: u8) -> TableBuilder {
        let mut table = TableBuilder {
            bytes: signature.to_vec(),
        };
        table.u32(0);
        table.bytes(&[revision, 0]);
        table.bytes(&OEM_ID);
        table.bytes(&OEM_TABLE_ID);
        table.u32(1);
        table.bytes(&CREATOR);
        table.u32(1);
        table
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn zeros(&mut self, count: usize) {
        self.bytes.resize(self.bytes.len() + count, 0);
    }

    /// A register (ACPI 5.2.3.2) of `bytes` bytes at an I/O port, or none if there are none.
    pub(super) fn port(&mut self, port: u16, bytes: u8) {
        const SYSTEM_IO: u8 = 1;
        if bytes == 0 {
            return self.zeros(12);
        }
        self.bytes(&[SYSTEM_IO, 8 * bytes, 0, 0]);
        self.u64(port.into());
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = offset_u32(self.bytes.len());
        self.bytes[LENGTH..][..4].copy_from_slice(&length.to_le_bytes());
        self.bytes
    }
}

/// Offsets in tables have 32 bits; a machine of 255 CPUs, 128 nodes and 256 slots needs less than 20 of them.
pub(super) fn offset_u32(offset: usize) -> u32 {
    u32::try_from(offset).expect("a checked configuration makes small tables")
}
