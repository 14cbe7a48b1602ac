//! The clock of the RTC: what its ten registers show, and when an alarm is due.

use super::calendar::{DAY, DateTime};

/// Nanoseconds of a second.
pub(super) const SECOND: i128 = 1_000_000_000;

/// How the registers count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    pub(super) binary: bool,
    pub(super) hours_24: bool,
}

impl Format {
    /// As a register shows it. Two digits.
    pub(super) fn encode(self, value: i64) -> u8 {
        let value = u8::try_from(value.rem_euclid(100)).unwrap_or(0);
        if self.binary {
            value
        } else {
            ((value / 10) << 4) | (value % 10)
        }
    }

    /// What a register says; digits above 9 count as what they are.
    pub(super) fn decode(self, byte: u8) -> i64 {
        let value = if self.binary {
            byte
        } else {
            (byte >> 4) * 10 + (byte & 0xf)
        };
        value.into()
    }

    pub(super) fn encode_hour(self, hour: i64) -> u8 {
        if self.hours_24 {
            return self.encode(hour);
        }
        let of_half = if hour % 12 == 0 { 12 } else { hour % 12 };
        self.encode(of_half) | if hour >= 12 { 0x80 } else { 0 }
    }

    pub(super) fn decode_hour(self, byte: u8) -> i64 {
        if self.hours_24 {
            return self.decode(byte);
        }
        self.decode(byte & 0x7f) % 12 + if byte & 0x80 != 0 { 12 } else { 0 }
    }
}

/// Registers of the clock: their numbers in the CMOS.
pub(super) const SECONDS: usize = 0;
pub(super) const SECONDS_ALARM: usize = 1;
pub(super) const MINUTES: usize = 2;
pub(super) const MINUTES_ALARM: usize = 3;
pub(super) const HOURS: usize = 4;
pub(super) const HOURS_ALARM: usize = 5;
pub(super) const DAY_OF_WEEK: usize = 6;
pub(super) const DAY_OF_MONTH: usize = 7;
pub(super) const MONTH: usize = 8;
pub(super) const YEAR: usize = 9;
pub(super) const CENTURY: usize = 0x32;

/// Writes a time into the registers.
pub(super) fn store(seconds: i64, format: Format, cmos: &mut [u8; 128]) {
    let date = DateTime::from_seconds(seconds);
    cmos[SECONDS] = format.encode(date.second);
    cmos[MINUTES] = format.encode(date.minute);
    cmos[HOURS] = format.encode_hour(date.hour);
    cmos[DAY_OF_WEEK] = format.encode(date.day_of_week());
    cmos[DAY_OF_MONTH] = format.encode(date.day);
    cmos[MONTH] = format.encode(date.month);
    cmos[YEAR] = format.encode(date.year);
    cmos[CENTURY] = format.encode(date.year.div_euclid(100));
}

/// The time that the registers say, in seconds since 1970. What is no date carries over to one.
pub(super) fn load(format: Format, cmos: &[u8; 128]) -> i64 {
    DateTime {
        year: format.decode(cmos[CENTURY]) * 100 + format.decode(cmos[YEAR]),
        month: format.decode(cmos[MONTH]),
        day: format.decode(cmos[DAY_OF_MONTH]),
        hour: format.decode_hour(cmos[HOURS]),
        minute: format.decode(cmos[MINUTES]),
        second: format.decode(cmos[SECONDS]),
    }
    .seconds()
}

/// The first second after `after` at which the alarm is due.
pub(super) fn next_alarm(after: i64, format: Format, cmos: &[u8; 128]) -> Option<i64> {
    let hour = Due::of(cmos[HOURS_ALARM], 24, |hour| format.encode_hour(hour))?;
    let minute = Due::of(cmos[MINUTES_ALARM], 60, |minute| format.encode(minute))?;
    let second = Due::of(cmos[SECONDS_ALARM], 60, |second| format.encode(second))?;
    let mut at = after + 1;
    while at <= after + DAY {
        let date = DateTime::from_seconds(at);
        at += if !hour.is(date.hour) {
            3600 - (date.minute * 60 + date.second)
        } else if !minute.is(date.minute) {
            60 - date.second
        } else if !second.is(date.second) {
            1
        } else {
            return Some(at);
        };
    }
    None
}

/// When a field of the alarm matches.
#[derive(Clone, Copy)]
enum Due {
    Always,
    At(i64),
}

impl Due {
    /// `None` if the register has a value that the clock never shows. One with its two highest bits set matches always.
    fn of(byte: u8, values: i64, encode: impl Fn(i64) -> u8) -> Option<Due> {
        if byte >= 0xc0 {
            return Some(Due::Always);
        }
        (0..values).find(|&value| encode(value) == byte).map(Due::At)
    }

    fn is(self, value: i64) -> bool {
        match self {
            Due::Always => true,
            Due::At(at) => at == value,
        }
    }
}
