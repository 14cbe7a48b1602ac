//! The file `etc/table-loader`: how the firmware puts other files into memory.
//!
//! Tables contain addresses of tables and checksums, and only the firmware knows where it has room for them. So a file
//! has offsets where the addresses belong, zeros for checksums, and the loader has commands of 128 bytes each, done in
//! order: allocate memory for a file, add a file's address to a number, add up a checksum, tell the machine an
//! address. They are described in QEMU's `hw/acpi/bios-linker-loader.c` and EDK2's `QemuLoader.h`.

/// A command has this many bytes, and zeros behind what it needs.
const COMMAND_BYTES: usize = 128;
/// A name has this many, with at least one zero behind it.
const NAME_BYTES: usize = 56;

/// Where a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// Anywhere below 4 GiB.
    High = 1,
    /// Where an operating system looks for anchors: the segment from 0xf0000 on.
    FSeg = 2,
}

/// Some bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file's name, of at most 55 bytes.
    pub file: &'static str,
    /// The first byte.
    pub offset: u32,
}

/// A script for the firmware, about to be written.
#[derive(Clone, Debug, Default)]
pub struct TableLoader {
    commands: Vec<u8>,
}

impl TableLoader {
    /// A script that does nothing.
    pub fn new() -> TableLoader {
        TableLoader::default()
    }

    /// Finds memory for a file, at a multiple of `alignment`, and copies it there. Before anything else is done with
    /// the file.
    pub fn allocate(&mut self, file: &str, alignment: u32, zone: Zone) {
        self.command(
            1,
            &[
                Field::Name(file),
                Field::Number(alignment),
                Field::Byte(zone as u8),
            ],
        );
    }

    /// Adds the address of the file `to` to the number of `size` bytes (1, 2, 4 or 8) at `at`, the lowest first.
    pub fn add_pointer(&mut self, at: Place, size: u8, to: &str) {
        let fields = [
            Field::Name(at.file),
            Field::Name(to),
            Field::Number(at.offset),
            Field::Byte(size),
        ];
        self.command(2, &fields);
    }

    /// Makes the sum of `length` bytes from `start` on zero by means of the byte at `at`, which is one of them.
    pub fn add_checksum(&mut self, at: Place, start: u32, length: u32) {
        let numbers = [at.offset, start, length].map(Field::Number);
        self.command(3, &[&[Field::Name(at.file)], numbers.as_slice()].concat());
    }

    /// Writes the address of `to`, `size` bytes, into a file of fw_cfg that can be written: so the machine learns it.
    pub fn write_pointer(&mut self, at: Place, size: u8, to: Place) {
        let names = [Field::Name(at.file), Field::Name(to.file)];
        let numbers = [
            Field::Number(at.offset),
            Field::Number(to.offset),
            Field::Byte(size),
        ];
        self.command(4, &[names.as_slice(), &numbers].concat());
    }

    /// The file.
    pub fn into_bytes(self) -> Vec<u8> {
        self.commands
    }

    fn command(&mut self, number: u32, fields: &[Field<'_>]) {
        let begin = self.commands.len();
        self.commands.extend(number.to_le_bytes());
        for field in fields {
            match *field {
                Field::Name(name) => {
                    let name = name.as_bytes();
                    let mut bytes = [0; NAME_BYTES];
                    let len = name.len().min(NAME_BYTES - 1);
                    bytes[..len].copy_from_slice(&name[..len]);
                    self.commands.extend(bytes);
                }
                Field::Number(number) => self.commands.extend(number.to_le_bytes()),
                Field::Byte(byte) => self.commands.push(byte),
            }
        }
        self.commands.resize(begin + COMMAND_BYTES, 0);
    }
}

/// A part of a command.
#[derive(Clone, Copy)]
enum Field<'a> {
    Name(&'a str),
    Number(u32),
    Byte(u8),
}
