//! O7 to O15: who hears how translations change.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use flatview::{
    AddressRange, IommuAccess, IommuError, IommuEvents, IommuNotifier, IotlbEntry, IotlbEvent, IotlbEventKind,
};

use super::tables::{LARGE, PAGE, R, REACH, W, World, permission, range};

pub(crate) const UNMAP: IommuEvents = IommuEvents::UNMAP;
pub(crate) const MAP: IommuEvents = IommuEvents::MAP;
pub(crate) const DEV: IommuEvents = IommuEvents::DEVIOTLB_UNMAP;
pub(crate) const NONE: IommuEvents = IommuEvents::empty();

/// What notifiers heard, each line behind the notifier's name.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    pub(crate) fn notifier(
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
    pub(crate) fn heard(&self, expected: &[&str]) {
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
