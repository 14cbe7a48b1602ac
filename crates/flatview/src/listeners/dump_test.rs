use super::super::fixture::Machine;
use super::*;
use crate::RamBlock;

/// `range region@offset`, and where it is.
fn blocks(machine: &Machine, dump: GuestMemoryDump) -> Vec<String> {
    let blocks = dump.blocks(&machine.space).unwrap();
    let line = |block: &GuestPhysBlock| {
        let GuestPhysBlock {
            range,
            region,
            offset_in_region,
            host_address,
        } = block;
        let host = host_address.map_or("nowhere".to_owned(), |address| format!("{address:#x}"));
        format!("{range} {}@{offset_in_region:#x} at {host}", region.name())
    };
    blocks.iter().map(line).collect()
}

fn dump(machine: &Machine) -> Vec<String> {
    blocks(machine, GuestMemoryDump::new())
}

#[test]
fn x15_ram_and_rom_are_dumped_and_nothing_else() {
    let machine = Machine::new();
    let rom = machine
        .memory
        .region("rom")
        .rom(RamBlock::foreign(0x1000, 0x70_0000));
    let bar = machine
        .memory
        .region("bar")
        .ram_device(RamBlock::foreign(0x1000, 0x71_0000));
    let nowhere = machine.memory.region("nowhere").ram(RamBlock::unbacked(0x1000));
    machine.map(0x5000, &nowhere);
    machine.map(0x4000, &machine.iommu(0x1000));
    machine.map(0x3000, &machine.reservation(0x1000));
    machine.map(0x2000, &machine.rom_device(0x1000, 0x72_0000));
    machine.map(0x1000, &bar);
    machine.map(0, &rom);
    assert_eq!(
        dump(&machine),
        [
            "0x0-0xfff rom@0x0 at 0x700000",
            "0x5000-0x5fff nowhere@0x0 at nowhere"
        ]
    );
}

/// The flag of the range, which comes from the alias; QEMU reads that of the region.
#[test]
fn d6_an_nvdimm_is_left_out_unless_it_is_asked_for() {
    let machine = Machine::new();
    let file = machine.ram("file", 0x2000, 0x70_0000);
    let nvdimm = machine
        .memory
        .region("nvdimm")
        .nonvolatile(true)
        .alias(&file, 0x1000, 0x1000)
        .unwrap();
    machine.map(0x1_0000_0000, &nvdimm);
    machine.map(0, &machine.ram("ram", 0x1000, 0x71_0000));
    let ram = "0x0-0xfff ram@0x0 at 0x710000";
    assert_eq!(dump(&machine), [ram]);
    let all = blocks(&machine, GuestMemoryDump::new().with_nonvolatile());
    assert_eq!(all, [ram, "0x100000000-0x100000fff file@0x1000 at 0x701000"]);
}

#[test]
fn contiguous_ranges_are_one_block() {
    let machine = Machine::new();
    let ram = machine.ram("ram", 0x6000, 0x70_0000);
    let part = |offset| machine.memory.region("part").alias(&ram, offset, 0x1000).unwrap();
    let readonly = part(0x1000);
    machine.map(0x1_0000, &part(0));
    machine.map(0x1_1000, &readonly);
    machine.map(0x1_2000, &part(0x2000));
    // Not in the region …
    machine.map(0x1_3000, &part(0x4000));
    // … and not in the guest.
    machine.map(0x1_5000, &part(0x5000));
    machine.update(|tx| tx.set_readonly(&readonly, true));
    assert_eq!(machine.ranges().len(), 5);
    let expected = [
        "0x10000-0x12fff ram@0x0 at 0x700000",
        "0x13000-0x13fff ram@0x4000 at 0x704000",
        "0x15000-0x15fff ram@0x5000 at 0x705000",
    ];
    assert_eq!(dump(&machine), expected);
}

#[test]
fn blocks_of_two_regions_that_touch_in_the_process_stay_two() {
    let machine = Machine::new();
    machine.map(0, &machine.ram("a", 0x1000, 0x70_0000));
    // At the offset that would continue the other.
    let b = machine.ram("b", 0x2000, 0x70_0000);
    let b = machine.memory.region("part").alias(&b, 0x1000, 0x1000).unwrap();
    machine.map(0x1000, &b);
    assert_eq!(dump(&machine).len(), 2);
}

#[test]
fn what_a_region_has_beyond_its_ram_is_not_dumped() {
    let machine = Machine::new();
    let ram = machine.ram("ram", 0x1800, 0x70_0000);
    machine.update(|tx| tx.set_size(&ram, 0x4000));
    machine.map(0, &ram);
    assert_eq!(dump(&machine), ["0x0-0x17ff ram@0x0 at 0x700000"]);
}

#[test]
fn x15_the_listener_leaves_no_trace() {
    let machine = Machine::new();
    machine.map(0, &machine.ram("ram", 0x1000, 0));
    dump(&machine);
    // A space with a listener cannot be destroyed.
    machine.space.destroy().unwrap();
    let destroyed = GuestMemoryDump::new().blocks(&machine.space);
    assert!(matches!(destroyed, Err(Error::AddressSpaceDestroyed { .. })));
}

#[test]
fn nobody_dumps_within_an_update() {
    let machine = Machine::new();
    machine.update(|_| {
        let dumped = GuestMemoryDump::new().blocks(&machine.space);
        assert!(matches!(dumped, Err(Error::NestedUpdate)));
        Ok(())
    });
}
