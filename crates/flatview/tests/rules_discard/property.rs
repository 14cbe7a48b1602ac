//! Random changes and listeners: everybody shows what a set says is populated.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use flatview::discard::register;
use flatview::{AddressRange, ListenerResult, RamDiscardListener, RamDiscardRegistration, RamSection};
use proptest::prelude::*;

use super::{PIECE, SIZE, World, range};

/// Which pieces a listener shows, by half pieces: sections may end in the middle of one.
struct Shown {
    shown: Mutex<BTreeSet<u64>>,
    double: bool,
    /// Refuses the nth call from now on, if not 0.
    refuses_in: AtomicUsize,
}

const HALF: u64 = PIECE / 2;
const STEP: usize = 0x800;

impl RamDiscardListener for Shown {
    fn notify_populate(&self, section: RamSection) -> ListenerResult {
        let left = self.refuses_in.load(Ordering::Relaxed);
        self.refuses_in.store(left.saturating_sub(1), Ordering::Relaxed);
        if left == 1 {
            return Err("enough".into());
        }
        let bytes = section.bytes();
        assert_eq!(section.address(), 0x10_0000 + bytes.start());
        for at in (bytes.start()..=bytes.last()).step_by(STEP) {
            assert!(self.shown.lock().unwrap().insert(at), "{at:#x} is shown already");
        }
        Ok(())
    }

    fn notify_discard(&self, section: RamSection) {
        let bytes = section.bytes();
        for at in (bytes.start()..=bytes.last()).step_by(STEP) {
            let was_shown = self.shown.lock().unwrap().remove(&at);
            assert!(was_shown || self.double, "{at:#x} is not shown");
        }
    }

    fn double_discard_supported(&self) -> bool {
        self.double
    }
}

#[derive(Clone, Debug)]
enum Step {
    Populate(u64, u64),
    Discard(u64, u64),
    /// From and to in halves, double, and after how many calls it refuses.
    Join(u64, u64, bool, usize),
    Leave(usize),
    Refuse(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let pieces = SIZE / PIECE;
    let some = (0..pieces, 1..6_u64).prop_map(move |(start, count)| (start, count.min(pieces - start)));
    prop_oneof![
        4 => some.clone().prop_map(|(start, count)| Step::Populate(start, count)),
        4 => some.prop_map(|(start, count)| Step::Discard(start, count)),
        2 => (0..2 * pieces, 1..2 * pieces, any::<bool>(), 0..4_usize).prop_map(
            move |(start, count, double, refuses)| Step::Join(start, count.min(2 * pieces - start), double, refuses)
        ),
        1 => (0..4_usize).prop_map(Step::Leave),
        2 => (0..4_usize, 1..3_usize).prop_map(|(who, calls)| Step::Refuse(who, calls)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// S1, S3: the manager equals a set of pieces, and each listener shows what of it lies in its section.
    #[test]
    fn everybody_shows_what_is_populated(steps in proptest::collection::vec(step(), 1..80)) {
        let world = World::new();
        let mut model: BTreeSet<u64> = BTreeSet::new();
        let mut listeners: Vec<(AddressRange, Arc<Shown>, RamDiscardRegistration)> = Vec::new();
        for step in steps {
            match step {
                Step::Populate(start, count) => {
                    let halves = start * 2..(start + count) * 2;
                    if world.plugged.populate(range(start * PIECE, count * PIECE)).is_ok() {
                        model.extend(halves);
                    }
                }
                Step::Discard(start, count) => {
                    world.plugged.discard(range(start * PIECE, count * PIECE)).unwrap();
                    model.retain(|half| !(start * 2..(start + count) * 2).contains(half));
                }
                Step::Join(start, count, double, refuses) => {
                    let bytes = range(start * HALF, count * HALF);
                    let shown = Arc::new(Shown {
                        shown: Mutex::default(),
                        double,
                        refuses_in: AtomicUsize::new(refuses),
                    });
                    let section = world.section(0x10_0000).part(bytes).unwrap();
                    match register(&world.manager, section, shown.clone()) {
                        Ok(registration) => listeners.push((bytes, shown, registration)),
                        Err(_) => assert!(shown.shown.lock().unwrap().is_empty()),
                    }
                }
                Step::Leave(who) if who < listeners.len() => {
                    let (_, shown, registration) = listeners.swap_remove(who);
                    drop(registration);
                    assert!(shown.shown.lock().unwrap().is_empty());
                }
                Step::Refuse(who, calls) if who < listeners.len() => {
                    listeners[who].1.refuses_in.store(calls, Ordering::Relaxed);
                }
                Step::Leave(_) | Step::Refuse(..) => {}
            }
            let within = |bytes: AddressRange| -> BTreeSet<u64> {
                let halves = model.iter().map(|half| half * HALF);
                halves.filter(|&at| bytes.contains(at)).collect()
            };
            for (bytes, shown, _) in &listeners {
                assert_eq!(*shown.shown.lock().unwrap(), within(*bytes));
            }
            let mut populated = BTreeSet::new();
            let mut discarded = BTreeSet::new();
            let window = range(HALF, SIZE - PIECE);
            let halves = |part: AddressRange| (part.start()..=part.last()).step_by(STEP);
            world.manager.replay_populated(window, &mut |part| {
                populated.extend(halves(part));
                assert!(world.manager.is_populated(part));
                Ok(())
            }).unwrap();
            world.manager.replay_discarded(window, &mut |part| {
                discarded.extend(halves(part));
                assert!(!world.manager.is_populated(part));
                Ok(())
            }).unwrap();
            assert_eq!(populated, within(window));
            assert_eq!(populated.len() + discarded.len(), halves(window).count());
            assert!(populated.is_disjoint(&discarded));
        }
    }
}
