//! A device that is passed through to a guest, and the few bytes of it that the guest must not touch.
//!
//! VFIO lets a guest access a BAR of a real device directly: the BAR's pages are mapped into the guest like RAM.
//! Some devices have registers that would show the guest where the BAR *really* is, or that reach configuration
//! space; those have to be answered by the VMM ("quirks"). The MSI-X table must be, too. With a flat bus that
//! means to cut the mapping into pieces by hand, and to do it again whenever the guest moves the BAR.
//!
//! Here it is one region on top of another:
//!
//! ```text
//! pci ──► BAR 0                                        any access the rest does not answer: slow, through VFIO
//!          ├── quirk        @0x1800, 8 bytes           priority 1: a register that lies to the guest
//!          ├── mmaps[0]     @0x0000, 0x2000 bytes      priority 0: the device's own pages
//!          └── mmaps[1]     @0x3000, 0x1000 bytes      priority 0: the same, beyond the MSI-X table
//!
//!          0000         1800 1808      2000       3000       4000
//! BAR 0    [……………………………………………………………………………………………………………………………]
//! mmaps    [0000000000000000000000000000]          [1111111111]
//! quirk                  [q]
//! seen     [000000000000][q][00000000000][BAR 0   ][1111111111]
//! ```
//!
//! Run it with `cargo run -p flatview --example vfio_quirk`.

use std::sync::{Arc, Mutex};

use flatview::{
    Error, FlatView, ListenerResult, MemTxAttrs, MemTxError, Memory, MemoryListener, MemoryRegionOps,
    MemoryRegionOpsMut, MemoryRegionSection, RamBlock, RegionKind, Size,
};

/// The slow way: `pread` and `pwrite` on the VFIO descriptor, which an example does not have.
struct ThroughVfio;

impl MemoryRegionOps for ThroughVfio {
    fn read(&self, _offset: u64, _size: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(0)
    }

    fn write(&self, _offset: u64, _size: u32, _value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        Ok(())
    }
}

/// The register in which the device shows its own BAR. The guest reads back what the guest has programmed.
struct BarMirror {
    programmed: u64,
}

impl MemoryRegionOpsMut for BarMirror {
    fn read(&mut self, offset: u64, _size: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(self.programmed >> (8 * offset))
    }

    fn write(&mut self, _offset: u64, _size: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        self.programmed = value;
        Ok(())
    }
}

/// What an accelerator does: pages of a device go into the guest, everything else is left to trap.
#[derive(Default)]
struct Accelerator {
    mapped: Mutex<Vec<String>>,
}

impl MemoryListener for Accelerator {
    fn name(&self) -> &str {
        "accelerator"
    }

    fn region_add(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        if section.region().kind() == RegionKind::RamDevice {
            let mut mapped = self.mapped.lock().map_err(|_| "poisoned")?;
            mapped.push(format!("map {}", section.range().range()));
        }
        Ok(())
    }

    fn region_del(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        if section.region().kind() == RegionKind::RamDevice {
            let mut mapped = self.mapped.lock().map_err(|_| "poisoned")?;
            mapped.push(format!("unmap {}", section.range().range()));
        }
        Ok(())
    }
}

impl Accelerator {
    fn take(&self) -> Vec<String> {
        self.mapped
            .lock()
            .map(|mut mapped| std::mem::take(&mut *mapped))
            .unwrap_or_default()
    }
}

/// The ranges of a view, one a line.
fn ranges(view: &FlatView) -> Vec<String> {
    let line = |range: &flatview::FlatRange| {
        let (at, region) = (range.range(), range.region());
        format!(
            "{at} {} +{:#x} ({:?})",
            region.name(),
            range.offset_in_region(),
            region.kind()
        )
    };
    view.iter().map(line).collect()
}

fn show(what: &str, lines: &[String], expected: &[&str]) {
    println!("{what}:");
    for line in lines {
        println!("  {line}");
    }
    assert_eq!(lines, expected, "{what}");
}

fn main() -> Result<(), Error> {
    let memory = Memory::new();
    let pci = memory.region("pci").container(Size::MAX);
    let space = memory.create_address_space("memory", &pci)?;
    let accelerator = Arc::new(Accelerator::default());
    let _registration = space.register(accelerator.clone())?;

    // The kernel says where in this process the device's pages are; here nobody will touch them.
    let pages = |size, host| RamBlock::foreign(size, host);
    let bar = memory.region("BAR 0").io(0x4000, Arc::new(ThroughVfio));
    let low = memory
        .region("mmaps[0]")
        .ram_device(pages(0x2000, 0x7f00_0000_0000));
    let high = memory
        .region("mmaps[1]")
        .ram_device(pages(0x1000, 0x7f00_0000_3000));
    let mirror = Mutex::new(BarMirror {
        programmed: 0xfe00_0000,
    });
    let quirk = memory.region("quirk").io(8, Arc::new(mirror));
    memory.update(|tx| {
        tx.add_subregion(&bar, 0, &low)?;
        tx.add_subregion(&bar, 0x3000, &high)?;
        tx.add_subregion_overlap(&bar, 0x1800, &quirk, 1)
    })?;

    // The guest programs the BAR: one region is mapped, with all that is in it.
    memory.update(|tx| tx.add_subregion(&pci, 0xfe00_0000, &bar))?;
    show(
        "the guest sees",
        &ranges(&space.view()),
        &[
            "0xfe000000-0xfe0017ff mmaps[0] +0x0 (RamDevice)",
            "0xfe001800-0xfe001807 quirk +0x0 (Mmio)",
            "0xfe001808-0xfe001fff mmaps[0] +0x1808 (RamDevice)",
            "0xfe002000-0xfe002fff BAR 0 +0x2000 (Mmio)",
            "0xfe003000-0xfe003fff mmaps[1] +0x0 (RamDevice)",
        ],
    );
    // An accelerator maps whole pages: it will leave the page around the quirk to trap as a whole.
    show(
        "the accelerator was told to",
        &accelerator.take(),
        &[
            "map 0xfe000000-0xfe0017ff",
            "map 0xfe001808-0xfe001fff",
            "map 0xfe003000-0xfe003fff",
        ],
    );

    // The guest moves the BAR: one verb; the mappings and the quirk go along.
    memory.update(|tx| tx.set_address(&bar, 0xc000_0000))?;
    let view = space.view();
    assert_eq!(view.find(0xc000_1804).map(|range| range.region()), Some(&quirk));
    assert_eq!(view.find(0xfe00_1804), None);
    show(
        "after a move, the accelerator was told to",
        &accelerator.take(),
        &[
            "unmap 0xfe000000-0xfe0017ff",
            "unmap 0xfe001808-0xfe001fff",
            "unmap 0xfe003000-0xfe003fff",
            "map 0xc0000000-0xc00017ff",
            "map 0xc0001808-0xc0001fff",
            "map 0xc0003000-0xc0003fff",
        ],
    );

    // Without the quirk the two pieces are one again, without anybody's having to remember that they were.
    memory.update(|tx| tx.set_enabled(&quirk, false))?;
    show(
        "without the quirk, the accelerator was told to",
        &accelerator.take(),
        &[
            "unmap 0xc0000000-0xc00017ff",
            "unmap 0xc0001808-0xc0001fff",
            "map 0xc0000000-0xc0001fff",
        ],
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_shows_what_it_says() {
        super::main().unwrap();
    }
}
