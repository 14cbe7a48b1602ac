use super::*;
use crate::{Memory, RamBlock, Size};

/// What is behind the range at `address`, when `block` is mapped there whole but sized `size`.
fn behind(block: RamBlock, size: u64) -> Option<HostMemory> {
    let memory = Memory::new();
    let system = memory.region("system").container(Size::MAX);
    let space = memory.create_address_space("memory", &system).unwrap();
    let ram = memory.region("ram").ram(block);
    memory
        .update(|tx| {
            tx.set_size(&ram, size)?;
            tx.add_subregion(&system, 0x1000, &ram)
        })
        .unwrap();
    HostMemory::behind(space.view().find(0x1000).unwrap())
}

#[test]
fn a_range_larger_than_its_block_is_cut() {
    let part = behind(RamBlock::foreign(0x3000, 0x10_0000), 0x8000).unwrap();
    assert_eq!(part.range().to_string(), "0x1000-0x3fff");
    assert_eq!((part.size(), part.address()), (0x3000, 0x10_0000));
}

#[test]
fn a_range_smaller_than_its_block_is_whole() {
    let part = behind(RamBlock::foreign(0x3000, 0x10_0000), 0x1000).unwrap();
    assert_eq!(part.range().to_string(), "0x1000-0x1fff");
}

#[test]
fn nothing_is_behind_what_has_no_host_memory() {
    assert_eq!(behind(RamBlock::unbacked(0x3000), 0x3000), None);
    assert_eq!(behind(RamBlock::foreign(0, 0x10_0000), 0x3000), None);
    // A block that its owner says ends beyond the host's last address.
    assert_eq!(
        behind(RamBlock::foreign(0x3000, usize::MAX - 0x1000), 0x3000),
        None
    );
    assert!(behind(RamBlock::foreign(0x3000, usize::MAX - 0x2fff), 0x3000).is_some());
}

#[test]
fn an_alias_of_what_lies_beyond_the_block_shows_nothing() {
    let memory = Memory::new();
    let system = memory.region("system").container(Size::MAX);
    let space = memory.create_address_space("memory", &system).unwrap();
    let ram = memory.region("ram").ram(RamBlock::foreign(0x1000, 0x10_0000));
    let beyond = memory.region("beyond").alias(&ram, 0x2000, 0x1000).unwrap();
    memory
        .update(|tx| {
            tx.set_size(&ram, 0x4000)?;
            tx.add_subregion(&system, 0, &beyond)
        })
        .unwrap();
    assert_eq!(HostMemory::behind(space.view().find(0).unwrap()), None);
}
