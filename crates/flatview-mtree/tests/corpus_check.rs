//! Every machine of the corpus: its tree agrees with its flat views, what had to be assumed is true, and a view that was
//! tampered with is found out.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use flatview_corpus::{Corpus, Machine, TruthRegion};
use flatview_mtree::check::{Assumed, Assumption, Report, Verdict, check};
use flatview_mtree::machine::combine;
use flatview_mtree::text::{Dump, FlatDump, parse};

fn dumps<'a>(texts: &[&'a Option<String>]) -> Vec<Dump<'a>> {
    let texts = texts.iter().filter_map(|text| text.as_deref());
    texts.flat_map(|text| parse(text).unwrap()).collect()
}

fn checked(dumps: &[Dump<'_>]) -> Report {
    let (tree, flat) = combine(dumps.to_vec());
    check(&tree.unwrap(), &flat.unwrap()).unwrap()
}

/// Whether some region of the machine is as assumed. Names are not unique, lines are not in the truth.
fn is_true(machine: &Machine, assumed: &Assumed) -> bool {
    let has = |is: &dyn Fn(&TruthRegion) -> bool| {
        let mut named = machine
            .truth
            .regions
            .values()
            .filter(|region| region.name == assumed.region);
        named.any(is)
    };
    match &assumed.what {
        Assumption::Answers => has(&|region| region.term),
        Assumption::PureContainer => has(&|region| !region.term),
        Assumption::Readonly => has(&|region| region.ro),
        Assumption::Writable => has(&|region| !region.ro),
        Assumption::Unmergeable => has(&|region| region.unm),
        Assumption::Mergeable => has(&|region| !region.unm),
        Assumption::Empty => has(&|region| region.size == 0),
        Assumption::NotLarger { size } => has(&|region| region.size <= *size),
        Assumption::OneByte => has(&|region| region.size == 1),
        // Whatever it lies in is not enabled.
        Assumption::Within => has(&|region| {
            region
                .cont
                .is_some_and(|container| machine.truth[container].enabled)
        }),
        Assumption::Unseen => has(&|region| {
            region
                .cont
                .is_some_and(|container| !machine.truth[container].enabled)
        }),
        // What is rendered first stands first in QEMU's list.
        Assumption::InFrontOf { regions } => machine.truth.regions.values().any(|container| {
            let place = |name: &str| {
                container
                    .sub
                    .iter()
                    .position(|&id| machine.truth[id].name == name)
            };
            let first = place(&assumed.region);
            first.is_some()
                && regions
                    .iter()
                    .all(|other| first < place(other) || *other == assumed.region)
        }),
        // The line is another's, and names are all that it could be compared by.
        Assumption::LeadsTo { .. } => true,
    }
}

#[test]
fn no_machine_is_found_different() {
    let mut counts = [[0_usize; 3]; 5];
    let mut failures = Vec::new();
    for machine in &Corpus::from_env().unwrap() {
        let machine = machine.unwrap();
        let texts = &machine.texts;
        let inputs = [
            [&texts.mtree, &texts.mtree_f, &None],
            [&texts.mtree_d_upper, &texts.mtree_f, &None],
            [&texts.mtree_o, &texts.mtree_f, &None],
            [&texts.mtree_d_upper, &texts.mtree_o, &texts.mtree_fo],
            [&texts.mtree_do_upper, &texts.mtree_fo, &None],
        ];
        for (which, input) in inputs.iter().enumerate() {
            let dumps = dumps(input);
            if dumps.len() < 2 {
                continue;
            }
            let report = checked(&dumps);
            counts[which][report.verdict as usize] += 1;
            if report.verdict == Verdict::Different {
                failures.push(format!(
                    "{} ({which}): {:?}",
                    machine.name,
                    report.differences.first()
                ));
            }
            for assumed in &report.assumed {
                if !is_true(&machine, assumed) {
                    failures.push(format!("{} ({which}): not true: {assumed:?}", machine.name));
                }
            }
        }
    }
    let names = ["plain", "-D", "-o", "-D and -o", "-D -o"];
    for (name, [equal, open, different]) in names.into_iter().zip(counts) {
        println!("{name:>10}: {equal} equal, {open} open, {different} different");
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// A way to tamper with a view, at a range of it; `false` if it is no use there.
type Tamper = fn(&mut FlatDump<'_>, usize, usize) -> bool;

#[test]
fn tampering_is_found_out() {
    let tampers: [(&str, Tamper); 6] = [
        ("offset", |flat, view, range| {
            let line = &mut flat.views[view].ranges[range].line;
            line.offset = line.offset.wrapping_add(0x10);
            true
        }),
        ("name", |flat, view, range| {
            flat.views[view].ranges[range].line.name = "somebody else";
            true
        }),
        ("priority", |flat, view, range| {
            flat.views[view].ranges[range].line.priority += 7;
            true
        }),
        ("type", |flat, view, range| {
            let line = &mut flat.views[view].ranges[range].line;
            let was = std::mem::replace(&mut line.type_name, "ramd");
            was != "ramd"
        }),
        ("end", |flat, view, range| {
            let line = &mut flat.views[view].ranges[range].line;
            line.last -= u64::from(line.last > line.start);
            line.type_name == "ram" && line.last > line.start
        }),
        ("missing", |flat, view, range| {
            flat.views[view].ranges.remove(range).line.type_name == "ram"
        }),
    ];
    let mut failures = Vec::new();
    let mut tried = 0;
    for (number, machine) in Corpus::from_env().unwrap().machines().enumerate() {
        let machine = machine.unwrap();
        let dumps = dumps(&[&machine.texts.mtree_d_upper, &machine.texts.mtree_f]);
        let (Some(tree), Some(flat)) = combine(dumps) else {
            continue;
        };
        for (which, (name, tamper)) in tampers.iter().enumerate() {
            let views = flat
                .views
                .iter()
                .enumerate()
                .filter(|(_, view)| !view.ranges.is_empty());
            let views: Vec<usize> = views.map(|(place, _)| place).collect();
            // Another place in each machine.
            let view = views[(number + which) % views.len()];
            let range = (number * 7 + which * 13) % flat.views[view].ranges.len();
            let mut tampered = flat.clone();
            if !tamper(&mut tampered, view, range) {
                continue;
            }
            tried += 1;
            let report = check(&tree, &tampered).unwrap();
            if report.verdict != Verdict::Different {
                let line = flat.views[view].ranges[range].line;
                failures.push(format!("{} {name} at {line}: {:?}", machine.name, report.assumed));
            }
        }
    }
    println!("{tried} views were tampered with");
    assert!(failures.is_empty(), "{failures:#?}");
}

/// The views, whatever order they are printed in.
fn in_order(flat: &FlatDump<'_>) -> Vec<String> {
    let mut views: Vec<String> = Vec::new();
    for view in &flat.views {
        let lines: String = view
            .ranges
            .iter()
            .map(|range| format!("{}\n", range.line))
            .collect();
        views.extend(
            view.spaces
                .iter()
                .map(|space| format!("{space}\n{}\n{lines}", view.root)),
        );
    }
    views.sort();
    views
}

/// A machine's tree does not agree with the views of another.
#[test]
fn machines_are_told_apart() {
    let machines: Vec<Machine> = Corpus::from_env()
        .unwrap()
        .machines()
        .map(Result::unwrap)
        .collect();
    let mut told_apart = 0;
    for pair in machines.windows(2).step_by(5) {
        let own = dumps(&[&pair[0].texts.mtree, &pair[0].texts.mtree_f]);
        let mixed = dumps(&[&pair[0].texts.mtree, &pair[1].texts.mtree_f]);
        let flat = |dumps: &[Dump<'_>]| in_order(&combine(dumps.to_vec()).1.unwrap());
        let differ = flat(&own) != flat(&mixed);
        let verdict = checked(&mixed).verdict;
        assert_eq!(
            verdict == Verdict::Different,
            differ,
            "{} and {}",
            pair[0].name,
            pair[1].name
        );
        told_apart += usize::from(differ);
    }
    assert!(told_apart > 0);
}
