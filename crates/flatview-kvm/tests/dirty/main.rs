//! The pages that a guest writes are the pages that are harvested: the same tests for logs, logs with manual protect,
//! and rings (rules P19 to P22).
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may fail"
)]

mod changes;
mod exact;
mod live;
mod manual;
mod ring;
#[path = "../support/mod.rs"]
mod support;

use flatview::{AddressRange, DirtyClients, Region};
use flatview_accel::{Exit, Vcpu};
use flatview_kvm::{KvmAccelerator, KvmConfig, KvmVcpu};
use support::Board;

const PAGE: u64 = 0x1000;
const NOTHING: [u64; 0] = [];
/// Memory that nobody logs, unless all is logged: page tables, code, and lists of addresses.
const TABLES: u64 = 0x10_0000;
const CODE: u64 = 0x1000;
const LIST: u64 = 0x2000;
/// Where the memory begins that is looked at.
const BASE: u64 = 0x1000_0000;

/// Stores RDX, 8 bytes, at each address of the list at RSI, which 0 ends. HLT is not allowed there: without handlers
/// that is a triple fault, and the end.
const POKE: [u8; 18] = [
    0x48, 0x8b, 0x3e, // mov rdi, [rsi]
    0x48, 0x85, 0xff, // test rdi, rdi
    0x74, 0x09, // jz end
    0x48, 0x89, 0x17, // mov [rdi], rdx
    0x48, 0x83, 0xc6, 0x08, // add rsi, 8
    0xeb, 0xef, // jmp
    0xf4, // end: hlt
];

fn log() -> KvmConfig {
    let mut config = KvmConfig::default();
    config.manual_protect = false;
    config
}

fn manual_protect() -> KvmConfig {
    let mut config = KvmConfig::default();
    config.manual_protect = true;
    config
}

fn rings(entries: u32) -> KvmConfig {
    let mut config = KvmConfig::default();
    config.dirty_ring = Some(entries);
    config
}

/// A machine with a vCPU that stores where it is told to.
struct Rig {
    vcpu: KvmVcpu,
    kvm: KvmAccelerator,
    board: Board,
}

impl Rig {
    fn new(config: KvmConfig) -> Option<Rig> {
        let kvm = support::accelerator(config)?;
        let board = Board::new();
        board.map_ram("low", 0, 0x20_0000, 0);
        board.identity_tables(TABLES, 2);
        board.write(CODE, &POKE);
        let vcpu = kvm.create_kvm_vcpu(board.vcpu(0)).unwrap();
        Some(Rig { vcpu, kvm, board })
    }

    /// The three ways.
    fn all() -> impl Iterator<Item = Rig> {
        [log(), manual_protect(), rings(1024)]
            .into_iter()
            .filter_map(Rig::new)
    }

    /// Memory at [`BASE`] of which everything is clean, and logged for VGA.
    fn logged(&self, pages: u64) -> Region {
        let ram = self.board.map_ram("ram", BASE, pages * PAGE, 0);
        self.log_vga(&ram, true);
        let all: Vec<u64> = (0..pages).collect();
        assert_eq!(
            self.harvest(&ram),
            all,
            "a client that begins finds everything dirty (P18)"
        );
        ram
    }

    fn log_vga(&self, ram: &Region, on: bool) {
        self.board.update(|tx| tx.set_log(ram, on));
    }

    /// Has the guest store at these addresses.
    fn poke(&mut self, addresses: impl IntoIterator<Item = u64>) {
        let list: Vec<u8> = addresses
            .into_iter()
            .chain([0])
            .flat_map(u64::to_le_bytes)
            .collect();
        assert!(list.len() as u64 <= TABLES - LIST);
        self.board.write(LIST, &list);
        self.run(CODE, |regs| {
            regs.rsi = LIST;
            regs.rdx = 0x1122_3344_5566_7788;
        });
    }

    /// Has the guest store in these pages of memory at [`BASE`].
    fn poke_pages(&mut self, pages: impl IntoIterator<Item = u64>) {
        self.poke(
            pages
                .into_iter()
                .map(|page| BASE + page * PAGE + 8 * (page % 512)),
        );
    }

    /// Runs user code until it ends.
    fn run(&mut self, code: u64, set: impl FnOnce(&mut flatview_accel::Regs)) {
        start(&mut self.vcpu, code, set);
        assert_eq!(self.vcpu.run().unwrap(), Exit::Shutdown);
    }

    fn harvest(&self, ram: &Region) -> Vec<u64> {
        self.harvest_of(ram, DirtyClients::VGA)
    }

    /// The numbers of the pages of `ram` that are dirty for a client.
    fn harvest_of(&self, ram: &Region, client: DirtyClients) -> Vec<u64> {
        let memory = &self.board.memory;
        let bitmap = memory.snapshot_and_clear_dirty(ram, whole(ram), client).unwrap();
        bitmap.pages().map(|offset| offset / PAGE).collect()
    }
}

fn start(vcpu: &mut KvmVcpu, code: u64, set: impl FnOnce(&mut flatview_accel::Regs)) {
    let mut state = vcpu.state().unwrap();
    state.enter_user_mode(TABLES, code, 0x8000);
    set(&mut state.regs);
    vcpu.set_state(&state).unwrap();
}

fn whole(region: &Region) -> AddressRange {
    AddressRange::new(0, region.ram_block().unwrap().size()).unwrap()
}
