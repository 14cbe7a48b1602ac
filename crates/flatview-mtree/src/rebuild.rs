//! From the graph of a dump to a [`Memory`] that renders, explains and prints it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use flatview::{
    AddressSpace, Compat, Error, MemTxAttrs, MemTxError, Memory, MemoryRegionOps, Owner, OwnerKind,
    OwnerReference, RamBlock, Region, Size, Transaction,
};

use crate::facts::Facts;
use crate::graph::{ALL, Graph, Node, NodeId, What};

/// The machine of a dump, with no memory behind its RAM.
#[derive(Debug)]
pub struct Rebuilt {
    /// Everything.
    pub memory: Memory,
    /// The address spaces, in the order of [`Graph::spaces`].
    pub spaces: Vec<AddressSpace>,
    /// The regions, in the order of [`Graph::nodes`].
    pub regions: Vec<Region>,
    ids: HashMap<Region, NodeId>,
}

impl Rebuilt {
    /// Builds the machine that a graph and the facts about it describe. Views are those of QEMU, with what it loses on
    /// the way to their roots (rules C32, C33).
    ///
    /// # Errors
    ///
    /// [`Error::RenderingTooLarge`] and [`Error::RenderingTooDeep`] for a dump that means more than can be rendered:
    /// no machine does, but a text can.
    pub fn new(graph: &Graph<'_>, facts: &Facts) -> Result<Rebuilt, Error> {
        let memory = Memory::with_compat(Compat::LOSSY_VIEW_ROOTS);
        let mut builder = Builder {
            graph,
            facts,
            memory: &memory,
            owners: HashMap::new(),
            regions: vec![None; graph.nodes.len()],
        };
        for id in 0..graph.nodes.len() {
            builder.make_with_targets(id)?;
        }
        // All were made by the loop.
        let regions: Vec<Region> = builder.regions.into_iter().flatten().collect();
        // Without a space that looks, nothing is rendered until everything is in its place.
        memory.update(|tx| connect(tx, &memory, graph, facts, &regions))?;
        let mut spaces: Vec<AddressSpace> = Vec::new();
        let mut ranges = 0;
        let mut rendered = HashSet::new();
        for space in &graph.spaces {
            let made = memory.create_address_space(space.name, &regions[space.root])?;
            let view = made.view();
            if let Some(root) = view.root().filter(|root| rendered.insert(Region::clone(root))) {
                ranges += view.len();
                if ranges > MOST_RANGES {
                    return Err(Error::RenderingTooLarge {
                        root: root.name().into(),
                        limit: MOST_RANGES,
                    });
                }
            }
            spaces.push(made);
        }
        let ids = regions.iter().cloned().zip(0..).collect();
        Ok(Rebuilt {
            memory,
            spaces,
            regions,
            ids,
        })
    }

    /// The node that a region was made from; `None` for a region of something else.
    pub fn node(&self, region: &Region) -> Option<NodeId> {
        self.ids.get(region).copied()
    }
}

struct Builder<'b, 'a> {
    graph: &'b Graph<'a>,
    facts: &'b Facts,
    memory: &'b Memory,
    owners: HashMap<&'a str, (Option<Owner>, Option<Owner>)>,
    regions: Vec<Option<Region>>,
}

impl<'a> Builder<'_, 'a> {
    /// Makes a region, and before it what it leads to.
    fn make_with_targets(&mut self, id: NodeId) -> Result<(), Error> {
        let mut chain = vec![id];
        while let Some(target) = self.facts.of[chain[chain.len() - 1]].target
            && self.regions[target].is_none()
            // Aliases in a circle are nothing that QEMU can make.
            && chain.len() < MOST_ALIASES
        {
            chain.push(target);
        }
        for id in chain.into_iter().rev() {
            if self.regions[id].is_none() {
                self.regions[id] = Some(self.make(id)?);
            }
        }
        Ok(())
    }

    fn make(&mut self, id: NodeId) -> Result<Region, Error> {
        let node = &self.graph.nodes[id];
        let fact = self.facts.of[id];
        let size = Size::new(fact.size.min(ALL)).unwrap_or(Size::MAX);
        let (owner, parent) = self
            .owners
            .entry(node.owner)
            .or_insert_with(|| owners(node.owner));
        let mut builder = self
            .memory
            .region(node.name)
            .enabled(node.enabled)
            .readonly(fact.readonly)
            .nonvolatile(node.nonvolatile)
            .unmergeable(fact.unmergeable);
        if let Some(owner) = owner {
            builder = builder.owner(owner);
        }
        if let Some(parent) = parent {
            builder = builder.parent(parent);
        }
        let block = || RamBlock::unbacked(size.to_u64().unwrap_or(u64::MAX));
        Ok(match node.what {
            What::Ram => builder.ram(block()),
            What::Rom => builder.rom(block()),
            What::RamDevice => builder.ram_device(block()),
            What::RomDevice => builder.rom_device(block(), Arc::new(Nobody)),
            What::Alias { offset, .. } => {
                match fact.target.and_then(|target| self.regions[target].as_ref()) {
                    Some(target) => builder.alias(target, offset, size)?,
                    None => builder.container(size),
                }
            }
            What::Io if fact.answers => builder.io(size, Arc::new(Nobody)),
            What::Io | What::Unprinted => builder.container(size),
        })
    }
}

/// How many ranges all views may have together. A real machine has a few thousand, but in a text of a megabyte each of
/// five thousand spaces may begin at a window of its own onto five thousand regions.
const MOST_RANGES: usize = 1 << 20;

/// Longer chains are cut; rendering does not follow them that far.
const MOST_ALIASES: usize = 1024;

fn connect(
    tx: &mut Transaction<'_>,
    memory: &Memory,
    graph: &Graph<'_>,
    facts: &Facts,
    regions: &[Region],
) -> Result<(), Error> {
    let elsewhere: Vec<Option<Region>> = graph
        .nodes
        .iter()
        .map(|node| {
            let leaves = node.children.iter().any(|&child| !facts.of[child].seen);
            leaves.then(|| memory.region(OUTSIDE).enabled(false).container(Size::MAX))
        })
        .collect();
    for (id, node) in graph.nodes.iter().enumerate() {
        // The newest is in front.
        for &child in facts.children(graph, id).iter().rev() {
            let Node {
                address, priority, ..
            } = graph.nodes[child];
            let around = match &elsewhere[id] {
                Some(elsewhere) if !facts.of[child].seen => elsewhere,
                _ => &regions[id],
            };
            // As it was printed: what is not seen stands behind what it seems to be in.
            if let Some(behind) = &elsewhere[child] {
                tx.add_subregion_overlap(around, address, behind, priority)?;
            }
            tx.add_subregion_overlap(around, address, &regions[child], priority)?;
        }
        // Its own address counts for a view that it is the root of (rule C33).
        if node.container.is_none() && (node.address, node.priority) != (0, 0) {
            let container = memory.region(OUTSIDE).container(Size::MAX);
            tx.add_subregion_overlap(&container, node.address, &regions[id], node.priority)?;
        }
    }
    Ok(())
}

/// The name of a container that the dump does not show.
const OUTSIDE: &str = "(not in the dump)";

/// What ` owner:{dev id=nic} parent:{obj path=/machine}` says.
fn owners(text: &str) -> (Option<Owner>, Option<Owner>) {
    let of = |who: &str| {
        let (_, rest) = text.split_once(who)?;
        let (kind, rest) = rest.split_once('}')?.0.split_once(' ')?;
        let kind = if kind == "dev" {
            OwnerKind::Device
        } else {
            OwnerKind::Object
        };
        let (how, what) = rest.split_once('=')?;
        let what = what.to_owned();
        let reference = match how {
            "id" => OwnerReference::Id(what),
            "path" => OwnerReference::Path(what),
            _ => OwnerReference::Type(what),
        };
        Some(Owner::new(kind, reference))
    };
    (of(" owner:{"), of(" parent:{"))
}

/// A device that is never asked.
struct Nobody;

impl MemoryRegionOps for Nobody {
    fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(0)
    }

    fn write(&self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        Ok(())
    }
}
