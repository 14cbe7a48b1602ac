//! Texts of `info mtree` of any size.

use flatview::{AddressSpace, Error, Memory, RamBlock, Size};

/// What `info mtree` prints of a PC with so many cards that the text is at least `bytes` long.
///
/// Each card has a window of registers with three children, a ROM, and a bus master with a space of its own.
///
/// # Errors
///
/// Those of building the machine.
pub fn pc(bytes: usize) -> Result<String, Error> {
    let mut cards = bytes / 1000 + 1;
    loop {
        let text = with_cards(cards)?;
        if text.len() >= bytes {
            return Ok(text);
        }
        cards += cards / 10 + 1;
    }
}

fn with_cards(cards: usize) -> Result<String, Error> {
    let memory = Memory::new();
    let system = memory.region("system").container(Size::MAX);
    let ram = memory.region("pc.ram").ram(RamBlock::unbacked(4 << 30));
    let low = memory.region("ram-below-4g").alias(&ram, 0, 3_u64 << 30)?;
    let high = memory.region("ram-above-4g").alias(&ram, 3 << 30, 1_u64 << 30)?;
    let pci = memory.region("pci").container(Size::MAX);
    let mut spaces: Vec<AddressSpace> = vec![memory.create_address_space("memory", &system)?];
    memory.update(|tx| {
        tx.add_subregion(&system, 0, &low)?;
        tx.add_subregion(&system, 4 << 30, &high)?;
        tx.add_subregion_overlap(&system, 0, &pci, -1)
    })?;
    for card in 0..cards {
        let name = |what: &str| format!("card-{card}{what}");
        let bar = memory.region(&name("-bar")).container(0x4000);
        let rom = memory.region(&name(".rom")).rom(RamBlock::unbacked(0x4_0000));
        let master = memory.region("bus master container").container(Size::MAX);
        let all = memory.region("bus master").alias(&system, 0, Size::MAX)?;
        let at = (1 << 40) + ((card as u64) << 20);
        memory.update(|tx| {
            for (part, offset) in [("-common", 0), ("-device", 0x1000), ("-notify", 0x3000)] {
                let part = memory.region(&name(part)).reservation(0x1000);
                tx.add_subregion(&bar, offset, &part)?;
            }
            tx.add_subregion_overlap(&pci, at, &bar, 1)?;
            tx.add_subregion_overlap(&pci, at + 0x8_0000, &rom, 1)?;
            tx.add_subregion(&master, 0, &all)
        })?;
        spaces.push(memory.create_address_space(&name(""), &master)?);
    }
    Ok(memory.mtree().to_string())
}
