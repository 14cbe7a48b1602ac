//! Code that changes, code in unusual places.

use flatview_accel::{Exit, Vcpu};

use crate::board::{Board, CODE, MMIO};

const OWN_BLOCK: &[u8] = &[
    0xc6, 0x05, 0x0e, 0x10, 0x00, 0x00, 0x07, // mov byte ptr [0x100e], 7
    0xb8, 0x01, 0x00, 0x00, 0x00, // mov eax, 1
    0x90, // nop
    0xbb, 0x02, 0x00, 0x00, 0x00, // mov ebx, 2
    0xf4, // hlt
];

#[test]
fn a_store_into_the_own_block_is_seen_by_the_next_instruction() {
    let mut board = Board::protected(OWN_BLOCK);
    let state = board.run_to_halt();
    assert_eq!((state.regs.rax, state.regs.rbx), (1, 7));
}

const LOOP_THAT_CHANGES: &[u8] = &[
    0xb9, 0x0a, 0x00, 0x00, 0x00, // mov ecx, 10
    0x31, 0xc0, // xor eax, eax
    0x83, 0xc0, 0x01, // again: add eax, 1
    0xfe, 0x05, 0x09, 0x10, 0x00, 0x00, // inc byte ptr [0x1009]
    0x49, // dec ecx
    0x75, 0xf4, // jnz again
    0xf4, // hlt
];

#[test]
fn a_loop_changes_itself() {
    let mut board = Board::protected(LOOP_THAT_CHANGES);
    // 1 + 2 + ... + 10
    assert_eq!(board.run_to_halt().regs.rax, 55);
}

const NEIGHBOUR: &[u8] = &[
    0xb9, 0x64, 0x00, 0x00, 0x00, // mov ecx, 100
    0xff, 0x05, 0x11, 0x10, 0x00, 0x00, // again: inc dword ptr [0x1011]
    0x49, // dec ecx
    0x75, 0xf7, // jnz again
    0xf4, // hlt
];

#[test]
fn data_beside_code_is_data() {
    let mut board = Board::protected(NEIGHBOUR);
    board.run_to_halt();
    assert_eq!(board.u32(0x1011), 100);
}

const CALLS: &[u8] = &[
    0xe8, 0xfb, 0x17, 0x00, 0x00, // call 0x2800
    0xe6, 0x10, // out 0x10, al
    0xe8, 0xf4, 0x17, 0x00, 0x00, // call 0x2800
    0xf4, // hlt
];

#[test]
fn code_that_a_device_replaces_is_decoded_again() {
    let mut board = Board::protected(CALLS);
    board.load(0x2800, &[0xb0, 1, 0xc3]); // mov al, 1; ret
    let ram = board.ram.clone();
    *board.ports.on_write.lock().unwrap() =
        Some(Box::new(move |_, _| ram.write(0x2800, &[0xb0, 2, 0xc3]).unwrap()));
    assert_eq!(board.run_to_halt().regs.rax, 2);
}

#[test]
fn code_that_changes_between_two_runs_is_decoded_again() {
    let mut board = Board::protected(&[0xb0, 1, 0xf4]);
    assert_eq!(board.run_to_halt().regs.rax, 1);
    board.load(CODE + 1, &[2]);
    board.set(|state| (state.regs.rip, state.halted) = (CODE, false));
    assert_eq!(board.run_to_halt().regs.rax, 2);
}

#[test]
fn an_alias_of_code_is_the_same_code() {
    // mov byte ptr [0x601006], 9 through an alias at 0x600000; mov al, 1: its operand is at 0x1008.
    let program = [0xc6, 0x05, 0x08, 0x10, 0x60, 0x00, 0x09, 0xb0, 0x01, 0xf4];
    let mut board = Board::protected(&program);
    let alias = board
        .machine
        .region("alias")
        .alias(&board.ram_region, 0, 0x10_0000_u64)
        .unwrap();
    board
        .machine
        .update(|tx| tx.add_subregion(&board.system, 0x60_0000, &alias))
        .unwrap();
    assert_eq!(board.run_to_halt().regs.rax, 9);
}

#[test]
fn an_instruction_across_a_page_boundary() {
    for start in 0x1ff0..0x2000_u64 {
        let mut board = Board::protected(&[]);
        // mov eax, 0x12345678; mov ebx, eax; hlt
        board.load(start, &[0xb8, 0x78, 0x56, 0x34, 0x12, 0x89, 0xc3, 0xf4]);
        board.set(|state| state.regs.rip = start);
        let state = board.run_to_halt();
        assert_eq!(
            (state.regs.rax, state.regs.rbx),
            (0x1234_5678, 0x1234_5678),
            "{start:#x}"
        );
    }
}

const CROSSING_LOOP: &[u8] = &[
    0xb9, 0x32, 0x00, 0x00, 0x00, // mov ecx, 50
    0x40, // again: inc eax
    0xbb, 0x44, 0x33, 0x22, 0x11, // mov ebx, 0x11223344
    0x49, // dec ecx
    0x75, 0xf7, // jnz again
    0xf4, // hlt
];

#[test]
fn both_pages_of_an_instruction_can_change() {
    let mut board = Board::protected(&[]);
    board.load(0x1ff8, CROSSING_LOOP);
    board.set(|state| state.regs.rip = 0x1ff8);
    let state = board.run_to_halt();
    assert_eq!((state.regs.rax, state.regs.rbx), (50, 0x1122_3344));
    board.load(0x2000, &[0x55]);
    board.set(|state| (state.regs.rip, state.halted) = (0x1ff8, false));
    assert_ne!(board.run_to_halt().regs.rbx, 0x1122_3344);
}

#[test]
fn code_is_executed_from_a_device() {
    let mut board = Board::protected(&[]);
    // mov eax, 0x2a; hlt: fetched byte by byte.
    board.device.log.lock().unwrap().answers = [0xb8, 0x2a, 0, 0, 0, 0xf4].into();
    board.set(|state| state.regs.rip = MMIO);
    assert_eq!(board.run_to_halt().regs.rax, 0x2a);
}

#[test]
fn code_is_executed_where_nobody_answers() {
    let mut board = Board::protected(&[]);
    board.control.set_deadline(1000);
    // Zeros: add [eax], al.
    board.set(|state| (state.regs.rip, state.regs.rax) = (0x9000_0000, 0x10_0000));
    assert_eq!(board.vcpu.run().unwrap(), Exit::Deadline);
    assert_eq!(board.state().regs.rip, 0x9000_0000 + 2 * 1000);
}

#[test]
fn what_is_not_known_is_recorded() {
    let mut board = Board::protected(&[0x90, 0x0f, 0x0b]);
    assert_eq!(board.run_to_exception(), 6);
    let records = board.vcpu.last_undefined();
    assert_eq!(records.len(), 1);
    assert_eq!(
        (records[0].ip, &records[0].bytes[..2]),
        (CODE + 1, &[0x0f, 0x0b][..])
    );
}

#[test]
fn an_instruction_that_is_too_long_is_a_general_protection_fault() {
    let mut program = [0x66; 20];
    program[19] = 0x90;
    assert_eq!(Board::protected(&program).run_to_exception(), 13);
}
