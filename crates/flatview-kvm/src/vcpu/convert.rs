//! Registers, between the kernel's structures and [`VcpuState`]'s.

use std::array::from_fn;

use flatview_accel::{
    DebugRegs, DescriptorTable, Fpu, Injection, InjectionKind, Regs, Segment, Sregs, VcpuState,
};
use kvm_bindings::{self as kvm, kvm_regs};

/// `KVM_X86_SHADOW_INT_MOV_SS` and `KVM_X86_SHADOW_INT_STI`.
const SHADOW_MOV_SS: u8 = 1;
const SHADOW_STI: u8 = 2;
const RFLAGS_IF: u64 = 1 << 9;

/// The area of `XSAVE`, and where in it things are, in words (Intel SDM vol. 1, table 10-2 and 13.4.2).
type Area = [u32; 1024];
const MXCSR: usize = 24 / 4;
const ST0: usize = 32 / 4;
const XMM0: usize = 160 / 4;
const XSTATE_BV: usize = 512 / 4;
/// Of the components in XSTATE_BV.
const X87_AND_SSE: u32 = 3;

/// Two functions between structures whose fields are the same.
macro_rules! both_ways {
    ($to:ident: $ours:ident -> $theirs:ident: $from:ident, $($field:ident)*) => {
        pub(super) fn $to(ours: &$ours) -> $theirs {
            $theirs { $($field: ours.$field,)* }
        }

        pub(super) fn $from(theirs: &$theirs) -> $ours {
            $ours { $($field: theirs.$field,)* }
        }
    };
}

both_ways! {
    regs_to_kvm: Regs -> kvm_regs: regs_from_kvm,
    rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags
}

fn segment_to_kvm(segment: &Segment) -> kvm::kvm_segment {
    kvm::kvm_segment {
        base: segment.base,
        limit: segment.limit,
        selector: segment.selector,
        type_: segment.type_,
        present: segment.present.into(),
        dpl: segment.dpl,
        db: segment.db.into(),
        s: segment.s.into(),
        l: segment.l.into(),
        g: segment.g.into(),
        avl: segment.avl.into(),
        unusable: segment.unusable.into(),
        padding: 0,
    }
}

fn segment_from_kvm(segment: &kvm::kvm_segment) -> Segment {
    Segment {
        base: segment.base,
        limit: segment.limit,
        selector: segment.selector,
        type_: segment.type_,
        present: segment.present != 0,
        dpl: segment.dpl,
        db: segment.db != 0,
        s: segment.s != 0,
        l: segment.l != 0,
        g: segment.g != 0,
        avl: segment.avl != 0,
        unusable: segment.unusable != 0,
    }
}

fn table_to_kvm(table: DescriptorTable) -> kvm::kvm_dtable {
    kvm::kvm_dtable {
        base: table.base,
        limit: table.limit,
        padding: [0; 3],
    }
}

fn table_from_kvm(table: &kvm::kvm_dtable) -> DescriptorTable {
    DescriptorTable {
        base: table.base,
        limit: table.limit,
    }
}

/// The interrupt controller's part of them is `apic_base` and `cr8`.
pub(super) fn sregs_to_kvm(sregs: &Sregs, apic_base: u64, cr8: u64) -> kvm::kvm_sregs {
    kvm::kvm_sregs {
        cs: segment_to_kvm(&sregs.cs),
        ds: segment_to_kvm(&sregs.ds),
        es: segment_to_kvm(&sregs.es),
        fs: segment_to_kvm(&sregs.fs),
        gs: segment_to_kvm(&sregs.gs),
        ss: segment_to_kvm(&sregs.ss),
        tr: segment_to_kvm(&sregs.tr),
        ldt: segment_to_kvm(&sregs.ldt),
        gdt: table_to_kvm(sregs.gdt),
        idt: table_to_kvm(sregs.idt),
        cr0: sregs.cr0,
        cr2: sregs.cr2,
        cr3: sregs.cr3,
        cr4: sregs.cr4,
        cr8,
        efer: sregs.efer,
        apic_base,
        // Interrupts that are being delivered are among the events.
        interrupt_bitmap: [0; 4],
    }
}

pub(super) fn sregs_from_kvm(sregs: &kvm::kvm_sregs) -> Sregs {
    Sregs {
        cs: segment_from_kvm(&sregs.cs),
        ds: segment_from_kvm(&sregs.ds),
        es: segment_from_kvm(&sregs.es),
        fs: segment_from_kvm(&sregs.fs),
        gs: segment_from_kvm(&sregs.gs),
        ss: segment_from_kvm(&sregs.ss),
        tr: segment_from_kvm(&sregs.tr),
        ldt: segment_from_kvm(&sregs.ldt),
        gdt: table_from_kvm(&sregs.gdt),
        idt: table_from_kvm(&sregs.idt),
        cr0: sregs.cr0,
        cr2: sregs.cr2,
        cr3: sregs.cr3,
        cr4: sregs.cr4,
        efer: sregs.efer,
    }
}

/// Puts the x87 and SSE registers into the area of `XSAVE` (Intel SDM vol. 1, 13.4). The other components stay as they
/// are.
///
/// Not `kvm_fpu`, in which the kernel leaves MXCSR out.
pub(super) fn fpu_to_kvm(fpu: &Fpu, xsave: &mut kvm::kvm_xsave) {
    let words = &mut xsave.region;
    words[0] = u32::from(fpu.fcw) | u32::from(fpu.fsw) << 16;
    words[1] = u32::from(fpu.ftwx) | u32::from(fpu.last_opcode) << 16;
    put_wide(words, 2, fpu.last_ip);
    put_wide(words, 4, fpu.last_dp);
    words[MXCSR] = fpu.mxcsr;
    for (index, register) in (0..).zip(&fpu.fpr) {
        put_register(words, ST0 + 4 * index, register);
    }
    for (index, register) in (0..).zip(&fpu.xmm) {
        put_register(words, XMM0 + 4 * index, register);
    }
    words[XSTATE_BV] |= X87_AND_SSE;
}

/// The x87 and SSE registers of an area of `XSAVE`.
pub(super) fn fpu_from_kvm(xsave: &kvm::kvm_xsave) -> Fpu {
    let words = &xsave.region;
    let [fcw, fsw] = halves(words[0]);
    let [ftwx, last_opcode] = halves(words[1]);
    Fpu {
        fpr: from_fn(|index| register(words, ST0 + 4 * index)),
        fcw,
        fsw,
        ftwx: ftwx.to_le_bytes()[0],
        last_opcode,
        last_ip: wide(words, 2),
        last_dp: wide(words, 4),
        xmm: from_fn(|index| register(words, XMM0 + 4 * index)),
        mxcsr: words[MXCSR],
    }
}

/// The low one comes first.
fn halves(word: u32) -> [u16; 2] {
    let [a, b, c, d] = word.to_le_bytes();
    [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])]
}

fn wide(words: &Area, at: usize) -> u64 {
    u64::from(words[at]) | u64::from(words[at + 1]) << 32
}

fn put_wide(words: &mut Area, at: usize, value: u64) {
    put_bytes(&mut words[at..at + 2], &value.to_le_bytes());
}

fn register(words: &Area, at: usize) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (bytes, word) in bytes.chunks_exact_mut(4).zip(&words[at..at + 4]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

fn put_register(words: &mut Area, at: usize, register: &[u8; 16]) {
    put_bytes(&mut words[at..at + 4], register);
}

fn put_bytes(words: &mut [u32], bytes: &[u8]) {
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
}

pub(super) fn debug_to_kvm(debug: &DebugRegs) -> kvm::kvm_debugregs {
    kvm::kvm_debugregs {
        db: debug.db,
        dr6: debug.dr6,
        dr7: debug.dr7,
        ..kvm::kvm_debugregs::default()
    }
}

pub(super) fn debug_from_kvm(debug: &kvm::kvm_debugregs) -> DebugRegs {
    DebugRegs {
        db: debug.db,
        dr6: debug.dr6,
        dr7: debug.dr7,
    }
}

/// What is pending or masked, as one value that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Events {
    injected: Option<Injection>,
    nmi_pending: bool,
    nmi_masked: bool,
    interrupt_shadow: bool,
    smm: bool,
    /// For how the shadow came about: a processor that has interrupts off cannot be in that of `STI`.
    has_if: bool,
}

impl Events {
    pub(super) fn of(state: &VcpuState) -> Events {
        Events {
            injected: state.injected,
            nmi_pending: state.nmi_pending,
            nmi_masked: state.nmi_masked,
            interrupt_shadow: state.interrupt_shadow,
            smm: state.smm,
            has_if: state.regs.rflags & RFLAGS_IF != 0,
        }
    }

    /// Whether an interrupt can be injected.
    pub(super) fn is_ready_for_interrupt(&self) -> bool {
        self.has_if && !self.interrupt_shadow && self.injected.is_none()
    }

    /// `sets_smm`: also whether it is in system management mode.
    pub(super) fn to_kvm(self, sets_smm: bool) -> kvm::kvm_vcpu_events {
        let mut events = kvm::kvm_vcpu_events {
            flags: kvm::KVM_VCPUEVENT_VALID_NMI_PENDING | kvm::KVM_VCPUEVENT_VALID_SHADOW,
            ..kvm::kvm_vcpu_events::default()
        };
        match self.injected {
            None => {}
            Some(injection) if injection.kind == InjectionKind::Exception => {
                events.exception.injected = 1;
                events.exception.nr = injection.vector;
                events.exception.has_error_code = injection.error_code.is_some().into();
                events.exception.error_code = injection.error_code.unwrap_or_default();
            }
            Some(injection) => {
                events.interrupt.injected = 1;
                events.interrupt.nr = injection.vector;
                events.interrupt.soft = (injection.kind == InjectionKind::SoftwareInterrupt).into();
            }
        }
        events.interrupt.shadow = match (self.interrupt_shadow, self.has_if) {
            (false, _) => 0,
            (true, false) => SHADOW_MOV_SS,
            (true, true) => SHADOW_STI,
        };
        events.nmi.pending = self.nmi_pending.into();
        events.nmi.masked = self.nmi_masked.into();
        if sets_smm {
            events.flags |= kvm::KVM_VCPUEVENT_VALID_SMM;
            events.smi.smm = self.smm.into();
            events.smi.smm_inside_nmi = (self.smm && self.nmi_masked).into();
        }
        events
    }
}

/// Puts what the kernel says is pending or masked into `state`.
pub(super) fn events_from_kvm(events: &kvm::kvm_vcpu_events, state: &mut VcpuState) {
    let (exception, interrupt) = (&events.exception, &events.interrupt);
    state.injected = if exception.injected != 0 || exception.pending != 0 {
        Some(Injection {
            kind: InjectionKind::Exception,
            vector: exception.nr,
            error_code: (exception.has_error_code != 0).then_some(exception.error_code),
        })
    } else if interrupt.injected != 0 {
        Some(Injection {
            kind: if interrupt.soft != 0 {
                InjectionKind::SoftwareInterrupt
            } else {
                InjectionKind::Interrupt
            },
            vector: interrupt.nr,
            error_code: None,
        })
    } else {
        None
    };
    state.nmi_pending = events.nmi.pending != 0 || events.nmi.injected != 0;
    state.nmi_masked = events.nmi.masked != 0;
    state.interrupt_shadow = interrupt.shadow != 0;
    state.smm = events.smi.smm != 0;
}
