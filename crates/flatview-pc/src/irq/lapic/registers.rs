//! The registers of a local APIC, and what is pending in it.

use bitflags::bitflags;

use super::timer::Countdown;
use super::vectors::Vectors;
use crate::irq::message::{Bits, DeliveryMode};

/// Version 0x14, with six entries in the local vector table: what QEMU's has.
const VERSION: u32 = 0x0005_0014;

bitflags! {
    /// The error status register (Intel SDM vol. 3, 10.5.3).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct Errors: u32 {
        const SEND_ILLEGAL_VECTOR = 1 << 5;
        const RECEIVE_ILLEGAL_VECTOR = 1 << 6;
        const ILLEGAL_REGISTER = 1 << 7;
    }
}

/// Entries of the local vector table, in the order of their registers from 0x320 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lvt {
    Timer,
    Thermal,
    Performance,
    Lint0,
    Lint1,
    Error,
}

impl Lvt {
    const ALL: [Lvt; 6] = [
        Lvt::Timer,
        Lvt::Thermal,
        Lvt::Performance,
        Lvt::Lint0,
        Lvt::Lint1,
        Lvt::Error,
    ];

    /// The bits that the guest can write.
    fn writable(self) -> u32 {
        match self {
            Lvt::Timer => 0x0003_00ff,
            Lvt::Thermal | Lvt::Performance => 0x0001_07ff,
            Lvt::Lint0 | Lvt::Lint1 => 0x0001_a7ff,
            Lvt::Error => 0x0001_00ff,
        }
    }
}

/// What follows from a write, for those outside of the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The interrupt command register was written: the high and the low half.
    Send(u32, u32),
    /// An interrupt that is level-triggered has ended.
    EndOfInterrupt(u8),
}

/// A local APIC.
#[derive(Debug)]
pub(super) struct Registers {
    pub(super) id: u8,
    pub(super) tpr: u8,
    ldr: u8,
    dfr: u32,
    /// The spurious-interrupt vector register.
    svr: u32,
    irr: Vectors,
    isr: Vectors,
    tmr: Vectors,
    icr: [u32; 2],
    lvt: [u32; 6],
    /// What the guest reads of the errors, and what has come since it wrote the register.
    errors: [Errors; 2],
    pub(super) timer: Countdown,
}

impl Registers {
    /// After power-on or INIT (Intel SDM vol. 3, 10.4.7.1). LINT0 of the boot processor lets the 8259A through, as
    /// QEMU and KVM have it: firmware that knows no APIC gets its interrupts.
    pub(super) fn new(id: u8) -> Registers {
        let mut lvt = [Bits::MASKED.bits(); 6];
        lvt[Lvt::Lint0 as usize] = 0x700;
        Registers {
            id,
            tpr: 0,
            ldr: 0,
            dfr: u32::MAX,
            svr: 0xff,
            irr: Vectors::default(),
            isr: Vectors::default(),
            tmr: Vectors::default(),
            icr: [0; 2],
            lvt,
            errors: [Errors::empty(); 2],
            timer: Countdown::default(),
        }
    }

    /// As after power-on, but for the id.
    pub(super) fn init(&mut self) {
        *self = Registers::new(self.id);
    }

    pub(super) fn lvt(&self, entry: Lvt) -> u32 {
        self.lvt[entry as usize]
    }

    /// Whether the guest switched it on in the spurious-interrupt vector register.
    fn is_enabled(&self) -> bool {
        self.svr & 0x100 != 0
    }

    /// Whether a message is for this APIC (Intel SDM vol. 3, 10.6.2).
    pub(super) fn is_destination(&self, destination: u8, logical: bool) -> bool {
        match (destination, logical, self.dfr >> 28) {
            (0xff, ..) => true,
            (_, false, _) => destination == self.id,
            (_, true, 0xf) => destination & self.ldr != 0,
            (_, true, _) => destination >> 4 == self.ldr >> 4 && destination & self.ldr & 0xf != 0,
        }
    }

    /// An interrupt with a vector arrives. Returns false if it is not taken.
    pub(super) fn accept(&mut self, vector: u8, level: bool) -> bool {
        if vector < 16 {
            self.error(Errors::RECEIVE_ILLEGAL_VECTOR);
        } else if self.is_enabled() {
            self.irr.set(vector, true);
            self.tmr.set(vector, level);
            return true;
        }
        false
    }

    /// The local interrupt `entry` arrives, and is not masked. Returns how, if it has no vector.
    pub(super) fn accept_local(&mut self, entry: Lvt) -> Option<DeliveryMode> {
        let lvt = self.lvt(entry);
        if lvt & Bits::MASKED.bits() != 0 {
            return None;
        }
        let mode = match entry {
            Lvt::Timer | Lvt::Error => DeliveryMode::Fixed,
            _ => DeliveryMode::of(lvt),
        };
        if mode != DeliveryMode::Fixed {
            return Some(mode);
        }
        let level = entry == Lvt::Lint0 && lvt & Bits::LEVEL.bits() != 0;
        let [vector, ..] = lvt.to_le_bytes();
        // An EOI lets a line that is still high in again.
        if level && self.lvt[entry as usize] & Bits::REMOTE_IRR.bits() != 0 {
            return None;
        }
        if level {
            self.lvt[entry as usize] |= Bits::REMOTE_IRR.bits();
        }
        self.accept(vector, level);
        None
    }

    pub(super) fn error(&mut self, error: Errors) {
        if !self.errors[1].contains(error) {
            self.errors[1] |= error;
            let [vector, ..] = self.lvt(Lvt::Error).to_le_bytes();
            // An error vector that is illegal itself has been noted.
            if vector >= 16 {
                self.accept_local(Lvt::Error);
            }
        }
    }

    /// The processor priority register (Intel SDM vol. 3, 10.8.3.1).
    fn ppr(&self) -> u8 {
        let served = self.isr.last().unwrap_or(0) & 0xf0;
        if self.tpr & 0xf0 >= served {
            self.tpr
        } else {
            served
        }
    }

    /// The vector of an interrupt that the CPU is to take.
    pub(super) fn pending(&self) -> Option<u8> {
        self.irr.last().filter(|vector| vector & 0xf0 > self.ppr() & 0xf0)
    }

    /// The CPU takes it.
    pub(super) fn acknowledge(&mut self) -> Option<u8> {
        let vector = self.pending()?;
        self.irr.set(vector, false);
        self.isr.set(vector, true);
        Some(vector)
    }

    /// Ends the interrupt of the highest priority. Returns its vector if the I/O APICs have to know.
    fn end_of_interrupt(&mut self) -> Option<u8> {
        let vector = self.isr.last()?;
        self.isr.set(vector, false);
        let lint0 = &mut self.lvt[Lvt::Lint0 as usize];
        if *lint0 & 0xff == u32::from(vector) {
            *lint0 &= !Bits::REMOTE_IRR.bits();
        }
        self.tmr.contains(vector).then_some(vector)
    }

    /// `offset` is that of the register: a multiple of 16, below 0x1000.
    pub(super) fn read(&mut self, offset: u32, now: u64) -> u32 {
        match offset {
            0x020 => u32::from(self.id) << 24,
            0x030 => VERSION,
            0x080 => self.tpr.into(),
            // Arbitration and remote read are of older processors; EOI is only written.
            0x090 | 0x0b0 | 0x0c0 => 0,
            0x0a0 => self.ppr().into(),
            0x0d0 => u32::from(self.ldr) << 24,
            0x0e0 => self.dfr,
            0x0f0 => self.svr,
            0x100..=0x170 => self.isr.word(offset >> 4),
            0x180..=0x1f0 => self.tmr.word(offset >> 4),
            0x200..=0x270 => self.irr.word(offset >> 4),
            0x280 => self.errors[0].bits(),
            0x300 => self.icr[0],
            0x310 => self.icr[1],
            0x320..=0x370 => self.lvt(Lvt::ALL[(offset as usize - 0x320) >> 4]),
            0x380 => self.timer.initial,
            0x390 => self.timer.current(now),
            0x3e0 => self.timer.divide,
            _ => {
                self.error(Errors::ILLEGAL_REGISTER);
                0
            }
        }
    }

    /// See [`Self::read`].
    pub(super) fn write(&mut self, offset: u32, value: u32, now: u64) -> Option<Action> {
        let [low, .., high] = value.to_le_bytes();
        match offset {
            0x020 => self.id = high,
            0x080 => self.tpr = low,
            0x0b0 => return self.end_of_interrupt().map(Action::EndOfInterrupt),
            0x0d0 => self.ldr = high,
            0x0e0 => self.dfr = value | 0x0fff_ffff,
            0x0f0 => {
                self.svr = value & 0x1ff;
                if !self.is_enabled() {
                    for lvt in &mut self.lvt {
                        *lvt |= Bits::MASKED.bits();
                    }
                }
            }
            0x280 => self.errors = [self.errors[1], Errors::empty()],
            0x300 => {
                self.icr[0] = value & 0x000c_cfff;
                return Some(Action::Send(self.icr[1], self.icr[0]));
            }
            0x310 => self.icr[1] = value & 0xff00_0000,
            0x320..=0x370 => self.write_lvt(Lvt::ALL[(offset as usize - 0x320) >> 4], value, now),
            0x380 => self.timer.begin(value, now),
            0x3e0 => self.timer.set_divide(value, now),
            // Read only.
            0x030 | 0x090 | 0x0a0 | 0x0c0 | 0x100..=0x270 | 0x390 => {}
            _ => self.error(Errors::ILLEGAL_REGISTER),
        }
        None
    }

    fn write_lvt(&mut self, entry: Lvt, value: u32, now: u64) {
        let masked = if self.is_enabled() { 0 } else { Bits::MASKED.bits() };
        let lvt = &mut self.lvt[entry as usize];
        *lvt = *lvt & Bits::REMOTE_IRR.bits() | value & entry.writable() | masked;
        if *lvt & Bits::LEVEL.bits() == 0 {
            *lvt &= !Bits::REMOTE_IRR.bits();
        }
        if entry == Lvt::Timer {
            self.timer.set_periodic(value & 1 << 17 != 0, now);
        }
    }
}
