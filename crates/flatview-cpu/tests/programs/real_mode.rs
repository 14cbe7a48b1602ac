//! Real mode, and what is left of protected mode in it.

use flatview_accel::Vcpu;

use crate::board::{Board, CODE};

#[test]
fn after_power_on_the_last_16_bytes_below_4_gib_are_executed() {
    let mut board = Board::new();
    // jmp 0:0x1000
    board.rom.write(0xff0, &[0xea, 0x00, 0x10, 0x00, 0x00]).unwrap();
    board.load(CODE, &[0x8c, 0xc8, 0xf4]); // mov ax, cs; hlt
    board.vcpu.reset().unwrap();
    assert_eq!(board.state().regs.rip, 0xfff0);
    assert_ne!(board.state().regs.rdx, 0);
    let state = board.run_to_halt();
    assert_eq!(
        (state.regs.rax, state.sregs.cs.base, state.sregs.cr0),
        (0, 0, 0x6000_0010)
    );
}

const BIG_REAL: &[u8] = &[
    0xfa, // cli
    0x0f, 0x01, 0x16, 0x00, 0x09, // lgdt [0x900]
    0x0f, 0x20, 0xc0, // mov eax, cr0
    0x0c, 0x01, // or al, 1
    0x0f, 0x22, 0xc0, // mov cr0, eax
    0xbb, 0x10, 0x00, // mov bx, 0x10
    0x8e, 0xdb, // mov ds, bx
    0x24, 0xfe, // and al, 0xfe
    0x0f, 0x22, 0xc0, // mov cr0, eax
    0x31, 0xdb, // xor bx, bx
    0x8e, 0xdb, // mov ds, bx
    0x66, 0xbe, 0x00, 0x00, 0x20, 0x00, // mov esi, 0x200000
    0x67, 0x66, 0x8b, 0x0e, // mov ecx, [esi]
    0x66, 0xbe, 0x00, 0x00, 0x30, 0x00, // mov esi, 0x300000
    0x67, 0x66, 0xc7, 0x06, 0x99, 0x00, 0x00, 0x00, // mov dword ptr [esi], 0x99
    0xf4, // hlt
];

#[test]
fn segments_keep_their_limits() {
    let mut board = Board::real(BIG_REAL);
    board.load(0x808, &[0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0]);
    board.load(0x810, &[0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0]);
    board.load(0x900, &[0x17, 0, 0, 8, 0, 0]);
    board.load(0x20_0000, &[0x78, 0x56, 0x34, 0x12]);
    let state = board.run_to_halt();
    assert_eq!((state.regs.rcx, board.u32(0x30_0000)), (0x1234_5678, 0x99));
    assert_eq!((state.sregs.ds.base, state.sregs.ds.limit), (0, u32::MAX));
}

const INTERRUPT: &[u8] = &[
    0xc7, 0x06, 0x84, 0x00, 0x00, 0x20, // mov word ptr [0x84], 0x2000
    0xc7, 0x06, 0x86, 0x00, 0x00, 0x00, // mov word ptr [0x86], 0
    0xfb, // sti
    0xf9, // stc
    0xcd, 0x21, // int 0x21
    0x89, 0xe3, // mov bx, sp
    0xf4, // hlt
];

const HANDLER: &[u8] = &[
    0x89, 0xe5, // mov bp, sp
    0x8b, 0x46, 0x00, // mov ax, [bp]
    0x8b, 0x4e, 0x04, // mov cx, [bp + 4]
    0x9c, // pushf
    0x5a, // pop dx
    0xf8, // clc
    0xcf, // iret
];

#[test]
fn a_software_interrupt_and_back() {
    let mut board = Board::real(INTERRUPT);
    board.load(0x2000, HANDLER);
    let regs = board.run_to_halt().regs;
    // The return address is that of `mov bx, sp`.
    assert_eq!((regs.rax, regs.rbx & 0xffff), (CODE + 16, CODE));
    assert_eq!(
        (regs.rcx & 0x201, regs.rdx & 0x201),
        (0x201, 1),
        "interrupts are off in the handler"
    );
    assert_eq!(regs.rflags & 0x201, 0x201, "and IRET brings the flags back");
}

const LIMIT: &[u8] = &[
    0xc7, 0x06, 0x34, 0x00, 0x00, 0x20, // mov word ptr [0x34], 0x2000
    0xc7, 0x06, 0x36, 0x00, 0x00, 0x00, // mov word ptr [0x36], 0
    0xbb, 0xff, 0xff, // mov bx, 0xffff
    0x8b, 0x07, // mov ax, [bx]
    0xf4, // hlt
];

#[test]
fn a_word_at_the_end_of_a_segment_faults() {
    let mut board = Board::real(LIMIT);
    board.load(0x2000, &[0x5b, 0xf4]); // pop bx; hlt
    let regs = board.run_to_halt().regs;
    assert_eq!(
        (regs.rip, regs.rbx & 0xffff),
        (0x2002, CODE + 15),
        "the address of the instruction itself"
    );
}

const WRAP: &[u8] = &[
    0x66, 0x31, 0xc0, // xor eax, eax
    0xbc, 0x02, 0x00, // mov sp, 2
    0x50, // push ax
    0x50, // push ax
    0x89, 0xe0, // mov ax, sp
    0x8b, 0x0e, 0xfe, 0xff, // mov cx, [0xfffe]
    0xbb, 0x00, 0x80, // mov bx, 0x8000
    0xbe, 0x00, 0x90, // mov si, 0x9000
    0x8a, 0x10, // mov dl, [bx + si]
    0xf4, // hlt
];

#[test]
fn stacks_and_addresses_wrap_at_16_bits() {
    let mut board = Board::real(WRAP);
    board.load(0x1_1000, &[1]);
    board.load(0x1000 + 200, &[0]);
    board.load(0xfffe, &[0xff, 0xff]);
    let regs = board.run_to_halt().regs;
    assert_eq!((regs.rax, regs.rcx & 0xffff), (0xfffe, 0));
    assert_eq!(regs.rdx & 0xff, 0x66, "the first byte of the program, at 0x1000");
}

const FAR: &[u8] = &[
    0x9a, 0x00, 0x1f, 0x10, 0x00, // call 0x10:0x1f00
    0xbb, 0x34, 0x12, // mov bx, 0x1234
    0xf4, // hlt
];

#[test]
fn far_calls_and_returns() {
    let mut board = Board::real(FAR);
    // 0x10:0x1f00 is 0x2000: mov ax, cs; retf
    board.load(0x2000, &[0x8c, 0xc8, 0xcb]);
    let state = board.run_to_halt();
    assert_eq!(
        (state.regs.rax, state.regs.rbx, state.sregs.cs.selector),
        (0x10, 0x1234, 0)
    );
    assert_eq!(state.regs.rsp, CODE);
}

#[test]
fn code_beyond_the_limit_faults() {
    let mut board = Board::real(&[]);
    board.load(0x34, &[0, 0x20, 0, 0]);
    board.load(0x2000, &[0xf4]);
    board.load(0xfffe, &[0x90, 0x90]);
    board.set(|state| state.regs.rip = 0xfffe);
    let state = board.run_to_halt();
    assert_eq!(
        (state.regs.rip, board.u16(CODE - 6)),
        (0x2001, 0),
        "IP 0x10000 is pushed as 0"
    );
}
