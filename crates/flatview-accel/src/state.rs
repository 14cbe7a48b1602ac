//! The registers of a vCPU, as KVM names them.

/// Everything that makes a vCPU behave as it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VcpuState {
    /// General registers.
    pub regs: Regs,
    /// Segments, tables, control registers.
    pub sregs: Sregs,
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
