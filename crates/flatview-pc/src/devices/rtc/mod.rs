//! The real-time clock with its battery-backed memory (Motorola MC146818A, datasheet of 1988).
//!
//! The clock is the guest's time plus an offset; the flags of register C are found out when somebody looks, and a timer
//! wakes the device when an interrupt that is enabled is due.

mod calendar;
mod clock;

use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use bitflags::bitflags;
use clock::{Format, SECOND};

use crate::device::{ResetMut, lock};
use crate::devices::{ByteDevice, Bytes, DeviceRegion};
use crate::irq::IrqLine;
use crate::timer::{Timer, TimerQueue};

#[cfg(test)]
#[path = "rtc_test.rs"]
mod test;

/// How long before an update the clock says so, in nanoseconds.
const UPDATE_WARNING: i128 = 244_000;

/// Clocks of the crystal in a second.
const CRYSTAL: u128 = 32_768;

/// A time that is farther from 1970 is not taken: a clock with four digits for the year has long gone around.
const MOST: i64 = 1 << 40;

const REGISTER_A: usize = 0x0a;
const REGISTER_B: usize = 0x0b;
const REGISTER_C: usize = 0x0c;
const REGISTER_D: usize = 0x0d;

/// Bit 7 of register A: an update is about to happen.
const UIP: u8 = 0x80;

/// What register D reads: the battery is good.
const VALID: u8 = 0x80;

bitflags! {
    /// Register B.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Control: u8 {
        const HOURS_24 = 1 << 1;
        const BINARY = 1 << 2;
        const SQUARE_WAVE = 1 << 3;
        const UPDATE_INTERRUPT = 1 << 4;
        const ALARM_INTERRUPT = 1 << 5;
        const PERIODIC_INTERRUPT = 1 << 6;
        const SET = 1 << 7;
    }

    /// Register C. Its flags are where their enables are in register B.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Flags: u8 {
        const UPDATE = 1 << 4;
        const ALARM = 1 << 5;
        const PERIODIC = 1 << 6;
        const INTERRUPT = 1 << 7;
    }
}

/// The clock and 128 bytes of memory, of which the clock has the first fourteen and the century (0x32, and 0x37, which
/// is the same).
pub struct Rtc {
    cmos: [u8; 128],
    /// What was written to port 0x70. Bit 7 (mask NMI) has no effect.
    index: u8,
    /// Nanoseconds from the guest's time to that since 1970, while the clock goes.
    offset: i128,
    /// Up to when the flags were looked at.
    looked: u64,
    irq: IrqLine,
    timers: Arc<TimerQueue>,
    timer: Timer,
}

impl Rtc {
    /// A clock that shows `seconds` since 1970 now, and a memory of zeros. `irq` is IRQ 8. For a clock that is right
    /// take [`Rtc::host_time`], for a machine that always does the same a number.
    pub fn new(timers: &Arc<TimerQueue>, irq: IrqLine, seconds: i64) -> Arc<Mutex<Rtc>> {
        Arc::new_cyclic(|this: &Weak<Mutex<Rtc>>| {
            let this = Weak::clone(this);
            let timer = timers.timer(move || {
                if let Some(rtc) = this.upgrade() {
                    lock(&rtc).look();
                }
            });
            let mut cmos = [0; 128];
            cmos[REGISTER_A] = 0x26;
            cmos[REGISTER_B] = Control::HOURS_24.bits();
            cmos[REGISTER_D] = VALID;
            let now = timers.now();
            let seconds = seconds.clamp(-MOST, MOST);
            Mutex::new(Rtc {
                cmos,
                index: 0,
                offset: i128::from(seconds) * SECOND - i128::from(now),
                looked: now,
                irq,
                timers: Arc::clone(timers),
                timer,
            })
        })
    }

    /// The host's time, in seconds since 1970 (UTC).
    pub fn host_time() -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }

    /// `rtc`, 2 ports at 0x70, and `rtc-index`, 1 port at 0x70, which lies within the first. An access of two bytes at
    /// 0x70 reaches the second with both.
    pub fn regions(this: &Arc<Mutex<Rtc>>) -> [DeviceRegion; 2] {
        [
            Bytes::region(this, (), "rtc", 0x70, 2),
            Bytes::region(this, (), "rtc-index", 0x70, 1),
        ]
    }

    /// Sets a byte of the memory, as the machine's maker does before it starts: 0x0e to 0x7f. Others are the clock's and
    /// stay.
    pub fn set(&mut self, index: u8, value: u8) {
        if let 0x0e..=0x7f = index {
            self.cmos[usize::from(index)] = value;
        }
    }

    /// A byte of the memory.
    pub fn get(&self, index: u8) -> u8 {
        self.cmos[usize::from(index & 0x7f)]
    }

    /// Says how much memory the machine has below and above 4 GiB, in bytes, where firmware looks for it and as QEMU's
    /// `pc` does it:
    ///
    /// | bytes | what |
    /// |---|---|
    /// | 0x15, 0x16 | KiB below 640 KiB |
    /// | 0x17, 0x18 and 0x30, 0x31 | KiB from 1 MiB on, at most 65535 |
    /// | 0x34, 0x35 | 64 KiB from 16 MiB on and below 4 GiB, at most 65535 |
    /// | 0x5b to 0x5d | 64 KiB from 4 GiB on |
    pub fn set_memory(&mut self, below_4g: u64, above_4g: u64) {
        const KIB: u64 = 1 << 10;
        const MIB: u64 = 1 << 20;
        let most = |value: u64, most: u64| value.min(most).to_le_bytes();
        let [base, base_high, ..] = most(below_4g / KIB, 640);
        let [extended, extended_high, ..] = most(below_4g.saturating_sub(MIB) / KIB, 0xffff);
        let [large, large_high, ..] = most(below_4g.saturating_sub(16 * MIB) / (64 * KIB), 0xffff);
        let [above, above_1, above_2, ..] = most(above_4g / (64 * KIB), 0xff_ffff);
        let bytes = [
            (0x15, base),
            (0x16, base_high),
            (0x17, extended),
            (0x18, extended_high),
            (0x30, extended),
            (0x31, extended_high),
            (0x34, large),
            (0x35, large_high),
            (0x5b, above),
            (0x5c, above_1),
            (0x5d, above_2),
        ];
        for (index, value) in bytes {
            self.set(index, value);
        }
    }

    fn control(&self) -> Control {
        Control::from_bits_retain(self.cmos[REGISTER_B])
    }

    fn format(&self) -> Format {
        Format {
            binary: self.control().contains(Control::BINARY),
            hours_24: self.control().contains(Control::HOURS_24),
        }
    }

    /// Whether the clock goes: the guest is not setting it, and the divider is not held in reset.
    fn goes(&self) -> bool {
        !self.control().contains(Control::SET) && !self.divider_is_reset()
    }

    fn divider_is_reset(&self) -> bool {
        self.cmos[REGISTER_A] & 0x60 == 0x60
    }

    /// Nanoseconds since 1970.
    fn time(&self, now: u64) -> i128 {
        self.offset + i128::from(now)
    }

    fn seconds(&self, now: u64) -> i64 {
        i64::try_from(self.time(now).div_euclid(SECOND)).unwrap_or(0)
    }

    /// When the clock will be at this second, by the guest's time.
    fn when(&self, seconds: i64) -> u64 {
        u64::try_from(i128::from(seconds) * SECOND - self.offset).unwrap_or(u64::MAX)
    }

    /// Clocks of the crystal between two periodic interrupts (table 5 of the datasheet, for 32.768 kHz).
    fn period(&self) -> Option<u128> {
        match self.cmos[REGISTER_A] & 0xf {
            _ if self.divider_is_reset() => None,
            0 => None,
            rate @ 1..=2 => Some(1 << (rate + 6)),
            rate => Some(1 << (rate - 1)),
        }
    }

    /// When a periodic interrupt is due for the first time after `after`.
    fn next_periodic(&self, after: u64) -> Option<u64> {
        let period = self.period()?;
        let clocks = u128::from(after) * CRYSTAL / 1_000_000_000;
        let next = (clocks / period + 1) * period;
        u64::try_from((next * 1_000_000_000).div_ceil(CRYSTAL)).ok()
    }

    fn next_update(&self, after: u64) -> Option<u64> {
        self.goes().then(|| self.when(self.seconds(after) + 1))
    }

    fn next_alarm(&self, after: u64) -> Option<u64> {
        let after = self.goes().then(|| self.seconds(after))?;
        clock::next_alarm(after, self.format(), &self.cmos).map(|seconds| self.when(seconds))
    }

    /// Finds out what has happened since this was last called, tells IRQ 8, and sets the timer.
    fn look(&mut self) {
        let now = self.timers.now();
        let events = |after| {
            [
                (Flags::PERIODIC, self.next_periodic(after)),
                (Flags::UPDATE, self.next_update(after)),
                (Flags::ALARM, self.next_alarm(after)),
            ]
        };
        let mut flags = Flags::from_bits_retain(self.cmos[REGISTER_C]);
        for (flag, due) in events(self.looked) {
            flags.set(flag, flags.contains(flag) || due.is_some_and(|due| due <= now));
        }
        let enabled = Flags::from_bits_truncate(self.cmos[REGISTER_B]) - Flags::INTERRUPT;
        let interrupts = flags.intersects(enabled);
        flags.set(Flags::INTERRUPT, interrupts);
        // While the line is high nothing more can happen to it.
        let wanted = if interrupts { Flags::empty() } else { enabled };
        let due = events(now)
            .into_iter()
            .filter(|(flag, _)| wanted.intersects(*flag))
            .filter_map(|(_, due)| due);
        match due.min() {
            Some(due) => self.timer.arm(due),
            None => self.timer.disarm(),
        }
        self.looked = now;
        self.cmos[REGISTER_C] = flags.bits();
        self.irq.set(interrupts);
    }

    /// Brings the registers of a clock that goes up to date.
    fn store_time(&mut self, now: u64) {
        if self.goes() {
            clock::store(self.seconds(now), self.format(), &mut self.cmos);
        }
    }

    /// Lets the clock go from what the registers say, `fraction` of a second into it.
    fn load_time(&mut self, fraction: i128, now: u64) {
        let seconds = clock::load(self.format(), &self.cmos);
        self.offset = i128::from(seconds) * SECOND + fraction - i128::from(now);
    }

    fn read_cmos(&mut self) -> u8 {
        let now = self.timers.now();
        self.look();
        self.store_time(now);
        match self.selected() {
            REGISTER_A => {
                let left = SECOND - self.time(now).rem_euclid(SECOND);
                let updates = self.goes() && left <= UPDATE_WARNING;
                self.cmos[REGISTER_A] | if updates { UIP } else { 0 }
            }
            REGISTER_C => {
                let flags = std::mem::take(&mut self.cmos[REGISTER_C]);
                self.look();
                flags
            }
            index => self.cmos[index],
        }
    }

    fn write_cmos(&mut self, value: u8) {
        let now = self.timers.now();
        self.look();
        self.store_time(now);
        let (went, fraction) = (self.goes(), self.time(now).rem_euclid(SECOND));
        let divider_was_reset = self.divider_is_reset();
        let index = self.selected();
        match index {
            REGISTER_A => self.cmos[index] = value & !UIP,
            REGISTER_B => {
                let mut control = Control::from_bits_retain(value);
                if control.contains(Control::SET) {
                    control -= Control::UPDATE_INTERRUPT;
                }
                self.cmos[index] = control.bits();
            }
            REGISTER_C | REGISTER_D => {}
            _ => self.cmos[index] = value,
        }
        let is_time = matches!(index, clock::SECONDS | clock::MINUTES | clock::CENTURY)
            || (clock::HOURS..=clock::YEAR).contains(&index) && index != clock::HOURS_ALARM;
        match (went, self.goes()) {
            // Half a second after the divider is let go the first update comes.
            (false, true) if divider_was_reset => self.load_time(SECOND / 2, now),
            (false, true) => self.load_time(fraction, now),
            (true, true) if is_time => self.load_time(fraction, now),
            _ => {}
        }
        self.look();
    }

    fn selected(&self) -> usize {
        match self.index & 0x7f {
            0x37 => clock::CENTURY,
            index => index.into(),
        }
    }
}

impl ByteDevice for Rtc {
    type Part = ();

    fn read(&mut self, (): (), offset: u64) -> u8 {
        match offset {
            1 => self.read_cmos(),
            // The index cannot be read back.
            _ => 0xff,
        }
    }

    fn write(&mut self, (): (), offset: u64, value: u8) {
        match offset {
            1 => self.write_cmos(value),
            _ => self.index = value,
        }
    }
}

/// Time and memory stay; interrupts are disabled.
impl ResetMut for Rtc {
    fn reset(&mut self) {
        let enables = Control::PERIODIC_INTERRUPT
            | Control::ALARM_INTERRUPT
            | Control::UPDATE_INTERRUPT
            | Control::SQUARE_WAVE;
        self.cmos[REGISTER_B] &= !enables.bits();
        self.look();
        self.cmos[REGISTER_C] = 0;
        self.index = 0;
    }
}

impl fmt::Debug for Rtc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rtc")
            .field("seconds", &self.seconds(self.timers.now()))
            .field("a", &format_args!("{:#x}", self.cmos[REGISTER_A]))
            .field("control", &self.control())
            .field("flags", &Flags::from_bits_retain(self.cmos[REGISTER_C]))
            .field("irq", &self.irq)
            .finish_non_exhaustive()
    }
}
