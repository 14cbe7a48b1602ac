//! Firmware in the memory map (rule Y6).

use flatview::{Memory, RamBlock, Region};

use super::PcError;

/// What of the firmware is seen below 1 MiB, in bytes.
const ISA_BIOS: u64 = 0x2_0000;

/// Maps the firmware into `pci`, where it ends at 4 GiB and at 1 MiB, and the ROM of 128 KiB at 0xc0000 behind PAM.
pub(super) fn map(machine: &Memory, pci: &Region, image: &[u8]) -> Result<(), PcError> {
    let size = image.len() as u64;
    let block = RamBlock::builder(size).name("pc.bios").anonymous()?;
    if let Some(window) = block.window(0, size) {
        // A block of this size has memory at all of it.
        let _ = window.write(0, image);
    }
    let bios = machine.region("pc.bios").rom(block);
    let isa_size = size.min(ISA_BIOS);
    let isa = machine
        .region("isa-bios")
        .readonly(true)
        .alias(&bios, size - isa_size, isa_size)?;
    let rom = machine
        .region("pc.rom")
        .rom(RamBlock::builder(ISA_BIOS).name("pc.rom").anonymous()?);
    machine.update(|tx| {
        tx.add_subregion_overlap(pci, 0xc_0000, &rom, 1)?;
        tx.add_subregion_overlap(pci, 0x10_0000 - isa_size, &isa, 1)?;
        tx.add_subregion(pci, (1 << 32) - size, &bios)
    })?;
    Ok(())
}
