//! What look-ups cost.

use std::time::Duration;

use flatview::Reader;
use flatview_bench::addresses::{LOOKUPS, Pattern, latency, sequential, throughput};
use flatview_bench::measure::{Cost, repeat};
use flatview_bench::peers::{BareStarts, LockedMap, VmDevice, VmMemory};
use flatview_bench::scenes::{Banks, Others, Windows};

use crate::table::{Gates, Result};

pub(crate) fn looked_up(budget: Duration, work: impl FnMut()) -> Cost {
    repeat(budget, LOOKUPS, work)
}

pub(crate) fn look(reader: &mut Reader, address: u64) -> u64 {
    match reader.find(address) {
        Some(range) => range.start() ^ range.offset_in_region(),
        None => 0,
    }
}

pub(crate) fn ram(gates: &mut Gates) -> Result<()> {
    const GROUP: &str = "ram";
    let budget = gates.budget / 2;
    let brief = budget / 4;
    for count in [1, 4, 16, 256, 10_000] {
        let scene = Banks::new(count)?;
        let mut reader = scene.space.reader();
        let (bare, map, peer) = (
            BareStarts::banks(count),
            LockedMap::banks(count),
            VmMemory::banks(count),
        );
        let pattern = Pattern::one_bank(count);
        let cost = looked_up(budget, || sequential(pattern, |a| look(&mut reader, a)));
        let of = |find: &dyn Fn()| looked_up(brief, find).least;
        gates
            .add(GROUP, format!("hot, {count} ranges"), "ns", cost)
            .at_most(2.5)
            .beside("load", of(&|| sequential(pattern, |a| a ^ bare.load())))
            .beside(
                "load+search",
                of(&|| sequential(pattern, |a| bare.find(a).unwrap_or(0))),
            )
            .beside(
                "vm-memory",
                of(&|| sequential(pattern, |a| peer.find_region(a).unwrap_or(0))),
            )
            .beside(
                "vm-memory atomic",
                of(&|| sequential(pattern, |a| peer.find_region_atomic(a).unwrap_or(0))),
            )
            .beside(
                "vm-memory read_obj",
                of(&|| sequential(pattern, |a| peer.read(a).unwrap_or(0))),
            )
            .beside(
                "btree+lock",
                of(&|| sequential(pattern, |a| map.find(a).unwrap_or(0))),
            );
        if count != 256 {
            continue;
        }
        let pattern = Pattern::banks(count);
        let cost = looked_up(budget, || throughput(pattern, |a| look(&mut reader, a)));
        gates
            .add(GROUP, "random of 256, throughput", "ns", cost)
            .at_most(20.0)
            .beside("load", of(&|| throughput(pattern, |a| a ^ bare.load())))
            .beside(
                "load+search",
                of(&|| throughput(pattern, |a| bare.find(a).unwrap_or(0))),
            )
            .beside(
                "vm-memory",
                of(&|| throughput(pattern, |a| peer.find_region(a).unwrap_or(0))),
            )
            .beside(
                "vm-memory atomic",
                of(&|| throughput(pattern, |a| peer.find_region_atomic(a).unwrap_or(0))),
            )
            .beside(
                "btree+lock",
                of(&|| throughput(pattern, |a| map.find(a).unwrap_or(0))),
            );
        let cost = looked_up(budget, || latency(pattern, |a| look(&mut reader, a)));
        gates
            .add(GROUP, "random of 256, latency", "ns", cost)
            .at_most(35.0)
            .beside("load", of(&|| latency(pattern, |a| a ^ bare.load())))
            .beside(
                "load+search",
                of(&|| latency(pattern, |a| bare.find(a).unwrap_or(0))),
            )
            .beside(
                "vm-memory",
                of(&|| latency(pattern, |a| peer.find_region(a).unwrap_or(0))),
            )
            .beside(
                "vm-memory atomic",
                of(&|| latency(pattern, |a| peer.find_region_atomic(a).unwrap_or(0))),
            )
            .beside(
                "btree+lock",
                of(&|| latency(pattern, |a| map.find(a).unwrap_or(0))),
            );
    }
    Ok(())
}

pub(crate) fn mmio(gates: &mut Gates) -> Result<()> {
    const GROUP: &str = "mmio";
    let budget = gates.budget / 2;
    let brief = budget / 4;
    let mut latencies = Vec::new();
    for (count, limit) in [(10, 8.0), (100, 14.0), (1_000, 20.0), (10_000, 35.0)] {
        let scene = Windows::new(count, Others::None)?;
        let mut reader = scene.space.reader();
        let (bare, map, bus) = (
            BareStarts::windows(count),
            LockedMap::new(count),
            VmDevice::new(count)?,
        );
        let pattern = Pattern::windows(count);
        let of = |find: &dyn Fn()| looked_up(brief, find).least;
        let cost = looked_up(budget, || throughput(pattern, |a| look(&mut reader, a)));
        gates
            .add(GROUP, format!("random of {count}, throughput"), "ns", cost)
            .at_most(limit)
            .beside("load", of(&|| throughput(pattern, |a| a ^ bare.load())))
            .beside(
                "load+search",
                of(&|| throughput(pattern, |a| bare.find(a).unwrap_or(0))),
            )
            .beside(
                "vm-device",
                of(&|| throughput(pattern, |a| bus.find(a).unwrap_or(0))),
            )
            .beside(
                "btree+lock",
                of(&|| throughput(pattern, |a| map.find(a).unwrap_or(0))),
            );
        let cost = looked_up(budget, || latency(pattern, |a| look(&mut reader, a)));
        latencies.push((
            count,
            cost,
            [
                ("load", of(&|| latency(pattern, |a| a ^ bare.load()))),
                (
                    "load+search",
                    of(&|| latency(pattern, |a| bare.find(a).unwrap_or(0))),
                ),
                (
                    "vm-device",
                    of(&|| latency(pattern, |a| bus.find(a).unwrap_or(0))),
                ),
                (
                    "btree+lock",
                    of(&|| latency(pattern, |a| map.find(a).unwrap_or(0))),
                ),
            ],
        ));
    }
    for (count, cost, references) in latencies {
        let row = gates.add(GROUP, format!("random of {count}, latency"), "ns", cost);
        for (name, value) in references {
            row.beside(name, value);
        }
    }
    Ok(())
}
