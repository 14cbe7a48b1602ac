//! Segments, gates, privilege levels, faults upon faults.

use flatview_accel::{Exit, Segment, Vcpu, VcpuState};

use crate::board::{Board, CODE, gate};

/// At 0x28: a task state segment at 0x4000, whose stack for level 0 is 0x10:0x6000.
fn with_task(board: &mut Board) {
    board.load(0x828, &0x0000_8b00_4000_0067_u64.to_le_bytes());
    board.load(0x4004, &[0, 0x60, 0, 0, 0x10, 0, 0, 0]);
    board.set(|state| {
        state.sregs.tr = Segment {
            base: 0x4000,
            limit: 0x67,
            selector: 0x28,
            type_: 11,
            present: true,
            ..Segment::default()
        };
    });
}

/// Goes to level 3, to 0x5000, with the stack at 0x7000.
const TO_USER: &[u8] = &[
    0x6a, 0x23, // push 0x23
    0x68, 0x00, 0x70, 0x00, 0x00, // push 0x7000
    0x68, 0x02, 0x30, 0x00, 0x00, // push 0x3002
    0x6a, 0x1b, // push 0x1b
    0x68, 0x00, 0x50, 0x00, 0x00, // push 0x5000
    0xcf, // iretd
];

#[test]
fn an_interrupt_from_level_3_changes_the_stack_and_iret_changes_it_back() {
    let mut board = Board::protected(TO_USER);
    with_task(&mut board);
    // int 0x30; mov ebx, 1; hlt faults at level 3
    board.load(0x5000, &[0xcd, 0x30, 0xbb, 1, 0, 0, 0, 0xf4]);
    board.load(0x2000 + 8 * 0x30, &gate(8, 0x5800, 0xee).to_le_bytes());
    // mov eax, [esp + 12]; mov ecx, [esp + 16]; mov edx, [esp + 4]; mov esi, esp; iretd
    board.load(
        0x5800,
        &[
            0x8b, 0x44, 0x24, 12, 0x8b, 0x4c, 0x24, 16, 0x8b, 0x54, 0x24, 4, 0x89, 0xe6, 0xcf,
        ],
    );
    assert_eq!(board.run_to_exception(), 13);
    let state = board.state();
    let regs = state.regs;
    assert_eq!((regs.rax, regs.rcx, regs.rdx), (0x7000, 0x23, 0x1b));
    assert_eq!((regs.rsi, regs.rbx), (0x6000 - 20, 1));
    // The frame of #GP: error code 0, and where HLT is.
    assert_eq!((board.u32(0x6000 - 24), board.u32(0x6000 - 20)), (0, 0x5007));
    assert_eq!(state.sregs.ss.dpl, 0);
}

#[test]
fn level_3_may_not_use_a_gate_of_level_0_nor_privileged_instructions() {
    // int 0x20; cli; in al, 0x10; mov eax, cr0; lgdt [0]; the error code of INT is that of the gate.
    for (program, error) in [
        (&[0xcd, 0x20][..], 0x20 * 8 + 2),
        (&[0xfa], 0),
        (&[0xe4, 0x10], 0),
        (&[0x0f, 0x20, 0xc0], 0),
        (&[0x0f, 0x01, 0x15, 0, 0, 0, 0], 0),
        (&[0x0f, 0x30], 0),
        // mov ds, [a selector of level 0]
        (&[0xb8, 0x10, 0, 0, 0, 0x8e, 0xd8], 0x10),
    ] {
        let mut board = Board::protected(TO_USER);
        with_task(&mut board);
        board.load(CODE + 8, &[0x02, 0x00]); // IOPL 0
        board.load(0x5000, program);
        assert_eq!(board.run_to_exception(), 13, "{program:x?}");
        assert_eq!(board.u32(0x6000 - 24), error, "{program:x?}");
    }
}

#[test]
fn the_io_map_of_a_task_allows_ports() {
    let mut board = Board::protected(TO_USER);
    with_task(&mut board);
    board.load(CODE + 8, &[0x02, 0x00]);
    board.load(0x4066, &[0x68, 0]);
    // Port 0x10 is allowed, 0x11 is not.
    board.load(0x4068, &[0xff, 0xff, 0xfe, 0xff, 0xff]);
    board.set(|state| state.sregs.tr.limit = 0x6c);
    board.load(0x5000, &[0xe4, 0x10, 0x66, 0xe5, 0x10]); // in al, 0x10; in ax, 0x10
    assert_eq!(board.run_to_exception(), 13);
    assert_eq!(board.u32(0x6000 - 20), 0x5002);
    assert_eq!(board.ports.log.lock().unwrap().times.len(), 1);
}

#[test]
fn a_call_gate_takes_parameters_along_and_a_return_drops_segments() {
    let mut board = Board::protected(TO_USER);
    with_task(&mut board);
    // At 0x30: a call gate to 8:0x5800 with two parameters, for level 3.
    board.load(0x830, &(gate(8, 0x5800, 0xec) | 2 << 32).to_le_bytes());
    // push 11; push 22; call 0x33:0; hlt
    board.load(0x5000, &[0x6a, 11, 0x6a, 22, 0x9a, 0, 0, 0, 0, 0x33, 0, 0xf4]);
    // mov eax, [esp + 8]; mov ebx, [esp + 12]; mov ecx, esp; mov dx, 0x10; mov ds, dx; retf 8
    board.load(
        0x5800,
        &[
            0x8b, 0x44, 0x24, 8, 0x8b, 0x5c, 0x24, 12, 0x89, 0xe1, 0x66, 0xba, 0x10, 0, 0x8e, 0xda, 0xca, 8,
            0,
        ],
    );
    assert_eq!(board.run_to_exception(), 13);
    let state = board.state();
    assert_eq!(
        (state.regs.rax, state.regs.rbx, state.regs.rcx),
        (22, 11, 0x6000 - 24)
    );
    assert_eq!(
        (board.u32(0x6000 - 20), board.u32(0x6000 - 8)),
        (0x500b, 0x7000),
        "HLT, and ESP without parameters"
    );
    assert!(state.sregs.ds.unusable);
}

#[test]
fn segment_loads_are_checked() {
    for (descriptor, selector, vector, error) in [
        // Beyond the table.
        (0, 0x80, 13, 0x80),
        // Not present.
        (0x00cf_1300_0000_ffff_u64, 0x38, 11, 0x38),
        // Code that cannot be read.
        (0x00cf_9900_0000_ffff, 0x38, 13, 0x38),
        // A system segment, in the LDT of which there is none.
        (0x0000_8200_0000_ffff, 0x3c, 13, 0x3c),
    ] {
        // mov es, ax
        let mut board = Board::protected(&[0x8e, 0xc0]);
        board.load(0x838, &descriptor.to_le_bytes());
        board.set(|state| state.regs.rax = selector);
        assert_eq!(board.run_to_exception(), vector, "{selector:#x}");
        assert_eq!(board.u32(0x8000 - 16), error);
    }
}

#[test]
fn a_loaded_descriptor_is_marked_as_accessed() {
    let mut board = Board::protected(&[0x8e, 0xc0, 0xf4]);
    board.load(0x838, &0x0040_9200_1000_00ff_u64.to_le_bytes());
    board.set(|state| state.regs.rax = 0x38);
    let es = board.run_to_halt().sregs.es;
    assert_eq!((es.base, es.limit, es.type_), (0x1000, 0xff, 3));
    assert_eq!(board.u8(0x838 + 5), 0x93);
}

#[test]
fn a_null_segment_cannot_be_used_and_limits_hold() {
    // mov es, ax; mov bl, es:[0]
    let mut board = Board::protected(&[0x8e, 0xc0, 0x26, 0x8a, 0x1d, 0, 0, 0, 0]);
    assert_eq!(board.run_to_exception(), 13);
    // mov eax, [0x1d] in a segment of 0x20 bytes
    let mut board = Board::protected(&[0xa1, 0x1d, 0, 0, 0]);
    board.set(|state| state.sregs.ds.limit = 0x1f);
    assert_eq!(board.run_to_exception(), 13);
    // push eax on a stack that has no room
    let mut board = Board::protected(&[0x50]);
    with_task(&mut board);
    board.set(|state| {
        state.sregs.ss.limit = 0x7fff;
        state.regs.rsp = 0x9000;
    });
    // The handler has no stack either: a double fault, for which there is none, too.
    assert_eq!(board.run(), Exit::Shutdown);
}

#[test]
fn a_fault_in_a_handler_s_gate_is_a_double_fault() {
    // #GP whose gate is not present: #NP, so #DF with error code 0.
    let mut board = Board::protected(&[0x8e, 0xc0]);
    board.load(0x2000 + 8 * 13 + 5, &[0x0e]);
    board.set(|state| state.regs.rax = 0x80);
    assert_eq!(board.run_to_exception(), 8);
    assert_eq!(board.u32(0x8000 - 16), 0);
}

#[test]
fn a_fault_in_a_double_fault_shuts_down() {
    let mut board = Board::protected(&[0x0f, 0x0b]);
    board.set(|state| state.sregs.idt.limit = 0);
    assert_eq!(board.run(), Exit::Shutdown);
    assert_eq!(board.run(), Exit::Shutdown, "until there is a reset");
}

const SIXTEEN: &[u8] = &[
    0x9a, 0x00, 0x01, 0x00, 0x00, 0x38, 0x00, // call 0x38:0x100
    0xbe, 0x01, 0x00, 0x00, 0x00, // mov esi, 1
    0xf4, // hlt
];

#[test]
fn code_of_16_bits_in_protected_mode() {
    let mut board = Board::protected(SIXTEEN);
    // At 0x38: code of 16 bits at 0x10000. mov ax, 0x1234; mov bx, sp; o32 retf
    board.load(0x838, &0x0000_9b01_0000_ffff_u64.to_le_bytes());
    board.load(0x10100, &[0xb8, 0x34, 0x12, 0x89, 0xe3, 0x66, 0xcb]);
    let regs = board.run_to_halt().regs;
    assert_eq!(
        (regs.rax, regs.rbx, regs.rsi, regs.rsp),
        (0x1234, 0x8000 - 8, 1, 0x8000)
    );
}

const LOOKS: &[u8] = &[
    0xb9, 0x10, 0x00, 0x00, 0x00, // mov ecx, 0x10
    0x0f, 0x02, 0xc1, // lar eax, ecx
    0x0f, 0x94, 0xc2, // setz dl
    0x0f, 0x03, 0xd9, // lsl ebx, ecx
    0xb9, 0x80, 0x00, 0x00, 0x00, // mov ecx, 0x80
    0x0f, 0x02, 0xf1, // lar esi, ecx
    0x0f, 0x94, 0xc6, // setz dh
    0x66, 0xb9, 0x08, 0x00, // mov cx, 8
    0x0f, 0x00, 0xe9, // verw cx
    0x0f, 0x94, 0xc1, // sete cl
    0xb5, 0x08, // mov ch, 8
    0xf4, // hlt
];

#[test]
fn descriptors_are_looked_at() {
    let mut board = Board::protected(LOOKS);
    let regs = board.run_to_halt().regs;
    assert_eq!(
        (regs.rax, regs.rbx, regs.rdx & 0xffff, regs.rcx & 0xff),
        (0x00cf_9300, 0xffff_ffff, 1, 0)
    );
}

#[test]
fn arpl_that_changes_nothing_writes_nothing() {
    // arpl cs:[0x10000], ax
    let program = [0x2e, 0x63, 0x05, 0, 0, 1, 0, 0xf4];
    let mut board = Board::protected(&program);
    board.load(0x10000, &[3]);
    board.run_to_halt();
    let mut board = Board::protected(&program);
    board.set(|state| state.regs.rax = 1);
    assert_eq!(board.run_to_exception(), 13);
}

#[test]
fn fast_returns_lead_to_level_3_in_the_mode_that_rex_w_says() {
    // `SYSRET` takes its selectors from STAR and the address from RCX, `SYSEXIT` from IA32_SYSENTER_CS and RDX (Intel
    // SDM vol. 2, SYSRET and SYSEXIT).
    for (program, is_64, cs, ss, rip, rsp) in [
        (&[0x48, 0x0f, 0x07][..], true, 0x33, 0x2b, 0x5000, 0x8000),
        (&[0x0f, 0x07], false, 0x23, 0x2b, 0x5000, 0x8000),
        (&[0x48, 0x0f, 0x35], true, 0x2b, 0x33, 0x5800, 0x5000),
        (&[0x0f, 0x35], false, 0x1b, 0x23, 0x5800, 0x5000),
    ] {
        let mut board = Board::long(program);
        board.set(|state| {
            state.sregs.efer |= 1;
            state.msrs.star = 0x0020 << 48;
            state.msrs.sysenter[0] = 8;
            (state.regs.rcx, state.regs.rdx, state.regs.r11) = (0x5000, 0x5800, 0x3202);
        });
        assert_eq!(board.vcpu.step().unwrap(), Exit::Stepped);
        let VcpuState { regs, sregs, .. } = board.state();
        assert_eq!((regs.rip, regs.rsp), (rip, rsp), "{program:x?}");
        assert_eq!((sregs.cs.selector, sregs.ss.selector), (cs, ss), "{program:x?}");
        assert_eq!((sregs.cs.l, sregs.cs.db), (is_64, !is_64), "{program:x?}");
        assert_eq!((sregs.cs.dpl, sregs.ss.dpl), (3, 3), "{program:x?}");
        if program.ends_with(&[0x07]) {
            assert_eq!(regs.rflags, 0x3202, "{program:x?}");
        }
    }
}

/// Where the lower 2 MiB are seen.
const UPPER: u64 = 0xffff_8000_0000_0000;

#[test]
fn a_kernel_beyond_4_gib_serves_programs_in_compatibility_mode() {
    // At level 3, in code of 32 bits: int 0x30; int 0x31.
    let mut board = Board::protected(&[0xcd, 0x30, 0xcd, 0x31]);
    // All of IA-32e mode's tables are beyond 4 GiB (Intel SDM vol. 3, 3.5.2, 7.14 and 8.7), and one crosses a page.
    const IDT: u64 = 0x4ff8 - 16 * 0x30;
    const STACK: u64 = UPPER + 0x7000;
    for (at, entry) in [
        (0x1_0800, 0x1_1007),
        (0x1_1000, 0x1_2007),
        (0x1_2000, 0x87_u64),
        // Of what is below 4 GiB only the program is there.
        (0x1_0000, 0x1_3007),
        (0x1_3000, 0x1_4007),
        (0x1_4000, 0x1_5007),
        (0x1_5008, 0x1007),
        (0x838, 0x00af_9b00_0000_ffff),
        (0x9004, STACK),
    ] {
        board.load(at, &entry.to_le_bytes());
    }
    for (vector, handler) in [(0x30, UPPER + 0x5800), (0x31, UPPER + 0x5810)] {
        board.load(
            IDT + 16 * vector,
            &gate(0x38, handler & 0xffff_ffff, 0xee).to_le_bytes(),
        );
        board.load(IDT + 16 * vector + 8, &(handler >> 32).to_le_bytes());
    }
    board.load(0x5800, &[0x48, 0xcf]); // iretq
    board.load(0x5810, &[0xf4]); // hlt
    board.set(|state| {
        let sregs = &mut state.sregs;
        (sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer) = (0x8000_0011, 0x1_0000, 0x20, 0x500);
        sregs.gdt.base = UPPER + 0x800;
        sregs.idt.base = UPPER + IDT;
        sregs.idt.limit = 0xfff;
        sregs.tr = Segment {
            base: UPPER + 0x9000,
            limit: 0x67,
            selector: 0x28,
            type_: 11,
            present: true,
            ..Segment::default()
        };
        (sregs.cs.selector, sregs.cs.dpl) = (0x1b, 3);
        (sregs.ss.selector, sregs.ss.dpl) = (0x23, 3);
    });
    let regs = board.run_to_halt().regs;
    assert_eq!((regs.rip, regs.rsp), (UPPER + 0x5811, STACK - 40));
    let pushed: Vec<u64> = (0..5)
        .map(|at| board.ram.load(0x7000 - 40 + 8 * at).unwrap())
        .collect();
    assert_eq!(pushed, [CODE + 4, 0x1b, 2, 0x8000, 0x23]);
}
