//! The thread that empties dirty rings (rule P21). Alone in its program: it counts threads.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::fs;
use std::time::Duration;

use flatview::{AddressRange, DirtyClients};
use flatview_accel::{Exit, Vcpu};
use flatview_kvm::KvmConfig;
use support::Board;

fn reapers() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok())
        .filter(|name| name.trim() == "kvm-reaper")
        .count()
}

#[test]
fn it_empties_rings_and_ends_with_the_machine() {
    let mut config = KvmConfig::default();
    config.dirty_ring = Some(1024);
    config.dirty_ring_interval = Duration::from_millis(1);
    let Some(kvm) = support::accelerator(config) else {
        return;
    };
    assert_eq!(reapers(), 0, "no vCPU, no ring");
    let board = Board::new();
    board.map_ram("low", 0, 0x10_0000, 0);
    let ram = board.map_ram("ram", 0x10_0000, 0x10_0000, 0);
    board.update(|tx| tx.set_log(&ram, true));
    let all = AddressRange::new(0, ram.ram_block().unwrap().size()).unwrap();
    let harvest = || {
        let memory = &board.memory;
        let taken = memory
            .snapshot_and_clear_dirty(&ram, all, DirtyClients::VGA)
            .unwrap();
        taken.pages().map(|offset| offset >> 12).collect::<Vec<_>>()
    };
    assert_eq!(harvest().len(), 256);

    let mut vcpu = kvm.create_kvm_vcpu(board.vcpu(0)).unwrap();
    let other = kvm.create_kvm_vcpu(board.vcpu(1)).unwrap();
    // A thread gives itself its name.
    flatview_testkit::wait_until(|| reapers() == 1);
    board.write(0x1000, &[0xa3, 0x00, 0x30, 0xa3, 0x00, 0x90, 0xf4]); // mov [0x3000], ax; mov [0x9000], ax; hlt
    let mut state = vcpu.state().unwrap();
    support::real_mode(&mut state, 0x1000);
    state.sregs.ds.base = 0x10_0000;
    vcpu.set_state(&state).unwrap();
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    flatview_testkit::wait_until(|| kvm.statistics().dirty_ring_entries >= 2);
    assert_eq!(harvest(), [3, 9]);
    drop((vcpu, other, kvm));
    flatview_testkit::wait_until(|| reapers() == 0);
}
