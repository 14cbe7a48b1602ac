//! How many instructions of a compiled integer program the CPU executes in a second.
//!
//! The program is `work.c` in this directory: a sieve, a sort, a checksum. Argument: how many rounds.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

#[path = "../tests/programs/board.rs"]
mod board;

use std::time::Instant;

use board::{Board, CODE};
use flatview_accel::{Clock, Vcpu};

/// `gcc -m32 -march=i686 -O2 -ffreestanding -fno-pic -fno-tree-vectorize` of `work.c`.
const WORK: &[u8] = include_bytes!("work.bin");
/// What `work` returns after this many rounds, says the host's own processor.
const EXPECTED: [(u32, u64); 2] = [(1, 0x1050_387e), (400, 0x8144_9843)];

fn main() {
    let rounds = std::env::args()
        .nth(1)
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(400_u32);
    let mut board = Board::with_clock(Clock::host());
    board.protect();
    // call 0x1010; hlt
    board.load(CODE, &[0xe8, 0x0b, 0, 0, 0, 0xf4]);
    board.load(CODE + 0x10, WORK);
    for (at, argument) in [(0x8000, 0x10_0000_u32), (0x8004, 0x20_0000), (0x8008, rounds)] {
        board.load(at, &argument.to_le_bytes());
    }
    let start = Instant::now();
    let exit = board.vcpu.run().unwrap();
    let elapsed = start.elapsed();
    let count = board.vcpu.instructions().unwrap();
    let result = board.state().regs.rax;
    println!(
        "{exit:?}: {result:#x}, {count} instructions in {elapsed:?}: {:.1} million a second",
        count as f64 / elapsed.as_secs_f64() / 1e6
    );
    for (known, expected) in EXPECTED {
        assert!(known != rounds || expected == result, "the result is wrong");
    }
}
