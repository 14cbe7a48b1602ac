//! Instructions for operating systems: control registers, MSRs, halts, far transfers.

use super::{M, Op, R, Run};
use crate::exec::mem::Access;
use crate::exec::{Exec, Flow, RAX, RBX, RCX, RDX, Step, UD};
use crate::int::{Int, low8, low16, low32};

/// `HLT`.
pub(crate) fn hlt(e: &mut Exec, _: &Op) -> Step {
    e.need_cpl0()?;
    e.halted = true;
    e.attention = true;
    Ok(Flow::Break)
}

/// `CPUID`.
pub(crate) fn cpuid(e: &mut Exec, _: &Op) -> Step {
    if e.is_assistant {
        // Another accelerator says what the processor is.
        return Err(e.unknown(UD, None));
    }
    let [eax, ebx, ecx, edx] = e.cpuid(e.reg(0));
    for (register, value) in [(RAX, eax), (RBX, ebx), (RCX, ecx), (RDX, edx)] {
        e.r.gpr[register] = u64::from(value);
    }
    Ok(Flow::Next)
}

impl Exec {
    fn set_edx_eax(&mut self, value: u64) {
        self.r.gpr[RAX] = value & 0xffff_ffff;
        self.r.gpr[RDX] = value >> 32;
    }

    fn edx_eax(&self) -> u64 {
        self.r.gpr[RDX] << 32 | (self.r.gpr[RAX] & 0xffff_ffff)
    }
}

/// `RDTSC`.
pub(crate) fn rdtsc(e: &mut Exec, _: &Op) -> Step {
    if e.mode.cpl != 0 && e.cr4 & crate::exec::control::CR4_TSD != 0 {
        return Err(e.gp(0));
    }
    let tsc = e.tsc();
    e.set_edx_eax(tsc);
    Ok(Flow::Next)
}

/// `RDMSR`.
pub(crate) fn rdmsr(e: &mut Exec, _: &Op) -> Step {
    e.need_cpl0()?;
    let value = e.read_msr(low32(e.r.gpr[RCX]))?;
    e.set_edx_eax(value);
    Ok(Flow::Next)
}

/// `WRMSR`.
pub(crate) fn wrmsr(e: &mut Exec, _: &Op) -> Step {
    e.need_cpl0()?;
    e.write_msr(low32(e.r.gpr[RCX]), e.edx_eax())?;
    e.attention = true;
    Ok(Flow::Break)
}

/// `MOV` from a control register, `aux`.
pub(crate) fn from_control(e: &mut Exec, op: &Op) -> Step {
    e.need_cpl0()?;
    let value = match op.aux {
        0 => e.cr0,
        2 => e.cr2,
        3 => e.cr3,
        4 => e.cr4,
        8 if e.is_assistant => return Err(e.unknown(UD, None)),
        8 => u64::from(e.interrupts.cr8()),
        _ => return Err(e.ud()),
    };
    e.set_word(op.dst, value);
    Ok(Flow::Next)
}

impl Exec {
    /// A register of 64 bits in 64-bit mode, of 32 bits otherwise.
    fn set_word(&mut self, register: u8, value: u64) {
        if self.mode.is_64() {
            self.set_reg(register, value);
        } else {
            self.set_reg(register, low32(value));
        }
    }

    fn word(&self, register: u8) -> u64 {
        if self.mode.is_64() {
            self.reg(register)
        } else {
            u64::from(self.reg::<u32>(register))
        }
    }
}

/// `MOV` to a control register, `aux`.
pub(crate) fn to_control(e: &mut Exec, op: &Op) -> Step {
    e.need_cpl0()?;
    let value = e.word(op.src);
    match op.aux {
        0 => e.set_cr0(value)?,
        2 => e.cr2 = value,
        3 => e.set_cr3(value),
        4 => e.set_cr4(value)?,
        8 if e.is_assistant => return Err(e.unknown(UD, None)),
        8 if value > 15 => return Err(e.gp(0)),
        8 => {
            e.before_device();
            e.interrupts.set_cr8(low8(value));
        }
        _ => return Err(e.ud()),
    }
    e.attention = true;
    Ok(Flow::Break)
}

/// `MOV` from a debug register, `aux`.
pub(crate) fn from_debug(e: &mut Exec, op: &Op) -> Step {
    e.need_cpl0()?;
    let value = e.dr[debug_register(op.aux)];
    e.set_word(op.dst, value);
    Ok(Flow::Next)
}

/// `MOV` to a debug register, `aux`. Breakpoints are stored and never hit.
pub(crate) fn to_debug(e: &mut Exec, op: &Op) -> Step {
    e.need_cpl0()?;
    let value = e.word(op.src);
    e.dr[debug_register(op.aux)] = match debug_register(op.aux) {
        6 => value & 0xe00f | 0xffff_0ff0,
        7 => value & 0xffff_2bff | 0x400,
        _ => value,
    };
    Ok(Flow::Next)
}

/// DR4 and DR5 are DR6 and DR7.
fn debug_register(number: u8) -> usize {
    match number {
        4 => 6,
        5 => 7,
        other => usize::from(other % 8),
    }
}

/// `CLTS`.
pub(crate) fn clts(e: &mut Exec, _: &Op) -> Step {
    e.need_cpl0()?;
    e.cr0 &= !crate::exec::CR0_TS;
    Ok(Flow::Next)
}

/// `SMSW`: to a register of the operand size, or to 16 bits of memory.
fn smsw<T: Int, const D: u8>(e: &mut Exec, op: &Op) -> Step {
    e.need_umip()?;
    let value = T::truncate(e.cr0);
    e.put::<T, D>(op, value)
}

/// The function of `SMSW`.
pub(crate) fn smsw_run(d: u8, size: u8) -> Run {
    if d == M {
        smsw::<u16, M>
    } else {
        wide!(size, smsw, R)
    }
}

/// `LMSW`: the lower four bits of CR0; PE is not cleared.
fn lmsw<const S: u8>(e: &mut Exec, op: &Op) -> Step {
    e.need_cpl0()?;
    let value = u64::from(e.source::<u16, S>(op)?) & 15;
    let cr0 = e.cr0 & !0xe | value;
    e.set_cr0(cr0)?;
    e.attention = true;
    Ok(Flow::Break)
}

/// The function of `LMSW`.
pub(crate) fn lmsw_run(s: u8) -> Run {
    if s == R { lmsw::<R> } else { lmsw::<M> }
}

/// `INVLPG`.
pub(crate) fn invlpg(e: &mut Exec, op: &Op) -> Step {
    e.need_cpl0()?;
    let offset = e.offset(op);
    let linear = match op.seg {
        super::FLAT => offset,
        seg => e.wrap(e.segs[usize::from(seg) % 6].base.wrapping_add(offset)),
    };
    e.tlb.flush_page(linear);
    Ok(Flow::Break)
}

/// `WBINVD`, `INVD`: there are no caches.
pub(crate) fn wbinvd(e: &mut Exec, _: &Op) -> Step {
    e.need_cpl0()?;
    Ok(Flow::Next)
}

/// `MFENCE`, `LFENCE`, `SFENCE`: other threads of the host are devices.
pub(crate) fn fence(_: &mut Exec, _: &Op) -> Step {
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    Ok(Flow::Next)
}

/// `RSM`.
pub(crate) fn rsm(e: &mut Exec, _: &Op) -> Step {
    e.leave_smm()?;
    e.attention = true;
    Ok(Flow::Jump)
}

/// `JMP` far, to the selector `imm >> 32`, or to what is in memory (`S` is `M`).
fn far_jmp<T: Int, const S: u8>(e: &mut Exec, op: &Op) -> Step {
    let (selector, ip) = far_pointer::<T, S>(e, op)?;
    e.far_jump(selector, ip)
}

/// `CALL` far.
fn far_call<T: Int, const S: u8>(e: &mut Exec, op: &Op) -> Step {
    let (selector, ip) = far_pointer::<T, S>(e, op)?;
    let next = e.next_ip(op);
    e.far_call::<T>(selector, ip, next)
}

fn far_pointer<T: Int, const S: u8>(e: &mut Exec, op: &Op) -> Result<(u16, u64), crate::exec::Fault> {
    if S != M {
        return Ok((low16(op.imm >> 32), op.imm & 0xffff_ffff));
    }
    let linear = e.address::<T>(op, Access::Read)?;
    let after = e.offset(op).wrapping_add(T::BYTES) & (u64::MAX >> op.narrow);
    let selector_at = e.string_address(op.seg, after, 2, Access::Read)?;
    let ip = e.load::<T>(linear)?.widen();
    Ok((e.load(selector_at)?, ip))
}

/// The function of a far `JMP`.
pub(crate) fn far_jmp_run(s: u8, size: u8) -> Run {
    wide_by_place!(s, size, far_jmp)
}

/// The function of a far `CALL`.
pub(crate) fn far_call_run(s: u8, size: u8) -> Run {
    wide_by_place!(s, size, far_call)
}

/// `RET` far, and `imm` more bytes off the stack.
fn far_ret<T: Int>(e: &mut Exec, op: &Op) -> Step {
    e.far_return::<T>(op.imm)
}

/// The function of a far `RET`.
pub(crate) fn far_ret_run(size: u8) -> Run {
    wide!(size, far_ret)
}

/// `IRET`.
fn iret<T: Int>(e: &mut Exec, _: &Op) -> Step {
    e.interrupt_return::<T>()?;
    e.attention = true;
    Ok(Flow::Jump)
}

/// The function of `IRET`.
pub(crate) fn iret_run(size: u8) -> Run {
    wide!(size, iret)
}

/// `CMPXCHG8B`, `CMPXCHG16B`: halves of type `T`. Memory is written in any case.
fn cmpxchg_pair<T: Int>(e: &mut Exec, op: &Op) -> Step {
    let offset = e.offset(op);
    let low_at = e.string_address(op.seg, offset, 2 * T::BYTES, Access::Write)?;
    if T::BYTES == 8 && low_at % 16 != 0 {
        return Err(e.gp(0));
    }
    let high_at = e.wrap(low_at.wrapping_add(T::BYTES));
    e.probe::<T>(low_at, Access::Write)?;
    e.probe::<T>(high_at, Access::Write)?;
    let (low, high): (T, T) = (e.load(low_at)?, e.load(high_at)?);
    let is_equal = low == e.reg(low8(RAX as u64)) && high == e.reg(low8(RDX as u64));
    e.r.flags.set_zf(is_equal);
    if is_equal {
        e.store::<T>(low_at, e.reg(low8(RBX as u64)))?;
        e.store::<T>(high_at, e.reg(low8(RCX as u64)))?;
    } else {
        e.store(low_at, low)?;
        e.store(high_at, high)?;
        e.set_reg(low8(RAX as u64), low);
        e.set_reg(low8(RDX as u64), high);
    }
    Ok(e.flow)
}

/// The function of `CMPXCHG8B` (halves of 4 bytes) and `CMPXCHG16B` (8).
pub(crate) fn cmpxchg_pair_run(half: u8) -> Run {
    if half == 4 {
        cmpxchg_pair::<u32>
    } else {
        cmpxchg_pair::<u64>
    }
}

/// `SWAPGS`.
pub(crate) fn swapgs(e: &mut Exec, _: &Op) -> Step {
    e.need_cpl0()?;
    let gs = &mut e.segs[crate::seg::GS];
    std::mem::swap(&mut gs.base, &mut e.msrs.values.kernel_gs_base);
    Ok(Flow::Next)
}

/// `SYSCALL`.
pub(crate) fn syscall(e: &mut Exec, op: &Op) -> Step {
    let next = e.next_ip(op);
    e.syscall(next)?;
    e.attention = true;
    Ok(Flow::Jump)
}

/// `SYSRET`, to 64-bit code or not.
pub(crate) fn sysret<const LONG: bool>(e: &mut Exec, _: &Op) -> Step {
    e.sysret(LONG)?;
    e.attention = true;
    Ok(Flow::Jump)
}

/// `SYSENTER`.
pub(crate) fn sysenter(e: &mut Exec, _: &Op) -> Step {
    e.sysenter()?;
    e.attention = true;
    Ok(Flow::Jump)
}

/// `SYSEXIT`, to 64-bit code or not.
pub(crate) fn sysexit<const LONG: bool>(e: &mut Exec, _: &Op) -> Step {
    e.sysexit(LONG)?;
    Ok(Flow::Jump)
}

/// `MOVNTI`.
fn movnti<T: Int>(e: &mut Exec, op: &Op) -> Step {
    let value: T = e.reg(op.src);
    e.put::<T, M>(op, value)
}

/// The function of `MOVNTI`.
pub(crate) fn movnti_run(size: u8) -> Run {
    wide!(size, movnti)
}
