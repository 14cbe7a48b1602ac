//! Paging of all kinds, 64-bit mode, system calls.

use flatview_accel::Vcpu;

use crate::board::Board;

/// Tables of 32-bit entries at 0x10000: the first 4 MiB as they are.
fn paged(program: &[u8]) -> Board {
    let mut board = Board::protected(program);
    board.load(0x1_0000, &0x1_1007_u32.to_le_bytes());
    for page in 0..1024_u32 {
        board.load(0x1_1000 + 4 * u64::from(page), &(page << 12 | 7).to_le_bytes());
    }
    board.set(|state| {
        state.sregs.cr3 = 0x1_0000;
        state.sregs.cr0 |= 0x8001_0000;
    });
    board
}

fn entry(board: &Board, page: u64) -> u32 {
    board.u32(0x1_1000 + 4 * page)
}

const TWO_PAGES: &[u8] = &[
    0xa1, 0x00, 0x00, 0x20, 0x00, // mov eax, [0x200000]
    0xa3, 0x00, 0x10, 0x20, 0x00, // mov [0x201000], eax
    0xf4, // hlt
];

#[test]
fn pages_are_found_and_marked() {
    let mut board = paged(TWO_PAGES);
    board.load(0x1_1000 + 4 * 0x200, &0x30_0001_u32.to_le_bytes());
    board.load(0x1_1000 + 4 * 0x201, &0x30_1003_u32.to_le_bytes());
    board.load(0x30_0000, &[7]);
    assert_eq!(board.run_to_halt().regs.rax, 7);
    assert_eq!(board.u8(0x30_1000), 7);
    assert_eq!(
        (entry(&board, 0x200), entry(&board, 0x201)),
        (0x30_0021, 0x30_1063)
    );
}

#[test]
fn a_page_that_was_read_is_marked_when_it_is_written() {
    // mov al, [0x200000]; mov [0x200000], al
    let mut board = paged(&[0xa0, 0, 0, 0x20, 0, 0xa2, 0, 0, 0x20, 0, 0xf4]);
    board.run_to_halt();
    assert_eq!(entry(&board, 0x200) & 0x60, 0x60);
}

#[test]
fn page_faults_say_why_and_where() {
    // Not present and read; read-only and written by level 0 with WP; written without.
    for (program, present, vector, error) in [
        (&[0xa0, 0x34, 0x02, 0x20, 0, 0xf4][..], 0, 14, 0),
        (&[0xa2, 0x34, 0x02, 0x20, 0, 0xf4], 0, 14, 2),
        (&[0xa2, 0x34, 0x02, 0x20, 0, 0xf4], 1, 14, 3),
    ] {
        let mut board = paged(program);
        board.load(0x1_1000 + 4 * 0x200, &(0x20_0000_u32 | present).to_le_bytes());
        assert_eq!(board.run_to_exception(), vector);
        assert_eq!(
            (board.u32(0x8000 - 16), board.state().sregs.cr2),
            (error, 0x20_0234)
        );
    }
    let mut board = paged(&[0xa2, 0x34, 0x02, 0x20, 0, 0xf4]);
    board.load(0x1_1000 + 4 * 0x200, &0x20_0001_u32.to_le_bytes());
    board.set(|state| state.sregs.cr0 &= !0x1_0000);
    board.run_to_halt();
}

const INVALIDATES: &[u8] = &[
    0xa0, 0x00, 0x00, 0x20, 0x00, // mov al, [0x200000]
    0xc7, 0x05, 0x00, 0x18, 0x01, 0x00, 0x07, 0x00, 0x30, 0x00, // mov dword ptr [0x11800], 0x300007
    0x8a, 0x1d, 0x00, 0x00, 0x20, 0x00, // mov bl, [0x200000]
    0x0f, 0x01, 0x3d, 0x00, 0x00, 0x20, 0x00, // invlpg [0x200000]
    0x8a, 0x0d, 0x00, 0x00, 0x20, 0x00, // mov cl, [0x200000]
    0xf4, // hlt
];

#[test]
fn invlpg_forgets_a_page() {
    let mut board = paged(INVALIDATES);
    board.load(0x20_0000, &[1]);
    board.load(0x30_0000, &[2]);
    let regs = board.run_to_halt().regs;
    assert_eq!((regs.rax & 0xff, regs.rcx & 0xff), (1, 2));
}

#[test]
fn an_instruction_across_pages_that_are_not_neighbours() {
    let mut board = paged(&[]);
    // The page after 0x1000 is at 0x300000.
    board.load(0x1_1008, &0x30_0007_u32.to_le_bytes());
    board.load(0x1ffe, &[0xb8, 0x11]);
    board.load(0x30_0000, &[0x22, 0x33, 0x44, 0xf4]);
    board.set(|state| state.regs.rip = 0x1ffe);
    assert_eq!(board.run_to_halt().regs.rax, 0x4433_2211);
    // Now it is at 0x301000.
    board.load(0x1_1008, &0x30_1007_u32.to_le_bytes());
    board.load(0x30_1000, &[0x66, 0x77, 0x88, 0xf4]);
    board.set(|state| (state.regs.rip, state.halted) = (0x1ffe, false));
    assert_eq!(board.run_to_halt().regs.rax, 0x8877_6611);
}

const TO_LONG: &[u8] = &[
    0xc7, 0x05, 0x00, 0x00, 0x01, 0x00, 0x03, 0x10, 0x01, 0x00, // mov dword ptr [0x10000], 0x11003
    0xc7, 0x05, 0x00, 0x10, 0x01, 0x00, 0x03, 0x20, 0x01, 0x00, // mov dword ptr [0x11000], 0x12003
    0xc7, 0x05, 0x00, 0x20, 0x01, 0x00, 0x83, 0x00, 0x00, 0x00, // mov dword ptr [0x12000], 0x83
    0xc7, 0x05, 0x08, 0x20, 0x01, 0x00, 0x83, 0x00, 0x20, 0x00, // mov dword ptr [0x12008], 0x200083
    0xc7, 0x05, 0x0c, 0x20, 0x01, 0x00, 0x00, 0x00, 0x00, 0x80, // mov dword ptr [0x1200c], 0x80000000
    0xb8, 0x20, 0x00, 0x00, 0x00, // mov eax, 0x20
    0x0f, 0x22, 0xe0, // mov cr4, eax
    0xb8, 0x00, 0x00, 0x01, 0x00, // mov eax, 0x10000
    0x0f, 0x22, 0xd8, // mov cr3, eax
    0xb9, 0x80, 0x00, 0x00, 0xc0, // mov ecx, 0xc0000080
    0xb8, 0x01, 0x09, 0x00, 0x00, // mov eax, 0x901
    0x31, 0xd2, // xor edx, edx
    0x0f, 0x30, // wrmsr
    0xb8, 0x11, 0x00, 0x00, 0x80, // mov eax, 0x80000011
    0x0f, 0x22, 0xc0, // mov cr0, eax
    0xea, // .byte 0xea
    0x00, 0x11, 0x00, 0x00, // .long 0x1100
    0x38, 0x00, // .word 0x38
];

const IN_LONG: &[u8] = &[
    0x48, 0xb8, 0xf0, 0xde, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12, // mov rax, 0x123456789abcdef0
    0x48, 0x89, 0x04, 0x25, 0xf0, 0x00, 0x10, 0x00, // mov [0x1000f0], rax
    0xb9, 0x81, 0x00, 0x00, 0xc0, // mov ecx, 0xc0000081
    0x31, 0xc0, // xor eax, eax
    0xba, 0x38, 0x00, 0x10, 0x00, // mov edx, 0x00100038
    0x0f, 0x30, // wrmsr
    0xff, 0xc1, // inc ecx
    0xb8, 0x00, 0x12, 0x00, 0x00, // mov eax, 0x1200
    0x31, 0xd2, // xor edx, edx
    0x0f, 0x30, // wrmsr
    0xb9, 0x84, 0x00, 0x00, 0xc0, // mov ecx, 0xc0000084
    0xb8, 0x00, 0x02, 0x00, 0x00, // mov eax, 0x200
    0x0f, 0x30, // wrmsr
    0xf9, // stc
    0x0f, 0x05, // syscall
    0x49, 0xc7, 0xc4, 0x01, 0x00, 0x00, 0x00, // mov r12, 1
    0xf4, // hlt
];

#[test]
fn long_mode_a_system_call_and_a_page_that_is_not_to_be_executed() {
    let mut board = Board::protected(TO_LONG);
    board.load(0x838, &0x00af_9b00_0000_ffff_u64.to_le_bytes());
    board.load(0x840, &0x00cf_9300_0000_ffff_u64.to_le_bytes());
    board.load(0x1100, IN_LONG);
    // mov r13, rcx; mov r14, r11; then to code in a page with NX.
    board.load(
        0x1200,
        &[
            0x49, 0x89, 0xcd, 0x4d, 0x89, 0xde, 0xb8, 0, 0, 0x20, 0, 0xff, 0xe0,
        ],
    );
    // 64-bit gates: #PF to 0x1300.
    board.load(
        0x4000 + 16 * 14,
        &[0x00, 0x13, 0x38, 0x00, 0x00, 0x8e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    board.load(0x1300, &[0x58, 0xf4]); // pop rax; hlt
    board.set(|state| {
        state.sregs.idt.base = 0x4000;
        state.sregs.idt.limit = 0xfff;
        state.regs.rflags = 0x202;
    });
    let state = board.run_to_halt();
    assert_eq!(state.sregs.efer, 0xd01);
    assert_eq!(
        board.ram.load::<u64>(0x10_00f0).unwrap().to_le(),
        0x1234_5678_9abc_def0
    );
    assert_eq!(state.regs.r13, 0x1100 + IN_LONG.len() as u64 - 8);
    assert_eq!(state.regs.r14 & 0x201, 0x201);
    assert_eq!(
        (state.regs.rax, state.sregs.cr2),
        (0x11, 0x20_0000),
        "a fetch from a page that is present"
    );
    assert_eq!(state.regs.rflags & 0x200, 0, "FMASK");
    assert_eq!(board.vcpu.state().unwrap().sregs.ss.selector, 0x40);
}

#[test]
fn pae_has_four_tables() {
    // mov eax, [0xc0000000]; hlt
    let mut board = Board::protected(&[0xa1, 0, 0, 0, 0xc0, 0xf4]);
    board.load(0x1_0020, &0x1_1001_u64.to_le_bytes());
    board.load(0x1_0038, &0x1_2001_u64.to_le_bytes());
    board.load(0x1_1000, &0x83_u64.to_le_bytes());
    board.load(0x1_2000, &0x1_3003_u64.to_le_bytes());
    board.load(0x1_3000, &0x30_0003_u64.to_le_bytes());
    board.load(0x30_0000, &[9]);
    board.set(|state| {
        state.sregs.cr3 = 0x1_0020;
        state.sregs.cr4 = 0x20;
        state.sregs.cr0 |= 0x8000_0000;
    });
    assert_eq!(board.run_to_halt().regs.rax, 9);
}

#[test]
fn a_fault_in_the_second_page_of_an_access_is_at_its_first_byte() {
    // mov eax, [0x1ffffd]
    let mut board = paged(&[0xa1, 0xfd, 0xff, 0x1f, 0, 0xf4]);
    board.load(0x1_1000 + 4 * 0x200, &[0; 4]);
    assert_eq!(
        (board.run_to_exception(), board.state().sregs.cr2),
        (14, 0x20_0000)
    );
}
