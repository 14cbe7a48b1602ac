//! Instructions of operating systems: ports, tables, control registers, far transfers.

use iced_x86::{Code, Mnemonic as M, Register};

use super::Translator;
use super::operand::{counted_from, is_between};
use crate::ops::{I, M as MEMORY, Op, R, Run, io, system, system_table};

fn is_control(register: Register) -> bool {
    is_between(register, Register::CR0, Register::CR15)
}

fn is_debug(register: Register) -> bool {
    is_between(register, Register::DR0, Register::DR15)
}

impl Translator<'_> {
    pub(crate) fn special(&self, op: &mut Op) -> Option<Run> {
        let instruction = self.instruction;
        let run: Run = match instruction.mnemonic() {
            M::In | M::Out => return self.port(op),
            M::Jmp | M::Call | M::Retf | M::Iret | M::Iretd | M::Iretq => return self.far(op),
            M::Hlt => system::hlt,
            M::Cpuid => system::cpuid,
            M::Rdtsc => system::rdtsc,
            M::Rdmsr => system::rdmsr,
            M::Wrmsr => system::wrmsr,
            M::Clts => system::clts,
            M::Wbinvd | M::Wbnoinvd | M::Invd => system::wbinvd,
            M::Mfence | M::Lfence | M::Sfence => system::fence,
            M::Rsm => system::rsm,
            M::Swapgs => system::swapgs,
            M::Syscall => system::syscall,
            M::Sysretq => system::sysret::<true>,
            M::Sysret => system::sysret::<false>,
            M::Sysenter => system::sysenter,
            M::Sysexitq => system::sysexit::<true>,
            M::Sysexit => system::sysexit::<false>,
            M::Invlpg => {
                self.memory(op)?;
                system::invlpg
            }
            M::Mov => return self.control(op),
            M::Cmpxchg8b | M::Cmpxchg16b => {
                self.memory(op)?;
                let is_long = instruction.mnemonic() == M::Cmpxchg16b;
                system::cmpxchg_pair_run(if is_long { 8 } else { 4 })
            }
            M::Lgdt | M::Lidt => {
                self.memory(op)?;
                let is_short = matches!(instruction.code(), Code::Lgdt_m1632_16 | Code::Lidt_m1632_16);
                let is_idt = instruction.mnemonic() == M::Lidt;
                system_table::load_table_run(is_idt, if is_short { 2 } else { 4 })
            }
            M::Sgdt | M::Sidt => {
                self.memory(op)?;
                let is_idt = instruction.mnemonic() == M::Sidt;
                if is_idt {
                    system_table::store_table::<true>
                } else {
                    system_table::store_table::<false>
                }
            }
            M::Smsw | M::Sldt | M::Str => {
                let (d, size) = self.destination(0, op)?;
                let size = size.unwrap_or(2);
                match instruction.mnemonic() {
                    M::Smsw => system::smsw_run(d, size),
                    mnemonic => system_table::store_selector_run(mnemonic == M::Str, d, size),
                }
            }
            M::Lmsw | M::Lldt | M::Ltr | M::Verr | M::Verw => {
                let (s, _) = self.source(0, op)?;
                match instruction.mnemonic() {
                    M::Lmsw => system::lmsw_run(s),
                    M::Lldt => system_table::load_selector_run(false, s),
                    M::Ltr => system_table::load_selector_run(true, s),
                    mnemonic => system_table::verify_run(mnemonic == M::Verw, s),
                }
            }
            M::Lar | M::Lsl => {
                let (number, size) = self.general(0)?;
                let (s, _) = self.source(1, op)?;
                op.dst = number;
                system_table::look_run(instruction.mnemonic() == M::Lsl, s, size)
            }
            M::Arpl => {
                let (d, _) = self.destination(0, op)?;
                op.src = self.general(1)?.0;
                system_table::arpl_run(d)
            }
            M::Les | M::Lds | M::Lss | M::Lfs | M::Lgs => return self.far_load(op),
            _ => return None,
        };
        Some(run)
    }

    fn port(&self, op: &mut Op) -> Option<Run> {
        let is_in = self.instruction.mnemonic() == M::In;
        let (data, port) = if is_in { (0, 1) } else { (1, 0) };
        let (_, size) = self.general(data)?;
        let s = if self.register(port) == Register::DX {
            R
        } else {
            op.imm = u64::from(self.instruction.immediate8());
            I
        };
        Some(if is_in {
            io::in_run(s, size)
        } else {
            io::out_run(s, size)
        })
    }

    fn far(&self, op: &mut Op) -> Option<Run> {
        let instruction = self.instruction;
        let code = instruction.code();
        let size = match code {
            Code::Jmp_ptr1616 | Code::Jmp_m1616 | Code::Call_ptr1616 | Code::Call_m1616 => 2,
            Code::Jmp_ptr1632 | Code::Jmp_m1632 | Code::Call_ptr1632 | Code::Call_m1632 => 4,
            Code::Jmp_m1664 | Code::Call_m1664 => 8,
            Code::Retfw | Code::Retfw_imm16 | Code::Iretw => 2,
            Code::Retfd | Code::Retfd_imm16 | Code::Iretd => 4,
            Code::Retfq | Code::Retfq_imm16 | Code::Iretq => 8,
            _ => return None,
        };
        Some(match instruction.mnemonic() {
            M::Retf => {
                op.imm = if instruction.op_count() > 0 {
                    u64::from(instruction.immediate16())
                } else {
                    0
                };
                system::far_ret_run(size)
            }
            M::Iret | M::Iretd | M::Iretq => system::iret_run(size),
            mnemonic => {
                let s = if self.is_memory(0) {
                    self.memory(op)?;
                    MEMORY
                } else {
                    let ip = match size {
                        2 => u64::from(instruction.far_branch16()),
                        _ => u64::from(instruction.far_branch32()),
                    };
                    op.imm = u64::from(instruction.far_branch_selector()) << 32 | ip;
                    R
                };
                if mnemonic == M::Jmp {
                    system::far_jmp_run(s, size)
                } else {
                    system::far_call_run(s, size)
                }
            }
        })
    }

    /// `LES` and its kin.
    fn far_load(&self, op: &mut Op) -> Option<Run> {
        let (number, size) = self.general(0)?;
        self.memory(op)?;
        op.dst = number;
        let seg = match self.instruction.mnemonic() {
            M::Les => crate::seg::ES,
            M::Lds => crate::seg::DS,
            M::Lss => crate::seg::SS,
            M::Lfs => crate::seg::FS,
            _ => crate::seg::GS,
        };
        op.aux = crate::int::low8(seg as u64);
        Some(crate::ops::moves::load_far_run(size))
    }

    /// `MOV` from and to control and debug registers.
    fn control(&self, op: &mut Op) -> Option<Run> {
        let (first, second) = (self.register(0), self.register(1));
        if let Some((number, _)) = self.general(0) {
            op.dst = number;
            if is_control(second) {
                op.aux = counted_from(second, Register::CR0);
                return Some(system::from_control);
            }
            op.aux = counted_from(second, Register::DR0);
            return is_debug(second).then_some(system::from_debug as Run);
        }
        op.src = self.general(1)?.0;
        if is_control(first) {
            op.aux = counted_from(first, Register::CR0);
            return Some(system::to_control);
        }
        op.aux = counted_from(first, Register::DR0);
        is_debug(first).then_some(system::to_debug as Run)
    }
}
