//! The x87 against what a real processor computed.

use crate::board::{Board, CODE};

/// `run` of `x87.c`, for 0x200000.
const PROGRAM: &[u8] = include_bytes!("x87.bin");
/// Pairs of numbers.
const INPUTS: &[u8] = include_bytes!("x87.in");
const OPERATIONS: usize = 45;

#[test]
fn what_a_real_processor_computes() {
    let pairs = INPUTS.len() / 32;
    let mut board = Board::long(&[0xff, 0xd0, 0xf4]); // call rax; hlt
    board.load(0x20_0000, PROGRAM);
    board.load(0x21_0000, INPUTS);
    board.set(|state| {
        let regs = &mut state.regs;
        (regs.rax, regs.rdi, regs.rsi) = (0x20_0000, 0x21_0000, 0x22_0000);
        (regs.rdx, regs.rcx) = (pairs as u64, 0x1f_0000);
    });
    let state = board.run_to_halt();
    assert_eq!(state.regs.rip, CODE + 3, "{:x?}", board.vcpu.last_undefined());
    let mut results = vec![0; OPERATIONS * 16 * pairs];
    board.ram.read(0x22_0000, &mut results).unwrap();
    let checksum = results.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    assert_eq!(checksum, 0xbfa4cb791d807785);
}

#[test]
fn cr0_says_whether_there_is_one() {
    // fld1; fwait
    for (program, cr0, vector) in [
        (&[0xd9, 0xe8][..], 4, 7),
        (&[0xd9, 0xe8], 8, 7),
        (&[0x9b], 10, 7),
        (&[0x9b], 8, 1),
    ] {
        let mut board = Board::protected(program);
        board.load(CODE + program.len() as u64, &[0xcd, 1]);
        board.load(0x2000 + 8 + 5, &[0xee]);
        board.set(|state| state.sregs.cr0 |= cr0);
        assert_eq!(board.run_to_exception(), vector, "{program:x?} {cr0}");
    }
}
