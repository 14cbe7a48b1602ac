//! The memory map after a reset, against QEMU's.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use flatview_corpus::Corpus;
use flatview_mtree::text::{Heading, parse};
use support::Guest;

/// Where a region is: its first and last address, its priority, and what it is an alias of.
type Place = (u64, u64, i32, Option<String>);

/// The regions of the spaces `memory` and `I/O`, by name, where they are enabled.
fn regions(text: &str) -> BTreeMap<String, BTreeSet<Place>> {
    let dumps = parse(text).unwrap();
    let mut regions: BTreeMap<String, BTreeSet<Place>> = BTreeMap::new();
    for group in dumps
        .iter()
        .filter_map(|dump| dump.tree())
        .flat_map(|tree| &tree.groups)
    {
        let Heading::Spaces(spaces) = &group.heading else {
            continue;
        };
        if !spaces.iter().any(|space| ["memory", "I/O"].contains(space)) {
            continue;
        }
        for region in &group.lines {
            let line = &region.line;
            let target = line.alias.as_ref().map(|alias| alias.target.to_string());
            let place = (line.start, line.last, line.priority, target);
            regions.entry(line.name.to_string()).or_default().insert(place);
        }
    }
    regions
}

/// What QEMU's machine has and ours has not: hotplug of CPUs and PCI functions, the DMA controllers and the floppy disks
/// that they are for, a printer, VMware's port, the SMBus, and a helper of KVM.
const MISSING: &[&str] = &[
    "acpi-cpu-hotplug",
    "acpi-pci-hotplug",
    "dma-chan",
    "dma-cont",
    "dma-page",
    "fdc",
    "kvmvapic",
    "parallel",
    "pm-smbus",
    "vmport",
];

#[test]
fn after_reset_regions_are_where_qemu_has_them() {
    let machine = Corpus::packed().machine("x86-pc-tcg-smp8-reset").unwrap();
    let qemus = regions(machine.texts.mtree.as_deref().unwrap());
    let Some(mut guest) = Guest::seabios(64, vec![]) else {
        return;
    };
    guest.pc.machine().reset().unwrap();
    let ours = regions(&guest.pc.memory().mtree().to_string());
    let mut missing = BTreeSet::new();
    for (name, places) in &qemus {
        match ours.get(name) {
            None => {
                missing.insert(name.as_str());
            }
            Some(have) => assert_eq!(have, places, "{name}"),
        }
    }
    assert_eq!(missing, MISSING.iter().copied().collect());
}
