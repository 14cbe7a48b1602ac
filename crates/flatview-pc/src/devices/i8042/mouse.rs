//! A mouse (IBM PS/2 Hardware Interface Technical Reference, Mouse) that answers, and lies still.

use super::queue::{ACK, Queue, RESEND};

/// A mouse with two buttons and no wheel, that nobody moves.
#[derive(Debug)]
pub(super) struct Mouse {
    pub(super) queue: Queue,
    /// The command whose argument is awaited.
    command: Option<u8>,
    /// Every byte but two comes back.
    wraps: bool,
    remote: bool,
    reports: bool,
    scales: bool,
    resolution: u8,
    rate: u8,
}

impl Mouse {
    pub(super) fn new() -> Mouse {
        Mouse {
            queue: Queue::default(),
            command: None,
            wraps: false,
            remote: false,
            reports: false,
            scales: false,
            resolution: 2,
            rate: 100,
        }
    }

    /// A byte from the controller.
    pub(super) fn write(&mut self, byte: u8) {
        if self.wraps && !matches!(byte, 0xec | 0xff) {
            return self.queue.push(byte);
        }
        match self.command.take() {
            Some(0xe8) => self.resolution = byte & 3,
            Some(_) => self.rate = byte,
            None => return self.command(byte),
        }
        self.queue.push(ACK);
    }

    fn command(&mut self, command: u8) {
        match command {
            0xe6 | 0xe7 => self.scales = command == 0xe7,
            0xe8 | 0xf3 => self.command = Some(command),
            0xe9 => {
                let status =
                    u8::from(self.remote) << 6 | u8::from(self.reports) << 5 | u8::from(self.scales) << 4;
                return self.queue.extend([ACK, status, self.resolution, self.rate]);
            }
            0xea | 0xf0 => self.remote = command == 0xf0,
            // No button is down, nothing moved.
            0xeb => return self.queue.extend([ACK, 0x08, 0, 0]),
            0xec | 0xee => self.wraps = command == 0xee,
            0xf2 => return self.queue.extend([ACK, 0x00]),
            0xf4 | 0xf5 => self.reports = command == 0xf4,
            0xf6 => *self = Mouse::new(),
            0xfe => return self.queue.resend(),
            0xff => {
                *self = Mouse::new();
                return self.queue.extend([ACK, 0xaa, 0x00]);
            }
            _ => return self.queue.push(RESEND),
        }
        self.queue.push(ACK);
    }
}
