//! What the text of a tree does not say: guesses, and what a flat view proves.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::graph::{ALL, Graph, Node, NodeId, What};

/// An answer to every question that a tree's text leaves open.
///
/// [`Facts::guess`] has the usual answers. Each can be wrong: that is what [`check`](crate::check) is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Facts {
    /// For each node of the graph.
    pub of: Vec<Fact>,
    /// For containers in which the order is not the usual one: the children, from the front to the back; priorities
    /// go before it.
    pub order: BTreeMap<NodeId, Vec<NodeId>>,
}

/// What is taken for true of one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fact {
    /// Whether it answers where no child of it does (rule A1). Memory always does, an alias never.
    pub answers: bool,
    /// Whether it makes what is seen through it read-only (rule C16).
    pub readonly: bool,
    /// Whether what is seen through it is never joined to its neighbours (rule C18).
    pub unmergeable: bool,
    /// Whether it lies in its [container](Node::container). If not, it lies in a disabled region that is not printed,
    /// behind the one that it stands under, and so do the siblings behind it. Aliases and spaces may show it all the
    /// same.
    pub seen: bool,
    /// The size in bytes: that of the line, or 0 for one of 1.
    pub size: u128,
    /// What it leads to, if it is an alias and that is known.
    pub target: Option<NodeId>,
}

impl Facts {
    /// What is likely.
    ///
    /// - `i/o` with children does not answer, without children it does; except for regions that are known by name to
    ///   be otherwise in QEMU, and except that what is 2^64 bytes large is a container.
    /// - Aliases and containers are writable, but for `pam-rom` and `isa-bios`, and mergeable, but for `memslot-`.
    /// - Of two regions of one priority in one container the one at the higher address came later, so it is in front.
    /// - An alias of one byte has none; any other region of one byte has one.
    /// - An alias leads to the likeliest of [the candidates](What::Alias).
    /// - What begins behind the end of the region that it stands under lies in a disabled one that is not printed, if
    ///   such a one can be there.
    pub fn guess(graph: &Graph<'_>) -> Facts {
        let mut seen = vec![true; graph.nodes.len()];
        for node in graph.nodes.iter().filter(|node| graph.may_hold_less(node)) {
            let is_outside = |&child: &NodeId| u128::from(graph.nodes[child].address) >= node.size;
            for &child in node.children.iter().skip_while(|child| !is_outside(child)) {
                seen[child] = false;
            }
        }
        let nodes = graph.nodes.iter().zip(&seen);
        let of = nodes.map(|(node, &is_seen)| {
            // The first child is the last to lie elsewhere.
            let is_bare = node.children.first().is_none_or(|&child| !seen[child]);
            Fact {
                seen: is_seen,
                ..Fact::guess(graph, node, is_bare)
            }
        });
        Facts {
            of: of.collect(),
            order: BTreeMap::new(),
        }
    }

    /// The children of a region, from the front to the back.
    pub fn children(&self, graph: &Graph<'_>, of: NodeId) -> Vec<NodeId> {
        self.children_where(graph, of, |_| true)
    }

    /// Some of the [children](Self::children).
    pub(crate) fn children_where(
        &self,
        graph: &Graph<'_>,
        of: NodeId,
        is_wanted: impl Fn(NodeId) -> bool,
    ) -> Vec<NodeId> {
        let order = self.order.get(&of);
        let all = order.unwrap_or(&graph.nodes[of].children).iter().copied();
        let mut children: Vec<NodeId> = all.filter(|&child| is_wanted(child)).collect();
        children.sort_by_key(|&child| {
            let node = &graph.nodes[child];
            // As printed, the newest is first at one address.
            let address = Reverse(node.address);
            (Reverse(node.priority), order.is_none().then_some(address))
        });
        children
    }

    /// As [`children`](Self::children), if nothing is known of the order.
    pub(crate) fn usual_children(graph: &Graph<'_>, of: NodeId) -> Vec<NodeId> {
        let nothing = Facts {
            of: Vec::new(),
            order: BTreeMap::new(),
        };
        nothing.children(graph, of)
    }
}

impl Fact {
    fn guess(graph: &Graph<'_>, node: &Node<'_>, is_bare: bool) -> Fact {
        let target = match &node.what {
            What::Alias { candidates, .. } => candidates.first().copied(),
            _ => None,
        };
        let answers = match node.what {
            What::Alias { .. } | What::Unprinted => false,
            What::Io if is_bare && node.size == ALL => is_iommu(node.name),
            What::Io if is_bare => !BARE_CONTAINERS.contains(&node.name),
            What::Io => ANSWERING_CONTAINERS.contains(&node.name) || is_vtd(node.name),
            What::Ram | What::Rom | What::RamDevice | What::RomDevice => true,
        };
        let is_alias = node.is_alias();
        Fact {
            answers,
            readonly: match node.name {
                "pam-rom" => is_alias,
                // Of RAM it can be written.
                "isa-bios" => target.is_some_and(|target| graph.nodes[target].what != What::Ram),
                _ => false,
            },
            unmergeable: is_alias && node.name.starts_with("memslot-"),
            seen: true,
            size: if is_alias && node.size == 1 { 0 } else { node.size },
            target,
        }
    }
}

/// Whether it is an IOMMU: one is as large as a space, and has no children that the text shows, or some.
fn is_iommu(name: &str) -> bool {
    name.contains("iommu") || name.ends_with("-dmar") || name == "tz-msc-downstream"
}

/// Whether it is what a device's DMA goes through under Intel's IOMMU: it answers where interrupts and tables do not.
fn is_vtd(name: &str) -> bool {
    name.starts_with("vtd-") && name.ends_with("-dmar")
}

/// Regions with children that are registers all the same.
const ANSWERING_CONTAINERS: &[&str] = &[
    "ahci",
    "amd_iommu",
    "aspeed.i2c",
    "aspeed.sdhci",
    "aspeed.smc.flash",
    "astro",
    "bochs-display-mmio",
    "cfam",
    "dino",
    "elroy",
    "gpex_ioport_window",
    "gpex_mmio_window",
    "io",
    "iocsr",
    "isa-io",
    "megasas-mmio",
    "pci-isa-mmio",
    "pci0-io",
    "riscv-iommu-regs",
    "rtc",
    "vga.mmio",
    "xtfpga.io",
];

/// Regions that are often empty, or look so as what is in them is disabled.
const BARE_CONTAINERS: &[&str] = &[
    "device-memory",
    "e1000e-flash",
    "gpex_ioport",
    "igb-flash",
    "memhp container",
    "pci-testdev-membar",
    "pci_bridge_io",
    "platform bus",
    "smram",
    "virtio-gpu-hostmem",
    "virtio-mem",
];
