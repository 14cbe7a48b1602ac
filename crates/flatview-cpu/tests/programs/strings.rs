//! String instructions.

use crate::board::Board;

const COPY: &[u8] = &[
    0xbe, 0x03, 0x00, 0x01, 0x00, // mov esi, 0x10003
    0xbf, 0x05, 0x00, 0x02, 0x00, // mov edi, 0x20005
    0xb9, 0x00, 0x50, 0x00, 0x00, // mov ecx, 0x5000
    0xf3, 0xa4, // rep movsb
    0xf4, // hlt
];

#[test]
fn many_bytes_across_pages() {
    let mut board = Board::protected(COPY);
    let bytes: Vec<u8> = (0..0x5000_u32).map(|index| (index % 251) as u8).collect();
    board.load(0x10003, &bytes);
    let regs = board.run_to_halt().regs;
    assert_eq!((regs.rsi, regs.rdi, regs.rcx), (0x15003, 0x25005, 0));
    let mut copied = vec![0; 0x5000];
    board.ram.read(0x20005, &mut copied).unwrap();
    assert!(copied == bytes);
    assert_eq!((board.u8(0x20004), board.u8(0x25005)), (0, 0));
}

const OVERLAP: &[u8] = &[
    0xbe, 0x00, 0x00, 0x01, 0x00, // mov esi, 0x10000
    0xbf, 0x03, 0x00, 0x01, 0x00, // mov edi, 0x10003
    0xb9, 0x1e, 0x00, 0x00, 0x00, // mov ecx, 30
    0xf3, 0xa4, // rep movsb
    0xfd, // std
    0xbe, 0x00, 0x10, 0x01, 0x00, // mov esi, 0x11000
    0xbf, 0x00, 0x20, 0x01, 0x00, // mov edi, 0x12000
    0xb9, 0x04, 0x00, 0x00, 0x00, // mov ecx, 4
    0xf3, 0xa5, // rep movsd
    0xf4, // hlt
];

#[test]
fn overlapping_copies_repeat_and_the_direction_can_be_down() {
    let mut board = Board::protected(OVERLAP);
    board.load(0x10000, b"abc");
    board.load(0x10ff4, &[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0]);
    let regs = board.run_to_halt().regs;
    let mut copied = [0; 33];
    board.ram.read(0x10000, &mut copied).unwrap();
    assert_eq!(copied.as_slice(), b"abc".repeat(11));
    assert_eq!((regs.rsi, regs.rdi), (0x10ff0, 0x11ff0));
    assert_eq!((board.u32(0x11ff4), board.u32(0x12000)), (1, 4));
}

const FILL: &[u8] = &[
    0xbf, 0xf2, 0x0f, 0x01, 0x00, // mov edi, 0x10ff2
    0xb8, 0x44, 0x33, 0x22, 0x11, // mov eax, 0x11223344
    0xb9, 0x00, 0x10, 0x00, 0x00, // mov ecx, 0x1000
    0xf3, 0xab, // rep stosd
    0xbf, 0x00, 0x00, 0x02, 0x00, // mov edi, 0x20000
    0xb0, 0x00, // mov al, 0
    0xb9, 0x00, 0x00, 0x01, 0x00, // mov ecx, 0x10000
    0xf3, 0xaa, // rep stosb
    0xf4, // hlt
];

#[test]
fn many_words_and_zeros() {
    let mut board = Board::protected(FILL);
    board.ram.fill(0x20000, 0xee, 0x10001).unwrap();
    board.run_to_halt();
    for at in [0x10ff2, 0x11ffe, 0x14fee] {
        assert_eq!(board.u32(at), 0x1122_3344, "{at:#x}");
    }
    assert_eq!((board.u8(0x10ff1), board.u8(0x14ff2)), (0, 0));
    assert_eq!(
        (board.u8(0x20000), board.u8(0x2ffff), board.u8(0x30000)),
        (0, 0, 0xee)
    );
}

const SEARCH: &[u8] = &[
    0xbf, 0x00, 0x00, 0x01, 0x00, // mov edi, 0x10000
    0xb0, 0x78, // mov al, 'x'
    0xb9, 0x64, 0x00, 0x00, 0x00, // mov ecx, 100
    0xf2, 0xae, // repne scasb
    0x0f, 0x94, 0xc3, // setz bl
    0x89, 0xca, // mov edx, ecx
    0xbe, 0x00, 0x00, 0x01, 0x00, // mov esi, 0x10000
    0xbf, 0x00, 0x01, 0x01, 0x00, // mov edi, 0x10100
    0xb9, 0x32, 0x00, 0x00, 0x00, // mov ecx, 50
    0xf3, 0xa6, // repe cmpsb
    0xf4, // hlt
];

#[test]
fn searches_end_at_what_they_look_for() {
    let mut board = Board::protected(SEARCH);
    board.load(0x10000, b"abcx");
    board.load(0x10100, b"abcy");
    let state = board.run_to_halt();
    assert_eq!((state.regs.rbx, state.regs.rdx, state.regs.rcx), (1, 96, 46));
    assert_eq!(state.regs.rflags & 0x41, 1, "x is below y");
}

const FROM_PORT: &[u8] = &[
    0x66, 0xba, 0x10, 0x00, // mov dx, 0x10
    0xbf, 0x00, 0x00, 0x01, 0x00, // mov edi, 0x10000
    0xb9, 0x04, 0x00, 0x00, 0x00, // mov ecx, 4
    0x66, 0xf3, 0x6d, // rep insw
    0xbe, 0x00, 0x00, 0x01, 0x00, // mov esi, 0x10000
    0xb9, 0x03, 0x00, 0x00, 0x00, // mov ecx, 3
    0xf3, 0x6e, // rep outsb
    0xbe, 0x00, 0x00, 0x01, 0x00, // mov esi, 0x10000
    0xbf, 0x00, 0x00, 0x80, 0x00, // mov edi, 0x800000
    0xb9, 0x02, 0x00, 0x00, 0x00, // mov ecx, 2
    0xf3, 0xa5, // rep movsd
    0xf4, // hlt
];

#[test]
fn devices_see_each_iteration() {
    let mut board = Board::protected(FROM_PORT);
    board.ports.log.lock().unwrap().answers = [0x1111, 0x2222, 0x3333, 0x4444].into();
    board.run_to_halt();
    assert_eq!(
        (board.u32(0x10000), board.u32(0x10004)),
        (0x2222_1111, 0x4444_3333)
    );
    assert_eq!(
        board.ports.log.lock().unwrap().writes,
        [(0x10, 1, 0x11), (0x10, 1, 0x11), (0x10, 1, 0x22)]
    );
    let log = board.device.log.lock().unwrap();
    assert_eq!(log.writes, [(0, 4, 0x2222_1111), (4, 4, 0x4444_3333)]);
}

#[test]
fn addresses_of_16_bits_wrap() {
    // mov si, 0xfffe; mov di, 0x100; mov cx, 4; rep movsb; hlt
    let program = [
        0xbe, 0xfe, 0xff, 0xbf, 0x00, 0x01, 0xb9, 0x04, 0x00, 0xf3, 0xa4, 0xf4,
    ];
    let mut board = Board::real(&program);
    board.load(0, &[3, 4]);
    board.load(0xfffe, &[1, 2]);
    let regs = board.run_to_halt().regs;
    assert_eq!(
        (board.u32(0x100), regs.rsi & 0xffff, regs.rdi & 0xffff),
        (0x0403_0201, 2, 0x104)
    );
}

#[test]
fn a_search_that_faults_leaves_the_flags_as_they_were() {
    // repne scasb up to the end of the segment
    let mut board = Board::protected(&[0xf2, 0xae]);
    board.set(|state| {
        state.sregs.es.limit = 0x1_0003;
        (state.regs.rdi, state.regs.rcx, state.regs.rax, state.regs.rflags) = (0x1_0000, 9, 1, 0x8d7);
    });
    assert_eq!(board.run_to_exception(), 13);
    let regs = board.state().regs;
    assert_eq!((regs.rdi, regs.rcx, regs.rflags & 0x8d5), (0x1_0004, 5, 0x8d5));
}
