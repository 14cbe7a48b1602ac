//! What the Intel SDM, vol. 3, chapter 10 says of a local APIC.

use flatview_accel::{Clock, InterruptSource};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::irq::{CpuInterrupts, IrqLine, Pic};

const TPR: u64 = 0x80;
const EOI: u64 = 0xb0;
const ESR: u64 = 0x280;
const ICR: u64 = 0x300;
const LINT0: u64 = 0x350;

struct Bench {
    lapic: Arc<Lapic>,
    pic: Arc<Mutex<Pic>>,
    cpu: Arc<CpuInterrupts>,
    control: Arc<Control>,
    timers: Arc<TimerQueue>,
}

impl Bench {
    /// As after power-on.
    fn new() -> Bench {
        let control = Arc::new(Control::new(Clock::counted(0)));
        let timers = TimerQueue::new(Arc::clone(&control));
        let lapic = Lapic::new(0, &timers, Arc::clone(&control));
        let pic = Pic::new(IrqLine::new(lapic.clone(), Lapic::LINT0));
        Bench {
            cpu: CpuInterrupts::new(Arc::clone(&lapic), Arc::clone(&pic)),
            lapic,
            pic,
            control,
            timers,
        }
    }

    /// Switched on, with spurious vector 0xff.
    fn on() -> Bench {
        let bench = Bench::new();
        bench.write(0xf0, 0x1ff);
        bench
    }

    fn read(&self, offset: u64) -> u32 {
        let value = MemoryRegionOps::read(&*self.lapic, offset, 4, MemTxAttrs::UNSPECIFIED);
        u32::try_from(value.expect("never fails")).expect("32 bits")
    }

    fn write(&self, offset: u64, value: u32) {
        MemoryRegionOps::write(&*self.lapic, offset, 4, value.into(), MemTxAttrs::UNSPECIFIED)
            .expect("never fails");
    }

    fn send(&self, vector: u8, level: bool) -> bool {
        self.lapic.deliver(InterruptMessage {
            destination: 0,
            logical: false,
            mode: DeliveryMode::Fixed,
            vector,
            level,
        })
    }

    fn intr(&self) -> bool {
        self.control.signals().contains(Signals::INTR)
    }

    /// What a CPU does with interrupts on.
    fn interrupt(&self) -> Option<u8> {
        self.intr()
            .then(|| self.cpu.acknowledge().expect("INTR was true"))
    }

    fn advance(&self, nanoseconds: u64) {
        self.control.clock().advance_to(self.timers.now() + nanoseconds);
        self.timers.run_due();
    }
}

#[test]
fn registers_after_power_on() {
    let bench = Bench::new();
    let expected = [
        (0x20, 0),
        (0x30, 0x0005_0014),
        (TPR, 0),
        (0xa0, 0),
        (0xd0, 0),
        (0xe0, u32::MAX),
        (0xf0, 0xff),
        (0x320, 0x1_0000),
        (LINT0, 0x700),
        (0x360, 0x1_0000),
        (0x370, 0x1_0000),
        (0x390, 0),
    ];
    for (offset, value) in expected {
        assert_eq!(bench.read(offset), value, "register {offset:#x}");
    }
    assert_eq!(bench.cpu.apic_base(), 0xfee0_0900);
}

#[test]
fn the_class_of_a_vector_is_its_priority() {
    let bench = Bench::on();
    for vector in [0x31, 0x52, 0x51] {
        bench.send(vector, false);
    }
    assert_eq!(bench.interrupt(), Some(0x52));
    assert_eq!((bench.read(0xa0), bench.read(0x120)), (0x50, 1 << 18));
    assert_eq!(bench.interrupt(), None, "0x51 is of the same class");
    bench.send(0x60, false);
    assert_eq!(bench.interrupt(), Some(0x60));
    bench.write(EOI, 0);
    assert_eq!(bench.interrupt(), None);
    bench.write(EOI, 0);
    assert_eq!(bench.interrupt(), Some(0x51));
    bench.write(EOI, 0);
    assert_eq!(bench.interrupt(), Some(0x31));
}

#[test]
fn the_task_priority_holds_back_its_class_and_those_below() {
    let bench = Bench::on();
    bench.write(TPR, 0x45);
    bench.send(0x4f, false);
    assert_eq!(
        (bench.interrupt(), bench.cpu.cr8(), bench.read(0xa0)),
        (None, 4, 0x45)
    );
    bench.cpu.set_cr8(3);
    assert_eq!((bench.read(TPR), bench.interrupt()), (0x30, Some(0x4f)));
}

#[test]
fn the_8259a_is_heard_through_lint0() {
    let bench = Bench::new();
    bench.pic.set_irq(0, true);
    assert_eq!(bench.interrupt(), Some(0x00), "after power-on LINT0 is ExtINT");
    bench.pic.set_irq(0, false);
    bench.pic.reset();
    bench.pic.set_irq(1, true);
    assert!(bench.intr());
    bench.write(0xf0, 0x1ff);
    bench.write(LINT0, 0x1_0700);
    assert!(!bench.intr(), "masked");
    bench.write(LINT0, 0x700);
    assert!(bench.intr());
    bench.write(0xf0, 0xff);
    assert!(!bench.intr(), "switched off, all entries are masked");
    bench.write(LINT0, 0x700);
    assert_eq!(bench.read(LINT0), 0x1_0700, "and stay so");
    assert!(bench.cpu.set_apic_base(0xfee0_0100));
    assert!(bench.intr(), "without the APIC LINT0 is INTR");
}

#[test]
fn local_interrupts_have_a_vector_or_a_signal() {
    let bench = Bench::on();
    bench.write(LINT0, 0x35);
    bench.write(0x360, 0x400);
    bench.lapic.set_irq(Lapic::LINT0, true);
    bench.lapic.set_irq(Lapic::LINT1, true);
    assert_eq!(bench.interrupt(), Some(0x35));
    assert!(bench.control.signals().contains(Signals::NMI));
    bench.write(EOI, 0);
    assert_eq!(bench.interrupt(), None, "an edge");
}

#[test]
fn a_level_at_lint0_comes_again_until_it_is_low() {
    let bench = Bench::on();
    bench.lapic.set_irq(Lapic::LINT0, true);
    bench.write(LINT0, 0x8035);
    for _ in 0..2 {
        assert_eq!(bench.interrupt(), Some(0x35));
        assert_eq!((bench.interrupt(), bench.read(LINT0)), (None, 0xc035));
        bench.write(EOI, 0);
    }
    assert_eq!(bench.interrupt(), Some(0x35));
    bench.lapic.set_irq(Lapic::LINT0, false);
    bench.write(EOI, 0);
    assert_eq!((bench.interrupt(), bench.read(LINT0)), (None, 0x8035));
}

#[test]
fn what_is_not_for_it_or_comes_while_it_is_off_is_not_taken() {
    let bench = Bench::new();
    assert!(!bench.send(0x40, false));
    bench.write(0xf0, 0x1ff);
    assert!(bench.send(0x40, false));
    bench.write(0xd0, 0x0200_0000);
    let message = |destination, logical| {
        bench.lapic.deliver(InterruptMessage {
            destination,
            logical,
            mode: DeliveryMode::LowestPriority,
            vector: 0x41,
            level: false,
        })
    };
    let taken = [
        message(0, false),
        message(1, false),
        message(0xff, false),
        message(6, true),
        message(4, true),
    ];
    assert_eq!(taken, [true, false, true, true, false]);
    bench.write(0xe0, 0x0fff_ffff);
    bench.write(0xd0, 0x3200_0000);
    let taken = [
        message(0x36, true),
        message(0x26, true),
        message(0x34, true),
        message(0xff, true),
    ];
    assert_eq!(taken, [true, false, false, true], "clusters");
}

#[test]
fn a_message_signalled_interrupt_is_a_write_outside_of_the_registers() {
    let bench = Bench::on();
    bench.write(0, 0x61);
    assert_eq!(
        bench.interrupt(),
        Some(0x61),
        "destination 0 is the first 16 bytes"
    );
    bench.write(0xf_f000, 0x71);
    assert_eq!(bench.interrupt(), Some(0x71), "all");
    bench.write(0x1000, 0x81);
    assert_eq!(bench.interrupt(), None, "another APIC");
}

#[test]
fn it_sends_to_itself() {
    let bench = Bench::on();
    bench.write(ICR, 0x0004_0045);
    assert_eq!(bench.interrupt(), Some(0x45));
    bench.write(ICR, 0x0008_0065);
    assert_eq!(bench.interrupt(), Some(0x65));
    bench.write(ICR, 0x000c_0075);
    assert_eq!(bench.interrupt(), None, "all but itself");
    bench.write(0x310, 0x0100_0000);
    bench.write(ICR, 0x0000_0075);
    assert_eq!(bench.interrupt(), None, "another one");
    bench.write(0x310, 0);
    bench.write(ICR, 0x0000_0075);
    assert_eq!((bench.interrupt(), bench.read(ICR)), (Some(0x75), 0x75));
    bench.write(ICR, 0x0004_0400);
    bench.write(ICR, 0x0004_8500);
    assert_eq!(
        bench.control.signals(),
        Signals::NMI,
        "INIT level de-assert does nothing"
    );
    bench.write(ICR, 0x0000_4500);
    assert!(bench.control.signals().contains(Signals::INIT));
    assert_eq!(bench.read(0xf0), 0xff);
}

#[test]
fn errors_are_shown_by_a_write_and_may_interrupt() {
    let bench = Bench::on();
    bench.write(0x370, 0xfe);
    bench.write(ICR, 0x0004_0005);
    assert_eq!(bench.interrupt(), Some(0xfe));
    assert_eq!(bench.read(ESR), 0);
    bench.write(ESR, 0);
    assert_eq!(bench.read(ESR), 0x20, "send illegal vector");
    bench.send(3, false);
    bench.read(0x3f0);
    bench.write(ESR, 0);
    assert_eq!(bench.read(ESR), 0xc0, "received illegal vector, illegal register");
    bench.write(ESR, 0);
    assert_eq!(bench.read(ESR), 0);
}

#[test]
fn the_timer_interrupts_once_or_again_and_again() {
    let bench = Bench::on();
    bench.write(0x3e0, 0b1011);
    bench.write(0x320, 0x40);
    bench.write(0x380, 50_000);
    bench.advance(20_000);
    assert_eq!((bench.read(0x390), bench.interrupt()), (30_000, None));
    bench.advance(30_000);
    assert_eq!((bench.read(0x390), bench.interrupt()), (0, Some(0x40)));
    bench.write(EOI, 0);
    bench.advance(100_000);
    assert_eq!((bench.interrupt(), bench.timers.deadline()), (None, None));
    bench.write(0x320, 0x2_0040);
    bench.write(0x380, 50_000);
    for _ in 0..3 {
        bench.advance(50_000);
        assert_eq!(bench.interrupt(), Some(0x40));
        bench.write(EOI, 0);
    }
    bench.write(0x320, 0x3_0040);
    assert_eq!(bench.timers.deadline(), None, "masked");
    bench.advance(130_000);
    assert_eq!(bench.read(0x390), 20_000, "and goes on");
    bench.write(0x320, 0x2_0040);
    assert_eq!(bench.interrupt(), None, "what was masked is lost");
    bench.write(0x380, 0);
    assert_eq!(bench.timers.deadline(), None);
}

#[test]
fn apic_base_can_be_switched_off_but_not_moved() {
    let bench = Bench::on();
    for refused in [0xfec0_0900, 0xfee0_0d00, 0xfee0_0901, 0x1_fee0_0900] {
        assert!(!bench.cpu.set_apic_base(refused), "{refused:#x}");
    }
    bench.send(0x40, false);
    assert!(bench.cpu.set_apic_base(0xfee0_0100));
    assert!(!bench.intr() && !bench.send(0x40, false));
    assert_eq!(bench.read(0x20), u32::MAX, "nobody answers");
    assert!(bench.cpu.set_apic_base(0xfee0_0900));
    assert_eq!(bench.read(0xf0), 0xff, "as after power-on");
}

#[test]
fn a_part_of_a_register_can_be_read() {
    let bench = Bench::on();
    let read = |offset, size| MemoryRegionOps::read(&*bench.lapic, offset, size, MemTxAttrs::UNSPECIFIED);
    assert_eq!((read(0x32, 1), read(0x34, 4)), (Ok(5), Ok(0)));
}

proptest! {
    #[test]
    fn whatever_a_guest_does_intr_means_that_there_is_a_vector(
        steps in vec((0..5_u8, 0..0x40_u64, any::<u32>(), any::<u8>(), 0..1_u64 << 34), 0..80),
    ) {
        let bench = Bench::on();
        for (kind, register, value, byte, time) in steps {
            match kind {
                0 => drop(bench.read(register * 16)),
                1 => bench.write(register * 16, value),
                2 => drop(bench.send(byte, value & 1 != 0)),
                3 => bench.lapic.set_irq(u32::from(byte & 1), value & 1 != 0),
                _ => bench.advance(time),
            }
            prop_assert!(bench.control.deadline() > bench.timers.now() || kind != 4);
            // Whoever drives LINT0 here is not the 8259A, whose spurious vector is 7.
            if bench.intr() && byte & 3 == 0 {
                let vector = bench.cpu.acknowledge();
                prop_assert!(vector.is_some_and(|vector| vector == 7 || vector >= 16));
            }
        }
    }
}
