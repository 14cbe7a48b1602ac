//! What a vCPU's accesses reach: memory, memory in system management mode, and ports.

use flatview::{Endianness, MemTxAttrs, Reader};
use flatview_accel::VcpuConfig;

const ATTRS: MemTxAttrs = MemTxAttrs::UNSPECIFIED;
const ORDER: Endianness = Endianness::Little;

/// The address spaces of a vCPU. The memory that it reads and writes in slots does not come here.
#[derive(Debug)]
pub(super) struct Bus {
    memory: Reader,
    smm: Option<Reader>,
    io: Reader,
    /// Which of them may hold a view: letting go costs something, too.
    holds_memory: bool,
    holds_ports: bool,
}

impl Bus {
    pub(super) fn new(config: &VcpuConfig) -> Bus {
        Bus {
            memory: config.memory.reader(),
            smm: config.smm.as_ref().map(|space| space.reader()),
            io: config.io.reader(),
            holds_memory: false,
            holds_ports: false,
        }
    }

    /// Lets go of the views: whoever waits until nobody looks at something does not wait for a guest.
    pub(super) fn release(&mut self) {
        if std::mem::take(&mut self.holds_memory) {
            self.memory.release();
            if let Some(smm) = &mut self.smm {
                smm.release();
            }
        }
        if std::mem::take(&mut self.holds_ports) {
            self.io.release();
        }
    }

    fn space(&mut self, in_smm: bool) -> &mut Reader {
        self.holds_memory = true;
        match &mut self.smm {
            Some(smm) if in_smm => smm,
            _ => &mut self.memory,
        }
    }

    /// Reads memory. Where nobody answers there are zeros (rule K19).
    pub(super) fn read_memory(&mut self, in_smm: bool, address: u64, data: &mut [u8]) {
        load(self.space(in_smm), address, data, 0);
    }

    /// Writes memory. What nobody takes is lost, as a write to ROM is.
    pub(super) fn write_memory(&mut self, in_smm: bool, address: u64, data: &[u8]) {
        store(self.space(in_smm), address, data);
    }

    /// Reads a port. Where nobody answers, all bits are set.
    pub(super) fn read_port(&mut self, port: u16, data: &mut [u8]) {
        self.holds_ports = true;
        load(&mut self.io, port.into(), data, 0xff);
    }

    /// Writes a port. Where nobody answers, nothing happens.
    pub(super) fn write_port(&mut self, port: u16, data: &[u8]) {
        self.holds_ports = true;
        store(&mut self.io, port.into(), data);
    }
}

/// Loads a word of as many bytes as `data` has; all bytes are `missing` if that fails.
///
/// The kernel asks for 3, 5, 6 or 7 bytes where a word goes over the end of a page: that is a copy.
fn load(reader: &mut Reader, address: u64, data: &mut [u8], missing: u8) {
    macro_rules! word {
        ($word:ty) => {
            reader
                .load::<$word>(address, ORDER, ATTRS)
                .map(|word| data.copy_from_slice(&word.to_le_bytes()))
        };
    }
    let loaded = match data.len() {
        1 => word!(u8),
        2 => word!(u16),
        4 => word!(u32),
        8 => word!(u64),
        _ => {
            // It has put zeros where nobody answers.
            let _ = reader.read(address, data, ATTRS);
            Ok(())
        }
    };
    if loaded.is_err() {
        data.fill(missing);
    }
}

/// Stores a word of as many bytes as `data` has, as [`load`] loads it.
fn store(reader: &mut Reader, address: u64, data: &[u8]) {
    // The guest is not told whether somebody took it.
    let _ = match *data {
        [byte] => reader.store(address, byte, ORDER, ATTRS),
        [a, b] => reader.store(address, u16::from_le_bytes([a, b]), ORDER, ATTRS),
        [a, b, c, d] => reader.store(address, u32::from_le_bytes([a, b, c, d]), ORDER, ATTRS),
        [a, b, c, d, e, f, g, h] => {
            let word = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
            reader.store(address, word, ORDER, ATTRS)
        }
        _ => reader.write(address, data, ATTRS),
    };
}
