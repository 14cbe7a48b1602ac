//! Coalesced zones as the kernel is told of them. What guests see of them is in `src/coalesced/coalesced_test.rs`.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::sync::Arc;

use flatview::{Error, Region, Transaction, UnassignedIo};
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
        self.board.memory.update(change).unwrap();
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
    board.memory.update(|tx| tx.set_size(device, 0x1000)).unwrap();
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
