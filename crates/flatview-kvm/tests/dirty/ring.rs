//! Rings: their sizes, and when they are full (rule P21).

use flatview_accel::Vcpu;
use flatview_kvm::{KvmConfig, KvmError};

use crate::{NOTHING, Rig, rings, support};

fn refusal(entries: u32) -> Option<String> {
    let error = flatview_kvm::KvmAccelerator::new(rings(entries)).unwrap_err();
    match error {
        KvmError::BadOption { option, value, .. }
            if (option, value) == ("dirty-ring-size", entries.into()) =>
        {
            Some(error.to_string())
        }
        _ => None,
    }
}

#[test]
fn sizes_that_cannot_be() {
    if support::accelerator(KvmConfig::default()).is_none() {
        return;
    }
    for (entries, why) in [
        (0, "it must be a power of two"),
        (1000, "it must be a power of two"),
        (1 << 31, "this KVM has no rings of that size"),
        (1, "this KVM needs more entries"),
    ] {
        assert_eq!(
            refusal(entries),
            Some(format!("dirty-ring-size cannot be {entries}: {why}"))
        );
    }
}

/// The smallest ring that this kernel makes.
fn smallest() -> u32 {
    (0..20)
        .map(|shift| 1 << shift)
        .find(|&entries| flatview_kvm::KvmAccelerator::new(rings(entries)).is_ok())
        .unwrap()
}

#[test]
fn a_full_ring_is_emptied_and_the_guest_goes_on() {
    if support::accelerator(KvmConfig::default()).is_none() {
        return;
    }
    let entries = smallest();
    let mut config = rings(entries);
    // Nobody else empties it.
    config.dirty_ring_interval = std::time::Duration::from_secs(3600);
    let mut rig = Rig::new(config).unwrap();
    let pages = u64::from(entries) * 5;
    let ram = rig.logged(pages);
    let odd: Vec<u64> = (0..pages).filter(|page| page % 2 == 1).collect();
    rig.poke_pages(odd.iter().copied());
    let before = rig.kvm.statistics();
    assert!(before.dirty_rings_reset >= 1, "{before:?}");
    assert_eq!(rig.harvest(&ram), odd);
    let after = rig.kvm.statistics();
    // A vCPU that comes out with a full ring has not stored yet, and notes that page once more.
    assert!(after.dirty_ring_entries >= odd.len() as u64, "{after:?}");
    assert_eq!(after.dirty_logs_read, 0);
    assert_eq!(rig.harvest(&ram), NOTHING);
}

/// What is in the ring of a vCPU that goes is not lost.
#[test]
fn a_vcpu_that_goes_leaves_its_entries() {
    let Some(mut rig) = Rig::new(rings(1024)) else {
        return;
    };
    let ram = rig.logged(100);
    let mut second = rig.kvm.create_kvm_vcpu(rig.board.vcpu(1)).unwrap();
    rig.poke_pages([1, 2]);
    std::mem::swap(&mut rig.vcpu, &mut second);
    rig.poke_pages([2, 3]);
    assert_eq!(rig.vcpu.instructions(), None);
    drop(second);
    assert_eq!(rig.harvest(&ram), [1, 2, 3]);
    rig.poke_pages([1, 3]);
    assert_eq!(rig.harvest(&ram), [1, 3]);
}
