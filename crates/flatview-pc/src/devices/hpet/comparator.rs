//! One comparator of the HPET (specification 1.0a, 2.3.8 and 2.3.9).

const LEVEL: u64 = 1 << 1;
const INTERRUPTS: u64 = 1 << 2;
const PERIODIC: u64 = 1 << 3;
/// The next value that is written is for the comparator, also in periodic mode.
const SETS_VALUE: u64 = 1 << 6;
const ONLY_32_BITS: u64 = 1 << 8;
const ROUTE: u64 = 0x1f << 9;

/// Bits that a guest can write.
const WRITABLE: u64 = LEVEL | INTERRUPTS | PERIODIC | SETS_VALUE | ONLY_32_BITS | ROUTE;

/// It can be periodic, has 64 bits, and can be routed to GSI 2.
const CAPABILITIES: u64 = 1 << 34 | 1 << 5 | 1 << 4;

#[derive(Clone, Copy, Debug)]
pub(super) struct Comparator {
    configuration: u64,
    value: u64,
    period: u64,
    /// Once it was met it waits for another value.
    waits: bool,
}

impl Comparator {
    pub(super) fn new() -> Comparator {
        Comparator {
            configuration: CAPABILITIES,
            value: u64::MAX,
            period: 0,
            waits: false,
        }
    }

    pub(super) fn configuration(&self) -> u64 {
        self.configuration
    }

    pub(super) fn set_configuration(&mut self, configuration: u64) {
        self.configuration = configuration & WRITABLE | CAPABILITIES;
        self.value &= self.range();
    }

    pub(super) fn is_level(&self) -> bool {
        self.configuration & LEVEL != 0
    }

    pub(super) fn interrupts(&self) -> bool {
        self.configuration & INTERRUPTS != 0
    }

    pub(super) fn is_periodic(&self) -> bool {
        self.configuration & PERIODIC != 0
    }

    pub(super) fn route(&self) -> u64 {
        (self.configuration & ROUTE) >> 9
    }

    pub(super) fn value(&self) -> u64 {
        self.value
    }

    /// The highest value.
    fn range(&self) -> u64 {
        if self.configuration & ONLY_32_BITS != 0 {
            u32::MAX.into()
        } else {
            u64::MAX
        }
    }

    /// The bits of `mask` are written. In periodic mode that is the period; with `SETS_VALUE` the value as well.
    pub(super) fn set_value(&mut self, value: u64, mask: u64) {
        let merge = |old: u64| old & !mask | value & mask;
        let range = self.range();
        if !self.is_periodic() || self.configuration & SETS_VALUE != 0 {
            self.value = merge(self.value) & range;
        }
        if self.is_periodic() {
            self.period = merge(self.period) & range;
        }
        self.configuration &= !SETS_VALUE;
        self.waits = false;
    }

    /// How many ticks until the counter meets it; `None`: it waits for another value.
    pub(super) fn distance(&self, counter: u64) -> Option<u64> {
        let distance = self.value.wrapping_sub(counter) & self.range();
        let passed = distance > self.range() / 2;
        (!self.waits).then_some(if passed { 0 } else { distance })
    }

    /// Whether the counter has come to the value. Then it is what comes next: a period later, or more if periods were
    /// missed.
    pub(super) fn meet(&mut self, counter: u64) -> bool {
        if self.distance(counter) != Some(0) {
            return false;
        }
        if !self.is_periodic() || self.period == 0 {
            self.waits = true;
            return true;
        }
        let late = counter.wrapping_sub(self.value) & self.range();
        let periods = (late / self.period).wrapping_add(1);
        self.value = self.value.wrapping_add(periods.wrapping_mul(self.period)) & self.range();
        true
    }
}
