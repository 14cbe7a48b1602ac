//! Where RAM is: below 4 GiB, above it, and the hole between (rule Y1).

use flatview::{Error, Memory, RamBlock, RamError, Region, Size};
use thiserror::Error;

/// Guests with at least this much RAM, in bytes, have the hole begin at [`SPLIT`].
const LARGE: u64 = 0xe000_0000;
/// Where the hole begins in a large guest: whole gigabytes are below and above it.
const SPLIT: u64 = 0xc000_0000;
/// Where RAM goes on above the hole.
pub const ABOVE_4G: u64 = 1 << 32;
/// RAM comes in units of this many bytes.
pub const PAGE_SIZE: u64 = 4096;
/// The smallest PC: the BIOS works in the first mebibyte.
pub const MIN_RAM: u64 = 1 << 20;
/// Where RAM ends at the latest: the CPU has 40 bits of physical address, and an AMD processor uses the last 12 GiB
/// itself, for HyperTransport.
pub const HYPER_TRANSPORT: u64 = 0xfd_0000_0000;
/// Nodes of memory: ACPI's tables have more room, firmware has not.
const MAX_NODES: usize = 128;

/// The RAM of a PC, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RamLayout {
    /// From address 0.
    pub below_4g: u64,
    /// From 4 GiB.
    pub above_4g: u64,
    /// How it is divided into nodes, in ascending order; one node if empty.
    pub nodes: Vec<u64>,
}

/// Why a PC cannot have the RAM that was asked for.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// No RAM, or too little.
    #[error("{size:#x} bytes of RAM are too few: a PC has at least {MIN_RAM:#x}")]
    TooSmall {
        /// In bytes.
        size: u64,
    },
    /// Not whole pages.
    #[error("{size:#x} bytes of RAM are not a multiple of a page, {PAGE_SIZE:#x} bytes")]
    Unaligned {
        /// In bytes.
        size: u64,
    },
    /// Beyond where RAM can be.
    #[error("{size:#x} bytes of RAM end above {HYPER_TRANSPORT:#x}, where no RAM can be")]
    TooLarge {
        /// In bytes.
        size: u64,
    },
    /// The nodes are not the RAM.
    #[error("the NUMA nodes have {nodes:#x} bytes of RAM together, but the machine has {size:#x}")]
    Nodes {
        /// In bytes.
        nodes: u64,
        /// In bytes.
        size: u64,
    },
    /// More nodes than a PC can have.
    #[error("{nodes} NUMA nodes: there can be at most {MAX_NODES}")]
    TooManyNodes {
        /// How many.
        nodes: usize,
    },
    /// The host has not that much memory to give.
    #[error("the host gives no {size:#x} bytes for `{name}`: {source}")]
    Host {
        /// The RAM's name.
        name: String,
        /// In bytes.
        size: u64,
        /// What the host says.
        source: RamError,
    },
    /// A region could not be made.
    #[error(transparent)]
    Memory(#[from] Error),
}

impl RamLayout {
    /// Where `size` bytes of RAM are, divided into `nodes`, if there are any.
    ///
    /// # Errors
    ///
    /// [`LayoutError`].
    pub fn new(size: u64, nodes: &[u64]) -> Result<RamLayout, LayoutError> {
        for size in nodes.iter().copied().chain([size]) {
            if !size.is_multiple_of(PAGE_SIZE) {
                return Err(LayoutError::Unaligned { size });
            }
        }
        if size < MIN_RAM {
            return Err(LayoutError::TooSmall { size });
        }
        let below_4g = if size >= LARGE { SPLIT } else { size };
        let above_4g = size - below_4g;
        if above_4g > HYPER_TRANSPORT - ABOVE_4G {
            return Err(LayoutError::TooLarge { size });
        }
        if nodes.len() > MAX_NODES {
            return Err(LayoutError::TooManyNodes { nodes: nodes.len() });
        }
        let sum = nodes.iter().fold(0_u64, |sum, &node| sum.saturating_add(node));
        if !nodes.is_empty() && sum != size {
            return Err(LayoutError::Nodes { nodes: sum, size });
        }
        Ok(RamLayout {
            below_4g,
            above_4g,
            nodes: nodes.to_vec(),
        })
    }

    /// All RAM, in bytes.
    pub fn size(&self) -> u64 {
        self.below_4g + self.above_4g
    }

    /// Whether the host gives that much now: it is asked, and given it back.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Host`].
    pub fn try_host(&self) -> Result<(), LayoutError> {
        let machine = Memory::new();
        let system = machine.region("system").container(Size::MAX);
        self.build(&machine, &system).map(drop)
    }

    /// Makes the RAM and maps it into `system` by two aliases. Returns the region `pc.ram`: a RAM block, or a
    /// container with a block for each node (rule Z16).
    ///
    /// # Errors
    ///
    /// [`LayoutError`].
    pub fn build(&self, machine: &Memory, system: &Region) -> Result<Region, LayoutError> {
        let block = |name: &str, size| {
            RamBlock::builder(size)
                .name(name)
                .anonymous()
                .map_err(|source| LayoutError::Host {
                    name: name.into(),
                    size,
                    source,
                })
        };
        let ram = match &self.nodes[..] {
            [] | [_] => machine.region("pc.ram").ram(block("pc.ram", self.size())?),
            nodes => {
                let ram = machine.region("pc.ram").container(self.size());
                let mut parts = Vec::new();
                let mut start = 0;
                for (number, &size) in nodes.iter().enumerate().filter(|(_, size)| **size != 0) {
                    let name = format!("ram-node{number}");
                    parts.push((start, machine.region(&name).ram(block(&name, size)?)));
                    start += size;
                }
                machine.update(|tx| {
                    parts
                        .iter()
                        .try_for_each(|(start, part)| tx.add_subregion(&ram, *start, part))
                })?;
                ram
            }
        };
        let below = machine.region("ram-below-4g").alias(&ram, 0, self.below_4g)?;
        machine.update(|tx| {
            tx.add_subregion(system, 0, &below)?;
            if self.above_4g != 0 {
                let above = machine
                    .region("ram-above-4g")
                    .alias(&ram, self.below_4g, self.above_4g)?;
                tx.add_subregion(system, ABOVE_4G, &above)?;
            }
            Ok(())
        })?;
        Ok(ram)
    }

    /// The blocks behind `ram`, a region that [`build`](Self::build) returned, with the address in all RAM at which each
    /// begins.
    pub(crate) fn blocks(ram: &Region) -> Vec<(u64, RamBlock)> {
        if let Some(block) = ram.ram_block() {
            return vec![(0, block.clone())];
        }
        let parts = ram.subregions().unwrap_or_default();
        let block = |part: Region| Some((part.state().ok()?.address, part.ram_block()?.clone()));
        let mut blocks: Vec<(u64, RamBlock)> = parts.into_iter().filter_map(block).collect();
        blocks.sort_by_key(|(start, _)| *start);
        blocks
    }
}

#[cfg(test)]
mod test {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    const MIB: u64 = 1 << 20;

    /// What QEMU 10.0 does: tests/golden/*.log, `qemu/e820`.
    #[test]
    fn ram_is_split_as_qemu_splits_it() {
        for (mib, below, above) in [
            (64, 64, 0),
            (3583, 3583, 0),
            (3584, 3072, 512),
            (4096, 3072, 1024),
            (8192, 3072, 5120),
        ] {
            let layout = RamLayout::new(mib * MIB, &[]).unwrap();
            assert_eq!(
                (layout.below_4g, layout.above_4g),
                (below * MIB, above * MIB),
                "{mib} MiB"
            );
        }
    }

    #[test]
    fn what_no_pc_can_have_is_refused() {
        let refused = |size, nodes: &[u64]| RamLayout::new(size, nodes).unwrap_err().to_string();
        assert_eq!(
            refused(0, &[]),
            "0x0 bytes of RAM are too few: a PC has at least 0x100000"
        );
        assert_eq!(
            refused(MIB + 1, &[]),
            "0x100001 bytes of RAM are not a multiple of a page, 0x1000 bytes"
        );
        assert!(refused(1 << 40, &[]).contains("above 0xfd00000000"));
        assert!(refused(!0xfff, &[]).contains("above 0xfd00000000"));
        assert!(
            refused(4 * MIB, &[MIB, MIB])
                .contains("0x200000 bytes of RAM together, but the machine has 0x400000")
        );
        assert!(refused(4 * MIB, &[!0xfff, 0x2000]).contains("together"));
        let host = RamLayout::new(HYPER_TRANSPORT - (1 << 32), &[]).unwrap();
        // A host with a terabyte may give it; all others say what they were asked for.
        if let Err(error) = host.try_host() {
            assert!(
                error.to_string().contains("0xfc00000000 bytes for `pc.ram`"),
                "{error}"
            );
        }
    }

    #[test]
    fn nodes_lie_one_after_the_other_across_the_hole() {
        let layout = RamLayout::new(8192 * MIB, &[2048 * MIB, 2048 * MIB, 4096 * MIB]).unwrap();
        let machine = Memory::new();
        let system = machine.region("system").container(Size::MAX);
        let ram = layout.build(&machine, &system).unwrap();
        let space = machine.create_address_space("memory", &system).unwrap();
        let name = |address| space.view().find(address).unwrap().region().name().to_owned();
        assert_eq!(
            (name(0), name(ABOVE_4G), name(ABOVE_4G + 1024 * MIB)),
            ("ram-node0".into(), "ram-node1".into(), "ram-node2".into())
        );
        let starts: Vec<u64> = RamLayout::blocks(&ram).iter().map(|(start, _)| *start).collect();
        assert_eq!(starts, [0, 2048 * MIB, 4096 * MIB]);
    }
}
