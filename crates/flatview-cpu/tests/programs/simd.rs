//! SSE2 against what a real processor computed, and its faults.

use crate::board::Board;

/// `run` of `sse.c`, for 0x200000.
const PROGRAM: &[u8] = include_bytes!("sse.bin");
const OPERATIONS: usize = 134;
const PAIRS: u64 = 300;

/// The same numbers as in `sse.c`.
fn inputs() -> Vec<u8> {
    let mut x = 88_172_645_463_325_252_u64;
    let mut bytes = Vec::new();
    for index in 0..4 * PAIRS {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        let number = match index / 4 % 4 {
            0 => x,
            1 => x & 0x800f_ffff_ffff_ffff | 0x40e0_0000_0000_0000,
            2 => x & 0x807f_ffff_807f_ffff | 0x4300_0000_4200_0000,
            _ => x & 0xff00_ff00_80ff_7f01,
        };
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes
}

fn with_sse(program: &[u8]) -> Board {
    let mut board = Board::long(program);
    board.set(|state| state.sregs.cr4 |= 0x600);
    board
}

#[test]
fn what_a_real_processor_computes() {
    let mut board = with_sse(&[0xff, 0xd0, 0xf4]); // call rax; hlt
    board.load(0x20_0000, PROGRAM);
    board.load(0x21_0000, &inputs());
    board.set(|state| {
        let regs = &mut state.regs;
        (regs.rax, regs.rdi, regs.rsi, regs.rdx) = (0x20_0000, 0x21_0000, 0x22_0000, PAIRS);
    });
    board.run_to_halt();
    let mut results = vec![0; OPERATIONS * 16 * 300];
    board.ram.read(0x22_0000, &mut results).unwrap();
    let checksum = results.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    assert_eq!(checksum, 0x8012d2f7a8c04fd3);
}

const SAVES: &[u8] = &[
    0xb8, 0x78, 0x56, 0x34, 0x12, // mov eax, 0x12345678
    0x66, 0x0f, 0x6e, 0xd8, // movd xmm3, eax
    0xf3, 0x44, 0x0f, 0x6f, 0xfb, // movdqu xmm15, xmm3
    0xc7, 0x04, 0x25, 0x00, 0x04, 0x01, 0x00, 0x80, 0x3f, 0x00, 0x00, // mov dword ptr [0x10400], 0x3f80
    0x0f, 0xae, 0x14, 0x25, 0x00, 0x04, 0x01, 0x00, // ldmxcsr [0x10400]
    0x0f, 0xae, 0x04, 0x25, 0x00, 0x00, 0x01, 0x00, // fxsave [0x10000]
    0x66, 0x0f, 0xef, 0xdb, // pxor xmm3, xmm3
    0x0f, 0xae, 0x0c, 0x25, 0x00, 0x00, 0x01, 0x00, // fxrstor [0x10000]
    0x66, 0x0f, 0x7e, 0xdb, // movd ebx, xmm3
    0x0f, 0xae, 0x1c, 0x25, 0x04, 0x04, 0x01, 0x00, // stmxcsr [0x10404]
    0x0f, 0xae, 0x04, 0x25, 0x00, 0x02, 0x01, 0x00, // fxsave [0x10200]
    0xf4, // hlt
];

#[test]
fn registers_are_saved_and_restored() {
    let mut board = with_sse(SAVES);
    assert_eq!(board.run_to_halt().regs.rbx, 0x1234_5678);
    assert_eq!(
        (
            board.u32(0x10000 + 160 + 3 * 16),
            board.u32(0x10000 + 160 + 15 * 16)
        ),
        (0x1234_5678, 0x1234_5678)
    );
    assert_eq!(
        (board.u32(0x10018), board.u32(0x1001c), board.u32(0x10404)),
        (0x3f80, 0xffff, 0x3f80)
    );
    let area = |at| {
        let mut bytes = [0; 416];
        board.ram.read(at, &mut bytes).unwrap();
        bytes
    };
    assert_eq!(area(0x10000), area(0x10200));
}

#[test]
fn sse_has_to_be_enabled_and_operands_aligned() {
    let protected = |program: &[u8], cr0: u64, cr4: u64| {
        let mut board = Board::protected(program);
        board.set(|state| {
            state.sregs.cr0 |= cr0;
            state.sregs.cr4 = cr4;
        });
        board.run_to_exception()
    };
    let (pxor, movdqa) = (
        &[0x66, 0x0f, 0xef, 0xc0][..],
        &[0x66, 0x0f, 0x6f, 0x05, 8, 0, 1, 0][..],
    );
    assert_eq!(protected(pxor, 0, 0), 6);
    assert_eq!(protected(pxor, 4, 0x200), 6);
    assert_eq!(protected(pxor, 8, 0x200), 7);
    assert_eq!(protected(movdqa, 0, 0x200), 13);
}
