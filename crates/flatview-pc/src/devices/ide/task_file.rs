//! The registers of a drive's command block (ATA-6, clause 7).

use bitflags::bitflags;

bitflags! {
    /// The Status register (7.15).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct Status: u8 {
        /// The command failed; a CD-ROM calls it CHK.
        const ERR = 0x01;
        /// Data is to be moved.
        const DRQ = 0x08;
        /// A seek is complete; later drives say so always.
        const DSC = 0x10;
        /// Device fault.
        const DF = 0x20;
        /// The drive takes commands.
        const DRDY = 0x40;
        /// The drive has the registers for itself.
        const BSY = 0x80;
    }
}

impl Status {
    /// A drive that waits for a command.
    pub(super) const READY: Status = Status::DRDY.union(Status::DSC);
}

bitflags! {
    /// The Error register after a command that failed (7.9).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct Error: u8 {
        /// Aborted: the command is not known, or its parameters are wrong.
        const ABRT = 0x04;
        /// There is no such sector.
        const IDNF = 0x10;
        /// A sector cannot be read.
        const UNC = 0x40;
    }
}

/// The Error register after a reset or a diagnostic: the drive is well (table 27).
pub(super) const DIAGNOSTIC_PASSED: u8 = 0x01;

/// LBA Mid and LBA High of a packet device after a reset (9.12).
pub(super) const PACKET_SIGNATURE: [u8; 2] = [0x14, 0xeb];

/// Device register: addresses are LBAs.
pub(super) const DEVICE_LBA: u8 = 0x40;
/// Device register: the slave is selected.
pub(super) const DEVICE_DEV: u8 = 0x10;
/// Device register: bits that are always one (7.7).
pub(super) const DEVICE_ALWAYS: u8 = 0xa0;

/// The places of the registers in the command block (table 19).
pub(super) mod register {
    pub(in super::super) const DATA: u64 = 0;
    pub(in super::super) const ERROR_FEATURES: u64 = 1;
    pub(in super::super) const SECTOR_COUNT: u64 = 2;
    pub(in super::super) const LBA_LOW: u64 = 3;
    pub(in super::super) const LBA_MID: u64 = 4;
    pub(in super::super) const LBA_HIGH: u64 = 5;
    pub(in super::super) const DEVICE: u64 = 6;
    pub(in super::super) const STATUS_COMMAND: u64 = 7;
}

/// A register that keeps what was written before: 48-bit commands take both bytes (6.19).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wide {
    pub(super) current: u8,
    pub(super) previous: u8,
}

impl Wide {
    fn push(&mut self, value: u8) {
        self.previous = self.current;
        self.current = value;
    }

    fn set(&mut self, value: u16) {
        [self.current, self.previous] = value.to_le_bytes();
    }

    fn word(self) -> u16 {
        u16::from_le_bytes([self.current, self.previous])
    }
}

/// The registers of one drive.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TaskFile {
    pub(super) features: Wide,
    pub(super) count: Wide,
    pub(super) lba_low: Wide,
    pub(super) lba_mid: Wide,
    pub(super) lba_high: Wide,
    pub(super) device: u8,
    pub(super) status: Status,
    pub(super) error: u8,
}

impl TaskFile {
    /// What the host writes to any register but Data and Command.
    pub(super) fn write(&mut self, register: u64, value: u8) {
        match register {
            register::ERROR_FEATURES => self.features.push(value),
            register::SECTOR_COUNT => self.count.push(value),
            register::LBA_LOW => self.lba_low.push(value),
            register::LBA_MID => self.lba_mid.push(value),
            register::LBA_HIGH => self.lba_high.push(value),
            register::DEVICE => self.device = value | DEVICE_ALWAYS,
            _ => {}
        }
    }

    /// What the host reads; `high_order` is the HOB bit of the Device Control register (7.8).
    pub(super) fn read(&self, register: u64, high_order: bool) -> u8 {
        let of = |wide: Wide| if high_order { wide.previous } else { wide.current };
        match register {
            register::ERROR_FEATURES => self.error,
            register::SECTOR_COUNT => of(self.count),
            register::LBA_LOW => of(self.lba_low),
            register::LBA_MID => of(self.lba_mid),
            register::LBA_HIGH => of(self.lba_high),
            register::DEVICE => self.device,
            register::STATUS_COMMAND => self.status.bits(),
            _ => 0,
        }
    }

    /// What a drive shows after a reset, a diagnostic, or a command that is meant for the other kind (9.12).
    pub(super) fn set_signature(&mut self, [lba_mid, lba_high]: [u8; 2]) {
        let one = Wide {
            current: 1,
            previous: 0,
        };
        (self.count, self.lba_low) = (one, one);
        self.lba_mid.set(lba_mid.into());
        self.lba_high.set(lba_high.into());
        self.device &= DEVICE_ALWAYS | DEVICE_DEV;
    }

    pub(super) fn is_lba(&self) -> bool {
        self.device & DEVICE_LBA != 0
    }

    /// How many sectors a 28-bit or CHS command means (6.2): none is 256.
    pub(super) fn count28(&self) -> u32 {
        match self.count.current {
            0 => 0x100,
            count => count.into(),
        }
    }

    /// How many sectors a 48-bit command means: none is 65,536.
    pub(super) fn count48(&self) -> u32 {
        match self.count.word() {
            0 => 0x1_0000,
            count => count.into(),
        }
    }

    pub(super) fn lba28(&self) -> u64 {
        let low = [
            self.lba_low.current,
            self.lba_mid.current,
            self.lba_high.current,
            self.device & 0xf,
        ];
        u32::from_le_bytes(low).into()
    }

    pub(super) fn set_lba28(&mut self, lba: u64) {
        let [low, mid, high, top, ..] = lba.to_le_bytes();
        (self.lba_low.current, self.lba_mid.current, self.lba_high.current) = (low, mid, high);
        self.device = self.device & 0xf0 | top & 0xf;
    }

    pub(super) fn lba48(&self) -> u64 {
        let (low, mid, high) = (self.lba_low, self.lba_mid, self.lba_high);
        let bytes = [
            low.current,
            mid.current,
            high.current,
            low.previous,
            mid.previous,
            high.previous,
            0,
            0,
        ];
        u64::from_le_bytes(bytes)
    }

    pub(super) fn set_lba48(&mut self, lba: u64) {
        let [l0, m0, h0, l1, m1, h1, ..] = lba.to_le_bytes();
        self.lba_low.set(u16::from_le_bytes([l0, l1]));
        self.lba_mid.set(u16::from_le_bytes([m0, m1]));
        self.lba_high.set(u16::from_le_bytes([h0, h1]));
    }

    /// Cylinder, head, sector.
    pub(super) fn chs(&self) -> (u16, u8, u8) {
        let cylinder = u16::from_le_bytes([self.lba_mid.current, self.lba_high.current]);
        (cylinder, self.device & 0xf, self.lba_low.current)
    }

    pub(super) fn set_chs(&mut self, (cylinder, head, sector): (u16, u8, u8)) {
        [self.lba_mid.current, self.lba_high.current] = cylinder.to_le_bytes();
        self.lba_low.current = sector;
        self.device = self.device & 0xf0 | head & 0xf;
    }

    pub(super) fn set_count(&mut self, count: u32) {
        let [low, high, ..] = count.to_le_bytes();
        self.count = Wide {
            current: low,
            previous: high,
        };
    }

    /// A packet command's byte count: limit and result (9.11).
    pub(super) fn byte_count(&self) -> u16 {
        u16::from_le_bytes([self.lba_mid.current, self.lba_high.current])
    }

    pub(super) fn set_byte_count(&mut self, count: u16) {
        [self.lba_mid.current, self.lba_high.current] = count.to_le_bytes();
    }
}
