//! The registers of a channel, as regions of ports.

use std::fmt;
use std::sync::Arc;

use flatview::{AccessRules, AccessSizes, Endianness, MemTxAttrs, MemTxError, MemoryRegionOps};

use super::controller::Ide;
use super::task_file::register;

/// Which of a channel's registers a region has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// The command block: Data, and seven bytes.
    Command,
    /// Device Control and Alternate Status.
    Control,
    /// Bus Master IDE Command and Status.
    BusMaster,
    /// Bus Master IDE Descriptor Table Pointer.
    Table,
}

pub(super) struct Ports {
    pub(super) ide: Arc<Ide>,
    pub(super) channel: usize,
    pub(super) block: Block,
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ports({:?} of channel {})", self.block, self.channel)
    }
}

/// A read that nobody answers.
const ONES: u64 = u64::MAX;

impl Ports {
    /// Data is a word or two. The rest are bytes; a word is two of them, as far as there are two (rule T4).
    fn read_command_block(&self, offset: u64, size: u32) -> u64 {
        let mut channel = self.ide.channel(self.channel);
        match (offset, size) {
            (register::DATA, 2) => channel.read_data().into(),
            (register::DATA, 4) => {
                let low = channel.read_data();
                u64::from(low) | u64::from(channel.read_data()) << 16
            }
            (_, 1) => channel.read(offset).into(),
            (register::STATUS_COMMAND, 2) => 0xff00 | u64::from(channel.read(offset)),
            (_, 2) => {
                let low = channel.read(offset);
                u64::from(low) | u64::from(channel.read(offset + 1)) << 8
            }
            _ => ONES,
        }
    }

    fn write_command_block(&self, offset: u64, size: u32, bytes: [u8; 4]) {
        let mut channel = self.ide.channel(self.channel);
        let [low, high, third, fourth] = bytes;
        match (offset, size) {
            (register::DATA, 2) => channel.write_data(u16::from_le_bytes([low, high])),
            (register::DATA, 4) => {
                channel.write_data(u16::from_le_bytes([low, high]));
                channel.write_data(u16::from_le_bytes([third, fourth]));
            }
            (_, 1) | (register::STATUS_COMMAND, 2) => channel.write(offset, low),
            (_, 2) => {
                channel.write(offset, low);
                channel.write(offset + 1, high);
            }
            _ => {}
        }
    }
}

impl MemoryRegionOps for Ports {
    fn read(&self, offset: u64, size: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        let channel = || self.ide.channel(self.channel);
        Ok(match (self.block, offset, size) {
            (Block::Command, ..) => self.read_command_block(offset, size),
            (Block::Control, _, 1) => channel().alternate_status().into(),
            (Block::Control, _, 2) => 0xff00 | u64::from(channel().alternate_status()),
            (Block::BusMaster, 0, 1) => channel().bus_master.read_command().into(),
            (Block::BusMaster, 2, 1) => channel().bus_master.read_status().into(),
            (Block::Table, ..) => u64::from(channel().bus_master.table()) >> (8 * offset),
            _ => ONES,
        })
    }

    fn write(&self, offset: u64, size: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        let channel = || self.ide.channel(self.channel);
        let [a, b, c, d, ..] = value.to_le_bytes();
        match (self.block, offset, size) {
            (Block::Command, ..) => self.write_command_block(offset, size, [a, b, c, d]),
            (Block::Control, _, 1 | 2) => channel().write_control(a),
            (Block::BusMaster, 0, 1) => channel().bus_master.write_command(a),
            (Block::BusMaster, 2, 1) => channel().bus_master.write_status(a),
            (Block::Table, ..) => {
                let mut channel = channel();
                let mut bytes = channel.bus_master.table().to_le_bytes();
                let places = bytes.iter_mut().skip(usize::try_from(offset).unwrap_or(4));
                for (place, byte) in places.zip([a, b, c, d].into_iter().take(size as usize)) {
                    *place = byte;
                }
                channel.bus_master.set_table(u32::from_le_bytes(bytes));
            }
            _ => {}
        }
        self.ide.move_data(self.channel);
        Ok(())
    }

    fn access_rules(&self) -> AccessRules {
        let sizes = AccessSizes {
            min: 1,
            max: 4,
            unaligned: true,
        };
        AccessRules {
            valid: Some(sizes),
            implemented: sizes,
            endianness: Endianness::Little,
        }
    }
}
