//! A machine built by single changes, in random order, and looked at after each.
//!
//! The random part is only the way: every region begins with some attributes other than its own, children
//! are mapped in any order (those of one priority in the order that makes the newest the first, rule B3),
//! some of them elsewhere or with another priority at first. Beside the memory goes a model of what the tree
//! should be by now, after every change a second memory is built from the model in one transaction, and both
//! must show the same in every space.

use std::collections::{BTreeMap, VecDeque};
use std::env;
use std::sync::Arc;

use flatview::{AddressRange, Compat, Error, Region, Size, Transaction};
use flatview_corpus::{Machine, RegionId, Truth};

use crate::graph::{Built, Plan};
use crate::mirror::Mirror;
use crate::text::expect_equal;
use crate::{Failure, first_lossy_step};

pub(crate) const SEED_VARIABLE: &str = "FLATVIEW_SEED";

/// The seed that the environment names, otherwise always the same.
pub(crate) fn seed() -> u64 {
    env::var(SEED_VARIABLE).map_or(20_261_121, |seed| seed.parse().expect("a seed is a number"))
}

#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) commits: usize,
    /// Changes that a region in the wrong place made endless for a while, and that were made later.
    pub(crate) postponed: usize,
    pub(crate) views_compared: usize,
    pub(crate) ranges_compared: usize,
}

/// Builds a machine and compares it, at every step, with one built at once. It is returned complete.
pub(crate) fn build_by_single_changes(
    machine: &Machine,
    seed: u64,
    totals: &mut Totals,
) -> Result<Built, Failure> {
    let truth = &machine.truth;
    let mut random = Random::new(seed, &machine.name);
    // Where nothing is lost on the way to a view's root, both ways of choosing it must come out the same.
    let lossy = truth
        .spaces
        .iter()
        .any(|(_, root)| first_lossy_step(truth, *root).is_some());
    let compat = if lossy {
        Compat::LOSSY_VIEW_ROOTS
    } else {
        Compat::empty()
    };
    let (mut model, mut queues) = a_way_to(truth, &mut random);
    let built = Plan::new(&model).compat(compat).build()?;
    let (mirrors, _registrations): (Vec<_>, Vec<_>) = built
        .spaces
        .iter()
        .map(Mirror::of)
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .unzip();
    let mut refused = 0;
    while !queues.is_empty() {
        let index = random.below(queues.len());
        let Some(change) = queues[index].pop_front() else {
            queues.swap_remove(index);
            continue;
        };
        match built.memory.update(|tx| change.make(tx, &built.regions)) {
            Ok(_) => {
                refused = 0;
                totals.commits += 1;
                change.make_in(&mut model);
            }
            // Nothing has happened then, which is looked at too.
            Err(Error::RenderingTooDeep { .. } | Error::RenderingTooLarge { .. }) if refused < 1_000 => {
                refused += 1;
                totals.postponed += 1;
                queues[index].push_front(change);
            }
            Err(error) => return Err(format!("{change:?}: {error}")),
        }
        let fresh = Plan::new(&model).compat(compat).build()?;
        compare(&built, &fresh, &mirrors, totals)
            .map_err(|difference| format!("after {} ({:?}): {difference}", change.say(truth), change))?;
    }
    match model == *truth {
        true => Ok(built),
        false => Err("the changes do not lead to the machine: a mistake in this test".into()),
    }
}

/// What a region can be told, one change a transaction.
#[derive(Clone, Copy, Debug)]
enum Change {
    Map {
        container: RegionId,
        child: RegionId,
        address: u64,
        priority: i32,
    },
    Unmap {
        container: RegionId,
        child: RegionId,
    },
    Move(RegionId, u64),
    Enable(RegionId, bool),
    Readonly(RegionId, bool),
    Nonvolatile(RegionId, bool),
    Unmergeable(RegionId, bool),
    Romd(RegionId, bool),
    Resize(RegionId, u128),
    AliasOffset(RegionId, u64),
    Log(RegionId, bool),
}

impl Change {
    fn make(self, tx: &mut Transaction<'_>, regions: &BTreeMap<RegionId, Region>) -> Result<(), Error> {
        match self {
            Change::Map {
                container,
                child,
                address,
                priority,
            } => tx.add_subregion_overlap(&regions[&container], address, &regions[&child], priority),
            Change::Unmap { container, child } => tx.del_subregion(&regions[&container], &regions[&child]),
            Change::Move(id, address) => tx.set_address(&regions[&id], address),
            Change::Enable(id, on) => tx.set_enabled(&regions[&id], on),
            Change::Readonly(id, on) => tx.set_readonly(&regions[&id], on),
            Change::Nonvolatile(id, on) => tx.set_nonvolatile(&regions[&id], on),
            Change::Unmergeable(id, on) => tx.set_unmergeable(&regions[&id], on),
            Change::Romd(id, on) => tx.rom_device_set_romd(&regions[&id], on),
            Change::Resize(id, size) => tx.set_size(&regions[&id], Size::new(size).unwrap()),
            Change::AliasOffset(id, offset) => tx.set_alias_offset(&regions[&id], offset),
            Change::Log(id, on) => tx.set_log(&regions[&id], on),
        }
    }

    /// The same in the model, by rules B1 to B6.
    fn make_in(self, model: &mut Truth) {
        match self {
            Change::Map {
                container,
                child,
                address,
                priority,
            } => {
                let region = of(model, child);
                (region.addr, region.prio, region.cont) = (address, priority, Some(container));
                link(model, container, child);
            }
            Change::Unmap { container, child } => {
                of(model, child).cont = None;
                of(model, container).sub.retain(|&other| other != child);
            }
            Change::Move(id, address) if of(model, id).addr != address => {
                of(model, id).addr = address;
                if let Some(container) = of(model, id).cont {
                    of(model, container).sub.retain(|&other| other != id);
                    link(model, container, id);
                }
            }
            Change::Move(..) => {}
            Change::Enable(id, on) => of(model, id).enabled = on,
            Change::Readonly(id, on) => of(model, id).ro = on,
            Change::Nonvolatile(id, on) => of(model, id).nv = on,
            Change::Unmergeable(id, on) => of(model, id).unm = on,
            Change::Romd(id, on) => of(model, id).romd = on,
            Change::Resize(id, size) => of(model, id).size = size,
            Change::AliasOffset(id, offset) => of(model, id).aoff = offset,
            Change::Log(id, on) => {
                let region = of(model, id);
                region.vgalog = if on { region.vgalog + 1 } else { region.vgalog - 1 };
                region.dirty = u8::from(region.vgalog > 0);
            }
        }
    }

    /// The name of the region that is changed.
    fn say(self, truth: &Truth) -> &str {
        match self {
            Change::Map { child: id, .. }
            | Change::Unmap { child: id, .. }
            | Change::Move(id, _)
            | Change::Enable(id, _)
            | Change::Readonly(id, _)
            | Change::Nonvolatile(id, _)
            | Change::Unmergeable(id, _)
            | Change::Romd(id, _)
            | Change::Resize(id, _)
            | Change::AliasOffset(id, _)
            | Change::Log(id, _) => &truth[id].name,
        }
    }
}

fn of(model: &mut Truth, id: RegionId) -> &mut flatview_corpus::TruthRegion {
    model
        .regions
        .get_mut(&id)
        .expect("a truth from a corpus is whole")
}

/// Puts a child before the first sibling whose priority is not higher (rule B3).
fn link(model: &mut Truth, container: RegionId, child: RegionId) {
    let priority = model[child].prio;
    let siblings = &model[container].sub;
    let higher = siblings
        .iter()
        .take_while(|&&sibling| model[sibling].prio > priority);
    let at = higher.count();
    of(model, container).sub.insert(at, child);
}

/// Where to begin, and queues of changes: any order that keeps each queue's leads to the machine.
fn a_way_to(truth: &Truth, random: &mut Random) -> (Truth, Vec<VecDeque<Change>>) {
    let mut start = truth.clone();
    let mut queues = Vec::new();
    for (&id, end) in &truth.regions {
        let region = of(&mut start, id);
        region.sub.clear();
        region.cont = None;
        if end.cont.is_some() {
            (region.addr, region.prio) = (0, 0);
        }
        if random.one_in(6) {
            queues.push(VecDeque::from(
                [!end.enabled, end.enabled].map(|on| Change::Enable(id, on)),
            ));
        }
        let mut one = |change| queues.push(VecDeque::from([change]));
        let mut begin = |value: &mut bool, change: fn(RegionId, bool) -> Change| {
            if random.one_in(4) {
                *value = !*value;
                one(change(id, !*value));
            }
        };
        begin(&mut region.enabled, Change::Enable);
        begin(&mut region.ro, Change::Readonly);
        begin(&mut region.nv, Change::Nonvolatile);
        begin(&mut region.unm, Change::Unmergeable);
        if end.romdev {
            begin(&mut region.romd, Change::Romd);
        }
        if random.one_in(4) {
            region.size = random.pick([0, 1, end.size / 2, (end.size * 2).min(1 << 64)]);
            one(Change::Resize(id, end.size));
        }
        if end.alias.is_some() && random.one_in(3) {
            region.aoff = random.pick([0, 0x1000, end.aoff / 2, end.aoff.wrapping_add(0x800)]);
            one(Change::AliasOffset(id, end.aoff));
        }
        (region.vgalog, region.dirty) = (0, 0);
        for _ in 0..end.vgalog {
            one(Change::Log(id, true));
        }
        if end.ram && random.one_in(8) {
            queues.push(VecDeque::from([Change::Log(id, true), Change::Log(id, false)]));
        }
        let mut by_priority: BTreeMap<i32, VecDeque<Change>> = BTreeMap::new();
        for &child in end.sub.iter().rev() {
            let priority = truth[child].prio;
            let queue = by_priority.entry(priority).or_default();
            map(queue, id, child, truth, random);
        }
        queues.extend(by_priority.into_values());
    }
    (start, queues)
}

/// Maps a child, straight away or on a detour. The next child of its priority waits for it.
fn map(
    queue: &mut VecDeque<Change>,
    container: RegionId,
    child: RegionId,
    truth: &Truth,
    random: &mut Random,
) {
    let (address, priority) = (truth[child].addr, truth[child].prio);
    let map = |address, priority| Change::Map {
        container,
        child,
        address,
        priority,
    };
    let elsewhere = address.wrapping_add(random.pick([0x800, 0x1000, 1 << 31, 1 << 40, !0]));
    match random.below(6) {
        0 => {
            // Before its turn; the move puts it on top of those that came meanwhile (rule B4).
            queue.insert(random.below(queue.len() + 1), map(elsewhere, priority));
            queue.push_back(Change::Move(child, address));
        }
        1 => {
            let other = random.pick([priority, priority.saturating_add(1), priority.saturating_sub(1)]);
            let unmap = Change::Unmap { container, child };
            queue.extend([map(elsewhere, other), unmap, map(address, priority)]);
        }
        _ => queue.push_back(map(address, priority)),
    }
}

/// Whether every space shows the same in both, and has told its listener so.
fn compare(ours: &Built, fresh: &Built, mirrors: &[Arc<Mirror>], totals: &mut Totals) -> Result<(), Failure> {
    for ((our, mirror), other) in ours.spaces.iter().zip(mirrors).zip(&fresh.spaces) {
        let (view, expected) = (our.view(), other.view());
        totals.views_compared += 1;
        totals.ranges_compared += expected.len();
        let id = |built: &Built, region: Option<&Region>| region.map(|region| built.id_of(region));
        let same_root = id(ours, view.root()) == id(fresh, expected.root());
        let same = view.len() == expected.len()
            && view.iter().zip(expected.iter()).all(|(range, expected)| {
                range.range() == expected.range()
                    && ours.id_of(range.region()) == fresh.id_of(expected.region())
                    && range.offset_in_region() == expected.offset_in_region()
                    && range.is_readonly() == expected.is_readonly()
                    && range.is_nonvolatile() == expected.is_nonvolatile()
                    && range.is_unmergeable() == expected.is_unmergeable()
                    && range.is_romd() == expected.is_romd()
                    && range.dirty_log_mask() == expected.dirty_log_mask()
            });
        let ends =
            |range: AddressRange| view.find(range.start()).is_some() && view.find(range.last()).is_some();
        if !same_root || !same || !expected.iter().all(|range| ends(range.range())) {
            let text = |view: &flatview::FlatView| {
                let ranges: Vec<String> = view.iter().map(|range| format!("{range:?}")).collect();
                format!("rendered from {:?}\n{}", view.root(), ranges.join("\n"))
            };
            expect_equal(our.name(), &text(&expected), &text(&view))?;
            return Err(format!("{}: ranges look the same and are not", our.name()));
        }
        if !mirror.shows(&view) {
            return Err(format!("{}: a listener has heard something else", our.name()));
        }
    }
    Ok(())
}

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64, name: &str) -> Random {
        // FNV-1a: the same for ever, which the standard library's hashes do not promise.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Random(seed ^ hash)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("small");
        usize::try_from(self.next() % limit).expect("less than a usize")
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Copy, const N: usize>(&mut self, choices: [T; N]) -> T {
        choices[self.below(N)]
    }
}
