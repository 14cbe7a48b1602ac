//! What changes of the tree cost.

use std::collections::BTreeMap;
use std::time::Duration;

use flatview_bench::measure::{Cost, once, repeat};
use flatview_bench::peers::{ClonedVec, LockedMap, VmDevice, entry};
use flatview_bench::scenes::{BusMasters, Others, Pci, Windows, window};

use crate::table::{Gates, MS, Result, US, ratio};

fn toggle(budget: Duration, count: usize, others: Others) -> Result<Cost> {
    const PAIRS: usize = 50;
    let scene = Windows::new(count, others)?;
    let index = count / 2;
    let mut failed = None;
    let cost = repeat(budget, 2 * PAIRS, || {
        for _ in 0..PAIRS {
            let done = scene.set(index, false).and_then(|()| scene.set(index, true));
            failed = failed.take().or(done.err());
        }
    });
    failed.map_or(Ok(cost.per(US)), |failure| Err(failure.into()))
}

fn toggle_anywhere(budget: Duration, count: usize) -> Result<Cost> {
    const PAIRS: usize = 50;
    let scene = Windows::new(count, Others::None)?;
    let mut state = 1_usize;
    let cost = repeat(budget, 2 * PAIRS, || {
        for _ in 0..PAIRS {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let index = (state >> 33) % count;
            scene
                .set(index, false)
                .and_then(|()| scene.set(index, true))
                .expect("a window can be toggled");
        }
    });
    Ok(cost.per(US))
}

fn toggle_references(budget: Duration, count: usize) -> Result<[(&'static str, f64); 3]> {
    const PAIRS: usize = 10;
    let index = count / 2;
    let vec = ClonedVec::new(count);
    let vec = repeat(budget, 2 * PAIRS, || {
        for _ in 0..PAIRS {
            vec.remove(index);
            vec.insert(entry(index));
        }
    });
    let map = LockedMap::new(count);
    let map = repeat(budget, 2 * PAIRS, || {
        for _ in 0..PAIRS {
            map.remove(index);
            map.insert(entry(index));
        }
    });
    let mut bus = VmDevice::new(count)?;
    let bus = repeat(budget, 2 * PAIRS, || {
        for _ in 0..PAIRS {
            bus.remove(index);
            bus.insert(index).expect("the place is free");
        }
    });
    Ok([
        ("vec clone", vec.per(US).least),
        ("btree+lock", map.per(US).least),
        ("vm-device", bus.per(US).least),
    ])
}

pub(crate) fn commit(gates: &mut Gates) -> Result<()> {
    const GROUP: &str = "commit";
    let budget = gates.budget;
    let mut alone = BTreeMap::new();
    for count in [10, 100, 1_000, 10_000] {
        let cost = toggle(budget, count, Others::None)?;
        alone.insert(count, cost);
        let row = gates.add(GROUP, format!("toggle 1 of {count}"), "us", cost);
        for (name, value) in toggle_references(budget / 4, count)? {
            row.beside(name, value);
        }
        if count == 10_000 {
            row.at_most(5.0);
        }
    }
    let growth = ratio(alone[&10_000], alone[&10]);
    gates
        .add(GROUP, "toggle at 10000 : at 10", "x", growth)
        .at_most(4.0);
    let cost = toggle_anywhere(budget, 10_000)?;
    gates.add(GROUP, "toggle any of 10000", "us", cost);
    for count in [10, 1_000, 10_000] {
        let cost = toggle(budget, count, Others::Sharing(50))?;
        // The same but for noise.
        gates
            .add(
                GROUP,
                format!("{count}, 50 spaces share: none"),
                "x",
                ratio(cost, alone[&count]),
            )
            .beside("us", cost.least)
            .at_most(1.1);
    }
    for (name, others) in [
        ("smaller", Others::Smaller(50)),
        ("2 children", Others::TwoChildren(50)),
    ] {
        for count in [10, 1_000, 10_000] {
            let cost = toggle(budget, count, others)?;
            gates
                .add(
                    GROUP,
                    format!("{count}, 50 {name}: none"),
                    "x",
                    ratio(cost, alone[&count]),
                )
                .beside("us", cost.least)
                .at_most(50.0);
        }
    }
    Ok(())
}

pub(crate) fn build(gates: &mut Gates) -> Result<()> {
    const GROUP: &str = "build";
    const COUNT: usize = 10_000;
    let repetitions = (gates.budget.as_millis() / 20).max(3);
    let (mut made, mut mapped, mut unmapped) = (Vec::new(), Vec::new(), Vec::new());
    let (mut map, mut dropped) = (Vec::new(), Vec::new());
    for _ in 0..repetitions {
        let mut scene = Windows::unmapped(0, Others::None)?;
        let (spent, windows) = once(|| (0..COUNT).map(|index| window(&scene.memory, index)).collect());
        made.push(spent);
        scene.windows = windows;
        let (spent, result) = once(|| scene.map_all());
        result?;
        mapped.push(spent);
        let (spent, result) = once(|| {
            scene.memory.update(|tx| {
                scene
                    .windows
                    .iter()
                    .try_for_each(|window| tx.del_subregion(&scene.system, window))
            })
        });
        result?;
        unmapped.push(spent);
        scene.map_all()?;
        dropped.push(once(|| drop(scene)).0);
        map.push(once(|| LockedMap::new(COUNT)).0);
    }
    let bus = once(|| VmDevice::new(COUNT));
    bus.1?;
    gates
        .add(GROUP, "map 10000, 1 transaction", "ms", Cost::of(mapped).per(MS))
        .beside("btree+lock", Cost::of(map).per(MS).least)
        .beside("vm-device", bus.0 / MS)
        .at_most(20.0);
    gates.add(GROUP, "make 10000 regions", "ms", Cost::of(made).per(MS));
    gates.add(
        GROUP,
        "unmap 10000, 1 transaction",
        "ms",
        Cost::of(unmapped).per(MS),
    );
    gates.add(GROUP, "drop the machine", "ms", Cost::of(dropped).per(MS));
    Ok(())
}

pub(crate) fn pci(gates: &mut Gates) -> Result<()> {
    const GROUP: &str = "pci";
    const DEVICES: usize = 200;
    const PAIRS: usize = 20;
    for (name, masters) in [
        ("shared", BusMasters::Sharing),
        ("as QEMU", BusMasters::SharingAndOwnBar),
        ("own views", BusMasters::TwoChildren),
    ] {
        let scene = Pci::new(DEVICES, masters)?;
        // Every repetition with own views changes 201 views 200 or 600 times.
        let repetitions = match masters {
            BusMasters::Sharing | BusMasters::SharingAndOwnBar => (gates.budget.as_millis() / 10).max(3),
            BusMasters::TwoChildren => 3,
        };
        let (mut per_device, mut per_bar) = (Vec::new(), Vec::new());
        for _ in 0..repetitions {
            let (spent, result) = once(|| scene.map_all_one_by_one());
            result?;
            per_bar.push(spent);
            scene.unmap_all()?;
            let (spent, result) = once(|| scene.map_all());
            result?;
            per_device.push(spent);
            scene.unmap_all()?;
        }
        scene.map_all()?;
        let cost = repeat(gates.budget, 2 * PAIRS, || {
            for _ in 0..PAIRS {
                scene
                    .unmap(DEVICES / 2)
                    .and_then(|()| scene.map(DEVICES / 2))
                    .expect("BARs can be toggled");
            }
        });
        let rows = [
            ("toggle 3 BARs", "us", cost.per(US), 50.0),
            ("place all, per device", "ms", Cost::of(per_device).per(MS), 50.0),
            ("place all, per BAR", "ms", Cost::of(per_bar).per(MS), 50.0),
        ];
        for (what, unit, cost, limit) in rows {
            let row = gates.add(GROUP, format!("{what}, {name}"), unit, cost);
            if masters != BusMasters::TwoChildren {
                row.at_most(limit);
            }
        }
    }
    Ok(())
}
