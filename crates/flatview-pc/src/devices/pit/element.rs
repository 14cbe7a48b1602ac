//! The counting element of an 8254 counter: what it shows at which time.
//!
//! A time is a number of clocks since the machine was made. A count that is written is loaded at the clock after;
//! then it counts down. The output is
//!
//! ```text
//!               loaded
//!   mode 0  ______|___________/‾‾‾‾‾‾‾‾‾‾‾‾    high after N clocks
//!   mode 1  ‾‾‾‾‾‾|___________/‾‾‾‾‾‾‾‾‾‾‾‾    the same, loaded by a rise of the gate
//!   mode 2  ‾‾‾‾‾‾|‾‾‾‾‾‾‾‾‾\_/‾‾‾‾‾‾‾‾‾\_/    every N clocks; low while the count is 1
//!   mode 3  ‾‾‾‾‾‾|‾‾‾‾‾‾\_____/‾‾‾‾‾‾\____    every N clocks; high for half of them, or one more
//!   mode 4  ‾‾‾‾‾‾|‾‾‾‾‾‾‾‾‾‾‾\_/‾‾‾‾‾‾‾‾‾‾    low for one clock after N
//!   mode 5  the same as mode 4, loaded by a rise of the gate
//! ```

/// The modes, by the names of the datasheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    InterruptOnTerminalCount,
    OneShot,
    RateGenerator,
    SquareWave,
    SoftwareStrobe,
    HardwareStrobe,
}

impl Mode {
    pub(super) fn number(self) -> u8 {
        match self {
            Mode::InterruptOnTerminalCount => 0,
            Mode::OneShot => 1,
            Mode::RateGenerator => 2,
            Mode::SquareWave => 3,
            Mode::SoftwareStrobe => 4,
            Mode::HardwareStrobe => 5,
        }
    }

    pub(super) fn is_periodic(self) -> bool {
        matches!(self, Mode::RateGenerator | Mode::SquareWave)
    }

    /// A rise of the gate loads the count, and nothing else does.
    fn is_triggered(self) -> bool {
        matches!(self, Mode::OneShot | Mode::HardwareStrobe)
    }
}

#[derive(Clone, Copy, Debug)]
enum Run {
    /// For a count, or for the gate.
    Waits,
    /// The count was loaded at this time, which may be the next clock.
    Since(i64),
    /// The gate is low; this many clocks had been counted.
    Paused(i64),
}

/// A count on its way down, as of its last change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    pub(super) mode: Mode,
    /// What is counted down from: 1 to 0x10000.
    count: i64,
    run: Run,
    /// The next count, and when it was written: loaded by the gate, or in a periodic mode when the period is over
    /// (mode 2), or half of it (mode 3).
    next: Option<(i64, i64)>,
}

impl Element {
    /// Waits for a count; shows `count` until then.
    pub(super) fn new(mode: Mode, count: i64) -> Element {
        Element {
            mode,
            count,
            run: Run::Waits,
            next: None,
        }
    }

    /// The count that was written last.
    pub(super) fn written(&self) -> i64 {
        self.next.map_or(self.count, |(count, _)| count)
    }

    /// The first of two bytes is written: in mode 0 that stops the counting.
    pub(super) fn begin_write(&mut self) {
        if self.mode == Mode::InterruptOnTerminalCount {
            self.run = Run::Waits;
        }
    }

    /// A count is written.
    pub(super) fn write(&mut self, count: i64, gate: bool, now: i64) {
        match self.run {
            Run::Since(_) if self.mode.is_triggered() => self.next = Some((count, now)),
            Run::Since(start) if self.mode.is_periodic() && start <= now => self.next = Some((count, now)),
            _ => {
                (self.count, self.next) = (count, None);
                self.run = match (self.mode.is_triggered(), gate) {
                    (true, _) => Run::Waits,
                    (false, true) => Run::Since(now + 1),
                    (false, false) => Run::Paused(0),
                };
            }
        }
    }

    /// The gate rises or falls.
    pub(super) fn set_gate(&mut self, gate: bool, now: i64) {
        match self.run {
            _ if self.mode.is_triggered() && gate => self.load(now + 1),
            Run::Paused(_) if gate && self.mode.is_periodic() => self.load(now + 1),
            Run::Paused(elapsed) if gate => self.run = Run::Since(now - elapsed),
            Run::Since(start) if !gate && !self.mode.is_triggered() => {
                self.run = Run::Paused((now - start).max(0))
            }
            _ => {}
        }
    }

    fn load(&mut self, start: i64) {
        (self.count, self.next) = (self.written(), None);
        self.run = Run::Since(start);
    }

    /// When the next count is loaded, if time alone does it.
    fn boundary(&self) -> Option<i64> {
        let (Run::Since(start), Some((_, written))) = (self.run, self.next) else {
            return None;
        };
        let into = (written - start).rem_euclid(self.count);
        match self.mode {
            Mode::SquareWave if into < self.high_half() => Some(written - into + self.high_half()),
            Mode::RateGenerator | Mode::SquareWave => Some(written - into + self.count),
            _ => None,
        }
    }

    /// In mode 3: for how many clocks the output is high.
    fn high_half(&self) -> i64 {
        (self.count + 1) / 2
    }

    /// What this is at `now`: with the next count, if that was loaded since.
    pub(super) fn settled(&self, now: i64) -> Element {
        let mut settled = *self;
        let (Some(boundary), Run::Since(start)) = (self.boundary(), self.run) else {
            return settled;
        };
        if boundary <= now {
            let was_high = self.mode == Mode::SquareWave && (boundary - start) % self.count != 0;
            settled.load(boundary);
            if was_high {
                settled.run = Run::Since(boundary - settled.high_half());
            }
        }
        settled
    }

    pub(super) fn is_loaded(&self, now: i64) -> bool {
        self.next.is_none()
            && match self.run {
                Run::Waits => false,
                Run::Since(start) => start <= now,
                Run::Paused(_) => true,
            }
    }

    /// The count; for modes that go on below zero, modulo the counter's width. Of a settled element.
    pub(super) fn value(&self, now: i64) -> i64 {
        let elapsed = match self.run {
            Run::Waits => 0,
            Run::Since(start) => (now - start).max(0),
            Run::Paused(elapsed) => elapsed,
        };
        match self.mode {
            Mode::RateGenerator => self.count - elapsed % self.count,
            Mode::SquareWave => {
                let into = elapsed % self.count;
                let into = if into < self.high_half() {
                    into
                } else {
                    into - self.high_half()
                };
                (self.count & !1) - 2 * into
            }
            _ => self.count - elapsed,
        }
    }

    /// The output. Of a settled element.
    pub(super) fn output(&self, now: i64) -> bool {
        let elapsed = match self.run {
            Run::Since(start) if start <= now => now - start,
            Run::Paused(elapsed) if !self.mode.is_periodic() => elapsed,
            _ => return self.mode != Mode::InterruptOnTerminalCount,
        };
        match self.mode {
            Mode::InterruptOnTerminalCount | Mode::OneShot => elapsed >= self.count,
            // A count of 1 is not allowed in modes 2 and 3; it never falls.
            Mode::RateGenerator => self.count == 1 || elapsed % self.count != self.count - 1,
            Mode::SquareWave => elapsed % self.count < self.high_half(),
            Mode::SoftwareStrobe | Mode::HardwareStrobe => elapsed != self.count,
        }
    }

    /// When the output rises for the first time after `after`.
    pub(super) fn next_rise(&self, after: i64) -> Option<i64> {
        let now = self.settled(after);
        let rise = now.rise_without_load(after)?;
        match now.boundary() {
            Some(boundary) if boundary < rise => self.settled(boundary).rise_without_load(boundary),
            _ => Some(rise),
        }
    }

    fn rise_without_load(&self, after: i64) -> Option<i64> {
        let Run::Since(start) = self.run else {
            return None;
        };
        let once = |rise: i64| (rise > after).then_some(rise);
        match self.mode {
            Mode::InterruptOnTerminalCount | Mode::OneShot => once(start + self.count),
            Mode::SoftwareStrobe | Mode::HardwareStrobe => once(start + self.count + 1),
            Mode::RateGenerator | Mode::SquareWave => {
                let periods = (after - start).max(0) / self.count + 1;
                (self.count > 1).then_some(start + periods * self.count)
            }
        }
    }
}
