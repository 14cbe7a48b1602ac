//! Dropping a machine leaves nothing alive, and what was unplugged goes when nobody looks at it any more.
//!
//! Regions, views and spaces keep each other alive in many ways (rules B16, C41); devices sit behind regions
//! and know the memory they are part of. Every test makes objects that tell when they go.

use std::any::Any;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use flatview::{
    AddressSpace, Error, EventNotifier, IommuAccess, IommuOps, IotlbEntry, ListenerResult, MemTxAttrs,
    MemTxError, Memory, MemoryListener, MemoryRegionOps, MemoryRegionSection, RamBlock, Region, Size,
    WeakMemory,
};
use proptest::prelude::*;

/// Tells whether the objects made with it are gone.
#[derive(Default)]
struct Witness(Arc<()>);

impl Witness {
    fn alive(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

/// A device, an IOMMU, an eventfd: something a machine keeps. It knows its memory, weakly, and may keep more.
struct Part {
    _witness: Arc<()>,
    _memory: WeakMemory,
    space: Mutex<Option<AddressSpace>>,
    fd: File,
}

fn part(witness: &Witness, memory: &Memory) -> Arc<Part> {
    Arc::new(Part {
        _witness: Arc::clone(&witness.0),
        _memory: memory.downgrade(),
        space: Mutex::new(None),
        fd: File::open("/dev/null").expect("/dev/null is there"),
    })
}

impl MemoryRegionOps for Part {
    fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(0)
    }

    fn write(&self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        Ok(())
    }
}

impl IommuOps for Part {
    fn translate(&self, iova: u64, _: IommuAccess, _: u32) -> IotlbEntry {
        IotlbEntry {
            target: None,
            iova,
            translated_address: iova,
            address_mask: 0xfff,
            permission: IommuAccess::READ,
        }
    }
}

/// What an [`EventNotifier`] is made of.
struct Descriptor(Arc<Part>);

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

/// A listener that keeps the sections it hears of, as accelerators do (rule F13).
struct Keeper {
    _witness: Arc<()>,
    regions: Mutex<Vec<Region>>,
}

impl MemoryListener for Keeper {
    fn name(&self) -> &str {
        "keeper"
    }

    fn region_add(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions.push(section.region().clone());
        Ok(())
    }

    fn region_del(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        let at = regions.iter().position(|region| region == section.region());
        drop(at.map(|at| regions.remove(at)));
        Ok(())
    }
}

/// A machine with everything that keeps something alive, as a heap of handles.
fn machine(witness: &Witness) -> Result<Vec<Box<dyn Any>>, Error> {
    let memory = Memory::new();
    let system = memory.region("system").container(Size::MAX);
    let bus = memory.region("bus").container(0x1_0000);
    let ram = memory.region("ram").ram(RamBlock::unbacked(0x1_0000));
    let window = memory.region("window").alias(&ram, 0x1000, 0x1000)?;
    let mmio = memory.region("mmio").io(0x1000, part(witness, &memory));
    let flash = memory
        .region("flash")
        .rom_device(RamBlock::unbacked(0x1000), part(witness, &memory));
    let iommu = memory.region("iommu").iommu(0x1000, part(witness, &memory));
    // The window to the bus shows a part of the bus in which it is not.
    let mirror = memory.region("mirror").alias(&bus, 0, 0x1000)?;
    let master = memory.region("bus master").alias(&system, 0, Size::MAX)?;
    let notifier = EventNotifier::new(Descriptor(part(witness, &memory)));

    let memory_space = memory.create_address_space("memory", &system)?;
    let master_space = memory.create_address_space("bus master", &master)?;
    let keeper = || {
        Arc::new(Keeper {
            _witness: Arc::clone(&witness.0),
            regions: Mutex::default(),
        })
    };
    let early = memory_space.register(keeper())?;
    let mut reader = master_space.reader();
    reader.view();
    let empty = memory_space.view();
    let receipt = memory.update(|tx| {
        tx.add_subregion(&system, 0, &ram)?;
        tx.add_subregion(&system, 0x10_0000, &bus)?;
        tx.add_subregion(&bus, 0, &mmio)?;
        tx.add_subregion(&bus, 0x1000, &flash)?;
        tx.add_subregion(&bus, 0x2000, &iommu)?;
        tx.add_subregion(&bus, 0x3000, &mirror)?;
        tx.add_subregion_overlap(&system, 0x8000, &window, 1)?;
        tx.add_eventfd(&mmio, 0, 4, None, &notifier)?;
        tx.add_coalescing(&mmio, 8, 8)
    })?;
    let late = master_space.register(keeper())?;
    let full = master_space.view();
    let mut second_reader = memory_space.reader();
    second_reader.view();
    // A view that readers keep, and a region in it that is mapped no more.
    let shrunk = memory.update(|tx| tx.del_subregion(&bus, &flash))?;
    let failed = memory.update(|tx| {
        let made = memory.region("made").io(1, part(witness, &memory));
        tx.add_subregion(&bus, 0, &made)?;
        Err::<(), _>(Error::other("given up"))
    });
    assert!(failed.is_err());
    Ok(vec![
        Box::new(memory),
        Box::new((system, bus)),
        Box::new((ram, window)),
        Box::new(mmio),
        Box::new(flash),
        Box::new(iommu),
        Box::new((mirror, master)),
        Box::new(notifier),
        Box::new(memory_space),
        Box::new(master_space),
        Box::new(early),
        Box::new(late),
        Box::new(reader),
        Box::new(second_reader),
        Box::new(empty),
        Box::new(full),
        Box::new((receipt, shrunk)),
    ])
}

/// A superseded view waits for the next commit to be freed, and shows a device that holds a space of the same memory.
#[test]
fn a_view_that_was_given_up_after_the_last_commit_goes_with_the_memory() -> Result<(), Error> {
    let witness = Witness::default();
    let memory = Memory::new();
    let system = memory.region("system").container(Size::MAX);
    let device = part(&witness, &memory);
    let mmio = memory.region("mmio").io(0x1000, Arc::clone(&device) as _);
    let other = memory.region("other").io(0x1000, part(&witness, &memory));
    memory.update(|tx| tx.add_subregion(&system, 0, &mmio))?;
    let space = memory.create_address_space("memory", &system)?;
    let mut reader = space.reader();
    reader.view();
    memory.update(|tx| tx.add_subregion(&system, 0x1000, &other))?;
    *device.space.lock().unwrap_or_else(PoisonError::into_inner) = Some(space);
    drop((reader, device, mmio, other, system));
    drop(memory);
    assert_eq!(witness.alive(), 0);
    Ok(())
}

const HANDLES: usize = 17;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    /// B16, B17, C41, F11: whoever drops what first.
    #[test]
    fn a_machine_leaves_nothing_alive(order in Just((0..HANDLES).collect::<Vec<_>>()).prop_shuffle()) {
        let witness = Witness::default();
        let mut handles: Vec<_> = machine(&witness).unwrap().into_iter().map(Some).collect();
        prop_assert_eq!(handles.len(), HANDLES);
        prop_assert!(witness.alive() > 0);
        for index in order {
            handles[index] = None;
        }
        prop_assert_eq!(witness.alive(), 0);
    }
}

fn plugged(witness: &Witness) -> (Memory, Region, AddressSpace, Region, Weak<Part>) {
    let memory = Memory::new();
    let system = memory.region("system").container(0x1_0000);
    let device = part(witness, &memory);
    let weak = Arc::downgrade(&device);
    let mmio = memory.region("mmio").io(0x1000, device);
    let space = memory
        .create_address_space("memory", &system)
        .expect("an empty container can be shown");
    memory
        .update(|tx| tx.add_subregion(&system, 0x1000, &mmio))
        .expect("the region is mapped nowhere");
    (memory, system, space, mmio, weak)
}

/// A region that was never mapped goes with its handle, at once.
#[test]
fn a_region_that_is_mapped_nowhere_goes_with_its_handle() {
    let witness = Witness::default();
    let memory = Memory::new();
    let mmio = memory.region("mmio").io(0x1000, part(&witness, &memory));
    let alias = memory.region("alias").alias(&mmio, 0, 0x1000).unwrap();
    drop(mmio);
    assert_eq!(witness.alive(), 1, "an alias keeps its target");
    drop(alias);
    assert_eq!(witness.alive(), 0);
}

/// C41: what was unmapped goes when the receipt of the update says so.
#[test]
fn an_unplugged_device_is_gone_when_the_receipt_says_so() {
    let witness = Witness::default();
    let (memory, system, space, mmio, _) = plugged(&witness);
    let view = space.view();
    let mut reader = space.reader();
    reader.view();
    let receipt = memory.update(|tx| tx.del_subregion(&system, &mmio)).unwrap();
    drop(mmio);
    assert_eq!(witness.alive(), 1, "two look at it");
    drop(view);
    assert!(!receipt.is_quiesced(), "one looks at it");
    assert_eq!(witness.alive(), 1);
    reader.release();
    receipt.wait().unwrap();
    assert_eq!(witness.alive(), 0);
}

/// The same, waited for before the reader lets go, on another thread.
#[test]
fn a_wait_ends_when_the_last_reader_lets_go() {
    let witness = Witness::default();
    let (memory, system, space, mmio, _) = plugged(&witness);
    let mut reader = space.reader();
    reader.view();
    let receipt = memory.update(|tx| tx.del_subregion(&system, &mmio)).unwrap();
    drop(mmio);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| receipt.wait());
        assert!(!waiting.is_finished(), "a reader still looks at the device");
        reader.release();
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(witness.alive(), 0);
}

/// A reader that looked before a space came to look at another view (rule C34) is waited for, not for ever.
#[test]
fn a_wait_ends_after_a_space_moved_to_another_view() {
    let witness = Witness::default();
    let (memory, system, _, mmio, _) = plugged(&witness);
    let master = memory.region("bus master").alias(&system, 0, 0x1_0000).unwrap();
    let container = memory.region("bus master container").container(0x1_0000);
    memory
        .update(|tx| tx.add_subregion(&container, 0, &master))
        .unwrap();
    let space = memory.create_address_space("bus master", &container).unwrap();
    let view = space.view();
    assert_eq!(view.root(), Some(&system));
    let receipt = memory
        .update(|tx| {
            tx.del_subregion(&system, &mmio)?;
            tx.set_enabled(&master, false)
        })
        .unwrap();
    drop(mmio);
    assert!(!receipt.is_quiesced());
    drop(view);
    receipt.wait().unwrap();
    assert!(receipt.is_quiesced());
    assert_eq!(witness.alive(), 0);
}

/// Found: what only a space kept whose handle is gone goes with the next update, though it changes nothing.
#[test]
fn a_space_takes_its_root_along() {
    let witness = Witness::default();
    let memory = Memory::new();
    let root = memory.region("root").container(0x1000);
    let mmio = memory.region("mmio").io(0x1000, part(&witness, &memory));
    memory.update(|tx| tx.add_subregion(&root, 0, &mmio)).unwrap();
    let space = memory.create_address_space("memory", &root).unwrap();
    drop((root, mmio));
    assert_eq!(witness.alive(), 1);
    drop(space);
    memory.update(|_| Ok(())).unwrap();
    assert_eq!(witness.alive(), 0);
}

/// B16: a container keeps its children; they go with its last handle, and those that stay can be mapped again.
#[test]
fn a_container_takes_its_children_along() {
    let witness = Witness::default();
    let memory = Memory::new();
    let outer = memory.region("outer").container(0x1000);
    let inner = memory.region("inner").container(0x1000);
    let kept = memory.region("kept").io(0x10, part(&witness, &memory));
    let lost = memory.region("lost").io(0x10, part(&witness, &memory));
    memory
        .update(|tx| {
            tx.add_subregion(&outer, 0, &inner)?;
            tx.add_subregion(&inner, 0, &kept)?;
            tx.add_subregion(&inner, 0x10, &lost)
        })
        .unwrap();
    drop((inner, lost));
    assert_eq!(witness.alive(), 2);
    drop(outer);
    assert_eq!(kept.state().unwrap().container, None);
    assert_eq!(witness.alive(), 1);
    let other = memory.region("other").container(0x1000);
    memory.update(|tx| tx.add_subregion(&other, 0, &kept)).unwrap();
}

/// A region that sees itself through an alias in it keeps itself until somebody unmaps the alias, or the
/// memory goes.
#[test]
fn what_sees_itself_goes_with_the_memory() {
    let witness = Witness::default();
    let seer = |memory: &Memory| {
        let bus = memory.region("bus").container(0x2000);
        let mmio = memory.region("mmio").io(0x1000, part(&witness, memory));
        let mirror = memory.region("mirror").alias(&bus, 0, 0x1000).unwrap();
        memory
            .update(|tx| {
                tx.add_subregion(&bus, 0, &mmio)?;
                tx.add_subregion(&bus, 0x1000, &mirror)
            })
            .unwrap();
        (bus, mirror)
    };
    let memory = Memory::new();
    let (bus, mirror) = seer(&memory);
    memory.update(|tx| tx.del_subregion(&bus, &mirror)).unwrap();
    drop((bus, mirror));
    memory.update(|_| Ok(())).unwrap();
    assert_eq!(witness.alive(), 0, "unmapped first");

    drop(seer(&memory));
    memory.update(|_| Ok(())).unwrap();
    assert_eq!(witness.alive(), 1);
    drop(memory);
    assert_eq!(witness.alive(), 0);
}

/// A device that is a bus master has a space, and that space shows the device.
#[test]
fn a_device_may_keep_the_space_that_shows_it() {
    let witness = Witness::default();
    let (memory, system, space, mmio, device) = plugged(&witness);
    let keeps = |kept| {
        let device = device.upgrade().unwrap();
        *device.space.lock().unwrap_or_else(PoisonError::into_inner) = kept;
    };
    keeps(Some(space.clone()));
    drop((system, space, mmio));
    assert_eq!(witness.alive(), 1);
    drop(memory);
    assert_eq!(witness.alive(), 0);
}

/// A transaction that is refused, or panics, keeps nothing of what it was about.
#[test]
fn a_transaction_that_fails_keeps_nothing() {
    struct Refuses(AtomicUsize);
    impl MemoryListener for Refuses {
        fn name(&self) -> &str {
            "refuses"
        }
        fn prepare(&self, _: &flatview::ViewChange<'_>) -> ListenerResult {
            match self.0.fetch_add(1, Ordering::Relaxed) {
                0 => Ok(()),
                _ => Err("no".into()),
            }
        }
    }
    let witness = Witness::default();
    let memory = Memory::new();
    let system = memory.region("system").container(0x1_0000);
    let space = memory.create_address_space("memory", &system).unwrap();
    let registration = space.register(Arc::new(Refuses(AtomicUsize::new(0)))).unwrap();
    let refused = memory.update(|tx| {
        let mmio = memory.region("mmio").io(0x1000, part(&witness, &memory));
        tx.add_subregion(&system, 0, &mmio)
    });
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    assert_eq!(witness.alive(), 0);
    drop(registration);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        memory.update(|tx| -> Result<(), Error> {
            let mmio = memory.region("mmio").io(0x1000, part(&witness, &memory));
            tx.add_subregion(&system, 0x1000, &mmio)?;
            std::panic::resume_unwind(Box::new("panic in a closure"));
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(witness.alive(), 0);
}

/// A device that changes the memory as it goes, from wherever its last user lets go of it.
struct Parting {
    memory: WeakMemory,
    system: Region,
    updates: Arc<AtomicUsize>,
}

impl Drop for Parting {
    fn drop(&mut self) {
        let Some(memory) = self.memory.upgrade() else {
            return;
        };
        let size = memory.update(|tx| tx.set_size(&self.system, 0x2_0000));
        assert!(size.is_ok(), "no lock is held where a device goes: {size:?}");
        self.updates.fetch_add(1, Ordering::Relaxed);
    }
}

impl MemoryRegionOps for Parting {
    fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(0)
    }

    fn write(&self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        Ok(())
    }
}

#[test]
fn a_device_may_change_the_memory_as_it_goes() {
    let memory = Memory::new();
    let system = memory.region("system").container(0x1_0000);
    let space = memory.create_address_space("memory", &system).unwrap();
    let updates = Arc::new(AtomicUsize::new(0));
    let plug = || {
        let bus = memory.region("bus").container(0x1000);
        let parting = Parting {
            memory: memory.downgrade(),
            system: system.clone(),
            updates: Arc::clone(&updates),
        };
        let mmio = memory.region("mmio").io(0x1000, Arc::new(parting));
        memory
            .update(|tx| {
                tx.add_subregion(&bus, 0, &mmio)?;
                tx.add_subregion(&system, 0, &bus)
            })
            .unwrap();
        (bus, mmio)
    };
    let gone = |times| assert_eq!(updates.load(Ordering::Relaxed), times);

    // As an update ends that unmaps it.
    let (bus, mmio) = plug();
    drop(mmio);
    let receipt = memory.update(|tx| tx.del_subregion(&system, &bus)).unwrap();
    drop(bus);
    memory.update(|_| Ok(())).unwrap();
    drop(receipt);
    gone(1);

    // As somebody asks a receipt.
    let (bus, mmio) = plug();
    let view = space.view();
    let receipt = memory.update(|tx| tx.del_subregion(&system, &bus)).unwrap();
    drop((bus, mmio, view));
    receipt.wait().unwrap();
    memory.update(|_| Ok(())).unwrap();
    gone(2);

    // As its handle is dropped within an update: the change it makes is refused there, so it makes none.
    let (bus, mmio) = plug();
    let late = memory.update(|tx| {
        tx.del_subregion(&system, &bus)?;
        tx.del_subregion(&bus, &mmio)
    });
    drop((bus, mmio));
    late.unwrap().wait().unwrap();
    gone(3);

    // As a space goes, and with it the last view.
    let (bus, mmio) = plug();
    let shadow = memory.create_address_space("shadow", &bus).unwrap();
    memory.update(|tx| tx.del_subregion(&system, &bus)).unwrap();
    drop((bus, mmio));
    shadow.destroy().unwrap().wait().unwrap();
    drop(shadow);
    memory.update(|_| Ok(())).unwrap();
    gone(4);
}
