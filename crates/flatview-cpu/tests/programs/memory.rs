//! RAM, ROM, devices, changes of the map, A20.

use flatview_accel::Signals;

use crate::board::Board;

const ROM_WRITE: &[u8] = &[
    0xa1, 0x00, 0xf0, 0xff, 0xff, // mov eax, [0xfffff000]
    0x40, // inc eax
    0xa3, 0x00, 0xf0, 0xff, 0xff, // mov [0xfffff000], eax
    0x8b, 0x1d, 0x00, 0xf0, 0xff, 0xff, // mov ebx, [0xfffff000]
    0x83, 0x05, 0x04, 0xf0, 0xff, 0xff, 0x05, // add dword ptr [0xfffff004], 5
    0x8b, 0x0d, 0x04, 0xf0, 0xff, 0xff, // mov ecx, [0xfffff004]
    0xf4, // hlt
];

#[test]
fn rom_is_read_and_not_written() {
    let mut board = Board::protected(ROM_WRITE);
    board.rom.write(0, &[1, 0, 0, 0, 2, 0, 0, 0]).unwrap();
    let regs = board.run_to_halt().regs;
    assert_eq!((regs.rax, regs.rbx, regs.rcx), (2, 1, 2));
}

const DEVICE: &[u8] = &[
    0xa1, 0x10, 0x00, 0x80, 0x00, // mov eax, [0x800010]
    0xc6, 0x05, 0x21, 0x00, 0x80, 0x00, 0x12, // mov byte ptr [0x800021], 0x12
    0x66, 0xc7, 0x05, 0x32, 0x00, 0x80, 0x00, 0x56, 0x34, // mov word ptr [0x800032], 0x3456
    0x01, 0x05, 0x44, 0x00, 0x80, 0x00, // add dword ptr [0x800044], eax
    0xf4, // hlt
];

#[test]
fn a_device_gets_each_access_as_it_is() {
    let mut board = Board::protected(DEVICE);
    board.device.log.lock().unwrap().answers = [0x1000_0000, 5].into();
    assert_eq!(board.run_to_halt().regs.rax, 0x1000_0000);
    let log = board.device.log.lock().unwrap();
    assert_eq!(
        log.writes,
        [(0x21, 1, 0x12), (0x32, 2, 0x3456), (0x44, 4, 0x1000_0005)]
    );
}

const PORTS: &[u8] = &[
    0x66, 0xba, 0x20, 0x00, // mov dx, 0x20
    0xed, // in eax, dx
    0xe6, 0x21, // out 0x21, al
    0x66, 0xef, // out dx, ax
    0x66, 0xba, 0x21, 0x43, // mov dx, 0x4321
    0x66, 0xed, // in ax, dx
    0xf4, // hlt
];

#[test]
fn ports_are_read_and_written() {
    let mut board = Board::protected(PORTS);
    board.ports.log.lock().unwrap().answers = [0xaabb_ccdd].into();
    // Nobody answers at port 0x4321: all bits are set.
    assert_eq!(board.run_to_halt().regs.rax, 0xaabb_ffff);
    assert_eq!(
        board.ports.log.lock().unwrap().writes,
        [(0x21, 1, 0xdd), (0x20, 2, 0xccdd)]
    );
}

const REMAP: &[u8] = &[
    0xa1, 0x00, 0x00, 0x30, 0x00, // mov eax, [0x300000]
    0xe6, 0x10, // out 0x10, al
    0x8b, 0x1d, 0x00, 0x00, 0x30, 0x00, // mov ebx, [0x300000]
    0xc7, 0x05, 0x00, 0x00, 0x30, 0x00, 0x05, 0x00, 0x00, 0x00, // mov dword ptr [0x300000], 5
    0xf4, // hlt
];

#[test]
fn a_change_of_the_map_is_seen_by_the_next_instruction() {
    let mut board = Board::protected(REMAP);
    board.load(0x30_0000, &[1]);
    board.load(0x38_0000, &[2]);
    let window = board
        .machine
        .region("window")
        .alias(&board.ram_region, 0x38_0000, 0x1000_u64)
        .unwrap();
    let (machine, system) = (board.machine.clone(), board.system.clone());
    *board.ports.on_write.lock().unwrap() = Some(Box::new(move |_, _| {
        machine
            .update(|tx| tx.add_subregion_overlap(&system, 0x30_0000, &window, 1))
            .unwrap();
    }));
    let regs = board.run_to_halt().regs;
    assert_eq!((regs.rax, regs.rbx), (1, 2));
    assert_eq!((board.u32(0x30_0000), board.u32(0x38_0000)), (1, 5));
}

const UNALIGNED: &[u8] = &[
    0xc7, 0x05, 0xfe, 0x2f, 0x00, 0x00, 0x11, 0x22, 0x33, 0x44, // mov dword ptr [0x2ffe], 0x44332211
    0xa1, 0xfe, 0x2f, 0x00, 0x00, // mov eax, [0x2ffe]
    0x8b, 0x1d, 0xfd, 0x2f, 0x00, 0x00, // mov ebx, [0x2ffd]
    0x81, 0x05, 0xff, 0x2f, 0x00, 0x00, 0x01, 0x01, 0x01, 0x01, // add dword ptr [0x2fff], 0x01010101
    0xf4, // hlt
];

#[test]
fn accesses_across_a_page() {
    let mut board = Board::protected(UNALIGNED);
    board.load(0x2ffc, &[0; 8]);
    let regs = board.run_to_halt().regs;
    assert_eq!((regs.rax, regs.rbx), (0x4433_2211, 0x3322_1100));
    assert_eq!(board.u32(0x2fff), 0x0145_3423);
}

const A20: &[u8] = &[
    0xa1, 0x00, 0x05, 0x10, 0x00, // mov eax, [0x100500]
    0xf4, // hlt
    0xa1, 0x00, 0x05, 0x10, 0x00, // mov eax, [0x100500]
    0xf4, // hlt
];

#[test]
fn the_a20_gate_holds_bit_20_at_0() {
    let mut board = Board::protected(A20);
    board.load(0x500, &[1]);
    board.load(0x10_0500, &[2]);
    board.control.raise(Signals::A20M);
    assert_eq!(board.run_to_halt().regs.rax, 1);
    board.control.clear(Signals::A20M);
    board.set(|state| state.halted = false);
    assert_eq!(board.run_to_halt().regs.rax, 2);
}

#[test]
fn what_the_cpu_writes_is_logged() {
    use flatview::{AddressRange, DirtyBitmap, DirtyClients};
    let mut board = Board::protected(&[0xc6, 0x05, 0, 0, 0x30, 0, 1, 0xf4]);
    let (machine, ram) = (board.machine.clone(), board.ram_region.clone());
    machine.update(|tx| tx.set_log(&ram, true)).unwrap();
    let bytes = AddressRange::new(0, 0x40_0000_u64).unwrap();
    let mut pages = DirtyBitmap::new(bytes);
    let block = board.ram.block().clone();
    block.take_dirty(bytes, DirtyClients::VGA, &mut pages);
    board.run_to_halt();
    let mut pages = DirtyBitmap::new(bytes);
    block.take_dirty(bytes, DirtyClients::VGA, &mut pages);
    assert_eq!(pages.pages().collect::<Vec<_>>(), [0x30_0000]);
}

#[test]
fn a_halted_cpu_keeps_no_memory_alive() {
    // mov eax, [0x900004]; call 0x900000; hlt
    let mut board = Board::protected(&[0xa1, 4, 0, 0x90, 0, 0xe8, 0xf6, 0xef, 0x8f, 0, 0xf4]);
    let block = flatview::RamBlock::anonymous(0x1000).unwrap();
    block.window(0, 1).unwrap().store(0, 0xc3_u8).unwrap(); // ret
    let plugged = board.machine.region("dimm").ram(block);
    board
        .machine
        .update(|tx| tx.add_subregion(&board.system, 0x90_0000, &plugged))
        .unwrap();
    board.run_to_halt();
    let receipt = board
        .machine
        .update(|tx| tx.del_subregion(&board.system, &plugged))
        .unwrap();
    assert!(receipt.is_quiesced());
    board.set(|state| (state.regs.rip, state.halted) = (0x1005, false));
    // Zeros are executed there now.
    board.control.set_deadline(board.control.clock().now() + 100);
    flatview_accel::Vcpu::run(&mut board.vcpu).unwrap();
    assert!(board.state().regs.rip > 0x90_0001);
}
