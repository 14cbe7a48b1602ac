//! The high precision event timer (IA-PC HPET specification 1.0a): a counter of 100 MHz and three comparators.
//!
//! Registers have 64 bits and take accesses of 4 and 8 bytes. As in QEMU, a comparator that the counter has passed
//! already, by less than half of its range, is met at once; the specification would have it met after the counter has
//! gone around.

mod comparator;

use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use bitflags::bitflags;
use comparator::Comparator;
use flatview::{AccessRules, AccessSizes, Endianness, MemTxAttrs, MemTxError, MemoryRegionOps};

use crate::device::{Reset, lock};
use crate::devices::{DeviceRegion, MIN_PERIOD};
use crate::irq::{InterruptSink, IrqLine};
use crate::timer::{Timer, TimerQueue};

#[cfg(test)]
#[path = "hpet_test.rs"]
mod test;

/// Nanoseconds of a tick.
const TICK: u64 = 10;

/// Comparators.
const TIMERS: usize = 3;

/// Revision 1, three comparators, 64 bits, legacy replacement, vendor 0x8086, ticks of 10,000,000 femtoseconds: what
/// QEMU's has.
const CAPABILITIES: u64 = 10_000_000 << 32 | 0x8086_a201;

bitflags! {
    /// The general configuration register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Configuration: u64 {
        const ENABLED = 1;
        const LEGACY = 1 << 1;
    }
}

/// The timer block. In legacy mode its first two comparators replace the PIT and the RTC; therefore the lines of those
/// end here: it is an [`InterruptSink`] with the inputs [`PIT`](Self::PIT) and [`RTC`](Self::RTC).
pub struct Hpet {
    state: Mutex<State>,
    timers: Arc<TimerQueue>,
}

struct State {
    configuration: Configuration,
    /// Of level-triggered interrupts that were not cleared.
    status: u64,
    /// The counter while it stands still; while it goes, the difference to the clock's ticks.
    counter: u64,
    comparators: [Comparator; TIMERS],
    timers: [Timer; TIMERS],
    /// The levels of the PIT and the RTC.
    inputs: [bool; 2],
    lines: HpetLines,
}

/// Where the wires of an [`Hpet`] lead: all to the [`Gsi`](crate::irq::Gsi).
#[derive(Clone, Debug)]
pub struct HpetLines {
    /// IRQ 0.
    pub irq_0: IrqLine,
    /// IRQ 8.
    pub irq_8: IrqLine,
    /// GSI 2: the only one that comparators can be routed to, as in QEMU's `pc`.
    pub gsi_2: IrqLine,
}

impl Hpet {
    /// The input for the PIT's interrupt.
    pub const PIT: u32 = 0;
    /// The input for the RTC's interrupt.
    pub const RTC: u32 = 1;

    /// A timer block that stands still.
    pub fn new(timers: &Arc<TimerQueue>, lines: HpetLines) -> Arc<Hpet> {
        Arc::new_cyclic(|this: &Weak<Hpet>| {
            let timer = |number| {
                let this = Weak::clone(this);
                timers.timer(move || {
                    if let Some(hpet) = this.upgrade() {
                        lock(&hpet.state).meet(number, hpet.timers.now());
                    }
                })
            };
            Hpet {
                state: Mutex::new(State {
                    configuration: Configuration::empty(),
                    status: 0,
                    counter: 0,
                    comparators: [Comparator::new(); TIMERS],
                    timers: [0, 1, 2].map(timer),
                    inputs: [false; 2],
                    lines,
                }),
                timers: Arc::clone(timers),
            }
        })
    }

    /// `hpet`, 1 KiB at 0xfed00000.
    pub fn region(this: &Arc<Hpet>) -> DeviceRegion {
        DeviceRegion {
            name: "hpet",
            address: 0xfed0_0000,
            size: 0x400,
            ops: Arc::clone(this) as _,
        }
    }
}

impl State {
    fn is_enabled(&self) -> bool {
        self.configuration.contains(Configuration::ENABLED)
    }

    fn is_legacy(&self) -> bool {
        self.configuration.contains(Configuration::LEGACY)
    }

    fn counter(&self, now: u64) -> u64 {
        match self.is_enabled() {
            true => (now / TICK).wrapping_add(self.counter),
            false => self.counter,
        }
    }

    /// The line of a comparator, if its interrupt goes anywhere.
    fn line(&self, number: usize) -> Option<&IrqLine> {
        match (self.is_legacy(), number) {
            (true, 0) => Some(&self.lines.irq_0),
            (true, 1) => Some(&self.lines.irq_8),
            _ => (self.comparators[number].route() == 2).then_some(&self.lines.gsi_2),
        }
    }

    /// The lines of the PIT and the RTC, which reach the controllers unless they are replaced; and the levels of
    /// comparators.
    fn set_levels(&self) {
        let mut gsi_2 = false;
        let [mut irq_0, mut irq_8] = self.inputs.map(|level| level && !self.is_legacy());
        for (number, comparator) in self.comparators.iter().enumerate() {
            let level = comparator.is_level() && comparator.interrupts() && self.status & 1 << number != 0;
            match (self.is_legacy(), number) {
                (true, 0) => irq_0 |= level,
                (true, 1) => irq_8 |= level,
                _ => gsi_2 |= level && comparator.route() == 2,
            }
        }
        self.lines.irq_0.set(irq_0);
        self.lines.irq_8.set(irq_8);
        self.lines.gsi_2.set(gsi_2);
    }

    /// The counter has reached a comparator, or the machine's loop thinks so.
    fn meet(&mut self, number: usize, now: u64) {
        let counter = self.counter(now);
        if !self.is_enabled() || !self.comparators[number].meet(counter) {
            return self.arm(number, now);
        }
        let comparator = self.comparators[number];
        if comparator.is_level() {
            self.status |= 1 << number;
            self.set_levels();
        } else if comparator.interrupts()
            && let Some(line) = self.line(number)
        {
            line.pulse();
        }
        self.arm(number, now);
    }

    fn arm(&mut self, number: usize, now: u64) {
        let comparator = &self.comparators[number];
        match comparator.distance(self.counter(now)) {
            Some(ticks) if self.is_enabled() => {
                let soonest = if comparator.is_periodic() { MIN_PERIOD } else { 0 };
                // The first nanosecond at which the counter is there.
                let tick = (now / TICK).saturating_add(ticks);
                let deadline = tick.saturating_mul(TICK).max(now.saturating_add(soonest));
                self.timers[number].arm(deadline);
            }
            _ => self.timers[number].disarm(),
        }
    }

    fn read(&self, register: u64, now: u64) -> u64 {
        match register {
            0x000 => CAPABILITIES,
            0x010 => self.configuration.bits(),
            0x020 => self.status,
            0x0f0 => self.counter(now),
            _ => match place(register) {
                Some((number, 0x00)) => self.comparators[number].configuration(),
                Some((number, 0x08)) => self.comparators[number].value(),
                _ => 0,
            },
        }
    }

    /// Writes the bits of `mask`.
    fn write(&mut self, register: u64, value: u64, mask: u64, now: u64) {
        let merge = |old: u64| old & !mask | value & mask;
        match register {
            0x010 => {
                let counter = self.counter(now);
                self.configuration = Configuration::from_bits_truncate(merge(self.configuration.bits()));
                self.set_counter(counter, now);
            }
            0x020 => self.status &= !(value & mask),
            0x0f0 => self.set_counter(merge(self.counter(now)), now),
            _ => match place(register) {
                Some((number, 0x00)) => {
                    let comparator = &mut self.comparators[number];
                    comparator.set_configuration(merge(comparator.configuration()));
                    if !comparator.is_level() {
                        self.status &= !(1 << number);
                    }
                    self.arm(number, now);
                }
                Some((number, 0x08)) => {
                    self.comparators[number].set_value(value, mask);
                    self.arm(number, now);
                }
                _ => {}
            },
        }
        self.set_levels();
    }

    fn set_counter(&mut self, counter: u64, now: u64) {
        self.counter = match self.is_enabled() {
            true => counter.wrapping_sub(now / TICK),
            false => counter,
        };
        (0..TIMERS).for_each(|number| self.arm(number, now));
    }
}

/// Which comparator, and which of its registers.
fn place(register: u64) -> Option<(usize, u64)> {
    let number = usize::try_from(register.checked_sub(0x100)? / 0x20).ok()?;
    (number < TIMERS).then_some((number, register % 0x20))
}

impl InterruptSink for Hpet {
    fn set_irq(&self, pin: u32, level: bool) {
        let mut state = lock(&self.state);
        if let Some(input) = usize::try_from(pin)
            .ok()
            .and_then(|pin| state.inputs.get_mut(pin))
        {
            *input = level;
            state.set_levels();
        }
    }
}

impl Reset for Hpet {
    fn reset(&self) {
        let mut state = lock(&self.state);
        state.configuration = Configuration::empty();
        (state.status, state.counter) = (0, 0);
        state.comparators = [Comparator::new(); TIMERS];
        state.timers.iter_mut().for_each(Timer::disarm);
        state.set_levels();
    }
}

impl MemoryRegionOps for Hpet {
    fn read(&self, offset: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(lock(&self.state).read(offset & !7, self.timers.now()) >> (8 * (offset & 7)))
    }

    fn write(&self, offset: u64, size: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        let shift = 8 * (offset & 7);
        let bits = if size == 8 { u64::MAX } else { u32::MAX.into() };
        lock(&self.state).write(offset & !7, value << shift, bits << shift, self.timers.now());
        Ok(())
    }

    fn access_rules(&self) -> AccessRules {
        let sizes = AccessSizes {
            min: 4,
            max: 8,
            unaligned: false,
        };
        AccessRules {
            valid: Some(sizes),
            implemented: sizes,
            endianness: Endianness::Little,
        }
    }
}

impl fmt::Debug for Hpet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.state);
        f.debug_struct("Hpet")
            .field("configuration", &state.configuration)
            .field("status", &format_args!("{:#x}", state.status))
            .field(
                "counter",
                &format_args!("{:#x}", state.counter(self.timers.now())),
            )
            .field("comparators", &state.comparators)
            .finish_non_exhaustive()
    }
}
