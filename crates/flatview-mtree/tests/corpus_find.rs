//! Every machine of the corpus: found from end to end, looked through, and compared with itself.

use std::collections::BTreeMap;

use flatview_corpus::Corpus;
use flatview_mtree::diff::diff;
use flatview_mtree::find::{Pattern, find};
use flatview_mtree::lint::{Options, Report, lint};
use flatview_mtree::machine::Machine;
use flatview_mtree::text::{Dump, parse};

#[test]
fn what_is_found_is_what_the_views_have() {
    for machine in &Corpus::from_env().unwrap() {
        let machine = machine.unwrap();
        let (Some(tree), Some(flat)) = (&machine.texts.mtree_d_upper, &machine.texts.mtree_f) else {
            panic!("{} has no texts", machine.name);
        };
        let mut dumps = parse(tree).unwrap();
        dumps.extend(parse(flat).unwrap());
        let rebuilt = Machine::new(dumps.clone()).unwrap();
        let found = find(&rebuilt, &Pattern::new("*")).unwrap();
        // Of spaces with one name all ranges together.
        let mut shown: BTreeMap<&str, Vec<(u64, u64, &str, u64)>> = BTreeMap::new();
        for found in &found {
            assert_eq!(
                found.places.is_empty(),
                found.nowhere.is_some(),
                "{}",
                machine.name
            );
            for place in &found.places {
                let ranges = place.sightings.iter().flat_map(|sighting| &sighting.shown);
                let ranges = ranges.map(|shown| {
                    (
                        shown.range.start(),
                        shown.range.last(),
                        &*found.name,
                        shown.offset,
                    )
                });
                let ranges: Vec<_> = ranges.collect();
                for space in &place.spaces {
                    shown.entry(space).or_default().extend_from_slice(&ranges);
                }
            }
        }
        let mut viewed: BTreeMap<&str, Vec<(u64, u64, &str, u64)>> = BTreeMap::new();
        let layouts: Vec<_> = rebuilt.layouts().map(Result::unwrap).collect();
        for layout in &layouts {
            let ranges = layout.view.iter().map(|seen| {
                let range = (seen.range.start(), seen.range.last());
                (range.0, range.1, &*seen.region, seen.offset)
            });
            let ranges: Vec<_> = ranges.collect();
            for space in &layout.spaces {
                viewed.entry(space).or_default().extend_from_slice(&ranges);
            }
        }
        for (space, viewed) in &mut viewed {
            let shown = shown.entry(space).or_default();
            shown.sort_unstable();
            viewed.sort_unstable();
            assert_eq!(shown, viewed, "{} {space}", machine.name);
        }
        let findings = lint(&rebuilt, &Options::default()).unwrap();
        let report = Report(&findings).to_string();
        assert!(
            report.lines().count() < 200,
            "{}: nobody reads {report}",
            machine.name
        );
        serde_json::to_string(&(&found, &findings)).unwrap();
    }
}

#[test]
fn a_machine_is_equal_to_itself_in_any_order() {
    let mut unequal = Vec::new();
    for machine in &Corpus::from_env().unwrap() {
        let machine = machine.unwrap();
        let texts = &machine.texts;
        let (Some(all), Some(tree), Some(flat)) = (&texts.mtree_d_upper, &texts.mtree, &texts.mtree_f) else {
            panic!("{} has no texts", machine.name);
        };
        let mut dumps = parse(all).unwrap();
        dumps.extend(parse(flat).unwrap());
        let one = Machine::new(dumps.clone()).unwrap();
        let mut turned = dumps.clone();
        for dump in &mut turned {
            match dump {
                Dump::Tree(tree) => tree.groups.reverse(),
                Dump::Flat(flat) => {
                    flat.views.reverse();
                    flat.views.iter_mut().for_each(|view| view.spaces.reverse());
                }
            }
        }
        let other = Machine::new(turned.clone()).unwrap();
        let changes = diff(&one, &other);
        assert!(changes.is_empty(), "{}: {changes}", machine.name);

        let mut without = parse(tree).unwrap();
        without.extend(parse(flat).unwrap());
        let without = Machine::new(without.clone()).unwrap();
        for changes in [diff(&one, &without), diff(&without, &one)] {
            if !changes.is_empty() {
                unequal.push(format!("{} without -D: {changes}", machine.name));
            }
        }
        let Some(owned) = &texts.mtree_do_upper else {
            continue;
        };
        let mut owned = parse(owned).unwrap();
        owned.extend(parse(flat).unwrap());
        let changes = diff(&one, &Machine::new(owned.clone()).unwrap());
        assert!(changes.is_empty(), "{} with owners: {changes}", machine.name);
    }
    assert!(unequal.is_empty(), "{}", unequal.concat());
}
