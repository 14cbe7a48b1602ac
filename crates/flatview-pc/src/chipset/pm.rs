//! ACPI's fixed hardware: events, control, timer, general-purpose events (ACPI 6.5, 4.8.3 and 4.8.4).

use std::sync::{Arc, Mutex, Weak};

use flatview::{AccessRules, MemTxAttrs, MemTxError, MemoryRegionOps};

use crate::device::{Reset, UP_TO_FOUR_BYTES, lock};
use crate::irq::IrqLine;
use crate::request::{Request, Requests};
use crate::timer::{Timer, TimerQueue};

/// The timer's frequency in Hz (ACPI 6.5, 4.8.3.3).
const FREQUENCY: u128 = 3_579_545;
/// Of PM1 status and enable: the timer's highest bit, 23, has changed.
const TMR: u16 = 1;
/// Of PM1 status and enable: the power button was pressed.
const PWRBTN: u16 = 1 << 8;
/// Of PM1 status and enable: what raises the SCI: timer, global lock, power button, RTC.
const SCI_SOURCES: u16 = TMR | 1 << 5 | PWRBTN | 1 << 10;
/// Of PM1 control: interrupts of power management are SCIs.
const SCI_EN: u16 = 1;
/// Of PM1 control: go to the sleeping state of bits 10 to 12; always reads as 0.
const SLP_EN: u16 = 1 << 13;

/// The fixed hardware, with all of its registers.
#[derive(Debug)]
pub struct AcpiPm {
    state: Mutex<State>,
    sci: IrqLine,
    timers: Arc<TimerQueue>,
    requests: Requests,
}

#[derive(Debug)]
struct State {
    status: u16,
    enable: u16,
    control: u16,
    gpe_status: u16,
    gpe_enable: u16,
    /// When the timer's highest bit changes next, by the guest's clock.
    overflow: u64,
    timer: Option<Timer>,
}

/// The PM1 event registers: 4 bytes, `acpi-evt`.
#[derive(Debug)]
pub struct PmEvents(pub Arc<AcpiPm>);

/// The PM1 control register: 2 bytes, `acpi-cnt`.
#[derive(Debug)]
pub struct PmControl(pub Arc<AcpiPm>);

/// The timer: 4 bytes, `acpi-tmr`.
#[derive(Debug)]
pub struct PmTimer(pub Arc<AcpiPm>);

/// The general-purpose events, block 0: 2 bytes of status and 2 of enables, `acpi-gpe0`.
#[derive(Debug)]
pub struct Gpe0(pub Arc<AcpiPm>);

fn ticks(nanoseconds: u64) -> u64 {
    u64::try_from(u128::from(nanoseconds) * FREQUENCY / 1_000_000_000).unwrap_or(u64::MAX)
}

/// When the timer's bit 23 changes next after `now`.
fn next_overflow(now: u64) -> u64 {
    let next = ((ticks(now) >> 23) + 1) << 23;
    u64::try_from((u128::from(next) * 1_000_000_000).div_ceil(FREQUENCY)).unwrap_or(u64::MAX)
}

impl AcpiPm {
    /// After power-on. `sci` is the system control interrupt, ISA interrupt 9.
    pub fn new(timers: &Arc<TimerQueue>, sci: IrqLine, requests: &Requests) -> Arc<AcpiPm> {
        let pm = Arc::new(AcpiPm {
            state: Mutex::new(State {
                status: 0,
                enable: 0,
                control: 0,
                gpe_status: 0,
                gpe_enable: 0,
                overflow: next_overflow(timers.now()),
                timer: None,
            }),
            sci,
            timers: Arc::clone(timers),
            requests: requests.clone(),
        });
        let weak: Weak<AcpiPm> = Arc::downgrade(&pm);
        let timer = timers.timer(move || {
            if let Some(pm) = weak.upgrade() {
                pm.update(&mut lock(&pm.state));
            }
        });
        lock(&pm.state).timer = Some(timer);
        pm
    }

    /// The guest wrote one of the two commands that FADT names to the APM control port.
    pub fn enable_acpi(&self, on: bool) {
        let mut state = lock(&self.state);
        state.control = if on {
            state.control | SCI_EN
        } else {
            state.control & !SCI_EN
        };
        self.update(&mut state);
    }

    /// Somebody presses the power button.
    pub fn press_power_button(&self) {
        let mut state = lock(&self.state);
        state.status |= PWRBTN;
        self.update(&mut state);
    }

    /// Raises a general-purpose event, 0 to 15.
    pub fn raise_gpe(&self, event: u8) {
        let mut state = lock(&self.state);
        state.gpe_status |= 1u16.checked_shl(event.into()).unwrap_or(0);
        self.update(&mut state);
    }

    /// Brings status, SCI and the overflow timer up to date.
    fn update(&self, state: &mut State) {
        let now = self.timers.now();
        if now >= state.overflow {
            state.status |= TMR;
            state.overflow = next_overflow(now);
        }
        let fixed = state.status & state.enable & SCI_SOURCES != 0;
        self.sci.set(fixed || state.gpe_status & state.gpe_enable != 0);
        let wanted = state.enable & TMR != 0 && state.status & TMR == 0;
        let overflow = state.overflow;
        if let Some(timer) = &mut state.timer {
            match wanted {
                true => timer.arm(overflow),
                false => timer.disarm(),
            }
        }
    }

    fn sleep(&self, control: u16) {
        // The types that DSDT gives: 0 is S5. S3 and S4 are not offered.
        if control & SLP_EN != 0 && control >> 10 & 7 == 0 {
            self.requests.make(Request::PowerOff);
        }
    }
}

impl Reset for AcpiPm {
    fn reset(&self) {
        let mut state = lock(&self.state);
        (state.status, state.enable, state.control) = (0, 0, 0);
        (state.gpe_status, state.gpe_enable) = (0, 0);
        state.overflow = next_overflow(self.timers.now());
        self.update(&mut state);
    }
}

/// `size` bytes from `offset` of a register file.
fn part(registers: u32, offset: u64, size: u32) -> u64 {
    let value = u64::from(registers)
        .checked_shr(8 * u32::try_from(offset).unwrap_or(8))
        .unwrap_or(0);
    value & (u64::MAX >> (64 - 8 * size.clamp(1, 8)))
}

/// The bits that a write of `size` bytes at `offset` covers, and what it puts there.
fn placed(offset: u64, size: u32, value: u64) -> (u32, u32) {
    let shift = 8 * u32::try_from(offset).unwrap_or(8).min(4);
    let mask = (u64::MAX >> (64 - 8 * size.clamp(1, 4))) << shift;
    let low = |value: u64| u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0);
    (low(mask), low(value << shift & mask))
}

fn halves(registers: u32) -> (u16, u16) {
    let [a, b, c, d] = registers.to_le_bytes();
    (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))
}

fn joined(low: u16, high: u16) -> u32 {
    u32::from(low) | u32::from(high) << 16
}

impl MemoryRegionOps for PmEvents {
    fn read(&self, offset: u64, size: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        let mut state = lock(&self.0.state);
        self.0.update(&mut state);
        Ok(part(joined(state.status, state.enable), offset, size))
    }

    fn write(&self, offset: u64, size: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        let (mask, value) = placed(offset, size, value);
        let ((_, enable_mask), (clears, enables)) = (halves(mask), halves(value));
        let mut state = lock(&self.0.state);
        self.0.update(&mut state);
        state.status &= !clears;
        state.enable = state.enable & !enable_mask | enables;
        self.0.update(&mut state);
        Ok(())
    }

    fn access_rules(&self) -> AccessRules {
        UP_TO_FOUR_BYTES
    }
}

impl MemoryRegionOps for PmControl {
    fn read(&self, offset: u64, size: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(part(u32::from(lock(&self.0.state).control), offset, size))
    }

    fn write(&self, offset: u64, size: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        let (mask, value) = placed(offset, size, value);
        let ((mask, _), (value, _)) = (halves(mask), halves(value));
        let mut state = lock(&self.0.state);
        let control = state.control & !mask | value;
        state.control = control & !SLP_EN;
        drop(state);
        self.0.sleep(control);
        Ok(())
    }

    fn access_rules(&self) -> AccessRules {
        UP_TO_FOUR_BYTES
    }
}

impl MemoryRegionOps for PmTimer {
    fn read(&self, offset: u64, size: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        let ticks = u32::try_from(ticks(self.0.timers.now()) & 0xff_ffff).unwrap_or(0);
        Ok(part(ticks, offset, size))
    }

    fn write(&self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        Ok(())
    }

    fn access_rules(&self) -> AccessRules {
        UP_TO_FOUR_BYTES
    }
}

impl MemoryRegionOps for Gpe0 {
    fn read(&self, offset: u64, size: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        let state = lock(&self.0.state);
        Ok(part(joined(state.gpe_status, state.gpe_enable), offset, size))
    }

    fn write(&self, offset: u64, size: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        let (mask, value) = placed(offset, size, value);
        let ((_, enable_mask), (clears, enables)) = (halves(mask), halves(value));
        let mut state = lock(&self.0.state);
        state.gpe_status &= !clears;
        state.gpe_enable = state.gpe_enable & !enable_mask | enables;
        self.0.update(&mut state);
        Ok(())
    }

    fn access_rules(&self) -> AccessRules {
        UP_TO_FOUR_BYTES
    }
}
