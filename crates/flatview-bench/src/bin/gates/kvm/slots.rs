//! Changes of the map.

use std::sync::Arc;
use std::time::Instant;

use flatview::{RamBlock, Region, Transaction};
use flatview_bench::measure::{Cost, in_turns, once};
use flatview_bench::scenes::Device;
use flatview_kvm::KvmConfig;

use super::GROUP;
use super::bare::Bare;
use super::guest::{GIB, Guest, LOW, set_stop, wait_until_it_runs};
use super::machine::Machine;
use crate::table::{Gates, Result, Row, US, exactly, ratio};

const MIB: u64 = 1 << 20;
/// The slot that comes and goes.
const TOGGLED: u64 = 0x1000_0000;
const SIZE: u64 = 2 * MIB;
/// The page in it that is a device's, sometimes.
const HOLE: u64 = TOGGLED + MIB;
const PAGE: u64 = 0x1000;
/// The other slots.
const OTHERS: u64 = GIB;
const OTHER_SIZE: u64 = 64 << 10;
const OTHER_STRIDE: u64 = 2 * OTHER_SIZE;

const PAIRS: u32 = 20;

/// The same map twice: low memory, the slot that is changed, others.
struct Scene {
    machine: Machine,
    toggled: Region,
    hole: Region,
    bare: Bare,
    /// The number of the slot that is changed.
    slot: u32,
}

fn place(index: u32) -> u64 {
    OTHERS + u64::from(index) * OTHER_STRIDE
}

fn offset(index: u32) -> u64 {
    LOW + SIZE + u64::from(index) * OTHER_SIZE
}

impl Scene {
    fn new(others: u32) -> Result<Scene> {
        let machine = Machine::new(KvmConfig::default())?;
        let toggled = machine.map_ram("toggled", TOGGLED, SIZE)?;
        let bare = Bare::new(offset(others))?;
        for index in 0..others {
            machine.map_ram("other", place(index), OTHER_SIZE)?;
            bare.set_slot(1 + index, place(index), offset(index), OTHER_SIZE, 0)?;
        }
        let hole = machine.memory.region("hole").enabled(false).container(PAGE);
        let device = machine
            .memory
            .region("device")
            .io(PAGE, Arc::new(Device(0)));
        machine.memory.update(|tx| {
            tx.add_subregion(&hole, 0, &device)?;
            tx.add_subregion_overlap(&machine.system, HOLE, &hole, 1)
        })?;
        let slot = 1 + others;
        bare.set_slot(slot, TOGGLED, LOW, SIZE, 0)?;
        Ok(Scene {
            machine,
            toggled,
            hole,
            bare,
            slot,
        })
    }

    /// Away and back, by two commits.
    fn toggle(&self) -> Result<()> {
        self.machine.set(&self.toggled, false)?;
        self.machine.set(&self.toggled, true)
    }

    fn toggle_bare(&self) -> Result<()> {
        self.bare.set_slot(self.slot, TOGGLED, LOW, 0, 0)?;
        self.bare.set_slot(self.slot, TOGGLED, LOW, SIZE, 0)
    }

    /// In two and back, by two commits.
    fn split(&self) -> Result<()> {
        self.machine.set(&self.hole, true)?;
        self.machine.set(&self.hole, false)
    }

    fn split_bare(&self) -> Result<()> {
        let (first, second) = (self.slot, self.slot + 1);
        let behind = HOLE + PAGE - TOGGLED;
        let set = |slot, from, size| self.bare.set_slot(slot, TOGGLED + from, LOW + from, size, 0);
        set(first, 0, 0)?;
        set(first, 0, HOLE - TOGGLED)?;
        set(second, behind, SIZE - behind)?;
        set(first, 0, 0)?;
        set(second, behind, 0)?;
        set(first, 0, SIZE)
    }
}

/// What one of `2 * PAIRS` commits takes, by the thread's time.
fn cpu_time(pair: impl Fn() -> Result<()>) -> Result<f64> {
    let (spent, result) = once(|| (0..PAIRS).try_for_each(|_| pair()));
    result?;
    Ok(spent / f64::from(2 * PAIRS))
}

fn wall_time(pair: impl Fn() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    (0..PAIRS).try_for_each(|_| pair())?;
    Ok(begin.elapsed().as_nanos() as f64 / f64::from(2 * PAIRS))
}

fn row<'a>(gates: &'a mut Gates, what: &str, [ours, bare]: [Cost; 2]) -> &'a mut Row {
    gates
        .add(GROUP, what, "x", ratio(ours, bare))
        .beside("us", ours.least / US)
        .beside("bare us", bare.least / US)
}

/// One slot deleted, or one made.
pub(super) fn one_slot(gates: &mut Gates) -> Result<()> {
    for others in [10, 1_000] {
        let scene = Scene::new(others)?;
        let costs = in_turns(
            gates.budget * 2,
            [&mut || cpu_time(|| scene.toggle()), &mut || {
                cpu_time(|| scene.toggle_bare())
            }],
        )?;
        row(gates, &format!("toggle a slot, {others} others"), costs).at_most(1.2);
    }
    Ok(())
}

/// One slot deleted and two made, or two deleted and one made.
pub(super) fn split(gates: &mut Gates) -> Result<()> {
    for others in [10, 1_000] {
        let scene = Scene::new(others)?;
        let costs = in_turns(
            gates.budget * 2,
            [&mut || cpu_time(|| scene.split()), &mut || {
                cpu_time(|| scene.split_bare())
            }],
        )?;
        row(gates, &format!("split a slot, {others} others"), costs).at_most(1.2);
    }
    Ok(())
}

/// Does `work` while `run` runs on another thread: a guest that spins in `low` until it is stopped.
fn beside(
    low: &RamBlock,
    run: impl FnOnce() -> Result<()> + Send,
    work: impl FnOnce() -> Result<f64>,
) -> Result<f64> {
    set_stop(low, false)?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| run().map_err(|error| error.to_string()));
        wait_until_it_runs(low)?;
        let spent = work();
        set_stop(low, true)?;
        thread.join().map_err(|_| "the guest's thread panicked")??;
        spent
    })
}

/// The same while a vCPU is in user mode all the time. How often it is kicked is what counts: one commit that takes no
/// memory away for a moment kicks nobody.
pub(super) fn while_running(gates: &mut Gates) -> Result<()> {
    let scene = Scene::new(10)?;
    let guest = Guest::spin();
    let mut vcpu = scene.machine.vcpu(&guest)?;
    let mut bare_vcpu = scene.bare.vcpu(&guest)?;
    for (what, is_split, most) in [("toggle", false, 0.0), ("split", true, 1.0)] {
        let before = scene.machine.kvm.statistics();
        let mut commits = 0;
        let mut ours = || {
            commits += 2 * PAIRS;
            beside(
                &scene.machine.low,
                || scene.machine.run(&mut vcpu, 1),
                || wall_time(|| if is_split { scene.split() } else { scene.toggle() }),
            )
        };
        let mut bare = || {
            beside(
                scene.bare.memory(),
                || bare_vcpu.run(1),
                || wall_time(|| if is_split { scene.split_bare() } else { scene.toggle_bare() }),
            )
        };
        let [ours, bare] = in_turns(gates.budget, [&mut ours, &mut bare])?;
        let after = scene.machine.kvm.statistics();
        let kicks = (after.kicks - before.kicks) as f64 / f64::from(commits);
        gates
            .add(GROUP, format!("{what}, a vCPU runs"), "kicks", exactly(kicks))
            .beside("wall us", ours.least / US)
            .beside("bare, wall us", bare.least / US)
            .at_most(most);
    }
    Ok(())
}

/// So many slots in one transaction, and none again in another.
pub(super) fn many(gates: &mut Gates) -> Result<()> {
    const COUNT: u32 = 1_000;
    let machine = Machine::new(KvmConfig::default())?;
    let bare = Bare::new(offset(COUNT))?;
    let mut regions = Vec::new();
    for index in 0..COUNT {
        let block = RamBlock::anonymous(OTHER_SIZE)?;
        regions.push((place(index), machine.memory.region("ram").ram(block)));
    }
    let add = |tx: &mut Transaction<'_>| {
        regions
            .iter()
            .try_for_each(|(address, region)| tx.add_subregion(&machine.system, *address, region))
    };
    let remove = |tx: &mut Transaction<'_>| {
        regions
            .iter()
            .try_for_each(|(_, region)| tx.del_subregion(&machine.system, region))
    };
    let set_all = |size| {
        (0..COUNT).try_for_each(|index| bare.set_slot(1 + index, place(index), offset(index), size, 0))
    };
    let mut removals = [Vec::new(), Vec::new()];
    let [removed, bare_removed] = &mut removals;
    let mut ours = || -> Result<f64> {
        let (spent, added) = once(|| machine.memory.update(add));
        added?;
        let (spent_on_removal, gone) = once(|| machine.memory.update(remove));
        gone?;
        removed.push(spent_on_removal);
        Ok(spent)
    };
    let mut bares = || -> Result<f64> {
        let (spent, added) = once(|| set_all(OTHER_SIZE));
        added?;
        let (spent_on_removal, gone) = once(|| set_all(0));
        gone?;
        bare_removed.push(spent_on_removal);
        Ok(spent)
    };
    let costs = in_turns(gates.budget * 4, [&mut ours, &mut bares])?;
    row(gates, "register 1000 slots", costs).at_most(1.1);
    row(gates, "delete 1000 slots", removals.map(Cost::of));
    Ok(())
}
