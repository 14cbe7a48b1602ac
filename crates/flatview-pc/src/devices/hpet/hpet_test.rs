//! What the HPET specification 1.0a says.

use flatview_accel::{Clock, Control};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::irq::probe::Probe;

struct Bench {
    hpet: Arc<Hpet>,
    timers: Arc<TimerQueue>,
    control: Arc<Control>,
    irq_0: Arc<Probe>,
    irq_8: Arc<Probe>,
    gsi_2: Arc<Probe>,
}

impl Bench {
    fn new() -> Bench {
        let control = Arc::new(Control::new(Clock::counted(0)));
        let timers = TimerQueue::new(Arc::clone(&control));
        let [irq_0, irq_8, gsi_2] = [(); 3].map(|()| Probe::new());
        let lines = HpetLines {
            irq_0: irq_0.1,
            irq_8: irq_8.1,
            gsi_2: gsi_2.1,
        };
        Bench {
            hpet: Hpet::new(&timers, lines),
            timers,
            control,
            irq_0: irq_0.0,
            irq_8: irq_8.0,
            gsi_2: gsi_2.0,
        }
    }

    fn read(&self, offset: u64) -> u64 {
        MemoryRegionOps::read(&*self.hpet, offset, 8, MemTxAttrs::UNSPECIFIED).expect("never fails")
    }

    fn write(&self, offset: u64, value: u64) {
        MemoryRegionOps::write(&*self.hpet, offset, 8, value, MemTxAttrs::UNSPECIFIED).expect("never fails");
    }

    fn advance(&self, ticks: u64) {
        let end = self.timers.now() + ticks * TICK;
        while self.control.deadline() <= end {
            self.control.clock().advance_to(self.control.deadline());
            self.timers.run_due();
        }
        self.control.clock().advance_to(end);
    }
}

#[test]
fn the_counter_goes_while_it_is_enabled() {
    let bench = Bench::new();
    assert_eq!(bench.read(0), 0x0098_9680_8086_a201);
    bench.advance(100);
    assert_eq!(bench.read(0xf0), 0);
    bench.write(0xf0, 0x1_0000_0000);
    bench.write(0x10, 1);
    bench.advance(5);
    assert_eq!((bench.read(0xf0), bench.read(0xf4)), (0x1_0000_0005, 1));
    bench.write(0x10, 0);
    bench.advance(5);
    assert_eq!(bench.read(0xf0), 0x1_0000_0005);
}

#[test]
fn a_comparator_is_met_once() {
    let bench = Bench::new();
    bench.write(0x100, 2 << 9 | INTERRUPT);
    assert_eq!(bench.read(0x100), 1 << 34 | 0x30 | 2 << 9 | INTERRUPT);
    bench.write(0x108, 5000);
    bench.write(0x10, 1);
    bench.advance(4999);
    assert_eq!(bench.gsi_2.rises(), 0);
    bench.advance(1);
    assert_eq!(
        (bench.gsi_2.rises(), bench.gsi_2.level(), bench.read(0x20)),
        (1, false, 0)
    );
    bench.advance(10_000);
    assert_eq!(bench.gsi_2.rises(), 0);
    bench.write(0x108, 100);
    bench.advance(0);
    assert_eq!(bench.gsi_2.rises(), 1, "the counter has passed it");
}

const INTERRUPT: u64 = 4;

#[test]
fn a_level_stays_until_its_status_is_cleared() {
    let bench = Bench::new();
    bench.write(0x120, 2 << 9 | INTERRUPT | 2);
    bench.write(0x128, 5000);
    bench.write(0x10, 1);
    bench.advance(6000);
    assert_eq!((bench.gsi_2.level(), bench.read(0x20)), (true, 2));
    bench.write(0x20, 1);
    assert!(bench.gsi_2.level());
    bench.write(0x20, 2);
    assert_eq!((bench.gsi_2.level(), bench.read(0x20)), (false, 0));
}

#[test]
fn a_periodic_comparator_replaces_the_pit() {
    let bench = Bench::new();
    bench.hpet.set_irq(Hpet::PIT, true);
    bench.hpet.set_irq(Hpet::RTC, true);
    assert!(bench.irq_0.level() && bench.irq_8.level());
    bench.write(0x100, INTERRUPT | 1 << 3 | 1 << 6);
    bench.write(0x108, 10_000);
    bench.write(0x108, 2_000);
    bench.write(0x10, 3);
    assert!(!bench.irq_0.level() && !bench.irq_8.level());
    bench.irq_0.rises();
    bench.advance(10_000);
    assert_eq!((bench.irq_0.rises(), bench.read(0x108)), (1, 12_000));
    bench.advance(20_000);
    assert_eq!(bench.irq_0.rises(), 10);
    bench
        .control
        .clock()
        .advance_to(bench.timers.now() + 5_500 * TICK);
    bench.timers.run_due();
    assert_eq!(
        (bench.irq_0.rises(), bench.read(0x108)),
        (1, 36_000),
        "two were missed"
    );
    bench.write(0x10, 1);
    assert!(
        bench.irq_0.level() && bench.irq_8.level(),
        "the PIT is heard again"
    );
}

#[test]
fn a_comparator_of_32_bits_meets_a_counter_that_has_more() {
    let bench = Bench::new();
    bench.write(0xf0, 0x5_ffff_ff00);
    bench.write(0x140, 2 << 9 | INTERRUPT | 1 << 8);
    bench.write(0x148, 0x7_0000_0100);
    assert_eq!(bench.read(0x148), 0x100);
    bench.write(0x10, 1);
    bench.advance(0x1ff);
    assert_eq!(bench.gsi_2.rises(), 0);
    bench.advance(1);
    assert_eq!(bench.gsi_2.rises(), 1);
}

#[test]
fn a_reset_stops_everything() {
    let bench = Bench::new();
    bench.write(0x100, 2 << 9 | INTERRUPT | 2);
    bench.write(0x108, 1);
    bench.write(0x10, 3);
    bench.advance(2);
    bench.hpet.reset();
    assert_eq!(
        (
            bench.timers.deadline(),
            bench.read(0x10),
            bench.read(0x20),
            bench.read(0xf0)
        ),
        (None, 0, 0, 0)
    );
    assert!(!bench.irq_0.level() && !bench.gsi_2.level());
}

proptest! {
    #[test]
    fn whatever_a_guest_does_there_is_no_panic_and_no_deadline_in_the_past(
        steps in vec((0..0x40_u64, any::<u64>(), 0..3_u8, 0..1_u64 << 40), 0..80),
    ) {
        let bench = Bench::new();
        for (register, value, kind, time) in steps {
            match kind {
                0 => drop(bench.read(register * 8)),
                1 => bench.write(register * 8, value),
                _ => bench.write(register * 8, value & 0xffff),
            }
            bench.control.clock().advance_to(bench.timers.now() + time);
            bench.timers.run_due();
            prop_assert!(bench.control.deadline() > bench.timers.now());
        }
    }
}
