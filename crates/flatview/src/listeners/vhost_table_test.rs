use std::sync::Arc;

use super::super::fixture::Machine;
use super::*;
use crate::{ListenerError, Region};

/// Takes every block but those at `refuses`.
struct Backend {
    refuses: usize,
}

impl VhostBackend for Backend {
    fn set_mem_table(&self, _: &[VhostMemoryRegion]) -> Result<(), ListenerError> {
        Ok(())
    }
    fn accepts(&self, block: &RamBlock) -> bool {
        block.host_address() != Some(self.refuses)
    }
}

/// The entries of the table of a machine, printed.
fn table(machine: &Machine) -> Vec<String> {
    let table = Table::of(&machine.space.view(), &Arc::new(Backend { refuses: 0x66_0000 }));
    table.regions.iter().map(|region| format!("{region:?}")).collect()
}

/// What the table shows of one region that is mapped at 0.
fn table_of(make: impl FnOnce(&Machine) -> Region) -> Vec<String> {
    let machine = Machine::new();
    let region = make(&machine);
    machine.map(0, &region);
    table(&machine)
}

#[test]
fn x2_ram_and_ram_devices_are_in_the_table() {
    let entry = ["0x0+0x1000 at 0x700000"];
    assert_eq!(table_of(|machine| machine.ram("ram", 0x1000, 0x70_0000)), entry);
    let bar = |machine: &Machine| {
        machine
            .memory
            .region("bar")
            .ram_device(RamBlock::foreign(0x1000, 0x70_0000))
    };
    assert_eq!(table_of(bar), entry);
}

#[test]
fn x2_what_is_no_writable_ram_with_host_memory_is_not() {
    let block = || RamBlock::foreign(0x1000, 0x70_0000);
    let empty: [String; 0] = [];
    assert_eq!(
        table_of(|machine| machine.memory.region("rom").rom(block())),
        empty
    );
    assert_eq!(table_of(|machine| machine.rom_device(0x1000, 0x70_0000)), empty);
    assert_eq!(table_of(|machine| machine.iommu(0x1000)), empty);
    assert_eq!(table_of(|machine| machine.reservation(0x1000)), empty);
    assert_eq!(
        table_of(|machine| machine.memory.region("ram").ram(RamBlock::unbacked(0x1000))),
        empty
    );
    let readonly = |machine: &Machine| {
        let ram = machine.ram("ram", 0x1000, 0x70_0000);
        machine
            .memory
            .region("pam")
            .readonly(true)
            .alias(&ram, 0, 0x1000)
            .unwrap()
    };
    assert_eq!(table_of(readonly), empty);
}

#[test]
fn x2_what_the_backend_does_not_accept_is_not() {
    assert!(table_of(|machine| machine.ram("private", 0x1000, 0x66_0000)).is_empty());
}

/// A display's log needs marks that the device does not make; a migration's it makes, and code is not its
/// business.
#[test]
fn x2_what_a_display_logs_is_not() {
    let logged = |display, code, migration| {
        let machine = Machine::new();
        let ram = machine.ram("ram", 0x1000, 0x70_0000);
        machine.map(0, &ram);
        machine.update(|tx| {
            tx.set_code_logging(code);
            if display { tx.set_log(&ram, true) } else { Ok(()) }
        });
        if migration {
            machine
                .memory
                .global_dirty_log_start(crate::GlobalDirty::MIGRATION)
                .unwrap();
        }
        table(&machine).len()
    };
    assert_eq!(logged(false, true, true), 1);
    assert_eq!(logged(true, false, false), 0);
    assert_eq!(logged(true, true, true), 0);
}

/// Two halves of one RAM at 0 and 0x1000, the second non-volatile so that the view keeps them apart.
fn halves(change: impl FnOnce(&Machine, [&Region; 2])) -> Vec<String> {
    let machine = Machine::new();
    let ram = machine.ram("ram", 0x4000, 0x70_0000);
    let low = machine.memory.region("low").alias(&ram, 0, 0x1000).unwrap();
    let high = machine
        .memory
        .region("high")
        .nonvolatile(true)
        .alias(&ram, 0x1000, 0x1000)
        .unwrap();
    machine.map(0, &low);
    machine.map(0x1000, &high);
    change(&machine, [&low, &high]);
    assert!(machine.ranges().len() >= 2);
    table(&machine)
}

#[test]
fn x3_contiguous_neighbours_are_one_entry() {
    assert_eq!(halves(|_, _| ()), ["0x0+0x2000 at 0x700000"]);
}

#[test]
fn x3_neighbours_are_apart_if_either_is_unmergeable() {
    for index in 0..2 {
        let apart = halves(|machine, halves| machine.update(|tx| tx.set_unmergeable(halves[index], true)));
        assert_eq!(apart, ["0x0+0x1000 at 0x700000", "0x1000+0x1000 at 0x701000"]);
    }
}

#[test]
fn x3_neighbours_are_apart_if_they_are_not_contiguous_in_the_process() {
    let apart = halves(|machine, [_, high]| machine.update(|tx| tx.set_alias_offset(high, 0x2000)));
    assert_eq!(apart, ["0x0+0x1000 at 0x700000", "0x1000+0x1000 at 0x702000"]);
}

#[test]
fn x3_ranges_are_apart_if_they_are_not_neighbours_in_the_guest() {
    let apart = halves(|machine, [_, high]| machine.update(|tx| tx.set_address(high, 0x2000)));
    assert_eq!(apart, ["0x0+0x1000 at 0x700000", "0x2000+0x1000 at 0x701000"]);
}

#[test]
fn x3_neighbours_of_two_regions_are_apart() {
    let machine = Machine::new();
    machine.map(0, &machine.ram("a", 0x1000, 0x70_0000));
    machine.map(0x1000, &machine.ram("b", 0x1000, 0x70_1000));
    assert_eq!(
        table(&machine),
        ["0x0+0x1000 at 0x700000", "0x1000+0x1000 at 0x701000"]
    );
}

#[test]
fn an_address_is_found_in_one_entry_or_none() {
    let machine = Machine::new();
    machine.map(0x1000, &machine.ram("a", 0x1000, 0x70_0000));
    machine.map(0x2000, &machine.ram("b", 0x1000, 0x70_1000));
    let table = Table::of(&machine.space.view(), &Arc::new(Backend { refuses: 0 }));
    let find = |start, size| table.find(AddressRange::new(start, size).unwrap());
    assert_eq!(find(0x1000, 0x1000u64), Some(0x70_0000));
    assert_eq!(find(0x2800, 0x800), Some(0x70_1800));
    assert_eq!(find(0x1800, 0x1000), None);
    assert_eq!(find(0xfff, 1), None);
    assert_eq!(find(0x3000, 1), None);
    assert_eq!(find(0x2fff, 2), None);
}
