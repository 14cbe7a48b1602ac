//! What the manual leaves open: flags that have any value after an instruction (Intel SDM vol. 2, "Flags Affected"; vol. 1,
//! appendix A), and cases without a defined result.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use crate::case::State;

const CF: u64 = 1;
const PF: u64 = 1 << 2;
const AF: u64 = 1 << 4;
const ZF: u64 = 1 << 6;
const SF: u64 = 1 << 7;
const OF: u64 = 1 << 11;

/// The flags that mean nothing after `instruction` ran from `state`. `None` if all of its result is undefined.
#[must_use]
pub fn flags(instruction: &Instruction, state: &State) -> Option<u64> {
    use Mnemonic as M;
    let undefined = match instruction.mnemonic() {
        // As four bytes, or as two with a gap above (Intel SDM vol. 2, PUSH).
        M::Push
            if instruction.op0_register().is_segment_register()
                && instruction.stack_pointer_increment() == -4 =>
        {
            return None;
        }
        M::And | M::Or | M::Xor | M::Test => AF,
        M::Mul | M::Imul => SF | ZF | AF | PF,
        M::Div | M::Idiv => CF | OF | SF | ZF | AF | PF,
        M::Bt | M::Bts | M::Btr | M::Btc => OF | SF | AF | PF,
        M::Bsf | M::Bsr => CF | OF | SF | AF | PF,
        M::Daa | M::Das => OF,
        M::Aaa | M::Aas => OF | SF | ZF | PF,
        M::Aam | M::Aad => OF | AF | CF,
        M::Shl | M::Sal | M::Shr | M::Sar => match count(instruction, state) {
            0 => 0,
            1 => AF,
            // More than all bits went out: the last of them is nothing that CF could have.
            n if n >= bits(instruction) && instruction.mnemonic() != M::Sar => AF | OF | CF,
            _ => AF | OF,
        },
        M::Rol | M::Ror | M::Rcl | M::Rcr => match count(instruction, state) {
            0 | 1 => 0,
            _ => OF,
        },
        M::Shld | M::Shrd => match count(instruction, state) {
            0 => 0,
            1 => AF,
            n if n > bits(instruction) => return None,
            _ => AF | OF,
        },
        _ => 0,
    };
    Some(undefined)
}

/// Whether the manual leaves open what became of `instruction`: a far call out of 64-bit code, with a stack above 4 GiB.
/// Intel's processors push the return address with the stack pointer of the code that is called, cut to 32 bits.
#[must_use]
pub fn outcome(instruction: &Instruction, before: &State, after: &State) -> bool {
    let stays = after.selectors.cs == before.selectors.cs && after.rip != before.rip;
    instruction.is_call_far_indirect() && before.gprs[4] >> 32 != 0 && !stays
}

/// Whether it leaves open which fault comes first: both operands of CMPS may have one.
#[must_use]
pub fn order_of_faults(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(instruction.mnemonic(), M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq)
}

/// The bits of a general register, by its number, that the manual leaves open after `instruction`.
#[must_use]
pub fn register(instruction: &Instruction, gpr: usize, before: &State, after: &State) -> u64 {
    const RCX_RSI_RDI: u64 = 1 << 1 | 1 << 6 | 1 << 7;
    let same = before.gprs[gpr] as u32 == after.gprs[gpr] as u32;
    let target = |register: Register| register.full_register().number() == gpr;
    match instruction.mnemonic() {
        // The target of a scan that found nothing.
        Mnemonic::Bsf | Mnemonic::Bsr if after.rflags & ZF != 0 && target(instruction.op0_register()) => {
            u64::MAX
        }
        // Intel's processors clear the upper halves even if nothing was done, AMD's do not.
        _ if same && repeats(instruction) && uses_ecx(instruction) && RCX_RSI_RDI >> gpr & 1 != 0 => {
            u64::MAX << 32
        }
        _ => 0,
    }
}

fn repeats(instruction: &Instruction) -> bool {
    instruction.has_rep_prefix() || instruction.has_repne_prefix()
}

/// Whether a string instruction has 32-bit addresses.
fn uses_ecx(instruction: &Instruction) -> bool {
    let has = |kind| (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == kind);
    has(OpKind::MemorySegESI) || has(OpKind::MemoryESEDI)
}

/// The size of the first operand.
fn bits(instruction: &Instruction) -> u32 {
    let bytes = match instruction.op0_kind() {
        OpKind::Register => instruction.op0_register().size(),
        _ => instruction.memory_size().size(),
    };
    bytes as u32 * 8
}

/// The count of a shift, as far as the processor looks at it.
fn count(instruction: &Instruction, state: &State) -> u32 {
    let last = instruction.op_count() - 1;
    let count = match instruction.op_kind(last) {
        OpKind::Register if instruction.op_register(last) == Register::CL => state.gprs[1] as u8,
        _ => instruction.immediate8(),
    };
    u32::from(count) & if bits(instruction) == 64 { 63 } else { 31 }
}
