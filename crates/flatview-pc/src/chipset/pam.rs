//! PAM: the programmable attribute map, which decides for each of 13 windows between 0xc0000 and 0xfffff whether reads
//! and writes go to RAM or to PCI (Intel 82441FX, 3.2.20; rules Y3 and Y4).

use std::sync::Arc;

use flatview::{
    AccessRules, AddressSpace, Endianness, Error, MemTxAttrs, MemTxError, Memory, MemoryRegionOps, RamBlock,
    Region, Transaction,
};

use crate::layout::RamLayout;

/// What a PAM window does: the two low bits of its nibble in the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PamMode {
    /// Reads and writes go to PCI.
    Pci,
    /// Reads go to RAM, writes to nobody.
    ReadOnly,
    /// Reads go to PCI, writes to RAM: for copying a ROM onto the RAM behind it.
    WriteOnly,
    /// Reads and writes go to RAM.
    Ram,
}

impl PamMode {
    fn from_bits(bits: u8) -> PamMode {
        match bits & 3 {
            0 => PamMode::Pci,
            1 => PamMode::ReadOnly,
            2 => PamMode::WriteOnly,
            _ => PamMode::Ram,
        }
    }
}

/// The 13 windows, each with its four modes as regions, of which one is enabled.
#[derive(Debug)]
pub struct Pam {
    /// The modes of each, in the order of [`PamMode`].
    windows: Vec<[Region; 4]>,
}

impl Pam {
    /// Of the configuration space: the first of 7 registers.
    pub const FIRST: u8 = 0x59;
    /// The last one.
    pub const LAST: u8 = 0x5f;

    /// The windows in the order of the registers' nibbles: 64 KiB at 0xf0000, then 16 KiB each from 0xc0000 on.
    pub fn windows() -> impl Iterator<Item = (u64, u64)> {
        let small = (0xc_0000..0xf_0000).step_by(0x4000).map(|start| (start, 0x4000));
        std::iter::once((0xf_0000, 0x1_0000)).chain(small)
    }

    /// Adds the windows to `system`, all of them disabled. `pci` is also a space, for reads of a write-only window.
    pub(super) fn new(
        machine: &Memory,
        tx: &mut Transaction<'_>,
        system: &Region,
        ram: &Region,
        pci: (&Region, &AddressSpace),
    ) -> Result<Pam, Error> {
        let mut windows = Vec::new();
        for (start, size) in Pam::windows() {
            let region = |name| machine.region(name).enabled(false);
            let write_only = WriteOnly {
                reads: pci.1.clone(),
                writes: ram.clone(),
                start,
            };
            let modes = [
                region("pam-pci").alias(pci.0, start, size)?,
                region("pam-rom").readonly(true).alias(ram, start, size)?,
                region("pam-pci").io(size, Arc::new(write_only)),
                region("pam-ram").alias(ram, start, size)?,
            ];
            for mode in &modes {
                tx.add_subregion_overlap(system, start, mode, 1)?;
            }
            windows.push(modes);
        }
        Ok(Pam { windows })
    }

    /// Enables what the 7 registers say and disables the rest.
    pub(super) fn update(&self, tx: &mut Transaction<'_>, registers: &[u8; 7]) -> Result<(), Error> {
        for (number, modes) in self.windows.iter().enumerate() {
            let register = registers[number.div_ceil(2)];
            // Window 0 has the high nibble of the first register; then each register has two, the low one first.
            let bits = if number % 2 == 0 { register >> 4 } else { register };
            let chosen = PamMode::from_bits(bits) as usize;
            for (mode, region) in modes.iter().enumerate() {
                tx.set_enabled(region, mode == chosen)?;
            }
        }
        Ok(())
    }
}

/// A window whose reads go to PCI and whose writes go to RAM, which no alias can say.
#[derive(Debug)]
struct WriteOnly {
    reads: AddressSpace,
    writes: Region,
    start: u64,
}

impl WriteOnly {
    /// The RAM behind the byte at `offset`: of the machine's only block, or of the first node's.
    fn block(&self, offset: u64) -> Option<(RamBlock, u64)> {
        let at = self.start.checked_add(offset)?;
        RamLayout::blocks(&self.writes)
            .into_iter()
            .find_map(|(start, block)| {
                let inside = at.checked_sub(start)?;
                (inside < block.max_size()).then_some((block, inside))
            })
    }
}

impl MemoryRegionOps for WriteOnly {
    fn read(&self, offset: u64, size: u32, attrs: MemTxAttrs) -> Result<u64, MemTxError> {
        let mut bytes = [0; 8];
        let wanted = bytes.get_mut(..size as usize).ok_or(MemTxError::DECODE_ERROR)?;
        self.reads.read(self.start + offset, wanted, attrs)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn write(&self, offset: u64, size: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        let bytes = value.to_le_bytes();
        let bytes = bytes.get(..size as usize).ok_or(MemTxError::DECODE_ERROR)?;
        let (block, at) = self.block(offset).ok_or(MemTxError::DECODE_ERROR)?;
        let window = block
            .window(at, u64::from(size))
            .ok_or(MemTxError::DECODE_ERROR)?;
        window.write(0, bytes).map_err(|_| MemTxError::DECODE_ERROR)
    }

    fn access_rules(&self) -> AccessRules {
        AccessRules::any(Endianness::Little)
    }
}
