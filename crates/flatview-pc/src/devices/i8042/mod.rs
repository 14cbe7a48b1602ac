//! The keyboard controller (Intel 8042 with the program of the PS/2; IBM PS/2 Hardware Interface Technical Reference),
//! its keyboard, and its mouse.
//!
//! ```text
//!   keyboard ──(translate)──┐
//!   mouse ──────────────────┤ output buffer ──► port 0x60, IRQ 1 or IRQ 12
//!   the controller's answer ┘
//! ```

mod keyboard;
mod keys;
mod mouse;
mod queue;

use std::sync::{Arc, Mutex, Weak};

use bitflags::bitflags;
use keyboard::Keyboard;
pub use keys::Key;
use mouse::Mouse;

use crate::device::{ResetMut, lock};
use crate::devices::{ByteDevice, Bytes, DeviceRegion};
use crate::irq::IrqLine;
use crate::timer::{Timer, TimerQueue};

#[cfg(test)]
#[path = "i8042_test.rs"]
mod test;

/// Between two strokes, in nanoseconds: guests lose keys that come faster than hands are.
const STROKE: u64 = 20_000_000;

bitflags! {
    /// The status register, port 0x64.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Status: u8 {
        const OUTPUT_FULL = 1;
        const SELF_TEST_PASSED = 1 << 2;
        /// The last byte was a command.
        const COMMAND = 1 << 3;
        const UNLOCKED = 1 << 4;
        /// The output is the mouse's.
        const MOUSE = 1 << 5;
    }

    /// The command byte.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Mode: u8 {
        const KEYBOARD_INTERRUPT = 1;
        const MOUSE_INTERRUPT = 1 << 1;
        const KEYBOARD_DISABLED = 1 << 4;
        const MOUSE_DISABLED = 1 << 5;
        const TRANSLATE = 1 << 6;
    }

    /// The output port.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct OutputPort: u8 {
        /// Low resets the CPU.
        const NOT_RESET = 1;
        const A20 = 1 << 1;
        /// Wires that nobody uses.
        const OTHERS = 0xcc;
        const KEYBOARD_FULL = 1 << 4;
        const MOUSE_FULL = 1 << 5;
    }
}

/// Where the wires of an [`I8042`] lead.
#[derive(Clone, Debug)]
pub struct I8042Lines {
    /// IRQ 1.
    pub keyboard: IrqLine,
    /// IRQ 12.
    pub mouse: IrqLine,
    /// High while the guest wants address bit 20.
    pub a20: IrqLine,
    /// Pulses when the guest wants a reset. Whoever hears it notes it down: the controller is locked.
    pub reset: IrqLine,
}

/// The controller with its keyboard and mouse.
#[derive(Debug)]
pub struct I8042 {
    mode: Mode,
    port: OutputPort,
    self_test_passed: bool,
    /// The command whose data are awaited.
    command: Option<u8>,
    last_was_command: bool,
    /// What the guest can read, and whether it is the mouse's.
    output: Option<(u8, bool)>,
    /// What it read last.
    last: u8,
    /// The controller's answer, waiting for the output buffer.
    answer: Option<(u8, bool)>,
    /// The keyboard said that the next code is of a key that goes up.
    releases: bool,
    keyboard: Keyboard,
    mouse: Mouse,
    lines: I8042Lines,
    timers: Arc<TimerQueue>,
    timer: Timer,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Data,
    Command,
}

impl I8042 {
    /// A controller as after power-on.
    pub fn new(timers: &Arc<TimerQueue>, lines: I8042Lines) -> Arc<Mutex<I8042>> {
        Arc::new_cyclic(|this: &Weak<Mutex<I8042>>| {
            let this = Weak::clone(this);
            let timer = timers.timer(move || {
                if let Some(controller) = this.upgrade() {
                    lock(&controller).scan();
                }
            });
            Mutex::new(I8042 {
                mode: Mode::KEYBOARD_INTERRUPT | Mode::MOUSE_INTERRUPT,
                port: OutputPort::NOT_RESET | OutputPort::A20 | OutputPort::OTHERS,
                self_test_passed: false,
                command: None,
                last_was_command: true,
                output: None,
                last: 0,
                answer: None,
                releases: false,
                keyboard: Keyboard::new(),
                mouse: Mouse::new(),
                lines,
                timers: Arc::clone(timers),
                timer,
            })
        })
    }

    /// `i8042-data`, 1 port at 0x60, and `i8042-cmd`, 1 port at 0x64.
    pub fn regions(this: &Arc<Mutex<I8042>>) -> [DeviceRegion; 2] {
        [
            Bytes::region(this, Part::Data, "i8042-data", 0x60, 1),
            Bytes::region(this, Part::Command, "i8042-cmd", 0x64, 1),
        ]
    }

    /// A key goes down (or up), as soon as the guest has taken the strokes before it, at most 50 a second. Returns false
    /// if 1024 wait already.
    pub fn stroke(&mut self, key: Key, down: bool) -> bool {
        let taken = self.keyboard.stroke(key, down);
        self.wake();
        taken
    }

    /// A key goes down and up. Returns false, and nothing happens, if too many strokes wait.
    pub fn press(&mut self, key: Key) -> bool {
        self.press_with(key, None)
    }

    /// Types a text on a US keyboard. Returns how many of its bytes were typed: it ends at a character that has no key,
    /// and when too many strokes wait.
    pub fn type_text(&mut self, text: &str) -> usize {
        for (at, character) in text.char_indices() {
            let typed = Key::typing(character)
                .is_some_and(|(key, shift)| self.press_with(key, shift.then_some(Key::SHIFT)));
            if !typed {
                return at;
            }
        }
        text.len()
    }

    /// The lights that the guest has switched on: bit 0 scroll lock, bit 1 num lock, bit 2 caps lock.
    pub fn leds(&self) -> u8 {
        self.keyboard.leds
    }

    fn press_with(&mut self, key: Key, with: Option<Key>) -> bool {
        let fits = self.keyboard.room() >= 4;
        if fits {
            let strokes = with.map(|with| (with, true)).into_iter();
            let strokes = strokes.chain([(key, true), (key, false)]);
            for (key, down) in strokes.chain(with.map(|with| (with, false))) {
                self.keyboard.stroke(key, down);
            }
            self.wake();
        }
        fits
    }

    /// Begins with the strokes that wait, unless that has begun.
    fn wake(&mut self) {
        if self.keyboard.has_strokes() && self.timer.deadline().is_none() {
            self.timer.arm(self.timers.now());
        }
    }

    /// It is time for the next stroke.
    fn scan(&mut self) {
        self.keyboard.scan();
        if self.keyboard.has_strokes() {
            self.timer.arm(self.timers.now().saturating_add(STROKE));
        } else {
            self.timer.disarm();
        }
        self.fill();
    }

    /// Fills the output buffer, if it is empty, and sets the interrupts.
    fn fill(&mut self) {
        while self.output.is_none() {
            if let Some(answer) = self.answer.take() {
                self.output = Some(answer);
            } else if let Some(byte) = self.keyboard_byte() {
                self.output = self.translated(byte).map(|byte| (byte, false));
            } else if let Some(byte) = self.mouse_byte() {
                self.output = Some((byte, true));
            } else {
                break;
            }
        }
        self.set_interrupts();
    }

    fn keyboard_byte(&mut self) -> Option<u8> {
        match self.mode.contains(Mode::KEYBOARD_DISABLED) {
            true => None,
            false => self.keyboard.queue.pop(),
        }
    }

    fn mouse_byte(&mut self) -> Option<u8> {
        match self.mode.contains(Mode::MOUSE_DISABLED) {
            true => None,
            false => self.mouse.queue.pop(),
        }
    }

    /// What the guest gets of a byte of the keyboard. The prefix of keys that go up becomes bit 7 of what follows.
    fn translated(&mut self, byte: u8) -> Option<u8> {
        if !self.mode.contains(Mode::TRANSLATE) {
            return Some(byte);
        }
        if byte == keys::RELEASE {
            self.releases = true;
            return None;
        }
        // Another prefix, or an answer, in between changes nothing.
        let code = keys::translate(byte);
        let releases = code < 0x80 && std::mem::take(&mut self.releases);
        Some(if releases { code | 0x80 } else { code })
    }

    fn set_interrupts(&self) {
        let (keyboard, mouse) = match self.output {
            Some((_, mouse)) => (!mouse, mouse),
            None => (false, false),
        };
        let keyboard_enabled = self.mode.contains(Mode::KEYBOARD_INTERRUPT);
        self.lines.keyboard.set(keyboard && keyboard_enabled);
        self.lines
            .mouse
            .set(mouse && self.mode.contains(Mode::MOUSE_INTERRUPT));
    }

    fn status(&self) -> Status {
        let mut status = Status::UNLOCKED;
        status.set(Status::OUTPUT_FULL, self.output.is_some());
        status.set(Status::MOUSE, matches!(self.output, Some((_, true))));
        status.set(Status::SELF_TEST_PASSED, self.self_test_passed);
        status.set(Status::COMMAND, self.last_was_command);
        status
    }

    fn read_data(&mut self) -> u8 {
        if let Some((byte, _)) = self.output.take() {
            self.last = byte;
            // Down before what comes next raises them: the interrupt controller senses edges.
            self.set_interrupts();
            self.fill();
        }
        self.last
    }

    fn write_data(&mut self, value: u8) {
        self.last_was_command = false;
        match self.command.take() {
            Some(0x60) => self.mode = Mode::from_bits_retain(value),
            Some(0xd1) => self.write_port(value),
            Some(0xd2) => self.answer = Some((value, false)),
            Some(0xd3) => self.answer = Some((value, true)),
            Some(0xd4) => {
                self.mode -= Mode::MOUSE_DISABLED;
                self.mouse.write(value);
            }
            // To talk to a device enables it. Other bytes of the controller's memory are not kept.
            None => {
                self.mode -= Mode::KEYBOARD_DISABLED;
                self.keyboard.write(value);
            }
            Some(_) => {}
        }
        self.fill();
    }

    fn write_command(&mut self, command: u8) {
        self.last_was_command = true;
        self.command = None;
        let answer = |value| Some((value, false));
        match command {
            0x20 => self.answer = answer(self.mode.bits()),
            0x21..=0x3f => self.answer = answer(0),
            0x60..=0x7f | 0xd1..=0xd4 => self.command = Some(command),
            0xa7 => self.mode |= Mode::MOUSE_DISABLED,
            0xa8 => self.mode -= Mode::MOUSE_DISABLED,
            0xa9 | 0xab => self.answer = answer(0x00),
            0xaa => {
                self.self_test_passed = true;
                self.answer = answer(0x55);
            }
            0xad => self.mode |= Mode::KEYBOARD_DISABLED,
            0xae => self.mode -= Mode::KEYBOARD_DISABLED,
            // The keyboard is not locked.
            0xc0 => self.answer = answer(0x80),
            0xd0 => {
                let mut port = self.port;
                port.set(OutputPort::KEYBOARD_FULL, matches!(self.output, Some((_, false))));
                port.set(OutputPort::MOUSE_FULL, matches!(self.output, Some((_, true))));
                self.answer = answer(port.bits());
            }
            0xdd => self.set_a20(false),
            0xdf => self.set_a20(true),
            // Pulses those of the low four wires whose bit is 0.
            0xf0..=0xff if command & 1 == 0 => self.lines.reset.pulse(),
            _ => {}
        }
        self.fill();
    }

    fn write_port(&mut self, value: u8) {
        self.port = OutputPort::from_bits_retain(value);
        self.set_a20(self.port.contains(OutputPort::A20));
        if !self.port.contains(OutputPort::NOT_RESET) {
            self.lines.reset.pulse();
        }
    }

    fn set_a20(&mut self, on: bool) {
        self.port.set(OutputPort::A20, on);
        self.lines.a20.set(on);
    }
}

impl ByteDevice for I8042 {
    type Part = Part;

    fn read(&mut self, part: Part, _: u64) -> u8 {
        match part {
            Part::Data => self.read_data(),
            Part::Command => self.status().bits(),
        }
    }

    fn write(&mut self, part: Part, _: u64, value: u8) {
        match part {
            Part::Data => self.write_data(value),
            Part::Command => self.write_command(value),
        }
    }
}

/// Strokes that wait are forgotten, and A20 is open.
impl ResetMut for I8042 {
    fn reset(&mut self) {
        self.mode = Mode::KEYBOARD_INTERRUPT | Mode::MOUSE_INTERRUPT;
        self.port = OutputPort::NOT_RESET | OutputPort::A20 | OutputPort::OTHERS;
        (self.command, self.last_was_command, self.self_test_passed) = (None, true, false);
        (self.output, self.answer, self.releases) = (None, None, false);
        (self.keyboard, self.mouse) = (Keyboard::new(), Mouse::new());
        self.timer.disarm();
        self.set_interrupts();
        self.lines.a20.raise();
    }
}
