//! Instructions that the CPU has only as an assistant: its own CPUID does not say that it has them, and #UD is the
//! answer then. Another accelerator's may, and such accelerators leave them to others.

use super::{M, Op, R, Run, bits};
use crate::exec::{Exec, Fault, Flow, Step, is_canonical};
use crate::flags::{AC, ARITHMETIC, CF, ZF};
use crate::int::{Int, low8, low32};
use crate::ops::sse::low64;

pub(crate) const POPCNT: u8 = 0;
pub(crate) const TZCNT: u8 = 1;
pub(crate) const LZCNT: u8 = 2;

/// The polynomial of CRC-32C with its bits reversed (Intel SDM vol. 2, CRC32).
const CRC32C: u32 = 0x82f6_3b78;

fn need_assistant(e: &mut Exec) -> Result<(), Fault> {
    if e.is_assistant { Ok(()) } else { Err(e.ud()) }
}

/// `POPCNT`, `TZCNT`, `LZCNT`. A processor without the latter two ignores their prefix: `BSF` and `BSR`.
fn count<T: Int, const S: u8, const OP: u8>(e: &mut Exec, op: &Op) -> Step {
    if OP == POPCNT {
        need_assistant(e)?;
    } else if !e.is_assistant {
        return bits::scan_run(S, low8(T::BYTES), OP == LZCNT)(e, op);
    }
    let value = e.source::<T, S>(op)?.widen();
    let (count, flags) = match OP {
        POPCNT => (value.count_ones(), 0),
        TZCNT => (value.trailing_zeros().min(T::BITS), CF),
        _ => (value.leading_zeros() - (64 - T::BITS), CF),
    };
    e.set_reg(op.dst, T::truncate(u64::from(count)));
    let is_zero = if OP == POPCNT { value == 0 } else { count == 0 };
    let carry = if value == 0 { flags } else { 0 };
    let zero = if is_zero { ZF } else { 0 };
    e.r.flags.set(e.r.flags.get() & !ARITHMETIC | carry | zero);
    e.after::<R, S>()
}

/// The function of `POPCNT` and its kin.
pub(crate) fn count_run(operation: u8, s: u8, size: u8) -> Run {
    match operation {
        POPCNT => wide_by_place!(s, size, count, POPCNT),
        TZCNT => wide_by_place!(s, size, count, TZCNT),
        _ => wide_by_place!(s, size, count, LZCNT),
    }
}

/// `CRC32`.
fn crc32<T: Int, const S: u8>(e: &mut Exec, op: &Op) -> Step {
    need_assistant(e)?;
    let value = e.source::<T, S>(op)?.widen();
    let mut sum: u32 = e.reg(op.dst);
    for bit in 0..T::BITS {
        let is_odd = (sum ^ low32(value >> bit)) & 1 != 0;
        sum = sum >> 1 ^ if is_odd { CRC32C } else { 0 };
    }
    e.set_reg(op.dst, sum);
    e.after::<R, S>()
}

/// The function of `CRC32`.
pub(crate) fn crc32_run(s: u8, size: u8) -> Run {
    by_place!(s, size, crc32)
}

/// `PSHUFB` with SSE registers: each byte is the one that the source says by its lowest four bits, or 0 if its highest
/// bit is set.
fn pshufb<const S: u8>(e: &mut Exec, op: &Op) -> Step {
    need_assistant(e)?;
    e.need_sse()?;
    let order = e.wide_source::<S>(op, 16)?.to_le_bytes();
    let bytes = e.xmm(op.dst).to_le_bytes();
    let shuffled = order.map(|from| match from {
        0..0x80 => bytes[usize::from(from % 16)],
        _ => 0,
    });
    *e.xmm(op.dst) = u128::from_le_bytes(shuffled);
    e.after::<R, S>()
}

/// The function of `PSHUFB`.
pub(crate) fn pshufb_run(s: u8) -> Run {
    if s == R { pshufb::<R> } else { pshufb::<M> }
}

/// `CLAC`, `STAC`.
pub(crate) fn access_check<const SET: bool>(e: &mut Exec, _: &Op) -> Step {
    need_assistant(e)?;
    if e.mode.cpl != 0 {
        return Err(e.ud());
    }
    e.r.flags.put(AC, SET);
    Ok(Flow::Next)
}

/// `CLFLUSHOPT`, `CLWB`: there are no caches.
pub(crate) fn flush_line(e: &mut Exec, _: &Op) -> Step {
    need_assistant(e)?;
    Ok(Flow::Next)
}

/// `INVPCID`: forgets more than it has to.
pub(crate) fn invpcid(e: &mut Exec, op: &Op) -> Step {
    need_assistant(e)?;
    e.need_cpl0()?;
    let kind: u64 = if e.mode.is_64() {
        e.reg(op.dst)
    } else {
        u64::from(e.reg::<u32>(op.dst))
    };
    let descriptor = e.load_wide(op, 16, false)?;
    let (pcid, address) = (low64(descriptor), low64(descriptor >> 64));
    if kind > 3 || pcid >> 12 != 0 || (kind == 0 && !is_canonical(address)) {
        return Err(e.gp(0));
    }
    e.tlb.flush();
    Ok(Flow::Break)
}
