//! The timer of a local APIC (Intel SDM vol. 3, 10.5.4), by the guest's clock.

use super::FREQUENCY;

/// Nanoseconds of a count, before it is divided.
const TICK: u64 = 1_000_000_000 / FREQUENCY;

/// Counts down from the initial count, once or again and again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Countdown {
    pub(super) initial: u32,
    /// The register at 0x3e0.
    pub(super) divide: u32,
    periodic: bool,
    /// When it began, or began again, in nanoseconds.
    start: u64,
}

impl Countdown {
    pub(super) fn begin(&mut self, initial: u32, now: u64) {
        (self.initial, self.start) = (initial, now);
    }

    /// How far it has come stays; the rest goes on in the new steps.
    pub(super) fn set_divide(&mut self, divide: u32, now: u64) {
        let done = u64::from(self.initial - self.current(now));
        self.divide = divide & 0b1011;
        self.start = now.saturating_sub(done * self.step());
    }

    pub(super) fn is_periodic(&self) -> bool {
        self.periodic
    }

    /// The round that it is in becomes the last one, or the first.
    pub(super) fn set_periodic(&mut self, periodic: bool, now: u64) {
        if self.periodic && !periodic {
            let done = u64::from(self.initial - self.current(now));
            self.start = now.saturating_sub(done * self.step());
        }
        self.periodic = periodic;
    }

    /// Nanoseconds of a count.
    fn step(&self) -> u64 {
        let code = self.divide & 3 | self.divide >> 1 & 4;
        TICK << ((code + 1) & 7)
    }

    fn elapsed(&self, now: u64) -> u64 {
        now.saturating_sub(self.start) / self.step()
    }

    /// The current count.
    pub(super) fn current(&self, now: u64) -> u32 {
        let initial = u64::from(self.initial);
        let elapsed = self.elapsed(now);
        let left = match elapsed.checked_rem(initial) {
            None => 0,
            Some(into) if self.periodic => initial - into,
            Some(_) => initial.saturating_sub(elapsed),
        };
        u32::try_from(left).unwrap_or(0)
    }

    /// When it reaches zero for the first time after `after`, in nanoseconds.
    pub(super) fn next_zero(&self, after: u64) -> Option<u64> {
        let rounds = self.elapsed(after).checked_div(self.initial.into())?;
        if rounds > 0 && !self.periodic {
            return None;
        }
        let counts = (rounds + 1).saturating_mul(self.initial.into());
        Some(self.start.saturating_add(counts.saturating_mul(self.step())))
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn it_counts_down_in_steps_of_its_divider() {
        let mut timer = Countdown::default();
        assert_eq!((timer.current(5), timer.next_zero(5)), (0, None));
        for (divide, step) in [(0b0000, 2), (0b0011, 16), (0b1010, 128), (0b1011, 1)] {
            timer.set_divide(divide, 0);
            timer.begin(10, 100);
            assert_eq!((timer.current(100), timer.current(100 + 3 * step)), (10, 7));
            assert_eq!(timer.next_zero(100), Some(100 + 10 * step));
            assert_eq!(
                (timer.current(100 + 10 * step), timer.next_zero(100 + 10 * step)),
                (0, None)
            );
        }
    }

    #[test]
    fn a_periodic_one_begins_again() {
        let mut timer = Countdown {
            periodic: true,
            divide: 0b1011,
            ..Countdown::default()
        };
        timer.begin(10, 0);
        assert_eq!(
            (timer.current(9), timer.current(10), timer.next_zero(10)),
            (1, 10, Some(20))
        );
        assert_eq!(timer.next_zero(95), Some(100));
        timer.begin(u32::MAX, u64::MAX - 1);
        assert_eq!(timer.next_zero(u64::MAX), Some(u64::MAX));
    }

    #[test]
    fn another_divider_goes_on_from_the_same_count() {
        let mut timer = Countdown::default();
        timer.begin(1000, 0);
        timer.set_divide(0b1011, 200);
        assert_eq!((timer.current(200), timer.next_zero(200)), (900, Some(1100)));
    }
}
