//! The local APIC (Intel SDM vol. 3, chapter 10): that of the machine's one CPU.
//!
//! It is a window of 1 MiB. In the first page the CPU finds its registers (xAPIC mode). A write anywhere else, or at the
//! window's first 16 bytes, is a message-signalled interrupt, as QEMU has it: the registers that they would be are
//! reserved.
//!
//! ```text
//!   8259A ── LINT0 ─┐                       ┌─► INTR ─► the CPU asks for the vector
//!   NMI ──── LINT1 ─┤ local vector table    │
//!   timer, error ───┤        │              ├─► NMI, SMI, INIT
//!   I/O APIC, MSI ──┴─► IRR ─► ISR ─────────┘
//! ```

mod registers;
mod timer;
mod vectors;

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use flatview::{AccessRules, AccessSizes, Endianness, MemTxAttrs, MemTxError, MemoryRegionOps};
use flatview_accel::{Control, EoiListener, Signals};
use registers::{Action, Errors, Lvt, Registers};

use crate::device::{Reset, lock};
use crate::devices::{DeviceRegion, MIN_PERIOD};
use crate::irq::message::Bits;
use crate::irq::{DeliveryMode, InterruptMessage, InterruptSink, LocalApics};
use crate::timer::{Timer, TimerQueue};

#[cfg(test)]
#[path = "lapic_test.rs"]
mod test;

/// Counts of the timer in a second, before they are divided. QEMU's and KVM's run as fast.
const FREQUENCY: u64 = 1_000_000_000;

/// Where the window is, and stays: a guest that moves it gets #GP.
pub const APIC_DEFAULT_BASE: u64 = 0xfee0_0000;

/// Bits of `IA32_APIC_BASE`.
const BASE_BSP: u64 = 1 << 8;
const BASE_ENABLE: u64 = 1 << 11;

/// What a CPU that acknowledges an interrupt gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// This vector.
    Vector(u8),
    /// The 8259A has the vector.
    External,
}

/// The local APIC of the boot processor. An [`InterruptSink`] with two inputs: [`LINT0`](Self::LINT0), for INTR of the
/// 8259A, and [`LINT1`](Self::LINT1), for NMI.
///
/// # Locks
///
/// It has one of its own, and tells the [`Control`] with it held. The I/O APIC hears of ends of interrupts without.
pub struct Lapic {
    state: Mutex<State>,
    control: Arc<Control>,
    timers: Arc<TimerQueue>,
    ends: OnceLock<Weak<dyn EoiListener>>,
}

struct State {
    registers: Registers,
    initial_id: u8,
    base: u64,
    lint: [bool; 2],
    /// An ExtINT came as a message.
    external: bool,
    timer: Timer,
    /// Up to when the timer was looked at.
    looked: u64,
}

impl Lapic {
    /// The input that INTR of the 8259A goes to.
    pub const LINT0: u32 = 0;
    /// The input for NMI.
    pub const LINT1: u32 = 1;

    /// A local APIC with this id, as after power-on, that tells `control` of its interrupts.
    pub fn new(id: u8, timers: &Arc<TimerQueue>, control: Arc<Control>) -> Arc<Lapic> {
        Arc::new_cyclic(|this: &Weak<Lapic>| {
            let this = Weak::clone(this);
            let timer = timers.timer(move || {
                if let Some(lapic) = this.upgrade() {
                    lapic.change(State::run_timer);
                }
            });
            Lapic {
                state: Mutex::new(State {
                    registers: Registers::new(id),
                    initial_id: id,
                    base: APIC_DEFAULT_BASE | BASE_ENABLE | BASE_BSP,
                    lint: [false; 2],
                    external: false,
                    timer,
                    looked: 0,
                }),
                control,
                timers: Arc::clone(timers),
                ends: OnceLock::new(),
            }
        })
    }

    /// `apic-msi`, 1 MiB at 0xfee00000. QEMU's `pc` maps it with priority 0x1000.
    pub fn region(this: &Arc<Lapic>) -> DeviceRegion {
        DeviceRegion {
            name: "apic-msi",
            address: APIC_DEFAULT_BASE,
            size: 0x10_0000,
            ops: Arc::clone(this) as _,
        }
    }

    /// The CPU takes the interrupt of the highest priority.
    pub(crate) fn acknowledge(&self) -> Option<Taken> {
        self.change(|state, _| state.acknowledge())
    }

    pub(crate) fn base(&self) -> u64 {
        lock(&self.state).base
    }

    pub(crate) fn set_base(&self, value: u64) -> bool {
        if value & !(BASE_BSP | BASE_ENABLE) != APIC_DEFAULT_BASE {
            return false;
        }
        self.change(|state, _| {
            state.base = value;
            if !state.is_on() {
                state.init();
            }
        });
        true
    }

    pub(crate) fn task_priority(&self) -> u8 {
        lock(&self.state).registers.tpr
    }

    pub(crate) fn set_task_priority(&self, value: u8) {
        self.change(|state, _| state.registers.tpr = value);
    }

    /// Changes the state, then tells the CPU whether there is an interrupt.
    fn change<T>(&self, change: impl FnOnce(&mut State, &Lapic) -> T) -> T {
        let mut state = lock(&self.state);
        let result = change(&mut state, self);
        self.control.set(Signals::INTR, state.has_interrupt());
        result
    }

    fn write_register(&self, offset: u32, value: u32) {
        let ended = self.change(|state, lapic| {
            let now = lapic.timers.now();
            let is_timer = matches!(offset, 0x320 | 0x380 | 0x3e0);
            if is_timer {
                state.run_timer(lapic);
            }
            let action = state.registers.write(offset, value, now);
            if let Some(Action::Send(high, low)) = action {
                state.send(high, low, lapic);
            }
            if is_timer {
                state.run_timer(lapic);
            }
            // What is unmasked, or ended, while the line is high.
            state.sense_lint0_level();
            action
        });
        if let (Some(Action::EndOfInterrupt(vector)), Some(ends)) = (ended, self.ends.get())
            && let Some(ends) = ends.upgrade()
        {
            ends.eoi(vector);
        }
    }
}

impl State {
    /// Whether `IA32_APIC_BASE` switches it on. Off, LINT0 and LINT1 are INTR and NMI of the CPU.
    fn is_on(&self) -> bool {
        self.base & BASE_ENABLE != 0
    }

    /// Whether LINT0 asks for the 8259A's vector.
    fn lint0_is_external(&self) -> bool {
        let lvt = self.registers.lvt(Lvt::Lint0);
        !self.is_on() || lvt & Bits::MASKED.bits() == 0 && DeliveryMode::of(lvt) == DeliveryMode::ExtInt
    }

    fn wants_external(&self) -> bool {
        self.external || self.lint[0] && self.lint0_is_external()
    }

    fn has_interrupt(&self) -> bool {
        self.registers.pending().is_some() || self.wants_external()
    }

    fn acknowledge(&mut self) -> Option<Taken> {
        if let Some(vector) = self.registers.acknowledge() {
            return Some(Taken::Vector(vector));
        }
        let external = self.wants_external();
        self.external = false;
        external.then_some(Taken::External)
    }

    fn init(&mut self) {
        self.registers.init();
        self.external = false;
        self.timer.disarm();
    }

    fn deliver(&mut self, message: InterruptMessage, lapic: &Lapic) -> bool {
        if !self.is_on()
            || !self
                .registers
                .is_destination(message.destination, message.logical)
        {
            return false;
        }
        match message.mode {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
                return self.registers.accept(message.vector, message.level);
            }
            mode => self.signal(mode, lapic),
        }
        true
    }

    /// An interrupt without a vector.
    fn signal(&mut self, mode: DeliveryMode, lapic: &Lapic) {
        match mode {
            DeliveryMode::Smi => lapic.control.raise(Signals::SMI),
            DeliveryMode::Nmi => lapic.control.raise(Signals::NMI),
            DeliveryMode::Init => {
                self.init();
                lapic.control.raise(Signals::INIT);
            }
            DeliveryMode::ExtInt => self.external = true,
            // The boot processor waits for no start-up message.
            _ => {}
        }
    }

    /// The interrupt command register was written (Intel SDM vol. 3, 10.6.1).
    fn send(&mut self, high: u32, low: u32, lapic: &Lapic) {
        let [.., destination] = high.to_le_bytes();
        let logical = low & Bits::LOGICAL.bits() != 0;
        let message = InterruptMessage {
            level: false,
            ..InterruptMessage::new(destination, logical, low)
        };
        let destination = match low >> 18 & 3 {
            0 => destination,
            1 | 2 => 0xff,
            // All but this one: there is no other.
            _ => return,
        };
        let has_vector = matches!(message.mode, DeliveryMode::Fixed | DeliveryMode::LowestPriority);
        if has_vector && message.vector < 16 {
            return self.registers.error(Errors::SEND_ILLEGAL_VECTOR);
        }
        let deasserts = low & (Bits::LEVEL | Bits::ASSERT).bits() == Bits::LEVEL.bits();
        if message.mode != DeliveryMode::Init || !deasserts {
            self.deliver(
                InterruptMessage {
                    destination,
                    ..message
                },
                lapic,
            );
        }
    }

    fn set_lint(&mut self, pin: usize, level: bool, lapic: &Lapic) {
        let rises = level && !self.lint[pin];
        self.lint[pin] = level;
        let entry = if pin == 0 { Lvt::Lint0 } else { Lvt::Lint1 };
        if !rises {
            return;
        }
        if !self.is_on() {
            if entry == Lvt::Lint1 {
                lapic.control.raise(Signals::NMI);
            }
            return;
        }
        match self.registers.accept_local(entry) {
            // That is a level: see `wants_external`.
            Some(DeliveryMode::ExtInt) | None => {}
            Some(mode) => self.signal(mode, lapic),
        }
    }

    fn sense_lint0_level(&mut self) {
        let lvt = self.registers.lvt(Lvt::Lint0);
        let level = lvt & Bits::LEVEL.bits() != 0 && DeliveryMode::of(lvt) == DeliveryMode::Fixed;
        if self.lint[0] && self.is_on() && level {
            self.registers.accept_local(Lvt::Lint0);
        }
    }

    fn run_timer(&mut self, lapic: &Lapic) {
        let now = lapic.timers.now();
        let countdown = self.registers.timer;
        if countdown.next_zero(self.looked).is_some_and(|zero| zero <= now) {
            self.registers.accept_local(Lvt::Timer);
        }
        self.looked = now;
        let is_masked = self.registers.lvt(Lvt::Timer) & Bits::MASKED.bits() != 0;
        let soonest = if countdown.is_periodic() {
            now.saturating_add(MIN_PERIOD)
        } else {
            0
        };
        match countdown.next_zero(now) {
            Some(zero) if !is_masked => self.timer.arm(zero.max(soonest)),
            _ => self.timer.disarm(),
        }
    }
}

impl LocalApics for Lapic {
    fn deliver(&self, message: InterruptMessage) -> bool {
        self.change(|state, lapic| state.deliver(message, lapic))
    }

    fn on_eoi(&self, listener: Weak<dyn EoiListener>) {
        // One machine has one I/O APIC.
        let _ = self.ends.set(listener);
    }
}

impl InterruptSink for Lapic {
    fn set_irq(&self, pin: u32, level: bool) {
        if let Some(pin) = usize::try_from(pin).ok().filter(|&pin| pin < 2) {
            self.change(|state, lapic| state.set_lint(pin, level, lapic));
        }
    }
}

impl Reset for Lapic {
    fn reset(&self) {
        self.change(|state, _| {
            state.registers = Registers::new(state.initial_id);
            state.base = APIC_DEFAULT_BASE | BASE_ENABLE | BASE_BSP;
            state.init();
        });
    }
}

impl MemoryRegionOps for Lapic {
    fn read(&self, offset: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        let Some(register) = register(offset) else {
            return Ok(0);
        };
        self.change(|state, lapic| match state.is_on() {
            false => Ok(u32::MAX.into()),
            true => Ok(u64::from(
                state.registers.read(register, lapic.timers.now()) >> (8 * (offset & 3)),
            )),
        })
    }

    fn write(&self, offset: u64, size: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        let (Ok(value), 4) = (u32::try_from(value), size) else {
            return Ok(());
        };
        if !(0x10..0x1000).contains(&offset) {
            self.deliver(InterruptMessage::msi(offset, value));
        } else if let Some(register) = register(offset)
            && lock(&self.state).is_on()
        {
            self.write_register(register, value);
        }
        Ok(())
    }

    /// Registers have 32 bits. Reads of a part of one are allowed; writes of a part do nothing.
    fn access_rules(&self) -> AccessRules {
        let sizes = |max| AccessSizes {
            min: 1,
            max,
            unaligned: false,
        };
        AccessRules {
            valid: Some(sizes(8)),
            implemented: sizes(4),
            endianness: Endianness::Little,
        }
    }
}

/// The register at an offset of the window: each has the first four of 16 bytes.
fn register(offset: u64) -> Option<u32> {
    let register = u32::try_from(offset & !3).ok()?;
    (register < 0x1000 && register % 16 == 0).then_some(register)
}

impl fmt::Debug for Lapic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.state);
        f.debug_struct("Lapic")
            .field("base", &format_args!("{:#x}", state.base))
            .field("registers", &state.registers)
            .finish_non_exhaustive()
    }
}
