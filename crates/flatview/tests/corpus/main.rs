//! Real machines as the yardstick: each is built from its graph of regions, through the public API, and must
//! print what QEMU printed, to the letter.
//!
//! The machines are the 277 of `flatview-corpus`, or those of the folder that `FLATVIEW_CORPUS` names. QEMU
//! leaves one thing to chance: the order of groups of spaces and of views, which is that of a hash of
//! pointers. Here it is the order in which spaces were created. So every machine is first built with spaces
//! in the order of the machine and compared group by group; then its spaces are made again in the order in
//! which QEMU happened to print them, and the whole text must be equal, byte by byte.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod explain;
mod graph;
mod mirror;
mod order;
mod owners;
mod steps;
mod text;

use std::collections::BTreeMap;
use std::fmt::Display;

use flatview::Compat;
use flatview_corpus::{Corpus, Machine, RegionId, Texts, Truth};

use graph::{Built, Plan};
use order::Trees;
use owners::Owners;
use text::{Marks, expect_equal};

/// Why a machine fails.
type Failure = String;

/// Judges every machine, and says all that is wrong at the end.
fn every_machine(mut judge: impl FnMut(&Machine) -> Result<(), Failure>) {
    let mut failures = Vec::new();
    let mut count = 0;
    for machine in &Corpus::from_env().unwrap() {
        let machine = machine.unwrap();
        count += 1;
        if let Err(failure) = judge(&machine) {
            failures.push(format!("{}: {failure}", machine.name));
        }
    }
    println!("{count} machines, {} failures", failures.len());
    assert_ne!(count, 0, "no machines");
    assert!(
        failures.is_empty(),
        "{} of {count} machines fail, among them:\n\n{}",
        failures.len(),
        failures[..failures.len().min(3)].join("\n")
    );
}

/// In which order a machine's dumps show its spaces, and who owns its regions.
struct Orders {
    trees: Vec<usize>,
    views: Vec<usize>,
    owners: Owners,
}

impl Orders {
    /// Fails if a group or a view of a dump is not one of ours, or one of ours not one of the dump's.
    fn of(machine: &Machine) -> Result<Orders, Failure> {
        let (truth, texts) = (&machine.truth, &machine.texts);
        let trees = match (&texts.mtree_d_upper, &texts.mtree) {
            (Some(dump), _) => order::of_trees(truth, dump, true, texts.mtree_do_upper.as_deref())?,
            (None, Some(dump)) => order::of_trees(truth, dump, false, texts.mtree_o.as_deref())?,
            (None, None) => Trees::default(),
        };
        let owners = Owners::learn(truth, &trees.owner_of)?;
        let views = match (&texts.mtree_fo, &texts.mtree_f) {
            (Some(dump), _) => order::of_views(truth, dump, Some(&|id| owners.of(id)))?,
            (None, Some(dump)) => order::of_views(truth, dump, None)?,
            (None, None) => Vec::new(),
        };
        Ok(Orders {
            trees: trees.order,
            views,
            owners,
        })
    }
}

/// How many texts were equal, by file.
#[derive(Debug, Default)]
struct Equal(BTreeMap<&'static str, usize>);

impl Equal {
    fn check(
        &mut self,
        file: &'static str,
        dump: &Option<String>,
        ours: impl Display,
    ) -> Result<(), Failure> {
        let Some(dump) = dump else { return Ok(()) };
        *self.0.entry(file).or_default() += 1;
        expect_equal(file, dump, &ours.to_string())
    }

    fn check_trees(&mut self, texts: &Texts, built: &Built, owners: bool) -> Result<(), Failure> {
        let tree = built.memory.mtree();
        self.check("mtree.txt", &texts.mtree, &tree)?;
        let tree = tree.disabled(true);
        self.check("mtree-D.txt", &texts.mtree_d_upper, &tree)?;
        if owners {
            let tree = tree.owners(true);
            self.check("mtree-Do.txt", &texts.mtree_do_upper, &tree)?;
            self.check("mtree-o.txt", &texts.mtree_o, tree.disabled(false))?;
        }
        Ok(())
    }

    fn check_views(&mut self, texts: &Texts, built: &Built, owners: bool) -> Result<(), Failure> {
        let marks = Marks::of(texts.mtree_f.as_deref().unwrap_or_default(), &built.spaces);
        let flat = built.memory.mtree_flat();
        let flat = flat.accelerator("KVM", |space, range| marks.has(space, range));
        self.check("mtree-f.txt", &texts.mtree_f, &flat)?;
        match owners {
            true => self.check("mtree-fo.txt", &texts.mtree_fo, flat.owners(true)),
            false => Ok(()),
        }
    }
}

/// `info mtree`, `-D`, `-o`, `-D -o`, `-f`, `-f -o`, with ` KVM` where it was.
#[test]
fn every_machine_prints_what_qemu_printed() {
    let mut equal = Equal::default();
    every_machine(|machine| {
        let (truth, texts) = (&machine.truth, &machine.texts);
        let Orders { trees, views, owners } = Orders::of(machine)?;
        let mut built = Plan::new(truth)
            .spaces(&trees)
            .owners(&|id| owners.of(id))
            .compat(Compat::LOSSY_VIEW_ROOTS)
            .build()?;
        check_dirty_masks(truth, &built)?;
        equal.check_trees(texts, &built, true)?;
        built.reorder(truth, &views)?;
        equal.check_views(texts, &built, true)
    });
    println!("equal to the byte: {:?}", equal.0);
}

/// Rules P2 and C20: the truth has each region's own mask, and nothing tracks all of memory.
fn check_dirty_masks(truth: &Truth, built: &Built) -> Result<(), Failure> {
    for (id, expected) in &truth.regions {
        let mask = built.regions[id]
            .state()
            .map_err(|error| error.to_string())?
            .dirty_log_mask;
        if mask.bits() != expected.dirty {
            return Err(format!(
                "{}: logged for {mask:?}, not {:#x}",
                expected.name, expected.dirty
            ));
        }
    }
    for space in &built.spaces {
        for range in space.view().iter() {
            let id = built.id_of(range.region());
            if range.dirty_log_mask().bits() != truth[id].dirty {
                return Err(format!("space {}: {range:?}: not as its region", space.name()));
            }
        }
    }
    Ok(())
}

/// Where QEMU goes on from the root of a space (rule C30), and whether something is lost on the way (rules
/// C32, C33). Returns the first region at which it is.
fn first_lossy_step(truth: &Truth, root: RegionId) -> Option<RegionId> {
    let mut at = root;
    loop {
        let region = &truth[at];
        let marked = region.ro || region.nv || region.unm;
        let (next, lost) = if !region.enabled {
            return None;
        } else if let Some(target) = region.alias {
            let seen = &truth[target];
            if region.aoff != 0 || region.size < seen.size {
                return None;
            }
            (target, marked || region.addr != seen.addr)
        } else if region.term {
            return None;
        } else {
            let mut enabled = region.sub.iter().filter(|&&child| truth[child].enabled);
            let (Some(&child), None) = (enabled.next(), enabled.next()) else {
                return None;
            };
            if truth[child].addr != 0 || region.size < truth[child].size {
                return None;
            }
            (child, marked || region.addr != 0)
        };
        if lost {
            return Some(at);
        }
        at = next;
    }
}

/// Without [`Compat::LOSSY_VIEW_ROOTS`] every tree and every view is the same, but for the views of spaces
/// on whose way to the physical root something is lost in QEMU.
#[test]
fn only_spaces_behind_a_lossy_step_differ_without_compat() {
    let mut different = Vec::new();
    every_machine(|machine| {
        let truth = &machine.truth;
        let plan = Plan::new(truth);
        let (ours, qemus) = (plan.build()?, plan.compat(Compat::LOSSY_VIEW_ROOTS).build()?);
        let print = |built: &Built| built.memory.mtree().disabled(true).to_string();
        expect_equal("tree", &print(&qemus), &print(&ours))?;
        let mut lossy_spaces = Vec::new();
        for ((name, root), (our, qemu)) in truth.spaces.iter().zip(ours.spaces.iter().zip(&qemus.spaces)) {
            let print = |space: &flatview::AddressSpace| space.mtree_flat().unwrap().to_string();
            match first_lossy_step(truth, *root) {
                None => expect_equal(&format!("view of {name}"), &print(qemu), &print(our))?,
                Some(step) => {
                    let view = our.view();
                    if view.root() != Some(&ours.regions[&step]) {
                        return Err(format!("{name} is not rendered from {:?}", truth[step].name));
                    }
                    let differs = print(qemu) != print(our);
                    lossy_spaces.push(format!(
                        "{name}{}",
                        if differs { "" } else { " (looks the same)" }
                    ));
                }
            }
        }
        if !lossy_spaces.is_empty() {
            different.push(format!("{}: {}", machine.name, lossy_spaces.join(", ")));
        }
        Ok(())
    });
    println!(
        "{} machines with lossy steps:\n  {}",
        different.len(),
        different.join("\n  ")
    );
}

/// Each machine again, by single changes in random order, each its own transaction. After each, every view
/// must be what a fresh rendering of the tree gives; at the end, every text what QEMU printed.
#[test]
fn every_machine_can_be_built_by_single_changes() {
    let seed = steps::seed();
    println!("seed {seed} (set {} to another)", steps::SEED_VARIABLE);
    let (mut totals, mut equal) = (steps::Totals::default(), Equal::default());
    every_machine(|machine| {
        let Orders { trees, views, .. } = Orders::of(machine)?;
        let mut built = steps::build_by_single_changes(machine, seed, &mut totals)
            .map_err(|failure| format!("seed {seed}: {failure}"))?;
        built.reorder(&machine.truth, &trees)?;
        equal.check_trees(&machine.texts, &built, false)?;
        built.reorder(&machine.truth, &views)?;
        equal.check_views(&machine.texts, &built, false)
    });
    println!("{totals:?}\nequal to the byte: {:?}", equal.0);
}
