#![allow(clippy::unwrap_used, reason = "a test may fail")]

use flatview::Endianness;

use super::*;
use crate::KvmConfig;
use crate::probe::{DEVICE, Guest, HLT, Out, WIDE, out, store};

/// A guest with a device at memory and one at ports, all of whose writes are collected, and what reaches them.
fn scene() -> Option<(Guest, Arc<Mutex<Vec<String>>>)> {
    let guest = Guest::new(KvmConfig::default())?;
    let written = Arc::default();
    for bus in [Bus::Memory, Bus::Ports] {
        let device = guest.device(bus, Endianness::Little, &written);
        guest.memory.update(|tx| tx.set_coalescing(&device)).unwrap();
    }
    Some((guest, written))
}

fn take(written: &Mutex<Vec<String>>) -> Vec<String> {
    std::mem::take(&mut *written.lock().unwrap())
}

#[test]
fn j8_j11_writes_are_collected_and_delivered_in_their_order() {
    let Some((mut guest, written)) = scene() else {
        return;
    };
    guest.write(WIDE, &0x0102_0304_0506_0708_u64.to_le_bytes());
    guest.code(&[
        &store(0, 0x11, 1),
        &out(0x600, 0x22, 1),
        &store(2, 0x3333, 2),
        &out(0x602, 0x4444, 2),
        &store(4, 0x5555_5555, 4),
        &out(0x604, 0x6666_6666, 4),
        &store(8, 0, 8),
        &[0x26, 0xa0, 0, 0], // mov al, [es:0]
        HLT,
    ]);
    // A read comes out, and by then everything before it can be delivered.
    assert!(!guest.accelerator.vm.has_coalesced_writes());
    assert_eq!(guest.run(), Out::Read(DEVICE, 1));
    assert!(guest.accelerator.vm.has_coalesced_writes());
    assert_eq!(take(&written), Vec::<String>::new());
    assert_eq!(guest.memory.drain_coalesced(), 7);
    assert_eq!(
        take(&written),
        [
            "memory 0x0/1=0x11",
            "ports 0x0/1=0x22",
            "memory 0x2/2=0x3333",
            "ports 0x2/2=0x4444",
            "memory 0x4/4=0x55555555",
            "ports 0x4/4=0x66666666",
            "memory 0x8/8=0x102030405060708",
        ]
    );
    assert!(!guest.accelerator.vm.has_coalesced_writes());
    assert_eq!(guest.run(), Out::Halted);
    assert_eq!(guest.accelerator.statistics().coalesced_writes, 7);
}

/// What no longer fits comes out, behind everything that did; the ring goes on where it was.
#[test]
fn j5_a_full_ring_comes_out() {
    let Some((mut guest, written)) = scene() else {
        return;
    };
    for _ in 0..2 {
        guest.code(&[
            &[0xb9, 170, 0],              // mov cx, 170
            &[0x26, 0x89, 0x0e, 0x10, 0], // mov [es:0x10], cx
            &[0xe2, 0xf9],                // loop to the store
            HLT,
        ]);
        assert_eq!(guest.run(), Out::Write(DEVICE + 0x10, vec![1, 0]));
        assert_eq!(guest.memory.drain_coalesced(), 169);
        let expected: Vec<_> = (2..=170)
            .rev()
            .map(|value| format!("memory 0x10/2={value:#x}"))
            .collect();
        assert_eq!(take(&written), expected);
        assert_eq!(guest.run(), Out::Halted);
    }
}

#[test]
fn j8_what_is_gone_is_not_collected() {
    let Some((mut guest, written)) = scene() else {
        return;
    };
    let device = guest.space.view().find(DEVICE).unwrap().region().clone();
    guest.memory.update(|tx| tx.clear_coalescing(&device)).unwrap();
    guest.code(&[&store(0, 1, 4), HLT]);
    assert_eq!(guest.run(), Out::Write(DEVICE, vec![1, 0, 0, 0]));
    assert_eq!((guest.memory.drain_coalesced(), take(&written).len()), (0, 0));
}

/// J6: a zone is cut to what is shown.
#[test]
fn j6_only_what_is_shown_is_collected() {
    let Some((mut guest, _)) = scene() else { return };
    let lid = guest
        .memory
        .region("lid")
        .io(0x10, Arc::new(flatview::UnassignedIo));
    guest
        .memory
        .update(|tx| tx.add_subregion_overlap(&guest.system, DEVICE + 0x10, &lid, 1))
        .unwrap();
    guest.code(&[&store(0, 1, 4), &store(0x20, 3, 4), &store(0x10, 2, 4), HLT]);
    assert_eq!(guest.run(), Out::Write(DEVICE + 0x10, vec![2, 0, 0, 0]));
    assert_eq!(guest.memory.drain_coalesced(), 2);
}

/// The kernel lets go of every zone that contains the one it is told of: the others are told again.
#[test]
fn j8_a_zone_within_another_goes_alone() {
    let Some((mut guest, _)) = scene() else { return };
    let device = guest.space.view().find(DEVICE).unwrap().region().clone();
    guest
        .memory
        .update(|tx| tx.add_coalescing(&device, 4, 4))
        .unwrap();
    guest.memory.update(|tx| tx.set_coalescing(&device)).unwrap();
    guest.code(&[&store(0, 1, 4), &store(4, 1, 4), HLT]);
    assert_eq!(guest.run(), Out::Halted);
    assert_eq!(guest.memory.drain_coalesced(), 2);
}

/// Neither keeps the other: a memory outlives its virtual machine, and the other way round.
#[test]
fn who_drains_and_who_collects_do_not_keep_each_other() {
    let Some((mut guest, _)) = scene() else { return };
    guest.code(&[&store(0, 1, 4), HLT]);
    assert_eq!(guest.run(), Out::Halted);
    let vm = Arc::downgrade(&guest.accelerator.vm);
    let memory = guest.memory.clone();
    drop(guest);
    assert!(vm.upgrade().is_none());
    assert_eq!(memory.drain_coalesced(), 0);

    let Some((guest, _)) = scene() else { return };
    let weak = guest.memory.downgrade();
    let Guest {
        attachment,
        accelerator,
        memory,
        ..
    } = guest;
    drop(memory);
    assert!(weak.upgrade().is_none());
    drop((attachment, accelerator));
}
