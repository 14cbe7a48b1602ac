//! Changes of the map.

use std::sync::Arc;

use flatview::{RamBlock, Region, Transaction};
use flatview_bench::measure::{Cost, in_turns};
use flatview_bench::scenes::Device;
use flatview_kvm::KvmConfig;

use super::bare::Bare;
use super::guest::{GIB, Guest, LOW, set_stop, wait_until_it_runs};
use super::machine::Machine;
use super::{GROUP, row, wall};
use crate::table::{Gates, Result, US, exactly};

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

/// Changes beside one run of a guest, in pairs.
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
        let device = machine.memory.region("device").io(PAGE, Arc::new(Device(0)));
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

    fn show(&self, shown: bool) -> Result<()> {
        self.machine.set(&self.toggled, shown)
    }

    fn show_bare(&self, shown: bool) -> Result<()> {
        let size = if shown { SIZE } else { 0 };
        self.bare.set_slot(self.slot, TOGGLED, LOW, size, 0)
    }

    /// Makes two of one.
    fn split(&self, split: bool) -> Result<()> {
        self.machine.set(&self.hole, split)
    }

    fn split_bare(&self, split: bool) -> Result<()> {
        let (first, second) = (self.slot, self.slot + 1);
        let behind = HOLE + PAGE - TOGGLED;
        let set = |slot, from, size| self.bare.set_slot(slot, TOGGLED + from, LOW + from, size, 0);
        set(first, 0, 0)?;
        if split {
            set(first, 0, HOLE - TOGGLED)?;
            set(second, behind, SIZE - behind)
        } else {
            set(second, behind, 0)?;
            set(first, 0, SIZE)
        }
    }
}

/// There and back; what one of the two takes.
fn pair(change: impl Fn(bool) -> Result<()>) -> Result<f64> {
    Ok(wall(|| change(true).and_then(|()| change(false)))? / 2.0)
}

/// The same often, beside a guest in `low` that is let in before each change.
fn pairs_beside(low: &RamBlock, change: impl Fn(bool) -> Result<()>) -> Result<f64> {
    let mut least = f64::MAX;
    for _ in 0..PAIRS {
        let mut spent = 0.0;
        for even in [true, false] {
            wait_until_it_runs(low)?;
            spent += wall(|| change(even))?;
        }
        least = least.min(spent / 2.0);
    }
    Ok(least)
}

/// One slot deleted, or one made; one deleted and two made, or two deleted and one made.
pub(super) fn few(gates: &mut Gates) -> Result<()> {
    for others in [10, 1_000] {
        let scene = Scene::new(others)?;
        let toggles = in_turns(
            gates.budget * 2,
            [&mut || pair(|even| scene.show(!even)), &mut || {
                pair(|even| scene.show_bare(!even))
            }],
        )?;
        row(gates, format!("toggle a slot, {others} others"), toggles).at_most(1.2);
        let splits = in_turns(
            gates.budget * 2,
            [&mut || pair(|even| scene.split(even)), &mut || {
                pair(|even| scene.split_bare(even))
            }],
        )?;
        row(gates, format!("split a slot, {others} others"), splits).at_most(1.2);
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
        let spent = work();
        set_stop(low, true)?;
        thread.join().map_err(|_| "the guest's thread panicked")??;
        spent
    })
}

/// The same while a vCPU is in user mode. How often it is kicked is what counts: once, or not at all if no memory goes
/// that comes back.
pub(super) fn while_running(gates: &mut Gates) -> Result<()> {
    let scene = Scene::new(10)?;
    let guest = Guest::spin();
    let mut vcpu = scene.machine.vcpu(&guest)?;
    let mut bare_vcpu = scene.bare.vcpu(&guest)?;
    type Change = fn(&Scene, bool) -> Result<()>;
    let toggle: [Change; 2] = [
        |scene, even| scene.show(!even),
        |scene, even| scene.show_bare(!even),
    ];
    let split: [Change; 2] = [Scene::split, Scene::split_bare];
    for (what, [change, bare_change]) in [("toggle, a vCPU runs", toggle), ("split, a vCPU runs", split)] {
        let (low, bare_low) = (&scene.machine.low, scene.bare.memory());
        let before = scene.machine.kvm.statistics();
        let mut changes = 0;
        let mut ours = || {
            changes += 2 * PAIRS;
            beside(
                low,
                || scene.machine.run(&mut vcpu, 1),
                || pairs_beside(low, |even| change(&scene, even)),
            )
        };
        let mut bare = || {
            beside(
                bare_low,
                || bare_vcpu.run(1),
                || pairs_beside(bare_low, |even| bare_change(&scene, even)),
            )
        };
        let [ours, bare] = in_turns(gates.budget, [&mut ours, &mut bare])?;
        let kicks = scene.machine.kvm.statistics().kicks - before.kicks;
        gates
            .add(GROUP, what, "kicks", exactly(kicks as f64 / f64::from(changes)))
            .beside("us", ours.least / US)
            .beside("bare us", bare.least / US)
            .at_most(1.0);
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
        let spent = wall(|| Ok(machine.memory.update(add).map(drop)?))?;
        removed.push(wall(|| Ok(machine.memory.update(remove).map(drop)?))?);
        Ok(spent)
    };
    let mut bares = || -> Result<f64> {
        let spent = wall(|| set_all(OTHER_SIZE))?;
        bare_removed.push(wall(|| set_all(0))?);
        Ok(spent)
    };
    let costs = in_turns(gates.budget * 4, [&mut ours, &mut bares])?;
    row(gates, "register 1000 slots".into(), costs).at_most(1.1);
    row(gates, "delete 1000 slots".into(), removals.map(Cost::of));
    Ok(())
}
