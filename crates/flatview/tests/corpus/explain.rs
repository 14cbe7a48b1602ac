//! Explanations of real machines: they agree with the view, at every edge of it and at addresses in between.

use std::collections::BTreeSet;

use flatview::explain::Outcome;
use flatview::{AddressSpace, Compat};

use crate::graph::Plan;
use crate::steps::Random;
use crate::{Failure, every_machine, first_lossy_step, steps};

/// How many addresses of each view are drawn besides the edges.
const DRAWN: usize = 16;

#[derive(Debug, Default)]
struct Told {
    views: usize,
    addresses: usize,
    unassigned: usize,
    overruled: usize,
    longest_way: usize,
    longest_text: usize,
}

/// The views of the machine are explained in all of their edges; those of spaces behind a lossy step (rules
/// C32, C33) also as QEMU has them.
#[test]
fn every_machine_is_explained() {
    let mut told = Told::default();
    every_machine(|machine| {
        let truth = &machine.truth;
        let mut random = Random::new(steps::seed(), &machine.name);
        let mut roots = truth.spaces.iter().map(|&(_, root)| root);
        let lossy = roots.any(|root| first_lossy_step(truth, root).is_some());
        let compats = [Compat::empty(), Compat::LOSSY_VIEW_ROOTS];
        for compat in compats.into_iter().take(if lossy { 2 } else { 1 }) {
            let built = Plan::new(truth).compat(compat).build()?;
            let mut seen = BTreeSet::new();
            for space in &built.spaces {
                // One of all spaces that have the same root.
                if seen.insert(built.id_of(space.root())) {
                    explain(space, &mut random, &mut told)?;
                }
            }
        }
        Ok(())
    });
    println!("{told:?}");
}

fn explain(space: &AddressSpace, random: &mut Random, told: &mut Told) -> Result<(), Failure> {
    let view = space.view();
    let mut addresses = BTreeSet::from([0, u64::MAX]);
    for range in view.iter() {
        let (start, last) = (range.start(), range.last());
        addresses.extend([start.saturating_sub(1), start, last, last.saturating_add(1)]);
    }
    let ranges: Vec<_> = view.iter().collect();
    for _ in 0..DRAWN.min(ranges.len()) {
        let range = ranges[random.below(ranges.len())];
        // Never the last byte; the edges are there already.
        addresses.insert(range.start() + random.next() % (range.last() - range.start()).max(1));
    }
    told.views += 1;
    for address in addresses {
        let explanation = space.explain(address).map_err(|error| error.to_string())?;
        let text = explanation.to_string();
        let wrong = |what: &str| Err(format!("space {}: {what} at {address:#x}:\n{text}", space.name()));
        if !explanation.complete {
            return wrong("not complete");
        }
        if explanation.view_root.as_deref() != view.root().map(|root| root.name()) {
            return wrong("another physical root");
        }
        match (&explanation.outcome, view.find(address)) {
            (Outcome::Answered(answer), Some(range)) => {
                let flags = (
                    !answer.readonly_by.is_empty(),
                    !answer.nonvolatile_by.is_empty(),
                    !answer.unmergeable_by.is_empty(),
                    answer.romd,
                );
                let shown = (
                    range.is_readonly(),
                    range.is_nonvolatile(),
                    range.is_unmergeable(),
                    range.is_romd(),
                );
                let offset = range.offset_in_region() + (address - range.start());
                if (&answer.region, answer.offset, answer.range) != (range.region(), offset, range.range())
                    || flags != shown
                {
                    return wrong(&format!("the view says {range:?}"));
                }
            }
            (Outcome::Unassigned(gap), None) => {
                told.unassigned += 1;
                if !gap.range.contains(address) || view.meeting(gap.range).next().is_some() {
                    return wrong("another hole");
                }
            }
            (_, shown) => return wrong(&format!("the view says {shown:?}")),
        }
        told.addresses += 1;
        told.overruled += explanation.overruled.len();
        told.longest_way = told.longest_way.max(explanation.way.len());
        told.longest_text = told.longest_text.max(text.lines().count());
    }
    Ok(())
}
