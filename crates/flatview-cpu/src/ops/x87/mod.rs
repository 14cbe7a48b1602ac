//! The x87 (Intel SDM vol. 1, chapter 8).
//!
//! [`ext`] is its numbers, [`rounding`] its arithmetic; [`compute`] what is computed, [`moves`] what is loaded and stored, [`control`] its
//! environment. Exceptions are noted in the status word and answered as if masked: there is no #MF. Transcendental
//! functions have the precision of the host's.

pub(crate) mod compute;
pub(crate) mod control;
pub(crate) mod ext;
pub(crate) mod moves;
pub(crate) mod rounding;

use flatview_accel::Fpu;

use super::Op;
use crate::exec::{CR0_EM, CR0_TS, Exec, Fault, NM};
use crate::int::low16;
use ext::{Ext, IE};
use rounding::Rounding;

/// The stack fault, in the status word.
const SF: u16 = 1 << 6;
/// Condition codes.
pub(crate) const C0: u16 = 1 << 8;
pub(crate) const C1: u16 = 1 << 9;
pub(crate) const C2: u16 = 1 << 10;
pub(crate) const C3: u16 = 1 << 14;
/// Where the top of the stack is, in the status word.
const TOP: u16 = 7 << 11;

/// The state of the x87.
#[derive(Clone, Debug)]
pub(crate) struct X87 {
    pub(crate) control: u16,
    pub(crate) status: u16,
    /// One bit for each register that is not empty, by the registers' own numbers.
    pub(crate) tags: u8,
    /// By their own numbers.
    pub(crate) registers: [Ext; 8],
    pub(crate) last: Last,
}

/// The last instruction that was not one of control, as the state says that it was: those that are executed here do
/// not come here, and programs see zeros.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Last {
    opcode: u16,
    ip: u64,
    dp: u64,
}

impl X87 {
    pub(crate) fn from_state(fpu: &Fpu) -> X87 {
        let mut x87 = X87 {
            control: fpu.fcw,
            status: fpu.fsw,
            tags: fpu.ftwx,
            registers: [Ext::zero(false); 8],
            last: Last {
                opcode: fpu.last_opcode,
                ip: fpu.last_ip,
                dp: fpu.last_dp,
            },
        };
        for (index, bytes) in (0..).zip(fpu.fpr) {
            let number = x87.number(index);
            x87.registers[number] = Ext::from_bits(u128::from_le_bytes(bytes));
        }
        x87
    }

    /// Puts the registers where others see them.
    pub(crate) fn to_state(&self, fpu: &mut Fpu) {
        (fpu.fcw, fpu.fsw, fpu.ftwx) = (self.control, self.status, self.tags);
        (fpu.last_opcode, fpu.last_ip, fpu.last_dp) = (self.last.opcode, self.last.ip, self.last.dp);
        for (index, bytes) in (0..).zip(&mut fpu.fpr) {
            *bytes = self.registers[self.number(index)].to_bits().to_le_bytes();
        }
    }

    /// The number of the register at the top.
    pub(crate) fn top(&self) -> u16 {
        (self.status & TOP) >> 11
    }

    pub(crate) fn set_top(&mut self, top: u16) {
        self.status = self.status & !TOP | (top & 7) << 11;
    }

    /// The number of register ST(`index`).
    pub(crate) fn number(&self, index: u8) -> usize {
        usize::from((self.top() + u16::from(index)) & 7)
    }

    fn is_empty(&self, index: u8) -> bool {
        self.tags >> self.number(index) & 1 == 0
    }

    fn set_condition(&mut self, codes: u16) {
        self.status = self.status & !(C0 | C1 | C2 | C3) | codes;
    }

    /// Notes a stack underflow; or an overflow, with C1.
    fn stack_fault(&mut self, is_overflow: bool) {
        self.status = self.status & !C1 | SF | IE | if is_overflow { C1 } else { 0 };
    }

    /// ST(`index`); the "indefinite" value, noted, if it is empty.
    fn read(&mut self, index: u8) -> Ext {
        if self.is_empty(index) {
            self.stack_fault(false);
            return Ext::INDEFINITE;
        }
        self.registers[self.number(index)]
    }

    fn write(&mut self, index: u8, value: Ext) {
        let number = self.number(index);
        self.registers[number] = value;
        self.tags |= 1 << number;
    }

    fn push(&mut self, value: Ext) {
        let overflows = !self.is_empty(7);
        self.set_top(self.top().wrapping_sub(1));
        self.status &= !C1;
        if overflows {
            self.stack_fault(true);
        }
        self.write(0, if overflows { Ext::INDEFINITE } else { value });
    }

    fn pop(&mut self) {
        self.tags &= !(1 << self.number(0));
        self.set_top(self.top() + 1);
    }

    /// How to round what goes into registers.
    fn rounding(&self) -> Rounding {
        Rounding::new(self.control)
    }

    /// Notes what happened.
    fn note(&mut self, rounding: Rounding) {
        self.status = self.status & !C1 | rounding.flags;
    }
}

/// #NM if the x87 is not to be used.
fn check(e: &mut Exec) -> Result<(), Fault> {
    if e.cr0 & (CR0_EM | CR0_TS) != 0 {
        Err(e.raise(NM, None))
    } else {
        Ok(())
    }
}

/// How many registers an operation pops: the low bits of `imm`.
fn pops(op: &Op) -> u16 {
    low16(op.imm) & 3
}
