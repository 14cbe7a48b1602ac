//! The state of the CPU while it executes, and what instructions do with it.
//!
//! - here: the state itself, registers, effective addresses, the stack;
//! - [`mem`]: accesses by linear address, with [`tlb`] and [`paging`] behind them;
//! - [`descriptor`]: loading segment registers; [`far`]: far jumps, calls and returns; [`fast_call`]: system calls;
//!   [`interrupt`]: interrupts and exceptions; [`smm`]: system management mode;
//! - [`msr`], [`cpuid`], [`control`]: what software asks and sets.

pub(crate) mod control;
pub(crate) mod cpuid;
pub(crate) mod descriptor;
pub(crate) mod far;
pub(crate) mod fast_call;
pub(crate) mod interrupt;
pub(crate) mod mem;
pub(crate) mod msr;
pub(crate) mod paging;
pub(crate) mod smm;
pub(crate) mod tlb;

use std::sync::Arc;

use flatview::Reader;
use flatview_accel::{Control, DescriptorTable, Injection, InstructionBytes, InterruptSource};

use crate::code::pages::CodePages;
use crate::flags::{self, Flags};
use crate::int::{Int, low8};
use crate::ops::Op;
use crate::ops::sse::Sse;
use crate::ops::x87::X87;
use crate::seg::{BIG, LONG, SS, Seg};
use crate::undefined::UndefinedRing;
use msr::Msrs;
use tlb::Tlb;

pub(crate) const RAX: usize = 0;
pub(crate) const RCX: usize = 1;
pub(crate) const RDX: usize = 2;
pub(crate) const RBX: usize = 3;
pub(crate) const RSP: usize = 4;
pub(crate) const RBP: usize = 5;
pub(crate) const RSI: usize = 6;
pub(crate) const RDI: usize = 7;
/// The place of a register that is always zero: for addresses without a base or an index.
pub(crate) const ZERO: usize = 16;
/// The place that has the address of the block's first instruction: for addresses relative to RIP.
pub(crate) const ENTRY: usize = 17;
/// Added to the number of a general register: its bits 8 to 15.
pub(crate) const HIGH: u8 = 16;

pub(crate) const CR0_PE: u64 = 1;
pub(crate) const CR0_MP: u64 = 1 << 1;
pub(crate) const CR0_EM: u64 = 1 << 2;
pub(crate) const CR0_TS: u64 = 1 << 3;
pub(crate) const CR0_WP: u64 = 1 << 16;
pub(crate) const CR0_PG: u64 = 1 << 31;
pub(crate) const EFER_LME: u64 = 1 << 8;
pub(crate) const EFER_LMA: u64 = 1 << 10;

/// An instruction could not be executed: the exception is in [`Exec::exception`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault;

/// What an exception is delivered with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exception {
    pub(crate) vector: u8,
    pub(crate) error_code: Option<u32>,
    /// A #GP because of this address: a #SS if the stack was accessed.
    pub(crate) not_canonical: Option<u64>,
    /// It is no exception of the guest: this CPU, as an assistant, does not know what the processor would do.
    pub(crate) is_unknown: bool,
}

pub(crate) const DE: u8 = 0;
pub(crate) const DB: u8 = 1;
pub(crate) const OF: u8 = 4;
pub(crate) const BR: u8 = 5;
pub(crate) const UD: u8 = 6;
pub(crate) const NM: u8 = 7;
pub(crate) const DF: u8 = 8;
pub(crate) const TS: u8 = 10;
pub(crate) const NP: u8 = 11;
pub(crate) const SS_FAULT: u8 = 12;
pub(crate) const GP: u8 = 13;
pub(crate) const PF: u8 = 14;

/// What comes after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The next one of the block.
    Next,
    /// The next one in memory, but not of this block.
    Break,
    /// The one that [`Exec::rip`] says.
    Jump,
}

/// What an instruction returns.
pub(crate) type Step = Result<Flow, Fault>;

/// General registers and flags.
#[derive(Clone, Debug)]
pub(crate) struct Registers {
    /// 16 of them, [`ZERO`], [`ENTRY`]; the length lets indices be masked.
    pub(crate) gpr: [u64; 32],
    pub(crate) flags: Flags,
}

/// What follows from the control registers and the segment registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    /// 16, 32 or 64.
    pub(crate) bits: u8,
    pub(crate) is_protected: bool,
    /// IA-32e mode: 64-bit or compatibility mode.
    pub(crate) is_long: bool,
    pub(crate) cpl: u8,
    /// Offsets in ES, SS and DS are linear addresses, and nothing is to be checked.
    pub(crate) is_flat: bool,
    /// The bits of the stack pointer that are used.
    pub(crate) stack_mask: u64,
    /// The last offset that code is fetched from.
    pub(crate) code_last: u64,
    /// What decoding depends on: a number below 8.
    pub(crate) key: u64,
}

impl Mode {
    #[inline(always)]
    pub(crate) fn is_64(&self) -> bool {
        self.bits == 64
    }
}

/// The address spaces, as this thread looks at them.
#[derive(Debug)]
pub(crate) struct Bus {
    pub(crate) memory: Reader,
    pub(crate) smm: Option<Reader>,
    pub(crate) io: Reader,
    /// Whether memory accesses see `smm`.
    pub(crate) in_smm: bool,
    /// The bits of physical addresses that get out.
    pub(crate) a20_mask: u64,
}

impl Bus {
    /// The space that memory accesses see now.
    #[inline]
    pub(crate) fn space(&mut self) -> &mut Reader {
        match &mut self.smm {
            Some(smm) if self.in_smm => smm,
            _ => &mut self.memory,
        }
    }
}

/// The state of the CPU.
#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) r: Registers,
    /// The next instruction's, while no block is executed.
    pub(crate) rip: u64,
    pub(crate) segs: [Seg; 6],
    pub(crate) ldtr: Seg,
    pub(crate) tr: Seg,
    pub(crate) gdtr: DescriptorTable,
    pub(crate) idtr: DescriptorTable,
    pub(crate) cr0: u64,
    pub(crate) cr2: u64,
    pub(crate) cr3: u64,
    pub(crate) cr4: u64,
    pub(crate) dr: [u64; 8],
    pub(crate) msrs: Msrs,
    pub(crate) x87: X87,
    pub(crate) sse: Sse,
    pub(crate) mode: Mode,
    pub(crate) halted: bool,
    pub(crate) shadow: bool,
    pub(crate) nmi_masked: bool,
    pub(crate) smm: bool,
    pub(crate) smbase: u32,
    /// The last instruction led into a handler: it is not traced.
    pub(crate) is_in_handler: bool,
    /// A fault while delivering a double fault.
    pub(crate) shutdown: bool,
    /// Delivered before the next instruction.
    pub(crate) injected: Option<Injection>,
    pub(crate) nmi_pending: bool,
    /// It executes what another accelerator cannot.
    pub(crate) is_assistant: bool,
    /// The instruction that an assistant does not know, either.
    pub(crate) unemulated: Option<InstructionBytes>,

    pub(crate) exception: Exception,
    /// What instructions that access memory return.
    pub(crate) flow: Flow,
    /// Something happened that whoever runs blocks has to look at.
    pub(crate) attention: bool,
    /// Instructions executed before this block.
    pub(crate) count: u64,
    /// Instructions executed of this block.
    pub(crate) done: u32,
    /// The clock at an instruction count: [`Exec::sync_clock`].
    pub(crate) clock_base: (u64, u64),

    pub(crate) bus: Bus,
    pub(crate) tlb: Tlb,
    pub(crate) code: CodePages,
    pub(crate) control: Arc<Control>,
    pub(crate) interrupts: Arc<dyn InterruptSource>,
    pub(crate) undefined: UndefinedRing,
}

impl Exec {
    /// Works out [`Mode`] and what may be accessed.
    pub(crate) fn update_mode(&mut self) {
        let is_protected = self.cr0 & CR0_PE != 0;
        let is_long = self.msrs.efer & EFER_LMA != 0;
        for seg in &mut self.segs {
            seg.work_out(is_protected);
        }
        let [es, cs, ss, ds, ..] = &self.segs;
        let bits = match (is_long && cs.has(LONG), cs.has(BIG)) {
            (true, _) => 64,
            (false, true) => 32,
            (false, false) => 16,
        };
        let is_flat = bits == 64 || (es.is_flat() && ss.is_flat() && ds.is_flat());
        let stack_mask = match (bits, ss.has(BIG)) {
            (64, _) => u64::MAX,
            (_, true) => 0xffff_ffff,
            (_, false) => 0xffff,
        };
        let cpl = if is_protected { ss.dpl() } else { 0 };
        self.mode = Mode {
            bits,
            is_protected,
            is_long,
            cpl,
            is_flat,
            stack_mask,
            code_last: if bits == 64 { u64::MAX } else { u64::from(cs.limit) },
            key: u64::from(bits >> 5) << 1 | u64::from(is_flat),
        };
        self.tlb.user = if cpl == 3 { tlb::USER } else { 0 };
    }

    /// An exception with an error code, or without.
    #[cold]
    pub(crate) fn raise(&mut self, vector: u8, error_code: Option<u32>) -> Fault {
        self.exception = Exception {
            vector,
            error_code,
            ..Exception::default()
        };
        Fault
    }

    /// What this CPU does not know: an assistant leaves it to others, otherwise it is an exception.
    #[cold]
    pub(crate) fn unknown(&mut self, vector: u8, error_code: Option<u32>) -> Fault {
        let fault = self.raise(vector, error_code);
        self.exception.is_unknown = self.is_assistant;
        fault
    }

    /// #GP.
    #[cold]
    pub(crate) fn gp(&mut self, error_code: u16) -> Fault {
        self.raise(GP, Some(u32::from(error_code)))
    }

    /// #UD.
    #[cold]
    pub(crate) fn ud(&mut self) -> Fault {
        self.raise(UD, None)
    }

    /// #GP(0) unless the privilege level is 0.
    pub(crate) fn need_cpl0(&mut self) -> Result<(), Fault> {
        if self.mode.cpl == 0 {
            Ok(())
        } else {
            Err(self.gp(0))
        }
    }

    /// The value of a register. Numbers from [`HIGH`] on mean bits 8 to 15, for bytes only.
    #[inline(always)]
    pub(crate) fn reg<T: Int>(&self, number: u8) -> T {
        self.r.reg(number)
    }

    /// Sets a register. 32 bits clear the upper half, 8 and 16 bits leave the rest.
    #[inline(always)]
    pub(crate) fn set_reg<T: Int>(&mut self, number: u8, value: T) {
        self.r.set_reg(number, value);
    }

    /// The offset of an operand in memory.
    #[inline(always)]
    pub(crate) fn offset(&self, op: &Op) -> u64 {
        let base = self.r.gpr[usize::from(op.base) % 32];
        let index = self.r.gpr[usize::from(op.index) % 32] << op.scale;
        base.wrapping_add(index).wrapping_add(op.disp) & (u64::MAX >> op.narrow)
    }

    /// The linear address of an operand in memory.
    #[inline(always)]
    pub(crate) fn address<T: Int>(&mut self, op: &Op, access: mem::Access) -> Result<u64, Fault> {
        let offset = self.offset(op);
        if op.seg == crate::ops::FLAT {
            return Ok(offset);
        }
        self.linear(usize::from(op.seg), offset, T::BYTES, access)
    }

    /// The linear address of `size` bytes at an offset in a segment.
    pub(crate) fn linear(
        &mut self,
        seg: usize,
        offset: u64,
        size: u64,
        access: mem::Access,
    ) -> Result<u64, Fault> {
        let segment = &self.segs[seg % 6];
        if self.mode.is_64() {
            return Ok(if seg >= crate::seg::FS {
                segment.base.wrapping_add(offset)
            } else {
                offset
            });
        }
        let (first, last) = match access {
            mem::Access::Write => segment.write,
            _ => segment.read,
        };
        if offset < first || offset.saturating_add(size - 1) > last {
            let vector = if seg == SS { SS_FAULT } else { GP };
            return Err(self.raise(vector, Some(0)));
        }
        Ok(segment.base.wrapping_add(offset) & 0xffff_ffff)
    }

    /// The linear address of something on the stack, at an offset that is masked already.
    #[inline(always)]
    pub(crate) fn stack(&mut self, offset: u64, size: u64, access: mem::Access) -> Result<u64, Fault> {
        if self.mode.is_flat {
            return Ok(offset);
        }
        self.linear(SS, offset, size, access)
    }

    /// Pushes a number.
    #[inline(always)]
    pub(crate) fn push<T: Int>(&mut self, value: T) -> Result<(), Fault> {
        let sp = self.r.gpr[RSP].wrapping_sub(T::BYTES);
        let linear = self.stack(sp & self.mode.stack_mask, T::BYTES, mem::Access::Write)?;
        self.store(linear, value)?;
        self.set_sp(sp);
        Ok(())
    }

    /// Pops a number.
    #[inline(always)]
    pub(crate) fn pop<T: Int>(&mut self) -> Result<T, Fault> {
        let value = self.peek(0)?;
        self.set_sp(self.r.gpr[RSP].wrapping_add(T::BYTES));
        Ok(value)
    }

    /// The number at a distance from the top of the stack.
    #[inline(always)]
    pub(crate) fn peek<T: Int>(&mut self, distance: u64) -> Result<T, Fault> {
        let sp = self.r.gpr[RSP].wrapping_add(distance) & self.mode.stack_mask;
        let linear = self.stack(sp, T::BYTES, mem::Access::Read)?;
        self.load(linear)
    }

    /// Sets the part of the stack pointer that is used.
    #[inline(always)]
    pub(crate) fn set_sp(&mut self, sp: u64) {
        let mask = self.mode.stack_mask;
        self.r.gpr[RSP] = (self.r.gpr[RSP] & !mask) | (sp & mask);
    }

    /// The offset of the instruction after `op`.
    #[inline(always)]
    pub(crate) fn next_ip(&self, op: &Op) -> u64 {
        self.wrap_ip(self.r.gpr[ENTRY].wrapping_add(u64::from(op.start) + u64::from(op.len)))
    }

    /// Instruction pointers have 32 bits outside of 64-bit mode; one that has run over 16 bits is beyond the limit.
    #[inline(always)]
    pub(crate) fn wrap_ip(&self, ip: u64) -> u64 {
        if self.mode.is_64() { ip } else { ip & 0xffff_ffff }
    }

    /// Goes on at `ip`.
    ///
    /// # Errors
    ///
    /// #GP(0) if it is beyond the limit of the code segment, or not canonical.
    #[inline(always)]
    pub(crate) fn jump(&mut self, ip: u64) -> Step {
        if ip > self.mode.code_last || (self.mode.is_64() && !is_canonical(ip)) {
            return Err(self.gp(0));
        }
        self.rip = ip;
        Ok(Flow::Jump)
    }

    /// Tells a clock that counts instructions how many there were.
    pub(crate) fn sync_clock(&mut self) {
        if let Some(shift) = self.control.clock().counted_shift() {
            let (now, count) = self.clock_base;
            let executed = self.instructions().wrapping_sub(count);
            self.control
                .clock()
                .advance_to(now.saturating_add(executed << shift));
        }
    }

    /// Instructions executed, this one not counted.
    pub(crate) fn instructions(&self) -> u64 {
        self.count + u64::from(self.done)
    }

    /// What is loaded into a segment register of the data kind in real mode.
    pub(crate) fn load_real(&mut self, seg: usize, selector: u16) {
        let segment = &mut self.segs[seg % 6];
        segment.selector = selector;
        segment.base = u64::from(selector) << 4;
        segment.attributes &= !crate::seg::UNUSABLE;
    }

    /// Whether I/O instructions, `CLI` and `STI` are allowed without looking further.
    pub(crate) fn has_io_privilege(&self) -> bool {
        self.mode.cpl <= self.r.flags.iopl()
    }

    /// Whether interrupts are enabled.
    pub(crate) fn has_if(&self) -> bool {
        self.r.flags.has(flags::IF)
    }
}

impl Registers {
    /// See [`Exec::reg`].
    #[inline(always)]
    pub(crate) fn reg<T: Int>(&self, number: u8) -> T {
        if T::BITS == 8 {
            return T::truncate(self.gpr[usize::from(number & 15)] >> ((number & HIGH) >> 1));
        }
        T::truncate(self.gpr[usize::from(number) % 32])
    }

    /// See [`Exec::set_reg`].
    #[inline(always)]
    pub(crate) fn set_reg<T: Int>(&mut self, number: u8, value: T) {
        let value = value.widen();
        match T::BITS {
            8 => {
                let shift = (number & HIGH) >> 1;
                let register = &mut self.gpr[usize::from(number & 15)];
                *register = (*register & !(0xff << shift)) | value << shift;
            }
            16 => {
                let register = &mut self.gpr[usize::from(number) % 32];
                *register = (*register & !0xffff) | value;
            }
            _ => self.gpr[usize::from(number) % 32] = value,
        }
    }
}

/// Whether the upper bits of an address are all like bit 47.
#[inline(always)]
pub(crate) fn is_canonical(address: u64) -> bool {
    (address.cast_signed() << 16 >> 16).cast_unsigned() == address
}

/// The low byte of a selector's error code: the selector without its privilege level.
pub(crate) fn selector_error(selector: u16) -> u16 {
    selector & !3
}

/// The requested privilege level of a selector.
pub(crate) fn rpl(selector: u16) -> u8 {
    low8(u64::from(selector & 3))
}
