//! The incremental way against the full one: after every random transaction each view equals a rendering from
//! nothing, and so does what the counters say about it.

use super::*;
use crate::access::{MemTxAttrs, MemTxError, MemoryRegionOps};
use crate::ioeventfd::EventNotifier;
use crate::memory::Memory;
use crate::ram::RamBlock;
use crate::test_random::Random;
use crate::{GlobalDirty, Size};

struct Nobody;

impl MemoryRegionOps for Nobody {
    fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Err(MemTxError::DECODE_ERROR)
    }

    fn write(&self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        Err(MemTxError::DECODE_ERROR)
    }
}

fn size(random: &mut Random) -> Size {
    match random.below(12) {
        0 => Size::ZERO,
        1 => Size::MAX,
        2 => Size::from(1 << random.below(64)),
        _ => Size::from(1 + random.below(0x100)),
    }
}

fn address(random: &mut Random) -> u64 {
    match random.below(10) {
        0 => u64::MAX - random.below(0x100),
        1 => 1 << random.below(64),
        2 => 0,
        _ => random.below(0x400),
    }
}

fn machine(memory: &Memory, random: &mut Random) -> Vec<Region> {
    let mut regions: Vec<Region> = Vec::new();
    for index in 0..24 {
        let builder = memory
            .region("r")
            .readonly(random.chance(6))
            .enabled(!random.chance(8));
        let builder = builder
            .unmergeable(random.chance(12))
            .nonvolatile(random.chance(12));
        regions.push(match random.below(6) {
            0..2 => builder.container(size(random)),
            2 => builder.io(size(random), Arc::new(Nobody)),
            3 => builder.rom_device(RamBlock::unbacked(0x80), Arc::new(Nobody)),
            4 => builder.ram(RamBlock::unbacked(1 + random.below(0x200))),
            _ if index == 0 => builder.container(Size::MAX),
            _ => {
                let target = random.pick(&regions).clone();
                builder.alias(&target, random.below(0x100), size(random)).unwrap()
            }
        });
    }
    regions
}

fn change(tx: &mut Transaction<'_>, regions: &[Region], random: &mut Random) {
    let region = random.pick(regions);
    let on = random.chance(2);
    // What is refused changes nothing, and that is what is wanted here.
    let _ = match random.below(15) {
        0..4 => {
            let container = random.pick(regions);
            let priority = i32::try_from(random.below(4)).unwrap() - 1;
            tx.add_subregion_overlap(container, address(random), region, priority)
        }
        4 => match region.state().unwrap().container {
            Some(container) => tx.del_subregion(&container, region),
            None => Ok(()),
        },
        5..7 => tx.set_address(region, address(random)),
        7 => tx.set_size(region, size(random)),
        8 => tx.set_enabled(region, on),
        9 => tx.set_readonly(region, on),
        10 => tx.set_unmergeable(region, on),
        11 => tx.set_alias_offset(region, random.below(0x200)),
        12 => tx.rom_device_set_romd(region, on),
        13 => tx.set_log(region, on),
        _ => match random.below(3) {
            0 => tx.add_coalescing(region, random.below(8), 1 + random.below(16)),
            1 => tx.clear_coalescing(region),
            _ => {
                let notifier = EventNotifier::new(std::io::stdin());
                tx.add_eventfd(region, random.below(16), 4, None, &notifier)
            }
        },
    };
}

#[test]
fn incremental_views_equal_full_renderings() {
    for seed in 0..500 {
        let mut random = Random::new(seed);
        let memory = Memory::new();
        let regions = machine(&memory, &mut random);
        let mut spaces = Vec::new();
        for step in 0..40 {
            if random.chance(6) {
                let root = random.pick(&regions);
                spaces.extend(memory.create_address_space("space", root).ok());
            }
            if random.chance(20) && !spaces.is_empty() {
                spaces.remove(0);
            }
            let _ = match random.below(30) {
                0 => memory.global_dirty_log_start(GlobalDirty::MIGRATION),
                1 => memory.global_dirty_log_stop(GlobalDirty::MIGRATION),
                _ => memory.update(|tx| {
                    for _ in 0..=random.below(8) {
                        change(tx, &regions, &mut random);
                    }
                    Ok(())
                }),
            };
            let tree = memory.shared().tree.lock();
            let registry = memory.shared().registry.lock();
            for root in registry.roots() {
                let incremental = &registry.slot(Some(root)).unwrap().view;
                let full = render_view(&tree, root).unwrap();
                assert!(
                    full.shows_the_same_as(incremental),
                    "seed {seed} step {step} root {}\n full {full:#?}\n incremental {incremental:#?}",
                    tree.name(root)
                );
            }
            for entry in registry.entries() {
                assert_eq!(
                    tree.flatview_root(entry.root),
                    entry.slot,
                    "seed {seed} step {step}"
                );
            }
        }
    }
}

#[test]
fn a_commit_costs_what_it_changes() {
    let memory = Memory::new();
    let system = memory.region("system").container(Size::MAX);
    let windows: Vec<_> = (0..1000)
        .map(|_| memory.region("window").reservation(0x1000))
        .collect();
    let space = memory.create_address_space("memory", &system).unwrap();
    let masters: Vec<_> = (0..20)
        .map(|_| {
            let bus = memory.region("bus master container").container(Size::MAX);
            let alias = memory.region("bus master").alias(&system, 0, Size::MAX).unwrap();
            memory.update(|tx| tx.add_subregion(&bus, 0, &alias)).unwrap();
            memory.create_address_space("device", &bus).unwrap()
        })
        .collect();
    memory
        .update(|tx| {
            for (window, address) in windows.iter().zip((0..).step_by(0x2000)) {
                tx.add_subregion(&system, address, window)?;
            }
            Ok(())
        })
        .unwrap();
    let before = space.statistics().unwrap();
    memory.update(|tx| tx.set_enabled(&windows[500], false)).unwrap();
    memory.update(|tx| tx.set_enabled(&windows[500], true)).unwrap();
    let after = masters[7].statistics().unwrap();
    assert_eq!(
        after.published - before.published,
        2,
        "one view for all 21 spaces"
    );
    assert_eq!(after.damaged - before.damaged, 2);
    assert_eq!(after.rendered - before.rendered, 1);
    assert_eq!(space.view().len(), 1000);
    assert!(std::ptr::eq(&*space.view(), &*masters[7].view()), "C31");
}
