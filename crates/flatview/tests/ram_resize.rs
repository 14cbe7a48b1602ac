//! Blocks that grow and shrink: rules A7, Q13, P18, Q29.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/host.rs"]
mod host;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use flatview::{
    Error, HostMemory, ListenerResult, Memory, MemoryListener, RamBlock, RamBlockNotifier, RamError, Region,
    Size, ViewChange,
};

const PAGE: u64 = 0x1000;

type Heard = Arc<Mutex<Vec<String>>>;

struct Notes(Heard);

impl RamBlockNotifier for Notes {
    fn added(&self, _: &HostMemory) {}
    fn removed(&self, _: &HostMemory) {}
    fn resized(&self, memory: &HostMemory, old_size: u64) {
        let line = format!("resized {old_size:#x}->{:#x}", memory.size);
        self.0.lock().unwrap().push(line);
    }
}

struct Machine {
    memory: Memory,
    system: Region,
    tables: Region,
    space: flatview::AddressSpace,
    heard: Heard,
    _registration: flatview::RamBlockRegistration,
}

/// A block of 0x1800 bytes that can have 0x8000, at 0x10000.
fn machine() -> Machine {
    let heard = Heard::default();
    let hears = Arc::clone(&heard);
    let block = RamBlock::builder(0x1800)
        .max_size(0x8000)
        .name("etc/acpi/tables")
        .on_resize(move |block, size| {
            let line = format!(
                "callback {} {size:#x} of {:#x}",
                block.name(),
                block.size().bytes()
            );
            hears.lock().unwrap().push(line);
        })
        .anonymous()
        .unwrap();
    let memory = Memory::new();
    let registration = memory.add_ram_block_notifier(Arc::new(Notes(Arc::clone(&heard))));
    let system = memory.region("system").container(Size::MAX);
    let tables = memory.region("tables").ram(block);
    let space = memory.create_address_space("memory", &system).unwrap();
    memory
        .update(|tx| tx.add_subregion(&system, 0x1_0000, &tables))
        .unwrap();
    Machine {
        memory,
        system,
        tables,
        space,
        heard,
        _registration: registration,
    }
}

impl Machine {
    fn block(&self) -> &RamBlock {
        self.tables.ram_block().unwrap()
    }

    fn resize(&self, size: u64) -> Result<(), Error> {
        self.memory
            .update(|tx| tx.ram_resize(&self.tables, size))
            .map(|_| ())
    }

    /// The size of the block, of the region, and of what the space shows.
    fn sizes(&self) -> [u128; 3] {
        let shown = self
            .space
            .view()
            .find(0x1_0000)
            .map_or(0, |range| range.size().bytes());
        [
            self.block().size().bytes(),
            self.tables.state().unwrap().size.bytes(),
            shown,
        ]
    }

    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }
}

/// A7, Q13, Q29: region, view and block change together; whole pages are what others hear of.
#[test]
fn a_block_grows_and_shrinks_with_its_region() {
    let machine = machine();
    assert_eq!(machine.sizes(), [0x1800; 3]);
    machine.resize(0x2345).unwrap();
    assert_eq!(machine.sizes(), [0x2345; 3]);
    assert_eq!(
        machine.heard(),
        [
            "resized 0x2000->0x3000",
            "callback etc/acpi/tables 0x2345 of 0x2345"
        ]
    );
    machine.resize(0x8000).unwrap();
    assert_eq!(machine.sizes(), [0x8000; 3]);
    machine.heard();
    host::store(machine.block(), 0x7ff8, 1);
    machine.resize(0x1000).unwrap();
    assert_eq!(machine.sizes(), [0x1000; 3]);
    assert_eq!(
        machine.heard(),
        [
            "resized 0x8000->0x1000",
            "callback etc/acpi/tables 0x1000 of 0x1000"
        ]
    );
    machine.resize(0).unwrap();
    assert_eq!(machine.sizes(), [0; 3]);
    assert_eq!(machine.heard().len(), 2);
}

/// Q13: the same size is nothing; as many pages are a new size of the region, and the callback.
#[test]
fn a_new_size_of_as_many_pages_is_only_the_regions() {
    let machine = machine();
    machine.resize(0x1800).unwrap();
    assert_eq!(machine.heard(), Vec::<String>::new());
    machine.resize(0x2000).unwrap();
    assert_eq!(machine.sizes(), [0x2000; 3]);
    assert_eq!(machine.heard(), ["callback etc/acpi/tables 0x2000 of 0x2000"]);

    // Even if the block cannot grow.
    let fixed = machine
        .memory
        .region("fixed")
        .ram(RamBlock::anonymous(0x1001).unwrap());
    machine.memory.update(|tx| tx.ram_resize(&fixed, 0x1fff)).unwrap();
    assert_eq!(fixed.state().unwrap().size.bytes(), 0x1fff);
}

/// Q13: only up to the maximum, only what can grow, only what has a block; and nothing else of the transaction.
#[test]
fn what_cannot_be_resized_is_refused() {
    let machine = machine();
    for (size, text) in [(0x8001, "0x8001"), (u64::MAX, "0xffffffffffffffff")] {
        let error = machine.resize(size).unwrap_err();
        let too_large = matches!(&error, Error::Ram { source: RamError::BeyondMaximum { wanted, max_size: 0x8000, .. }, .. } if *wanted == size);
        assert!(too_large, "{error:?}");
        assert!(
            error.to_string().contains("etc/acpi/tables") && error.to_string().contains(text),
            "{error}"
        );
    }
    let fixed = machine
        .memory
        .region("fixed")
        .ram(RamBlock::anonymous(PAGE).unwrap());
    for size in [0, PAGE + 1, u64::MAX] {
        let refused = machine.memory.update(|tx| {
            tx.add_subregion(&machine.system, 0, &fixed)?;
            tx.ram_resize(&fixed, size)
        });
        let refused = refused.map(|_| ()).unwrap_err();
        assert!(
            matches!(
                refused,
                Error::Ram {
                    source: RamError::NotResizeable { .. },
                    ..
                }
            ),
            "{refused:?}"
        );
    }
    for other in [
        &machine.system,
        &machine.memory.region("alias").alias(&fixed, 0, PAGE).unwrap(),
    ] {
        let refused = machine.memory.update(|tx| tx.ram_resize(other, PAGE)).map(|_| ());
        assert!(matches!(refused, Err(Error::WrongKind { .. })), "{refused:?}");
    }
    let elsewhere = Memory::new();
    let refused = elsewhere.update(|tx| tx.ram_resize(&fixed, PAGE)).map(|_| ());
    assert!(matches!(refused, Err(Error::ForeignRegion { .. })), "{refused:?}");
    assert_eq!(fixed.state().unwrap().container, None);
    assert_eq!(machine.sizes(), [0x1800; 3]);
    assert_eq!(machine.heard(), Vec::<String>::new());
}

/// What comes last in a transaction counts, and is heard once.
#[test]
fn the_last_size_of_a_transaction_counts() {
    let machine = machine();
    let tables = &machine.tables;
    machine
        .memory
        .update(|tx| {
            tx.ram_resize(tables, 0x8000)?;
            assert!(tx.ram_resize(tables, 0x8001).is_err());
            tx.ram_resize(tables, 0x4000)
        })
        .unwrap();
    assert_eq!(machine.sizes(), [0x4000; 3]);
    assert_eq!(
        machine.heard(),
        [
            "resized 0x2000->0x4000",
            "callback etc/acpi/tables 0x4000 of 0x4000"
        ]
    );
    machine
        .memory
        .update(|tx| {
            tx.ram_resize(tables, 0x8000)?;
            tx.ram_resize(tables, 0x4000)
        })
        .unwrap();
    assert_eq!(machine.heard(), Vec::<String>::new(), "nothing is different");
    // The region had another size already; the block follows.
    machine.memory.update(|tx| tx.set_size(tables, 0x5000)).unwrap();
    machine.memory.update(|tx| tx.ram_resize(tables, 0x5000)).unwrap();
    assert_eq!(machine.sizes(), [0x5000; 3]);
    assert_eq!(machine.heard(), ["resized 0x4000->0x5000"]);
}

/// A transaction that fails, panics or is refused resizes nothing, and nobody hears of it.
#[test]
fn a_resize_is_rolled_back() {
    struct Refuses {
        now: AtomicBool,
        late: AtomicBool,
    }
    impl MemoryListener for Refuses {
        fn name(&self) -> &str {
            "refuses"
        }
        fn prepare(&self, _: &ViewChange<'_>) -> ListenerResult {
            match self.now.load(Ordering::Relaxed) {
                true => Err("no".into()),
                false => Ok(()),
            }
        }
        fn commit(&self, _: &flatview::FlatView) -> ListenerResult {
            match self.late.swap(false, Ordering::Relaxed) {
                true => Err("no, after all".into()),
                false => Ok(()),
            }
        }
    }
    let machine = machine();
    let tables = &machine.tables;
    let listener = Arc::new(Refuses {
        now: AtomicBool::new(false),
        late: AtomicBool::new(false),
    });
    let registration = machine.space.register(listener.clone()).unwrap();
    for size in [0x8000, 0x800] {
        listener.now.store(true, Ordering::Relaxed);
        assert!(matches!(machine.resize(size), Err(Error::Refused { .. })));
        listener.now.store(false, Ordering::Relaxed);
        listener.late.store(true, Ordering::Relaxed);
        assert!(matches!(machine.resize(size), Err(Error::ListenerFailed { .. })));
        let given_up = machine.memory.update(|tx| {
            tx.ram_resize(tables, size)?;
            Err::<(), _>(Error::other("given up"))
        });
        assert!(given_up.is_err());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            machine.memory.update(|tx| -> Result<(), Error> {
                tx.ram_resize(tables, size)?;
                std::panic::resume_unwind(Box::new("panic in a closure"));
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(machine.sizes(), [0x1800; 3]);
        assert_eq!(machine.heard(), Vec::<String>::new());
    }
    machine.memory.update(|_| Ok(())).unwrap();
    assert_eq!(machine.sizes(), [0x1800; 3]);
    machine.resize(0x8000).unwrap();
    assert_eq!(machine.sizes(), [0x8000; 3]);
    drop(registration);
}

/// Q13: when it is heard, everybody sees it; and who hears it cannot make another update.
#[test]
fn a_resize_is_heard_when_it_is_there() {
    struct Looks(
        Mutex<Option<(flatview::WeakMemory, flatview::AddressSpace)>>,
        Mutex<Vec<(u128, bool)>>,
    );
    impl RamBlockNotifier for Looks {
        fn added(&self, _: &HostMemory) {}
        fn removed(&self, _: &HostMemory) {}
        fn resized(&self, _: &HostMemory, _: u64) {
            let looks = self.0.lock().unwrap();
            let (memory, space) = looks.as_ref().unwrap();
            let shown = space
                .view()
                .find(0x1_0000)
                .map_or(0, |range| range.size().bytes());
            let nested = memory.upgrade().unwrap().update(|_| Ok(()));
            let is_refused = matches!(nested, Err(Error::NestedUpdate));
            self.1.lock().unwrap().push((shown, is_refused));
        }
    }
    let machine = machine();
    let looks = Arc::new(Looks(Mutex::default(), Mutex::default()));
    *looks.0.lock().unwrap() = Some((machine.memory.downgrade(), machine.space.clone()));
    let registration = machine.memory.add_ram_block_notifier(looks.clone());
    machine.resize(0x5000).unwrap();
    machine.resize(0x800).unwrap();
    assert_eq!(*looks.1.lock().unwrap(), [(0x5000, true), (0x800, true)]);
    drop(registration);
}

/// A panic in the callback changes nothing.
#[test]
fn a_panic_in_the_callback_stays_there() {
    let block = RamBlock::builder(PAGE).max_size(2 * PAGE);
    let block = block
        .on_resize(|_, _| std::panic::resume_unwind(Box::new("resized")))
        .anonymous()
        .unwrap();
    let memory = Memory::new();
    let region = memory.region("ram").ram(block.clone());
    memory.update(|tx| tx.ram_resize(&region, 2 * PAGE)).unwrap();
    assert_eq!(block.size().bytes(), 2 * u128::from(PAGE));
}
