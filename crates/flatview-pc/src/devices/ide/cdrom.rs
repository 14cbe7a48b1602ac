//! A CD-ROM drive: the packet commands' protocol (ATA/ATAPI-6, 9.8 to 9.10). What the packets say is in `mmc`.

use std::sync::Arc;

use super::channel::DEVICE_RESET;
use super::drive::{Device, Front, MOST_AT_ONCE, Phase, Way};
use super::identify;
use super::mmc::{Player, Reply, Sense};
use super::task_file::{DIAGNOSTIC_PASSED, Error, PACKET_SIGNATURE, Status};
use crate::devices::block::BlockBackend;

/// Interrupt Reason, which is where a disk has Sector Count: a command packet is moved, not data.
const COMMAND: u8 = 0x01;
/// Interrupt Reason: towards the host.
const TO_HOST: u8 = 0x02;

/// Features of PACKET: data goes by DMA.
const FEATURE_DMA: u8 = 0x01;
/// Features of PACKET: the drive may release the bus, which this one never does.
const FEATURE_OVERLAPPED: u8 = 0x02;

const PACKET_LEN: usize = 12;

/// Data that a packet command is still to send.
#[derive(Debug)]
struct Rest {
    from: Reply,
    /// Bytes that were sent.
    sent: u64,
    way: Way,
    /// The most bytes of a DRQ block.
    limit: usize,
}

#[derive(Debug)]
pub(super) struct Cdrom {
    player: Player,
    unit: usize,
    mode: u8,
    /// What is on its way; `None` while it is a packet, or an identification.
    rest: Option<Rest>,
}

impl Cdrom {
    pub(super) fn new(image: Option<Arc<dyn BlockBackend>>, unit: usize) -> Cdrom {
        Cdrom {
            player: Player::new(image),
            unit,
            mode: 0x45,
            rest: None,
        }
    }

    /// A packet has come.
    fn run(&mut self, front: &mut Front, packet: &[u8; PACKET_LEN]) {
        let way = match front.file.features.current & FEATURE_DMA {
            0 => Way::Pio,
            _ => Way::Dma,
        };
        // The limit is even, unless it is the end; none is as much as there can be (8.23.4).
        let limit = match (way, front.file.byte_count()) {
            (Way::Dma, _) => MOST_AT_ONCE,
            (Way::Pio, 0 | 1 | 0xffff) => 0xfffe,
            (Way::Pio, bytes) => usize::from(bytes & !1),
        };
        match self.player.execute(packet) {
            Ok(from) => {
                self.rest = Some(Rest {
                    from,
                    sent: 0,
                    way,
                    limit,
                });
                self.send(front);
            }
            Err(sense) => self.check_condition(front, sense),
        }
    }

    /// Sends what is next, or says that all is sent.
    fn send(&mut self, front: &mut Front) {
        let Some(rest) = &mut self.rest else {
            return front.complete();
        };
        let left = rest.from.len().saturating_sub(rest.sent);
        let len = rest.limit.min(usize::try_from(left).unwrap_or(usize::MAX));
        if len == 0 {
            self.rest = None;
            front.file.count.current = COMMAND | TO_HOST;
            return front.complete();
        }
        let mut data = vec![0; len];
        if let Err(sense) = self.player.read(&rest.from, rest.sent, &mut data) {
            return self.check_condition(front, sense);
        }
        rest.sent += len as u64;
        front.file.count.current = TO_HOST;
        if rest.way == Way::Pio {
            front.file.set_byte_count(u16::try_from(len).unwrap_or(0xfffe));
        }
        front.send(data, rest.way);
    }

    fn check_condition(&mut self, front: &mut Front, sense: Sense) {
        self.rest = None;
        self.player.sense = sense;
        front.file.count.current = COMMAND | TO_HOST;
        front.fail(Error::empty());
        front.file.error = sense.key << 4;
    }

    fn sign(front: &mut Front) {
        front.file.set_signature(PACKET_SIGNATURE);
    }
}

impl Device for Cdrom {
    fn signature(&self) -> [u8; 2] {
        PACKET_SIGNATURE
    }

    fn status_after_reset(&self) -> Status {
        Status::empty()
    }

    fn reset(&mut self) {
        self.mode = 0x45;
        self.rest = None;
        self.player.reset();
    }

    fn command(&mut self, front: &mut Front, command: u8) {
        self.rest = None;
        match command {
            DEVICE_RESET => {
                Cdrom::sign(front);
                front.end(Status::empty());
                front.file.error = DIAGNOSTIC_PASSED;
            }
            // PACKET. No interrupt asks for the packet: word 0 of the identification says so.
            0xa0 if front.file.features.current & FEATURE_OVERLAPPED == 0 => {
                front.file.count.current = COMMAND;
                front.expect(PACKET_LEN, Way::Pio);
            }
            // IDENTIFY PACKET DEVICE.
            0xa1 => {
                let words = identify::common("FLATVIEW DVD-ROM", self.unit, self.mode).cdrom();
                front.send(words.bytes(), Way::Pio);
            }
            // IDENTIFY DEVICE, READ SECTOR(S): who asks for a disk is told what this is (8.15.5.2, 8.34.5).
            0xec | 0x20 => {
                Cdrom::sign(front);
                front.fail(Error::ABRT);
            }
            // SET FEATURES: transfer mode (PIO, multiword DMA 0-2, Ultra DMA 0-5).
            0xef if front.file.features.current == 0x03 => match front.file.count.current {
                0x00 | 0x01 | 0x08..=0x0c => front.complete(),
                mode @ (0x20..=0x22 | 0x40..=0x45) => {
                    self.mode = mode;
                    front.complete();
                }
                _ => front.fail(Error::ABRT),
            },
            // STANDBY IMMEDIATE, IDLE IMMEDIATE, STANDBY, IDLE, SLEEP.
            0xe0..=0xe3 | 0xe6 => front.complete(),
            // CHECK POWER MODE.
            0xe5 => {
                front.file.count.current = 0xff;
                front.complete();
            }
            _ => front.fail(Error::ABRT),
        }
    }

    fn taken(&mut self, front: &mut Front) {
        match self.rest {
            Some(_) => self.send(front),
            None => front.end(Status::READY),
        }
    }

    fn given(&mut self, front: &mut Front) {
        match <[u8; PACKET_LEN]>::try_from(&front.data[..]) {
            Ok(packet) if front.phase == Phase::PioOut => self.run(front, &packet),
            _ => front.fail(Error::ABRT),
        }
    }

    fn cut_short(&mut self, front: &mut Front) {
        self.rest = None;
        front.end(Status::READY);
    }
}
