//! Coalesced zones as the kernel is told of them. What guests see of them is in `src/coalesced/coalesced_test.rs`.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::sync::{Arc, Mutex};

use flatview::{Error, MemTxAttrs, MemTxError, MemoryRegionOps, Region, Transaction, UnassignedIo};
use flatview_accel::{Exit, Vcpu};
use flatview_kvm::{KvmAccelerator, KvmConfig, KvmVcpu};
use support::Board;

const AT: u64 = 0x10_0000_0000;

struct Scene {
    board: Board,
    device: Region,
    kvm: KvmAccelerator,
    _vcpu: KvmVcpu,
}

impl Scene {
    /// A machine with a device of 8 GiB.
    fn new() -> Option<Scene> {
        let kvm = support::accelerator(KvmConfig::default())?;
        let board = Board::new();
        let device = board
            .memory
            .region("device")
            .io(8_u64 << 30, Arc::new(UnassignedIo));
        board.map(&device, AT, 0);
        let vcpu = kvm.create_kvm_vcpu(board.vcpu(0)).unwrap();
        Some(Scene {
            board,
            device,
            kvm,
            _vcpu: vcpu,
        })
    }

    /// How many calls of the kernel `change` makes.
    fn calls(&self, change: impl FnOnce(&mut Transaction<'_>) -> Result<(), Error>) -> u64 {
        let before = self.kvm.statistics().coalesced_zones;
        self.board.update(change);
        self.kvm.statistics().coalesced_zones - before
    }
}

#[test]
fn j6_j8_zones_follow_what_is_shown() {
    let Some(scene) = Scene::new() else { return };
    let Scene { board, device, .. } = &scene;
    assert_eq!(scene.calls(|tx| tx.add_coalescing(device, 0x1000, 0x1000)), 1);
    assert_eq!(scene.calls(|tx| tx.set_address(device, AT * 2)), 2);
    assert_eq!(scene.calls(|tx| tx.set_enabled(device, false)), 1);
    assert_eq!(scene.calls(|tx| tx.set_enabled(device, true)), 1);
    // In two pieces.
    let lid = board.memory.region("lid").io(0x100, Arc::new(UnassignedIo));
    assert_eq!(
        scene.calls(|tx| tx.add_subregion_overlap(device, 0x1800, &lid, 1)),
        3
    );
    assert_eq!(scene.calls(|tx| tx.del_subregion(device, &lid)), 3);
    assert_eq!(scene.calls(|tx| tx.clear_coalescing(device)), 1);
}

/// The kernel is told of the larger one again, since it lets go of it with the smaller one.
#[test]
fn j8_zones_that_contain_one_that_goes_stay() {
    let Some(scene) = Scene::new() else { return };
    let Scene { board, device, .. } = &scene;
    board.update(|tx| tx.set_size(device, 0x1000));
    let two = |tx: &mut Transaction<'_>| {
        tx.set_coalescing(device)?;
        tx.add_coalescing(device, 0x10, 0x10)
    };
    assert_eq!(scene.calls(two), 2);
    assert_eq!(scene.calls(|tx| tx.set_coalescing(device)), 2);
}

/// A favour that the kernel does not do is no error: 8 GiB are more than it can be told of.
#[test]
fn j8_a_zone_that_is_too_large_is_left_alone() {
    let Some(scene) = Scene::new() else { return };
    assert_eq!(scene.calls(|tx| tx.set_coalescing(&scene.device)), 0);
    assert_eq!(scene.calls(|tx| tx.clear_coalescing(&scene.device)), 0);
}

/// As above: 1100 zones are more than it takes. Only those that it has are taken away.
#[test]
fn j8_more_zones_than_the_kernel_takes_are_left_alone() {
    let Some(scene) = Scene::new() else { return };
    let device = &scene.device;
    let asked =
        scene.calls(|tx| (0..1100).try_for_each(|index| tx.add_coalescing(device, index * 16, 8_u64)));
    assert_eq!(asked, 1100);
    let taken = scene.calls(|tx| tx.clear_coalescing(device));
    assert!((1..=1100).contains(&taken), "{taken}");
    // They are all gone: there is room again.
    assert_eq!(scene.calls(|tx| tx.add_coalescing(device, 0, 8_u64)), 1);
    assert_eq!(scene.calls(|tx| tx.clear_coalescing(device)), 1);
}

/// Notes what is done to it.
#[derive(Debug, Default)]
struct Notes(Mutex<Vec<String>>);

impl MemoryRegionOps for Notes {
    fn read(&self, offset: u64, size: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        self.0.lock().unwrap().push(format!("r{size}@{offset:x}"));
        Ok(0)
    }

    fn write(&self, offset: u64, size: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        self.0
            .lock()
            .unwrap()
            .push(format!("w{size}@{offset:x}={value:x}"));
        Ok(())
    }
}

/// J5, J11: a vCPU delivers what was collected before it dispatches what it came out for.
#[test]
fn j5_a_read_comes_after_what_was_written_before_it() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    board.map_ram("ram", 0, 0x1_0000, 0);
    let notes = Arc::new(Notes::default());
    let device = board
        .memory
        .region("device")
        .io(0x100, Arc::clone(&notes) as Arc<_>);
    board.map(&device, 0xd000_0000, 0);
    board.update(|tx| tx.set_coalescing(&device));
    let code = [
        &[0x26, 0xc6, 0x06, 0, 0, 0x11][..],   // mov byte [es:0], 0x11
        &[0x26, 0xc7, 0x06, 2, 0, 0x22, 0x22], // mov word [es:2], 0x2222
        &[0x26, 0xa0, 0, 0],                   // mov al, [es:0]
        &[0x26, 0xc6, 0x06, 4, 0, 0x33],       // mov byte [es:4], 0x33
        &[0xf4],                               // hlt
    ];
    board.write(0x1000, &code.concat());
    let mut vcpu = kvm.create_kvm_vcpu(board.vcpu(0)).unwrap();
    let mut state = vcpu.state().unwrap();
    support::real_mode(&mut state, 0x1000);
    state.sregs.es.base = 0xd000_0000;
    vcpu.set_state(&state).unwrap();
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    assert_eq!(
        *notes.0.lock().unwrap(),
        ["w1@0=11", "w2@2=2222", "r1@0", "w1@4=33"]
    );
    let statistics = kvm.statistics();
    assert_eq!((statistics.mmio_exits, statistics.coalesced_writes), (1, 3));
}
