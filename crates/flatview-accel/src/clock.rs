//! The guest's time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The guest's time in nanoseconds since the machine was made. All timers of a machine go by it.
#[derive(Debug)]
pub struct Clock(Kind);

#[derive(Debug)]
enum Kind {
    Host(Instant),
    Counted { now: AtomicU64, shift: u32 },
}

impl Clock {
    /// The host's monotonic time.
    pub fn host() -> Clock {
        Clock(Kind::Host(Instant::now()))
    }

    /// As many nanoseconds as instructions were executed, times 2 to the power of `shift`: the same guest sees the same
    /// times whenever it runs. The vCPU [advances](Self::advance_to) it. `shift` above 10 counts as 10.
    pub fn counted(shift: u32) -> Clock {
        let (now, shift) = (AtomicU64::new(0), shift.min(10));
        Clock(Kind::Counted { now, shift })
    }

    /// Nanoseconds.
    #[inline]
    pub fn now(&self) -> u64 {
        match &self.0 {
            Kind::Host(start) => u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
            Kind::Counted { now, .. } => now.load(Ordering::Relaxed),
        }
    }

    /// For a clock that counts instructions: an instruction takes 2 to the power of this many nanoseconds.
    pub fn counted_shift(&self) -> Option<u32> {
        match self.0 {
            Kind::Host(_) => None,
            Kind::Counted { shift, .. } => Some(shift),
        }
    }

    /// Moves a clock that counts instructions on to `nanoseconds`; never back. The host's clock goes by itself.
    #[inline]
    pub fn advance_to(&self, nanoseconds: u64) {
        if let Kind::Counted { now, .. } = &self.0 {
            now.fetch_max(nanoseconds, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_counted_clock_moves_only_when_told_and_never_back() {
        let clock = Clock::counted(3);
        assert_eq!((clock.now(), clock.counted_shift()), (0, Some(3)));
        clock.advance_to(80);
        clock.advance_to(8);
        assert_eq!(clock.now(), 80);
    }

    #[test]
    fn the_hosts_clock_goes_by_itself() {
        let clock = Clock::host();
        let before = clock.now();
        clock.advance_to(u64::MAX);
        assert_eq!(clock.counted_shift(), None);
        assert!((before..u64::MAX).contains(&clock.now()));
    }
}
