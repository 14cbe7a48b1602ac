//! Bus-master DMA: "Programming Interface for Bus Master IDE Controller", revision 1.0.
//!
//! The bus master moves a drive's data to or from the memory that a list of PRDs names. The channel's lock is not held
//! while it accesses memory: the guest decides where that leads (see "Devices that do DMA" at
//! [`flatview::MemoryRegionOps`]). So a transfer is a row of [`Access`]es. Each is made without the lock; then its
//! outcome is told to the channel, which says what is next. Meanwhile another CPU may stop the transfer, or reset the
//! drive: then the outcome's *ticket* is an old one, and it is forgotten.

use bitflags::bitflags;
use flatview::{AddressSpace, MemTxAttrs, MemTxError};

/// Bytes of a PRD.
const PRD: u32 = 8;
/// Second word of a PRD: the list ends here.
const END_OF_TABLE: u32 = 0x8000_0000;
/// What a list, and a piece of memory, must not cross, in bytes.
const BOUNDARY: u32 = 0x1_0000;

bitflags! {
    /// Bus Master IDE Status.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    struct Status: u8 {
        /// Active: started, and not at the end of the list.
        const ACTIVE = 0x01;
        /// Memory could not be accessed.
        const ERROR = 0x02;
        /// The drive interrupted.
        const INTERRUPT = 0x04;
        /// What the BIOS tells drivers of the drives.
        const DRIVES = 0x60;
    }
}

/// Bus Master IDE Command: start.
const START: u8 = 0x01;
/// Bus Master IDE Command: towards memory. The drive knows better, so it is only kept.
const TOWARDS_MEMORY: u8 = 0x08;

/// What is to be done without the lock.
#[derive(Debug)]
pub(super) struct Access {
    ticket: u64,
    address: u32,
    what: What,
}

#[derive(Debug)]
enum What {
    Prd,
    Store(Vec<u8>),
    Load(usize),
}

/// What came of an [`Access`].
#[derive(Debug)]
pub(super) struct Outcome {
    ticket: u64,
    result: Result<Done, MemTxError>,
}

#[derive(Debug)]
enum Done {
    Prd([u8; 8]),
    Stored(usize),
    Loaded(Vec<u8>),
}

impl Access {
    /// Makes the access.
    pub(super) fn make(self, memory: &AddressSpace) -> Outcome {
        let (address, attrs) = (u64::from(self.address), MemTxAttrs::UNSPECIFIED);
        let result = match self.what {
            What::Prd => {
                let mut prd = [0; 8];
                memory.read(address, &mut prd, attrs).map(|()| Done::Prd(prd))
            }
            What::Store(bytes) => memory
                .write(address, &bytes, attrs)
                .map(|()| Done::Stored(bytes.len())),
            What::Load(len) => {
                let mut bytes = vec![0; len];
                memory
                    .read(address, &mut bytes, attrs)
                    .map(|()| Done::Loaded(bytes))
            }
        };
        Outcome {
            ticket: self.ticket,
            result,
        }
    }
}

/// What an outcome means for the drive.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// Nothing.
    Nothing,
    /// So many bytes went to memory.
    Out(usize),
    /// These came from memory.
    In(Vec<u8>),
}

/// What is next.
#[derive(Debug)]
pub(super) enum Next {
    /// Make this access.
    Access(Access),
    /// The list of PRDs is at its end, or memory cannot be accessed: the rest of the data goes nowhere.
    Exhausted,
}

/// The registers of one channel, and where it is in the list.
#[derive(Debug, Default)]
pub(super) struct BusMaster {
    command: u8,
    status: Status,
    table: u32,
    /// Where the next PRD is; `None` after the last one.
    next: Option<u32>,
    /// The rest of the piece of memory that the current PRD names.
    address: u32,
    left: u32,
    ticket: u64,
}

impl BusMaster {
    pub(super) fn reset(&mut self) {
        let ticket = self.ticket + 1;
        *self = BusMaster {
            ticket,
            ..BusMaster::default()
        };
    }

    pub(super) fn read_command(&self) -> u8 {
        self.command
    }

    /// Starting begins at the first PRD of the list. Stopping forgets the rest of it.
    pub(super) fn write_command(&mut self, value: u8) {
        let was_started = self.command & START != 0;
        self.command = value & (START | TOWARDS_MEMORY);
        match (was_started, value & START != 0) {
            (false, true) => {
                self.status |= Status::ACTIVE;
                (self.next, self.left) = (Some(self.table), 0);
                self.ticket += 1;
            }
            (true, false) => self.stop(),
            _ => {}
        }
    }

    pub(super) fn read_status(&self) -> u8 {
        self.status.bits()
    }

    /// Ones clear Interrupt and Error.
    pub(super) fn write_status(&mut self, value: u8) {
        let value = Status::from_bits_truncate(value);
        self.status -= value & (Status::INTERRUPT | Status::ERROR);
        self.status = self.status.difference(Status::DRIVES) | (value & Status::DRIVES);
    }

    pub(super) fn table(&self) -> u32 {
        self.table
    }

    pub(super) fn set_table(&mut self, value: u32) {
        self.table = value & !3;
    }

    /// The drive's interrupt line rose.
    pub(super) fn interrupted(&mut self) {
        self.status |= Status::INTERRUPT;
    }

    pub(super) fn is_active(&self) -> bool {
        self.status.contains(Status::ACTIVE)
    }

    /// Outcomes of accesses that are under way do not count any more.
    pub(super) fn forget(&mut self) {
        self.ticket += 1;
    }

    /// Not active any more.
    pub(super) fn stop(&mut self) {
        self.status -= Status::ACTIVE;
        self.forget();
    }

    /// The drive has moved all its data. Active goes only if the list had no more memory either.
    pub(super) fn finish(&mut self) {
        if self.left == 0 && self.next.is_none() {
            self.stop();
        }
    }

    /// Takes note of what came of an access.
    pub(super) fn apply(&mut self, outcome: Outcome) -> Moved {
        if outcome.ticket != self.ticket {
            return Moved::Nothing;
        }
        let len = match &outcome.result {
            Ok(Done::Stored(len)) => *len,
            Ok(Done::Loaded(bytes)) => bytes.len(),
            _ => 0,
        };
        let len32 = u32::try_from(len).unwrap_or(u32::MAX);
        self.address = self.address.wrapping_add(len32);
        self.left = self.left.saturating_sub(len32);
        match outcome.result {
            Ok(Done::Prd([a, b, c, d, rest @ ..])) => {
                let second = u32::from_le_bytes(rest);
                self.address = u32::from_le_bytes([a, b, c, d]) & !1;
                // No bytes are 64 KiB.
                self.left = match second & 0xfffe {
                    0 => BOUNDARY,
                    bytes => bytes,
                };
                if second & END_OF_TABLE != 0 {
                    self.next = None;
                }
                Moved::Nothing
            }
            Ok(Done::Stored(_)) => Moved::Out(len),
            Ok(Done::Loaded(bytes)) => Moved::In(bytes),
            Err(_) => {
                self.fail();
                Moved::Nothing
            }
        }
    }

    fn fail(&mut self) {
        self.status |= Status::ERROR;
        (self.next, self.left) = (None, 0);
    }

    /// What to do to move `data` to memory, or if there is none, `wanted` bytes from it.
    pub(super) fn next(&mut self, data: Option<&[u8]>, wanted: usize) -> Next {
        let (address, what) = match (self.left, self.next) {
            (0, None) => {
                self.stop();
                return Next::Exhausted;
            }
            (0, Some(at)) => {
                // A list that would cross a 64 KiB boundary has no more entries there.
                self.next = at.checked_add(PRD).filter(|next| next % BOUNDARY >= PRD);
                (at, What::Prd)
            }
            (left, _) => {
                // Nothing goes beyond 4 GiB at once: what follows is address 0.
                let room = u64::from(left).min((1 << 32) - u64::from(self.address));
                let len = wanted.min(usize::try_from(room).unwrap_or(usize::MAX));
                let what = match data {
                    Some(data) => What::Store(data[..len].to_vec()),
                    None => What::Load(len),
                };
                (self.address, what)
            }
        };
        Next::Access(Access {
            ticket: self.ticket,
            address,
            what,
        })
    }
}
