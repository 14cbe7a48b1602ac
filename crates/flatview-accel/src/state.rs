//! The registers of a vCPU, as KVM names them.

use std::fmt;

/// Everything that makes a vCPU behave as it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VcpuState {
    /// General registers.
    pub regs: Regs,
    /// Segments, tables, control registers.
    pub sregs: Sregs,
    /// x87 and SSE registers.
    pub fpu: Fpu,
    /// Debug registers.
    pub debug: DebugRegs,
    /// Model-specific registers.
    pub msrs: Msrs,
    /// An interrupt or exception whose delivery has begun: it is delivered before the next instruction.
    pub injected: Option<Injection>,
    /// A non-maskable interrupt waits.
    pub nmi_pending: bool,
    /// It waits for an interrupt (`HLT`).
    pub halted: bool,
    /// Interrupts are not taken before the next instruction is over: the last one was `STI`, or loaded SS.
    pub interrupt_shadow: bool,
    /// Non-maskable interrupts are not taken: one is being handled.
    pub nmi_masked: bool,
    /// It is in system management mode.
    pub smm: bool,
    /// Where system management mode begins: 0x30000 after power-on.
    pub smbase: u32,
}

/// The general registers (`kvm_regs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Regs {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rsp: u64,
    pub rbp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rip: u64,
    pub rflags: u64,
}

impl Regs {
    /// The registers from the general ones in the order of their numbers in instructions: RAX, RCX, RDX, RBX, RSP, RBP,
    /// RSI, RDI, R8 to R15 (Intel SDM vol. 2, table 3-1).
    pub fn new(general: [u64; 16], rip: u64, rflags: u64) -> Regs {
        let [
            rax,
            rcx,
            rdx,
            rbx,
            rsp,
            rbp,
            rsi,
            rdi,
            r8,
            r9,
            r10,
            r11,
            r12,
            r13,
            r14,
            r15,
        ] = general;
        Regs {
            rax,
            rbx,
            rcx,
            rdx,
            rsi,
            rdi,
            rsp,
            rbp,
            r8,
            r9,
            r10,
            r11,
            r12,
            r13,
            r14,
            r15,
            rip,
            rflags,
        }
    }

    /// The general registers in the order of [`new`](Self::new).
    pub fn general(&self) -> [u64; 16] {
        [
            self.rax, self.rcx, self.rdx, self.rbx, self.rsp, self.rbp, self.rsi, self.rdi, self.r8, self.r9,
            self.r10, self.r11, self.r12, self.r13, self.r14, self.r15,
        ]
    }
}

/// The system registers (`kvm_sregs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Sregs {
    pub cs: Segment,
    pub ds: Segment,
    pub es: Segment,
    pub fs: Segment,
    pub gs: Segment,
    pub ss: Segment,
    pub tr: Segment,
    pub ldt: Segment,
    pub gdt: DescriptorTable,
    pub idt: DescriptorTable,
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub efer: u64,
}

/// The registers of the x87 and of SSE (`kvm_fpu`; Intel SDM vol. 1, 10.5.1, FXSAVE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fpu {
    /// ST0 to ST7, or MM0 to MM7, 10 bytes each, little-endian.
    pub fpr: [[u8; 16]; 8],
    /// The control word.
    pub fcw: u16,
    /// The status word; its bits 11 to 13 say which physical register ST0 is.
    pub fsw: u16,
    /// The tag byte as FXSAVE has it: bit n is set if physical register n is not empty.
    pub ftwx: u8,
    /// The last instruction's opcode, 11 bits.
    pub last_opcode: u16,
    /// Where it was.
    pub last_ip: u64,
    /// Where its operand was.
    pub last_dp: u64,
    /// XMM0 to XMM15, little-endian.
    pub xmm: [[u8; 16]; 16],
    /// SSE's control and status.
    pub mxcsr: u32,
}

/// After power-on (Intel SDM vol. 3, table 10-1).
impl Default for Fpu {
    fn default() -> Fpu {
        Fpu {
            fpr: [[0; 16]; 8],
            fcw: 0x40,
            fsw: 0,
            ftwx: 0xff,
            last_opcode: 0,
            last_ip: 0,
            last_dp: 0,
            xmm: [[0; 16]; 16],
            mxcsr: 0x1f80,
        }
    }
}

/// The debug registers (`kvm_debugregs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebugRegs {
    /// DR0 to DR3.
    pub db: [u64; 4],
    /// DR6.
    pub dr6: u64,
    /// DR7.
    pub dr7: u64,
}

/// After power-on (Intel SDM vol. 3, table 10-1).
impl Default for DebugRegs {
    fn default() -> DebugRegs {
        DebugRegs {
            db: [0; 4],
            dr6: 0xffff_0ff0,
            dr7: 0x400,
        }
    }
}

/// Model-specific registers that are part of a vCPU's state, without those that other fields are: EFER, and the bases
/// of FS and GS. `IA32_APIC_BASE` is the interrupt controller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Msrs {
    /// `IA32_TIME_STAMP_COUNTER`; `None` where a state is set: it goes on as it is.
    pub tsc: Option<u64>,
    /// `IA32_SYSENTER_CS`, `_ESP`, `_EIP`.
    pub sysenter: [u64; 3],
    /// `IA32_STAR`.
    pub star: u64,
    /// `IA32_LSTAR`, `IA32_CSTAR`, `IA32_FMASK`.
    pub syscall: [u64; 3],
    /// `IA32_KERNEL_GS_BASE`.
    pub kernel_gs_base: u64,
    /// `IA32_PAT`.
    pub pat: u64,
    /// `IA32_MISC_ENABLE`.
    pub misc_enable: u64,
    /// `IA32_MTRR_DEF_TYPE`.
    pub mtrr_def_type: u64,
    /// The fixed-range MTRRs, in the order of their numbers: one of 64 KiB, two of 16 KiB, eight of 4 KiB.
    pub mtrr_fixed: [u64; 11],
    /// Base and mask of the variable-range MTRRs 0 to 7.
    pub mtrr_variable: [u64; 16],
}

/// An interrupt or exception on its way into the guest (`kvm_vcpu_events`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection {
    /// What it is.
    pub kind: InjectionKind,
    /// Its vector.
    pub vector: u8,
    /// What an exception pushes, if it does.
    pub error_code: Option<u32>,
}

/// What an [`Injection`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectionKind {
    /// Of an interrupt controller, which has handed the vector out already.
    Interrupt,
    /// Of an `INT n` that is over but for that.
    SoftwareInterrupt,
    /// Of an instruction that could not be executed.
    Exception,
}

/// What `CPUID` answers for a leaf (`kvm_cpuid_entry2`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct CpuidLeaf {
    pub leaf: u32,
    /// `None`: whatever ECX is.
    pub subleaf: Option<u32>,
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

/// The bytes of an instruction, as many as are known.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct InstructionBytes {
    bytes: [u8; 15],
    len: u8,
}

impl InstructionBytes {
    /// The first 15 of `bytes`.
    pub fn new(bytes: &[u8]) -> InstructionBytes {
        let mut all = [0; 15];
        let len = bytes.len().min(all.len());
        all[..len].copy_from_slice(&bytes[..len]);
        let len = u8::try_from(len).unwrap_or_default();
        InstructionBytes { bytes: all, len }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// `0f c7 0e`.
impl fmt::Display for InstructionBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.as_slice().iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for InstructionBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

/// A segment register with what it caches of its descriptor (`kvm_segment`; Intel SDM vol. 3, 3.4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The first byte's linear address.
    pub base: u64,
    /// The last byte's offset; in bytes, whatever `g` is.
    pub limit: u32,
    /// The visible part.
    pub selector: u16,
    /// The descriptor's type, bits 0 to 3.
    pub type_: u8,
    /// Present.
    pub present: bool,
    /// Privilege level.
    pub dpl: u8,
    /// The D or B bit: 32-bit code, a 32-bit stack.
    pub db: bool,
    /// Code or data, not a system segment.
    pub s: bool,
    /// 64-bit code.
    pub l: bool,
    /// The descriptor's limit counts pages.
    pub g: bool,
    /// Available for software.
    pub avl: bool,
    /// A null selector was loaded: not usable.
    pub unusable: bool,
}

/// GDTR or IDTR (`kvm_dtable`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DescriptorTable {
    /// The first byte's linear address.
    pub base: u64,
    /// The last byte's offset.
    pub limit: u16,
}
