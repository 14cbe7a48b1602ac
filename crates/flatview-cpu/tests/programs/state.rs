//! Reading and setting all registers.

use flatview_accel::{
    AccelError, DebugRegs, DescriptorTable, Fpu, Injection, InjectionKind, Msrs, Regs, Segment, Vcpu,
    VcpuState,
};
use flatview_cpu::{SoftAccelerator, cpuid_leaves, instruction_name};
use proptest::array::{uniform4, uniform8, uniform16, uniform32};
use proptest::prelude::*;

use crate::board::{Board, CODE, gate};

fn canonical() -> impl Strategy<Value = u64> {
    any::<i64>().prop_map(|address| (address >> 16).cast_unsigned())
}

fn segment() -> impl Strategy<Value = Segment> {
    let numbers = (any::<u64>(), any::<u32>(), any::<u16>(), 0..16_u8, 0..4_u8);
    (numbers, any::<[bool; 7]>()).prop_map(|(numbers, [present, db, s, l, g, avl, unusable])| {
        let (base, limit, selector, type_, dpl) = numbers;
        Segment {
            base,
            limit,
            selector,
            type_,
            present,
            dpl,
            db,
            s,
            l,
            g,
            avl,
            unusable,
        }
    })
}

fn fpu() -> impl Strategy<Value = Fpu> {
    let words = (
        any::<u16>(),
        any::<u16>(),
        any::<u8>(),
        0..0x800_u16,
        any::<[u64; 2]>(),
    );
    let registers = (
        uniform8(any::<[u8; 10]>()),
        uniform16(any::<[u8; 16]>()),
        0..0x1_0000_u32,
    );
    (words, registers).prop_map(|(words, (st, xmm, mxcsr))| {
        let (fcw, fsw, ftwx, last_opcode, [last_ip, last_dp]) = words;
        let fpr = st.map(|bytes| {
            let mut wide = [0; 16];
            wide[..10].copy_from_slice(&bytes);
            wide
        });
        Fpu {
            fpr,
            fcw,
            fsw,
            ftwx,
            last_opcode,
            last_ip,
            last_dp,
            xmm,
            mxcsr,
        }
    })
}

fn msrs() -> impl Strategy<Value = Msrs> {
    let addresses = uniform8(canonical());
    let pat = uniform8(prop_oneof![Just(0_u8), Just(1), 4..8_u8]).prop_map(u64::from_le_bytes);
    (addresses, pat, uniform32(any::<u64>())).prop_map(|(addresses, pat, values)| Msrs {
        tsc: Some(values[31]),
        sysenter: [values[0], addresses[0], addresses[1]],
        star: values[1],
        syscall: [addresses[2], addresses[3], values[2]],
        kernel_gs_base: addresses[4],
        pat,
        misc_enable: values[3],
        mtrr_def_type: values[4],
        mtrr_fixed: std::array::from_fn(|index| values[5 + index]),
        mtrr_variable: std::array::from_fn(|index| values[16 + index % 15]),
    })
}

fn injection() -> impl Strategy<Value = Option<Injection>> {
    let interrupt = any::<u8>().prop_map(|vector| Injection {
        kind: InjectionKind::Interrupt,
        vector,
        error_code: None,
    });
    let exception = (0..32_u8, any::<Option<u32>>()).prop_map(|(vector, error_code)| Injection {
        kind: InjectionKind::Exception,
        vector,
        error_code,
    });
    prop::option::of(prop_oneof![interrupt, exception])
}

fn state() -> impl Strategy<Value = VcpuState> {
    let general = (uniform16(any::<u64>()), any::<u64>(), any::<u64>());
    let segments = (uniform8(segment()), any::<[(u64, u16); 2]>());
    // PE, MP, EM, TS, ET, NE, WP, AM, NW, CD, PG; paging with protection only.
    let control = (
        any::<u32>(),
        any::<[u64; 2]>(),
        0..0x800_u64,
        any::<(bool, bool)>(),
    );
    let debug = (uniform4(any::<u64>()), any::<(u32, u32)>());
    let rest = (any::<[bool; 5]>(), any::<u32>(), injection());
    (general, segments, control, fpu(), msrs(), debug, rest).prop_map(
        |(general, (segments, tables), control, fpu, msrs, debug, rest)| {
            let (cr0, [cr2, cr3], cr4, (is_long, has_nx)) = control;
            let (flags, smbase, injected) = rest;
            let mut state = VcpuState::default();
            // The flags that there are, but for VM; bit 1.
            state.regs = Regs::new(general.0, general.1, general.2 & 0x3d_7fd7 | 2);
            let sregs = &mut state.sregs;
            [
                sregs.cs, sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss, sregs.tr, sregs.ldt,
            ] = segments;
            [sregs.gdt, sregs.idt] = tables.map(|(base, limit)| DescriptorTable { base, limit });
            sregs.cr0 = u64::from(cr0 & 0xe005_003f);
            if sregs.cr0 >> 31 != 0 || is_long {
                sregs.cr0 |= 1;
            }
            (sregs.cr2, sregs.cr3, sregs.cr4) = (cr2, cr3, cr4 | if is_long { 0x20 } else { 0 });
            sregs.efer = if is_long { 0x501 } else { 0 } | if has_nx { 0x800 } else { 0 };
            (state.fpu, state.msrs) = (fpu, msrs);
            state.debug = DebugRegs {
                db: debug.0,
                dr6: u64::from(debug.1.0),
                dr7: u64::from(debug.1.1),
            };
            (state.injected, state.smbase) = (injected, smbase);
            [
                state.nmi_pending,
                state.halted,
                state.interrupt_shadow,
                state.nmi_masked,
                state.smm,
            ] = flags;
            state
        },
    )
}

/// The board's vCPU, and an assistant on the same board.
fn assistant(board: &Board) -> impl Vcpu {
    SoftAccelerator::assistant()
        .create_soft_vcpu(&board.config)
        .unwrap()
}

proptest! {
    #[test]
    fn what_is_set_is_there(state in state()) {
        let mut board = Board::new();
        board.vcpu.set_state(&state).unwrap();
        prop_assert_eq!(board.state(), state.clone());
        let mut helper = assistant(&board);
        let mut helped = state;
        helped.smm = false;
        helper.set_state(&helped).unwrap();
        prop_assert_eq!(helper.state().unwrap(), helped);
    }
}

#[test]
fn a_refused_state_changes_nothing() {
    let mut board = Board::protected(&[0x90]);
    let before = board.state();
    let changes: [fn(&mut VcpuState); 14] = [
        |state| state.sregs.cr0 = 1 << 31,
        |state| state.sregs.cr0 |= 1 << 40,
        |state| state.sregs.cr4 |= 1 << 18,
        |state| state.sregs.efer |= 1 << 13,
        |state| state.sregs.efer |= 1 << 14,
        |state| state.sregs.efer |= 1 << 10,
        |state| state.regs.rflags |= 1 << 17,
        |state| state.fpu.mxcsr |= 1 << 16,
        |state| state.debug.dr7 |= 1 << 32,
        |state| state.debug.dr6 |= 1 << 32,
        |state| state.msrs.pat = 2,
        |state| state.msrs.syscall[0] = 1 << 63,
        |state| state.msrs.kernel_gs_base = 1 << 47,
        |state| {
            state.injected = Some(Injection {
                kind: InjectionKind::Exception,
                vector: 32,
                error_code: None,
            });
        },
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut state = before.clone();
        (state.regs.rax, state.fpu.fcw, state.sregs.cr2) = (77, 77, 77);
        change(&mut state);
        let refused = board.vcpu.set_state(&state);
        assert!(matches!(refused, Err(AccelError::BadState { .. })), "{index}");
        assert_eq!(board.state(), before, "{index}");
    }
}

#[test]
fn an_assistant_has_more_states_but_not_all() {
    let board = Board::protected(&[0x90]);
    let mut helper = assistant(&board);
    let before = VcpuState::power_on(0);
    // UMIP, VMXE, SMXE, FSGSBASE, PCIDE, OSXSAVE, KL, SMEP, SMAP, PKE, UINTR
    for bit in [11, 13, 14, 16, 17, 18, 19, 20, 21, 22, 25] {
        let mut state = before.clone();
        state.sregs.cr4 |= 1 << bit;
        helper.set_state(&state).unwrap();
        assert_eq!(helper.state().unwrap().sregs.cr4, 1 << bit);
    }
    // LA57, CET, PKS, LAM_SUP, FRED
    for bit in [12, 23, 24, 28, 32] {
        let mut state = before.clone();
        state.sregs.cr4 |= 1 << bit;
        assert!(helper.set_state(&state).is_err(), "{bit}");
    }
    // SVME, FFXSR, TCE, MCOMMIT, INTWB, AIBRSE
    for bit in [12, 14, 15, 17, 18, 21] {
        let mut state = before.clone();
        state.sregs.efer |= 1 << bit;
        helper.set_state(&state).unwrap();
    }
    let mut state = before;
    state.smm = true;
    assert!(helper.set_state(&state).is_err());
}

#[test]
fn a_reset_leads_back_to_power_on() {
    let mut board = Board::new();
    let mut fresh = board.state();
    assert_eq!(
        (fresh.fpu.fcw, fresh.fpu.ftwx, fresh.fpu.mxcsr),
        (0x40, 0xff, 0x1f80)
    );
    let mut expected = VcpuState::power_on(0x0006_0fb1);
    (fresh.msrs.tsc, expected.msrs.tsc) = (None, None);
    assert_eq!(fresh, expected);
    board.set(|state| {
        state.fpu.xmm[3] = [7; 16];
        state.msrs.star = 9;
        state.debug.dr7 = 0x401;
        state.nmi_pending = true;
        state.halted = true;
    });
    board.vcpu.reset().unwrap();
    let mut after = board.state();
    after.msrs.tsc = None;
    assert_eq!(after, expected);
}

#[test]
fn registers_of_the_x87_are_counted_from_the_top() {
    // fninit; fldpi; fld1
    let mut board = Board::protected(&[0xdb, 0xe3, 0xd9, 0xeb, 0xd9, 0xe8, 0xf4]);
    let state = board.run_to_halt();
    let one = [0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f];
    assert_eq!(
        (state.fpu.fsw >> 11 & 7, state.fpu.fpr[0][..10].to_vec()),
        (6, one.to_vec())
    );
    assert_eq!(state.fpu.fpr[1][8..10], [0, 0x40]);

    // fstp qword [0x5000]: of a state that has the number in physical register 2.
    let mut board = Board::protected(&[0xdd, 0x1d, 0, 0x50, 0, 0, 0xf4]);
    board.set(|state| {
        (state.fpu.fcw, state.fpu.fsw, state.fpu.ftwx) = (0x37f, 2 << 11, 1 << 2);
        state.fpu.fpr[0][..10].copy_from_slice(&one);
    });
    let state = board.run_to_halt();
    assert_eq!(
        (board.u32(0x5004), state.fpu.fsw >> 11 & 7, state.fpu.ftwx),
        (0x3ff0_0000, 3, 0)
    );
}

#[test]
fn the_time_stamp_counter_goes_on_if_none_is_set() {
    let mut board = Board::protected(&[0x90, 0x90, 0x90, 0xf4]);
    board.set(|state| state.msrs.tsc = Some(1 << 40));
    board.set(|state| state.msrs.tsc = None);
    let state = board.run_to_halt();
    assert_eq!(state.msrs.tsc, Some((1 << 40) + 4));
}

fn inject(board: &mut Board, kind: InjectionKind, vector: u8, error_code: Option<u32>) -> VcpuState {
    board.set(|state| {
        state.halted = true;
        state.injected = Some(Injection {
            kind,
            vector,
            error_code,
        });
    });
    board.run_to_halt()
}

#[test]
fn an_interrupt_that_was_taken_elsewhere_is_delivered() {
    // Interrupts are off: the other one has looked.
    let mut board = Board::protected(&[0x40, 0xf4]);
    let state = inject(&mut board, InjectionKind::Interrupt, 0x31, None);
    assert_eq!((state.regs.rip, state.injected), (0x3000 + 16 * 0x31 + 1, None));
    assert_eq!(u64::from(board.u32(0x8000 - 12)), CODE);
}

#[test]
fn an_exception_is_delivered_with_its_error_code() {
    let mut board = Board::protected(&[0x40, 0xf4]);
    let state = inject(&mut board, InjectionKind::Exception, 13, Some(0x18));
    assert_eq!(state.regs.rip, 0x3000 + 16 * 13 + 1);
    assert_eq!(
        (
            board.u32(state.regs.rsp),
            u64::from(board.u32(state.regs.rsp + 4))
        ),
        (0x18, CODE)
    );
}

#[test]
fn a_software_interrupt_needs_its_gate() {
    let mut board = Board::protected(&[0x40, 0xf4]);
    let state = inject(&mut board, InjectionKind::SoftwareInterrupt, 0x30, None);
    assert_eq!(
        (state.regs.rip, u64::from(board.u32(0x8000 - 12))),
        (0x3000 + 16 * 0x30 + 1, CODE)
    );
    // Not for level 0.
    let mut board = Board::protected(&[0x40, 0xf4]);
    board.load(0x2000 + 8 * 0x30, &gate(8, 0x5000, 0x0e).to_le_bytes());
    let state = inject(&mut board, InjectionKind::SoftwareInterrupt, 0x30, None);
    assert_eq!(
        (state.regs.rip, board.u32(state.regs.rsp)),
        (0x3000 + 16 * 11 + 1, 0x30 << 3 | 2)
    );
}

#[test]
fn an_nmi_that_waits_is_taken_when_it_may_be() {
    let mut board = Board::protected(&[0x40, 0xf4]);
    board.set(|state| (state.nmi_pending, state.nmi_masked) = (true, true));
    let state = board.run_to_halt();
    assert_eq!((state.regs.rax, state.nmi_pending), (1, true));
    board.set(|state| state.nmi_masked = false);
    let state = board.run_to_halt();
    assert_eq!(
        (state.regs.rip, state.nmi_pending, state.nmi_masked),
        (0x3000 + 16 * 2 + 1, false, true)
    );
}

#[test]
fn names_of_instructions() {
    for (bytes, bits, name) in [
        (&[0xf3, 0x0f, 0xb8, 0xc1][..], 64, Some("popcnt")),
        (&[0xcc], 32, Some("int3")),
        (&[0x0f, 0xae, 0x10], 16, Some("ldmxcsr")),
        (&[0xc5, 0xf8, 0x77], 64, None),
        (&[0x0f], 64, None),
        (&[], 64, None),
        (&[0x90], 63, None),
    ] {
        assert_eq!(instruction_name(bytes, bits).as_deref(), name, "{bytes:x?}");
    }
}

#[test]
fn the_leaves_are_what_the_cpu_answers() {
    let leaves = cpuid_leaves();
    let numbers: Vec<u32> = leaves.iter().map(|leaf| leaf.leaf).collect();
    assert_eq!(
        numbers,
        [
            0,
            1,
            0x4000_0000,
            0x8000_0000,
            0x8000_0001,
            0x8000_0002,
            0x8000_0003,
            0x8000_0008
        ]
    );
    for leaf in leaves {
        // cpuid
        let mut board = Board::protected(&[0x0f, 0xa2, 0xf4]);
        board.set(|state| state.regs.rax = u64::from(leaf.leaf));
        let regs = board.run_to_halt().regs;
        let answer = [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx].map(u64::from);
        assert_eq!([regs.rax, regs.rbx, regs.rcx, regs.rdx], answer, "{leaf:x?}");
    }
}
