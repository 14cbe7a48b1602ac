//! What people read, of real machines.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use flatview_corpus::Corpus;
use flatview_mtree::address;
use flatview_mtree::diff::{Diff, diff};
use flatview_mtree::find::{Found, Pattern, find};
use flatview_mtree::lint::{Options, Report, lint};
use flatview_mtree::machine::Machine;
use flatview_mtree::text::parse;

/// What `info mtree -D` and `-f` print, one behind the other.
fn text(name: &str) -> String {
    let texts = Corpus::packed().machine(name).unwrap().texts;
    texts.mtree_d_upper.unwrap() + &texts.mtree_f.unwrap()
}

fn with<T>(text: &str, ask: impl FnOnce(&Machine<'_>) -> T) -> T {
    ask(&Machine::new(parse(text).unwrap()).unwrap())
}

fn found(name: &str, pattern: &str) -> String {
    with(&text(name), |machine| {
        let found = find(machine, &Pattern::new(pattern)).unwrap();
        found.iter().map(Found::to_string).collect()
    })
}

fn report(name: &str) -> String {
    with(&text(name), |machine| {
        Report(&lint(machine, &Options::default()).unwrap()).to_string()
    })
}

fn changes(before: &str, after: &str) -> Diff {
    let (before, after) = (text(before), text(after));
    let machine = |text| Machine::new(parse(text).unwrap()).unwrap();
    diff(&machine(&before), &machine(&after))
}

/// Explanations of addresses of a space, by what these texts say.
fn explained(text: &str, space: &str, addresses: &[&str]) -> String {
    with(text, |machine| {
        let space = machine.space(Some(space)).unwrap();
        let ranges = addresses.iter().map(|address| address::parse(address).unwrap());
        let explained = ranges.flat_map(|range| machine.explain_range(space, range));
        explained
            .map(|explained| explained.unwrap().to_string())
            .collect()
    })
}

#[test]
fn explain_with_and_without_views() {
    let name = "x86-pc-tcg-smp1-run";
    let memory = [
        "0xa0000",
        "0xf0000",
        "4G-64K",
        "0xfd000000",
        "0xfedff000..0xfee00010",
    ];
    insta::assert_snapshot!("explain-pc", explained(&text(name), "memory", &memory));
    let tree = Corpus::packed().machine(name).unwrap().texts.mtree.unwrap();
    insta::assert_snapshot!(
        "explain-pc-tree-only",
        explained(&tree, "I/O", &["0x70", "0x71", "0xafe4"])
    );
    let overlapping = Corpus::packed()
        .machine("rnd-pc-std-s103-n20")
        .unwrap()
        .texts
        .mtree
        .unwrap();
    let order = explained(&overlapping, "memory", &["0xe0000..0xf0000"]);
    insta::assert_snapshot!("explain-order", order);
}

#[test]
fn find_on_pc_and_q35() {
    insta::assert_snapshot!("find-q35-ram", found("x86-q35-storage-run", "=pc.ram"));
    insta::assert_snapshot!("find-pc-vga", found("x86-pc-tcg-smp1-run", "vga*"));
}

#[test]
fn lint_on_machines_of_each_sort() {
    for name in [
        "x86-pc-tcg-smp1-run",
        "rnd-q35-std-s605-n150",
        "arm64-virt-secure",
        "alpha-clipper-overflow",
    ] {
        insta::assert_snapshot!(format!("lint-{name}"), report(name));
    }
}

#[test]
fn diff_of_reset_and_run() {
    insta::assert_snapshot!(
        "diff-pc-run",
        changes("x86-pc-tcg-smp1-reset", "x86-pc-tcg-smp1-run")
    );
    insta::assert_snapshot!(
        "diff-q35-run",
        changes("x86-q35-tcg-smp1-reset", "x86-q35-tcg-smp1-run")
    );
}

#[test]
fn diff_of_an_unplugged_device() {
    let unplugged = changes("x86-pc-unplug-pci-before", "x86-pc-unplug-pci-ejected5");
    insta::assert_snapshot!("diff-pc-unplug", unplugged);
    let json = serde_json::to_string_pretty(&unplugged.tree[0]).unwrap();
    insta::assert_snapshot!("diff-pc-unplug-json", json);
}

#[test]
fn diff_of_two_versions_and_of_random_bridges() {
    let versions = changes("x86-pc-i440fx-2.4-reset", "x86-pc-i440fx-2.12-reset");
    insta::assert_snapshot!("diff-pc-versions", versions);
    let bridges = changes("rnd-pc-bridges-s500-n15", "rnd-pc-bridges-s502-n80");
    insta::assert_snapshot!("diff-bridges", bridges);
}
