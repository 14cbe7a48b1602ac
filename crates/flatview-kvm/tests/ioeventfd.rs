//! ioeventfds as the kernel is told of them: which calls a change of the map makes, and what an error leaves behind.
//! What guests see of them is in `src/io_test.rs`.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::error::Error as _;
use std::fs::File;
use std::sync::Arc;

use flatview::{EventNotifier, Region, UnassignedIo};
use flatview_kvm::{KvmAccelerator, KvmConfig, KvmError, KvmVcpu};
use support::Board;

const AT: u64 = 0x1000_0000;

/// A machine with a device in memory and one at ports.
struct Scene {
    board: Board,
    device: Region,
    ports: Region,
    kvm: KvmAccelerator,
    _vcpu: KvmVcpu,
}

impl Scene {
    fn new() -> Option<Scene> {
        let kvm = support::accelerator(KvmConfig::default())?;
        let board = Board::new();
        let device = board.memory.region("device").io(0x4000, Arc::new(UnassignedIo));
        let ports = board.memory.region("ports").io(0x10, Arc::new(UnassignedIo));
        board.map(&device, AT, 0);
        board.update(|tx| tx.add_subregion(&board.io, 0x600, &ports));
        let vcpu = kvm.create_kvm_vcpu(board.vcpu(0)).unwrap();
        Some(Scene {
            board,
            device,
            ports,
            kvm,
            _vcpu: vcpu,
        })
    }

    fn add(&self, region: &Region, offset: u64, size: u32, data: Option<u64>) -> Result<(), flatview::Error> {
        let notifier = notifier();
        let add = |tx: &mut flatview::Transaction<'_>| tx.add_eventfd(region, offset, size, data, &notifier);
        self.board.memory.update(add).map(drop)
    }

    /// How many calls of the kernel `change` makes.
    fn calls(
        &self,
        change: impl FnOnce(&mut flatview::Transaction<'_>) -> Result<(), flatview::Error>,
    ) -> u64 {
        let before = self.kvm.statistics().ioeventfds;
        self.board.update(change);
        self.kvm.statistics().ioeventfds - before
    }
}

fn notifier() -> EventNotifier {
    EventNotifier::eventfd().unwrap()
}

/// What KVM said to a change that failed.
#[track_caller]
fn refusal(result: Result<(), flatview::Error>) -> (u64, u32, Option<u64>, i32) {
    let error = result.unwrap_err();
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(KvmError::IoEventFd {
            address,
            length,
            data,
            source,
            ..
        }) = error.downcast_ref()
        {
            return (*address, *length, *data, source.raw_os_error().unwrap());
        }
        cause = error.source();
    }
    panic!("not about an ioeventfd: {error:?}");
}

#[test]
fn i7_i12_the_kernel_is_told_of_what_changes_and_no_more() {
    let Some(scene) = Scene::new() else { return };
    let Scene {
        board, device, ports, ..
    } = &scene;
    let one = notifier();
    assert_eq!(scene.calls(|tx| tx.add_eventfd(device, 0, 4, Some(1), &one)), 1);
    assert_eq!(scene.calls(|tx| tx.add_eventfd(device, 0xffe, 4, None, &one)), 1);
    assert_eq!(scene.calls(|tx| tx.add_eventfd(ports, 4, 2, None, &one)), 1);
    // What moves is gone and new.
    assert_eq!(scene.calls(|tx| tx.set_address(device, AT + 0x1_0000)), 4);
    assert_eq!(scene.calls(|tx| tx.set_enabled(device, false)), 2);
    assert_eq!(scene.calls(|tx| tx.set_enabled(device, true)), 2);
    // One that two ranges show is the kernel's once: no call.
    let lid = board.ram("lid", 0x1000);
    assert_eq!(
        scene.calls(|tx| tx.add_subregion_overlap(device, 0x1000, &lid, 1)),
        0
    );
    // One that is hidden altogether is gone.
    assert_eq!(scene.calls(|tx| tx.set_address(&lid, 0)), 1);
    assert_eq!(scene.calls(|tx| tx.del_subregion(device, &lid)), 1);
    assert_eq!(scene.calls(|tx| tx.del_subregion(&board.io, ports)), 1);
    assert_eq!(scene.calls(|tx| tx.del_eventfd(device, 0, 4, Some(1), &one)), 1);
}

#[test]
fn i13_a_second_one_for_the_same_write_is_refused() {
    let Some(scene) = Scene::new() else { return };
    for (region, at) in [(&scene.device, AT), (&scene.ports, 0x600)] {
        scene.add(region, 0, 4, Some(1)).unwrap();
        scene.add(region, 0, 4, Some(2)).unwrap();
        scene.add(region, 0, 2, None).unwrap();
        for (size, data) in [(4, Some(1)), (4, None), (2, Some(9)), (0, None)] {
            let refused = refusal(scene.add(region, 0, size, data));
            assert_eq!(refused, (at, size, data, libc::EEXIST));
        }
        assert_eq!(region.state().unwrap().ioeventfds.len(), 3);
    }
}

#[test]
fn i12_what_the_kernel_has_not_is_an_error() {
    let Some(scene) = Scene::new() else { return };
    let Scene { board, device, .. } = &scene;
    let refused = refusal(scene.add(device, 8, 0, Some(1)));
    assert_eq!(refused, (AT + 8, 0, Some(1), libc::EINVAL));
    let file = EventNotifier::new(File::open("/dev/null").unwrap());
    let added = board
        .memory
        .update(|tx| tx.add_eventfd(device, 8, 4, None, &file));
    assert_eq!(refusal(added.map(drop)), (AT + 8, 4, None, libc::EINVAL));
    scene.add(device, 8, 4, None).unwrap();
}

/// The last of many is refused, along with a move: nothing of it stays in the kernel, which would refuse it now.
#[test]
fn i13_a_change_that_fails_leaves_nothing_behind() {
    let Some(scene) = Scene::new() else { return };
    let Scene { board, device, .. } = &scene;
    scene.add(device, 0, 4, None).unwrap();
    let one = notifier();
    let many = |tx: &mut flatview::Transaction<'_>| {
        tx.set_address(device, AT + 0x1_0000)?;
        (1..100).try_for_each(|index| tx.add_eventfd(device, index * 8, 4, Some(index), &one))
    };
    let failed = board.memory.update(|tx| {
        many(tx)?;
        tx.add_eventfd(device, 99 * 8, 4, None, &one)
    });
    assert_eq!(refusal(failed.map(drop)).3, libc::EEXIST);
    // At the old place it is still there.
    assert_eq!(refusal(scene.add(device, 0, 4, Some(1))).3, libc::EEXIST);
    assert_eq!(scene.calls(|tx| tx.set_address(device, AT)), 0);
    assert_eq!(scene.calls(many), 101);
}

/// Kernels count them differently. Whatever this one does, it is all or nothing.
#[test]
fn i13_more_than_a_thousand_are_taken_or_taken_back() {
    let Some(scene) = Scene::new() else { return };
    let one = notifier();
    let many = scene
        .board
        .memory
        .update(|tx| (0..1100).try_for_each(|index| tx.add_eventfd(&scene.device, index * 8, 4, None, &one)));
    match many {
        Ok(_) => assert_eq!(scene.calls(|tx| tx.set_enabled(&scene.device, false)), 1100),
        Err(_) => {
            assert_eq!(refusal(many.map(drop)).3, libc::ENOSPC);
            scene.add(&scene.device, 0, 4, None).unwrap();
        }
    }
}
