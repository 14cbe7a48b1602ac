//! Says in a minute whether the speed targets are met. `--json` for machines, `--markdown` for `docs/benchmarks.md`; `--quick` for a glance;
//! a word selects the groups whose name contains it. Never fails for a target that is missed.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

use flatview::Reader;
use flatview_bench::addresses::{LOOKUPS, Pattern, latency, sequential, throughput};
use flatview_bench::footprint::{CountingAllocator, Footprint};
use flatview_bench::measure::{Cost, once, repeat};
use flatview_bench::peers::{BareStarts, ClonedVec, LockedMap, VmDevice, VmMemory, entry};
use flatview_bench::readers::{Runs, run, with_commits};
use flatview_bench::scenes::{Banks, BusMasters, Others, Pci, Windows, window};
use serde::Serialize;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Serialize)]
struct Row {
    group: &'static str,
    what: String,
    unit: &'static str,
    #[serde(flatten)]
    cost: Cost,
    references: BTreeMap<String, f64>,
    target: Option<Target>,
}

#[derive(Serialize)]
struct Target {
    limit: f64,
    at_least: bool,
    met: bool,
}

struct Gates {
    budget: Duration,
    only: Option<String>,
    rows: Vec<Row>,
}

impl Gates {
    fn wants(&self, group: &str) -> bool {
        self.only.as_ref().is_none_or(|only| group.contains(only))
    }

    fn add(
        &mut self,
        group: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        cost: Cost,
    ) -> &mut Row {
        self.rows.push(Row {
            group,
            what: what.into(),
            unit,
            cost,
            references: BTreeMap::new(),
            target: None,
        });
        self.rows.last_mut().expect("just added")
    }
}

impl Row {
    fn at_most(&mut self, limit: f64) -> &mut Row {
        self.target = Some(Target {
            limit,
            at_least: false,
            met: self.cost.least <= limit,
        });
        self
    }

    fn at_least(&mut self, limit: f64) -> &mut Row {
        self.target = Some(Target {
            limit,
            at_least: true,
            met: self.cost.least >= limit,
        });
        self
    }

    fn beside(&mut self, name: &str, value: f64) -> &mut Row {
        self.references.insert(name.to_owned(), value);
        self
    }
}

fn ratio(a: Cost, b: Cost) -> Cost {
    Cost {
        least: a.least / b.least,
        median: a.median / b.median,
    }
}

fn exactly(value: f64) -> Cost {
    Cost {
        least: value,
        median: value,
    }
}

const US: f64 = 1e3;
const MS: f64 = 1e6;

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

fn commit(gates: &mut Gates) -> Result<()> {
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

fn build(gates: &mut Gates) -> Result<()> {
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

fn pci(gates: &mut Gates) -> Result<()> {
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

fn looked_up(budget: Duration, work: impl FnMut()) -> Cost {
    repeat(budget, LOOKUPS, work)
}

fn look(reader: &mut Reader, address: u64) -> u64 {
    match reader.find(address) {
        Some(range) => range.start() ^ range.offset_in_region(),
        None => 0,
    }
}

fn ram(gates: &mut Gates) -> Result<()> {
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

fn mmio(gates: &mut Gates) -> Result<()> {
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

fn readers(gates: &mut Gates) -> Result<()> {
    const GROUP: &str = "readers";
    const COUNT: usize = 1_000;
    /// So many runs side by side make a verdict.
    const ENOUGH: usize = 5;
    // Shorter than what the scheduler gives at once, so that some runs are undisturbed on a busy machine.
    let duration = Duration::from_millis(6);
    let rounds = (gates.budget.as_millis() / 4).max(20);
    let scene = Windows::new(COUNT, Others::None)?;
    let bare = BareStarts::windows(COUNT);
    let pattern = Pattern::windows(COUNT);
    let looks = |_| {
        let mut reader = scene.space.reader();
        move || throughput(pattern, |a| look(&mut reader, a))
    };
    let loads = |_| || throughput(pattern, |a| a ^ bare.load());
    let mut enabled = true;
    let mut commit = || {
        enabled = !enabled;
        bare.touch();
        scene.set(COUNT / 2, enabled).expect("a window can be toggled");
    };
    let [mut load1, mut load2, mut load3, mut look1, mut look2, mut look3] =
        [(); 6].map(|()| Runs::default());
    let mut rates = Vec::new();
    let begin = Instant::now();
    let enough = |runs: &Runs| runs.counts().0 >= ENOUGH;
    for round in 0.. {
        let all_enough = [&load2, &look2, &load3, &look3].into_iter().all(enough);
        if round >= rounds && (all_enough || begin.elapsed() > gates.budget * 25) {
            break;
        }
        load1.add(run(1, duration, loads));
        look1.add(run(1, duration, looks));
        load2.add(run(2, duration, loads));
        look2.add(run(2, duration, looks));
        for (runs, is_look) in [(&mut load3, false), (&mut look3, true)] {
            let (rate, result) = with_commits(&mut commit, || match is_look {
                true => run(2, duration, looks),
                false => run(2, duration, loads),
            });
            // A committer that did not get its turn would make it look better than it is.
            if rate > 9_000.0 {
                runs.add(result);
                rates.push(rate);
            }
        }
    }
    // The median: the least would be a run in which few commits fell.
    let of = |one: &Runs, two: &Runs| 100.0 * one.cost().median / two.cost().median;
    for (what, load, looked, limit) in [
        ("2 threads, of the bare load's", &load2, &look2, 95.0),
        ("and 10000 commits/s", &load3, &look3, 80.0),
    ] {
        let (loads, looks) = (of(&load1, load), of(&look1, looked));
        let (side_by_side, all) = looked.counts();
        let row = gates.add(GROUP, what, "%", exactly(100.0 * looks / loads));
        row.beside("load scales %", loads)
            .beside("look-up scales %", looks)
            .beside("load ns", load.cost().median)
            .beside("look-up ns", looked.cost().median)
            .beside(&format!("runs side by side of {all}"), side_by_side as f64);
        if enough(load) && enough(looked) {
            row.at_least(limit);
        }
    }
    if let Some(row) = gates.rows.last_mut().filter(|_| !rates.is_empty()) {
        row.beside("commits/s", Cost::of(rates).median);
    }
    Ok(())
}

fn footprint(gates: &mut Gates) -> Result<()> {
    const GROUP: &str = "footprint";
    let bytes = Footprint::measure(10_000, 20_000)?;
    let rows = [
        ("range, view just rendered", "B", bytes.range, Some(100.0)),
        (
            "range, after 20000 toggles",
            "B",
            bytes.range_after_toggles,
            Some(100.0),
        ),
        ("region, mapped", "B", bytes.mapped_region, Some(400.0)),
        ("region, not mapped", "B", bytes.region, None),
        ("allocations of a toggle", "", bytes.allocations_of_a_toggle, None),
    ];
    for (what, unit, value, limit) in rows {
        let row = gates.add(GROUP, what, unit, exactly(value));
        if let Some(limit) = limit {
            row.at_most(limit);
        }
    }
    let small = Footprint::measure(10, 1_000)?;
    gates.add(
        GROUP,
        "allocations of a toggle, 10",
        "",
        exactly(small.allocations_of_a_toggle),
    );
    Ok(())
}

impl Row {
    /// Target, ratio to it, whether it is met.
    fn verdict(&self) -> [String; 3] {
        match &self.target {
            None => Default::default(),
            Some(target) => [
                format!("{}{}", if target.at_least { ">=" } else { "<=" }, target.limit),
                format!("{:.2}", self.cost.least / target.limit),
                (if target.met { "yes" } else { "NO" }).to_owned(),
            ],
        }
    }

    fn references(&self) -> String {
        let references = self
            .references
            .iter()
            .map(|(name, value)| format!("{name} {value:.2}"));
        references.collect::<Vec<_>>().join(", ")
    }
}

fn print(rows: &[Row]) {
    println!(
        "{:<10}{:<30}{:>10}{:>10} {:<3}{:>9}{:>8}  {:<4}references",
        "group", "what", "least", "median", "", "target", "ratio", "met"
    );
    for row in rows {
        let Cost { least, median } = row.cost;
        let [target, ratio, met] = row.verdict();
        println!(
            "{:<10}{:<30}{least:>10.2}{median:>10.2} {:<3}{target:>9}{ratio:>8}  {met:<4}{}",
            row.group,
            row.what,
            row.unit,
            row.references()
        );
    }
}

fn print_json(rows: &[Row]) {
    match serde_json::to_string_pretty(rows) {
        Ok(text) => println!("{text}"),
        Err(failure) => eprintln!("no JSON: {failure}"),
    }
}

fn print_markdown(rows: &[Row]) {
    println!("| group | what | least | median | unit | target | ratio | met | in the same run |");
    println!("|---|---|--:|--:|---|---|--:|---|---|");
    for row in rows {
        let Cost { least, median } = row.cost;
        let [target, ratio, met] = row.verdict();
        println!(
            "| {} | {} | {least:.2} | {median:.2} | {} | {target} | {ratio} | {met} | {} |",
            row.group,
            row.what,
            row.unit,
            row.references()
        );
    }
}

fn main() -> Result<()> {
    let mut gates = Gates {
        budget: Duration::from_millis(400),
        only: None,
        rows: Vec::new(),
    };
    let mut show: fn(&[Row]) = print;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => show = print_json,
            "--markdown" => show = print_markdown,
            "--quick" => gates.budget /= 8,
            "--help" => {
                println!("gates [--json|--markdown] [--quick] [commit|build|pci|ram|mmio|readers|footprint]");
                return Ok(());
            }
            group => gates.only = Some(group.to_owned()),
        }
    }
    type Group = fn(&mut Gates) -> Result<()>;
    let groups: [(&str, Group); 7] = [
        ("footprint", footprint),
        ("commit", commit),
        ("build", build),
        ("pci", pci),
        ("ram", ram),
        ("mmio", mmio),
        ("readers", readers),
    ];
    for (group, measure) in groups {
        if gates.wants(group) {
            measure(&mut gates)?;
        }
    }
    show(&gates.rows);
    let targets = || gates.rows.iter().filter_map(|row| row.target.as_ref());
    let met = targets().filter(|target| target.met).count();
    eprintln!("{met} of {} targets met", targets().count());
    Ok(())
}
