//! Machines built by hand, as layouts: rendered address by address, the slow and obvious way.

#![allow(dead_code, reason = "each test takes what it needs")]

use flatview::explain::Span;
use flatview::{AddressRange, Size};
use flatview_mtree::layout::{AliasOf, Hidden, Kind, Layout, Placement, Seen};

#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) addr: i128,
    pub(crate) size: u128,
    pub(crate) priority: i32,
    pub(crate) enabled: bool,
    pub(crate) target: Option<(usize, u64)>,
    pub(crate) children: Vec<usize>,
}

#[derive(Debug, Default)]
pub(crate) struct Machine(pub(crate) Vec<Region>);

impl Machine {
    pub(crate) fn add(&mut self, kind: Kind, name: &str, size: u128) -> usize {
        self.0.push(Region {
            name: name.to_owned(),
            kind,
            addr: 0,
            size,
            priority: 0,
            enabled: true,
            target: None,
            children: Vec::new(),
        });
        self.0.len() - 1
    }

    pub(crate) fn alias(&mut self, name: &str, size: u128, target: usize, offset: u64) -> usize {
        let alias = self.add(Kind::Alias, name, size);
        self.0[alias].target = Some((target, offset));
        alias
    }

    /// Puts a region into a container; of equal priorities, the later is in front.
    pub(crate) fn map(&mut self, container: usize, addr: i128, priority: i32, region: usize) {
        self.0[region].addr = addr;
        self.0[region].priority = priority;
        let before = self.0[container]
            .children
            .iter()
            .position(|&other| self.0[other].priority <= priority)
            .unwrap_or(self.0[container].children.len());
        self.0[container].children.insert(before, region);
    }

    pub(crate) fn layout(&self, space: &str, root: usize) -> Layout {
        let mut layout = Layout {
            spaces: vec![space.to_owned()],
            root: self.0[root].name.clone(),
            placements: Vec::new(),
            view: Vec::new(),
        };
        self.place(
            &mut layout.placements,
            root,
            None,
            0,
            Some(AddressRange::ALL),
            true,
        );
        render(&mut layout);
        layout
    }

    fn place(
        &self,
        placements: &mut Vec<Placement>,
        id: usize,
        parent: Option<usize>,
        start: i128,
        clip: Option<AddressRange>,
        enabled: bool,
    ) {
        let region = &self.0[id];
        let span = Span::new(start, Size::new(region.size).unwrap());
        let window = clip.and_then(|clip| span.within_space()?.intersection(clip));
        let enabled = enabled && region.enabled;
        let index = placements.len();
        placements.push(Placement {
            parent,
            depth: parent.map_or(0, |parent| placements[parent].depth + 1),
            name: region.name.clone(),
            kind: region.kind,
            priority: region.priority,
            enabled,
            span,
            window,
            alias: region.target.map(|(target, offset)| AliasOf {
                target: self.0[target].name.clone(),
                offset,
            }),
            shown: Vec::new(),
            hidden: Vec::new(),
            line: Some(u32::try_from(id).unwrap() + 1),
            node: 0,
        });
        if window.is_none() || placements[index].depth > 30 {
            return;
        }
        if let Some((target, offset)) = region.target {
            self.place(
                placements,
                target,
                Some(index),
                start - i128::from(offset),
                window,
                enabled,
            );
        }
        for &child in &region.children {
            self.place(
                placements,
                child,
                Some(index),
                start + self.0[child].addr,
                window,
                enabled,
            );
        }
    }
}

fn render(layout: &mut Layout) {
    let placements = &mut layout.placements;
    let mut children = vec![Vec::new(); placements.len()];
    let mut end: Vec<usize> = (1..=placements.len()).collect();
    for index in (1..placements.len()).rev() {
        let parent = placements[index].parent.unwrap();
        children[parent].insert(0, index);
        end[parent] = end[parent].max(end[index]);
    }
    let mut edges: Vec<u128> = placements
        .iter()
        .filter_map(|placement| placement.window)
        .flat_map(|window| [u128::from(window.start()), u128::from(window.last()) + 1])
        .collect();
    edges.sort_unstable();
    edges.dedup();
    for pair in edges.windows(2) {
        let (start, last) = (pair[0] as u64, (pair[1] - 1) as u64);
        let Some(winner) = winner(placements, &children, 0, start) else {
            continue;
        };
        let by = placements[winner].name.clone();
        for index in 0..placements.len() {
            if placements[index]
                .window
                .is_none_or(|window| !window.contains(start))
            {
                continue;
            }
            if index == winner {
                let before = placements[index].shown.last().copied();
                placements[index]
                    .shown
                    .pop_if(|shown| shown.last().checked_add(1) == Some(start));
                let from = before
                    .filter(|shown| shown.last() + 1 == start)
                    .map_or(start, |shown| shown.start());
                placements[index]
                    .shown
                    .push(AddressRange::from_bounds(from, last).unwrap());
            } else if !(index..end[index]).contains(&winner) && placements[index].enabled {
                let before = placements[index]
                    .hidden
                    .pop_if(|hidden| hidden.by == by && hidden.range.last() + 1 == start);
                let from = before.map_or(start, |hidden| hidden.range.start());
                let range = AddressRange::from_bounds(from, last).unwrap();
                placements[index].hidden.push(Hidden {
                    range,
                    by: by.clone(),
                });
            }
        }
        let before = layout
            .view
            .pop_if(|seen| seen.placement == winner && seen.range.last() + 1 == start);
        let from = before.map_or(start, |seen| seen.range.start());
        layout.view.push(Seen {
            range: AddressRange::from_bounds(from, last).unwrap(),
            region: by,
            offset: placements[winner].span.offset_of(from).unwrap(),
            kind: placements[winner].kind,
            nonvolatile: false,
            placement: winner,
        });
    }
}

fn winner(placements: &[Placement], children: &[Vec<usize>], index: usize, address: u64) -> Option<usize> {
    let placement = &placements[index];
    if !placement.enabled || !placement.window?.contains(address) {
        return None;
    }
    let inner = children[index]
        .iter()
        .find_map(|&child| winner(placements, children, child, address));
    inner.or_else(|| (!matches!(placement.kind, Kind::Container | Kind::Alias)).then_some(index))
}

/// A PC with 67 GiB of memory, and what it answers to `in` and `out`.
pub(crate) fn pc() -> Vec<Layout> {
    let mut pc = Machine::default();
    let system = pc.add(Kind::Container, "system", 1 << 64);
    let ram = pc.add(Kind::Ram, "pc.ram", 0x10_c000_0000);
    let pci = pc.add(Kind::Container, "pci", 1 << 64);
    let bios = pc.add(Kind::Rom, "pc.bios", 0x4_0000);

    let vga = pc.add(Kind::Io, "vga-lowmem", 0x2_0000);
    let rom = pc.add(Kind::Rom, "pc.rom", 0x2_0000);
    let isa_bios = pc.alias("isa-bios", 0x2_0000, bios, 0x2_0000);
    let vram = pc.add(Kind::Ram, "vga.vram", 0x100_0000);
    let mmio = pc.add(Kind::Io, "vga.mmio", 0x1000);
    for (name, at, size) in [
        ("edid", 0, 0x180),
        ("vga ioports remapped", 0x400, 0x20),
        ("bochs dispi interface", 0x500, 0x16),
    ] {
        let child = pc.add(Kind::Io, name, size);
        pc.map(mmio, at, 0, child);
    }
    pc.map(pci, 0xa_0000, 1, vga);
    pc.map(pci, 0xc_0000, 1, rom);
    pc.map(pci, 0xe_0000, 1, isa_bios);
    pc.map(pci, 0xfd00_0000, 1, vram);
    pc.map(pci, 0xfebf_0000, 1, mmio);
    pc.map(pci, 0xfffc_0000, 0, bios);

    let below = pc.alias("ram-below-4g", 0xc000_0000, ram, 0);
    let above = pc.alias("ram-above-4g", 0x10_0000_0000, ram, 0xc000_0000);
    let smram = pc.alias("smram-region", 0x2_0000, pci, 0xa_0000);
    let ioapic = pc.add(Kind::Io, "ioapic", 0x1000);
    let hpet = pc.add(Kind::Io, "hpet", 0x400);
    let msi = pc.add(Kind::Io, "apic-msi", 0x10_0000);
    pc.map(system, 0, 0, below);
    pc.map(system, 0, -1, pci);
    pc.map(system, 0xa_0000, 1, smram);
    pc.map(system, 0xfec0_0000, 0, ioapic);
    pc.map(system, 0xfed0_0000, 0, hpet);
    pc.map(system, 0xfee0_0000, 4096, msi);
    pc.map(system, 0x1_0000_0000, 0, above);
    // The one PAM window of many: at reset, shadow RAM is off.
    let pam = pc.alias("pam-ram", 0x1_0000, ram, 0xf_0000);
    pc.0[pam].enabled = false;
    pc.map(system, 0xf_0000, 1, pam);

    let io = pc.add(Kind::Container, "io", 0x1_0000);
    for (name, at, size, priority) in PORTS {
        let port = pc.add(Kind::Io, name, size);
        pc.map(io, at, priority, port);
    }
    let pm = pc.add(Kind::Io, "piix4-pm", 0x40);
    for (name, at, size) in [("acpi-evt", 0, 4), ("acpi-cnt", 4, 2), ("acpi-tmr", 8, 4)] {
        let child = pc.add(Kind::Io, name, size);
        pc.map(pm, at, 0, child);
    }
    pc.map(io, 0x600, 0, pm);

    let master = pc.add(Kind::Container, "bus master container", 1 << 64);
    let alias = pc.alias("bus master", 1 << 64, system, 0);
    pc.map(master, 0, 0, alias);

    let mut layouts = vec![
        pc.layout("memory", system),
        pc.layout("I/O", io),
        pc.layout("VGA", master),
    ];
    layouts[0].spaces.push("cpu-memory-0".to_owned());
    layouts
}

const PORTS: [(&str, i128, u128, i32); 39] = [
    ("dma-chan", 0x0, 8, 0),
    ("dma-cont", 0x8, 8, 0),
    ("pic", 0x20, 2, 0),
    ("pit", 0x40, 4, 0),
    ("i8042-data", 0x60, 1, 0),
    ("pcspk", 0x61, 1, 0),
    ("i8042-cmd", 0x64, 1, 0),
    ("rtc", 0x70, 2, 0),
    ("kvmvapic", 0x7e, 2, 0),
    ("ioport80", 0x80, 1, 0),
    ("dma-page", 0x81, 3, 0),
    ("dma-page", 0x87, 1, 0),
    ("dma-page", 0x89, 3, 0),
    ("dma-page", 0x8f, 1, 0),
    ("port92", 0x92, 1, 0),
    ("pic", 0xa0, 2, 0),
    ("apm-io", 0xb2, 2, 0),
    ("dma-chan", 0xc0, 16, 0),
    ("dma-cont", 0xd0, 16, 0),
    ("ioportF0", 0xf0, 1, 0),
    ("ide", 0x170, 8, 0),
    ("vbe", 0x1ce, 4, 0),
    ("ide", 0x1f0, 8, 0),
    ("ide", 0x376, 1, 0),
    ("parallel", 0x378, 8, 0),
    ("vga", 0x3b4, 2, 0),
    ("vga", 0x3ba, 1, 0),
    ("vga", 0x3c0, 16, 0),
    ("vga", 0x3d4, 2, 0),
    ("vga", 0x3da, 1, 0),
    ("fdc", 0x3f1, 5, 0),
    ("serial", 0x3f8, 8, 0),
    ("elcr", 0x4d0, 2, 0),
    ("fwcfg", 0x510, 2, 0),
    ("fwcfg.dma", 0x514, 8, 0),
    ("pci-conf-idx", 0xcf8, 4, 0),
    ("piix3-reset-control", 0xcf9, 1, 1),
    ("pci-conf-data", 0xcfc, 4, 0),
    ("vmport", 0x5658, 1, 0),
];
