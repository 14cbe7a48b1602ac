//! Harvests while the guest writes, as a migration does it: pages that were harvested are copied, and when the guest
//! has stopped and the last ones are copied, the copy is the memory.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use flatview::{DirtyBitmap, DirtyClients, GlobalDirty, MemTxAttrs, Region};
use flatview_accel::{Exit, Vcpu};

use crate::{BASE, NOTHING, PAGE, Rig, log, manual_protect, rings, start, whole};

/// Stores a counter at places that look random, RCX times: within R8 + 8 bytes from RBX on.
const SCATTER: [u8; 27] = [
    0x48, 0xff, 0xc0, // inc rax
    0x48, 0x89, 0xc2, // mov rdx, rax
    0x49, 0x0f, 0xaf, 0xd1, // imul rdx, r9
    0x48, 0xc1, 0xea, 0x14, // shr rdx, 20
    0x4c, 0x21, 0xc2, // and rdx, r8
    0x48, 0x89, 0x04, 0x13, // mov [rbx+rdx], rax
    0x48, 0xff, 0xc9, // dec rcx
    0x75, 0xe6, // jnz
    0xf4, // hlt
];
const SCATTER_AT: u64 = 0x1800;
const PAGES: u64 = 1024;
const STORES: u64 = 5_000;
/// The guest goes on until there were so many harvests.
const ROUNDS: usize = 50;

/// Brings in what is dirty.
fn snapshot(rig: &Rig, ram: &Region) -> DirtyBitmap {
    let memory = &rig.board.memory;
    memory
        .snapshot_and_clear_dirty(ram, whole(ram), DirtyClients::MIGRATION)
        .unwrap()
}

/// Only looks what others have brought in.
fn marks(_: &Rig, ram: &Region) -> DirtyBitmap {
    let mut taken = DirtyBitmap::new(whole(ram));
    let block = ram.ram_block().unwrap();
    block.take_dirty(whole(ram), DirtyClients::MIGRATION, &mut taken);
    taken
}

/// Copies the pages that are dirty. Returns how many they were.
fn copy(dirty: &DirtyBitmap, rig: &Rig, copied: &mut [u8]) -> u64 {
    for offset in dirty.pages() {
        let page = &mut copied[offset as usize..][..PAGE as usize];
        rig.board
            .space
            .read(BASE + offset, page, MemTxAttrs::UNSPECIFIED)
            .unwrap();
    }
    dirty.count()
}

/// Lets vCPUs end, whatever has failed.
struct Ends<'a>(&'a AtomicUsize);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(usize::MAX, Ordering::Relaxed);
    }
}

fn migrate(config: flatview_kvm::KvmConfig, vcpus: u32, harvest: impl Fn(&Rig, &Region) -> DirtyBitmap) {
    let Some(rig) = Rig::new(config) else { return };
    let ram = rig.board.map_ram("ram", BASE, PAGES * PAGE, 0);
    rig.board.write(SCATTER_AT, &SCATTER);
    let memory = rig.board.memory.clone();
    memory.global_dirty_log_start(GlobalDirty::MIGRATION).unwrap();
    let mut copied = vec![0; (PAGES * PAGE) as usize];
    assert_eq!(copy(&snapshot(&rig, &ram), &rig, &mut copied), PAGES);
    let rounds = AtomicUsize::new(0);
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for index in 0..vcpus {
            let (kvm, board, rounds) = (&rig.kvm, &rig.board, &rounds);
            threads.push(scope.spawn(move || {
                let mut vcpu = kvm.create_kvm_vcpu(board.vcpu(index + 1)).unwrap();
                let mut stores = 0;
                loop {
                    start(&mut vcpu, SCATTER_AT, |regs| {
                        regs.rax = stores;
                        regs.rbx = BASE;
                        regs.rcx = STORES;
                        regs.r8 = PAGES * PAGE - 8;
                        regs.r9 = 0x9e37_79b9_7f4a_7c15 + 2 * u64::from(index);
                    });
                    assert_eq!(vcpu.run().unwrap(), Exit::Shutdown);
                    stores += STORES;
                    if rounds.load(Ordering::Relaxed) >= ROUNDS {
                        break;
                    }
                }
            }));
        }
        let _ends = Ends(&rounds);
        while threads.iter().any(|thread| !thread.is_finished()) {
            copy(&harvest(&rig, &ram), &rig, &mut copied);
            rounds.fetch_add(1, Ordering::Relaxed);
        }
    });
    copy(&snapshot(&rig, &ram), &rig, &mut copied);
    let mut bytes = vec![0; copied.len()];
    rig.board
        .space
        .read(BASE, &mut bytes, MemTxAttrs::UNSPECIFIED)
        .unwrap();
    let wrong: Vec<u64> = (0..PAGES)
        .filter(|page| {
            let page = (page * PAGE) as usize..((page + 1) * PAGE) as usize;
            copied[page.clone()] != bytes[page]
        })
        .collect();
    assert_eq!(wrong, NOTHING);
    assert!(bytes.iter().any(|&byte| byte != 0));
}

#[test]
fn a_copy_of_what_was_dirty_is_the_memory() {
    for config in [log(), manual_protect(), rings(1024)] {
        migrate(config, 1, snapshot);
    }
}

#[test]
fn a_copy_of_what_two_vcpus_wrote() {
    for config in [log(), manual_protect(), rings(4096)] {
        migrate(config, 2, snapshot);
    }
}

/// The thread that empties rings, and vCPUs whose rings are full, mark pages at any moment. Whoever takes such a mark
/// reads the page at once.
#[test]
fn a_copy_of_what_others_have_brought_in() {
    let mut config = rings(1024);
    config.dirty_ring_interval = Duration::from_millis(1);
    migrate(config, 1, marks);
}

/// Rule P22: slots are deleted and made again while they are dirty, and written.
#[test]
fn a_copy_while_the_map_changes() {
    for config in [log(), manual_protect(), rings(1024)] {
        let middle = Cell::new(None);
        migrate(config, 1, |rig, ram| {
            let harvested = snapshot(rig, ram);
            // The same bytes in the same place; but three ranges where there was one.
            let Some(mapped) = middle.take() else {
                let new = rig.board.memory.region("middle").nonvolatile(true);
                let new = new.alias(ram, PAGES * PAGE / 2, 16 * PAGE).unwrap();
                rig.board.map(&new, BASE + PAGES * PAGE / 2, 1);
                middle.set(Some(new));
                return harvested;
            };
            let gone = rig
                .board
                .memory
                .update(|tx| tx.del_subregion(&rig.board.system, &mapped));
            gone.unwrap();
            harvested
        });
    }
}
