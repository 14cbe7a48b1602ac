//! What the 82093AA's datasheet (Intel 290566) says.

use flatview_accel::{Clock, Control, InterruptSource, Signals};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::irq::Lapic;
use crate::irq::{CpuInterrupts, Gsi, IrqLine, Pic};
use crate::timer::TimerQueue;

const LEVEL: u32 = 1 << 15;
const MASKED: u32 = 1 << 16;

struct Bench {
    ioapic: Arc<Ioapic>,
    lapic: Arc<Lapic>,
    gsi: Arc<Gsi>,
    cpu: Arc<CpuInterrupts>,
    control: Arc<Control>,
}

impl Bench {
    /// The local APIC is on, the 8259A masked there.
    fn new() -> Bench {
        let control = Arc::new(Control::new(Clock::counted(0)));
        let timers = TimerQueue::new(Arc::clone(&control));
        let lapic = Lapic::new(0, &timers, Arc::clone(&control));
        let pic = Pic::new(IrqLine::new(lapic.clone(), Lapic::LINT0));
        let ioapic = Ioapic::new(lapic.clone());
        let bench = Bench {
            gsi: Gsi::new(Arc::clone(&pic), Arc::clone(&ioapic)),
            cpu: CpuInterrupts::new(Arc::clone(&lapic), pic),
            ioapic,
            lapic,
            control,
        };
        bench.lapic_write(0xf0, 0x1ff);
        bench.lapic_write(0x350, 0x1_0700);
        bench
    }

    fn lapic_write(&self, offset: u64, value: u32) {
        MemoryRegionOps::write(&*self.lapic, offset, 4, value.into(), MemTxAttrs::UNSPECIFIED)
            .expect("never fails");
    }

    fn end_of_interrupt(&self) {
        self.lapic_write(0xb0, 0);
    }

    fn out(&self, offset: u64, value: u32) {
        MemoryRegionOps::write(&*self.ioapic, offset, 4, value.into(), MemTxAttrs::UNSPECIFIED)
            .expect("never fails");
    }

    fn read(&self, register: u32) -> u64 {
        self.out(0, register);
        MemoryRegionOps::read(&*self.ioapic, 0x10, 4, MemTxAttrs::UNSPECIFIED).expect("never fails")
    }

    fn write(&self, register: u32, value: u32) {
        self.out(0, register);
        self.out(0x10, value);
    }

    fn redirect(&self, pin: u32, low: u32) {
        self.write(0x10 + 2 * pin, low);
    }

    fn entry(&self, pin: u32) -> u64 {
        self.read(0x10 + 2 * pin)
    }

    fn interrupt(&self) -> Option<u8> {
        let intr = self.control.signals().contains(Signals::INTR);
        intr.then(|| self.cpu.acknowledge().expect("INTR was true"))
    }
}

#[test]
fn registers_after_power_on() {
    let bench = Bench::new();
    assert_eq!((bench.read(0), bench.read(1), bench.read(2)), (0, 0x17_0020, 0));
    for pin in 0..24 {
        assert_eq!((bench.entry(pin), bench.read(0x11 + 2 * pin)), (0x1_0000, 0));
    }
    bench.write(0, 0xffff_ffff);
    assert_eq!((bench.read(0), bench.read(2)), (0x0f00_0000, 0x0f00_0000));
    bench.write(0x3f, 0xffff_ffff);
    bench.write(0x40, 0xffff_ffff);
    assert_eq!((bench.read(0x3f), bench.read(0x40)), (0xff00_0000, 0));
}

#[test]
fn an_edge_is_sent_once_and_lost_while_it_is_masked() {
    let bench = Bench::new();
    bench.gsi.set_irq(4, true);
    bench.redirect(4, 0x41);
    assert_eq!(bench.interrupt(), None, "the edge was before");
    for _ in 0..2 {
        bench.gsi.set_irq(4, false);
        bench.gsi.set_irq(4, true);
        bench.gsi.set_irq(4, true);
        assert_eq!(bench.interrupt(), Some(0x41));
        bench.end_of_interrupt();
        assert_eq!(bench.interrupt(), None);
    }
}

#[test]
fn a_level_is_sent_again_after_the_end_of_its_interrupt() {
    let bench = Bench::new();
    bench.redirect(16, LEVEL | MASKED | 0x61);
    bench.gsi.set_irq(16, true);
    assert_eq!(bench.interrupt(), None);
    bench.redirect(16, LEVEL | 0x61);
    for _ in 0..3 {
        assert_eq!(bench.interrupt(), Some(0x61));
        assert_eq!(bench.entry(16), 0xc061, "remote IRR");
        assert_eq!(bench.interrupt(), None);
        bench.end_of_interrupt();
    }
    assert_eq!(bench.interrupt(), Some(0x61));
    bench.gsi.set_irq(16, false);
    bench.end_of_interrupt();
    assert_eq!((bench.interrupt(), bench.entry(16)), (None, 0x8061));
}

#[test]
fn the_eoi_register_ends_one_vector() {
    let bench = Bench::new();
    bench.redirect(10, LEVEL | 0x51);
    bench.redirect(11, LEVEL | 0x52);
    for pin in [10, 11] {
        bench.gsi.set_irq(pin, true);
        bench.gsi.set_irq(pin, false);
    }
    assert_eq!((bench.entry(10), bench.entry(11)), (0xc051, 0xc052));
    bench.out(0x40, 0x51);
    assert_eq!((bench.entry(10), bench.entry(11)), (0x8051, 0xc052));
    bench.redirect(11, 0x52);
    assert_eq!(bench.entry(11), 0x52, "an edge has no remote IRR");
}

#[test]
fn a_level_that_nobody_takes_is_not_waited_for() {
    let bench = Bench::new();
    bench.write(0x10 + 2 * 17 + 1, 0x0500_0000);
    bench.redirect(17, LEVEL | 0x61);
    bench.gsi.set_irq(17, true);
    assert_eq!(bench.entry(17), 0x8061);
    bench.write(0x10 + 2 * 17 + 1, 0);
    bench.redirect(17, LEVEL | 0x61);
    assert_eq!(bench.interrupt(), Some(0x61));
}

#[test]
fn other_delivery_modes_are_signals() {
    let bench = Bench::new();
    for (mode, signal) in [(2, Signals::SMI), (4, Signals::NMI), (5, Signals::INIT)] {
        bench.redirect(5, mode << 8);
        bench.gsi.set_irq(5, true);
        assert_eq!(bench.control.clear(Signals::all() - Signals::INTR), signal);
        bench.gsi.set_irq(5, false);
    }
}

#[test]
fn isa_interrupt_0_is_input_2_and_extint_asks_the_8259a() {
    let bench = Bench::new();
    bench.redirect(2, 0x700);
    bench.gsi.set_irq(0, true);
    assert_eq!(bench.interrupt(), Some(0), "the 8259A's vector base is 0");
    bench.gsi.set_irq(0, false);
    assert_eq!(bench.interrupt(), None);
    bench.redirect(2, 0x31);
    bench.gsi.set_irq(0, true);
    assert_eq!(bench.interrupt(), Some(0x31));
}

#[test]
fn isa_interrupt_0_and_gsi_2_share_an_input() {
    let bench = Bench::new();
    bench.redirect(2, 0x31);
    bench.gsi.set_irq(0, true);
    assert_eq!(bench.interrupt(), Some(0x31));
    bench.end_of_interrupt();
    bench.gsi.set_irq(2, false);
    bench.gsi.set_irq(0, true);
    assert_eq!(bench.interrupt(), None, "it was high all the time");
}

#[test]
fn a_machine_that_is_dropped_leaves_nothing() {
    let bench = Bench::new();
    let (ioapic, lapic) = (Arc::downgrade(&bench.ioapic), Arc::downgrade(&bench.lapic));
    drop(bench);
    assert_eq!((ioapic.strong_count(), lapic.strong_count()), (0, 0));
}

proptest! {
    /// As long as a line is high and unmasked and nothing is in service, there is an interrupt; and none that no line
    /// has asked for.
    #[test]
    fn levels_are_neither_lost_nor_invented(steps in vec((16..24_u32, any::<bool>(), any::<bool>()), 0..60)) {
        let bench = Bench::new();
        let (mut lines, mut masked) = ([false; 24], [true; 24]);
        for (pin, level, mask) in steps {
            let at = pin as usize;
            lines[at] = level;
            bench.gsi.set_irq(pin, level);
            masked[at] = mask;
            bench.redirect(pin, LEVEL | if mask { MASKED } else { 0 } | (0x10 * (pin - 14)));
            // What was sent while it was high comes once.
            while let Some(vector) = bench.interrupt() {
                let pin = u32::from(vector >> 4) + 14;
                lines[pin as usize] = false;
                bench.gsi.set_irq(pin, false);
                bench.end_of_interrupt();
            }
            for pin in 16..24_u32 {
                prop_assert!(!lines[pin as usize] || masked[pin as usize], "line {pin} is high and not heard");
                prop_assert_eq!(bench.entry(pin) & 1 << 14, 0);
            }
        }
    }

    #[test]
    fn whatever_a_guest_does_there_is_no_panic(
        steps in vec((any::<u8>(), any::<u32>(), 0..30_u32, any::<bool>()), 0..80),
    ) {
        let bench = Bench::new();
        for (register, value, pin, level) in steps {
            bench.write(register.into(), value);
            bench.gsi.set_irq(pin, level);
            bench.read(register.into());
            bench.out(0x40, value);
            bench.interrupt();
        }
    }
}
