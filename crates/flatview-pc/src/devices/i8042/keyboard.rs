//! The keyboard (IBM PS/2 Hardware Interface Technical Reference, Keyboards).

use std::collections::VecDeque;

use super::keys::Key;
use super::queue::{ACK, Queue, RESEND};

/// What it says after a reset when all is well.
const SELF_TEST_PASSED: u8 = 0xaa;

/// Key strokes that wait until the guest can take them.
const STROKES: usize = 1024;

/// A keyboard with scan code sets 1 and 2.
#[derive(Debug)]
pub(super) struct Keyboard {
    pub(super) queue: Queue,
    strokes: VecDeque<(Key, bool)>,
    /// The command whose argument is awaited.
    command: Option<u8>,
    set: u8,
    scans: bool,
    pub(super) leds: u8,
}

impl Keyboard {
    pub(super) fn new() -> Keyboard {
        Keyboard {
            queue: Queue::default(),
            strokes: VecDeque::new(),
            command: None,
            set: 2,
            scans: true,
            leds: 0,
        }
    }

    /// A key goes down, or up. Returns false if too many wait.
    pub(super) fn stroke(&mut self, key: Key, down: bool) -> bool {
        let fits = self.strokes.len() < STROKES;
        if fits {
            self.strokes.push_back((key, down));
        }
        fits
    }

    /// How many more fit.
    pub(super) fn room(&self) -> usize {
        STROKES - self.strokes.len()
    }

    pub(super) fn has_strokes(&self) -> bool {
        !self.strokes.is_empty()
    }

    /// Sends the codes of the next stroke, if the guest has read those before and wants any.
    pub(super) fn scan(&mut self) {
        if self.scans
            && self.queue.is_empty()
            && let Some((key, down)) = self.strokes.pop_front()
        {
            for code in key.scan_codes(down, self.set) {
                self.queue.push(code);
            }
        }
    }

    fn set_defaults(&mut self) {
        (self.set, self.leds) = (2, 0);
        self.queue.clear();
    }

    /// A byte from the controller.
    pub(super) fn write(&mut self, byte: u8) {
        // An argument has no bit 7; what has is the next command.
        if let Some(command) = self.command.take()
            && byte < 0x80
        {
            return self.argument(command, byte);
        }
        match byte {
            0xed | 0xf0 | 0xf3 => {
                self.command = Some(byte);
                self.queue.push(ACK);
            }
            0xee => self.queue.push(0xee),
            0xf2 => self.queue.extend([ACK, 0xab, 0x83]),
            0xf4 => {
                self.queue.clear();
                self.scans = true;
                self.queue.push(ACK);
            }
            0xf5 | 0xf6 => {
                self.set_defaults();
                self.scans = byte == 0xf6;
                self.queue.push(ACK);
            }
            // Which keys repeat, and which say that they go up: for set 3.
            0xf7..=0xfd => self.queue.push(ACK),
            0xfe => self.queue.resend(),
            0xff => {
                self.set_defaults();
                self.scans = true;
                self.queue.extend([ACK, SELF_TEST_PASSED]);
            }
            _ => self.queue.push(RESEND),
        }
    }

    fn argument(&mut self, command: u8, value: u8) {
        match (command, value) {
            (0xed, leds) => self.leds = leds & 7,
            (0xf0, 0) => return self.queue.extend([ACK, self.set]),
            (0xf0, 1 | 2) => self.set = value,
            (0xf0, _) => return self.queue.push(RESEND),
            // 0xf3: keys do not repeat by themselves.
            _ => {}
        }
        self.queue.push(ACK);
    }
}
