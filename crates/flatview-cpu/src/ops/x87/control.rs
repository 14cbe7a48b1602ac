//! The environment of the x87: `FNINIT`, `FLDCW`, `FNSTENV`, `FNSAVE` and their kin.

use super::ext::{Ext, Kind};
use super::{Last, X87, check};
use crate::exec::mem::Access;
use crate::exec::{CR0_MP, CR0_TS, Exec, Fault, Flow, NM, Step, UD};
use crate::int::{Int, low16};
use crate::ops::sse::low64;
use crate::ops::{M, Op, R, Run};

/// The control word after `FNINIT` (Intel SDM vol. 1, 8.1.5).
const CONTROL: u16 = 0x37f;

/// `FNINIT`.
pub(crate) fn fninit(e: &mut Exec, _: &Op) -> Step {
    check(e)?;
    e.x87.finit();
    Ok(Flow::Next)
}

/// `FNCLEX`.
pub(crate) fn fnclex(e: &mut Exec, _: &Op) -> Step {
    check(e)?;
    // Exceptions, the stack fault, busy.
    e.x87.status &= !0x80ff;
    Ok(Flow::Next)
}

/// `FNSTCW`.
pub(crate) fn fnstcw(e: &mut Exec, op: &Op) -> Step {
    check(e)?;
    let control = e.x87.control;
    e.put::<u16, M>(op, control)
}

/// `FLDCW`. Bit 6 is always set.
pub(crate) fn fldcw(e: &mut Exec, op: &Op) -> Step {
    check(e)?;
    e.x87.control = control_word(e.source::<u16, M>(op)?);
    Ok(e.flow)
}

fn control_word(value: u16) -> u16 {
    value & 0x1f7f | 0x40
}

/// `FNSTSW`.
fn fnstsw<const D: u8>(e: &mut Exec, op: &Op) -> Step {
    check(e)?;
    let status = e.x87.status;
    e.put::<u16, D>(op, status)
}

/// The function of `FNSTSW`.
pub(crate) fn fnstsw_run(d: u8) -> Run {
    if d == R { fnstsw::<R> } else { fnstsw::<M> }
}

/// `FWAIT`.
pub(crate) fn fwait(e: &mut Exec, _: &Op) -> Step {
    if e.cr0 & CR0_MP != 0 && e.cr0 & CR0_TS != 0 {
        return Err(e.raise(NM, None));
    }
    Ok(Flow::Next)
}

/// `FINCSTP` (`BY` 1), `FDECSTP` (7).
pub(crate) fn rotate<const BY: u16>(e: &mut Exec, _: &Op) -> Step {
    check(e)?;
    e.x87.set_top(e.x87.top() + BY);
    e.x87.status &= !super::C1;
    Ok(Flow::Next)
}

/// `FFREE`.
pub(crate) fn ffree(e: &mut Exec, op: &Op) -> Step {
    check(e)?;
    e.x87.tags &= !(1 << e.x87.number(op.dst));
    Ok(Flow::Next)
}

/// `EMMS`.
pub(crate) fn emms(e: &mut Exec, _: &Op) -> Step {
    check(e)?;
    e.x87.tags = 0;
    Ok(Flow::Next)
}

impl X87 {
    fn finit(&mut self) {
        (self.control, self.status, self.tags) = (CONTROL, 0, 0);
        self.last = Last::default();
    }

    /// Two bits for each register (Intel SDM vol. 1, 8.1.7).
    fn tag_word(&self) -> u16 {
        (0..8).fold(0, |word, number| {
            let value = self.registers[number];
            let tag = match value.kind() {
                _ if self.tags >> number & 1 == 0 => 3,
                Kind::Zero => 1,
                Kind::Finite { .. } if !value.is_denormal() => 0,
                _ => 2,
            };
            word | tag << (2 * number)
        })
    }

    fn set_tag_word(&mut self, word: u16) {
        self.tags = (0..8).fold(0, |tags, number| {
            tags | u8::from(word >> (2 * number) & 3 != 3) << number
        });
    }
}

/// The address of `size` bytes at the operand in memory, all of which may be accessed.
fn area(e: &mut Exec, op: &Op, size: u64, access: Access) -> Result<u64, Fault> {
    let linear = e.string_address(op.seg, e.offset(op), size, access)?;
    e.probe::<u8>(linear, access)?;
    e.probe::<u8>(e.wrap(linear.wrapping_add(size - 1)), access)?;
    Ok(linear)
}

/// `FNSTENV`; with `ALL` `FNSAVE`, which initialises afterwards. Words of type `T`; what is not known (the last
/// instruction) is 0.
fn store<T: Int, const ALL: bool>(e: &mut Exec, op: &Op) -> Step {
    check(e)?;
    let environment = 7 * T::BYTES;
    let base = area(e, op, environment + if ALL { 80 } else { 0 }, Access::Write)?;
    let x87 = e.x87.clone();
    // With 32 bits the upper half of these is all ones.
    let reserved = if T::BITS == 32 { 0xffff_0000 } else { 0 };
    let words = [
        u64::from(x87.control),
        u64::from(x87.status),
        u64::from(x87.tag_word()),
        0,
        0,
        0,
        0,
    ];
    for (index, word) in (0..).zip(words) {
        let word = if index < 3 { word | reserved } else { word };
        e.store(e.wrap(base.wrapping_add(index * T::BYTES)), T::truncate(word))?;
    }
    if ALL {
        for index in 0..8_u8 {
            let value = x87.registers[x87.number(index)].to_bits();
            let at = base.wrapping_add(environment + 10 * u64::from(index));
            e.store(e.wrap(at), low64(value))?;
            e.store(e.wrap(at.wrapping_add(8)), low16(low64(value >> 64)))?;
        }
        e.x87.finit();
    } else {
        // All exceptions are masked.
        e.x87.control |= 0x3f;
    }
    Ok(e.flow)
}

/// `FLDENV`; with `ALL` `FRSTOR`.
fn load<T: Int, const ALL: bool>(e: &mut Exec, op: &Op) -> Step {
    check(e)?;
    let environment = 7 * T::BYTES;
    let base = area(e, op, environment + if ALL { 80 } else { 0 }, Access::Read)?;
    let mut words = [0; 3];
    for (index, word) in (0..).zip(&mut words) {
        *word = low16(e.load::<T>(e.wrap(base.wrapping_add(index * T::BYTES)))?.widen());
    }
    let mut x87 = e.x87.clone();
    (x87.control, x87.status) = (control_word(words[0]), words[1]);
    x87.set_tag_word(words[2]);
    if ALL {
        for index in 0..8_u8 {
            let at = base.wrapping_add(environment + 10 * u64::from(index));
            let significand = e.load(e.wrap(at))?;
            let exponent = e.load(e.wrap(at.wrapping_add(8)))?;
            let number = x87.number(index);
            x87.registers[number] = Ext {
                exponent,
                significand,
            };
        }
    }
    e.x87 = x87;
    Ok(e.flow)
}

/// The function of `FNSTENV`, `FNSAVE`, `FLDENV`, `FRSTOR`.
pub(crate) fn environment_run(is_store: bool, is_all: bool, size: u8) -> Run {
    match (is_store, is_all, size) {
        (true, false, 2) => store::<u16, false>,
        (true, false, _) => store::<u32, false>,
        (true, true, 2) => store::<u16, true>,
        (true, true, _) => store::<u32, true>,
        (false, false, 2) => load::<u16, false>,
        (false, false, _) => load::<u32, false>,
        (false, true, 2) => load::<u16, true>,
        (false, true, _) => load::<u32, true>,
    }
}

/// All other instructions of the x87.
pub(crate) fn unknown(e: &mut Exec, _: &Op) -> Step {
    check(e)?;
    Err(e.unknown(UD, None))
}
