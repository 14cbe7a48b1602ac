//! From a graph of regions to a [`Memory`], through the public API.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use flatview::{
    AddressSpace, Compat, Error, IommuAccess, IommuOps, IotlbEntry, MemTxAttrs, MemTxError, Memory,
    MemoryRegionOps, Owner, RamBlock, Region, Size, Transaction,
};
use flatview_corpus::{RegionId, Truth, TruthRegion};

use crate::Failure;

/// The owner and the parent of a region.
pub(crate) type OwnerAndParent = (Option<Owner>, Option<Owner>);

/// How to build a machine.
#[derive(Clone, Copy)]
pub(crate) struct Plan<'a> {
    truth: &'a Truth,
    /// Which spaces to make, in this order; `None`: all, in the machine's own.
    spaces: Option<&'a [usize]>,
    space_name: Option<&'a dyn Fn(usize) -> String>,
    owners: Option<&'a dyn Fn(RegionId) -> OwnerAndParent>,
    compat: Compat,
}

/// A machine's memory, and who is who in it.
pub(crate) struct Built {
    pub(crate) memory: Memory,
    pub(crate) regions: BTreeMap<RegionId, Region>,
    ids: HashMap<Region, RegionId>,
    /// In order of creation.
    pub(crate) spaces: Vec<AddressSpace>,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(truth: &'a Truth) -> Plan<'a> {
        Plan {
            truth,
            spaces: None,
            space_name: None,
            owners: None,
            compat: Compat::empty(),
        }
    }

    pub(crate) fn spaces(self, spaces: &'a [usize]) -> Plan<'a> {
        let spaces = Some(spaces);
        Plan { spaces, ..self }
    }

    pub(crate) fn space_name(self, name: &'a dyn Fn(usize) -> String) -> Plan<'a> {
        let space_name = Some(name);
        Plan { space_name, ..self }
    }

    pub(crate) fn owners(self, owners: &'a dyn Fn(RegionId) -> OwnerAndParent) -> Plan<'a> {
        let owners = Some(owners);
        Plan { owners, ..self }
    }

    pub(crate) fn compat(self, compat: Compat) -> Plan<'a> {
        Plan { compat, ..self }
    }

    /// Makes the regions, then the spaces, then everything else in one transaction.
    pub(crate) fn build(self) -> Result<Built, Failure> {
        self.try_build()
            .map_err(|error| format!("cannot be built: {error}"))
    }

    fn try_build(self) -> Result<Built, Error> {
        let truth = self.truth;
        let memory = Memory::with_compat(self.compat);
        let mut regions = BTreeMap::new();
        for &id in truth.regions.keys() {
            self.make_with_targets(&memory, id, &mut regions)?;
        }
        let all: Vec<usize> = (0..truth.spaces.len()).collect();
        let mut spaces = Vec::new();
        for &index in self.spaces.unwrap_or(&all) {
            let (name, root) = &truth.spaces[index];
            let name = self.space_name.map_or_else(|| name.clone(), |name| name(index));
            spaces.push(memory.create_address_space(&name, &regions[root])?);
        }
        memory.update(|tx| self.connect(tx, &memory, &regions))?;
        let ids = regions.iter().map(|(&id, region)| (region.clone(), id)).collect();
        Ok(Built {
            memory,
            regions,
            ids,
            spaces,
        })
    }

    /// Makes a region, and before it, if it is an alias, what it leads to.
    fn make_with_targets(
        &self,
        memory: &Memory,
        id: RegionId,
        regions: &mut BTreeMap<RegionId, Region>,
    ) -> Result<(), Error> {
        let mut chain = vec![id];
        while let Some(target) = self.truth[chain[chain.len() - 1]].alias {
            chain.push(target);
        }
        for id in chain.into_iter().rev() {
            if !regions.contains_key(&id) {
                let region = self.make(memory, id, regions)?;
                regions.insert(id, region);
            }
        }
        Ok(())
    }

    fn make(
        &self,
        memory: &Memory,
        id: RegionId,
        regions: &BTreeMap<RegionId, Region>,
    ) -> Result<Region, Error> {
        let of = &self.truth[id];
        let mut builder = memory
            .region(&of.name)
            .enabled(of.enabled)
            .readonly(of.ro)
            .nonvolatile(of.nv)
            .unmergeable(of.unm);
        if let Some(owners) = self.owners {
            let (owner, parent) = owners(id);
            if let Some(owner) = owner {
                builder = builder.owner(&owner);
            }
            if let Some(parent) = parent {
                builder = builder.parent(&parent);
            }
        }
        let block = || RamBlock::unbacked(u64::try_from(of.size).unwrap_or(u64::MAX));
        Ok(if let Some(target) = of.alias {
            builder.alias(&regions[&target], of.aoff, size_of(of))?
        } else if !of.term {
            builder.container(size_of(of))
        } else if of.iommu {
            builder.iommu(size_of(of), Arc::new(Nobody))
        } else if of.ramdev {
            builder.ram_device(block())
        } else if of.romdev {
            builder.rom_device(block(), Arc::new(Nobody))
        } else if of.ram {
            builder.ram(block())
        } else {
            builder.io(size_of(of), Arc::new(Nobody))
        })
    }

    fn connect(
        &self,
        tx: &mut Transaction<'_>,
        memory: &Memory,
        regions: &BTreeMap<RegionId, Region>,
    ) -> Result<(), Error> {
        // The priority that an unmapped region had where it was mapped last stays, and is printed.
        let elsewhere = memory.region("elsewhere").container(Size::MAX);
        for (id, of) in &self.truth.regions {
            let region = &regions[id];
            tx.set_size(region, size_of(of))?;
            if of.romdev {
                tx.rom_device_set_romd(region, of.romd)?;
            }
            for _ in 0..of.vgalog {
                tx.set_log(region, true)?;
            }
            if of.cont.is_none() {
                tx.add_subregion_overlap(&elsewhere, of.addr, region, of.prio)?;
                tx.del_subregion(&elsewhere, region)?;
            }
            // The newest is first among equals (rule B3).
            for child in of.sub.iter().rev() {
                let TruthRegion { addr, prio, .. } = self.truth[*child];
                tx.add_subregion_overlap(region, addr, &regions[child], prio)?;
            }
        }
        Ok(())
    }
}

pub(crate) fn size_of(region: &TruthRegion) -> Size {
    Size::new(region.size).expect("a size is at most 2^64")
}

impl Built {
    pub(crate) fn id_of(&self, region: &Region) -> RegionId {
        self.ids[region]
    }

    /// Destroys all spaces and makes those of the machine again, in this order.
    pub(crate) fn reorder(&mut self, truth: &Truth, order: &[usize]) -> Result<(), Failure> {
        let mut remake = || {
            for space in self.spaces.drain(..) {
                space.destroy()?;
            }
            for &index in order {
                let (name, root) = &truth.spaces[index];
                let root = &self.regions[root];
                self.spaces.push(self.memory.create_address_space(name, root)?);
            }
            Ok::<(), Error>(())
        };
        remake().map_err(|error| format!("spaces cannot be made again: {error}"))
    }
}

/// A device that is never asked.
struct Nobody;

impl MemoryRegionOps for Nobody {
    fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Err(MemTxError::DECODE_ERROR)
    }

    fn write(&self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        Err(MemTxError::DECODE_ERROR)
    }
}

impl IommuOps for Nobody {
    fn translate(&self, iova: u64, _: IommuAccess, _: u32) -> IotlbEntry {
        IotlbEntry {
            target: None,
            iova,
            translated_address: 0,
            address_mask: 0xfff,
            permission: IommuAccess::empty(),
        }
    }
}
