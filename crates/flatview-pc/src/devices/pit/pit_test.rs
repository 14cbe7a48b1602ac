//! What the 8254's datasheet (Intel 231164) says, and a model that counts clock by clock.

use flatview_accel::{Clock, Control};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::irq::probe::Probe;

struct Bench {
    pit: Arc<Mutex<Pit>>,
    timers: Arc<TimerQueue>,
    control: Arc<Control>,
    irq: Arc<Probe>,
}

impl Bench {
    fn new() -> Bench {
        let control = Arc::new(Control::new(Clock::counted(0)));
        let timers = TimerQueue::new(Arc::clone(&control));
        let (irq, line) = Probe::new();
        Bench {
            pit: Pit::new(&timers, line),
            timers,
            control,
            irq,
        }
    }

    fn out(&self, port: u64, value: u8) {
        let (part, offset) = place(port);
        lock(&self.pit).write(part, offset, value);
    }

    fn read(&self, port: u64) -> u8 {
        let (part, offset) = place(port);
        lock(&self.pit).read(part, offset)
    }

    fn read_word(&self, port: u64) -> u16 {
        u16::from_le_bytes([self.read(port), self.read(port)])
    }

    fn out_word(&self, port: u64, value: u16) {
        for byte in value.to_le_bytes() {
            self.out(port, byte);
        }
    }

    /// To `clocks` after power-on, as a machine's loop does that runs timers in time.
    fn to(&self, clocks: i64) {
        while self.control.deadline() <= nanoseconds(clocks) {
            self.control.clock().advance_to(self.control.deadline());
            self.timers.run_due();
        }
        self.control.clock().advance_to(nanoseconds(clocks));
    }
}

fn place(port: u64) -> (Part, u64) {
    match port {
        0x61 => (Part::Speaker, 0),
        port => (Part::Counters, port - 0x40),
    }
}

#[test]
fn clocks_and_nanoseconds() {
    assert_eq!(clocks(1_000_000_000), i64::from(PIT_FREQUENCY));
    for clock in [0, 1, 2, 1_193_182, 1 << 50] {
        assert_eq!(
            (clocks(nanoseconds(clock)), clocks(nanoseconds(clock + 1) - 1)),
            (clock, clock)
        );
    }
    assert!(clocks(u64::MAX) > 0);
}

#[test]
fn mode_2_interrupts_every_n_clocks() {
    let bench = Bench::new();
    bench.out(0x43, 0x34);
    bench.out_word(0x40, 11_932);
    bench.irq.rises();
    bench.to(11_932);
    assert_eq!(bench.irq.rises(), 0);
    bench.to(11_933);
    assert_eq!(bench.irq.rises(), 1);
    bench.to(11_933 + 10 * 11_932);
    assert_eq!(bench.irq.rises(), 10);
    assert_eq!(bench.read_word(0x40), 11_932);
    bench.to(11_933 + 10 * 11_932 + 5);
    assert_eq!(bench.read_word(0x40), 11_927);
}

#[test]
fn periods_that_were_missed_are_one_interrupt() {
    let bench = Bench::new();
    bench.out(0x43, 0x34);
    bench.out_word(0x40, 1000);
    bench.irq.rises();
    bench.control.clock().advance_to(nanoseconds(100_500));
    bench.timers.run_due();
    assert_eq!(bench.irq.rises(), 1);
    assert_eq!(bench.timers.deadline(), Some(nanoseconds(101_001)));
}

#[test]
fn a_period_that_is_too_short_for_a_machine_interrupts_less_often() {
    let bench = Bench::new();
    bench.out(0x43, 0x14);
    bench.out(0x40, 2);
    bench.irq.rises();
    bench.to(1200);
    assert!((50..=100).contains(&bench.irq.rises()));
}

#[test]
fn mode_0_rises_once_after_n_clocks_and_goes_on_counting() {
    let bench = Bench::new();
    bench.out(0x43, 0x30);
    assert!(!bench.irq.level(), "low as soon as the mode is set");
    bench.irq.rises();
    bench.out_word(0x40, 100);
    bench.to(100);
    assert_eq!((bench.irq.level(), bench.read_word(0x40)), (false, 1));
    bench.to(101);
    assert_eq!((bench.irq.level(), bench.irq.rises()), (true, 1));
    bench.to(105);
    assert_eq!((bench.read_word(0x40), bench.timers.deadline()), (0xfffc, None));
    bench.out(0x40, 1);
    assert!(!bench.irq.level(), "the first byte of a count makes it low again");
}

#[test]
fn a_latched_count_stays_until_it_is_read() {
    let bench = Bench::new();
    bench.out(0x43, 0x34);
    bench.out_word(0x40, 5000);
    bench.to(1001);
    bench.out(0x43, 0x00);
    bench.to(2001);
    bench.out(0x43, 0x00);
    assert_eq!((bench.read_word(0x40), bench.read_word(0x40)), (4000, 3000));
}

#[test]
fn read_back_latches_status_and_count_of_several_counters() {
    let bench = Bench::new();
    bench.out(0x43, 0x34);
    bench.out(0x43, 0xe2);
    assert_eq!(
        bench.read(0x40),
        0x80 | 0x40 | 0x34,
        "high, no count yet, both bytes, mode 2"
    );
    bench.out_word(0x40, 100);
    bench.out(0x43, 0x76);
    bench.out_word(0x41, 50);
    bench.to(31);
    bench.out(0x43, 0xc6);
    bench.to(60);
    assert_eq!((bench.read(0x40), bench.read_word(0x40)), (0xb4, 70));
    assert_eq!(
        (bench.read(0x41), bench.read_word(0x41)),
        (0x36, 40),
        "in the low half: 30 of 50"
    );
}

#[test]
fn counts_are_bcd_if_the_control_word_says_so() {
    let bench = Bench::new();
    bench.out(0x43, 0x35);
    bench.out_word(0x40, 0x1000);
    bench.to(2);
    assert_eq!(bench.read_word(0x40), 0x0999);
    bench.out(0x43, 0x31);
    bench.out_word(0x40, 0);
    bench.to(4);
    assert_eq!(bench.read_word(0x40), 0x9999, "0 is 10000");
}

#[test]
fn port_61_has_the_gate_and_the_output_of_channel_2() {
    let bench = Bench::new();
    bench.out(0x43, 0xb0);
    bench.out(0x61, 0x03);
    bench.out_word(0x42, 200);
    bench.to(101);
    bench.out(0x61, 0x02);
    bench.to(1000);
    assert_eq!(bench.read(0x61) & 0x23, 0x02);
    bench.out(0x61, 0x03);
    bench.to(1099);
    assert_eq!(bench.read(0x61) & 0x23, 0x03);
    bench.to(1100);
    assert_eq!(
        bench.read(0x61) & 0x23,
        0x23,
        "it stood still while the gate was low"
    );
}

#[test]
fn the_refresh_bit_toggles() {
    let bench = Bench::new();
    let bits: Vec<u8> = (0..6)
        .map(|step| {
            bench.control.clock().advance_to(step * REFRESH);
            bench.read(0x61) & 0x10
        })
        .collect();
    assert_eq!(bits, [0, 0x10, 0, 0x10, 0, 0x10]);
}

#[test]
fn after_a_reset_it_interrupts_18_times_a_second() {
    let bench = Bench::new();
    bench.out(0x43, 0x34);
    bench.out_word(0x40, 1000);
    bench.out(0x61, 0x03);
    lock(&bench.pit).reset();
    bench.irq.rises();
    assert_eq!(bench.read(0x61) & 3, 0);
    bench.to(18 * 0x1_0000);
    assert_eq!(bench.irq.rises(), 17);
    bench.to(18 * 0x1_0000 + 1);
    assert_eq!(bench.irq.rises(), 1);
}

/// A counter that counts clock by clock, as the datasheet tells it.
#[derive(Debug)]
struct Model {
    mode: u8,
    register: u32,
    /// What was loaded last.
    loaded: u32,
    element: u32,
    output: bool,
    gate: bool,
    /// The next clock loads the count.
    loads: bool,
    counts: bool,
}

impl Model {
    fn set_mode(&mut self, mode: u8) {
        self.mode = mode;
        self.output = mode != 0;
        (self.loads, self.counts) = (false, false);
    }

    fn write(&mut self, count: u32) {
        self.register = count;
        match self.mode {
            0 => (self.output, self.loads) = (false, true),
            2 | 3 => self.loads |= !self.counts,
            4 => self.loads = true,
            _ => {}
        }
    }

    fn set_gate(&mut self, gate: bool) {
        let rises = gate && !self.gate;
        self.gate = gate;
        match self.mode {
            1 | 5 if rises => self.loads = true,
            2 | 3 => {
                self.output |= !gate;
                self.loads |= rises && self.counts;
            }
            _ => {}
        }
    }

    fn load(&mut self) {
        (self.loaded, self.element) = (self.register, self.register);
        (self.loads, self.counts) = (false, true);
        match self.mode {
            1 => self.output = false,
            3 => self.element &= !1,
            _ => {}
        }
    }

    fn clock(&mut self) {
        if self.loads {
            if matches!(self.mode, 2 | 3) && !self.gate {
                return;
            }
            self.load();
            self.output |= matches!(self.mode, 2..=5);
            return;
        }
        if !self.counts || !self.gate && !matches!(self.mode, 1 | 5) {
            return;
        }
        match self.mode {
            2 if self.element == 1 => {
                self.load();
                self.output = true;
            }
            2 => {
                self.element -= 1;
                self.output = self.element != 1;
            }
            3 => {
                // An odd count is high for one clock more: down to 0.
                if self.element == 0 || self.element == 2 && !(self.output && self.loaded % 2 == 1) {
                    self.output = !self.output;
                    self.load();
                } else {
                    self.element -= 2;
                }
            }
            _ => {
                self.element = self.element.wrapping_sub(1) & 0xffff;
                match self.mode {
                    0 | 1 => self.output |= self.element == 0,
                    _ => self.output = self.element != 0,
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Mode(u8),
    Count(u16),
    Gate(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..6_u8).prop_map(Step::Mode),
        3 => (2..20_u16).prop_map(Step::Count),
        2 => any::<bool>().prop_map(Step::Gate),
    ]
}

proptest! {
    #[test]
    fn a_counter_agrees_with_one_that_counts_clock_by_clock(steps in vec((step(), 1..40_i64), 0..30)) {
        let [_, _, mut counter] = Counter::power_on(0);
        let mut model = Model {
            mode: 3,
            register: 0x1_0000,
            loaded: 0,
            element: 0,
            output: true,
            gate: false,
            loads: false,
            // The gate has not risen yet.
            counts: true,
        };
        let mut now = 0;
        for (step, clocks) in steps {
            match step {
                Step::Mode(mode) => {
                    counter.set_mode(0x30 | mode << 1);
                    model.set_mode(mode);
                }
                Step::Count(count) => {
                    for byte in count.to_le_bytes() {
                        counter.write(byte, now);
                    }
                    model.write(count.into());
                }
                Step::Gate(gate) => {
                    counter.set_gate(gate, now);
                    model.set_gate(gate);
                }
            }
            for clock in 0..clocks {
                let (rise, was) = (counter.next_rise(now), model.output);
                now += 1;
                model.clock();
                let state = format!("at {now}: {model:?}, {counter:?}");
                prop_assert_eq!(counter.output(now), model.output, "output {}", state);
                // What a step changes at once is no rise that was to come.
                if model.gate && clock > 0 {
                    prop_assert_eq!(rise == Some(now), model.output && !was, "rise {}", state);
                }
                if model.counts && model.gate {
                    let value = u16::from_le_bytes([counter.read(now), counter.read(now)]);
                    prop_assert_eq!(u32::from(value), model.element & 0xffff, "count {}", state);
                }
            }
        }
    }

    #[test]
    fn whatever_a_guest_does_there_is_no_panic(
        steps in vec((prop_oneof![0x40..0x44_u64, Just(0x61)], any::<u8>(), any::<bool>(), 0..1_u64 << 40), 0..60),
    ) {
        let bench = Bench::new();
        for (port, value, read, time) in steps {
            if read {
                bench.read(port);
            } else {
                bench.out(port, value);
            }
            bench.control.clock().advance_to(bench.timers.now() + time);
            bench.timers.run_due();
            prop_assert!(bench.control.deadline() > bench.timers.now());
        }
    }
}
