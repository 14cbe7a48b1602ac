//! Random changes of page tables: what notifiers heard equals the tables, and accesses equal a model.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use flatview::{
    AddressRange, Endianness, IommuAccess, IommuEvents, IommuNotifier, IommuRegistration, IotlbEventKind,
};
use proptest::prelude::*;

use super::tables::{ATTRS, LARGE, PAGE, SECURE, World, permission, range};

/// Where a page leads.
type Pages = BTreeMap<u64, Page>;
type Page = (u64, IommuAccess);

/// A few places in which changes meet.
const SLOTS: u64 = 3;
const IN_SLOT: [u64; 4] = [0, 1, 2, 511];

#[derive(Clone, Debug)]
enum Step {
    Map {
        index: u32,
        slot: u64,
        page: usize,
        target: u64,
        bits: u64,
    },
    MapLarge {
        index: u32,
        slot: u64,
        target: u64,
        bits: u64,
    },
    /// A new notifier, told what there is.
    Join {
        index: u32,
        range: (u64, u64),
        by_itself: bool,
    },
    Leave(usize),
    Access {
        index: u32,
        slot: u64,
        page: usize,
        is_write: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (index, slot, page) = (0..2_u32, 0..SLOTS, 0..IN_SLOT.len());
    let place = (index.clone(), slot.clone(), page.clone());
    let edge = prop_oneof![
        Just(0),
        Just(PAGE),
        Just(2 * PAGE),
        Just(LARGE),
        Just(LARGE + PAGE),
        Just(2 * LARGE)
    ];
    prop_oneof![
        6 => (place.clone(), 0..0x800_u64, 0..4_u64).prop_map(|((index, slot, page), target, bits)| {
            Step::Map { index, slot, page, target: target * PAGE, bits }
        }),
        2 => (index.clone(), slot, 0..4_u64, 0..4_u64).prop_map(|(index, slot, target, bits)| {
            Step::MapLarge { index, slot, target: target * LARGE, bits }
        }),
        1 => (index, (edge.clone(), edge), any::<bool>()).prop_map(|(index, (a, b), by_itself)| {
            Step::Join { index, range: (a.min(b), a.max(b) + PAGE), by_itself }
        }),
        1 => (0..4_usize).prop_map(Step::Leave),
        4 => (place, any::<bool>()).prop_map(|((index, slot, page), is_write)| {
            Step::Access { index, slot, page, is_write }
        }),
    ]
}

/// Somebody's copy of the translations, kept true by notifications.
struct Tlb {
    pages: Arc<Mutex<Pages>>,
    registration: IommuRegistration,
}

impl Tlb {
    fn join(world: &World, index: u32, bytes: AddressRange) -> Tlb {
        let pages: Arc<Mutex<Pages>> = Arc::default();
        let notifier = IommuNotifier::new(IommuEvents::IOTLB, bytes, index, {
            let pages = Arc::clone(&pages);
            move |event| {
                let entry = &event.entry;
                let mut pages = pages.lock().unwrap();
                for iova in (entry.iova..=entry.iova + entry.address_mask).step_by(PAGE as usize) {
                    let target = entry.translated_address + (iova - entry.iova);
                    let old = match event.kind {
                        IotlbEventKind::Map => pages.insert(iova, (target, entry.permission)),
                        _ => pages.remove(&iova).and(None),
                    };
                    assert_eq!(old, None, "{iova:#x} was mapped and not unmapped");
                }
            }
        });
        let registration = world.iommu.register_iommu_notifier(notifier).unwrap();
        Tlb { pages, registration }
    }

    fn check(&self, model: &[Pages; 2]) {
        let notifier = self.registration.notifier();
        let within = notifier.range();
        let expected: Pages = model[notifier.index() as usize]
            .range(within.start()..=within.last())
            .map(|(&iova, &leads)| (iova, leads))
            .collect();
        let pages = self.pages.lock().unwrap();
        assert!(
            *pages == expected,
            "{within}: {:?}",
            first_difference(&pages, &expected)
        );
    }
}

/// Large pages make long maps.
fn first_difference(a: &Pages, b: &Pages) -> Option<(u64, Option<Page>, Option<Page>)> {
    let mut all = a.keys().chain(b.keys());
    all.find(|&iova| a.get(iova) != b.get(iova))
        .map(|iova| (*iova, a.get(iova).copied(), b.get(iova).copied()))
}

/// Does one step. The model knows nothing of tables.
fn apply(
    world: &World,
    model: &mut [Pages; 2],
    tlbs: &mut Vec<Tlb>,
    larges: &mut [[bool; 3]; 2],
    step: &Step,
) {
    match *step {
        Step::Map {
            index,
            slot,
            page,
            target,
            bits,
        } => {
            let iova = slot * LARGE + IN_SLOT[page] * PAGE;
            world.map(index, iova, target, bits);
            let pages = &mut model[index as usize];
            let was_large = std::mem::take(&mut larges[index as usize][slot as usize]);
            let changed = if was_large {
                pages.retain(|iova, _| iova / LARGE != slot);
                range(slot * LARGE, LARGE)
            } else {
                range(iova, PAGE)
            };
            pages.remove(&iova);
            if bits != 0 {
                pages.insert(iova, (target, permission(bits)));
            }
            world.tables.invalidate(index, changed);
        }
        Step::MapLarge {
            index,
            slot,
            target,
            bits,
        } => {
            world.map_large(index, slot * LARGE, target, bits);
            let pages = &mut model[index as usize];
            pages.retain(|iova, _| iova / LARGE != slot);
            larges[index as usize][slot as usize] = bits != 0;
            if bits != 0 {
                let all = (0..LARGE).step_by(PAGE as usize);
                pages.extend(all.map(|at| (slot * LARGE + at, (target + at, permission(bits)))));
            }
            world.tables.invalidate(index, range(slot * LARGE, LARGE));
        }
        Step::Join {
            index,
            range: (start, end),
            by_itself,
        } => {
            world
                .tables
                .replays_itself
                .store(by_itself, std::sync::atomic::Ordering::Relaxed);
            let tlb = Tlb::join(world, index, range(start, end - start));
            tlb.registration.replay().unwrap();
            tlbs.push(tlb);
        }
        Step::Leave(which) => {
            if which < tlbs.len() {
                tlbs.swap_remove(which);
            }
        }
        Step::Access {
            index,
            slot,
            page,
            is_write,
        } => {
            let iova = slot * LARGE + IN_SLOT[page] * PAGE;
            let attrs = [ATTRS, SECURE][index as usize];
            let (target, allowed) = match model[index as usize].get(&iova) {
                Some(&(target, allowed)) => (Some(target), allowed),
                None => (None, IommuAccess::empty()),
            };
            let entry = world.dma.iotlb_entry(iova + 0x123, is_write, attrs);
            if is_write {
                // A mark in the second word; the first says which page it is.
                let mark = iova ^ 0x5555;
                let stored = world.dma.store(iova + 8, mark, Endianness::Little, attrs);
                assert_eq!(stored.is_ok(), allowed.contains(IommuAccess::WRITE));
                if let Some(target) = target.filter(|_| stored.is_ok()) {
                    let found = world.board.space.load(target + 8, Endianness::Little, ATTRS);
                    assert_eq!(found, Ok(mark));
                }
                assert_eq!(entry.is_ok(), stored.is_ok());
            } else {
                let loaded = world.dma.load::<u64>(iova, Endianness::Little, attrs).ok();
                assert_eq!(loaded, target.filter(|_| allowed.contains(IommuAccess::READ)));
                assert_eq!(entry.is_ok(), loaded.is_some());
            }
            if let (Ok(entry), Some(target)) = (entry, target) {
                assert_eq!(entry.translated_address + (iova - entry.iova), target);
                assert_eq!(entry.permission, allowed);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    /// O2, O10, O11, O14, O16.
    #[test]
    fn copies_of_translations_stay_true(steps in proptest::collection::vec(step(), 1..60)) {
        let world = World::new();
        let mut model = [Pages::new(), Pages::new()];
        let mut larges = [[false; 3]; 2];
        let mut tlbs = vec![
            Tlb::join(&world, 0, range(0, super::tables::REACH)),
            Tlb::join(&world, 1, range(PAGE, LARGE)),
        ];
        for step in &steps {
            apply(&world, &mut model, &mut tlbs, &mut larges, step);
            for tlb in &tlbs {
                tlb.check(&model);
            }
        }
    }
}
