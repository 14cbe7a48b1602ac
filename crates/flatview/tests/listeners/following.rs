//! Listeners that follow a machine through thousands of random changes, some of which fail: what each keeps is
//! always what the view says.

use std::collections::BTreeMap;
use std::sync::Arc;

use flatview::listeners::{
    Callback, GuestMemoryDump, GuestPhysBlock, RecordingListener, VfioListener, VhostError, VhostListener,
};
use flatview::{AddressRange, Error, FlatRange, MemoryListener, RegionKind, Registration};

use crate::machine::Machine;
use crate::models::{Backend, Container, QemuVhost, expected_pages};
use crate::random::Random;
use crate::walk::Walk;

/// The consumers of one machine, all registered.
struct Followers {
    machine: Machine,
    vhost: Arc<VhostListener<Arc<Backend>>>,
    qemu_vhost: Arc<QemuVhost>,
    container: Arc<Container>,
    vfio: Arc<VfioListener<Arc<Container>>>,
    saboteur: Arc<RecordingListener>,
    registrations: Vec<Registration>,
}

impl Followers {
    fn new(machine: Machine, limit: Option<usize>) -> Followers {
        let backend = Arc::new(Backend {
            limit,
            ..Backend::default()
        });
        let container = Arc::new(Container::default());
        let vfio = VfioListener::new("vfio", container.clone()).with_page_sizes(0x1000, 0x2000);
        let mut followers = Followers {
            vhost: Arc::new(VhostListener::new("vhost", backend)),
            qemu_vhost: Arc::new(QemuVhost::default()),
            container,
            vfio: Arc::new(vfio.unwrap()),
            saboteur: Arc::new(machine.recorder("saboteur", 5)),
            registrations: Vec::new(),
            machine,
        };
        let listeners: [Arc<dyn MemoryListener>; 4] = [
            followers.qemu_vhost.clone(),
            followers.vhost.clone(),
            followers.vfio.clone(),
            followers.saboteur.clone(),
        ];
        for listener in listeners {
            followers
                .registrations
                .push(followers.machine.space.register(listener).unwrap());
        }
        followers
    }

    #[track_caller]
    fn check(&self) {
        let view = self.machine.space.view();
        let table = self.vhost.table();
        assert_eq!(table, *self.qemu_vhost.table.lock().unwrap());
        assert_eq!(
            self.vhost
                .backend()
                .sent
                .lock()
                .unwrap()
                .last()
                .cloned()
                .unwrap_or_default(),
            table
        );

        let mut pages = BTreeMap::new();
        let state = self.container.0.lock().unwrap();
        for (&iova, &(size, vaddr, readonly)) in &state.maps {
            for offset in (0..size).step_by(0x1000) {
                pages.insert(
                    iova + offset,
                    (vaddr + usize::try_from(offset).unwrap(), readonly),
                );
            }
        }
        assert_eq!(pages, expected_pages(&view), "{view:?}");
        let mapped = self.vfio.mappings();
        let mapped = mapped
            .iter()
            .map(|map| (map.iova, (map.size, map.vaddr, map.readonly)));
        assert!(mapped.eq(state.maps.iter().map(|(&iova, &map)| (iova, map))));
        let is_attached = |range: &&FlatRange| {
            let whole_pages = range.start().next_multiple_of(0x1000) < (range.last() + 1) & !0xfff;
            let aligned = (range.start() ^ range.offset_in_region()) & 0xfff == 0;
            range.region().kind() == RegionKind::Iommu && range.start() >> 63 == 0 && aligned && whole_pages
        };
        let attached = view.iter().filter(is_attached).map(|range| range.start());
        assert!(attached.eq(state.attached.keys().copied()), "{view:?}");
    }
}

/// X1 to X4, X7 to X10, and rollback: in a quarter of the changes somebody fails somewhere.
#[test]
fn x1_x7_tables_and_mappings_follow_every_change_and_no_failed_one() {
    let (mut succeeded, mut failed) = (0, 0);
    for seed in 1..=40 {
        let mut random = Random::new(seed);
        let (machine, walk) = Walk::new();
        let followers = Followers::new(machine, None);
        for _ in 0..80 {
            // One of them at most, so that none fails in taking back what another one failed in.
            match random.below(8) {
                0 => {
                    let callbacks = [
                        Callback::Prepare,
                        Callback::Begin,
                        Callback::RegionAdd,
                        Callback::RegionDel,
                        Callback::Commit,
                    ];
                    followers
                        .saboteur
                        .fail_in(*random.pick(&callbacks), random.below(2) as usize);
                }
                1 => *followers.vhost.backend().failing.lock().unwrap() = true,
                2 => followers.container.0.lock().unwrap().failing = Some(random.below(4) as usize),
                _ => {}
            }
            let before = followers.machine.ranges();
            let done = followers.machine.memory.update(|tx| walk.step(tx, &mut random));
            followers.container.0.lock().unwrap().failing = None;
            *followers.vhost.backend().failing.lock().unwrap() = false;
            followers.saboteur.clear_failures();
            match done {
                Ok(_) => succeeded += 1,
                Err(error) => {
                    assert!(
                        matches!(error, Error::Refused { .. } | Error::ListenerFailed { .. }),
                        "{error}"
                    );
                    assert_eq!(followers.machine.ranges(), before);
                    failed += 1;
                }
            }
            followers.check();
        }
        let Followers {
            registrations,
            vhost,
            container,
            ..
        } = followers;
        drop(registrations);
        assert!(vhost.table().is_empty());
        let state = container.0.lock().unwrap();
        assert!(state.maps.is_empty() && state.attached.is_empty());
    }
    assert!(succeeded > 1000 && failed > 200, "{succeeded} {failed}");
}

/// X4, X5: with a ring in use and few slots, what vhost cannot live with never happens.
#[test]
fn x4_x5_the_table_stays_within_its_limit_and_rings_stay_where_they_are() {
    let (mut moved, mut full) = (0, 0);
    for seed in 1..=40 {
        let mut random = Random::new(seed);
        let (machine, walk) = Walk::new();
        let followers = Followers::new(machine, Some(3));
        let mut ring = None;
        for step in 0..80 {
            if step % 10 == 0 {
                let table = followers.vhost.table();
                ring = table.first().map(|region| {
                    let range = AddressRange::new(region.guest_phys_addr, region.memory_size.min(0x400));
                    followers.vhost.map_ring(range.unwrap()).unwrap()
                });
            }
            match followers.machine.memory.update(|tx| walk.step(tx, &mut random)) {
                Ok(_) => {}
                Err(Error::Refused { source, .. }) => match source.downcast_ref::<VhostError>() {
                    Some(VhostError::RingMoved { .. }) => moved += 1,
                    Some(VhostError::TooManyMemslots {
                        limit: 3,
                        needed: 4..,
                    }) => full += 1,
                    _ => panic!("{source}"),
                },
                Err(error) => panic!("{error}"),
            }
            followers.check();
            assert!(followers.vhost.table().len() <= 3);
            if let Some(ring) = &ring {
                let again = followers.vhost.map_ring(ring.range()).unwrap();
                assert_eq!(again.userspace_addr(), ring.userspace_addr());
            }
        }
    }
    assert!(moved > 50 && full > 50, "{moved} {full}");
}

/// X15: a dump is the view, less what is no RAM, merged.
#[test]
fn x15_a_dump_has_every_byte_of_ram_once() {
    for seed in 1..=20 {
        let mut random = Random::new(seed);
        let (machine, walk) = Walk::new();
        for _ in 0..40 {
            machine.update(|tx| walk.step(tx, &mut random));
            let blocks = GuestMemoryDump::new()
                .with_nonvolatile()
                .blocks(&machine.space)
                .unwrap();
            let apart = |pair: &[GuestPhysBlock]| pair[0].range.last() < pair[1].range.start();
            assert!(blocks.windows(2).all(apart), "X15: ascending and disjoint");
            let volatile = GuestMemoryDump::new().blocks(&machine.space).unwrap();
            for range in machine.space.view().iter() {
                let holds = |block: &GuestPhysBlock| {
                    let inside = block.range.contains(range.start());
                    let offset = range.start().wrapping_sub(block.range.start());
                    assert!(!inside || (&block.region == range.region()));
                    inside && block.offset_in_region + offset == range.offset_in_region()
                };
                let block_size = range.region().ram_block().map_or(0, |block| block.size().bytes());
                let is_ram = range.region().kind() == RegionKind::Ram
                    && u128::from(range.offset_in_region()) < block_size;
                assert_eq!(blocks.iter().any(holds), is_ram, "{range:?} {blocks:?}");
                assert_eq!(
                    volatile.iter().any(holds),
                    is_ram && !range.is_nonvolatile(),
                    "D6: {range:?}"
                );
            }
        }
    }
}
