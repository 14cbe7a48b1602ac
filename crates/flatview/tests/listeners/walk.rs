//! Random changes of a machine with regions of every kind.

use std::sync::Arc;

use flatview::{Error, IommuAccess, IommuOps, IotlbEntry, RamBlock, Region, RegionKind, Transaction};

use crate::machine::{Machine, Nothing};
use crate::random::Random;

/// Where the memory of the RAM device is in this process.
pub(crate) const BAR_AT: usize = 0x7f30_0000_0000;

/// The regions that are changed.
pub(crate) struct Walk {
    system: Region,
    /// A container among the others.
    bus: Region,
    regions: Vec<Region>,
}

struct Refuses;

impl IommuOps for Refuses {
    fn translate(&self, iova: u64, _: IommuAccess, _: u32) -> IotlbEntry {
        IotlbEntry {
            target: None,
            iova,
            translated_address: 0,
            address_mask: 0,
            permission: IommuAccess::empty(),
        }
    }
}

impl Walk {
    pub(crate) fn new() -> (Machine, Walk) {
        let machine = Machine::new();
        let Machine { memory, system, .. } = &machine;
        let block = |size, host| RamBlock::foreign(size, host);
        let low = memory.region("low").ram(block(0x2_0000, 0x7f00_0000_0000));
        let high = memory.region("high").ram(block(0x8000, 0x7f10_0000_0000));
        let alias = |name, offset, size| memory.region(name).alias(&low, offset, size).unwrap();
        let bus = memory.region("bus").container(0x1_0000);
        let regions = vec![
            alias("window0", 0, 0x8000),
            alias("window1", 0x8000, 0x8000),
            alias("window2", 0x1_0000, 0x4000),
            memory.region("rom").rom(block(0x4000, 0x7f20_0000_0000)),
            memory.region("bar").ram_device(block(0x6000, BAR_AT)),
            memory.region("nowhere").ram(RamBlock::unbacked(0x2000)),
            memory
                .region("flash")
                .rom_device(block(0x4000, 0x7f40_0000_0000), Arc::new(Nothing)),
            memory.region("registers").io(0x1000, Arc::new(Nothing)),
            memory.region("few").io(0x400, Arc::new(Nothing)),
            memory.region("iommu").iommu(0x3000, Arc::new(Refuses)),
            memory
                .region("nvdimm")
                .nonvolatile(true)
                .alias(&high, 0, 0x8000)
                .unwrap(),
            bus.clone(),
            low,
            high,
        ];
        let system = system.clone();
        (machine, Walk { system, bus, regions })
    }

    /// A few random changes in one transaction.
    pub(crate) fn step(&self, tx: &mut Transaction<'_>, random: &mut Random) -> Result<(), Error> {
        for _ in 0..=random.below(3) {
            self.change(tx, random)?;
        }
        Ok(())
    }

    fn change(&self, tx: &mut Transaction<'_>, random: &mut Random) -> Result<(), Error> {
        let region = random.pick(&self.regions).clone();
        let flag = random.chance(2);
        let fine = *random.pick(&[0x400, 0x1000, 0x1000, 0x1000]);
        let address = match random.chance(16) {
            true => (1 << 63) - 0x2000 + random.below(8) * 0x1000,
            false => random.below(0x3_0000 / fine) * fine,
        };
        match random.below(12) {
            0..=4 => match region.state()?.container {
                Some(container) => tx.del_subregion(&container, &region)?,
                None => {
                    let inner = region != self.bus && random.chance(4);
                    let container = if inner { &self.bus } else { &self.system };
                    let priority = i32::try_from(random.below(4)).unwrap_or(0);
                    tx.add_subregion_overlap(container, address, &region, priority)?;
                }
            },
            5 => tx.set_address(&region, address)?,
            6 => tx.set_enabled(&region, !random.chance(4))?,
            7 => tx.set_readonly(&region, random.chance(4))?,
            8 => tx.set_unmergeable(&region, flag)?,
            9 => tx.set_size(&region, fine * (1 + random.below(12)))?,
            10 if region.kind() == RegionKind::Alias => {
                tx.set_alias_offset(&region, fine * random.below(16))?
            }
            10 if region.kind() == RegionKind::RomDevice => tx.rom_device_set_romd(&region, flag)?,
            10 => tx.set_nonvolatile(&region, flag)?,
            _ => {
                let logged = region.state()?.dirty_log_mask.is_empty();
                tx.set_log(&region, logged)?;
            }
        }
        Ok(())
    }
}
