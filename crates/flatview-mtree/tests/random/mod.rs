//! Machines at random, with all that they are known for: what regions there are, and at which line each is printed.

use std::collections::BTreeMap;
use std::sync::Arc;

use flatview::{
    AddressSpace, Compat, MemTxAttrs, MemTxError, Memory, MemoryRegionOps, Owner, OwnerKind, OwnerReference,
    RamBlock, Region, Size,
};
use proptest::prelude::*;
use proptest::sample::Index;

/// How a region is made, and where it is mapped.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    kind: Kind,
    /// Few regions share a name; those do.
    shared_name: Option<u8>,
    size: u128,
    /// A place among the regions before it that may contain others; it is mapped nowhere without.
    container: Option<Index>,
    address: u64,
    priority: i32,
    /// A place among the regions before it.
    target: Index,
    offset: u64,
    enabled: bool,
    flags: Flags,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Container,
    Ram,
    Rom,
    RamDevice,
    RomDevice,
    BusyRomDevice,
    Io,
    Reservation,
    Alias,
}

#[derive(Clone, Copy, Debug)]
struct Flags {
    readonly: bool,
    nonvolatile: bool,
    unmergeable: bool,
    owned: bool,
}

/// A machine about to be built.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    regions: Vec<Spec>,
    /// Names, and places among the regions.
    spaces: Vec<(&'static str, Index)>,
}

/// A machine that was built.
pub(crate) struct Built {
    pub(crate) memory: Memory,
    pub(crate) spaces: Vec<AddressSpace>,
}

/// Any machine.
pub(crate) fn plan() -> impl Strategy<Value = Plan> {
    let spaces = prop::collection::vec(
        (
            prop_oneof![Just("nic"), Just("nic"), Just("nvme")],
            any::<Index>(),
        ),
        1..4,
    );
    (prop::collection::vec(spec(), 1..14), spaces).prop_map(|(regions, spaces)| Plan { regions, spaces })
}

fn spec() -> impl Strategy<Value = Spec> {
    let kind = prop_oneof![
        3 => Just(Kind::Container),
        3 => Just(Kind::Ram),
        1 => Just(Kind::Rom),
        1 => Just(Kind::RamDevice),
        1 => Just(Kind::RomDevice),
        1 => Just(Kind::BusyRomDevice),
        3 => Just(Kind::Io),
        1 => Just(Kind::Reservation),
        4 => Just(Kind::Alias),
    ];
    let size = prop_oneof![
        2 => Just(1_u128 << 64),
        4 => (1..9_u128).prop_map(|pages| pages << 12),
        1 => Just(1),
        1 => Just(0),
    ];
    let place = || prop_oneof![3 => Just(0_u64), 5 => (0..8_u64).prop_map(|page| page << 12), 1 => Just(u64::MAX - 0xfff)];
    let rarely = || prop::bool::weighted(0.1);
    let flags = (rarely(), rarely(), rarely(), prop::bool::weighted(0.7));
    let flags = flags.prop_map(|(readonly, nonvolatile, unmergeable, owned)| Flags {
        readonly,
        nonvolatile,
        unmergeable,
        owned,
    });
    let mapped = (prop::option::weighted(0.85, any::<Index>()), place(), -1..2_i32);
    let name = prop::option::weighted(0.25, 0..2_u8);
    let alias = (any::<Index>(), place());
    (kind, name, size, mapped, alias, prop::bool::weighted(0.85), flags).prop_map(
        |(kind, shared_name, size, (container, address, priority), (target, offset), enabled, flags)| Spec {
            kind,
            shared_name,
            size,
            container,
            address,
            priority,
            target,
            offset,
            enabled,
            flags,
        },
    )
}

impl Plan {
    /// The machine, with its spaces in their order or the other way round; none if a region shows itself without an end.
    pub(crate) fn build(&self, backwards: bool) -> Option<Built> {
        let memory = Memory::with_compat(Compat::LOSSY_VIEW_ROOTS);
        let mut regions = vec![memory.region("root").container(Size::MAX)];
        for (number, spec) in self.regions.iter().enumerate() {
            regions.push(spec.make(&memory, number, &regions));
        }
        let mut spaces: Vec<_> = self.spaces.iter().collect();
        if backwards {
            spaces.reverse();
        }
        let spaces = spaces.into_iter().enumerate().map(|(number, &(name, ref root))| {
            // A root that is seldom the first region is seldom interesting.
            let root = if number == 0 { 0 } else { root.index(regions.len()) };
            // Of `memory` there is one: a second would begin another dump.
            let name = if number == 0 { "memory" } else { name };
            memory.create_address_space(name, &regions[root]).unwrap()
        });
        let spaces: Vec<AddressSpace> = spaces.collect();
        let made = memory.update(|tx| {
            for (number, spec) in self.regions.iter().enumerate() {
                let may_contain: Vec<&Region> = regions[..=number]
                    .iter()
                    .filter(|region| region.alias_target().is_none())
                    .collect();
                if let Some(container) = spec.container {
                    let container = container.get(&may_contain);
                    let region = &regions[number + 1];
                    tx.add_subregion_overlap(container, spec.address, region, spec.priority)?;
                }
                if matches!(spec.kind, Kind::BusyRomDevice) {
                    tx.rom_device_set_romd(&regions[number + 1], false)?;
                }
            }
            Ok(())
        });
        made.ok()?;
        Some(Built { memory, spaces })
    }
}

impl Spec {
    fn make(&self, memory: &Memory, number: usize, before: &[Region]) -> Region {
        let name = match self.shared_name {
            Some(name) => format!("twin{name}"),
            None => format!("r{number}"),
        };
        let mut builder = memory
            .region(&name)
            .enabled(self.enabled)
            .readonly(self.flags.readonly)
            .nonvolatile(self.flags.nonvolatile)
            .unmergeable(self.flags.unmergeable);
        let reference = OwnerReference::Id(format!("dev{}", number % 3));
        if self.flags.owned {
            builder = builder.owner(&Owner::new(OwnerKind::Device, reference));
        }
        let size = Size::new(self.size).unwrap();
        let block = RamBlock::unbacked(size.to_u64().unwrap_or(0x4000).max(1));
        match self.kind {
            Kind::Container => builder.container(size),
            Kind::Ram => builder.ram(block),
            Kind::Rom => builder.rom(block),
            Kind::RamDevice => builder.ram_device(block),
            Kind::RomDevice | Kind::BusyRomDevice => builder.rom_device(block, Arc::new(Nobody)),
            Kind::Io => builder.io(size, Arc::new(Nobody)),
            Kind::Reservation => builder.reservation(size),
            Kind::Alias => builder.alias(self.target.get(before), self.offset, size).unwrap(),
        }
    }
}

struct Nobody;

impl MemoryRegionOps for Nobody {
    fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(0)
    }

    fn write(&self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        Ok(())
    }
}

impl Built {
    /// The region at each line of the tree: an `info mtree` that prints nothing else.
    pub(crate) fn lines(&self, disabled: bool) -> BTreeMap<u32, Region> {
        let mut lines = Lines {
            disabled,
            next: 1,
            regions: BTreeMap::new(),
            queue: Vec::new(),
        };
        let mut roots: Vec<(&Region, u32)> = Vec::new();
        for space in &self.spaces {
            match roots.iter_mut().find(|(root, _)| *root == space.root()) {
                Some((_, spaces)) => *spaces += 1,
                None => roots.push((space.root(), 1)),
            }
        }
        for (root, spaces) in roots {
            lines.group(root, spaces);
        }
        let mut at = 0;
        while let Some(target) = lines.queue.get(at).cloned() {
            lines.group(&target, 1);
            at += 1;
        }
        lines.regions
    }
}

struct Lines {
    disabled: bool,
    next: u32,
    regions: BTreeMap<u32, Region>,
    queue: Vec<Region>,
}

impl Lines {
    fn group(&mut self, root: &Region, headings: u32) {
        self.next += headings;
        self.region(root);
        self.next += 1;
    }

    fn region(&mut self, region: &Region) {
        let state = region.state().unwrap();
        if let Some(target) = region.alias_target()
            && !self.queue.contains(target)
        {
            self.queue.push(target.clone());
        }
        if state.enabled || self.disabled {
            self.regions.insert(self.next, region.clone());
            self.next += 1;
        }
        let mut children = region.subregions().unwrap();
        children.sort_by_key(|child| {
            let state = child.state().unwrap();
            (state.address, std::cmp::Reverse(state.priority))
        });
        children.iter().for_each(|child| self.region(child));
    }
}
