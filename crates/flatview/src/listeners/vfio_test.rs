use std::sync::Arc;

use super::super::fixture::Machine;
use super::super::{Callback, EventLog, RecordingListener};
use super::*;
use crate::{Error, ListenerError, RamBlock, Region, Registration, Size};

/// Writes down what it does, and fails where it is told to.
struct Container {
    did: Mutex<Vec<String>>,
    fails: Mutex<Vec<&'static str>>,
}

impl Container {
    fn attempt(&self, what: String) -> Result<(), ListenerError> {
        if self.fails.lock().iter().any(|text| what.contains(text)) {
            return Err(format!("cannot {what}").into());
        }
        self.did.lock().push(what);
        Ok(())
    }
}

impl DmaMapper for Container {
    fn dma_map(&self, iova: u64, size: u64, vaddr: usize, readonly: bool) -> Result<(), ListenerError> {
        let access = if readonly { "ro" } else { "rw" };
        self.attempt(format!("map {iova:#x}+{size:#x} at {vaddr:#x} {access}"))
    }
    fn dma_unmap(&self, iova: u64, size: u64) -> Result<(), ListenerError> {
        self.attempt(format!("unmap {iova:#x}+{size:#x}"))
    }
    fn iommu_attach(&self, section: &MemoryRegionSection<'_>) -> Result<(), ListenerError> {
        self.attempt(format!("attach {}", section.region().name()))
    }
    fn iommu_detach(&self, section: &MemoryRegionSection<'_>) -> Result<(), ListenerError> {
        self.attempt(format!("detach {}", section.region().name()))
    }
    fn ram_discard_attach(
        &self,
        section: &MemoryRegionSection<'_>,
        manager: &Arc<dyn RamDiscardManager>,
    ) -> Result<(), ListenerError> {
        let (name, granularity) = (section.region().name(), manager.min_granularity());
        self.attempt(format!("follow {name} by {granularity:#x}"))
    }
    fn ram_discard_detach(&self, section: &MemoryRegionSection<'_>) -> Result<(), ListenerError> {
        self.attempt(format!("forget {}", section.region().name()))
    }
}

struct Device {
    machine: Machine,
    vfio: Arc<VfioListener<Arc<Container>>>,
    registration: Registration,
}

impl Device {
    /// With 4 KiB pages of the host, and 8 KiB pages of the IOMMU.
    fn new() -> Device {
        let machine = Machine::new();
        let container = Arc::new(Container {
            did: Mutex::new(Vec::new()),
            fails: Mutex::new(Vec::new()),
        });
        let vfio = VfioListener::new("vfio", container).with_page_sizes(0x1000, 0x2000);
        let vfio = Arc::new(vfio.unwrap());
        let registration = machine.space.register(vfio.clone()).unwrap();
        Device {
            machine,
            vfio,
            registration,
        }
    }

    fn did(&self) -> Vec<String> {
        std::mem::take(&mut self.vfio.mapper().did.lock())
    }

    fn fail(&self, what: &[&'static str]) {
        *self.vfio.mapper().fails.lock() = what.into();
    }

    /// What is done when a region is mapped.
    fn did_for(&self, address: u64, region: &Region) -> Vec<String> {
        self.did();
        self.machine.map(address, region);
        self.did()
    }

    fn bar(&self, size: u64) -> Region {
        let block = RamBlock::foreign(size, 0x90_0000);
        self.machine.memory.region("bar").ram_device(block)
    }

    /// As many entries as the container has.
    fn mapped(&self) -> Vec<String> {
        self.vfio
            .mappings()
            .iter()
            .map(|mapping| format!("{mapping:?}"))
            .collect()
    }
}

#[test]
fn x8_ram_is_mapped_and_rom_for_reading() {
    let device = Device::new();
    let ram = device.machine.ram("ram", 0x3000, 0x70_0000);
    assert_eq!(device.did_for(0, &ram), ["map 0x0+0x3000 at 0x700000 rw"]);
    let rom = device
        .machine
        .memory
        .region("rom")
        .rom(RamBlock::foreign(0x1000, 0x80_0000));
    assert_eq!(device.did_for(0x8000, &rom), ["map 0x8000+0x1000 at 0x800000 ro"]);
    assert_eq!(
        device.mapped(),
        ["0x0+0x3000 at 0x700000", "0x8000+0x1000 at 0x800000 readonly"]
    );
    device.machine.unmap(&rom);
    assert_eq!(device.did(), ["unmap 0x8000+0x1000"]);
}

/// D2: the one consumer that honours a readonly alias in QEMU, too.
#[test]
fn x8_ram_that_is_read_only_through_an_alias_is_mapped_for_reading() {
    let device = Device::new();
    let ram = device.machine.ram("ram", 0x3000, 0x70_0000);
    let pam = device
        .machine
        .memory
        .region("pam")
        .readonly(true)
        .alias(&ram, 0x1000, 0x1000)
        .unwrap();
    assert_eq!(
        device.did_for(0xc_0000, &pam),
        ["map 0xc0000+0x1000 at 0x701000 ro"]
    );
    device.machine.update(|tx| tx.set_readonly(&pam, false));
    assert_eq!(
        device.did(),
        ["unmap 0xc0000+0x1000", "map 0xc0000+0x1000 at 0x701000 rw"]
    );
}

#[test]
fn x7_other_kinds_are_not_mapped() {
    let device = Device::new();
    for region in [
        device.machine.rom_device(0x2000, 0x70_0000),
        device.machine.reservation(0x2000),
        device
            .machine
            .memory
            .region("nowhere")
            .ram(RamBlock::unbacked(0x2000)),
    ] {
        assert!(device.did_for(0, &region).is_empty(), "{region:?}");
        device.machine.unmap(&region);
        assert!(device.did().is_empty(), "{region:?}");
    }
}

#[test]
fn x7_the_upper_half_of_the_space_is_not_mapped() {
    let device = Device::new();
    for region in [device.bar(0x2000), device.machine.iommu(0x2000)] {
        for address in [1 << 63, 0xffff_ffff_ffff_e000] {
            assert!(device.did_for(address, &region).is_empty());
            device.machine.unmap(&region);
            assert!(device.did().is_empty());
        }
    }
    // What begins below is, whole.
    let ram = device.machine.ram("ram", 0x4000, 0x70_0000);
    assert_eq!(
        device.did_for((1 << 63) - 0x2000, &ram),
        ["map 0x7fffffffffffe000+0x4000 at 0x700000 rw"]
    );
}

#[test]
fn x7_what_is_at_another_offset_within_a_page_is_not_mapped() {
    let device = Device::new();
    let ram = device.machine.ram("ram", 0x4000, 0x70_0000);
    assert!(device.did_for(0x800, &ram).is_empty());
    let alias = device
        .machine
        .memory
        .region("alias")
        .alias(&ram, 0x800, 0x2000)
        .unwrap();
    assert!(device.did_for(0x1_0000, &alias).is_empty());
    device.machine.unmap(&alias);
    // At the same offset, the whole pages are.
    assert_eq!(
        device.did_for(0x2_0800, &alias),
        ["map 0x21000+0x1000 at 0x701000 rw"]
    );
}

#[test]
fn x8_only_whole_host_pages_are_mapped() {
    let device = Device::new();
    let ram = device.machine.ram("ram", 0x8000, 0x70_0000);
    device.machine.map(0, &ram);
    // Registers in the middle of page 2.
    let did = device.did_for(0x2010, &device.machine.reservation(0x20));
    let expected = [
        "unmap 0x0+0x8000",
        "map 0x0+0x2000 at 0x700000 rw",
        "map 0x3000+0x5000 at 0x703000 rw",
    ];
    assert_eq!(did, expected);
    // What does not fill a page is not mapped, and not unmapped either.
    let small = device.machine.ram("small", 0xfff, 0x80_0000);
    assert!(device.did_for(0x1_0000, &small).is_empty());
    device.machine.unmap(&small);
    assert!(device.did().is_empty());
}

#[test]
fn x8_a_ram_device_is_mapped_if_it_fills_pages_of_the_iommu() {
    let device = Device::new();
    assert_eq!(
        device.did_for(0x2000, &device.bar(0x4000)),
        ["map 0x2000+0x4000 at 0x900000 rw"]
    );
    for (address, size) in [(0x1_1000, 0x4000), (0x2_0000, 0x3000)] {
        let bar = device.bar(size);
        assert!(device.did_for(address, &bar).is_empty());
        device.machine.unmap(&bar);
        assert!(device.did().is_empty());
    }
}

#[test]
fn x8_a_ram_device_that_cannot_be_mapped_is_no_failure() {
    let device = Device::new();
    device.fail(&["map 0x2000"]);
    let bar = device.bar(0x4000);
    assert!(device.did_for(0x2000, &bar).is_empty());
    assert!(device.mapped().is_empty());
    device.machine.unmap(&bar);
    assert!(device.did().is_empty(), "what is not mapped is not unmapped");
}

#[test]
fn x8_ram_that_cannot_be_mapped_is_a_failure_and_nothing_has_changed() {
    let device = Device::new();
    let ram = device.machine.ram("ram", 0x8000, 0x70_0000);
    device.machine.map(0, &ram);
    let before = (device.machine.ranges(), device.mapped());
    device.fail(&["map 0x3000"]);
    device.did();
    let error = device
        .machine
        .try_map(0x2000, &device.machine.reservation(0x1000))
        .unwrap_err();
    let text = "listener `vfio` of address space `memory` failed in region_add: cannot map 0x3000+0x5000 at \
                0x703000 rw";
    assert_eq!(error.to_string(), text);
    assert_eq!((device.machine.ranges(), device.mapped()), before);
    let expected = [
        "unmap 0x0+0x8000",
        "map 0x0+0x2000 at 0x700000 rw",
        "unmap 0x0+0x2000",
        "map 0x0+0x8000 at 0x700000 rw",
    ];
    assert_eq!(device.did(), expected);
}

#[test]
fn a_commit_that_is_taken_back_takes_the_mappings_back() {
    for callback in [
        Callback::Prepare,
        Callback::Begin,
        Callback::RegionDel,
        Callback::RegionAdd,
        Callback::Commit,
    ] {
        let device = Device::new();
        let other = Arc::new(RecordingListener::new("other", &EventLog::new()).with_priority(1));
        let _other = device.machine.space.register(other.clone()).unwrap();
        device
            .machine
            .map(0, &device.machine.ram("ram", 0x8000, 0x70_0000));
        let before = device.mapped();
        other.fail_in(callback, 0);
        device
            .machine
            .try_map(0x2000, &device.machine.reservation(0x1000))
            .unwrap_err();
        assert_eq!(device.mapped(), before, "{callback}");
        device.machine.map(0x2000, &device.machine.reservation(0x1000));
        assert_eq!(device.mapped().len(), 2);
    }
}

#[test]
fn x10_an_iommu_region_is_attached_and_detached() {
    let device = Device::new();
    let iommu = device.machine.iommu(0x1_0000);
    assert_eq!(device.did_for(0, &iommu), ["attach iommu"]);
    device.machine.unmap(&iommu);
    assert_eq!(device.did(), ["detach iommu", "unmap 0x0+0x10000"]);
}

#[test]
fn x9_an_iommu_region_of_all_addresses_is_unmapped_in_two_halves() {
    let device = Device::new();
    let iommu = device.machine.iommu(Size::MAX);
    assert_eq!(device.did_for(0, &iommu), ["attach iommu"]);
    device.machine.unmap(&iommu);
    let halves = [
        "detach iommu",
        "unmap 0x0+0x8000000000000000",
        "unmap 0x8000000000000000+0x8000000000000000",
    ];
    assert_eq!(device.did(), halves);
}

#[test]
fn x9_a_half_that_cannot_be_unmapped_attaches_the_region_again() {
    let device = Device::new();
    let iommu = device.machine.iommu(Size::MAX);
    device.machine.map(0, &iommu);
    device.did();
    device.fail(&["unmap 0x8000000000000000"]);
    let error = device
        .machine
        .memory
        .update(|tx| tx.del_subregion(&device.machine.system, &iommu))
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::ListenerFailed {
                callback: "region_del",
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(
        device.did(),
        ["detach iommu", "unmap 0x0+0x8000000000000000", "attach iommu"]
    );
}

/// A listener that cannot undo what it has half done says so when it is asked to.
#[test]
fn x9_a_region_that_cannot_be_attached_again_is_an_inconsistency() {
    let device = Device::new();
    let iommu = device.machine.iommu(Size::MAX);
    device.machine.map(0, &iommu);
    device.fail(&["unmap 0x8000000000000000", "attach"]);
    let error = device
        .machine
        .memory
        .update(|tx| tx.del_subregion(&device.machine.system, &iommu))
        .unwrap_err();
    let Error::Inconsistent { rollback, .. } = &error else {
        panic!("{error}")
    };
    let text = "listener `vfio` of address space `memory` failed in abort: cannot unmap \
                0x8000000000000000+0x8000000000000000; then the IOMMU mappings could not be restored: cannot attach \
                iommu";
    assert_eq!(&**rollback, text);
}

#[test]
fn x10_a_container_without_iommu_support_refuses_iommu_regions() {
    struct Plain;
    impl DmaMapper for Plain {
        fn dma_map(&self, _: u64, _: u64, _: usize, _: bool) -> Result<(), ListenerError> {
            Ok(())
        }
        fn dma_unmap(&self, _: u64, _: u64) -> Result<(), ListenerError> {
            Ok(())
        }
    }
    let machine = Machine::new();
    let _registration = machine
        .space
        .register(Arc::new(VfioListener::new("vfio", Plain)))
        .unwrap();
    let error = machine.try_map(0, &machine.iommu(0x1000)).unwrap_err();
    let Error::ListenerFailed { source, .. } = &error else {
        panic!("{error}")
    };
    let expected = VfioError::NoIommuSupport {
        region: "iommu".into(),
    };
    assert_eq!(source.downcast_ref(), Some(&expected));
    assert!(machine.ranges().is_empty());
}

#[test]
fn who_leaves_unmaps_everything() {
    let device = Device::new();
    device
        .machine
        .map(0, &device.machine.ram("ram", 0x8000, 0x70_0000));
    device.machine.map(0x1_0000, &device.machine.iommu(0x1000));
    device.did();
    let Device {
        machine: _machine,
        vfio,
        registration,
    } = device;
    registration.unregister().unwrap();
    assert!(vfio.mappings().is_empty());
    assert_eq!(
        *vfio.mapper().did.lock(),
        ["unmap 0x0+0x8000", "detach iommu", "unmap 0x10000+0x1000"]
    );
}

#[test]
fn a_page_has_a_power_of_two_of_bytes() {
    for (host, iommu, size) in [(0, 0x1000, 0), (0x1000, 0x1800, 0x1800)] {
        let container = Arc::new(Container {
            did: Mutex::new(Vec::new()),
            fails: Mutex::new(Vec::new()),
        });
        let refused = VfioListener::new("vfio", container)
            .with_page_sizes(host, iommu)
            .unwrap_err();
        assert_eq!(refused, VfioError::BadPageSize { size });
    }
}

#[test]
fn s11_ram_with_a_discard_manager_is_handed_over() {
    let device = Device::new();
    let vmem = device.machine.ram("vmem", 0x4000, 0x70_0000);
    let manager = Arc::new(crate::PopulatedRanges::new(0x4000, 0x2000).unwrap());
    vmem.set_ram_discard_manager(Some(manager)).unwrap();
    assert_eq!(device.did_for(0x1_0000, &vmem), ["follow vmem by 0x2000"]);
    assert_eq!(device.mapped(), [""; 0]);
    device.machine.unmap(&vmem);
    assert_eq!(device.did(), ["forget vmem", "unmap 0x10000+0x4000"]);
    device.fail(&["follow"]);
    let refused = device
        .machine
        .memory
        .update(|tx| tx.add_subregion(&device.machine.system, 0, &vmem));
    assert!(refused.is_err());
}
