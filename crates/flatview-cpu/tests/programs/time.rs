//! A clock that counts instructions.

use flatview_accel::{Clock, Exit, Vcpu};

use crate::board::{Board, CODE};

const COUNTS: &[u8] = &[
    0x40, // again: inc eax
    0xe4, 0x10, // in al, 0x10
    0x0f, 0x31, // rdtsc
    0xeb, 0xf9, // jmp again
];

#[test]
fn the_deadline_is_exact_to_the_instruction() {
    for shift in [0, 3] {
        let mut board = Board::with_clock(Clock::counted(shift));
        board.protect();
        board.load(CODE, &[0x40, 0x43, 0x41, 0xeb, 0xfb]); // inc eax; inc ebx; inc ecx; jmp
        for (count, expected) in [
            (1_u64, (1, 0, 0)),
            (10, (3, 3, 2)),
            (11, (3, 3, 3)),
            (1000, (250, 250, 250)),
        ] {
            board.control.set_deadline(count << shift);
            assert_eq!(board.vcpu.run().unwrap(), Exit::Deadline);
            let regs = board.state().regs;
            assert_eq!((regs.rax, regs.rbx, regs.rcx), expected, "{count}");
            assert_eq!(board.vcpu.instructions(), Some(count));
            assert_eq!(board.control.clock().now(), count << shift);
        }
    }
}

#[test]
fn devices_and_rdtsc_see_the_time_of_the_instruction() {
    let mut board = Board::protected(COUNTS);
    board.control.set_deadline(8);
    assert_eq!(board.vcpu.run().unwrap(), Exit::Deadline);
    assert_eq!(board.ports.log.lock().unwrap().times, [1, 5]);
    assert_eq!(board.state().regs.rax, 6);
}

#[test]
fn a_deadline_that_a_device_sets_counts_at_once() {
    let mut board = Board::protected(&[0xe6, 0x10, 0x40, 0xeb, 0xfd]); // out 0x10, al; inc eax; jmp
    let control = board.control.clone();
    *board.ports.on_write.lock().unwrap() = Some(Box::new(move |_, _| {
        control.set_deadline(control.clock().now() + 6)
    }));
    board.control.set_deadline(1_000_000);
    assert_eq!(board.vcpu.run().unwrap(), Exit::Deadline);
    assert_eq!(board.vcpu.instructions(), Some(6));
}

#[test]
fn steps_and_runs_come_to_the_same() {
    let program = include_bytes!("../../examples/work.bin");
    let board = || {
        let board = Board::protected(&[0xe8, 0x0b, 0, 0, 0, 0xf4]);
        board.load(CODE + 0x10, program);
        for (at, argument) in [(0x8000, 0x10_0000_u32), (0x8004, 0x20_0000), (0x8008, 1)] {
            board.load(at, &argument.to_le_bytes());
        }
        board
    };
    let mut runs = board();
    let by_running = runs.run_to_halt();
    assert_eq!(by_running.regs.rax, 0x1050_387e);
    let mut steps = board();
    let mut count = 0;
    while steps.vcpu.step().unwrap() == Exit::Stepped {
        count += 1;
    }
    assert_eq!(steps.state(), by_running);
    assert_eq!(
        (runs.vcpu.instructions(), steps.vcpu.instructions()),
        (Some(count), Some(count))
    );
}
