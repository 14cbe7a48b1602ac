//! The VGA's registers, as regions.

use std::fmt;
use std::sync::Arc;

use flatview::{AccessRules, AccessSizes, Endianness, MemTxAttrs, MemTxError, MemoryRegionOps};

use super::adapter::Vga;

/// What a region has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Registers {
    /// The VGA's ports. A word is two of them, as far as the region goes (rule T4).
    VgaPorts,
    /// The same in memory, byte by byte.
    VgaMmio,
    /// The index and the data of DISPI.
    DispiPorts,
    /// The registers of DISPI, one after the other.
    DispiMmio,
    /// 0xa0000-0xbffff.
    LegacyWindow,
}

pub(super) struct Ports {
    pub(super) vga: Arc<Vga>,
    /// The port that the region begins with.
    pub(super) first: u16,
    /// Bytes of the region.
    pub(super) size: u64,
    pub(super) registers: Registers,
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ports({:?} from {:#x})", self.registers, self.first)
    }
}

impl Ports {
    /// The port, or register, at an offset of the region.
    fn port(&self, offset: u64) -> u16 {
        let [low, high, ..] = offset.to_le_bytes();
        self.first.wrapping_add(u16::from_le_bytes([low, high]))
    }

    fn has_high_byte(&self, offset: u64, size: u32) -> bool {
        size == 2 && offset + 1 < self.size
    }
}

impl MemoryRegionOps for Ports {
    fn read(&self, offset: u64, size: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        let port = self.port(offset);
        Ok(match self.registers {
            Registers::VgaMmio => self.vga.read_port(port).into(),
            Registers::VgaPorts if size > 2 => u64::MAX,
            Registers::VgaPorts => {
                let low = self.vga.read_port(port);
                let high = match self.has_high_byte(offset, size) {
                    true => self.vga.read_port(port.wrapping_add(1)),
                    false => 0xff,
                };
                u16::from_le_bytes([low, high]).into()
            }
            Registers::LegacyWindow => self.vga.read_legacy(offset).into(),
            Registers::DispiMmio => self.vga.read_dispi(port >> 1).into(),
            // Words only. PCs have the data twice: 0x1cf is where it was, 0x1d0 is aligned.
            Registers::DispiPorts => match (offset, size) {
                (0, 2) => self.vga.dispi_index().into(),
                (1 | 2, 2) => self.vga.read_dispi(self.vga.dispi_index()).into(),
                _ => u64::MAX,
            },
        })
    }

    fn write(&self, offset: u64, size: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        let port = self.port(offset);
        let [low, high, ..] = value.to_le_bytes();
        let word = u16::from_le_bytes([low, high]);
        match self.registers {
            Registers::VgaMmio => self.vga.write_port(port, low),
            Registers::VgaPorts if size > 2 => Ok(()),
            Registers::VgaPorts => {
                self.vga.write_port(port, low)?;
                match self.has_high_byte(offset, size) {
                    true => self.vga.write_port(port.wrapping_add(1), high),
                    false => Ok(()),
                }
            }
            Registers::LegacyWindow => {
                self.vga.write_legacy(offset, low);
                Ok(())
            }
            Registers::DispiMmio => self.vga.write_dispi(port >> 1, word),
            Registers::DispiPorts => match (offset, size) {
                (0, 2) => {
                    self.vga.set_dispi_index(word);
                    Ok(())
                }
                (1 | 2, 2) => self.vga.write_dispi(self.vga.dispi_index(), word),
                _ => Ok(()),
            },
        }
    }

    fn access_rules(&self) -> AccessRules {
        let sizes = |min, max| AccessSizes {
            min,
            max,
            unaligned: true,
        };
        let (valid, implemented) = match self.registers {
            Registers::LegacyWindow => (sizes(1, 8), sizes(1, 1)),
            Registers::VgaMmio => (sizes(1, 4), sizes(1, 1)),
            Registers::VgaPorts | Registers::DispiPorts => (sizes(1, 4), sizes(1, 4)),
            Registers::DispiMmio => (sizes(1, 4), sizes(2, 2)),
        };
        AccessRules {
            valid: Some(valid),
            implemented,
            endianness: Endianness::Little,
        }
    }
}
