//! DMA: a descriptor in memory says what is to be done with the selected item.

use std::ops::Range;

use bitflags::bitflags;
use flatview::{Endianness, MemTxAttrs};

use super::FwCfg;
use super::items::{Cursor, Item};
use crate::device::lock;

/// Memory is written in pieces of at most this many bytes, so that a transfer to where nobody is ends soon.
const PIECE: usize = 0x1_0000;
/// How many zeros of those behind an item's end one transfer writes. QEMU writes up to 4 GiB, and the guest's CPU
/// stands still meanwhile.
const MOST_ZEROS: usize = 16 << 20;

const ATTRS: MemTxAttrs = MemTxAttrs::UNSPECIFIED;

bitflags! {
    /// The lower half of the control word; the upper one is the key to select.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct ControlBits: u16 {
        const ERROR = 1;
        const READ = 1 << 1;
        const SKIP = 1 << 2;
        const SELECT = 1 << 3;
        const WRITE = 1 << 4;
    }
}

/// The transfer failed, and the guest is told so.
struct Failed;

/// What the guest wants: 16 bytes, each field with its highest byte first.
struct Descriptor {
    control: ControlBits,
    key: u16,
    length: usize,
    address: u64,
}

impl Descriptor {
    const SIZE: usize = 16;

    fn parse(bytes: [u8; Self::SIZE]) -> Descriptor {
        let [k0, k1, c0, c1, l0, l1, l2, l3, address @ ..] = bytes;
        Descriptor {
            control: ControlBits::from_bits_retain(u16::from_be_bytes([c0, c1])),
            key: u16::from_be_bytes([k0, k1]),
            // Only a host with 16-bit addresses could not count that far.
            length: usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX),
            address: u64::from_be_bytes(address),
        }
    }
}

impl FwCfg {
    /// Does what the descriptor at this address says, and tells the outcome there: 0 in the control word, or
    /// [`ControlBits::ERROR`].
    pub(super) fn transfer(&self, descriptor: u64) {
        let mut bytes = [0; Descriptor::SIZE];
        let read = self.memory.read(descriptor, &mut bytes, ATTRS);
        let done = match read {
            Ok(()) => self.perform(&Descriptor::parse(bytes)),
            Err(_) => Err(Failed),
        };
        let outcome = match done {
            Ok(()) => ControlBits::empty(),
            Err(Failed) => ControlBits::ERROR,
        };
        // Where the outcome cannot be written, nobody is there to be told.
        let _ = self
            .memory
            .store(descriptor, u32::from(outcome.bits()), Endianness::Big, ATTRS);
    }

    fn perform(&self, descriptor: &Descriptor) -> Result<(), Failed> {
        let &Descriptor {
            control,
            key,
            length,
            address,
        } = descriptor;
        let (cursor, item) = {
            let mut items = lock(&self.items);
            if control.contains(ControlBits::SELECT) {
                items.select(key);
            }
            let (cursor, item) = items.selected();
            (cursor, item.cloned())
        };
        let size = item.as_ref().map_or(0, |item| item.data.len());
        let bytes = cursor.offset..size.min(cursor.offset.saturating_add(length)).max(cursor.offset);
        let zeros = length - bytes.len();
        let moved = bytes.len();
        let done = if control.contains(ControlBits::READ) {
            let data: &[u8] = item
                .as_ref()
                .and_then(|item| item.data.get(bytes))
                .unwrap_or_default();
            self.read_item(data, address, zeros)
        } else if control.contains(ControlBits::WRITE) {
            self.write_item(item, cursor, bytes, address, length)
        } else if control.contains(ControlBits::SKIP) {
            Ok(())
        } else {
            return Ok(());
        };
        lock(&self.items).advance(cursor, moved);
        done
    }

    /// The guest reads `data`, and then zeros.
    fn read_item(&self, data: &[u8], mut address: u64, zeros: usize) -> Result<(), Failed> {
        for piece in data.chunks(PIECE) {
            self.memory.write(address, piece, ATTRS).map_err(|_| Failed)?;
            address = address.wrapping_add(piece.len() as u64);
        }
        let mut left = zeros.min(MOST_ZEROS);
        while left > 0 {
            let piece = left.min(PIECE);
            self.memory.fill(address, 0, piece, ATTRS).map_err(|_| Failed)?;
            address = address.wrapping_add(piece as u64);
            left -= piece;
        }
        if zeros > MOST_ZEROS { Err(Failed) } else { Ok(()) }
    }

    /// The guest writes `bytes` of a file: all that it asked for, or nothing.
    fn write_item(
        &self,
        item: Option<Item>,
        cursor: Cursor,
        bytes: Range<usize>,
        address: u64,
        length: usize,
    ) -> Result<(), Failed> {
        if length == 0 {
            return Ok(());
        }
        let Some(written) = item.and_then(|item| item.written) else {
            return Err(Failed);
        };
        if bytes.len() != length {
            return Err(Failed);
        }
        // No more than the file has.
        let mut new = vec![0; length];
        self.memory.read(address, &mut new, ATTRS).map_err(|_| Failed)?;
        lock(&self.items).write(cursor, &new).ok_or(Failed)?;
        written(cursor.offset, &new);
        Ok(())
    }
}
