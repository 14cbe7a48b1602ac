//! The chips together, as a board maps and wires them, and as a guest sees them: through ports and addresses.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io::sink;
use std::sync::{Arc, Mutex};

use flatview::{AddressSpace, Endianness, MemTxAttrs, Memory, Size, UnassignedIo, Word};
use flatview_accel::{Clock, Control, InterruptSource, Signals};
use flatview_pc::device::lock;
use flatview_pc::devices::{
    Debugcon, DeviceRegion, Hpet, HpetLines, I8042, I8042Lines, Key, Pit, Port92, Rtc, Serial,
};
use flatview_pc::irq::{CpuInterrupts, Gsi, Ioapic, IrqLine, Lapic, Pic};
use flatview_pc::timer::TimerQueue;

const ATTRS: MemTxAttrs = MemTxAttrs::UNSPECIFIED;

struct Board {
    /// Without it nobody answers.
    _machine: Memory,
    io: AddressSpace,
    memory: AddressSpace,
    control: Arc<Control>,
    timers: Arc<TimerQueue>,
    cpu: Arc<CpuInterrupts>,
    keyboard: Arc<Mutex<I8042>>,
    regions: Vec<DeviceRegion>,
}

impl Board {
    fn new() -> Board {
        let control = Arc::new(Control::new(Clock::counted(0)));
        let timers = TimerQueue::new(Arc::clone(&control));
        let lapic = Lapic::new(0, &timers, Arc::clone(&control));
        let pic = Pic::new(IrqLine::new(lapic.clone(), Lapic::LINT0));
        let ioapic = Ioapic::new(lapic.clone());
        let gsi = Gsi::new(Arc::clone(&pic), Arc::clone(&ioapic));
        let line = |pin| IrqLine::new(gsi.clone(), pin);
        let hpet = Hpet::new(
            &timers,
            HpetLines {
                irq_0: line(0),
                irq_8: line(8),
                gsi_2: line(2),
            },
        );
        let pit = Pit::new(&timers, IrqLine::new(hpet.clone(), Hpet::PIT));
        let rtc = Rtc::new(&timers, IrqLine::new(hpet.clone(), Hpet::RTC), 0);
        let serial = Serial::new(line(4), Box::new(sink()));
        let (a20, reset) = (IrqLine::unconnected(), IrqLine::unconnected());
        let port92 = Port92::new(a20.clone(), reset.clone());
        let lines = I8042Lines {
            keyboard: line(1),
            mouse: line(12),
            a20,
            reset,
        };
        let keyboard = I8042::new(&timers, lines);

        let memory = Memory::new();
        let io = memory.region("io").io(0x1_0000, Arc::new(UnassignedIo));
        let system = memory.region("system").container(Size::MAX);
        let mut regions = Vec::new();
        regions.extend(Pic::regions(&pic));
        regions.extend(Pit::regions(&pit));
        regions.extend(Rtc::regions(&rtc));
        regions.extend(I8042::regions(&keyboard));
        regions.push(Serial::region(&serial, 0x3f8));
        regions.push(Debugcon::region(&Debugcon::new(Box::new(sink())), 0x402));
        regions.push(Port92::region(&port92));
        regions.push(Ioapic::region(&ioapic));
        regions.push(Lapic::region(&lapic));
        regions.push(Hpet::region(&hpet));
        memory
            .update(|tx| {
                for (priority, region) in (0..).zip(&regions) {
                    let parent = if region.address < 0x1_0000 { &io } else { &system };
                    let mapped = memory
                        .region(region.name)
                        .io(region.size, Arc::clone(&region.ops));
                    tx.add_subregion_overlap(parent, region.address, &mapped, priority)?;
                }
                Ok(())
            })
            .unwrap();
        Board {
            io: memory.create_address_space("I/O", &io).unwrap(),
            memory: memory.create_address_space("memory", &system).unwrap(),
            _machine: memory,
            cpu: CpuInterrupts::new(lapic, pic),
            control,
            timers,
            keyboard,
            regions,
        }
    }

    fn out<T: Word>(&self, port: u64, value: T) {
        self.io.store(port, value, Endianness::Little, ATTRS).unwrap();
    }

    fn input<T: Word>(&self, port: u64) -> T {
        self.io.load(port, Endianness::Little, ATTRS).unwrap()
    }

    fn write(&self, address: u64, value: u32) {
        self.memory
            .store(address, value, Endianness::Little, ATTRS)
            .unwrap();
    }

    /// 8259A vectors 0x20 and 0x28; `mask` for the master, the slave is masked.
    fn set_up_pic(&self, mask: u8) {
        for (port, vector, cascade) in [(0x20, 0x20, 4), (0xa0, 0x28, 2)] {
            self.out(port, 0x11_u8);
            for value in [vector, cascade, 1_u8] {
                self.out(port + 1, value);
            }
        }
        self.out(0x21, mask);
        self.out(0xa1, 0xff_u8);
    }

    /// Lets time pass as a machine's loop does, and takes interrupts as a guest that ends them at once.
    fn run(&self, nanoseconds: u64) -> Vec<u8> {
        let end = self.timers.now() + nanoseconds;
        let mut taken = Vec::new();
        loop {
            self.timers.run_due();
            while self.control.signals().contains(Signals::INTR) {
                taken.push(self.cpu.acknowledge().unwrap());
                self.out(0x20, 0x20_u8);
                self.write(0xfee0_00b0, 0);
            }
            if self.timers.now() == end {
                return taken;
            }
            self.control.clock().advance_to(self.control.deadline().min(end));
        }
    }
}

#[test]
fn a_board_that_is_dropped_leaves_nothing() {
    let board = Board::new();
    let ops: Vec<_> = board
        .regions
        .iter()
        .map(|region| Arc::downgrade(&region.ops))
        .collect();
    let (keyboard, cpu) = (Arc::downgrade(&board.keyboard), Arc::downgrade(&board.cpu));
    drop(board);
    assert!(ops.iter().all(|ops| ops.strong_count() == 0));
    assert_eq!((keyboard.strong_count(), cpu.strong_count()), (0, 0));
}

#[test]
fn regions_are_where_qemu_has_them() {
    let board = Board::new();
    let names: Vec<String> = board.regions.iter().map(|region| format!("{region:?}")).collect();
    assert_eq!(
        names,
        [
            "pic (0x2 bytes at 0x20)",
            "pic (0x2 bytes at 0xa0)",
            "elcr (0x1 bytes at 0x4d0)",
            "elcr (0x1 bytes at 0x4d1)",
            "pit (0x4 bytes at 0x40)",
            "pcspk (0x1 bytes at 0x61)",
            "rtc (0x2 bytes at 0x70)",
            "rtc-index (0x1 bytes at 0x70)",
            "i8042-data (0x1 bytes at 0x60)",
            "i8042-cmd (0x1 bytes at 0x64)",
            "serial (0x8 bytes at 0x3f8)",
            "isa-debugcon (0x1 bytes at 0x402)",
            "port92 (0x1 bytes at 0x92)",
            "ioapic (0x1000 bytes at 0xfec00000)",
            "apic-msi (0x100000 bytes at 0xfee00000)",
            "hpet (0x400 bytes at 0xfed00000)",
        ]
    );
}

#[test]
fn the_timer_interrupts_through_the_8259a() {
    let board = Board::new();
    board.set_up_pic(0xfe);
    board.out(0x43, 0x34_u8);
    board.out(0x40, 0xa9_u8);
    board.out(0x40, 0x04_u8);
    board.run(0);
    assert_eq!(board.run(10_000_000), [0x20; 10], "1193 clocks are a millisecond");
}

#[test]
fn the_timer_interrupts_through_the_io_apic() {
    let board = Board::new();
    board.set_up_pic(0xff);
    board.write(0xfee0_00f0, 0x1ff);
    board.write(0xfec0_0000, 0x14);
    board.write(0xfec0_0010, 0x31);
    board.out(0x43, 0x34_u8);
    board.out(0x40, 0xa9_u8);
    board.out(0x40, 0x04_u8);
    board.run(0);
    assert_eq!(board.run(10_000_000), [0x31; 10]);
    assert!(board.cpu.set_apic_base(0xfee0_0100));
    assert_eq!(board.run(10_000_000), [0_u8; 0]);
}

#[test]
fn a_key_interrupts_and_is_read() {
    let board = Board::new();
    board.set_up_pic(0xfd);
    lock(&board.keyboard).press(Key::ENTER);
    assert_eq!(board.run(0), [0x21]);
    assert_eq!(board.input::<u8>(0x60), 0x5a);
}

#[test]
fn wide_accesses_are_bytes_at_ports_and_words_in_the_apics() {
    let board = Board::new();
    board.out(0x70, 0x5a0f_u16);
    board.out(0x70, 0x0f_u8);
    assert_eq!(board.input::<u8>(0x71), 0x5a, "index and data");
    assert_eq!(board.input::<u16>(0x70), 0x5aff);
    let load = |address| {
        board
            .memory
            .load::<u32>(address, Endianness::Little, ATTRS)
            .unwrap()
    };
    assert_eq!(load(0xfee0_0030), 0x0005_0014);
    assert_eq!(load(0xfed0_0004), 10_000_000);
    board.write(0xfec0_0000, 1);
    assert_eq!(load(0xfec0_0010), 0x0017_0020);
    let wide: u64 = board.memory.load(0xfee0_0030, Endianness::Little, ATTRS).unwrap();
    assert_eq!(wide, 0x0005_0014);
}
