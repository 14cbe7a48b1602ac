//! Interrupts from outside.

use flatview_accel::{Exit, Signals, Vcpu};

use crate::board::{Board, CODE, gate};

const WAITS: &[u8] = &[
    0xfb, // sti
    0xf4, // hlt
    0xbb, 0x01, 0x00, 0x00, 0x00, // mov ebx, 1
    0xfa, // cli
    0xf4, // hlt
];

#[test]
fn an_interrupt_ends_a_halt() {
    let mut board = Board::protected(WAITS);
    board.load(0x2000 + 8 * 0x20, &gate(8, 0x5000, 0x8e).to_le_bytes());
    // mov eax, [esp]; iretd
    board.load(0x5000, &[0x8b, 0x04, 0x24, 0xcf]);
    let state = board.run_to_halt();
    assert_eq!((state.regs.rip, state.halted), (CODE + 2, true));
    board.pic.raise(0x20);
    let state = board.run_to_halt();
    assert_eq!(
        (state.regs.rax, state.regs.rbx, state.regs.rip),
        (CODE + 2, 1, CODE + 9)
    );
}

const SHADOW: &[u8] = &[
    0xfb, // sti
    0x40, // inc eax
    0x40, // inc eax
    0xf4, // hlt
];

#[test]
fn sti_lets_one_more_instruction_be_executed() {
    let mut board = Board::protected(SHADOW);
    board.pic.raise(0x20);
    board.run_to_halt();
    let state = board.state();
    assert_eq!((state.regs.rax, u64::from(board.u32(0x8000 - 12))), (1, CODE + 2));
}

#[test]
fn loading_ss_lets_one_more_instruction_be_executed() {
    // sti; nop; mov ss, cx; inc eax; hlt: the interrupt comes with the port write.
    let program = [0xfb, 0x90, 0xe6, 0x10, 0x8e, 0xd1, 0x40, 0xf4];
    let mut board = Board::protected(&program);
    board.set(|state| state.regs.rcx = 0x10);
    for _ in 0..4 {
        board.vcpu.step().unwrap();
    }
    assert!(board.state().interrupt_shadow);
    board.pic.raise(0x20);
    assert_eq!(board.vcpu.step().unwrap(), Exit::Stepped);
    assert_eq!((board.state().regs.rip, board.state().regs.rax), (CODE + 7, 1));
    board.vcpu.step().unwrap();
    assert_eq!(board.state().regs.rip, 0x3000 + 16 * 0x20);
}

#[test]
fn an_nmi_is_masked_until_iret() {
    let mut board = Board::protected(&[0xf4, 0x43, 0xf4]);
    board.load(0x2000 + 8 * 2, &gate(8, 0x5000, 0x8e).to_le_bytes());
    board.load(0x5000, &[0x40, 0xcf]); // inc eax; iretd
    board.run_to_halt();
    board.control.raise(Signals::NMI);
    board.vcpu.step().unwrap();
    assert!(board.state().nmi_masked);
    board.control.raise(Signals::NMI);
    let state = board.run_to_halt();
    assert_eq!((state.regs.rax, state.regs.rbx, state.nmi_masked), (2, 1, false));
}

#[test]
fn who_asks_gets_the_cpu_out() {
    let mut board = Board::protected(&[0xeb, 0xfe]); // jmp itself
    board.control.raise(Signals::EXIT);
    assert_eq!(board.run(), Exit::Requested);
    assert_eq!(board.run(), Exit::Deadline, "it was asked once");
    let control = board.control.clone();
    control.set_deadline(u64::MAX);
    let asks = std::thread::spawn(move || control.raise(Signals::EXIT));
    assert_eq!(board.vcpu.run().unwrap(), Exit::Requested);
    asks.join().unwrap();
}

#[test]
fn init_is_a_reset_that_leaves_memory() {
    let mut board = Board::protected(&[0xeb, 0xfe]);
    board.rom.write(0xff0, &[0xf4]).unwrap();
    board.control.raise(Signals::INIT);
    let state = board.run_to_halt();
    assert_eq!(
        (state.regs.rip, state.sregs.cr0, state.sregs.cs.selector),
        (0xfff1, 0x10, 0xf000)
    );
    assert_eq!(board.u8(CODE), 0xeb);
}

#[test]
fn a_trap_after_each_instruction() {
    let mut board = Board::protected(&[0x40, 0x40, 0xf4]);
    board.set(|state| state.regs.rflags = 0x102);
    assert_eq!(board.run_to_exception(), 1);
    assert_eq!(
        (board.state().regs.rax, u64::from(board.u32(0x8000 - 12))),
        (1, CODE + 1)
    );
}

#[test]
fn int3_and_into_are_traps() {
    for (program, vector, next) in [(&[0xcc_u8][..], 3, 1), (&[0xb0, 0x7f, 0x04, 1, 0xce], 4, 5)] {
        let mut board = Board::protected(program);
        assert_eq!(board.run_to_exception(), vector);
        assert_eq!(u64::from(board.u32(0x8000 - 12)), CODE + next);
    }
    // bound eax, [0x10000]: a fault.
    let mut board = Board::protected(&[0x62, 0x05, 0, 0, 1, 0]);
    board.set(|state| state.regs.rax = 1);
    assert_eq!(board.run_to_exception(), 5);
    assert_eq!(u64::from(board.u32(0x8000 - 12)), CODE);
}
