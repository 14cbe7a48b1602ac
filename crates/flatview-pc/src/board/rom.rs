//! Firmware in the memory map (rule Y6).

use flatview::{Memory, Owner, RamBlock, RamError, Region};

use super::PcError;
use crate::layout::PAGE_SIZE;

/// What of the firmware is seen below 1 MiB, in bytes.
const ISA_BIOS: u64 = 0x2_0000;

/// Whole 64 KiB, as the CPU's addresses at the top are cut, and no more than there is room for below the local APIC.
const UNIT: u64 = 0x1_0000;
const MOST: u64 = 16 << 20;

/// Maps the firmware into `pci`, where it ends at 4 GiB and at 1 MiB, and the ROM of 128 KiB at 0xc0000 behind PAM.
pub(super) fn map(machine: &Memory, pci: &Region, image: &[u8]) -> Result<(), PcError> {
    let size = image.len() as u64;
    if size == 0 || !size.is_multiple_of(UNIT) || size > MOST {
        return Err(PcError::BiosSize { size });
    }
    let owner = Owner::device("pc");
    let bios = rom(machine, "pc.bios", &owner, image)?;
    let isa_size = size.min(ISA_BIOS);
    let isa = machine
        .region("isa-bios")
        .readonly(true)
        .alias(&bios, size - isa_size, isa_size)?;
    let behind_pam = rom(machine, "pc.rom", &owner, &[0; 0x2_0000])?;
    machine.update(|tx| {
        tx.add_subregion_overlap(pci, 0xc_0000, &behind_pam, 1)?;
        tx.add_subregion_overlap(pci, 0x10_0000 - isa_size, &isa, 1)?;
        tx.add_subregion(pci, (1 << 32) - size, &bios)
    })?;
    Ok(())
}

/// A ROM that shows `image`.
pub(super) fn rom(machine: &Memory, name: &str, owner: &Owner, image: &[u8]) -> Result<Region, RamError> {
    // Host memory comes in pages.
    let size = (image.len() as u64).next_multiple_of(PAGE_SIZE);
    let block = RamBlock::builder(size).name(name).anonymous()?;
    if let Some(window) = block.window(0, image.len() as u64) {
        // A block has memory at all of it, and this one can be written.
        let _ = window.write(0, image);
    }
    Ok(machine.region(name).owner(owner).rom(block))
}
