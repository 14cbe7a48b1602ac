//! The system tables of the vCPU that runs cases, as they lie in its memory.

use flatview_accel::Segment;

use crate::board::Board;
use crate::layout;

/// Where the system's memory is, away from what cases come across.
pub(super) const BASE: u64 = 0x2540_0000;
/// Its size.
pub(super) const SYSTEM: u64 = 0x2_0000;
pub(super) const PML4: u64 = BASE + 0x1000;
const PDPT: u64 = BASE + 0x2000;
const SYSTEM_DIRECTORY: u64 = BASE + 0x3000;
const SYSTEM_TABLE: u64 = BASE + 0x4000;
const WINDOW_DIRECTORY: u64 = BASE + 0x5000;
const WINDOW_TABLE: u64 = BASE + 0x6000;
const HIGH_DIRECTORY: u64 = BASE + 0x7000;
const HIGH_TABLE: u64 = BASE + 0x1_f000;
pub(super) const GDT: u64 = BASE + 0x8000;
const LDT: u64 = BASE + 0x9000;
pub(super) const IDT32: u64 = BASE + 0xa000;
pub(super) const IDT64: u64 = BASE + 0xb000;
const TSS: u64 = BASE + 0xc000;
const TSS32: u64 = BASE + 0xc800;
const STACK_TOP: u64 = BASE + 0xf000;
/// Where gates lead: 16 bytes for each vector.
pub(super) const HANDLERS: u64 = BASE + 0x1_0000;

const TASK: u16 = 0x40;
const LOCAL: u16 = 0x50;
const TSS_LIMIT: u32 = 0x67;
const LDT_LIMIT: u32 = 8 * layout::LDT.len() as u32 - 1;
/// With the task register's and the local table's descriptors, 16 bytes each.
pub(super) const GDT_BYTES: usize = 0x60;

/// TR. Descriptors of 32-bit and of 64-bit TSSs have the same type; what lies in them differs, so there are two.
pub(super) fn task_register(long: bool) -> Segment {
    Segment {
        base: if long { TSS } else { TSS32 },
        limit: TSS_LIMIT,
        selector: TASK,
        type_: 0xb,
        present: true,
        ..Segment::default()
    }
}

/// LDTR.
pub(super) fn local_table() -> Segment {
    Segment {
        base: LDT,
        limit: LDT_LIMIT,
        selector: LOCAL,
        type_: 2,
        present: true,
        ..Segment::default()
    }
}

/// Writes all tables.
pub(super) fn write(board: &Board) {
    descriptors(board);
    gates(board);
    pages(board);
}

fn words(board: &Board, at: u64, words: impl IntoIterator<Item = u64>) {
    for (at, word) in (at..).step_by(8).zip(words) {
        board.write(at, &word.to_le_bytes());
    }
}

fn descriptors(board: &Board) {
    words(board, GDT, layout::GDT.map(|descriptor| descriptor.0));
    words(board, LDT, layout::LDT.map(|descriptor| descriptor.0));
    words(
        board,
        GDT + u64::from(TASK),
        [system_descriptor(TSS, TSS_LIMIT, 0x8b), 0],
    );
    words(
        board,
        GDT + u64::from(LOCAL),
        [system_descriptor(LDT, LDT_LIMIT, 0x82), 0],
    );
    // RSP0 of the 64-bit TSS; ESP0 and SS0 of the 32-bit one (Intel SDM vol. 3, figures 9-11 and 9-2). Neither has an
    // I/O permission map: its offset is beyond the limit.
    board.write(TSS + 4, &STACK_TOP.to_le_bytes());
    board.write(TSS32 + 4, &STACK_TOP.to_le_bytes());
    board.write(TSS32 + 8, &layout::KERNEL_DATA.to_le_bytes());
    for tss in [TSS, TSS32] {
        board.write(tss + 0x66, &0x68_u16.to_le_bytes());
    }
}

/// The low half of a TSS's or a local table's descriptor (Intel SDM vol. 3, figure 9-4).
fn system_descriptor(base: u64, limit: u32, access: u64) -> u64 {
    (base & 0xff_ffff) << 16 | (base >> 24 & 0xff) << 56 | access << 40 | u64::from(limit)
}

fn gates(board: &Board) {
    const HLT: u8 = 0xf4;
    board.write(HANDLERS, &[HLT; 256 * 16]);
    for vector in 0..256 {
        // Linux lets users have #BP and #OF.
        let kind: u64 = if matches!(vector, 3 | 4) { 0xee } else { 0x8e };
        let offset = HANDLERS + vector * 16;
        let gate = |selector: u16| {
            offset & 0xffff | u64::from(selector) << 16 | kind << 40 | (offset >> 16 & 0xffff) << 48
        };
        words(board, IDT32 + vector * 8, [gate(layout::KERNEL_CODE32)]);
        words(board, IDT64 + vector * 16, [gate(layout::KERNEL_CODE64), 0]);
    }
}

/// Each page where it is. A case can execute its code page and write the others, as on the host.
fn pages(board: &Board) {
    const PRESENT_WRITE: u64 = 0x63;
    const USER: u64 = 0x67;
    const USER_CODE: u64 = 0x65;
    const NO_EXECUTE: u64 = 1 << 63;
    let gigabyte = |address: u64| address >> 30 & 0x1ff;
    words(board, PML4, [PDPT | USER]);
    words(board, PDPT, [SYSTEM_DIRECTORY | PRESENT_WRITE]);
    words(
        board,
        SYSTEM_DIRECTORY + 8 * (BASE >> 21 & 0x1ff),
        [SYSTEM_TABLE | PRESENT_WRITE],
    );
    let system = (BASE..BASE + SYSTEM).step_by(layout::PAGE);
    words(board, SYSTEM_TABLE, system.map(|page| page | PRESENT_WRITE));
    for (window, directory, table) in [
        (&layout::LOW, WINDOW_DIRECTORY, WINDOW_TABLE),
        (&layout::HIGH, HIGH_DIRECTORY, HIGH_TABLE),
    ] {
        words(board, PDPT + 8 * gigabyte(window.base), [directory | USER]);
        words(board, directory, [table | USER]);
        for number in layout::PAGES {
            let is_code = number * layout::PAGE == layout::CODE;
            let bits = if is_code { USER_CODE } else { USER | NO_EXECUTE };
            let page = number as u64;
            words(board, table + 8 * page, [(window.base + (page << 12)) | bits]);
        }
    }
}
