//! The pair of interrupt controllers (Intel 8259A, datasheet 231468) with the edge/level registers of the PIIX.
//!
//! ```text
//!   line 0 ─┐                    line 8 ─┐
//!   line 1 ─┤ master             line 9 ─┤ slave
//!   cascade ┤ 0x20, 0x21 ─► INTR   …     ┤ 0xa0, 0xa1 ─► cascade
//!   line 3 ─┤                    line 15 ┘
//!     …     ┘
//! ```

use std::sync::{Arc, Mutex};

use crate::device::{ResetMut, lock};
use crate::devices::{ByteDevice, Bytes, DeviceRegion};
use crate::irq::{InterruptSink, IrqLine};

#[cfg(test)]
#[path = "pic_test.rs"]
mod test;

/// The input of the master that the slave drives.
const CASCADE: u8 = 2;

/// Two 8259A. An [`InterruptSink`] with inputs 0 to 15; input 2 is the cascade and cannot be driven from outside.
///
/// An edge stays requested when its line falls before it is acknowledged, as in QEMU and in KVM; the datasheet's chip
/// forgets it and answers with a spurious interrupt.
#[derive(Debug)]
pub struct Pic {
    master: Chip,
    slave: Chip,
    intr: IrqLine,
}

/// Which registers: those of a chip, or its edge/level register.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Master,
    Slave,
    MasterElcr,
    SlaveElcr,
}

impl Pic {
    /// Two controllers as after power-on: nothing is masked, all inputs sense edges. `intr` is high while there is an
    /// interrupt for the CPU.
    pub fn new(intr: IrqLine) -> Arc<Mutex<Pic>> {
        Arc::new(Mutex::new(Pic {
            master: Chip::new(0xf8),
            slave: Chip::new(0xde),
            intr,
        }))
    }

    /// `pic`, 2 ports at 0x20 (the master) and at 0xa0; `elcr`, 1 port at 0x4d0 and at 0x4d1.
    pub fn regions(this: &Arc<Mutex<Pic>>) -> [DeviceRegion; 4] {
        [
            Bytes::region(this, Part::Master, "pic", 0x20, 2),
            Bytes::region(this, Part::Slave, "pic", 0xa0, 2),
            Bytes::region(this, Part::MasterElcr, "elcr", 0x4d0, 1),
            Bytes::region(this, Part::SlaveElcr, "elcr", 0x4d1, 1),
        ]
    }

    /// The CPU acknowledges an interrupt (INTA): its vector. If no line requests one any more, that is the spurious
    /// interrupt: input 7 of the chip that was asked, and nothing is in service.
    pub fn acknowledge(&mut self) -> u8 {
        let pin = self.master.acknowledge();
        let vector = if pin == Some(CASCADE) {
            let pin = self.slave.acknowledge();
            self.slave.vector(pin)
        } else {
            self.master.vector(pin)
        };
        self.update();
        vector
    }

    fn set_line(&mut self, pin: u32, level: bool) {
        match u8::try_from(pin) {
            Ok(CASCADE) => {}
            Ok(pin @ 0..8) => self.master.set_line(pin, level),
            Ok(pin @ 8..16) => self.slave.set_line(pin - 8, level),
            _ => {}
        }
        self.update();
    }

    /// Carries the slave's request to the master, and the master's to the CPU.
    ///
    /// The cascade is a level here whatever the master senses: the slave's INT falls during INTA and rises again if
    /// there is another request, so the master misses none.
    fn update(&mut self) {
        self.master.cascade = u8::from(self.slave.request().is_some()) << CASCADE;
        self.intr.set(self.master.request().is_some());
    }
}

impl InterruptSink for Mutex<Pic> {
    fn set_irq(&self, pin: u32, level: bool) {
        lock(self).set_line(pin, level);
    }
}

impl ResetMut for Pic {
    fn reset(&mut self) {
        for chip in [&mut self.master, &mut self.slave] {
            let (lines, elcr_mask) = (chip.lines, chip.elcr_mask);
            *chip = Chip {
                lines,
                ..Chip::new(elcr_mask)
            };
        }
        self.update();
    }
}

impl ByteDevice for Pic {
    type Part = Part;

    fn read(&mut self, part: Part, offset: u64) -> u8 {
        let value = match part {
            Part::Master => self.master.read(offset),
            Part::Slave => self.slave.read(offset),
            Part::MasterElcr => self.master.elcr,
            Part::SlaveElcr => self.slave.elcr,
        };
        self.update();
        value
    }

    fn write(&mut self, part: Part, offset: u64, value: u8) {
        match part {
            Part::Master => self.master.write(offset, value),
            Part::Slave => self.slave.write(offset, value),
            Part::MasterElcr => self.master.elcr = value & self.master.elcr_mask,
            Part::SlaveElcr => self.slave.elcr = value & self.slave.elcr_mask,
        }
        self.update();
    }
}

/// What a write to the odd port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expects {
    Mask,
    Icw2,
    Icw3,
    Icw4,
}

/// One 8259A.
#[derive(Debug)]
struct Chip {
    /// The levels of the inputs.
    lines: u8,
    /// Edges that were sensed and not acknowledged.
    edges: u8,
    /// The request of the slave, at its place.
    cascade: u8,
    mask: u8,
    in_service: u8,
    /// Inputs that sense levels.
    elcr: u8,
    elcr_mask: u8,
    /// Bit 3 of ICW1: all inputs sense levels.
    level_triggered: bool,
    /// The input of the highest priority.
    top: u8,
    vector_base: u8,
    expects: Expects,
    wants_icw4: bool,
    single: bool,
    reads_in_service: bool,
    poll: bool,
    special_mask: bool,
    special_fully_nested: bool,
    auto_eoi: bool,
    rotates_at_auto_eoi: bool,
}

impl Chip {
    fn new(elcr_mask: u8) -> Chip {
        Chip {
            lines: 0,
            edges: 0,
            cascade: 0,
            mask: 0,
            in_service: 0,
            elcr: 0,
            elcr_mask,
            level_triggered: false,
            top: 0,
            vector_base: 0,
            expects: Expects::Mask,
            wants_icw4: false,
            single: false,
            reads_in_service: false,
            poll: false,
            special_mask: false,
            special_fully_nested: false,
            auto_eoi: false,
            rotates_at_auto_eoi: false,
        }
    }

    fn levels(&self) -> u8 {
        if self.level_triggered { 0xff } else { self.elcr }
    }

    /// The interrupt request register.
    fn irr(&self) -> u8 {
        let levels = self.levels();
        self.edges & !levels | self.lines & levels | self.cascade
    }

    fn set_line(&mut self, pin: u8, level: bool) {
        let bit = 1 << pin;
        if level {
            self.edges |= bit & !self.lines;
            self.lines |= bit;
        } else {
            self.lines &= !bit;
        }
    }

    fn make_last(&mut self, pin: u8) {
        self.top = (pin + 1) & 7;
    }

    /// How far from the highest priority: 0 to 7.
    fn rank(&self, pin: u8) -> u8 {
        pin.wrapping_sub(self.top) & 7
    }

    /// The one of highest priority among `pins`.
    fn first(&self, pins: u8) -> Option<u8> {
        (0..8)
            .map(|rank| (self.top + rank) & 7)
            .find(|&pin| pins & 1 << pin != 0)
    }

    /// The input whose interrupt would be delivered now.
    fn request(&self) -> Option<u8> {
        let pin = self.first(self.irr() & !self.mask)?;
        let mut hinders = self.in_service;
        if self.special_mask {
            hinders &= !self.mask;
        }
        let Some(served) = self.first(hinders) else {
            return Some(pin);
        };
        // In special fully nested mode the slave may interrupt its own service: it knows the priorities within.
        let nested = self.special_fully_nested && self.cascade != 0 && pin == CASCADE && served == CASCADE;
        (nested || self.rank(pin) < self.rank(served)).then_some(pin)
    }

    /// INTA, or a poll. `None`: spurious.
    fn acknowledge(&mut self) -> Option<u8> {
        let pin = self.request()?;
        let bit = 1 << pin;
        self.edges &= !bit;
        if !self.auto_eoi {
            self.in_service |= bit;
        } else if self.rotates_at_auto_eoi {
            self.make_last(pin);
        }
        Some(pin)
    }

    fn vector(&self, pin: Option<u8>) -> u8 {
        self.vector_base | pin.unwrap_or(7)
    }

    fn read(&mut self, offset: u64) -> u8 {
        if std::mem::take(&mut self.poll) {
            return self.acknowledge().map_or(0, |pin| 0x80 | pin);
        }
        match (offset, self.reads_in_service) {
            (0, false) => self.irr(),
            (0, true) => self.in_service,
            _ => self.mask,
        }
    }

    fn write(&mut self, offset: u64, value: u8) {
        match (offset, value & 0x18) {
            (0, 0x10 | 0x18) => self.icw1(value),
            (0, 0x08) => self.ocw3(value),
            (0, _) => self.ocw2(value),
            _ => self.write_odd(value),
        }
    }

    fn icw1(&mut self, value: u8) {
        *self = Chip {
            lines: self.lines,
            cascade: self.cascade,
            elcr: self.elcr,
            vector_base: self.vector_base,
            level_triggered: value & 8 != 0,
            single: value & 2 != 0,
            wants_icw4: value & 1 != 0,
            expects: Expects::Icw2,
            ..Chip::new(self.elcr_mask)
        };
    }

    fn write_odd(&mut self, value: u8) {
        self.expects = match self.expects {
            Expects::Mask => {
                self.mask = value;
                Expects::Mask
            }
            Expects::Icw2 => {
                self.vector_base = value & 0xf8;
                match (self.single, self.wants_icw4) {
                    (false, _) => Expects::Icw3,
                    (true, true) => Expects::Icw4,
                    (true, false) => Expects::Mask,
                }
            }
            // Who is whose slave is wired.
            Expects::Icw3 if self.wants_icw4 => Expects::Icw4,
            Expects::Icw3 => Expects::Mask,
            Expects::Icw4 => {
                self.special_fully_nested = value & 0x10 != 0;
                self.auto_eoi = value & 2 != 0;
                Expects::Mask
            }
        };
    }

    fn ocw2(&mut self, value: u8) {
        let pin = value & 7;
        match value >> 5 {
            0b000 => self.rotates_at_auto_eoi = false,
            0b100 => self.rotates_at_auto_eoi = true,
            0b001 | 0b101 => {
                // In special mask mode what is masked is not ended without its name.
                let ends = if self.special_mask {
                    self.in_service & !self.mask
                } else {
                    self.in_service
                };
                if let Some(pin) = self.first(ends) {
                    self.in_service &= !(1 << pin);
                    if value & 0x80 != 0 {
                        self.make_last(pin);
                    }
                }
            }
            0b011 => self.in_service &= !(1 << pin),
            0b111 => {
                self.in_service &= !(1 << pin);
                self.make_last(pin);
            }
            0b110 => self.make_last(pin),
            _ => {}
        }
    }

    fn ocw3(&mut self, value: u8) {
        if value & 0x40 != 0 {
            self.special_mask = value & 0x20 != 0;
        }
        self.poll = value & 4 != 0;
        if value & 2 != 0 {
            self.reads_in_service = value & 1 != 0;
        }
    }
}
