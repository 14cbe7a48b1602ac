//! Base address registers: regions that a guest maps and moves.

use flatview::Region;

use super::config::{ConfigSpace, reg};

/// What a base address register decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// I/O ports.
    Io,
    /// Memory below 4 GiB.
    Memory {
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// Memory anywhere: takes two registers.
    Memory64 {
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// The expansion ROM.
    Rom,
}

impl BarKind {
    /// The low bits of the register, which the guest cannot change (PCI 3.0, 6.2.5.1).
    fn low_bits(self) -> u32 {
        match self {
            BarKind::Io => 1,
            BarKind::Memory { prefetchable } => u32::from(prefetchable) << 3,
            BarKind::Memory64 { prefetchable } => u32::from(prefetchable) << 3 | 4,
            BarKind::Rom => 0,
        }
    }

    fn is_64(self) -> bool {
        matches!(self, BarKind::Memory64 { .. })
    }
}

/// A base address register and the region behind it.
#[derive(Clone, Debug)]
pub struct Bar {
    /// 0 to 5; of the expansion ROM it is 6.
    pub index: u8,
    /// What it decodes.
    pub kind: BarKind,
    /// How many bytes: a power of two, at least 4 for I/O, 16 for memory, 2 KiB for a ROM.
    pub size: u64,
    /// What appears where the guest says. Its size is at most `size`.
    pub region: Region,
}

impl Bar {
    /// The register's offset in configuration space.
    pub fn offset(&self) -> u8 {
        match self.kind {
            BarKind::Rom => reg::ROM,
            _ => reg::BAR0 + 4 * self.index.min(5),
        }
    }

    /// What messages call it.
    pub fn name(&self) -> String {
        match self.kind {
            BarKind::Rom => "ROM".into(),
            _ => format!("BAR{}", self.index),
        }
    }

    pub(super) fn install(&self, config: &mut ConfigSpace) {
        let mask = !(self.size - 1);
        let low = match self.kind {
            BarKind::Rom => mask | 1,
            _ => mask,
        };
        let low = u32::try_from(low & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        config.set(self.offset(), &self.kind.low_bits().to_le_bytes());
        config.set_writable(self.offset(), &low.to_le_bytes());
        if self.kind.is_64() {
            let high = u32::try_from(mask >> 32).unwrap_or(u32::MAX);
            config.set_writable(self.offset() + 4, &high.to_le_bytes());
        }
    }

    /// Where the guest wants it, if anywhere: decoding is on, and it does not begin at 0 or go around the end.
    pub(super) fn address(&self, config: &ConfigSpace) -> Option<u64> {
        let command = config.u16(reg::COMMAND);
        let enable = match self.kind {
            BarKind::Io => reg::COMMAND_IO,
            _ => reg::COMMAND_MEMORY,
        };
        let value = u64::from(config.get(self.offset(), 4));
        if command & enable == 0 || self.kind == BarKind::Rom && value & 1 == 0 {
            return None;
        }
        let high = match self.kind.is_64() {
            true => u64::from(config.get(self.offset() + 4, 4)) << 32,
            false => 0,
        };
        let start = (high | value) & !(self.size - 1);
        let last = start.checked_add(self.size - 1)?;
        let limit = match self.kind {
            // The top of each space is where a register that is being sized points: see QEMU's `pci_bar_address`.
            BarKind::Io => 0xffff,
            BarKind::Memory { .. } | BarKind::Rom => u64::from(u32::MAX) - 1,
            BarKind::Memory64 { .. } => u64::MAX - 1,
        };
        (start != 0 && last <= limit).then_some(start)
    }
}
