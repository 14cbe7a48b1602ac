//! O4, O7 to O15: who hears how translations change.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use flatview::{
    AddressRange, IommuAccess, IommuError, IommuEvents, IommuNotifier, IommuOps, IommuRegistration,
    IotlbEntry, IotlbEvent, IotlbEventKind, ListenerResult, MemoryListener, MemoryRegionSection, RegionKind,
    Size, WeakRegion,
};

use super::support::Board;
use super::tables::{LARGE, PAGE, R, REACH, W, World, permission, range};

const UNMAP: IommuEvents = IommuEvents::UNMAP;
const MAP: IommuEvents = IommuEvents::MAP;
const DEV: IommuEvents = IommuEvents::DEVIOTLB_UNMAP;
const NONE: IommuEvents = IommuEvents::empty();

/// What notifiers heard, each line behind the notifier's name.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn notifier(
        &self,
        name: &'static str,
        events: IommuEvents,
        range: AddressRange,
        index: u32,
    ) -> IommuNotifier {
        let heard = Arc::clone(&self.0);
        IommuNotifier::new(events, range, index, move |event| {
            let IotlbEntry {
                iova,
                translated_address: to,
                address_mask: mask,
                permission,
                ..
            } = &event.entry;
            let line = match event.kind {
                IotlbEventKind::Map => format!("{name}+{iova:x}&{mask:x}={to:x} {:x}", permission.bits()),
                IotlbEventKind::Unmap => format!("{name}-{iova:x}&{mask:x}"),
                IotlbEventKind::DevIotlbUnmap => format!("{name}~{iova:x}&{mask:x}"),
            };
            heard.lock().unwrap().push(line);
        })
    }

    #[track_caller]
    fn heard(&self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut *self.0.lock().unwrap()), expected);
    }
}

fn entry(world: &World, iova: u64, mask: u64) -> IotlbEntry {
    IotlbEntry {
        target: Some(world.board.space.clone()),
        iova,
        translated_address: iova + 0x10_0000,
        address_mask: mask,
        permission: permission(R | W),
    }
}

fn told(world: &World) -> Vec<(IommuEvents, IommuEvents)> {
    std::mem::take(&mut *world.tables.told.lock().unwrap())
}

/// O8, O9: the device hears when what all want together changes, and only then.
#[test]
fn the_device_hears_what_is_wanted() {
    let world = World::new();
    let heard = Heard::default();
    let all = range(0, REACH);
    let register = |events| {
        world
            .iommu
            .register_iommu_notifier(heard.notifier("n", events, all, 0))
            .unwrap()
    };
    let unmap = register(UNMAP);
    assert_eq!(told(&world), [(NONE, UNMAP)]);
    let again = register(UNMAP);
    assert_eq!(told(&world), []);
    let both = register(IommuEvents::IOTLB);
    let dev = register(DEV);
    assert_eq!(
        told(&world),
        [(UNMAP, UNMAP | MAP), (UNMAP | MAP, UNMAP | MAP | DEV)]
    );
    unmap.unregister();
    assert_eq!(told(&world), []);
    drop(both);
    assert_eq!(told(&world), [(UNMAP | MAP | DEV, UNMAP | DEV)]);
    drop((again, dev));
    assert_eq!(told(&world), [(UNMAP | DEV, DEV), (DEV, NONE)]);
}

/// O8: an alias is followed; the newest notifier is the first.
#[test]
fn a_notifier_of_an_alias_is_one_of_its_target() {
    let world = World::new();
    let heard = Heard::default();
    let alias = world.board.alias("alias", &world.iommu, 0x1000, PAGE);
    let alias = world.board.alias("alias of it", &alias, 0, PAGE);
    let _a = world
        .iommu
        .register_iommu_notifier(heard.notifier("a", UNMAP, range(0, REACH), 0))
        .unwrap();
    let _b = alias
        .register_iommu_notifier(heard.notifier("b", UNMAP, range(0, REACH), 0))
        .unwrap();
    assert_eq!(world.iommu.iommu_notifiers().unwrap().len(), 2);
    alias
        .notify_iommu(0, &IotlbEvent::unmap(range(0x5000, PAGE)))
        .unwrap();
    heard.heard(&["b-5000&fff", "a-5000&fff"]);
}

/// O8: what QEMU asserts is an error; a device may refuse, and then nothing has happened.
#[test]
fn notifiers_that_cannot_be_are_refused() {
    let world = World::new();
    let heard = Heard::default();
    let register = |region: &flatview::Region, events, index| {
        region
            .register_iommu_notifier(heard.notifier("n", events, range(0, PAGE), index))
            .map(drop)
    };
    assert!(matches!(
        register(&world.ram, UNMAP, 0),
        Err(IommuError::NotAnIommu { .. })
    ));
    assert!(matches!(
        world.ram.iommu_notifiers(),
        Err(IommuError::NotAnIommu { .. })
    ));
    let event = IotlbEvent::unmap(range(0, PAGE));
    assert!(matches!(
        world.ram.notify_iommu(0, &event),
        Err(IommuError::NotAnIommu { .. })
    ));
    assert!(matches!(
        register(&world.iommu, NONE, 0),
        Err(IommuError::NoEvents { .. })
    ));
    assert!(matches!(
        register(&world.iommu, UNMAP, 2),
        Err(IommuError::NoSuchIndex {
            index: 2,
            indexes: 2,
            ..
        })
    ));
    assert_eq!(told(&world), []);

    *world.tables.cannot.lock().unwrap() = MAP;
    let error = register(&world.iommu, IommuEvents::IOTLB, 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "IOMMU `iommu` refused a notifier: this IOMMU has no caching mode"
    );
    assert!(world.iommu.iommu_notifiers().unwrap().is_empty());
    assert_eq!(told(&world), []);
    assert!(register(&world.iommu, UNMAP, 0).is_ok());
    assert_eq!(told(&world), [(NONE, UNMAP), (UNMAP, NONE)]);
}

/// O7, O10, O11: by table, by range, by kind.
#[test]
fn an_event_goes_to_those_it_concerns() {
    let world = World::new();
    let heard = Heard::default();
    let register = |name, events, start, size, index| {
        let notifier = heard.notifier(name, events, range(start, size), index);
        world.iommu.register_iommu_notifier(notifier).unwrap()
    };
    let _notifiers = [
        register("low", IommuEvents::IOTLB, 0, 0x8000, 0),
        register("high", IommuEvents::IOTLB, 0x8000, REACH - 0x8000, 0),
        register("unmap", UNMAP, 0, REACH, 0),
        register("secure", IommuEvents::IOTLB, 0, REACH, 1),
    ];
    let notify = |index, event: IotlbEvent| world.iommu.notify_iommu(index, &event).unwrap();
    notify(0, IotlbEvent::map(entry(&world, 0x7000, 0xfff)));
    heard.heard(&["low+7000&fff=107000 3"]);
    notify(0, IotlbEvent::unmap(range(0x8000, PAGE)));
    heard.heard(&["unmap-8000&fff", "high-8000&fff"]);
    notify(1, IotlbEvent::unmap(range(0x7000, 2 * PAGE)));
    heard.heard(&["secure-7000&1fff"]);
    notify(0, IotlbEvent::deviotlb_unmap(range(0, REACH)));
    heard.heard(&[]);
}

/// O11: an event across the end of a notifier's range is an error; the others hear it.
#[test]
fn an_event_across_a_range_is_an_error() {
    let world = World::new();
    let heard = Heard::default();
    let _low = world
        .iommu
        .register_iommu_notifier(heard.notifier("low", UNMAP, range(0x1000, 0x7000), 0))
        .unwrap();
    let _all = world
        .iommu
        .register_iommu_notifier(heard.notifier("all", UNMAP, range(0, REACH), 0))
        .unwrap();
    let across = [range(0, 2 * PAGE), range(0x7000, 2 * PAGE), range(0, REACH)];
    for event in across {
        let error = world
            .iommu
            .notify_iommu(0, &IotlbEvent::unmap(event))
            .unwrap_err();
        let IommuError::NotWithinNotifier {
            event: told,
            notifier,
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!((told, notifier), (event, range(0x1000, 0x7000)));
    }
    heard.heard(&["all-0&1fff", "all-7000&1fff", "all-0&3fffffff"]);
}

/// O11, O12: a cache in a device hears of the part inside, of whatever length.
#[test]
fn an_event_is_cut_for_caches_in_devices() {
    let world = World::new();
    let heard = Heard::default();
    let notifier = heard.notifier("dev", DEV | MAP, range(0x1800, 0x3000), 0);
    let _dev = world.iommu.register_iommu_notifier(notifier).unwrap();
    let notify = |event: IotlbEvent| world.iommu.notify_iommu(0, &event).unwrap();
    notify(IotlbEvent::deviotlb_unmap(AddressRange::ALL));
    notify(IotlbEvent::deviotlb_unmap(range(0x1000, PAGE)));
    notify(IotlbEvent::deviotlb_unmap(range(0x2000, PAGE)));
    notify(IotlbEvent::deviotlb_unmap(range(0x8000, PAGE)));
    notify(IotlbEvent::unmap(range(0x2000, PAGE)));
    heard.heard(&["dev~1800&2fff", "dev~1800&7ff", "dev~2000&fff"]);
    // Where it leads is cut along; QEMU forgets that.
    notify(IotlbEvent::map(entry(&world, 0x1000, 0xfff)));
    heard.heard(&["dev+1800&7ff=101800 3"]);
}

/// O11: an event whose parts do not agree.
#[test]
fn events_that_make_no_sense_are_refused() {
    let world = World::new();
    let heard = Heard::default();
    let notifier = heard.notifier("n", IommuEvents::all(), AddressRange::ALL, 0);
    let _n = world.iommu.register_iommu_notifier(notifier).unwrap();
    let whole = entry(&world, 0, u64::MAX);
    let unmap_that_permits = IotlbEvent {
        kind: IotlbEventKind::Unmap,
        entry: whole.clone(),
    };
    let map_that_does_not = IotlbEvent::map(IotlbEntry {
        permission: IommuAccess::empty(),
        ..whole.clone()
    });
    let beyond = IotlbEvent::map(IotlbEntry {
        iova: 1,
        ..whole.clone()
    });
    for event in [unmap_that_permits, map_that_does_not, beyond] {
        assert!(matches!(
            world.iommu.notify_iommu(0, &event),
            Err(IommuError::BadEvent { .. })
        ));
    }
    heard.heard(&[]);
    world.iommu.notify_iommu(0, &IotlbEvent::map(whole)).unwrap();
    heard.heard(&["n+0&ffffffffffffffff=100000 3"]);
}

/// O13, O15: all of a range can be declared unmapped; a change in place is two events.
#[test]
fn a_whole_range_can_be_unmapped_and_told_anew() {
    let world = World::new();
    let heard = Heard::default();
    let notifier = heard.notifier("n", IommuEvents::IOTLB, range(0x4000, 0x3000), 0);
    let registration = world.iommu.register_iommu_notifier(notifier).unwrap();
    world.map(0, 0x5000, 0x1000, R);
    world.tables.invalidate(0, range(0x5000, PAGE));
    world.map(0, 0x5000, 0x2000, R | W);
    world.tables.invalidate(0, range(0x5000, PAGE));
    heard.heard(&[
        "n-5000&fff",
        "n+5000&fff=1000 1",
        "n-5000&fff",
        "n+5000&fff=2000 3",
    ]);
    registration.notifier().unmap_range();
    heard.heard(&["n-4000&2fff"]);
    registration.replay().unwrap();
    heard.heard(&["n+5000&fff=2000 3"]);
    let map = world
        .iommu
        .register_iommu_notifier(heard.notifier("m", MAP, range(0, PAGE), 0))
        .unwrap();
    map.notifier().unmap_range();
    heard.heard(&[]);
}

/// O14: only within the range, cut to it; by the device if it can, page by page if not.
#[test]
fn a_replay_tells_what_is_mapped_in_the_range() {
    let world = World::new();
    world.map(0, 0x1000, 0x9000, R);
    world.map(0, 0x5000, 0x1000, R);
    world.map(0, 0x6000, 0x2000, W);
    world.map_large(0, LARGE, 0x40_0000, R | W);
    world.map(0, 2 * LARGE + 0x3000, 0x7000, R);
    world.map(1, 0x5000, 0xb000, R);
    let heard = Heard::default();
    let register = |name, events, start, last, index| {
        let range = AddressRange::from_bounds(start, last).unwrap();
        let notifier = heard.notifier(name, events, range, index);
        world.iommu.register_iommu_notifier(notifier).unwrap()
    };
    let all = register("all", IommuEvents::IOTLB, 0, u64::MAX, 0);
    let some = register("some", MAP, 0x5800, LARGE + 0x2fff, 0);
    let secure = register("secure", MAP, 0, REACH - 1, 1);
    let unmap = register("unmap", UNMAP, 0, REACH - 1, 0);
    for by_itself in [false, true] {
        world.tables.replays_itself.store(by_itself, Ordering::Relaxed);
        for registration in [&all, &some, &secure, &unmap] {
            registration.replay().unwrap();
        }
        heard.heard(&[
            "all+1000&fff=9000 1",
            "all+5000&fff=1000 1",
            "all+6000&fff=2000 2",
            "all+200000&1fffff=400000 3",
            "all+403000&fff=7000 1",
            "some+5800&7ff=1800 1",
            "some+6000&fff=2000 2",
            "some+200000&2fff=400000 3",
            "secure+5000&fff=b000 1",
        ]);
    }
}

/// Maps one page in all of 2^64, and says of holes only what it is told to say.
struct Vast {
    hole: u64,
    asked: AtomicU64,
}

impl IommuOps for Vast {
    fn translate(&self, iova: u64, _: IommuAccess, _: u32) -> IotlbEntry {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let is_mapped = iova >> 12 == u64::MAX >> 12;
        IotlbEntry {
            target: None,
            iova,
            translated_address: 0,
            address_mask: if is_mapped { 0xfff } else { self.hole },
            permission: IommuAccess::empty(),
        }
    }

    fn min_page_size(&self) -> u64 {
        0x1_0000
    }
}

/// O4, O14: holes are skipped as large as the device says they are, or its smallest page; and not for ever.
#[test]
fn a_replay_of_all_addresses_ends() {
    let board = Board::new();
    let replay = |hole, range| {
        let vast = Arc::new(Vast {
            hole,
            asked: AtomicU64::new(0),
        });
        let region = board
            .memory
            .region("vast")
            .iommu(Size::MAX, Arc::clone(&vast) as Arc<dyn IommuOps>);
        let registration = region
            .register_iommu_notifier(Heard::default().notifier("n", MAP, range, 0))
            .unwrap();
        (registration.replay(), vast.asked.load(Ordering::Relaxed))
    };
    let (result, asked) = replay((1 << 60) - 1, AddressRange::ALL);
    assert!(result.is_ok());
    assert_eq!(asked, 16);
    // An answer that says nothing of a hole's size.
    let (result, asked) = replay(0, range(0x1234, 0x10_0000));
    assert!(result.is_ok());
    assert_eq!(asked, 17, "pages of 64 KiB");
    let (result, asked) = replay(0, AddressRange::ALL);
    assert!(matches!(result, Err(IommuError::ReplayTooLong { reached, .. }) if reached == asked << 16));
}

/// O10: no lock is held while a notifier runs: it may do anything with notifiers, its own registration included.
#[test]
fn notifiers_may_do_as_they_like() {
    let world = World::new();
    let mine: Arc<Mutex<Option<IommuRegistration>>> = Arc::default();
    let seen = Arc::new(AtomicU64::new(0));
    let region: WeakRegion = world.iommu.downgrade();
    let notifier = IommuNotifier::new(UNMAP, range(0, REACH), 0, {
        let (mine, seen) = (Arc::clone(&mine), Arc::clone(&seen));
        move |event| {
            seen.fetch_add(1, Ordering::Relaxed);
            let region = region.upgrade().unwrap();
            drop(mine.lock().unwrap().take());
            let other =
                region.register_iommu_notifier(Heard::default().notifier("x", MAP, range(0, PAGE), 0));
            other.unwrap().replay().unwrap();
            region.notify_iommu(0, event).unwrap();
        }
    });
    let registration = world.iommu.register_iommu_notifier(notifier).unwrap();
    *mine.lock().unwrap() = Some(registration);
    for _ in 0..2 {
        world
            .iommu
            .notify_iommu(0, &IotlbEvent::unmap(range(0, PAGE)))
            .unwrap();
    }
    assert_eq!(
        seen.load(Ordering::Relaxed),
        1,
        "it had left when it heard of its own event"
    );
    assert!(world.iommu.iommu_notifiers().unwrap().is_empty());
}

/// O9: who has unregistered hears nothing more, not even from a thread that had begun.
#[test]
fn who_unregisters_waits_for_those_who_notify() {
    let world = World::new();
    let (entered, wait_entered) = mpsc::channel();
    let is_over = Arc::new(AtomicBool::new(false));
    let notifier = IommuNotifier::new(UNMAP, range(0, REACH), 0, {
        let is_over = Arc::clone(&is_over);
        move |_| {
            entered.send(()).unwrap();
            thread::sleep(Duration::from_millis(50));
            is_over.store(true, Ordering::SeqCst);
        }
    });
    let registration = world.iommu.register_iommu_notifier(notifier).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| world.iommu.notify_iommu(0, &IotlbEvent::unmap(range(0, PAGE))));
        wait_entered.recv().unwrap();
        drop(registration);
        assert!(is_over.load(Ordering::SeqCst));
    });
}

/// Wants to hear of another notifier from within `notify_flag_changed`, and drops one there.
#[derive(Default)]
struct Meddler {
    region: std::sync::OnceLock<WeakRegion>,
    to_drop: Mutex<Option<IommuRegistration>>,
    told: Mutex<Vec<(IommuEvents, IommuEvents)>>,
    nested: AtomicU64,
}

impl IommuOps for Meddler {
    fn translate(&self, iova: u64, _: IommuAccess, _: u32) -> IotlbEntry {
        Vast {
            hole: u64::MAX,
            asked: AtomicU64::new(0),
        }
        .translate(iova, IommuAccess::empty(), 0)
    }

    fn notify_flag_changed(&self, old: IommuEvents, new: IommuEvents) -> ListenerResult {
        self.told.lock().unwrap().push((old, new));
        let region = self.region.get().unwrap().upgrade().unwrap();
        let nested = region.register_iommu_notifier(Heard::default().notifier("n", DEV, range(0, PAGE), 0));
        if matches!(nested, Err(IommuError::Nested { .. })) {
            self.nested.fetch_add(1, Ordering::Relaxed);
        }
        let dropped = self.to_drop.lock().unwrap().take();
        drop(dropped);
        Ok(())
    }
}

/// O8, O9: the device is told one change after the other.
#[test]
fn a_device_that_meddles_is_told_in_order() {
    let board = Board::new();
    let meddler = Arc::new(Meddler::default());
    let region = board
        .memory
        .region("meddler")
        .iommu(REACH, Arc::clone(&meddler) as Arc<dyn IommuOps>);
    meddler.region.set(region.downgrade()).unwrap();
    let register =
        |events| region.register_iommu_notifier(Heard::default().notifier("n", events, range(0, PAGE), 0));
    *meddler.to_drop.lock().unwrap() = Some(register(UNMAP).unwrap());
    let map = register(MAP).unwrap();
    drop(map);
    assert_eq!(
        *meddler.told.lock().unwrap(),
        [
            (NONE, UNMAP),
            (UNMAP, UNMAP | MAP),
            (UNMAP | MAP, MAP),
            (MAP, NONE)
        ]
    );
    assert_eq!(meddler.nested.load(Ordering::Relaxed), 4);
}

/// A region that goes takes its notifiers along, and a registration does not keep it.
#[test]
fn a_region_takes_its_notifiers_along() {
    let world = World::new();
    let alive = Arc::new(());
    let weak = world.iommu.downgrade();
    let registration = {
        let alive = Arc::clone(&alive);
        let notifier = IommuNotifier::new(UNMAP, range(0, REACH), 0, move |_| drop(Arc::clone(&alive)));
        world.iommu.register_iommu_notifier(notifier).unwrap()
    };
    let World {
        board,
        ram,
        iommu,
        dma,
        tables,
        ..
    } = world;
    drop((board, ram, dma, iommu, tables));
    assert!(weak.upgrade().is_none());
    assert!(matches!(registration.replay(), Err(IommuError::Gone)));
    assert_eq!(Arc::strong_count(&alive), 2);
    drop(registration);
    assert_eq!(Arc::strong_count(&alive), 1);
}

/// What VFIO does (rule X10): a notifier for each section of an IOMMU, and all that it translates at once.
struct Follower {
    heard: Heard,
    registrations: Mutex<Vec<(u64, IommuRegistration)>>,
}

impl MemoryListener for Follower {
    fn name(&self) -> &str {
        "follower"
    }

    fn region_add(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        if section.region().kind() == RegionKind::Iommu {
            let bytes = range(section.offset_in_region(), section.size().to_u64().unwrap());
            let notifier = self.heard.notifier("n", IommuEvents::IOTLB, bytes, 0);
            let registration = section.region().register_iommu_notifier(notifier)?;
            registration.replay()?;
            self.registrations
                .lock()
                .unwrap()
                .push((section.start(), registration));
        }
        Ok(())
    }

    fn region_del(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        self.registrations
            .lock()
            .unwrap()
            .retain(|(start, _)| *start != section.start());
        Ok(())
    }
}

/// O14, O19: a listener follows an IOMMU region that comes, goes and is covered in part.
#[test]
fn a_listener_has_a_notifier_for_each_section() {
    let world = World::new();
    world.map(0, 0x1000, 0x5000, R);
    world.map(0, 0x9000, 0x6000, R);
    let heard = Heard::default();
    let follower = Arc::new(Follower {
        heard: heard.clone(),
        registrations: Mutex::default(),
    });
    let registration = world.dma.register(follower.clone()).unwrap();
    heard.heard(&["n+1000&fff=5000 1", "n+9000&fff=6000 1"]);
    let msi = world.board.io("msi", PAGE);
    world.board.overlap(world.dma.root(), 0x5000, &msi, 1);
    heard.heard(&["n+1000&fff=5000 1", "n+9000&fff=6000 1"]);
    assert_eq!(world.iommu.iommu_notifiers().unwrap().len(), 2);
    world.map(0, 0x1000, 0, 0);
    world.tables.invalidate(0, range(0, REACH));
    heard.heard(&["n-6000&3fff9fff", "n+9000&fff=6000 1", "n-0&4fff"]);
    world.board.update(|tx| tx.set_enabled(&world.iommu, false));
    assert!(world.iommu.iommu_notifiers().unwrap().is_empty());
    *world.tables.cannot.lock().unwrap() = MAP;
    let refused = world.board.memory.update(|tx| tx.set_enabled(&world.iommu, true));
    assert!(refused.is_err(), "the IOMMU refused, so the listener did");
    drop(registration);
}

/// Panics when it is first told of something.
struct Fragile(AtomicBool);

impl IommuOps for Fragile {
    fn translate(&self, iova: u64, access: IommuAccess, index: u32) -> IotlbEntry {
        Meddler::default().translate(iova, access, index)
    }

    fn notify_flag_changed(&self, _: IommuEvents, new: IommuEvents) -> ListenerResult {
        assert!(self.0.swap(true, Ordering::Relaxed), "not ready for {new:?}");
        Ok(())
    }
}

/// O8: a device that panics leaves the notifier unregistered, and keeps nobody else from registering.
#[test]
fn a_device_that_panics_is_asked_again() {
    let board = Board::new();
    let fragile = Arc::new(Fragile(AtomicBool::new(false)));
    let region = board.memory.region("fragile").iommu(REACH, fragile);
    let register = || region.register_iommu_notifier(Heard::default().notifier("n", MAP, range(0, PAGE), 0));
    let panicked = thread::scope(|scope| scope.spawn(|| register().is_ok()).join());
    assert!(panicked.is_err());
    assert!(region.iommu_notifiers().unwrap().is_empty());
    assert!(register().is_ok());
}
