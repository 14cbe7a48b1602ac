//! A serial port (National Semiconductor PC16550D, datasheet of June 1995).
//!
//! Characters take no time: what the guest writes is out at once, what comes in is there at once. Whoever sends
//! ([`Serial::send`]) is told how much the FIFO took, and can wait for the guest to read.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bitflags::bitflags;
use flatview::{AccessRules, MemTxAttrs, MemTxError, MemoryRegionOps};

use crate::device::{Reset, lock};
use crate::devices::DeviceRegion;
use crate::devices::regions::BYTES;
use crate::irq::IrqLine;

#[cfg(test)]
#[path = "serial_test.rs"]
mod test;

/// Characters that the receiver holds when its FIFO is on.
const FIFO: usize = 16;

bitflags! {
    /// The interrupt enable register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Ier: u8 {
        const RECEIVED = 1;
        const TRANSMITTER_EMPTY = 1 << 1;
        const LINE_STATUS = 1 << 2;
        const MODEM_STATUS = 1 << 3;
    }

    /// The line status register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Lsr: u8 {
        const DATA_READY = 1;
        const OVERRUN = 1 << 1;
        const THR_EMPTY = 1 << 5;
        const TRANSMITTER_EMPTY = 1 << 6;
    }

    /// The modem control register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Mcr: u8 {
        const DTR = 1;
        const RTS = 1 << 1;
        const OUT1 = 1 << 2;
        const OUT2 = 1 << 3;
        const LOOP = 1 << 4;
    }

    /// The modem status register. Bits 0 to 3 say which of the others have changed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Msr: u8 {
        const CTS = 1 << 4;
        const DSR = 1 << 5;
        const RI = 1 << 6;
        const DCD = 1 << 7;
    }
}

/// What a terminal at the other end drives: QEMU's port with a character device reads 0xb0.
const CONNECTED: Msr = Msr::CTS.union(Msr::DSR).union(Msr::DCD);

/// A 16550A with somebody at the other end.
///
/// The interrupt does not depend on OUT2, as in QEMU. With fewer characters than the FIFO's trigger level the interrupt
/// of the character timeout comes at once.
pub struct Serial {
    state: Mutex<State>,
    room: Condvar,
}

struct State {
    divisor: [u8; 2],
    ier: Ier,
    lcr: u8,
    mcr: Mcr,
    lsr: Lsr,
    msr: u8,
    scratch: u8,
    fifo_enabled: bool,
    trigger: usize,
    received: VecDeque<u8>,
    /// The transmitter ran empty, and the guest has not seen that yet.
    ran_empty: bool,
    irq: IrqLine,
    out: Box<dyn Write + Send>,
}

impl Serial {
    /// A port as after power-on; `irq` is IRQ 4 for the first and the third of a PC, IRQ 3 for the others. What the guest
    /// writes goes to `out`, byte by byte, and is flushed; what `out` fails to take is lost.
    pub fn new(irq: IrqLine, out: Box<dyn Write + Send>) -> Arc<Serial> {
        Arc::new(Serial {
            state: Mutex::new(State {
                divisor: [0x0c, 0],
                ier: Ier::empty(),
                lcr: 0,
                mcr: Mcr::OUT2,
                lsr: Lsr::THR_EMPTY | Lsr::TRANSMITTER_EMPTY,
                msr: CONNECTED.bits(),
                scratch: 0,
                fifo_enabled: false,
                trigger: 1,
                received: VecDeque::with_capacity(FIFO),
                ran_empty: false,
                irq,
                out,
            }),
            room: Condvar::new(),
        })
    }

    /// `serial`, 8 ports at `port`: 0x3f8, 0x2f8, 0x3e8 and 0x2e8 in a PC.
    pub fn region(this: &Arc<Serial>, port: u16) -> DeviceRegion {
        DeviceRegion {
            name: "serial",
            address: port.into(),
            size: 8,
            ops: Arc::clone(this) as _,
        }
    }

    /// Characters for the guest. Returns how many were taken: as many as the receiver has room for, 16 at most, and none
    /// in loopback mode.
    pub fn send(&self, bytes: &[u8]) -> usize {
        let mut state = lock(&self.state);
        let taken = state.room().min(bytes.len());
        state.received.extend(&bytes[..taken]);
        state.update();
        taken
    }

    /// Waits until there is room for characters, or for that long. Returns how many there is room for.
    pub fn wait_for_room(&self, timeout: Duration) -> usize {
        let waits = self
            .room
            .wait_timeout_while(lock(&self.state), timeout, |state| state.room() == 0);
        waits.unwrap_or_else(PoisonError::into_inner).0.room()
    }
}

impl State {
    fn capacity(&self) -> usize {
        if self.fifo_enabled { FIFO } else { 1 }
    }

    fn room(&self) -> usize {
        match self.mcr.contains(Mcr::LOOP) {
            true => 0,
            false => self.capacity().saturating_sub(self.received.len()),
        }
    }

    fn divisor_access(&self) -> bool {
        self.lcr & 0x80 != 0
    }

    /// The identification of the pending interrupt of the highest priority.
    fn interrupt(&self) -> Option<u8> {
        let errors = self.lsr.contains(Lsr::OVERRUN);
        let has_data = !self.received.is_empty();
        let causes = [
            (Ier::LINE_STATUS, errors, 0x06),
            (
                Ier::RECEIVED,
                has_data && self.received.len() >= self.trigger,
                0x04,
            ),
            (Ier::RECEIVED, has_data, 0x0c),
            (Ier::TRANSMITTER_EMPTY, self.ran_empty, 0x02),
            (Ier::MODEM_STATUS, self.msr & 0x0f != 0, 0x00),
        ];
        let pending = |&&(enable, cause, _): &&(Ier, bool, u8)| cause && self.ier.contains(enable);
        causes.iter().find(pending).map(|&(.., id)| id)
    }

    fn update(&mut self) {
        self.lsr.set(Lsr::DATA_READY, !self.received.is_empty());
        self.irq.set(self.interrupt().is_some());
    }

    fn transmit(&mut self, byte: u8) {
        // The line falls before it rises again, for controllers that sense edges.
        self.ran_empty = false;
        self.update();
        if self.mcr.contains(Mcr::LOOP) {
            if self.received.len() < self.capacity() {
                self.received.push_back(byte);
            } else {
                self.lsr |= Lsr::OVERRUN;
            }
        } else {
            // The guest is not stopped by a terminal that is gone.
            let _ = self.out.write_all(&[byte]).and_then(|()| self.out.flush());
        }
        self.ran_empty = true;
    }

    fn set_mcr(&mut self, value: u8) {
        self.mcr = Mcr::from_bits_truncate(value);
        let inputs = if self.mcr.contains(Mcr::LOOP) {
            let looped = [
                (Mcr::RTS, Msr::CTS),
                (Mcr::DTR, Msr::DSR),
                (Mcr::OUT1, Msr::RI),
                (Mcr::OUT2, Msr::DCD),
            ];
            looped
                .iter()
                .filter(|(output, _)| self.mcr.contains(*output))
                .fold(Msr::empty(), |inputs, &(_, input)| inputs | input)
        } else {
            CONNECTED
        };
        let old = Msr::from_bits_truncate(self.msr);
        let mut changed = (old ^ inputs) - Msr::RI;
        // RI says that it fell.
        changed |= (old - inputs) & Msr::RI;
        self.msr = inputs.bits() | self.msr & 0x0f | changed.bits() >> 4;
    }

    /// The FIFO control register.
    fn set_fcr(&mut self, value: u8) {
        let enabled = value & 1 != 0;
        if value & 2 != 0 || enabled != self.fifo_enabled {
            self.received.clear();
        }
        self.fifo_enabled = enabled;
        self.trigger = match value >> 6 {
            _ if !enabled => 1,
            0 => 1,
            1 => 4,
            2 => 8,
            _ => 14,
        };
    }

    fn read(&mut self, offset: u64) -> u8 {
        match offset {
            0 | 1 if self.divisor_access() => self.divisor[usize::from(offset == 1)],
            0 => self.received.pop_front().unwrap_or(0),
            1 => self.ier.bits(),
            2 => {
                let id = self.interrupt();
                if id == Some(0x02) {
                    self.ran_empty = false;
                }
                id.unwrap_or(0x01) | if self.fifo_enabled { 0xc0 } else { 0 }
            }
            3 => self.lcr,
            4 => self.mcr.bits(),
            5 => {
                let lsr = self.lsr;
                self.lsr -= Lsr::OVERRUN;
                lsr.bits()
            }
            6 => {
                let msr = self.msr;
                self.msr &= 0xf0;
                msr
            }
            _ => self.scratch,
        }
    }

    fn write(&mut self, offset: u64, value: u8) {
        match offset {
            0 | 1 if self.divisor_access() => self.divisor[usize::from(offset == 1)] = value,
            0 => self.transmit(value),
            1 => {
                let was = self.ier;
                self.ier = Ier::from_bits_truncate(value);
                // The transmitter is empty: the interrupt comes when it is enabled.
                self.ran_empty |= (self.ier - was).contains(Ier::TRANSMITTER_EMPTY);
            }
            2 => self.set_fcr(value),
            3 => self.lcr = value,
            4 => self.set_mcr(value),
            7 => self.scratch = value,
            _ => {}
        }
    }
}

impl MemoryRegionOps for Serial {
    fn read(&self, offset: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        let mut state = lock(&self.state);
        let value = state.read(offset);
        state.update();
        self.room.notify_all();
        Ok(value.into())
    }

    fn write(&self, offset: u64, _: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        let [value, ..] = value.to_le_bytes();
        let mut state = lock(&self.state);
        state.write(offset, value);
        state.update();
        self.room.notify_all();
        Ok(())
    }

    fn access_rules(&self) -> AccessRules {
        BYTES
    }
}

impl Reset for Serial {
    fn reset(&self) {
        let mut state = lock(&self.state);
        for (register, value) in [
            (3, 0x80),
            (0, 0x0c),
            (1, 0),
            (3, 0),
            (1, 0),
            (2, 2),
            (4, 8),
            (7, 0),
        ] {
            state.write(register, value);
        }
        (state.ran_empty, state.msr) = (false, CONNECTED.bits());
        state.lsr = Lsr::THR_EMPTY | Lsr::TRANSMITTER_EMPTY;
        state.update();
        self.room.notify_all();
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.state);
        f.debug_struct("Serial")
            .field("ier", &state.ier)
            .field("lcr", &format_args!("{:#x}", state.lcr))
            .field("mcr", &state.mcr)
            .field("lsr", &state.lsr)
            .field("msr", &format_args!("{:#x}", state.msr))
            .field("received", &state.received)
            .field("irq", &state.irq)
            .finish_non_exhaustive()
    }
}
