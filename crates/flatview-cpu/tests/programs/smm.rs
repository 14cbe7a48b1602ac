//! System management mode.

use flatview_accel::{Signals, Vcpu};

use crate::board::{Board, CODE};

const RELOCATES: &[u8] = &[
    0x2e, 0x66, 0xc7, 0x06, 0x00, 0xff, 0x00, 0x00, 0x0a,
    0x00, // .byte 0x2e, 0x66, 0xc7, 0x06, 0x00, 0xff, 0x00, 0x00, 0x0a, 0x00
    0x0f, 0xaa, // rsm
];

const SECOND: &[u8] = &[
    0xc6, 0x06, 0x00, 0x05, 0x02, // mov byte ptr ds:[0x500], 2
    0x66, 0x8c, 0xc8, // mov eax, cs
    0x2e, 0x66, 0x89, 0x06, 0x00, 0x90, // .byte 0x2e, 0x66, 0x89, 0x06, 0x00, 0x90
    0x0f, 0xaa, // rsm
];

#[test]
fn smbase_moves_and_smm_sees_its_own_memory() {
    let mut board = Board::protected(&[0xeb, 0xfe]);
    // mov dword ptr cs:[0xff00], 0xa0000; rsm
    board.load(0x38000, RELOCATES);
    board.smram.write(0x8000, SECOND).unwrap();
    board.set(|state| state.regs.rbx = 0x1234);
    let before = board.state();
    board.control.raise(Signals::SMI);
    board.vcpu.step().unwrap();
    let inside = board.state();
    assert!(inside.smm);
    assert_eq!(
        (inside.sregs.cs.base, inside.regs.rip, inside.sregs.cr0 & 1),
        (0x30000, 0x8000, 0)
    );
    assert_eq!(
        (inside.sregs.ds.limit, inside.sregs.cs.selector),
        (u32::MAX, 0x3000)
    );
    assert_eq!(board.u32(0x3fefc), 0x2_0064);
    assert_eq!(board.u32(0x3ffe0), 0x1234);
    board.vcpu.step().unwrap();
    board.vcpu.step().unwrap();
    let mut after = board.state();
    assert_eq!(after.smbase, 0xa_0000);
    (after.smbase, after.msrs.tsc) = (before.smbase, before.msrs.tsc);
    assert_eq!(after, before, "as if nothing had happened");
    board.control.raise(Signals::SMI);
    for _ in 0..5 {
        board.vcpu.step().unwrap();
    }
    assert!(!board.state().smm);
    assert_eq!(board.u8(0x500), 2, "the rest of memory is the same");
    assert_eq!(board.smram.load::<u32>(0x9000).unwrap().to_le(), 0xa000);
    assert_eq!(board.u32(0xa9000), 0, "what lies behind is not touched");
    assert_eq!(board.state().regs.rip, CODE);
}

#[test]
fn smi_wakes_a_halted_cpu_which_goes_on_waiting() {
    let mut board = Board::protected(&[0xf4]);
    board.load(0x38000, &[0x0f, 0xaa]); // rsm
    board.run_to_halt();
    board.control.raise(Signals::SMI);
    let state = board.run_to_halt();
    assert_eq!((state.regs.rip, state.smm), (CODE + 1, false));
}

#[test]
fn rsm_outside_is_undefined() {
    assert_eq!(Board::protected(&[0x0f, 0xaa]).run_to_exception(), 6);
}
