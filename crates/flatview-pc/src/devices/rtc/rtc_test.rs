//! What the MC146818A's datasheet says.

use flatview_accel::Clock;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::irq::probe::Probe;

/// 2026-11-21 22:59:58, a Saturday.
const START: i64 = 20_778 * 86_400 + 22 * 3600 + 59 * 60 + 58;

const S: u64 = 1_000_000_000;

struct Bench {
    rtc: Arc<Mutex<Rtc>>,
    timers: Arc<TimerQueue>,
    clock: Arc<flatview_accel::Control>,
    irq: Arc<Probe>,
}

impl Bench {
    fn new() -> Bench {
        let clock = Arc::new(flatview_accel::Control::new(Clock::counted(0)));
        let timers = TimerQueue::new(Arc::clone(&clock));
        let (irq, line) = Probe::new();
        Bench {
            rtc: Rtc::new(&timers, line, START),
            timers,
            clock,
            irq,
        }
    }

    fn read(&self, index: u8) -> u8 {
        let mut rtc = lock(&self.rtc);
        rtc.write((), 0, index);
        rtc.read((), 1)
    }

    fn write(&self, index: u8, value: u8) {
        let mut rtc = lock(&self.rtc);
        rtc.write((), 0, index);
        rtc.write((), 1, value);
    }

    /// Century, year, month, day, day of the week, hours, minutes, seconds.
    fn time(&self) -> [u8; 8] {
        [0x32, 9, 8, 7, 6, 4, 2, 0].map(|index| self.read(index))
    }

    fn advance(&self, nanoseconds: u64) {
        let end = self.timers.now() + nanoseconds;
        while self.clock.deadline() <= end {
            self.clock.clock().advance_to(self.clock.deadline());
            self.timers.run_due();
        }
        self.clock.clock().advance_to(end);
    }
}

#[test]
fn it_shows_the_time_in_bcd_or_binary_and_in_24_or_12_hours() {
    let bench = Bench::new();
    assert_eq!(bench.time(), [0x20, 0x26, 0x11, 0x21, 0x07, 0x22, 0x59, 0x58]);
    bench.advance(3 * S);
    assert_eq!(bench.time(), [0x20, 0x26, 0x11, 0x21, 0x07, 0x23, 0x00, 0x01]);
    bench.write(0x0b, 0x04);
    assert_eq!(bench.time(), [20, 26, 11, 21, 7, 0x80 | 11, 0, 1]);
    bench.write(0x0b, 0x00);
    bench.advance(3600 * S);
    assert_eq!(
        bench.time(),
        [0x20, 0x26, 0x11, 0x22, 0x01, 0x12, 0x00, 0x01],
        "midnight is 12"
    );
    assert_eq!((bench.read(0x37), bench.read(0x0d)), (0x20, 0x80));
}

#[test]
fn a_guest_sets_the_time() {
    let bench = Bench::new();
    bench.advance(S / 4);
    bench.write(0x0b, 0x92);
    assert_eq!(bench.read(0x0b), 0x82, "no update interrupts meanwhile");
    bench.advance(10 * S);
    for (index, value) in [
        (0, 0x59),
        (2, 0x59),
        (4, 0x23),
        (7, 0x28),
        (8, 0x02),
        (9, 0x00),
        (0x32, 0x20),
    ] {
        bench.write(index, value);
    }
    bench.advance(10 * S);
    bench.write(0x0b, 0x02);
    assert_eq!(bench.time(), [0x20, 0x00, 0x02, 0x28, 0x02, 0x23, 0x59, 0x59]);
    bench.advance(3 * S / 4);
    assert_eq!(
        bench.time(),
        [0x20, 0x00, 0x02, 0x29, 0x03, 0x00, 0x00, 0x00],
        "a leap year"
    );
    bench.write(4, 0x05);
    bench.advance(S);
    assert_eq!(bench.time()[5..], [0x05, 0x00, 0x01], "while it goes, too");
    bench.write(0x0a, 0x76);
    bench.advance(10 * S);
    bench.write(0x0a, 0x26);
    bench.advance(S / 2 - 1);
    assert_eq!(bench.read(0), 0x01);
    bench.advance(1);
    assert_eq!(bench.read(0), 0x02, "half a second after the divider was let go");
}

#[test]
fn an_update_is_announced() {
    let bench = Bench::new();
    assert_eq!(bench.read(0x0a), 0x26);
    bench.advance(S - 244_000);
    assert_eq!(bench.read(0x0a), 0xa6);
    bench.advance(244_000);
    assert_eq!(
        (bench.read(0x0a), bench.read(0x0c) & 0x10, bench.read(0x0c)),
        (0x26, 0x10, 0)
    );
}

#[test]
fn periodic_interrupts_come_until_register_c_is_not_read() {
    let bench = Bench::new();
    bench.write(0x0b, 0x42);
    bench.read(0x0c);
    for _ in 0..100 {
        bench.advance(S / 1024);
        bench.advance(1);
        assert_eq!((bench.irq.rises(), bench.read(0x0c)), (1, 0xc0));
    }
    bench.advance(S / 2);
    assert_eq!(
        (bench.irq.rises(), bench.irq.level(), bench.timers.deadline()),
        (1, true, None)
    );
    assert_eq!((bench.read(0x0c), bench.irq.level()), (0xc0, false));
    bench.write(0x0a, 0x2f);
    bench.advance(S);
    assert_eq!(bench.irq.rises(), 1);
    bench.write(0x0a, 0x20);
    bench.read(0x0c);
    bench.advance(S);
    assert_eq!((bench.irq.rises(), bench.read(0x0c)), (0, 0x10), "rate 0 is none");
}

#[test]
fn update_interrupts_come_with_the_second() {
    let bench = Bench::new();
    bench.write(0x0b, 0x12);
    bench.advance(S - 1);
    assert!(!bench.irq.level());
    bench.advance(1);
    assert!(bench.irq.level());
    assert_eq!(bench.read(0x0c) & 0x90, 0x90);
}

#[test]
fn alarms_match_the_time_and_the_highest_bits_match_all() {
    let bench = Bench::new();
    for (index, value) in [(1, 0x05), (3, 0x00), (5, 0x23)] {
        bench.write(index, value);
    }
    bench.write(0x0b, 0x22);
    bench.advance(7 * S - 1);
    assert!(!bench.irq.level());
    bench.advance(1);
    assert_eq!((bench.irq.rises(), bench.read(0x0c) & 0xa0), (1, 0xa0));
    bench.advance(86_399 * S);
    assert_eq!(bench.irq.rises(), 0);
    bench.advance(S);
    assert_eq!(
        (bench.irq.rises(), bench.read(0x0c) & 0xa0),
        (1, 0xa0),
        "the next day"
    );
    bench.write(3, 0xff);
    bench.write(5, 0xc0);
    for _ in 0..3 {
        bench.advance(60 * S);
        assert_eq!(
            (bench.irq.rises(), bench.read(0x0c) & 0xa0),
            (1, 0xa0),
            "every minute"
        );
    }
    bench.write(1, 0x7f);
    assert_eq!(bench.timers.deadline(), None, "the clock never shows that");
}

#[test]
fn memory_sizes_are_where_firmware_looks() {
    let bench = Bench::new();
    let sizes = |below, above| {
        lock(&bench.rtc).set_memory(below, above);
        [0x15, 0x16, 0x17, 0x18, 0x30, 0x31, 0x34, 0x35, 0x5b, 0x5c, 0x5d].map(|index| bench.read(index))
    };
    let base = [0x80, 0x02];
    assert_eq!(
        sizes(8 << 20, 0),
        [base[0], base[1], 0, 0x1c, 0, 0x1c, 0, 0, 0, 0, 0]
    );
    assert_eq!(
        sizes(128 << 20, 0),
        [base[0], base[1], 0xff, 0xff, 0xff, 0xff, 0x00, 0x07, 0, 0, 0]
    );
    let expected = [
        base[0], base[1], 0xff, 0xff, 0xff, 0xff, 0x00, 0xbf, 0x00, 0x00, 0x01,
    ];
    assert_eq!(sizes(3 << 30, 4 << 30), expected);
}

#[test]
fn a_reset_keeps_time_and_memory() {
    let bench = Bench::new();
    bench.write(0x0f, 0x0a);
    bench.write(0x0b, 0x72);
    bench.advance(2 * S);
    assert!(bench.irq.level());
    lock(&bench.rtc).reset();
    assert_eq!((bench.irq.level(), bench.timers.deadline()), (false, None));
    assert_eq!(
        (bench.read(0x0f), bench.read(0x0b), bench.read(0)),
        (0x0a, 0x02, 0x00)
    );
    lock(&bench.rtc).set(0x0a, 0xff);
    assert_eq!(bench.read(0x0a), 0x26);
    assert_eq!(lock(&bench.rtc).get(0x0f), 0x0a);
    assert_eq!(lock(&bench.rtc).read((), 0), 0xff);
}

proptest! {
    #[test]
    fn whatever_a_guest_does_the_line_is_the_flag(
        steps in vec((0..0x14_u8, any::<u8>(), any::<bool>(), 0..3 * S), 0..60),
    ) {
        let bench = Bench::new();
        for (index, value, read, time) in steps {
            if read {
                bench.read(index);
            } else {
                bench.write(index, value);
            }
            bench.clock.clock().advance_to(bench.timers.now() + time);
            bench.timers.run_due();
            prop_assert!(bench.clock.deadline() > bench.timers.now());
            let flags = lock(&bench.rtc).cmos[REGISTER_C];
            let enables = bench.read(0x0b);
            prop_assert_eq!(flags & 0x80 != 0, flags & enables & 0x70 != 0);
            prop_assert_eq!(flags & 0x80 != 0, bench.irq.level());
        }
    }

    #[test]
    fn what_the_guest_sets_it_reads(day in 1..=28_u8, month in 1..=12_u8, year in 0..100_u8, hour in 0..24_u8) {
        let bench = Bench::new();
        bench.write(0x0b, 0x86);
        for (index, value) in [(0, 7), (2, 8), (4, hour), (7, day), (8, month), (9, year), (0x32, 20)] {
            bench.write(index, value);
        }
        bench.write(0x0b, 0x06);
        let time = bench.time();
        prop_assert_eq!((time[0], time[1], time[2], time[3]), (20, year, month, day));
        prop_assert_eq!(&time[5..], &[hour, 8, 7]);
    }
}
