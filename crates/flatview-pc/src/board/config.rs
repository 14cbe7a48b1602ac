//! What a PC is to be.

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use flatview::Error;
use flatview_accel::{AccelError, Clock};
use thiserror::Error;

use crate::devices::block::BlockBackend;
use crate::firmware::FirmwareError;
use crate::layout::{LayoutError, RamLayout};

/// What a PC is to be.
pub struct PcConfig {
    /// Its RAM.
    pub ram: RamLayout,
    /// The firmware: a multiple of 64 KiB, 16 MiB at most, which ends at 4 GiB.
    pub bios: Vec<u8>,
    /// The firmware of the screen; without it the firmware has no screen.
    pub vga_bios: Option<Vec<u8>>,
    /// The four IDE drives: master and slave of the first channel, then of the second. More are an error.
    pub drives: Vec<Drive>,
    /// Where the first serial port leads; `None`: there is no serial port.
    pub serial: Option<Box<dyn Write + Send>>,
    /// Where the debug port, 0x402, leads; `None`: there is none.
    pub debugcon: Option<Box<dyn Write + Send>>,
    /// The guest's time.
    pub clock: Clock,
    /// The date at power-on in seconds since 1970; `None`: the host's.
    pub date: Option<i64>,
}

/// An IDE drive.
#[derive(Clone, Debug)]
pub enum Drive {
    /// No drive.
    None,
    /// A disk.
    Disk(Arc<dyn BlockBackend>),
    /// A CD-ROM.
    CdRom(Arc<dyn BlockBackend>),
}

impl fmt::Debug for PcConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PcConfig")
            .field("ram", &self.ram)
            .field("bios", &format_args!("{:#x} bytes", self.bios.len()))
            .field("drives", &self.drives)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

/// Why there is no PC.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PcError {
    /// It cannot have this RAM.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The firmware cannot be told of such a machine.
    #[error(transparent)]
    Firmware(#[from] FirmwareError),
    /// The firmware's size is wrong.
    #[error("a BIOS of {size:#x} bytes: it has a multiple of 0x10000 bytes, and 0x1000000 at most")]
    BiosSize {
        /// In bytes.
        size: u64,
    },
    /// There are too many drives.
    #[error("{drives} drives: there is room for 4")]
    TooManyDrives {
        /// How many.
        drives: usize,
    },
    /// A region could not be made or mapped.
    #[error(transparent)]
    Memory(#[from] Error),
    /// Memory for a ROM or the screen could not be had.
    #[error(transparent)]
    Ram(#[from] flatview::RamError),
    /// There is no CPU.
    #[error(transparent)]
    Accel(#[from] AccelError),
}
