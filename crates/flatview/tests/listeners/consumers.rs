//! The other consumers that QEMU has (rules X12 to X14, X16), each a few lines of a listener; and what a
//! listener may look at and keep (F12, F13, E8).

use std::sync::{Arc, Mutex};

use flatview::{
    FlatRange, FlatView, ListenerResult, MemoryListener, MemoryRegionSection, Region, Size, Undo, ViewChange,
};

use crate::machine::Machine;

/// Virtio: whatever changed, the rings are looked up anew in the new view, which nobody else sees yet.
struct Virtio {
    ring: u64,
    found: Mutex<Vec<Option<FlatRange>>>,
}

impl MemoryListener for Virtio {
    fn name(&self) -> &str {
        "virtio"
    }
    fn commit(&self, view: &FlatView) -> ListenerResult {
        self.found.lock().unwrap().push(view.find(self.ring).cloned());
        Ok(())
    }
}

#[test]
fn x12_rings_are_found_anew_in_the_view_to_come() {
    let (machine, ram) = Machine::with_ram();
    let virtio = Arc::new(Virtio {
        ring: 0x4000,
        found: Mutex::default(),
    });
    let _registration = machine.space.register(virtio.clone()).unwrap();
    machine.update(|tx| tx.set_address(&ram, 0x4000));
    machine.update(|tx| tx.del_subregion(&machine.system, &ram));
    let found = virtio.found.lock().unwrap();
    let offsets: Vec<_> = found.iter().flatten().map(FlatRange::offset_in_region).collect();
    assert_eq!((offsets, found.len()), (vec![0, 0], 3));
    assert_eq!(found[0].as_ref().unwrap().start(), 0);
    assert_eq!(found[1].as_ref().unwrap().start(), 0x4000);
}

/// Vhost-vdpa: maps and unmaps go into a batch that is sent in commit, or forgotten in abort.
#[derive(Default)]
struct Vdpa {
    batch: Mutex<Vec<String>>,
    sent: Mutex<Vec<Vec<String>>>,
}

impl MemoryListener for Vdpa {
    fn name(&self) -> &str {
        "vhost-vdpa"
    }
    fn begin(&self) -> ListenerResult {
        assert!(self.batch.lock().unwrap().is_empty());
        Ok(())
    }
    fn region_add(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        self.batch
            .lock()
            .unwrap()
            .push(format!("map {}", section.range().range()));
        Ok(())
    }
    fn region_del(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        self.batch
            .lock()
            .unwrap()
            .push(format!("unmap {}", section.range().range()));
        Ok(())
    }
    fn abort(&self, _: &Undo<'_>) -> ListenerResult {
        self.batch.lock().unwrap().clear();
        Ok(())
    }
    fn commit(&self, _: &FlatView) -> ListenerResult {
        let batch = std::mem::take(&mut *self.batch.lock().unwrap());
        self.sent.lock().unwrap().push(batch);
        Ok(())
    }
}

#[test]
fn x13_a_batch_is_sent_at_once_or_forgotten() {
    let (machine, ram) = Machine::with_ram();
    let vdpa = Arc::new(Vdpa::default());
    let _registration = machine.space.register(vdpa.clone()).unwrap();
    let failing = Arc::new(machine.recorder("failing", 1));
    let _failing = machine.space.register(failing.clone()).unwrap();
    failing.fail_in(flatview::listeners::Callback::RegionAdd, 0);
    machine
        .memory
        .update(|tx| tx.set_address(&ram, 0x1_0000))
        .unwrap_err();
    machine.update(|tx| tx.set_address(&ram, 0x2_0000));
    let sent = vdpa.sent.lock().unwrap();
    assert_eq!(
        *sent,
        [
            vec!["map 0x0-0xffff"],
            vec!["unmap 0x0-0xffff", "map 0x20000-0x2ffff"]
        ]
    );
}

/// Memory devices: how many slots the space for them takes; one refuses what is too much.
struct Memslots {
    limit: usize,
}

impl MemoryListener for Memslots {
    fn name(&self) -> &str {
        "memory-device"
    }
    fn prepare(&self, change: &ViewChange<'_>) -> ListenerResult {
        let used = change
            .new_view()
            .iter()
            .filter(|range| range.region().ram_block().is_some())
            .count();
        match used > self.limit {
            true => Err(format!("{used} memory slots are more than {}", self.limit).into()),
            false => Ok(()),
        }
    }
}

#[test]
fn x14_memory_slots_are_counted_before_there_are_too_many() {
    let machine = Machine::new();
    let _registration = machine.space.register(Arc::new(Memslots { limit: 2 })).unwrap();
    let dimms = ["dimm0", "dimm1", "dimm2"].map(|name| machine.ram(name, 0x1000));
    machine.map(0, &dimms[0]);
    machine.map(0x1000, &dimms[1]);
    let refused = machine
        .memory
        .update(|tx| tx.add_subregion(&machine.system, 0x2000, &dimms[2]));
    let expected =
        "listener `memory-device` of address space `memory` refused: 3 memory slots are more than 2";
    assert_eq!(refused.unwrap_err().to_string(), expected);
}

/// Arm's interrupt controller in the kernel: where is the region of the device?
struct DeviceAddress {
    device: Region,
    address: Mutex<Option<u64>>,
}

impl MemoryListener for DeviceAddress {
    fn name(&self) -> &str {
        "kvm-device"
    }
    fn region_add(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        if *section.region() == self.device {
            *self.address.lock().unwrap() = Some(section.start());
        }
        Ok(())
    }
    fn region_del(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        if *section.region() == self.device {
            *self.address.lock().unwrap() = None;
        }
        Ok(())
    }
}

#[test]
fn x16_the_address_of_one_device_is_found() {
    let machine = Machine::new();
    let gic = machine.mmio("gic", 0x1_0000);
    let listener = Arc::new(DeviceAddress {
        device: gic.clone(),
        address: Mutex::default(),
    });
    let _registration = machine.space.register(listener.clone()).unwrap();
    let address = || *listener.address.lock().unwrap();
    machine.map(0x800_0000, &gic);
    assert_eq!(address(), Some(0x800_0000));
    machine.update(|tx| tx.set_address(&gic, 0x900_0000));
    assert_eq!(address(), Some(0x900_0000));
    machine.update(|tx| tx.del_subregion(&machine.system, &gic));
    assert_eq!(address(), None);
}

/// Looks at every space of the machine from every callback, and keeps the ranges it is told of.
struct Looker {
    kept: Mutex<Vec<FlatRange>>,
    seen: Mutex<Vec<usize>>,
}

impl MemoryListener for Looker {
    fn name(&self) -> &str {
        "looker"
    }
    fn region_add(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        self.seen
            .lock()
            .unwrap()
            .push(section.address_space().view().len());
        self.kept.lock().unwrap().push(section.range().clone());
        Ok(())
    }
    fn commit(&self, view: &FlatView) -> ListenerResult {
        self.seen.lock().unwrap().push(view.len());
        Ok(())
    }
}

/// F12: the old view; E8 is not copied: of every space, and to the end of the commit. F13: what is kept stays.
#[test]
fn f12_f13_e8_callbacks_see_the_old_view_and_may_keep_ranges() {
    let machine = Machine::new();
    let other_root = machine.memory.region("other").container(Size::MAX);
    let other = machine.memory.create_address_space("other", &other_root).unwrap();
    let [first, second] = [&machine.space, &other].map(|space| {
        let looker = Arc::new(Looker {
            kept: Mutex::default(),
            seen: Mutex::default(),
        });
        let registration = space.register(looker.clone()).unwrap();
        looker.seen.lock().unwrap().clear();
        (looker, registration)
    });
    let ram = machine.ram("ram", 0x1000);
    let alias = machine.memory.region("alias").alias(&ram, 0, 0x1000).unwrap();
    machine.update(|tx| {
        tx.add_subregion(&machine.system, 0, &ram)?;
        tx.add_subregion(&other_root, 0x8000, &alias)
    });
    for (looker, _) in [&first, &second] {
        assert_eq!(*looker.seen.lock().unwrap(), [0, 1]);
    }
    machine.update(|tx| tx.del_subregion(&machine.system, &ram));
    drop((ram, alias));
    assert_eq!(first.0.kept.lock().unwrap()[0].region().name(), "ram");
}
