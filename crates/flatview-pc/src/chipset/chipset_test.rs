#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::{Arc, Mutex};

use flatview::{AddressRange, AddressSpace, Endianness, MemTxAttrs, Memory, RamBlock, Region, Size};
use flatview_accel::{Clock, Control, Signals};

use super::*;
use crate::device::{Reset, lock};
use crate::firmware::{ACPI_DISABLE, ACPI_ENABLE};
use crate::irq::{InterruptSink, IrqLine};
use crate::pci::{PciFunction, PciSpaces};
use crate::request::{Request, Requests};
use crate::timer::TimerQueue;
use crate::trace::{Causes, MapTrace, Shown};

const ATTRS: MemTxAttrs = MemTxAttrs::UNSPECIFIED;

struct Board {
    spaces: PciSpaces,
    memory: AddressSpace,
    smm: AddressSpace,
    bridge: Arc<PciFunction>,
}

/// 2 MiB of RAM that say `R` everywhere; behind them PCI with a ROM of `P` from 0xa0000 to 0xfffff.
fn board() -> Board {
    let machine = Memory::new();
    let system = machine.region("system").container(Size::MAX);
    let pci = machine.region("pci").container(Size::MAX);
    let io = machine.region("io").container(0x1_0000u64);
    let block = RamBlock::anonymous(0x20_0000).unwrap();
    block
        .window(0, 0x20_0000)
        .unwrap()
        .fill(0, b'R', 0x20_0000)
        .unwrap();
    let rom = RamBlock::anonymous(0x6_0000).unwrap();
    rom.window(0, 0x6_0000).unwrap().fill(0, b'P', 0x6_0000).unwrap();
    let ram = machine.region("pc.ram").ram(block);
    let rom = machine.region("rom").rom(rom);
    machine
        .update(|tx| {
            tx.add_subregion(&system, 0, &ram)?;
            tx.add_subregion_overlap(&system, 0, &pci, -1)?;
            tx.add_subregion(&pci, 0xa_0000, &rom)
        })
        .unwrap();
    let pci_space = machine.create_address_space("pci", &pci).unwrap();
    let map = Arc::new(MemoryMap::new(&machine, &system, &ram, (&pci, &pci_space)).unwrap());
    let spaces = PciSpaces {
        memory: pci,
        io,
        system: system.clone(),
        causes: Arc::new(Causes::default()),
        machine: machine.clone(),
    };
    let bridge = I440fx::function(&spaces, &map, 0x20_0000).unwrap();
    bridge.reset();
    Board {
        memory: machine.create_address_space("memory", &system).unwrap(),
        smm: map.smm_space(&machine, &system).unwrap(),
        bridge,
        spaces,
    }
}

fn byte(space: &AddressSpace, address: u64) -> u8 {
    space.load(address, Endianness::Little, ATTRS).unwrap_or(0)
}

/// Rules Y3 and Y4, for each window and mode: who is read, and who gets a write.
#[test]
fn each_pam_window_has_its_nibble_and_four_modes() {
    for (number, (start, size)) in Pam::windows().enumerate() {
        for mode in 0..4_u8 {
            let board = board();
            let register = Pam::FIRST + u8::try_from(number.div_ceil(2)).unwrap();
            let nibble = if number % 2 == 0 { mode << 4 } else { mode };
            board.bridge.write_config(register, 1, nibble.into());
            for address in [start, start + size - 1] {
                let read = if mode & 1 == 0 { b'P' } else { b'R' };
                assert_eq!(byte(&board.memory, address), read, "{address:#x} in mode {mode}");
                let _ = board.memory.store(address, b'w', Endianness::Little, ATTRS);
                board.bridge.write_config(register, 1, 0x33);
                let written = if mode & 2 == 0 { b'R' } else { b'w' };
                assert_eq!(
                    byte(&board.memory, address),
                    written,
                    "{address:#x} in mode {mode}"
                );
                board.bridge.write_config(register, 1, nibble.into());
            }
            for neighbour in [start - 1, start + size] {
                let of_ram = neighbour >= 0x10_0000;
                assert_eq!(byte(&board.memory, neighbour), if of_ram { b'R' } else { b'P' });
            }
        }
    }
}

#[test]
fn smram_is_open_closed_and_for_system_management_mode_only() {
    let board = board();
    // (register, everybody sees RAM, system management mode sees RAM)
    for (smram, open, smm) in [
        (0x02, b'P', b'P'),
        (0x4a, b'R', b'R'),
        (0x0a, b'P', b'R'),
        (0x40, b'R', b'R'),
    ] {
        board.bridge.write_config(0x72, 1, smram);
        let seen = (byte(&board.memory, 0xa_0000), byte(&board.smm, 0xb_ffff));
        assert_eq!(seen, (open, smm), "{smram:#x}");
    }
    board.bridge.reset();
    assert_eq!(
        (byte(&board.memory, 0xa_0000), byte(&board.smm, 0xa_0000)),
        (b'P', b'P')
    );
}

#[test]
fn the_trace_says_which_register_write_changed_what() {
    let board = board();
    let changes: Arc<Mutex<Vec<_>>> = Arc::default();
    let seen = Arc::clone(&changes);
    let trace = MapTrace::new(&board.spaces.causes, move |change| {
        lock(&seen).push(change.clone())
    });
    let _registration = board.memory.register(trace).unwrap();
    board.bridge.write_config(0x59, 1, 0x30);
    board.bridge.write_config(0x59, 1, 0x30);
    let changes = lock(&changes);
    let [start, change] = &changes[..] else {
        panic!("{changes:#x?}")
    };
    assert_eq!((start.number, start.cause.as_deref()), (1, None));
    assert_eq!(
        change.cause.as_deref(),
        Some("PCI 00:00.0 i440FX writes PAM (0x59): 0x30")
    );
    let steps = change.steps();
    let [step] = &steps[..] else { panic!("{steps:#x?}") };
    assert_eq!(step.range, AddressRange::new(0xf_0000, 0x1_0000_u64).unwrap());
    let name = |shown: &Option<Shown>| shown.as_ref().map(|shown| shown.name.clone());
    assert_eq!(
        (name(&step.before), name(&step.after)),
        (Some("rom".into()), Some("pc.ram".into()))
    );
}

#[derive(Debug, Default)]
struct Lines(Mutex<[bool; 16]>);

impl InterruptSink for Lines {
    fn set_irq(&self, pin: u32, level: bool) {
        lock(&self.0)[pin as usize] = level;
    }
}

impl Lines {
    fn high(&self) -> Vec<usize> {
        let lines = lock(&self.0);
        (0..16).filter(|&line| lines[line]).collect()
    }
}

#[test]
fn pci_interrupts_go_where_the_routing_registers_say_and_share() {
    let board = board();
    let lines = Arc::new(Lines::default());
    let isa = (0..16).map(|pin| IrqLine::new(lines.clone(), pin)).collect();
    let router = PirqRouter::new(isa);
    let bridge = isa_bridge(&board.spaces, &router).unwrap();
    router.set_irq(0, true);
    assert_eq!(lines.high(), [0; 0], "not routed after power-on");
    bridge.write_config(0x60, 4, 0x80_0a_0b_0a);
    assert_eq!(lines.high(), [10]);
    router.set_irq(2, true);
    router.set_irq(0, false);
    assert_eq!(lines.high(), [10], "PIRQC holds it");
    bridge.write_config(0x62, 1, 11);
    assert_eq!(lines.high(), [11]);
    router.set_irq(2, false);
    assert_eq!(lines.high(), [0; 0]);
    lines.set_irq(9, true);
    bridge.write_config(0x60, 4, 0x09_09_09_09);
    bridge.write_config(0x60, 4, 0x80_80_80_80);
    assert_eq!(
        lines.high(),
        [9],
        "the level of a device that shares the interrupt"
    );
    lines.set_irq(9, false);
    assert_eq!(
        (
            PirqRouter::pirq(1, 0),
            PirqRouter::pirq(2, 0),
            PirqRouter::pirq(0, 0)
        ),
        (0, 1, 3)
    );
}

struct Power {
    /// No device keeps its memory alive.
    _machine: Memory,
    pm: Arc<AcpiPm>,
    ports: AddressSpace,
    function: Arc<PciFunction>,
    control: Arc<Control>,
    timers: Arc<TimerQueue>,
    requests: Requests,
    lines: Arc<Lines>,
}

fn power() -> Power {
    let board = board();
    let control = Arc::new(Control::new(Clock::counted(0)));
    let (timers, requests) = (TimerQueue::new(Arc::clone(&control)), Requests::new(&control));
    let lines = Arc::new(Lines::default());
    let pm = AcpiPm::new(&timers, IrqLine::new(lines.clone(), 9), &requests);
    let function = piix4_pm(&board.spaces, &pm, true).unwrap();
    let machine = &board.spaces.machine;
    let add = |at, region: &Region| {
        machine
            .update(|tx| tx.add_subregion(&board.spaces.io, at, region))
            .unwrap()
    };
    add(
        0xafe0,
        &machine.region("acpi-gpe0").io(4, Arc::new(Gpe0(Arc::clone(&pm)))),
    );
    add(
        0xb2,
        &machine.region("apm-io").io(2, Apm::new(&pm, &control, &function)),
    );
    function.write_config(0x40, 4, 0xb000);
    function.write_config(0x80, 1, 1);
    Power {
        _machine: machine.clone(),
        ports: machine.create_address_space("I/O", &board.spaces.io).unwrap(),
        pm,
        function,
        control,
        timers,
        requests,
        lines,
    }
}

impl Power {
    fn read<T: flatview::Word>(&self, port: u64) -> T {
        self.ports.load(port, Endianness::Little, ATTRS).unwrap()
    }

    fn write<T: flatview::Word>(&self, port: u64, value: T) {
        self.ports.store(port, value, Endianness::Little, ATTRS).unwrap();
    }
}

#[test]
fn the_acpi_timer_counts_and_its_highest_bit_interrupts() {
    let power = power();
    power.control.clock().advance_to(1_000_000_000);
    assert_eq!(power.read::<u32>(0xb008), 3_579_545);
    power.write(0xb002, 1_u16);
    // 2^23 ticks of 3.579545 MHz.
    let overflow = power.timers.deadline().unwrap();
    assert_eq!(overflow, 2_343_484_438);
    power.control.clock().advance_to(overflow);
    power.timers.run_due();
    assert_eq!((power.read::<u16>(0xb000), power.lines.high()), (1, vec![9]));
    assert_eq!(power.read::<u32>(0xb008), 1 << 23);
    power.write(0xb000, 1_u16);
    assert_eq!((power.read::<u16>(0xb000), power.lines.high()), (0, vec![]));
    assert_eq!(power.timers.deadline(), Some(4_686_968_875), "2^24 ticks");
}

#[test]
fn events_interrupt_when_enabled() {
    let power = power();
    power.pm.press_power_button();
    assert!(power.lines.high().is_empty());
    power.write(0xb003, 1_u8);
    assert_eq!((power.lines.high(), power.read::<u16>(0xb002)), (vec![9], 0x100));
    power.write(0xb001, 1_u8);
    assert!(power.lines.high().is_empty());
    power.pm.raise_gpe(3);
    power.write(0xafe2, 8_u16);
    assert_eq!(
        (power.lines.high(), power.read::<u32>(0xafe0)),
        (vec![9], 0x8_0008)
    );
    power.write(0xafe0, 8_u16);
    assert!(power.lines.high().is_empty());
}

#[test]
fn sleeping_in_s5_switches_off() {
    let power = power();
    power.write(0xb004, 0x3c00_u16);
    assert_eq!(power.requests.take(), None, "not a state that is offered");
    power.write(0xb004, 0x2000_u16);
    assert_eq!(power.requests.take(), Some(Request::PowerOff));
    assert_eq!(power.read::<u16>(0xb004), 0, "SLP_EN reads as 0");
    assert!(power.control.signals().contains(Signals::EXIT));
}

#[test]
fn apm_commands_switch_acpi_and_cause_smis_only_when_asked_to() {
    let power = power();
    power.write(0xb2, ACPI_ENABLE);
    assert_eq!(
        (power.read::<u16>(0xb004), power.read::<u8>(0xb2)),
        (1, ACPI_ENABLE)
    );
    assert!(!power.control.signals().contains(Signals::SMI));
    power.function.write_config(0x58, 4, 1 << 25);
    power.write(0xb2, ACPI_DISABLE);
    assert_eq!(power.read::<u16>(0xb004), 0);
    assert!(power.control.signals().contains(Signals::SMI));
}
