//! SSE and SSE2 (Intel SDM vol. 1, chapters 10 and 11), without the registers of MMX.
//!
//! [`integer`], [`float`] and [`convert`] are tables: what an instruction makes of two registers. [`moves`] are those
//! that do not compute, [`save`] is `FXSAVE`.
//!
//! Floating point is the host's, rounded to nearest; the rounding of `MXCSR` counts where numbers become integers. All
//! exceptions are masked and their flags are not set.

pub(crate) mod convert;
pub(crate) mod float;
pub(crate) mod integer;
pub(crate) mod moves;
pub(crate) mod save;

use flatview_accel::Fpu;
use iced_x86::Mnemonic;

use super::{M, Op, R, Run};
use crate::exec::mem::Access;
use crate::exec::{CR0_EM, CR0_TS, Exec, Fault, NM, Step};
use crate::int::{Int, low8};

const CR4_OSFXSR: u64 = 1 << 9;

/// The registers.
#[derive(Clone, Debug)]
pub(crate) struct Sse {
    pub(crate) xmm: [u128; 16],
    pub(crate) mxcsr: u32,
}

impl Sse {
    pub(crate) fn from_state(fpu: &Fpu) -> Sse {
        Sse {
            xmm: fpu.xmm.map(u128::from_le_bytes),
            mxcsr: fpu.mxcsr,
        }
    }

    /// Puts the registers where others see them.
    pub(crate) fn to_state(&self, fpu: &mut Fpu) {
        fpu.xmm = self.xmm.map(u128::to_le_bytes);
        fpu.mxcsr = self.mxcsr;
    }

    /// How numbers are rounded: 0 to nearest, 1 down, 2 up, 3 towards zero.
    fn rounding(&self) -> u8 {
        low8(u64::from(self.mxcsr >> 13 & 3))
    }
}

/// An instruction that computes: its name, how many bytes of memory its source has, what it makes of its destination,
/// its source and a third operand: an immediate, or how to round.
pub(crate) type Row = (Mnemonic, u8, fn(u128, u128, u8) -> u128);

impl Exec {
    /// #UD or #NM if SSE is not enabled (Intel SDM vol. 3, 2.5, CR0.TS; 14.1.2).
    pub(crate) fn need_sse(&mut self) -> Result<(), Fault> {
        if self.cr0 & CR0_EM != 0 || self.cr4 & CR4_OSFXSR == 0 {
            return Err(self.ud());
        }
        if self.cr0 & CR0_TS != 0 {
            return Err(self.raise(NM, None));
        }
        Ok(())
    }

    /// The linear address of the operand in memory.
    fn wide_address(&mut self, op: &Op, size: u64, access: Access, aligned: bool) -> Result<u64, Fault> {
        let offset = self.offset(op);
        let linear = self.string_address(op.seg, offset, size, access)?;
        if aligned && !linear.is_multiple_of(16) {
            return Err(self.gp(0));
        }
        Ok(linear)
    }

    /// Loads 4, 8 or 16 bytes of the operand in memory.
    pub(crate) fn load_wide(&mut self, op: &Op, size: u8, aligned: bool) -> Result<u128, Fault> {
        let linear = self.wide_address(op, u64::from(size), Access::Read, aligned)?;
        Ok(match size {
            2 => u128::from(self.load::<u16>(linear)?),
            4 => u128::from(self.load::<u32>(linear)?),
            8 => u128::from(self.load::<u64>(linear)?),
            _ => {
                let low = self.load::<u64>(linear)?;
                let high = self.load::<u64>(self.wrap(linear.wrapping_add(8)))?;
                u128::from(high) << 64 | u128::from(low)
            }
        })
    }

    /// Stores 4, 8 or 16 bytes to the operand in memory.
    pub(crate) fn store_wide(&mut self, op: &Op, size: u8, value: u128, aligned: bool) -> Step {
        let linear = self.wide_address(op, u64::from(size), Access::Write, aligned)?;
        match size {
            4 => self.store(linear, crate::int::low32(low64(value)))?,
            8 => self.store(linear, low64(value))?,
            _ => {
                let high = self.wrap(linear.wrapping_add(8));
                self.probe::<u64>(high, Access::Write)?;
                self.store(linear, low64(value))?;
                self.store(high, low64(value >> 64))?;
            }
        }
        Ok(self.flow)
    }

    /// The source: a register, or memory, which has to be aligned if it is 16 bytes.
    pub(super) fn wide_source<const S: u8>(&mut self, op: &Op, size: u8) -> Result<u128, Fault> {
        if S == R {
            Ok(self.sse.xmm[usize::from(op.src % 16)])
        } else {
            self.load_wide(op, size, size == 16)
        }
    }

    pub(super) fn xmm(&mut self, number: u8) -> &mut u128 {
        &mut self.sse.xmm[usize::from(number % 16)]
    }
}

/// The low 64 bits.
pub(crate) fn low64(value: u128) -> u64 {
    u64::try_from(value & u128::from(u64::MAX)).unwrap_or(0)
}

/// A row of table `T`, `aux`: 0 is [`integer`], 1 is [`float`]; the third operand is `imm`. 2 is [`convert`]; the
/// third operand is how to round.
fn compute<const S: u8, const T: u8>(e: &mut Exec, op: &Op) -> Step {
    e.need_sse()?;
    let (_, size, compute) = table(T)[usize::from(op.aux)];
    let source = e.wide_source::<S>(op, size)?;
    let third = if T == 2 { e.sse.rounding() } else { low8(op.imm) };
    let place = e.xmm(op.dst);
    *place = compute(*place, source, third);
    e.after::<R, S>()
}

/// As `compute`, with an immediate in the place of the source.
fn compute_immediate(e: &mut Exec, op: &Op) -> Step {
    e.need_sse()?;
    let (.., compute) = table(0)[usize::from(op.aux)];
    let place = e.xmm(op.dst);
    *place = compute(*place, u128::from(op.imm), 0);
    e.after::<R, R>()
}

fn table(number: u8) -> &'static [Row] {
    match number {
        0 => integer::TABLE,
        1 => float::TABLE,
        _ => convert::TABLE,
    }
}

/// The function of an instruction that computes; `s` is `R`, `M`, or `I`. It goes by `aux`, which is set.
pub(crate) fn compute_run(mnemonic: Mnemonic, s: u8, op: &mut Op) -> Option<Run> {
    let (number, row) = (0..3).find_map(|number| {
        let row = table(number).iter().position(|row| row.0 == mnemonic)?;
        Some((number, row))
    })?;
    op.aux = low8(row as u64);
    Some(match (s, number) {
        (R, 0) => compute::<R, 0>,
        (R, 1) => compute::<R, 1>,
        (R, _) => compute::<R, 2>,
        (M, 0) => compute::<M, 0>,
        (M, 1) => compute::<M, 1>,
        (M, _) => compute::<M, 2>,
        _ => compute_immediate,
    })
}

/// Replaces the low bits of a register, as many as `T` has.
fn with_low<T: Int>(register: u128, low: u64) -> u128 {
    let mask = (1_u128 << T::BITS) - 1;
    register & !mask | u128::from(low) & mask
}

/// Calls `each` for the lanes of two registers.
fn lanes<T: Int>(a: u128, b: u128, each: impl Fn(T, T) -> T) -> u128 {
    let mut result = 0;
    for lane in 0..128 / T::BITS {
        let at = lane * T::BITS;
        let of = |register: u128| T::truncate(low64(register >> at));
        result |= u128::from(each(of(a), of(b)).widen()) << at;
    }
    result
}
