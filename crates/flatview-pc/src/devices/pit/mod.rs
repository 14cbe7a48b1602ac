//! The interval timer (Intel 8254, datasheet 231164) and the speaker port that its channel 2 belongs to.
//!
//! Nothing ticks here: a counter knows when it was loaded, and what it shows follows from the time (module `element`).
//! One timer wakes the device when channel 0 is to raise IRQ 0.

mod counter;
mod element;

use std::sync::{Arc, Mutex, Weak};

use counter::Counter;

use crate::device::{ResetMut, lock};
use crate::devices::{ByteDevice, Bytes, DeviceRegion, MIN_PERIOD};
use crate::irq::IrqLine;
use crate::timer::{Timer, TimerQueue};

#[cfg(test)]
#[path = "pit_test.rs"]
mod test;

/// Clocks of the counters in a second.
pub const PIT_FREQUENCY: u32 = 1_193_182;

/// How long a row of DRAM is refreshed, in nanoseconds: 18 clocks. Bit 4 of port 0x61 changes that often.
const REFRESH: u64 = 15_085;

/// The 8254 with its three channels, and port 0x61.
///
/// Channel 0 drives IRQ 0. The gates of channels 0 and 1 are high; that of channel 2 is bit 0 of port 0x61. Time
/// passes by the guest's clock. When the guest's machine was late and missed several periods, it gets one interrupt
/// for all of them.
#[derive(Debug)]
pub struct Pit {
    channels: [Counter; 3],
    speaker_data: bool,
    timers: Arc<TimerQueue>,
    timer: Timer,
    irq: IrqLine,
    /// Up to when the output of channel 0 was looked at, in clocks.
    looked: i64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Counters,
    Speaker,
}

impl Pit {
    /// A timer as after power-on; `irq` is IRQ 0. Until the guest programs it, it comes 18.2 times a second.
    pub fn new(timers: &Arc<TimerQueue>, irq: IrqLine) -> Arc<Mutex<Pit>> {
        let pit = Arc::new_cyclic(|this: &Weak<Mutex<Pit>>| {
            let this = Weak::clone(this);
            let timer = timers.timer(move || {
                if let Some(pit) = this.upgrade() {
                    lock(&pit).look();
                }
            });
            Mutex::new(Pit {
                channels: Counter::power_on(clocks(timers.now())),
                speaker_data: false,
                timers: Arc::clone(timers),
                timer,
                irq,
                looked: clocks(timers.now()),
            })
        });
        lock(&pit).look();
        pit
    }

    /// `pit`, 4 ports at 0x40, and `pcspk`, 1 port at 0x61.
    pub fn regions(this: &Arc<Mutex<Pit>>) -> [DeviceRegion; 2] {
        [
            Bytes::region(this, Part::Counters, "pit", 0x40, 4),
            Bytes::region(this, Part::Speaker, "pcspk", 0x61, 1),
        ]
    }

    fn now(&self) -> i64 {
        clocks(self.timers.now())
    }

    /// Tells IRQ 0 what the output of channel 0 did, and when it will rise next.
    ///
    /// The fall of a periodic output is told together with the rise that ends it: nobody sees the difference, and the
    /// machine is woken half as often.
    fn look(&mut self) {
        let now = self.now();
        let channel = &self.channels[0];
        if channel.next_rise(self.looked).is_some_and(|rise| rise <= now) {
            self.irq.lower();
            self.irq.raise();
        }
        self.irq.set(channel.output(now));
        self.looked = now;
        match channel.next_rise(now) {
            Some(rise) => {
                let soonest = if channel.is_periodic() {
                    self.timers.now() + MIN_PERIOD
                } else {
                    0
                };
                self.timer.arm(nanoseconds(rise).max(soonest));
            }
            None => self.timer.disarm(),
        }
    }

    fn write_control(&mut self, value: u8) {
        let now = self.now();
        let Some(channel) = self.channels.get_mut(usize::from(value >> 6)) else {
            return self.read_back(value);
        };
        match value & 0x30 {
            0 => channel.latch_count(now),
            _ => channel.set_mode(value),
        }
    }

    fn read_back(&mut self, value: u8) {
        let now = self.now();
        for (number, channel) in self.channels.iter_mut().enumerate() {
            if value & 2 << number == 0 {
                continue;
            }
            if value & 0x20 == 0 {
                channel.latch_count(now);
            }
            if value & 0x10 == 0 {
                channel.latch_status(now);
            }
        }
    }

    fn read_speaker(&self) -> u8 {
        let refresh = (self.timers.now() / REFRESH) % 2 == 1;
        let channel = &self.channels[2];
        u8::from(channel.gate())
            | u8::from(self.speaker_data) << 1
            | u8::from(refresh) << 4
            | u8::from(channel.output(self.now())) << 5
    }
}

impl ByteDevice for Pit {
    type Part = Part;

    fn read(&mut self, part: Part, offset: u64) -> u8 {
        let now = self.now();
        let channel = usize::try_from(offset)
            .ok()
            .and_then(|at| self.channels.get_mut(at));
        match (part, channel) {
            (Part::Speaker, _) => self.read_speaker(),
            (Part::Counters, Some(channel)) => channel.read(now),
            // Nobody drives the bus when the control word is read.
            (Part::Counters, None) => 0,
        }
    }

    fn write(&mut self, part: Part, offset: u64, value: u8) {
        self.look();
        let now = self.now();
        let channel = usize::try_from(offset)
            .ok()
            .and_then(|at| self.channels.get_mut(at));
        match (part, channel) {
            (Part::Speaker, _) => {
                self.channels[2].set_gate(value & 1 != 0, now);
                self.speaker_data = value & 2 != 0;
            }
            (Part::Counters, Some(channel)) => channel.write(value, now),
            (Part::Counters, None) => self.write_control(value),
        }
        self.look();
    }
}

impl ResetMut for Pit {
    fn reset(&mut self) {
        self.looked = self.now();
        self.channels = Counter::power_on(self.looked);
        self.speaker_data = false;
        self.look();
    }
}

/// How many clocks have passed after this many nanoseconds.
fn clocks(nanoseconds: u64) -> i64 {
    let clocks = u128::from(nanoseconds) * u128::from(PIT_FREQUENCY) / 1_000_000_000;
    i64::try_from(clocks).unwrap_or(i64::MAX)
}

/// The first nanosecond at which this many clocks have passed.
fn nanoseconds(clocks: i64) -> u64 {
    let clocks = u128::from(clocks.unsigned_abs());
    u64::try_from((clocks * 1_000_000_000).div_ceil(u128::from(PIT_FREQUENCY))).unwrap_or(u64::MAX)
}
