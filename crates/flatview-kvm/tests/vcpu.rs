#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "a test may fail")]
//! vCPUs of KVM: what comes out of the guest, and how it goes on.

mod support;

use flatview_accel::{Accelerator, Exit};
use flatview_kvm::KvmConfig;
use support::Board;

#[test]
fn hlt() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    board.map_ram("ram", 0, 0x1_0000, 0);
    // mov ax, 0x1234; hlt
    board.write(0x1000, &[0xb8, 0x34, 0x12, 0xf4]);
    let mut vcpu = kvm.create_vcpu(board.vcpu(0)).unwrap();
    let mut state = vcpu.state().unwrap();
    println!("{state:x?}");
    support::real_mode(&mut state, 0x1000);
    vcpu.set_state(&state).unwrap();
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    let state = vcpu.state().unwrap();
    assert_eq!((state.regs.rax, state.regs.rip), (0x1234, 0x1004));
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
}
