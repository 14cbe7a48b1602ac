//! A channel: two drives, the registers they share, the bus master and the interrupt line.

use super::bus_master::{Access, BusMaster, Moved, Next, Outcome};
use super::drive::{Drive, Phase};
use super::task_file::{DEVICE_ALWAYS, DEVICE_DEV, PACKET_SIGNATURE, Status, register};
use crate::irq::IrqLine;

/// Device Control: no interrupts (ATA-6, 7.8).
const N_IEN: u8 = 0x02;
/// Device Control: software reset, for as long as it is set.
const SRST: u8 = 0x04;
/// Device Control: high order byte. The command block shows what was written before.
const HOB: u8 = 0x80;

/// The Command register: EXECUTE DEVICE DIAGNOSTIC, the one that both drives obey (8.11).
const EXECUTE_DEVICE_DIAGNOSTIC: u8 = 0x90;
/// DEVICE RESET: the one that a CD-ROM obeys at any time (8.10).
pub(super) const DEVICE_RESET: u8 = 0x08;

#[derive(Debug)]
pub(super) struct Channel {
    drives: [Option<Drive>; 2],
    /// Which one the Device register selects.
    selected: usize,
    control: u8,
    irq: IrqLine,
    /// What the line was set to last.
    irq_level: bool,
    pub(super) bus_master: BusMaster,
    /// Some thread makes this channel's accesses.
    is_moving: bool,
}

impl Channel {
    pub(super) fn new(drives: [Option<Drive>; 2], irq: IrqLine) -> Channel {
        Channel {
            drives,
            selected: 0,
            control: 0,
            irq,
            irq_level: false,
            bus_master: BusMaster::default(),
            is_moving: false,
        }
    }

    /// Back to the state after power-on.
    pub(super) fn reset(&mut self) {
        (self.control, self.selected) = (0, 0);
        self.bus_master.reset();
        for drive in self.drives.iter_mut().flatten() {
            drive.reset();
            drive.front.file.device = DEVICE_ALWAYS;
        }
        self.update_irq();
    }

    /// The selected drive. Where there is none, nothing drives the cable: reads find zeros, as in QEMU, which no
    /// driver takes for a drive.
    fn drive(&mut self) -> Option<&mut Drive> {
        self.drives[self.selected].as_mut()
    }

    /// How many bytes are on their way.
    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        let drives = self.drives.iter().flatten();
        drives.map(|drive| drive.front.data.capacity()).sum()
    }

    /// What is on the cable besides data.
    pub(super) fn read(&mut self, register: u64) -> u8 {
        let high_order = self.control & HOB != 0;
        let Some(drive) = self.drive() else { return 0 };
        if register == register::STATUS_COMMAND {
            drive.front.interrupt = false;
        }
        let value = drive.front.file.read(register, high_order);
        self.update_irq();
        value
    }

    /// Status, without taking note of the interrupt (7.3).
    pub(super) fn alternate_status(&mut self) -> u8 {
        self.drive()
            .map_or(0, |drive| drive.front.file.read(register::STATUS_COMMAND, false))
    }

    pub(super) fn write(&mut self, register: u64, value: u8) {
        self.control &= !HOB;
        match register {
            register::DATA => {}
            register::STATUS_COMMAND => self.command(value),
            // The registers belong to the drive until the command is done (7.1.2).
            _ if self.drive().is_some_and(|drive| !drive.takes_parameters()) => {}
            _ => {
                for drive in self.drives.iter_mut().flatten() {
                    drive.front.file.write(register, value);
                }
                if register == register::DEVICE {
                    self.selected = usize::from(Drive::selects_slave(value));
                }
            }
        }
        self.update_irq();
    }

    fn command(&mut self, command: u8) {
        if command == EXECUTE_DEVICE_DIAGNOSTIC && self.control & SRST == 0 {
            // Drive 0 answers for both (9.3).
            self.selected = 0;
            self.bus_master.forget();
            for drive in self.drives.iter_mut().flatten() {
                drive.show_signature();
                drive.front.file.device &= !DEVICE_DEV;
            }
            if let Some(first) = &mut self.drives[0] {
                first.front.interrupt = true;
            }
            return;
        }
        let Some(drive) = self.drives[self.selected].as_mut() else {
            return;
        };
        if drive.front.file.status.contains(Status::BSY) {
            return;
        }
        if !drive.takes_parameters() {
            if command != DEVICE_RESET || drive.device.signature() != PACKET_SIGNATURE {
                return;
            }
            self.bus_master.forget();
        }
        drive.command(command);
    }

    pub(super) fn write_control(&mut self, value: u8) {
        let changed = self.control ^ value;
        self.control = value;
        if changed & SRST != 0 {
            self.selected = 0;
            self.bus_master.forget();
            for drive in self.drives.iter_mut().flatten() {
                drive.reset();
                drive.front.file.device = DEVICE_ALWAYS;
                if value & SRST != 0 {
                    drive.front.file.status = Status::BSY;
                }
            }
        }
        self.update_irq();
    }

    pub(super) fn read_data(&mut self) -> u16 {
        let word = self.drive().map_or(0, Drive::read_data);
        self.update_irq();
        word
    }

    pub(super) fn write_data(&mut self, word: u16) {
        if let Some(drive) = self.drive() {
            drive.write_data(word);
        }
        self.update_irq();
    }

    /// The line is that of the selected drive, unless the host wants no interrupts (5.2.9).
    fn update_irq(&mut self) {
        let wanted = self.control & N_IEN == 0
            && self.drives[self.selected]
                .as_ref()
                .is_some_and(|drive| drive.front.interrupt);
        if wanted && !self.irq_level {
            self.bus_master.interrupted();
        }
        if wanted != self.irq_level {
            self.irq_level = wanted;
            self.irq.set(wanted);
        }
    }

    /// The first access of the bus master, if it is started, a drive waits for it, and no other thread is at it.
    pub(super) fn begin_dma(&mut self) -> Option<Access> {
        if self.is_moving {
            return None;
        }
        self.is_moving = true;
        self.next_access()
    }

    /// An access was made. What is next?
    pub(super) fn continue_dma(&mut self, outcome: Outcome) -> Option<Access> {
        let moved = self.bus_master.apply(outcome);
        if let Some(drive) = self.drives[self.selected].as_mut() {
            match moved {
                Moved::Nothing => {}
                Moved::Out(len) => drive.moved(len),
                Moved::In(bytes) => {
                    let front = &mut drive.front;
                    let room = &mut front.data[front.position..];
                    let len = room.len().min(bytes.len());
                    room[..len].copy_from_slice(&bytes[..len]);
                    drive.moved(len);
                }
            }
            if drive.front.phase == Phase::Idle {
                self.bus_master.finish();
            }
        }
        self.next_access()
    }

    fn next_access(&mut self) -> Option<Access> {
        let next = self.find_access();
        if next.is_none() {
            self.is_moving = false;
        }
        self.update_irq();
        next
    }

    fn find_access(&mut self) -> Option<Access> {
        if !self.bus_master.is_active() {
            return None;
        }
        let drive = self.drives[self.selected].as_mut()?;
        let front = &drive.front;
        let rest = &front.data[front.position..];
        let next = match front.phase {
            Phase::DmaIn => self.bus_master.next(Some(rest), rest.len()),
            Phase::DmaOut => self.bus_master.next(None, rest.len()),
            _ => return None,
        };
        match next {
            Next::Access(access) => Some(access),
            Next::Exhausted => {
                drive.cut_short();
                None
            }
        }
    }
}
