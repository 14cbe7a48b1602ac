//! What disks and CD-ROMs have in common: registers, a buffer of data on its way, an interrupt.

use std::fmt::Debug;

use super::task_file::{DEVICE_DEV, DIAGNOSTIC_PASSED, Error, Status, TaskFile};

/// The most data that is on its way at once, between the image and the host, in bytes.
pub(super) const MOST_AT_ONCE: usize = 0x1_0000;

/// What the data in a drive's buffer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// There is none.
    Idle,
    /// The host is to read it from the data port.
    PioIn,
    /// The host is to write it to the data port.
    PioOut,
    /// The bus master is to put it into memory.
    DmaIn,
    /// The bus master is to get it from memory.
    DmaOut,
}

/// How data gets from the drive to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Pio,
    Dma,
}

/// What a drive shows to its channel.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) file: TaskFile,
    pub(super) phase: Phase,
    /// Data on its way. As many bytes as are to be moved until the drive is asked again.
    pub(super) data: Vec<u8>,
    /// How many of them were.
    pub(super) position: usize,
    /// INTRQ: the drive has something to say, and the host did not read Status since.
    pub(super) interrupt: bool,
}

impl Front {
    /// The command is done.
    pub(super) fn complete(&mut self) {
        self.end(Status::READY);
        self.interrupt = true;
    }

    /// The command failed.
    pub(super) fn fail(&mut self, error: Error) {
        self.end(Status::DRDY | Status::ERR);
        self.file.error = error.bits();
        self.interrupt = true;
    }

    /// No data is on its way any more.
    pub(super) fn end(&mut self, status: Status) {
        self.phase = Phase::Idle;
        (self.data, self.position) = (Vec::new(), 0);
        self.file.status = status;
    }

    /// `data` waits for the host.
    pub(super) fn send(&mut self, data: Vec<u8>, way: Way) {
        self.phase = match way {
            Way::Pio => Phase::PioIn,
            Way::Dma => Phase::DmaIn,
        };
        (self.data, self.position) = (data, 0);
        self.file.status = Status::READY | Status::DRQ;
        self.interrupt |= way == Way::Pio;
    }

    /// The host is to give `len` bytes. Whether that is worth an interrupt depends.
    pub(super) fn expect(&mut self, len: usize, way: Way) {
        self.phase = match way {
            Way::Pio => Phase::PioOut,
            Way::Dma => Phase::DmaOut,
        };
        (self.data, self.position) = (vec![0; len], 0);
        self.file.status = Status::READY | Status::DRQ;
    }
}

/// A disk, or a CD-ROM: what obeys.
///
/// Methods are called when [`Front`] says that it is their turn, and leave in it what is next.
pub(super) trait Device: Debug + Send {
    /// LBA Mid and LBA High of a drive of this kind after a reset.
    fn signature(&self) -> [u8; 2];

    /// Status after a reset (ATA-6, 9.2 and 9.10).
    fn status_after_reset(&self) -> Status;

    /// Back to the state after power-on.
    fn reset(&mut self);

    /// The host wrote this to the Command register.
    fn command(&mut self, front: &mut Front, command: u8);

    /// The host has taken all data that it was sent.
    fn taken(&mut self, front: &mut Front);

    /// The host has given all data that was expected.
    fn given(&mut self, front: &mut Front);

    /// The bus master has no memory for the rest.
    fn cut_short(&mut self, front: &mut Front);
}

/// A drive on a channel.
#[derive(Debug)]
pub(super) struct Drive {
    pub(super) front: Front,
    pub(super) device: Box<dyn Device>,
}

impl Drive {
    /// A drive after power-on.
    pub(super) fn new(device: Box<dyn Device>) -> Drive {
        let mut drive = Drive {
            front: Front {
                file: TaskFile::default(),
                phase: Phase::Idle,
                data: Vec::new(),
                position: 0,
                interrupt: false,
            },
            device,
        };
        drive.reset();
        drive
    }

    /// Reset by software or hardware: the signature is there, and nothing is on its way (9.2).
    pub(super) fn reset(&mut self) {
        self.device.reset();
        self.show_signature();
    }

    /// The drive has looked at itself and found itself well.
    pub(super) fn show_signature(&mut self) {
        let front = &mut self.front;
        front.end(self.device.status_after_reset());
        front.file.set_signature(self.device.signature());
        front.file.error = DIAGNOSTIC_PASSED;
        front.interrupt = false;
    }

    pub(super) fn command(&mut self, command: u8) {
        let Drive { front, device } = self;
        front.interrupt = false;
        front.file.error = 0;
        front.file.status = Status::READY;
        device.command(front, command);
    }

    /// Whether the registers are the host's to write.
    pub(super) fn takes_parameters(&self) -> bool {
        !self.front.file.status.intersects(Status::BSY | Status::DRQ)
    }

    /// The host reads a word of data.
    pub(super) fn read_data(&mut self) -> u16 {
        let Drive { front, device } = self;
        if front.phase != Phase::PioIn {
            return 0;
        }
        let mut word = [0; 2];
        let from = &front.data[front.position..];
        let len = from.len().min(2);
        word[..len].copy_from_slice(&from[..len]);
        front.position += len;
        if front.position == front.data.len() {
            device.taken(front);
        }
        u16::from_le_bytes(word)
    }

    /// The host writes a word of data.
    pub(super) fn write_data(&mut self, word: u16) {
        let Drive { front, device } = self;
        if front.phase != Phase::PioOut {
            return;
        }
        let to = &mut front.data[front.position..];
        let len = to.len().min(2);
        to[..len].copy_from_slice(&word.to_le_bytes()[..len]);
        front.position += len;
        if front.position == front.data.len() {
            device.given(front);
        }
    }

    /// The bus master moved `len` bytes.
    pub(super) fn moved(&mut self, len: usize) {
        let Drive { front, device } = self;
        front.position = front.data.len().min(front.position.saturating_add(len));
        if front.position == front.data.len() {
            match front.phase {
                Phase::DmaIn => device.taken(front),
                Phase::DmaOut => device.given(front),
                _ => {}
            }
        }
    }

    pub(super) fn cut_short(&mut self) {
        self.device.cut_short(&mut self.front);
    }

    /// Bit 4 of the Device register, as both drives see it.
    pub(super) fn selects_slave(device_register: u8) -> bool {
        device_register & DEVICE_DEV != 0
    }
}
