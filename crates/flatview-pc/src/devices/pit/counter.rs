//! One counter of the 8254: what the guest reads and writes of it.

use super::element::{Element, Mode};

/// A counter, as of its last change.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    element: Element,
    /// Bits 4 and 5 of the control word: 1 the low byte, 2 the high byte, 3 both, the low one first.
    access: u8,
    bcd: bool,
    gate: bool,
    /// The low byte of a count whose high byte is still to be written.
    low: Option<u8>,
    /// The next read finds the high byte.
    reads_high: bool,
    latched: Option<u16>,
    latched_status: Option<u8>,
}

impl Counter {
    /// Those of a PC: the gate of channel 2 is low. What an 8254 does before it is programmed is undefined; these count
    /// from 0x10000 in mode 3, as QEMU's do.
    pub(super) fn power_on(now: i64) -> [Counter; 3] {
        [true, true, false].map(|gate| {
            let mut element = Element::new(Mode::SquareWave, 0x1_0000);
            element.write(0x1_0000, gate, now);
            Counter::new(element, 0x30, gate)
        })
    }

    fn new(element: Element, control: u8, gate: bool) -> Counter {
        Counter {
            element,
            access: control >> 4 & 3,
            bcd: control & 1 != 0,
            gate,
            low: None,
            reads_high: false,
            latched: None,
            latched_status: None,
        }
    }

    pub(super) fn gate(&self) -> bool {
        self.gate
    }

    pub(super) fn output(&self, now: i64) -> bool {
        self.element.settled(now).output(now)
    }

    /// When the output rises for the first time after `after`.
    pub(super) fn next_rise(&self, after: i64) -> Option<i64> {
        self.element.next_rise(after)
    }

    pub(super) fn is_periodic(&self) -> bool {
        self.element.mode.is_periodic()
    }

    /// A control word for this counter that is no latch command.
    pub(super) fn set_mode(&mut self, control: u8) {
        let mode = match control >> 1 & 7 {
            0 => Mode::InterruptOnTerminalCount,
            1 => Mode::OneShot,
            2 | 6 => Mode::RateGenerator,
            3 | 7 => Mode::SquareWave,
            4 => Mode::SoftwareStrobe,
            _ => Mode::HardwareStrobe,
        };
        *self = Counter::new(Element::new(mode, self.element.written()), control, self.gate);
    }

    pub(super) fn write(&mut self, value: u8, now: i64) {
        self.element = self.element.settled(now);
        let written = match (self.access, self.low.take()) {
            (1, _) => u16::from(value),
            (2, _) => u16::from(value) << 8,
            (_, Some(low)) => u16::from_le_bytes([low, value]),
            (_, None) => {
                self.low = Some(value);
                return self.element.begin_write();
            }
        };
        let count = if self.bcd {
            from_bcd(written)
        } else {
            written.into()
        };
        let count = if count == 0 { self.modulus() } else { count };
        self.element.write(count, self.gate, now);
    }

    pub(super) fn set_gate(&mut self, gate: bool, now: i64) {
        if self.gate != gate {
            self.gate = gate;
            self.element = self.element.settled(now);
            self.element.set_gate(gate, now);
        }
    }

    /// A count that is latched already stays.
    pub(super) fn latch_count(&mut self, now: i64) {
        self.latched.get_or_insert(self.value(now));
    }

    /// A status that is latched already stays.
    pub(super) fn latch_status(&mut self, now: i64) {
        let element = self.element.settled(now);
        let status = u8::from(element.output(now)) << 7
            | u8::from(!element.is_loaded(now)) << 6
            | self.access << 4
            | element.mode.number() << 1
            | u8::from(self.bcd);
        self.latched_status.get_or_insert(status);
    }

    pub(super) fn read(&mut self, now: i64) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        let [low, high] = self.latched.unwrap_or_else(|| self.value(now)).to_le_bytes();
        let reads_high = match self.access {
            1 => false,
            2 => true,
            _ => {
                self.reads_high = !self.reads_high;
                !self.reads_high
            }
        };
        if reads_high || self.access == 1 {
            self.latched = None;
        }
        if reads_high { high } else { low }
    }

    fn value(&self, now: i64) -> u16 {
        let value = self.element.settled(now).value(now).rem_euclid(self.modulus());
        let value = u16::try_from(value).unwrap_or(0);
        if self.bcd { to_bcd(value) } else { value }
    }

    /// One more than the highest value.
    fn modulus(&self) -> i64 {
        if self.bcd { 10_000 } else { 0x1_0000 }
    }
}

/// Digits above 9 count as what they are, as far as there is room.
fn from_bcd(written: u16) -> i64 {
    let digit = |shift: u32| i64::from(written >> shift & 0xf);
    (digit(12) * 1000 + digit(8) * 100 + digit(4) * 10 + digit(0)) % 10_000
}

fn to_bcd(value: u16) -> u16 {
    let digit = |of: u16| value / of % 10;
    digit(1000) << 12 | digit(100) << 8 | digit(10) << 4 | digit(1)
}
