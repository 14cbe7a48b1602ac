//! Single instructions for another accelerator.

use flatview_accel::{Exit, Injection, InjectionKind, Signals, Vcpu, VcpuState};
use flatview_cpu::SoftAccelerator;

use crate::board::{Board, CODE, gate};

/// A step of an assistant in the board's state, changed.
fn step(board: &mut Board, change: impl FnOnce(&mut VcpuState)) -> (Exit, VcpuState, VcpuState) {
    let mut before = board.state();
    change(&mut before);
    let mut vcpu = SoftAccelerator::assistant()
        .create_soft_vcpu(&board.config)
        .unwrap();
    vcpu.set_state(&before).unwrap();
    let exit = vcpu.step().unwrap();
    let mut after = vcpu.state().unwrap();
    (before.msrs.tsc, after.msrs.tsc) = (None, None);
    (exit, before, after)
}

#[test]
fn what_the_assistant_does_not_know_it_leaves_alone() {
    for program in [
        &[0x0f, 0x01, 0xc1][..],               // vmcall
        &[0x0f, 0x01, 0xd0],                   // xgetbv
        &[0xc5, 0xf8, 0x77],                   // vzeroupper
        &[0x2e, 0xc4, 0xe2, 0x78, 0xf2, 0xc0], // andn
        &[0x62, 0xf1, 0x7c, 0x48, 0x58, 0xc0], // vaddps zmm0, zmm0, zmm0
        &[0x8f, 0xe9, 0x78, 0x01, 0xc8],       // an instruction of XOP
        &[0x0f, 0xa2],                         // cpuid
        &[0x0f, 0x32],                         // rdmsr
        &[0x44, 0x0f, 0x20, 0xc0],             // mov rax, cr8
    ] {
        let mut board = Board::long(program);
        let (exit, before, after) = step(&mut board, |state| {
            (state.regs.rcx, state.interrupt_shadow) = (0x1b, true);
            state.regs.rflags |= 0x100;
        });
        let Exit::Unemulated(instruction) = exit else {
            panic!("{program:x?}: {exit:?}");
        };
        assert!(instruction.as_slice().starts_with(program));
        assert_eq!(after, before, "{program:x?}");
    }
}

#[test]
fn what_is_undefined_is_the_guests() {
    for program in [
        &[0x0f, 0x0b][..],         // ud2
        &[0x0f, 0xb9, 0xc0],       // ud1
        &[0x0f, 0xff, 0xc0],       // ud0
        &[0xf0, 0x90],             // lock nop
        &[0xf0, 0x01, 0xc0],       // lock add eax, eax
        &[0x0f, 0x04],             // nothing
        &[0xfe, 0xf8],             // nothing
        &[0x66, 0xc5, 0xf8, 0x77], // no prefix may come before VEX
    ] {
        let mut board = Board::protected(program);
        let (exit, _, after) = step(&mut board, |_| ());
        assert_eq!(
            (exit, after.regs.rip),
            (Exit::Stepped, 0x3000 + 16 * 6),
            "{program:x?}"
        );
    }
}

#[test]
fn an_assistant_leaves_signals_alone() {
    let signals = Signals::INTR | Signals::NMI | Signals::SMI | Signals::INIT | Signals::EXIT;
    let mut board = Board::protected(&[0x40, 0xf4]);
    board.control.raise(signals);
    let (exit, _, after) = step(&mut board, |state| {
        state.regs.rflags |= 0x200;
        state.nmi_pending = true;
    });
    assert_eq!(
        (exit, after.regs.rax, after.nmi_pending),
        (Exit::Stepped, 1, true)
    );
    assert_eq!(board.control.signals(), signals);
}

#[test]
fn a_halt_and_a_fault_are_steps() {
    let mut board = Board::protected(&[0xf4]);
    let (exit, _, after) = step(&mut board, |_| ());
    assert_eq!(
        (exit, after.halted, after.regs.rip),
        (Exit::Stepped, true, CODE + 1)
    );
    let (exit, before, after) = step(&mut board, |state| state.halted = true);
    assert_eq!((exit, after), (Exit::Halted, before));
    // An IDT that is too short.
    let mut board = Board::protected(&[0x0f, 0x0b]);
    let (exit, ..) = step(&mut board, |state| state.sregs.idt.limit = 0);
    assert_eq!(exit, Exit::Shutdown);
}

#[test]
fn an_assistant_remembers_no_memory() {
    let mut board = Board::protected(&[0xa1, 0x10, 0, 0x40, 0]); // mov eax, [0x400010]
    for (at, entry) in [(0x9000, 0x83_u32), (0x9004, 0x83), (0x10, 1), (0x20_0010, 2)] {
        board.load(at, &entry.to_le_bytes());
    }
    let mut state = board.state();
    (state.sregs.cr3, state.sregs.cr4, state.sregs.cr0) = (0x9000, 0x10, 0x8000_0011);
    let mut vcpu = SoftAccelerator::assistant()
        .create_soft_vcpu(&board.config)
        .unwrap();
    let mut rax = || {
        vcpu.set_state(&state).unwrap();
        assert_eq!(vcpu.step().unwrap(), Exit::Stepped);
        vcpu.state().unwrap().regs.rax
    };
    assert_eq!(rax(), 1);
    // Others change page tables, and code, and tell nobody.
    board.load(0x9004, &0xa007_u32.to_le_bytes());
    board.load(0xa000, &0x20_0007_u32.to_le_bytes());
    assert_eq!(rax(), 2);
    board.load(CODE, &[0x83, 0xc8, 0x55]); // or eax, 0x55
    assert_eq!(rax(), 0x55);
    assert_eq!(vcpu.step().unwrap(), Exit::Stepped);
}

/// 64-bit code, with a page of user mode at 2 MiB; the rest is the supervisor's.
fn guarded(program: &[u8]) -> Board {
    let mut board = Board::long(program);
    for (at, entry) in [
        (0x9000, 0xa007_u64),
        (0xa000, 0xb007),
        (0xb000, 0x83),
        (0xb008, 0x20_0087),
    ] {
        board.load(at, &entry.to_le_bytes());
    }
    board.load(0x808, &0x00af_9b00_0000_ffff_u64.to_le_bytes());
    for vector in 0..0x40_u64 {
        let handler = gate(8, 0x3000 + 16 * vector, 0x8e);
        board.load(0x2000 + 16 * vector, &handler.to_le_bytes());
        board.load(0x2008 + 16 * vector, &[0; 8]);
    }
    board.set(|state| {
        (state.sregs.cr3, state.sregs.cr0, state.sregs.idt.limit) = (0x9000, 0x8001_0011, 0x3ff);
    });
    board
}

/// `mov eax, [0x200000]`
const LOADS: &[u8] = &[0x8b, 0x04, 0x25, 0, 0, 0x20, 0];
const FAULT: u64 = 0x3000 + 16 * 14;

#[test]
fn smap_and_smep() {
    let (smep, smap) = (1_u64 << 20, 1_u64 << 21);
    for (cr4, rflags, rip) in [(0, 2, CODE + 7), (smap, 2, FAULT), (smap, 1 << 18 | 2, CODE + 7)] {
        let (_, _, after) = step(&mut guarded(LOADS), |state| {
            state.sregs.cr4 |= cr4;
            state.regs.rflags = rflags;
        });
        assert_eq!(after.regs.rip, rip, "{cr4:x} {rflags:x}");
    }
    for (cr4, rip) in [(0, 0x20_0001), (smep, FAULT)] {
        let mut board = guarded(&[]);
        board.load(0x20_0000, &[0x90]);
        let (_, _, after) = step(&mut board, |state| {
            state.sregs.cr4 |= cr4;
            state.regs.rip = 0x20_0000;
        });
        assert_eq!(after.regs.rip, rip, "{cr4:x}");
    }
}

#[test]
fn protection_keys_are_left_to_others() {
    for (key, exits) in [(0_u64, false), (3, true)] {
        let mut board = guarded(LOADS);
        board.load(0xb008, &(0x20_0087 | key << 59).to_le_bytes());
        let (exit, ..) = step(&mut board, |state| state.sregs.cr4 |= 1 << 22);
        assert_eq!(matches!(exit, Exit::Unemulated(_)), exits, "{key}");
    }
}

#[test]
fn umip_and_identifiers_of_address_spaces() {
    // smsw eax, at level 3
    let mut board = guarded(&[0x0f, 0x01, 0xe0]);
    board.load(0xb000, &[0x87]);
    let (_, _, after) = step(&mut board, |state| {
        state.sregs.cr4 |= 1 << 11;
        (state.sregs.cs.dpl, state.sregs.ss.dpl) = (3, 3);
        (state.sregs.cs.selector, state.sregs.ss.selector) = (0x1b, 0x23);
        state.sregs.tr.limit = 0;
    });
    assert_ne!(after.regs.rip, CODE + 3);
    // mov cr3, rax
    let (_, _, after) = step(&mut guarded(&[0x0f, 0x22, 0xd8]), |state| {
        state.sregs.cr4 |= 1 << 17;
        state.regs.rax = 1 << 63 | 0x9003;
    });
    assert_eq!((after.regs.rip, after.sregs.cr3), (CODE + 3, 0x9003));
}

#[test]
fn what_only_an_assistant_has() {
    let (cf, zf) = (1, 1 << 6);
    for (program, rcx, rax, flags) in [
        (&[0xf3, 0x48, 0x0f, 0xb8, 0xc1][..], 0xf0f0, 8, 0), // popcnt rax, rcx
        (&[0xf3, 0x48, 0x0f, 0xb8, 0xc1], 0, 0, zf),
        (&[0xf3, 0x48, 0x0f, 0xbc, 0xc1], 0x100, 8, 0), // tzcnt rax, rcx
        (&[0xf3, 0x0f, 0xbc, 0xc1], 1 << 32, 32, cf),   // tzcnt eax, ecx
        (&[0xf3, 0x0f, 0xbc, 0xc1], 1, 0, zf),
        (&[0xf3, 0x0f, 0xbd, 0xc1], 1, 31, 0),          // lzcnt eax, ecx
        (&[0xf3, 0x48, 0x0f, 0xbd, 0xc1], 0, 64, cf),   // lzcnt rax, rcx
        (&[0x0f, 0x01, 0xcb], 0, 0xffff_ffff, 1 << 18), // stac
        (&[0x66, 0x0f, 0xae, 0x31], 0, 0xffff_ffff, 0), // clwb [rcx]
    ] {
        let mut board = Board::long(program);
        let (exit, _, after) = step(&mut board, |state| {
            (state.regs.rax, state.regs.rcx) = (0xffff_ffff, rcx)
        });
        assert_eq!(exit, Exit::Stepped, "{program:x?}");
        let end = CODE + program.len() as u64;
        assert_eq!(
            (after.regs.rip, after.regs.rax, after.regs.rflags),
            (end, rax, flags | 2),
            "{program:x?}"
        );
    }
    // The CPU by itself takes TZCNT for BSF, and does not know the others.
    let mut board = Board::protected(&[0xf3, 0x0f, 0xbc, 0xc1, 0xf3, 0x0f, 0xb8, 0xc1]);
    board.set(|state| (state.regs.rax, state.regs.rcx) = (5, 0));
    assert_eq!((board.run_to_exception(), board.state().regs.rax), (6, 5));
}

#[test]
fn forgetting_translations_by_identifier() {
    // invpcid rax, [0x5000]
    for (kind, pcid, is_fine) in [
        (2_u64, 0_u64, true),
        (0, 0xfff, true),
        (4, 0, false),
        (1, 0x1000, false),
    ] {
        let mut board = guarded(&[0x66, 0x0f, 0x38, 0x82, 0x04, 0x25, 0, 0x50, 0, 0]);
        board.load(0x5000, &pcid.to_le_bytes());
        let (_, _, after) = step(&mut board, |state| state.regs.rax = kind);
        assert_eq!(after.regs.rip == CODE + 10, is_fine, "{kind} {pcid:x}");
    }
}

#[test]
fn the_check_value_of_crc_32c() {
    // crc32 rax, rcx; crc32 eax, dl: of "123456789", complemented before and after.
    let program = [0xf2, 0x48, 0x0f, 0x38, 0xf1, 0xc1, 0xf2, 0x0f, 0x38, 0xf0, 0xc2];
    let mut board = Board::long(&program);
    let (_, _, middle) = step(&mut board, |state| {
        (state.regs.rax, state.regs.rdx) = (0xffff_ffff, u64::from(b'9'));
        state.regs.rcx = u64::from_le_bytes(*b"12345678");
    });
    let (_, _, after) = step(&mut board, |state| *state = middle);
    assert_eq!(after.regs.rax, 0xffff_ffff ^ 0xe306_9283);
}

#[test]
fn an_instruction_that_faults_is_not_traced() {
    for (program, handler) in [(&[0xf7, 0xf0][..], 0_u64), (&[0xcc], 3)] {
        let mut board = Board::protected(program); // div eax; int3
        let (_, _, after) = step(&mut board, |state| {
            state.regs.rax = 0;
            state.regs.rflags |= 0x100;
        });
        assert_eq!(after.regs.rip, 0x3000 + 16 * handler);
        // The handler's first instruction is not traced, either.
        let flags = board.u32(0x8000 - 4);
        assert_eq!((flags & 0x100, after.regs.rflags & 0x100), (0x100, 0));
    }
}

#[test]
fn tasks_and_virtual_8086_mode_are_left_to_others() {
    // int 0x30, through a task gate; the exception of ud2, too; iretd to virtual 8086 mode.
    for program in [&[0xcd, 0x30][..], &[0x0f, 0x0b], &[0xcf]] {
        let mut board = Board::protected(program);
        for vector in [6, 0x30] {
            board.load(0x2000 + 8 * vector, &(0x18 << 16 | 0xe5_u64 << 40).to_le_bytes());
        }
        board.load(0x8000, &[0; 8]);
        board.load(0x8008, &0x2_0002_u32.to_le_bytes());
        let (exit, before, after) = step(&mut board, |_| ());
        assert!(matches!(exit, Exit::Unemulated(_)), "{program:x?}");
        assert_eq!(after, before, "{program:x?}");
    }
}

#[test]
fn an_injection_is_a_step() {
    let mut board = Board::protected(&[0x40]);
    let injection = Injection {
        kind: InjectionKind::Exception,
        vector: 3,
        error_code: None,
    };
    let (exit, _, after) = step(&mut board, |state| state.injected = Some(injection));
    assert_eq!(
        (exit, after.regs.rip, after.injected),
        (Exit::Stepped, 0x3000 + 16 * 3, None)
    );
    // One that cannot be delivered here is there still.
    board.load(0x2000 + 8 * 3, &(0x18 << 16 | 0xe5_u64 << 40).to_le_bytes());
    let (exit, before, after) = step(&mut board, |state| {
        (state.injected, state.halted) = (Some(injection), true);
    });
    assert!(matches!(exit, Exit::Unemulated(_)));
    assert_eq!(after, before);
}

#[test]
fn bytes_are_shuffled_by_an_assistant_only() {
    // pshufb xmm0, [0x5000]: backwards, but zeros for the first two; bits 4 to 6 do not count.
    let program = [0x66, 0x0f, 0x38, 0x00, 0x04, 0x25, 0, 0x50, 0, 0];
    let mut board = Board::long(&program);
    let order = [
        0x80, 0xff, 0x7d, 0x7c, 0x7b, 0x7a, 0x79, 0x78, 7, 6, 5, 4, 3, 2, 1, 0,
    ];
    board.load(0x5000, &order);
    board.set(|state| {
        state.sregs.cr4 |= 1 << 9;
        for (byte, value) in state.fpu.xmm[0].iter_mut().zip(100..) {
            *byte = value;
        }
    });
    let (exit, _, after) = step(&mut board, |_| ());
    assert_eq!((exit, after.regs.rip), (Exit::Stepped, CODE + 10));
    let shuffled = [
        0, 0, 113, 112, 111, 110, 109, 108, 107, 106, 105, 104, 103, 102, 101, 100,
    ];
    assert_eq!(after.fpu.xmm[0], shuffled);
    // Not if its operand is not aligned, nor by the CPU itself.
    let (_, _, after) = step(
        &mut guarded(&[0x66, 0x0f, 0x38, 0x00, 0x04, 0x25, 1, 0x50, 0, 0]),
        |state| {
            state.sregs.cr4 |= 1 << 9;
        },
    );
    assert_eq!(after.regs.rip, 0x3000 + 16 * 13);
    let mut board = Board::protected(&[0x66, 0x0f, 0x38, 0x00, 0xc1]);
    board.set(|state| state.sregs.cr4 |= 1 << 9);
    assert_eq!(board.run_to_exception(), 6);
}
