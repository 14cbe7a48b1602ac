//! O4, O8 to O10, O14: replays that end, notifiers that do as they like, devices that meddle, regions that go.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use flatview::{
    AddressRange, IommuAccess, IommuError, IommuEvents, IommuNotifier, IommuOps, IommuRegistration,
    IotlbEntry, IotlbEvent, ListenerResult, RegionKind, Size, WeakRegion,
};

use super::notifiers::{DEV, Heard, MAP, NONE, UNMAP};
use super::support::{Board, Following};
use super::tables::{PAGE, R, REACH, World, range};

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
    region: OnceLock<WeakRegion>,
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

/// O14, O19: a listener follows an IOMMU region that comes, goes and is covered in part.
#[test]
fn a_listener_has_a_notifier_for_each_section() {
    let world = World::new();
    world.map(0, 0x1000, 0x5000, R);
    world.map(0, 0x9000, 0x6000, R);
    let heard = Heard::default();
    let hears = heard.clone();
    let follower = Arc::new(Following::new(move |section| {
        if section.region().kind() != RegionKind::Iommu {
            return Ok(None);
        }
        let bytes = range(section.offset_in_region(), section.size().to_u64().unwrap());
        let notifier = hears.notifier("n", IommuEvents::IOTLB, bytes, 0);
        let registration = section.region().register_iommu_notifier(notifier)?;
        registration.replay()?;
        Ok(Some(registration))
    }));
    let registration = world.dma.register(follower).unwrap();
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
    assert!(matches!(register(), Err(IommuError::Refused { .. })));
    assert!(region.iommu_notifiers().unwrap().is_empty());
    assert!(register().is_ok());
}
