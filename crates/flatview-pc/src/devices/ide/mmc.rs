//! What packet commands do: SCSI Multi-Media Commands 3 (MMC-3), and SPC-2 where it refers to that.

use std::sync::Arc;

use crate::devices::block::BlockBackend;

/// Bytes of a block of a CD.
const BLOCK: u64 = 2048;
/// Blocks of the longest CD, 80 minutes of 75 frames a second. What is larger is a DVD.
const LONGEST_CD: u64 = 80 * 60 * 75;
/// Frames before block 0: the first two seconds.
const PREGAP: u32 = 150;

const PROFILE_CD_ROM: u16 = 0x0008;
const PROFILE_DVD_ROM: u16 = 0x0010;

/// What is wrong, as REQUEST SENSE says it: key, additional sense code and qualifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sense {
    pub(super) key: u8,
    asc: u8,
    ascq: u8,
}

const fn sense(key: u8, asc: u8, ascq: u8) -> Sense {
    Sense { key, asc, ascq }
}

const NO_SENSE: Sense = sense(0, 0, 0);
const NO_MEDIUM_TRAY_CLOSED: Sense = sense(2, 0x3a, 1);
const NO_MEDIUM_TRAY_OPEN: Sense = sense(2, 0x3a, 2);
const UNRECOVERED_READ_ERROR: Sense = sense(3, 0x11, 0);
const INVALID_COMMAND: Sense = sense(5, 0x20, 0);
const OUT_OF_RANGE: Sense = sense(5, 0x21, 0);
const INVALID_FIELD: Sense = sense(5, 0x24, 0);
const NO_SAVED_PAGES: Sense = sense(5, 0x39, 0);
const REMOVAL_PREVENTED: Sense = sense(5, 0x53, 2);
const MEDIUM_MAY_HAVE_CHANGED: Sense = sense(6, 0x28, 0);

/// Media events of GET EVENT STATUS NOTIFICATION (table 104).
const EVENT_NO_CHANGE: u8 = 0;
const EVENT_NEW_MEDIA: u8 = 2;
const EVENT_MEDIA_REMOVAL: u8 = 3;

/// What a command sends.
#[derive(Debug)]
pub(super) enum Reply {
    /// These bytes; there may be none.
    Bytes(Vec<u8>),
    /// A part of the disc, in bytes.
    Disc { first: u64, len: u64 },
}

impl Reply {
    pub(super) fn len(&self) -> u64 {
        match self {
            Reply::Bytes(bytes) => bytes.len() as u64,
            Reply::Disc { len, .. } => *len,
        }
    }
}

/// The mechanics: a disc, a tray, a lock.
#[derive(Debug)]
pub(super) struct Player {
    image: Option<Arc<dyn BlockBackend>>,
    is_open: bool,
    is_locked: bool,
    pub(super) sense: Sense,
    /// The disc was put in, and no command was told so yet.
    is_changed: bool,
    event: u8,
}

impl Player {
    pub(super) fn new(image: Option<Arc<dyn BlockBackend>>) -> Player {
        Player {
            image,
            is_open: false,
            is_locked: false,
            sense: NO_SENSE,
            is_changed: false,
            event: EVENT_NO_CHANGE,
        }
    }

    /// A reset unlocks the tray and leaves it where it is.
    pub(super) fn reset(&mut self) {
        self.is_locked = false;
        (self.sense, self.is_changed, self.event) = (NO_SENSE, false, EVENT_NO_CHANGE);
    }

    /// How many blocks the disc has.
    fn blocks(&self) -> Result<u32, Sense> {
        match (&self.image, self.is_open) {
            (_, true) => Err(NO_MEDIUM_TRAY_OPEN),
            (None, false) => Err(NO_MEDIUM_TRAY_CLOSED),
            (Some(image), false) => Ok(u32::try_from(image.size().div_ceil(BLOCK)).unwrap_or(u32::MAX)),
        }
    }

    fn profile(&self) -> u16 {
        match self.blocks() {
            Err(_) => 0,
            Ok(blocks) if u64::from(blocks) > LONGEST_CD => PROFILE_DVD_ROM,
            Ok(_) => PROFILE_CD_ROM,
        }
    }

    /// Fills `data` with a reply's bytes from `offset` on.
    pub(super) fn read(&self, reply: &Reply, offset: u64, data: &mut [u8]) -> Result<(), Sense> {
        match reply {
            Reply::Bytes(bytes) => {
                let rest = bytes.iter().skip(usize::try_from(offset).unwrap_or(usize::MAX));
                for (to, from) in data.iter_mut().zip(rest) {
                    *to = *from;
                }
                Ok(())
            }
            Reply::Disc { first, .. } => {
                let image = self.image.as_ref().ok_or(NO_MEDIUM_TRAY_CLOSED)?;
                let first = first + offset;
                // The image may end within the last block.
                let there = image.size().saturating_sub(first);
                let len = data.len().min(usize::try_from(there).unwrap_or(usize::MAX));
                match len {
                    0 => Ok(()),
                    _ => image
                        .read_at(first, &mut data[..len])
                        .map_err(|_| UNRECOVERED_READ_ERROR),
                }
            }
        }
    }

    /// Obeys a packet.
    pub(super) fn execute(&mut self, packet: &[u8; 12]) -> Result<Reply, Sense> {
        let half = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let word =
            |at: usize| u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
        let at_most = |mut bytes: Vec<u8>, len: usize| {
            bytes.truncate(len);
            Ok(Reply::Bytes(bytes))
        };
        let nothing = || Ok(Reply::Bytes(Vec::new()));
        // These are obeyed whatever happened to the disc (MMC-3, 4.1.5.1).
        match packet[0] {
            // REQUEST SENSE
            0x03 => {
                let sense = std::mem::take(&mut self.sense);
                return at_most(request_sense(sense), packet[4].into());
            }
            // INQUIRY; vital product data is not there
            0x12 if packet[1] & 0x03 != 0 || packet[2] != 0 => return Err(INVALID_FIELD),
            0x12 => return at_most(inquiry(), packet[4].into()),
            // GET CONFIGURATION
            0x46 => return at_most(self.configuration(packet[1] & 3, half(2))?, half(7).into()),
            // GET EVENT STATUS NOTIFICATION, polled only
            0x4a if packet[1] & 1 == 0 => return Err(INVALID_FIELD),
            0x4a => return at_most(self.event_status(packet[4]), half(8).into()),
            _ => {}
        }
        self.sense = NO_SENSE;
        if std::mem::take(&mut self.is_changed) {
            return Err(MEDIUM_MAY_HAVE_CHANGED);
        }
        match packet[0] {
            // TEST UNIT READY
            0x00 => self.blocks().and_then(|_| nothing()),
            // START STOP UNIT: bit 1 is the tray, bit 0 says where to
            0x1b => {
                if packet[4] & 0xf2 == 0x02 {
                    self.move_tray(packet[4] & 1 == 0)?;
                }
                nothing()
            }
            // PREVENT ALLOW MEDIUM REMOVAL
            0x1e => {
                self.is_locked = packet[4] & 1 != 0;
                nothing()
            }
            // READ CAPACITY
            0x25 => {
                let last = self.blocks()?.saturating_sub(1);
                let bytes = [last.to_be_bytes(), 2048_u32.to_be_bytes()].concat();
                at_most(bytes, 8)
            }
            // READ(10), READ(12)
            0x28 => self.blocks_from(word(2), half(7).into()),
            0xa8 => self.blocks_from(word(2), word(6)),
            // SEEK(10)
            0x2b => self.blocks_from(word(2), 1).and_then(|_| nothing()),
            // READ TOC/PMA/ATIP; older drivers have the format in the last byte
            0x43 => {
                let format = match packet[2] & 0xf {
                    0 => packet[9] >> 6,
                    format => format,
                };
                at_most(self.toc(format, packet[6], packet[1] & 2 != 0)?, half(7).into())
            }
            // READ DISC INFORMATION
            0x51 if packet[1] & 7 == 0 => {
                self.blocks()?;
                at_most(disc_information(), half(7).into())
            }
            0x51 => Err(INVALID_FIELD),
            // MODE SENSE(10)
            0x5a => at_most(self.mode_sense(packet[2])?, half(7).into()),
            // MECHANISM STATUS: no changer; bit 4 of byte 1 is the door
            0xbd => at_most(
                vec![0, u8::from(self.is_open) << 4, 0, 0, 0, 0, 0, 0],
                half(8).into(),
            ),
            _ => Err(INVALID_COMMAND),
        }
    }

    fn blocks_from(&self, first: u32, count: u32) -> Result<Reply, Sense> {
        let blocks = u64::from(self.blocks()?);
        let (first, count) = (u64::from(first), u64::from(count));
        if first + count > blocks {
            return Err(OUT_OF_RANGE);
        }
        Ok(Reply::Disc {
            first: first * BLOCK,
            len: count * BLOCK,
        })
    }

    fn move_tray(&mut self, open: bool) -> Result<(), Sense> {
        if open && self.is_locked {
            return Err(REMOVAL_PREVENTED);
        }
        if open != self.is_open {
            self.is_open = open;
            self.is_changed = !open && self.image.is_some();
            self.event = match (open, self.is_changed) {
                (true, _) => EVENT_MEDIA_REMOVAL,
                (_, true) => EVENT_NEW_MEDIA,
                _ => EVENT_NO_CHANGE,
            };
        }
        Ok(())
    }

    /// The table of contents (6.26): one data track, and the lead-out.
    fn toc(&self, format: u8, from_track: u8, is_msf: bool) -> Result<Vec<u8>, Sense> {
        let blocks = self.blocks()?;
        let address = |lba: u32| match is_msf {
            true => {
                let [minute, second, frame] = msf(lba);
                [0, minute, second, frame]
            }
            false => lba.to_be_bytes(),
        };
        let mut toc = vec![0, 0, 1, 1];
        match format {
            0 if from_track > 1 && from_track != 0xaa => return Err(INVALID_FIELD),
            0 => {
                if from_track <= 1 {
                    toc.extend([0, 0x14, 1, 0]);
                    toc.extend(address(0));
                }
                toc.extend([0, 0x16, 0xaa, 0]);
                toc.extend(address(blocks));
            }
            // Sessions: there is one.
            1 => {
                toc.extend([0, 0x14, 1, 0]);
                toc.extend(address(0));
            }
            // As it is on the disc: first track, last track, lead-out, and the track.
            2 => {
                let [minute, second, frame] = msf(blocks);
                let points = [
                    (0xa0, [1, 0, 0]),
                    (0xa1, [1, 0, 0]),
                    (0xa2, [minute, second, frame]),
                    (1, msf(0)),
                ];
                for (point, [minute, second, frame]) in points {
                    toc.extend([1, 0x14, 0, point, 0, 0, 0, 0, minute, second, frame]);
                }
            }
            _ => return Err(INVALID_FIELD),
        }
        set_length(&mut toc);
        Ok(toc)
    }

    /// Features (5.3): the profiles, the core, the removable medium. `request` is the RT field.
    fn configuration(&self, request: u8, from: u16) -> Result<Vec<u8>, Sense> {
        let profile = self.profile();
        let mut reply = vec![0; 6];
        reply.extend(profile.to_be_bytes());
        // Version and persistence as in tables 55, 58 and 63: current, persistent.
        let mut profiles = vec![0x03];
        profiles.push(8);
        for listed in [PROFILE_DVD_ROM, PROFILE_CD_ROM] {
            profiles.extend(listed.to_be_bytes());
            profiles.extend([u8::from(listed == profile), 0]);
        }
        let features: [(u16, Vec<u8>); 3] = [
            (0, profiles),
            // The interface is ATAPI.
            (1, vec![0x03, 4, 0, 0, 0, 2]),
            // A tray that opens and can be locked.
            (3, vec![0x03, 4, 0x29, 0, 0, 0]),
        ];
        let wanted = |code: u16| match request {
            // All of them, or the current ones, which is the same here.
            0 | 1 => Ok(code >= from),
            2 => Ok(code == from),
            _ => Err(INVALID_FIELD),
        };
        for (code, feature) in features {
            if wanted(code)? {
                reply.extend(code.to_be_bytes());
                reply.extend(feature);
            }
        }
        let len = u32::try_from(reply.len() - 4).unwrap_or(0);
        reply[..4].copy_from_slice(&len.to_be_bytes());
        Ok(reply)
    }

    /// `classes` is a bit for each class of events; of those there is only media (6.7).
    fn event_status(&mut self, classes: u8) -> Vec<u8> {
        const MEDIA: u8 = 4;
        if classes & 1 << MEDIA == 0 {
            return vec![0, 2, 0x80, 1 << MEDIA];
        }
        let event = std::mem::replace(&mut self.event, EVENT_NO_CHANGE);
        let status = u8::from(self.is_open) | u8::from(self.blocks().is_ok()) << 1;
        vec![0, 6, MEDIA, 1 << MEDIA, event, status, 0, 0]
    }

    /// The pages for error recovery, and of capabilities (6.3.4, 6.3.11 and SPC-2).
    fn mode_sense(&self, page: u8) -> Result<Vec<u8>, Sense> {
        let (control, page) = (page >> 6, page & 0x3f);
        if control == 3 {
            return Err(NO_SAVED_PAGES);
        }
        let recovery = [0x01, 6, 0, 5, 0, 0, 0, 0];
        // Reads CD-R, CD-RW and DVD-ROM; a tray, locked or not; 4 times the speed of a CD, in kB/s; 512 KiB of buffer.
        let [speed_high, speed_low] = 706_u16.to_be_bytes();
        let lock = 0x29 | u8::from(self.is_locked) << 1;
        let capabilities = [
            0x2a, 18, 0x0b, 0, 0x70, 0, lock, 0, speed_high, speed_low, 0, 2, 2, 0, speed_high, speed_low, 0,
            0, 0, 0,
        ];
        let mut reply = vec![0; 8];
        let mut add = |page: &[u8]| {
            reply.extend(&page[..2]);
            // Asked which bits can be changed: none.
            reply.extend(page[2..].iter().map(|byte| if control == 1 { 0 } else { *byte }));
        };
        match page {
            0x01 => add(&recovery),
            0x2a => add(&capabilities),
            0x3f => {
                add(&recovery);
                add(&capabilities);
            }
            _ => return Err(INVALID_FIELD),
        }
        set_length(&mut reply);
        Ok(reply)
    }
}

/// The first two bytes say how many follow.
fn set_length(reply: &mut [u8]) {
    let len = u16::try_from(reply.len() - 2).unwrap_or(u16::MAX);
    reply[..2].copy_from_slice(&len.to_be_bytes());
}

/// Minute, second and frame of a block.
fn msf(lba: u32) -> [u8; 3] {
    let frames = lba.saturating_add(PREGAP);
    let byte = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
    [
        byte(frames / (60 * 75)),
        byte(frames / 75 % 60),
        byte(frames % 75),
    ]
}

/// Fixed format (SPC-2, table 101).
fn request_sense(sense: Sense) -> Vec<u8> {
    let mut reply = vec![0; 18];
    (reply[0], reply[2], reply[7]) = (0x70, sense.key, 10);
    (reply[12], reply[13]) = (sense.asc, sense.ascq);
    reply
}

/// A removable CD-ROM (SPC-2, table 48); ATAPI.
fn inquiry() -> Vec<u8> {
    let mut reply = vec![0x05, 0x80, 0x00, 0x21, 31, 0, 0, 0];
    reply.extend(b"FLATVIEWDVD-ROM         ");
    reply.extend(format!("{:4.4}", env!("CARGO_PKG_VERSION")).bytes());
    reply
}

/// A finished disc of one session with one track (6.21).
fn disc_information() -> Vec<u8> {
    let mut reply = vec![0; 34];
    (reply[1], reply[2]) = (32, 0x0e);
    reply[3..7].fill(1);
    reply[7] = 0x20;
    reply
}
