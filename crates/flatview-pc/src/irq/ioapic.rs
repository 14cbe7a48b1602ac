//! The I/O APIC (Intel 82093AA, datasheet 290566), with the EOI register of version 0x20.

use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use flatview::{MemTxAttrs, MemTxError, MemoryRegionOps};
use flatview_accel::EoiListener;

use crate::device::{Reset, lock};
use crate::devices::DeviceRegion;
use crate::irq::message::Bits;
use crate::irq::{DeliveryMode, InterruptMessage, InterruptSink, LocalApics};

#[cfg(test)]
#[path = "ioapic_test.rs"]
mod test;

/// Inputs.
const PINS: usize = 24;

/// The highest redirection entry, and version 0x20: what QEMU's `pc` reads back.
const VERSION: u32 = 0x0017_0020;

/// An I/O APIC: an [`InterruptSink`] with 24 inputs, whose interrupts go to [`LocalApics`].
///
/// Lines are high when they are active; the polarity of an entry is remembered and has no effect, as in QEMU.
pub struct Ioapic {
    state: Mutex<State>,
    apics: Arc<dyn LocalApics>,
}

#[derive(Debug)]
struct State {
    id: u8,
    /// The register that the window shows.
    select: u8,
    entries: [Entry; PINS],
    lines: [bool; PINS],
}

/// A redirection entry: its low and its high half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    low: u32,
    high: u32,
}

impl Entry {
    fn message(self) -> InterruptMessage {
        let [.., destination] = self.high.to_le_bytes();
        InterruptMessage::new(destination, self.low & Bits::LOGICAL.bits() != 0, self.low)
    }
}

impl Ioapic {
    /// An I/O APIC as after power-on: all inputs are masked. It hears from `apics` when interrupts have ended.
    pub fn new(apics: Arc<dyn LocalApics>) -> Arc<Ioapic> {
        let ioapic = Arc::new(Ioapic {
            state: Mutex::new(State::new([false; PINS])),
            apics,
        });
        let ends: Weak<Ioapic> = Arc::downgrade(&ioapic);
        ioapic.apics.on_eoi(ends);
        ioapic
    }

    /// `ioapic`, 4 KiB at 0xfec00000.
    pub fn region(this: &Arc<Ioapic>) -> DeviceRegion {
        DeviceRegion {
            name: "ioapic",
            address: 0xfec0_0000,
            size: 0x1000,
            ops: Arc::clone(this) as _,
        }
    }
}

impl State {
    fn new(lines: [bool; PINS]) -> State {
        let low = Bits::MASKED.bits();
        State {
            id: 0,
            select: 0,
            entries: [Entry { low, high: 0 }; PINS],
            lines,
        }
    }

    /// Which half of which entry is selected.
    fn selected(&mut self) -> Option<(usize, &mut u32)> {
        let index = usize::from(self.select.checked_sub(0x10)?);
        let entry = self.entries.get_mut(index / 2)?;
        let half = if index % 2 == 0 {
            &mut entry.low
        } else {
            &mut entry.high
        };
        Some((index / 2, half))
    }

    fn read_window(&mut self) -> u32 {
        match self.select {
            0 | 2 => u32::from(self.id) << 24,
            1 => VERSION,
            _ => self.selected().map_or(0, |(_, half)| *half),
        }
    }

    fn write_window(&mut self, value: u32, apics: &dyn LocalApics) {
        if self.select == 0 {
            let [.., id] = value.to_le_bytes();
            self.id = id & 0xf;
        }
        let is_high = self.select % 2 == 1;
        let Some((pin, half)) = self.selected() else {
            return;
        };
        if is_high {
            *half = value & 0xff00_0000;
            return self.tell_pins(apics);
        }
        let keeps = Bits::REMOTE_IRR.bits();
        *half = value & 0x0001_afff | *half & keeps;
        if *half & Bits::LEVEL.bits() == 0 {
            *half &= !keeps;
        }
        self.tell_pins(apics);
        self.sense_level(pin, apics);
    }

    fn tell_pins(&self, apics: &dyn LocalApics) {
        let is_open = |entry: &&Entry| entry.low & Bits::MASKED.bits() == 0;
        let message = |entry: &Entry| Some(entry).filter(is_open).map(|entry| entry.message());
        apics.set_pins(&mut self.entries.iter().map(message));
    }

    fn set_line(&mut self, pin: usize, level: bool, apics: &dyn LocalApics) {
        let rises = level && !self.lines[pin];
        self.lines[pin] = level;
        let low = self.entries[pin].low;
        // An edge on a masked input is lost, says the datasheet.
        if rises && low & (Bits::LEVEL | Bits::MASKED).bits() == 0 {
            self.send(pin, apics);
        }
        self.sense_level(pin, apics);
    }

    /// Sends a level-triggered interrupt if the line is high and the last one has ended.
    fn sense_level(&mut self, pin: usize, apics: &dyn LocalApics) {
        let low = Bits::from_bits_retain(self.entries[pin].low);
        let is_level = low.contains(Bits::LEVEL);
        let waits = low.intersects(Bits::MASKED | Bits::REMOTE_IRR);
        if self.lines[pin] && is_level && !waits && self.send(pin, apics) {
            self.entries[pin].low |= Bits::REMOTE_IRR.bits();
        }
    }

    /// Returns whether somebody took it who will say when it has ended.
    fn send(&self, pin: usize, apics: &dyn LocalApics) -> bool {
        let message = self.entries[pin].message();
        let ends = matches!(message.mode, DeliveryMode::Fixed | DeliveryMode::LowestPriority);
        apics.deliver(message) && ends
    }
}

impl EoiListener for Ioapic {
    fn eoi(&self, vector: u8) {
        let mut state = lock(&self.state);
        for pin in 0..PINS {
            let low = state.entries[pin].low;
            let [of, ..] = low.to_le_bytes();
            if of == vector && low & Bits::REMOTE_IRR.bits() != 0 {
                state.entries[pin].low &= !Bits::REMOTE_IRR.bits();
                state.sense_level(pin, &*self.apics);
            }
        }
    }
}

impl InterruptSink for Ioapic {
    fn set_irq(&self, pin: u32, level: bool) {
        if let Some(pin) = usize::try_from(pin).ok().filter(|&pin| pin < PINS) {
            lock(&self.state).set_line(pin, level, &*self.apics);
        }
    }
}

impl Reset for Ioapic {
    fn reset(&self) {
        let mut state = lock(&self.state);
        *state = State::new(state.lines);
        state.tell_pins(&*self.apics);
    }
}

impl MemoryRegionOps for Ioapic {
    fn read(&self, offset: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        let mut state = lock(&self.state);
        Ok(match offset & 0xff {
            0x00 => state.select.into(),
            0x10 => state.read_window().into(),
            _ => 0,
        })
    }

    fn write(&self, offset: u64, size: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        let [low, ..] = value.to_le_bytes();
        match (offset & 0xff, u32::try_from(value)) {
            (0x00, _) => lock(&self.state).select = low,
            (0x10, Ok(value)) if size == 4 => lock(&self.state).write_window(value, &*self.apics),
            (0x40, _) if size == 4 => self.eoi(low),
            _ => {}
        }
        Ok(())
    }
}

impl fmt::Debug for Ioapic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ioapic").field(&lock(&self.state)).finish()
    }
}
