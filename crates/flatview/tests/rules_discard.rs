//! Group S of the reference, the part of it that is memory's: RAM of which only a part is there.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "rules_discard/property.rs"]
mod property;
mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread;

use flatview::discard::{RamDiscardListenerId, register};
use flatview::{
    AddressRange, Error, ListenerResult, PopulatedRanges, RamDiscardError, RamDiscardListener,
    RamDiscardManager, RamDiscardRegistration, RamSection, Region,
};
use support::{Board, Following};

const PIECE: u64 = 0x1000;
const SIZE: u64 = 0x10_000;

fn range(start: u64, size: u64) -> AddressRange {
    AddressRange::new(start, size).unwrap()
}

/// Hears, and writes down with its name; refuses what lies at `refuses`.
#[derive(Default)]
struct Listener {
    name: &'static str,
    heard: Arc<Mutex<Vec<String>>>,
    refuses: Mutex<Option<u64>>,
    double: bool,
}

impl Listener {
    fn new(name: &'static str, heard: &Arc<Mutex<Vec<String>>>) -> Listener {
        Listener {
            name,
            heard: Arc::clone(heard),
            ..Listener::default()
        }
    }

    fn note(&self, sign: char, section: RamSection) {
        let (name, bytes) = (self.name, section.bytes());
        let line = format!(
            "{name}{sign}{:x}-{:x}@{:x}",
            bytes.start(),
            bytes.last(),
            section.address()
        );
        self.heard.lock().unwrap().push(line);
    }
}

impl RamDiscardListener for Listener {
    fn notify_populate(&self, section: RamSection) -> ListenerResult {
        if self
            .refuses
            .lock()
            .unwrap()
            .is_some_and(|at| section.bytes().contains(at))
        {
            return Err("no room for another mapping".into());
        }
        self.note('+', section);
        Ok(())
    }

    fn notify_discard(&self, section: RamSection) {
        self.note('-', section);
    }

    fn double_discard_supported(&self) -> bool {
        self.double
    }
}

/// A board with RAM of 64 KiB that is there in part, seen at 0x10_0000.
struct World {
    board: Board,
    vmem: Region,
    plugged: Arc<PopulatedRanges>,
    manager: Arc<dyn RamDiscardManager>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl World {
    fn new() -> World {
        let board = Board::new();
        let vmem = board.ram("vmem", SIZE);
        let plugged = Arc::new(PopulatedRanges::new(SIZE, PIECE).unwrap());
        vmem.set_ram_discard_manager(Some(plugged.clone())).unwrap();
        board.map(&board.system, 0x10_0000, &vmem);
        World {
            board,
            vmem,
            manager: plugged.clone(),
            plugged,
            heard: Arc::default(),
        }
    }

    /// The section at an address of the space.
    fn section(&self, address: u64) -> RamSection {
        RamSection::new(self.board.space.view().find(address).unwrap())
    }

    fn join(&self, listener: Listener) -> (Arc<Listener>, RamDiscardRegistration) {
        let listener = Arc::new(listener);
        let registration = register(&self.manager, self.section(0x10_0000), listener.clone()).unwrap();
        (listener, registration)
    }

    #[track_caller]
    fn heard(&self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut *self.heard.lock().unwrap()), expected);
    }
}

/// S2: RAM only, one at a time, and only while it is mapped nowhere.
#[test]
fn a_manager_belongs_to_ram_that_is_not_mapped() {
    let board = Board::new();
    let manager = || -> Option<Arc<dyn RamDiscardManager>> {
        Some(Arc::new(PopulatedRanges::new(SIZE, PIECE).unwrap()))
    };
    for other in [board.io("io", SIZE), board.container("container", SIZE)] {
        let refused = other.set_ram_discard_manager(manager());
        assert!(matches!(refused, Err(Error::WrongKind { .. })));
        assert!(other.ram_discard_manager().is_none());
    }
    let ram = board.ram("ram", SIZE);
    ram.set_ram_discard_manager(manager()).unwrap();
    assert_eq!(ram.ram_discard_manager().unwrap().min_granularity(), PIECE);
    assert!(matches!(
        ram.set_ram_discard_manager(manager()),
        Err(Error::HasDiscardManager { .. })
    ));
    let alias = board.alias("alias", &ram, 0x1000, 0x1000);
    assert!(alias.ram_discard_manager().is_none(), "aliases are not followed");

    let is_mapped = || matches!(ram.set_ram_discard_manager(None), Err(Error::StillMapped { .. }));
    board.map(&board.system, 0, &ram);
    assert!(is_mapped());
    board.unmap(&board.system, &ram);
    board.map(&board.system, 0, &alias);
    assert!(is_mapped());
    board.unmap(&board.system, &alias);
    let space = board.look_at("root", &alias);
    assert!(is_mapped(), "a space shows it");
    space.destroy().unwrap();
    let nested = board.memory.update(|_| ram.set_ram_discard_manager(None));
    assert!(matches!(nested, Err(Error::NestedUpdate)));
    ram.set_ram_discard_manager(None).unwrap();
    assert!(ram.ram_discard_manager().is_none());
    ram.set_ram_discard_manager(manager()).unwrap();
}

/// S2: the region keeps its manager and takes it along.
#[test]
fn a_region_takes_its_manager_along() {
    let World {
        board,
        vmem,
        plugged,
        manager,
        heard,
    } = World::new();
    let weak = Arc::downgrade(&plugged);
    let section = RamSection::new(board.space.view().find(0x10_0000).unwrap());
    let registration = register(&manager, section, Arc::new(Listener::new("a", &heard))).unwrap();
    drop((plugged, manager));
    assert!(weak.upgrade().is_some());
    board.unmap(&board.system, &vmem);
    drop(vmem);
    assert!(weak.upgrade().is_none());
    drop(registration);
    assert!(board.ram("another", SIZE).ram_discard_manager().is_none());
}

/// S1: sizes that do not fit.
#[test]
fn pieces_are_whole() {
    for (size, granularity) in [(SIZE, 0), (SIZE, 0x1800), (SIZE + 1, PIECE)] {
        let refused = PopulatedRanges::new(size, granularity);
        assert!(matches!(refused, Err(RamDiscardError::BadGranularity { .. })));
    }
    let plugged = PopulatedRanges::new(SIZE, PIECE).unwrap();
    for bad in [
        range(0, PIECE - 1),
        range(1, PIECE),
        range(0, SIZE + PIECE),
        range(SIZE, PIECE),
        AddressRange::ALL,
    ] {
        assert!(
            matches!(plugged.populate(bad), Err(RamDiscardError::BadRange { .. })),
            "{bad}"
        );
        assert!(
            matches!(plugged.discard(bad), Err(RamDiscardError::BadRange { .. })),
            "{bad}"
        );
    }
    plugged.populate(range(0, SIZE)).unwrap();
    assert!(
        plugged.is_populated(range(5, 7)),
        "questions may be about any bytes"
    );
    assert!(!plugged.is_populated(AddressRange::ALL));
}

/// S1, S3: who registers hears what is there; who leaves, that it is not.
#[test]
fn joining_and_leaving_replays() {
    let world = World::new();
    world.plugged.populate(range(0, 0x2000)).unwrap();
    world.plugged.populate(range(0x4000, 0x1000)).unwrap();
    let (_, registration) = world.join(Listener::new("a", &world.heard));
    world.heard(&["a+0-1fff@100000", "a+4000-4fff@104000"]);
    world.plugged.populate(range(0x1000, 0x4000)).unwrap();
    world.heard(&["a+2000-3fff@102000"]);
    world.plugged.discard(range(0x1000, 0x1000)).unwrap();
    world.heard(&["a-1000-1fff@101000"]);
    drop(registration);
    world.heard(&["a-0-fff@100000", "a-2000-4fff@102000"]);
    world.plugged.populate(range(0, SIZE)).unwrap();
    world.heard(&[]);
}

/// S3: pieces are whole except at the ends of the section.
#[test]
fn a_section_that_cuts_pieces_hears_the_part() {
    let world = World::new();
    // Something over the middle of a piece: two sections.
    let msi = world.board.io("msi", 0x400);
    world.board.overlap(&world.board.system, 0x10_2800, &msi, 1);
    let low = Arc::new(Listener::new("low", &world.heard));
    let high = Arc::new(Listener::new("high", &world.heard));
    let _low = register(&world.manager, world.section(0x10_0000), low).unwrap();
    let _high = register(&world.manager, world.section(0x10_f000), high).unwrap();
    world.plugged.populate(range(0x1000, 0x3000)).unwrap();
    world.heard(&["low+1000-27ff@101000", "high+2c00-3fff@102c00"]);
    world.plugged.discard(range(0x2000, 0x1000)).unwrap();
    world.heard(&["low-2000-27ff@102000", "high-2c00-2fff@102c00"]);
    world.plugged.populate(range(0x8000, 0x1000)).unwrap();
    world.heard(&["high+8000-8fff@108000"]);
}

/// S3: if one refuses, those who were told hear the opposite, and nothing is populated.
#[test]
fn who_refuses_takes_everybody_back() {
    let world = World::new();
    world.plugged.populate(range(0x2000, 0x1000)).unwrap();
    let (_a, _ra) = world.join(Listener::new("a", &world.heard));
    let (b, _rb) = world.join(Listener::new("b", &world.heard));
    let (_c, _rc) = world.join(Listener::new("c", &world.heard));
    world.heard.lock().unwrap().clear();
    *b.refuses.lock().unwrap() = Some(0x4000);
    let refused = world.plugged.populate(range(0x1000, 0x4000)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "a listener refused the populated memory: no room for another mapping"
    );
    world.heard(&[
        "a+1000-1fff@101000",
        "a+3000-4fff@103000",
        "b+1000-1fff@101000",
        "b-1000-1fff@101000",
        "a-1000-1fff@101000",
        "a-3000-4fff@103000",
    ]);
    assert_eq!(
        world.plugged.populated(AddressRange::ALL),
        [range(0x2000, 0x1000)]
    );
}

/// S1: a listener that refuses what is there is not registered.
#[test]
fn who_refuses_what_is_there_does_not_join() {
    let world = World::new();
    world.plugged.populate(range(0, 0x1000)).unwrap();
    world.plugged.populate(range(0x2000, 0x1000)).unwrap();
    let listener = Listener::new("a", &world.heard);
    *listener.refuses.lock().unwrap() = Some(0x2000);
    let refused = register(&world.manager, world.section(0x10_0000), Arc::new(listener));
    assert!(matches!(refused, Err(RamDiscardError::Refused { .. })));
    world.heard(&["a+0-fff@100000", "a-0-fff@100000"]);
    world.plugged.populate(range(0x5000, 0x1000)).unwrap();
    world.plugged.discard(range(0, SIZE)).unwrap();
    world.heard(&[]);
}

/// S3: who can bear it hears of a large discard in one piece.
#[test]
fn a_double_discard_is_one_piece() {
    let world = World::new();
    let (_a, _ra) = world.join(Listener {
        double: true,
        ..Listener::new("a", &world.heard)
    });
    let (_b, _rb) = world.join(Listener::new("b", &world.heard));
    world.plugged.populate(range(0x1000, 0x1000)).unwrap();
    world.plugged.populate(range(0x3000, 0x1000)).unwrap();
    world.heard.lock().unwrap().clear();
    world.plugged.discard(range(0, SIZE)).unwrap();
    world.heard(&["a-0-ffff@100000", "b-1000-1fff@101000", "b-3000-3fff@103000"]);
    world.plugged.discard(range(0, SIZE)).unwrap();
    world.heard(&[]);
}

/// S1: parts can be gone through; the first error ends it.
#[test]
fn parts_can_be_replayed() {
    let world = World::new();
    world.plugged.populate(range(0x1000, 0x2000)).unwrap();
    world.plugged.populate(range(0x8000, 0x1000)).unwrap();
    let mut parts = Vec::new();
    let mut note = |part: AddressRange| {
        parts.push((part.start(), part.last()));
        Ok(())
    };
    let window = range(0x1800, 0x7000);
    world.manager.replay_populated(window, &mut note).unwrap();
    world.manager.replay_discarded(window, &mut note).unwrap();
    assert_eq!(parts, [(0x1800, 0x2fff), (0x8000, 0x87ff), (0x3000, 0x7fff)]);
    let calls = AtomicUsize::new(0);
    let mut fails = |_| {
        calls.fetch_add(1, Ordering::Relaxed);
        Err("full".into())
    };
    assert!(world.manager.replay_populated(window, &mut fails).is_err());
    assert!(
        world
            .manager
            .replay_discarded(range(0, SIZE), &mut fails)
            .is_err()
    );
    assert_eq!(calls.into_inner(), 2);
}

/// What a listener does from within: asks, changes, leaves.
struct Busy {
    plugged: Weak<PopulatedRanges>,
    leaves: OnceLock<RamDiscardListenerId>,
    seen: Mutex<Vec<(bool, bool)>>,
}

impl Busy {
    fn look(&self, section: RamSection) {
        let plugged = self.plugged.upgrade().unwrap();
        let changed = plugged.populate(range(0, PIECE));
        let nested = matches!(changed, Err(RamDiscardError::Nested));
        self.seen
            .lock()
            .unwrap()
            .push((plugged.is_populated(section.bytes()), nested));
        if let Some(id) = self.leaves.get() {
            plugged.unregister_listener(*id);
        }
    }
}

impl RamDiscardListener for Busy {
    fn notify_populate(&self, section: RamSection) -> ListenerResult {
        self.look(section);
        Ok(())
    }

    fn notify_discard(&self, section: RamSection) {
        self.look(section);
    }
}

/// S3: a listener may ask and leave from within a callback, and change nothing. What it hears of is never populated:
/// not yet, or not any more.
#[test]
fn callbacks_may_ask_and_leave() {
    let world = World::new();
    let busy = Arc::new(Busy {
        plugged: Arc::downgrade(&world.plugged),
        leaves: OnceLock::new(),
        seen: Mutex::default(),
    });
    let id = world
        .plugged
        .register_listener(world.section(0x10_0000), busy.clone())
        .unwrap();
    world.plugged.populate(range(0x1000, PIECE)).unwrap();
    world.plugged.discard(range(0x1000, PIECE)).unwrap();
    assert_eq!(*busy.seen.lock().unwrap(), [(false, true), (false, true)]);
    busy.leaves.set(id).unwrap();
    world.plugged.populate(range(0x1000, PIECE)).unwrap();
    let seen = busy.seen.lock().unwrap().len();
    assert_eq!(
        seen, 4,
        "it left when the change was over, and heard that all is discarded"
    );
    world.plugged.discard(range(0x1000, PIECE)).unwrap();
    assert_eq!(busy.seen.lock().unwrap().len(), 4);
    world.plugged.unregister_listener(id);
}

/// S3: changes of several threads take turns.
#[test]
fn changes_take_turns() {
    struct Slow(mpsc::Sender<()>, Mutex<mpsc::Receiver<()>>, AtomicUsize);
    impl RamDiscardListener for Slow {
        fn notify_populate(&self, _: RamSection) -> ListenerResult {
            if self.2.fetch_add(1, Ordering::SeqCst) == 0 {
                self.0.send(()).unwrap();
                self.1.lock().unwrap().recv().unwrap();
            }
            Ok(())
        }
        fn notify_discard(&self, _: RamSection) {
            assert_eq!(self.2.load(Ordering::SeqCst), 1, "populated first");
        }
    }
    let world = World::new();
    let (entered, wait_entered) = mpsc::channel();
    let (go_on, wait_go_on) = mpsc::channel();
    let slow = Arc::new(Slow(entered, Mutex::new(wait_go_on), AtomicUsize::new(0)));
    let _slow = register(&world.manager, world.section(0x10_0000), slow).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| world.plugged.populate(range(0, PIECE)).unwrap());
        wait_entered.recv().unwrap();
        let discards = scope.spawn(|| world.plugged.discard(range(0, PIECE)).unwrap());
        assert!(
            !world.plugged.is_populated(range(0, PIECE)),
            "asking waits for nobody"
        );
        go_on.send(()).unwrap();
        discards.join().unwrap();
    });
    assert!(!world.plugged.is_populated(range(0, PIECE)));
}

/// A listener that panics has refused, and keeps nobody from hearing of a discard.
#[test]
fn a_panic_is_a_refusal() {
    struct Fragile(AtomicUsize);
    impl RamDiscardListener for Fragile {
        fn notify_populate(&self, _: RamSection) -> ListenerResult {
            assert!(self.0.fetch_add(1, Ordering::Relaxed) > 0, "not ready");
            Ok(())
        }
        fn notify_discard(&self, _: RamSection) {
            panic!("too late");
        }
    }
    let world = World::new();
    let fragile = Arc::new(Fragile(AtomicUsize::new(0)));
    let (_a, _ra) = world.join(Listener::new("a", &world.heard));
    let _fragile = register(&world.manager, world.section(0x10_0000), fragile).unwrap();
    let (_b, _rb) = world.join(Listener::new("b", &world.heard));
    let refused = world.plugged.populate(range(0, PIECE));
    assert!(matches!(refused, Err(RamDiscardError::Refused { .. })));
    world.heard(&["a+0-fff@100000", "a-0-fff@100000"]);
    world.plugged.populate(range(0, PIECE)).unwrap();
    world.plugged.discard(range(0, PIECE)).unwrap();
    world.heard(&[
        "a+0-fff@100000",
        "b+0-fff@100000",
        "a-0-fff@100000",
        "b-0-fff@100000",
    ]);
}

/// S11: sections come and go with the map, parts of them with the memory.
#[test]
fn a_container_shows_only_what_is_populated() {
    let world = World::new();
    world.plugged.populate(range(0x1000, 0x2000)).unwrap();
    let heard = Arc::clone(&world.heard);
    let container = Arc::new(Following::new(move |section| {
        let Some(manager) = section.region().ram_discard_manager() else {
            return Ok(None);
        };
        let listener = Arc::new(Listener::new("dma", &heard));
        Ok(Some(register(
            &manager,
            RamSection::new(section.range()),
            listener,
        )?))
    }));
    let registration = world.board.space.register(container).unwrap();
    world.heard(&["dma+1000-2fff@101000"]);
    world.plugged.populate(range(0x8000, 0x1000)).unwrap();
    world.heard(&["dma+8000-8fff@108000"]);
    world.board.update(|tx| tx.set_address(&world.vmem, 0x20_0000));
    world.heard(&[
        "dma-1000-2fff@101000",
        "dma-8000-8fff@108000",
        "dma+1000-2fff@201000",
        "dma+8000-8fff@208000",
    ]);
    drop(registration);
    world.heard(&["dma-1000-2fff@201000", "dma-8000-8fff@208000"]);
}
