//! Seconds and dates, in the Gregorian calendar.

/// Seconds of a day.
pub(super) const DAY: i64 = 86_400;

/// A date and a time of day, as the clock's registers count them but in plain binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DateTime {
    pub(super) year: i64,
    /// 1 to 12.
    pub(super) month: i64,
    /// 1 to 31.
    pub(super) day: i64,
    /// 0 to 23.
    pub(super) hour: i64,
    pub(super) minute: i64,
    pub(super) second: i64,
}

impl DateTime {
    /// From seconds since 1970.
    pub(super) fn from_seconds(seconds: i64) -> DateTime {
        let (days, of_day) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        // Years begin in March here, so that a leap day is the last one; 400 of them have 146,097 days.
        let from_0 = days + DAYS_BEFORE_1970;
        let (era, of_era) = (from_0.div_euclid(146_097), from_0.rem_euclid(146_097));
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - days_before_year(year);
        let month = (5 * of_year + 2) / 153;
        DateTime {
            year: era * 400 + year + i64::from(month >= 10),
            month: (month + 2) % 12 + 1,
            day: of_year - days_before_month(month) + 1,
            hour: of_day / 3600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
        }
    }

    /// Seconds since 1970. Fields that are too large or too small carry over.
    pub(super) fn seconds(&self) -> i64 {
        let months = self.year * 12 + self.month - 3;
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12));
        let era = year.div_euclid(400);
        let days =
            era * 146_097 + days_before_year(year.rem_euclid(400)) + days_before_month(month) + self.day - 1;
        (days - DAYS_BEFORE_1970) * DAY + self.hour * 3600 + self.minute * 60 + self.second
    }

    /// 1 to 7, 1 is Sunday.
    pub(super) fn day_of_week(&self) -> i64 {
        // The first day of 1970 was a Thursday.
        (self.seconds().div_euclid(DAY) + 4).rem_euclid(7) + 1
    }
}

/// From the first of March of the year 0.
const DAYS_BEFORE_1970: i64 = 719_468;

/// Of an era of 400 years that begins in March.
fn days_before_year(year: i64) -> i64 {
    year * 365 + year / 4 - year / 100
}

/// Of a year that begins with March as month 0: 31, 30, 31, 30, 31 days, again and again.
fn days_before_month(month: i64) -> i64 {
    (153 * month + 2) / 5
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn some_dates() {
        let date = |year, month, day| DateTime {
            year,
            month,
            day,
            hour: 0,
            minute: 0,
            second: 0,
        };
        for (date, days, of_week) in [
            (date(1970, 1, 1), 0, 5),
            (date(1999, 12, 31), 10_956, 6),
            (date(2000, 2, 29), 11_016, 3),
            (date(2000, 3, 1), 11_017, 4),
            (date(2026, 11, 21), 20_778, 7),
            (date(2100, 3, 1), 47_541, 2),
        ] {
            assert_eq!(
                (date.seconds(), date.day_of_week()),
                (days * DAY, of_week),
                "{date:?}"
            );
            assert_eq!(DateTime::from_seconds(days * DAY), date);
        }
    }

    proptest! {
        #[test]
        fn every_second_has_one_date_and_the_next_day_follows(seconds in -100_000_000_000..300_000_000_000_i64) {
            let date = DateTime::from_seconds(seconds);
            prop_assert_eq!(date.seconds(), seconds);
            prop_assert!((1..=12).contains(&date.month) && (1..=31).contains(&date.day));
            let next = DateTime::from_seconds(seconds + DAY);
            prop_assert!(next.day == date.day + 1 || next.day == 1 && date.day >= 28);
        }
    }
}
