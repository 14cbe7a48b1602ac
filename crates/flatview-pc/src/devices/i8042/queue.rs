//! What a PS/2 device has to say.

use std::collections::VecDeque;

pub(super) const ACK: u8 = 0xfa;
pub(super) const RESEND: u8 = 0xfe;

/// Bytes that a device can hold back.
const SIZE: usize = 16;

/// Bytes on their way to the controller. What does not fit is lost.
#[derive(Debug, Default)]
pub(super) struct Queue {
    bytes: VecDeque<u8>,
    last: u8,
}

impl Queue {
    pub(super) fn push(&mut self, byte: u8) {
        if self.bytes.len() < SIZE {
            self.bytes.push_back(byte);
        }
    }

    pub(super) fn extend<const N: usize>(&mut self, bytes: [u8; N]) {
        for byte in bytes {
            self.push(byte);
        }
    }

    pub(super) fn pop(&mut self) -> Option<u8> {
        let byte = self.bytes.pop_front()?;
        self.last = byte;
        Some(byte)
    }

    /// What was sent last, again.
    pub(super) fn resend(&mut self) {
        self.push(self.last);
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}
