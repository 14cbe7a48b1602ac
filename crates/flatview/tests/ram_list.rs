//! The blocks of a memory: RAM addresses, names, look-ups, notifiers, and when they go. Rules Q5 to Q7, Q10, Q11,
//! Q25, Q26, A27.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/host.rs"]
mod host;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use flatview::{HostMemory, Memory, RamBlock, RamBlockNotifier, RamError, Size};
use host::is_mapped;

const PAGE: u64 = 0x1000;
/// Blocks begin at multiples of 64 pages.
const STEP: u64 = 64 * PAGE;

fn names(memory: &Memory) -> Vec<String> {
    memory
        .ram_blocks()
        .iter()
        .map(|block| block.name().to_owned())
        .collect()
}

/// Q6: the largest first, equals in order of arrival, each once.
#[test]
fn blocks_are_listed_by_size() {
    let memory = Memory::new();
    let make = |name, size| {
        let block = RamBlock::unbacked(size);
        memory.region(name).ram(block.clone());
        block
    };
    let kept = [
        make("a", PAGE),
        make("b", 4 * PAGE),
        make("c", PAGE),
        make("d", 2 * PAGE),
        make("e", 4 * PAGE),
    ];
    memory.region("again").rom(kept[0].clone());
    assert_eq!(names(&memory), ["b", "e", "d", "a", "c"]);
    memory.region("unlisted").container(PAGE);
    drop(kept);
    assert_eq!(names(&memory), Vec::<String>::new());
}

/// Q5: best fit at multiples of 64 pages; a gap is used again. What has no bytes has no address.
#[test]
fn blocks_get_addresses_where_they_fit_best() {
    let memory = Memory::new();
    let make = |size| {
        let block = RamBlock::unbacked(size);
        memory.region("ram").ram(block.clone());
        (memory.ram_addr(&block), block)
    };
    let (first, _keep) = make(3 * STEP);
    let (second, gone) = make(2 * STEP);
    let (third, _keep_too) = make(1);
    let (fourth, smaller) = make(STEP);
    let (fifth, _keep_also) = make(5 * STEP);
    let steps = |addresses: [Option<u64>; 5]| addresses.map(|address| address.unwrap() / STEP);
    assert_eq!(steps([first, second, third, fourth, fifth]), [0, 3, 5, 6, 7]);
    drop((gone, smaller));
    assert_eq!(make(STEP).0, Some(6 * STEP), "the smallest gap that is enough");
    assert_eq!(make(2 * STEP).0, Some(3 * STEP));
    assert_eq!(make(3 * STEP).0, Some(12 * STEP));
    assert_eq!(make(0).0, None);
    assert_eq!(make(u64::MAX).0, None, "no room, no end of the program");
    let elsewhere = Memory::new();
    assert_eq!(elsewhere.ram_addr(&_keep), None);
    elsewhere.region("ram").ram(_keep_too.clone());
    assert_eq!(
        (elsewhere.ram_addr(&_keep_too), memory.ram_addr(&_keep_too)),
        (Some(0), third)
    );
}

/// Q7: from a RAM address to its block, or an error.
#[test]
fn a_ram_address_leads_to_its_block() {
    let memory = Memory::new();
    let (small, large) = (RamBlock::unbacked(PAGE), RamBlock::unbacked(STEP + 1));
    memory.region("small").ram(small.clone());
    memory.region("large").ram(large.clone());
    assert_eq!(memory.ram_block_at(0xfff).unwrap(), (small, 0xfff));
    assert_eq!(memory.ram_block_at(2 * STEP).unwrap(), (large, STEP));
    for nobodys in [PAGE, STEP - 1, 2 * STEP + 1, u64::MAX] {
        let none = memory.ram_block_at(nobodys);
        assert!(
            matches!(none, Err(RamError::NoBlockAt { ram_addr }) if ram_addr == nobodys),
            "{none:?}"
        );
    }
}

/// Q11, Q26: a block is called as it was made, or else as its first region; the first of a name is found.
#[test]
fn a_block_is_found_by_its_name() {
    let memory = Memory::new();
    let named = RamBlock::builder(PAGE).name("m1").anonymous().unwrap();
    let unnamed = RamBlock::unbacked(2 * PAGE);
    assert_eq!(unnamed.name(), "");
    memory.region("dimm").ram(named.clone());
    memory.region("pc.ram").ram(unnamed.clone());
    memory.region("second").ram(unnamed.clone());
    assert_eq!((named.name(), unnamed.name()), ("m1", "pc.ram"));
    assert_eq!(memory.ram_block_by_name("m1"), Some(named));
    assert_eq!(memory.ram_block_by_name("pc.ram"), Some(unnamed));
    assert_eq!(memory.ram_block_by_name("dimm"), None);
    let twice = RamBlock::unbacked(4 * PAGE);
    memory.region("m1").ram(twice.clone());
    assert_eq!(memory.ram_block_by_name("m1"), Some(twice));
}

/// A27, Q26: from an address of this process back to the region and its byte.
#[test]
fn a_host_address_leads_to_its_region() {
    let memory = Memory::new();
    let block = RamBlock::anonymous(2 * PAGE).unwrap();
    let host = block.host_address().unwrap();
    let foreign = RamBlock::foreign(PAGE, 0x1000);
    assert_eq!(memory.ram_block_from_host(host), None);
    let ram = memory.region("ram").ram(block.clone());
    let device = memory.region("bar").ram_device(foreign.clone());
    assert_eq!(
        memory.ram_block_from_host(host + 0x1fff),
        Some((block.clone(), 0x1fff))
    );
    assert_eq!(
        memory.region_from_host(host + 0x1234),
        Some((ram.clone(), 0x1234))
    );
    assert_eq!(memory.region_from_host(0x1fff), Some((device, 0xfff)));
    assert_eq!(memory.region_from_host(host + 0x2000), None);
    assert_eq!(memory.ram_block_from_host(host - 1), None);
    drop(ram);
    assert_eq!(
        memory.region_from_host(host),
        None,
        "no region is made of it any more"
    );
    assert_eq!(memory.ram_block_from_host(host), Some((block, 0)));
}

/// Writes down what it hears.
#[derive(Default)]
struct Hears {
    heard: Mutex<Vec<String>>,
    /// Named if it is to be seen whether it is still mapped.
    watched: Mutex<Option<String>>,
}

impl Hears {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }

    /// Asserts nothing: a panic here would only be logged.
    fn hear(&self, what: &str, memory: &HostMemory) {
        let mut line = format!("{what} {} {:#x}/{:#x}", memory.name, memory.size, memory.max_size);
        if memory.host_address == 0 {
            line.push_str(" nowhere");
        }
        if let Some(name) = &*self.watched.lock().unwrap() {
            line.push_str(if is_mapped(name) { ", mapped" } else { ", unmapped" });
        }
        self.heard.lock().unwrap().push(line);
    }
}

impl RamBlockNotifier for Hears {
    fn added(&self, memory: &HostMemory) {
        self.hear("added", memory);
    }

    fn removed(&self, memory: &HostMemory) {
        self.hear("removed", memory);
    }

    fn resized(&self, memory: &HostMemory, old_size: u64) {
        self.hear(&format!("resized from {old_size:#x}"), memory);
    }
}

/// Q25: who registers hears of what is there, then of what comes and goes, then that all of it goes.
#[test]
fn notifiers_hear_of_host_memory() {
    let memory = Memory::new();
    let first = RamBlock::builder(PAGE).name("first").anonymous().unwrap();
    memory.region("ram").ram(first.clone());
    memory.region("none").ram(RamBlock::unbacked(PAGE));
    let hears = Arc::new(Hears::default());
    let registration = memory.add_ram_block_notifier(hears.clone());
    assert_eq!(hears.take(), ["added first 0x1000/0x1000"]);

    let second = RamBlock::builder(0x1001)
        .max_size(8 * PAGE)
        .name("second")
        .share(true)
        .anonymous()
        .unwrap();
    assert_eq!(hears.take(), Vec::<String>::new(), "it is in no memory");
    let region = memory.region("ram").ram(second);
    memory.region("again").ram(region.ram_block().unwrap().clone());
    memory.region("bar").ram_device(RamBlock::foreign(PAGE, 0x1000));
    assert_eq!(
        hears.take(),
        [
            "added second 0x2000/0x8000",
            "added bar 0x1000/0x1000",
            "removed bar 0x1000/0x1000"
        ]
    );
    memory.update(|tx| tx.ram_resize(&region, 0x2001)).unwrap();
    assert_eq!(hears.take(), ["resized from 0x2000 second 0x3000/0x8000"]);
    memory.update(|tx| tx.ram_resize(&region, 0x2002)).unwrap();
    assert_eq!(hears.take(), Vec::<String>::new(), "as many pages as before");

    *hears.watched.lock().unwrap() = Some("second".to_owned());
    drop(region);
    assert_eq!(hears.take(), ["removed second 0x3000/0x8000, mapped"]);
    assert!(!is_mapped("second"));
    *hears.watched.lock().unwrap() = None;
    drop(registration);
    assert_eq!(hears.take(), ["removed first 0x1000/0x1000"]);
    drop(first);
    assert_eq!(hears.take(), Vec::<String>::new());
}

/// A memory that is dropped says that its blocks go, also those that somebody keeps.
#[test]
fn a_memory_says_goodbye_to_notifiers() {
    let memory = Memory::new();
    let hears = Arc::new(Hears::default());
    let registration = memory.add_ram_block_notifier(hears.clone());
    let block = RamBlock::anonymous(PAGE).unwrap();
    let _region = memory.region("ram").ram(block.clone());
    drop(memory);
    assert_eq!(
        hears.take(),
        ["added ram 0x1000/0x1000", "removed ram 0x1000/0x1000"]
    );
    drop((block, registration));
    assert_eq!(hears.take(), Vec::<String>::new());
}

/// A notifier that uses the memory, drops blocks, or leaves, from within a call.
#[test]
fn a_notifier_may_use_what_it_hears_of() {
    struct Uses {
        memory: flatview::WeakMemory,
        other: Mutex<Option<RamBlock>>,
        own: Mutex<Option<flatview::RamBlockRegistration>>,
        heard: Mutex<Vec<String>>,
    }
    impl RamBlockNotifier for Uses {
        fn added(&self, memory: &HostMemory) {
            let machine = self.memory.upgrade().unwrap();
            let found = machine.ram_block_from_host(memory.host_address).unwrap();
            self.heard
                .lock()
                .unwrap()
                .push(format!("added {}", found.0.name()));
            drop(self.other.lock().unwrap().take());
        }
        fn removed(&self, memory: &HostMemory) {
            self.heard
                .lock()
                .unwrap()
                .push(format!("removed {}", memory.name));
            let own = self.own.lock().unwrap().take();
            drop(own);
        }
    }
    let memory = Memory::new();
    let other = RamBlock::builder(PAGE).name("other").anonymous().unwrap();
    let uses = Arc::new(Uses {
        memory: memory.downgrade(),
        other: Mutex::new(None),
        own: Mutex::new(None),
        heard: Mutex::default(),
    });
    let registration = memory.add_ram_block_notifier(uses.clone());
    memory.region("other").ram(other.clone());
    *uses.other.lock().unwrap() = Some(other);
    *uses.own.lock().unwrap() = Some(registration);
    let kept = RamBlock::builder(PAGE).name("kept").anonymous().unwrap();
    memory.region("kept").ram(kept.clone());
    // It left while it was told of `kept`, so it was told next that that goes.
    let heard = uses.heard.lock().unwrap().clone();
    assert_eq!(
        heard,
        ["added other", "added kept", "removed other", "removed kept"]
    );
}

/// A panic in a notifier keeps nobody from hearing, nor memory from going.
#[test]
fn a_panic_in_a_notifier_stays_there() {
    struct Panics;
    impl RamBlockNotifier for Panics {
        fn added(&self, _: &HostMemory) {
            std::panic::resume_unwind(Box::new("added"));
        }
        fn removed(&self, _: &HostMemory) {
            std::panic::resume_unwind(Box::new("removed"));
        }
    }
    let memory = Memory::new();
    let hears = Arc::new(Hears::default());
    let registrations = (
        memory.add_ram_block_notifier(Arc::new(Panics)),
        memory.add_ram_block_notifier(hears.clone()),
    );
    let block = RamBlock::builder(PAGE)
        .name("panics")
        .share(true)
        .anonymous()
        .unwrap();
    memory.region("ram").ram(block);
    assert_eq!(
        hears.take(),
        ["added panics 0x1000/0x1000", "removed panics 0x1000/0x1000"]
    );
    assert!(!is_mapped("panics"));
    drop(registrations);
}

/// Q25: many threads make and drop blocks while others come and go: each hears of each block once and in order.
#[test]
fn notifiers_hear_in_order_whatever_comes_and_goes() {
    /// What is there, and what was heard out of order.
    #[derive(Default)]
    struct Counts {
        there: Mutex<BTreeSet<String>>,
        wrong: Mutex<Vec<String>>,
    }
    impl Counts {
        fn check(&self, is_right: bool, what: &str, memory: &HostMemory) {
            if !is_right {
                self.wrong.lock().unwrap().push(format!("{what} {memory:?}"));
            }
        }
    }
    impl RamBlockNotifier for Counts {
        fn added(&self, memory: &HostMemory) {
            let is_new = self.there.lock().unwrap().insert(memory.name.to_string());
            self.check(is_new, "added", memory);
        }
        fn removed(&self, memory: &HostMemory) {
            let was_there = self.there.lock().unwrap().remove(&*memory.name);
            self.check(was_there, "removed", memory);
        }
    }
    let everybody = Mutex::new(Vec::new());
    let memory = Memory::new();
    let always = Arc::new(Counts::default());
    let registration = memory.add_ram_block_notifier(always.clone());
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (memory, everybody) = (&memory, &everybody);
            scope.spawn(move || {
                for number in 0..200 {
                    let block = RamBlock::builder(PAGE)
                        .name(&format!("{thread}.{number}"))
                        .anonymous()
                        .unwrap();
                    let region = memory.region("ram").ram(block);
                    assert!(memory.ram_addr(region.ram_block().unwrap()).is_some());
                }
            });
            scope.spawn(move || {
                for _ in 0..200 {
                    let counts = Arc::new(Counts::default());
                    everybody.lock().unwrap().push(Arc::clone(&counts));
                    let registration = memory.add_ram_block_notifier(counts);
                    memory.ram_blocks();
                    drop(registration);
                }
            });
        }
    });
    drop(registration);
    assert_eq!(memory.ram_blocks(), []);
    for counts in everybody.into_inner().unwrap().iter().chain([&always]) {
        assert_eq!(*counts.wrong.lock().unwrap(), Vec::<String>::new());
        assert_eq!(*counts.there.lock().unwrap(), BTreeSet::new());
    }
}

/// Q10, C41: memory is unmapped when the last view lets go that shows it, and not before.
#[test]
fn memory_goes_with_the_last_view() {
    let memory = Memory::new();
    let system = memory.region("system").container(Size::MAX);
    let space = memory.create_address_space("memory", &system).unwrap();
    let dimm = RamBlock::builder(PAGE)
        .name("dimm")
        .share(true)
        .anonymous()
        .unwrap();
    let region = memory.region("dimm").ram(dimm);
    memory
        .update(|tx| tx.add_subregion(&system, 0x10_0000, &region))
        .unwrap();
    let mut reader = space.reader();
    assert_eq!(reader.find(0x10_0000).unwrap().region(), &region);
    let receipt = memory.update(|tx| tx.del_subregion(&system, &region)).unwrap();
    drop(region);
    assert!(is_mapped("dimm"), "the reader has the view of before");
    assert!(!receipt.is_quiesced());
    assert_eq!(names(&memory), ["dimm"]);
    reader.release();
    receipt.wait().unwrap();
    assert!(!is_mapped("dimm"));
    assert_eq!(names(&memory), Vec::<String>::new());
}

/// All that a machine maps goes with it.
#[test]
fn memory_goes_with_the_machine() {
    let memory = Memory::new();
    let system = memory.region("system").container(Size::MAX);
    let space = memory.create_address_space("memory", &system).unwrap();
    let ram = RamBlock::builder(PAGE)
        .name("machine")
        .share(true)
        .anonymous()
        .unwrap();
    let region = memory.region("ram").ram(ram);
    memory.update(|tx| tx.add_subregion(&system, 0, &region)).unwrap();
    drop((region, system));
    assert!(is_mapped("machine"));
    drop(memory);
    assert!(
        !is_mapped("machine"),
        "a space that somebody still has shows nothing"
    );
    drop(space);
}
