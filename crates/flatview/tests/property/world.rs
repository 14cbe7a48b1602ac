//! A memory of the library and the oracle's machine, side by side: everything is done to both.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard};

use flatview::{
    AccessRules, AddressSpace, Compat, EventNotifier, FlatView, IommuAccess, IommuOps, IotlbEntry,
    MemTxAttrs, MemTxError, Memory, MemoryRegionOps, RamBlock, Reader, Receipt, Region, Registration, Size,
    ViewRef,
};

use crate::events::Hearer;
use crate::generate::{NewRegion, Pick, Scale, Step};
use crate::listener::{Stage, TestListener};
use crate::model::{Id, Kind, Machine, RegionModel};
use crate::picture::{Picture, Range, Rendering};
use crate::verbs::name_of;

/// A device that is never asked anything.
struct Silent;

impl MemoryRegionOps for Silent {
    fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(0)
    }

    fn write(&self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        Ok(())
    }

    fn access_rules(&self) -> AccessRules {
        AccessRules::default()
    }
}

impl IommuOps for Silent {
    fn translate(&self, iova: u64, _: IommuAccess, _: u32) -> IotlbEntry {
        IotlbEntry {
            target: None,
            iova,
            translated_address: iova,
            address_mask: 0,
            permission: IommuAccess::empty(),
        }
    }
}

/// An address space of the library, and what it must show.
pub(crate) struct Space {
    /// Never used again.
    pub(crate) number: usize,
    pub(crate) handle: AddressSpace,
    pub(crate) root: Id,
    pub(crate) picture: Picture,
    pub(crate) destroyed: bool,
    /// Grows whenever another region becomes the physical root, or none.
    pub(crate) root_moves: usize,
    pub(crate) reader: Option<Reader>,
    /// The view that the reader keeps.
    pub(crate) reader_keeps: Option<Kept>,
}

/// A registered listener.
pub(crate) struct Listening {
    pub(crate) space: AddressSpace,
    pub(crate) listener: Arc<TestListener>,
    pub(crate) registration: Option<Registration>,
}

/// A view that somebody looked at.
pub(crate) struct Kept {
    /// Where it is in memory.
    pub(crate) address: usize,
    /// The space's `root_moves` then.
    pub(crate) root_moves: usize,
    pub(crate) root: Option<Id>,
    pub(crate) ranges: Vec<Range>,
}

/// A view that is being looked at: it must stay as it was.
pub(crate) struct Held {
    pub(crate) view: ViewRef,
    /// The number of its space: a view does not keep the space.
    pub(crate) space: usize,
    pub(crate) kept: Kept,
}

pub(crate) struct World {
    pub(crate) memory: Memory,
    pub(crate) machine: Machine,
    pub(crate) scale: Scale,
    pub(crate) lossy: bool,
    /// The handles of regions that the world still has.
    pub(crate) handles: BTreeMap<Id, Region>,
    /// In order of creation.
    pub(crate) spaces: Vec<Space>,
    pub(crate) listeners: Vec<Listening>,
    pub(crate) next_space: usize,
    pub(crate) next_listener: usize,
    pub(crate) held: Vec<Held>,
    pub(crate) stage: Arc<Mutex<Stage>>,
    pub(crate) notifiers: Vec<EventNotifier>,
    pub(crate) receipt: Option<Receipt>,
    /// A region of another memory.
    pub(crate) foreign: (Memory, Region),
    /// A rollback failed: nothing is accepted any more.
    pub(crate) inconsistent: bool,
    /// What has happened, for the test that everything does.
    pub(crate) tally: BTreeSet<String>,
    /// Regions made in the transaction that runs; a rollback does not take them away.
    pub(crate) created: Vec<(Id, RegionModel)>,
}

impl World {
    pub(crate) fn new(scale: Scale, lossy: bool) -> World {
        let memory = match lossy {
            true => Memory::with_compat(Compat::LOSSY_VIEW_ROOTS),
            false => Memory::new(),
        };
        let notifiers: Vec<EventNotifier> = (0..4)
            .map(|_| EventNotifier::new(File::open("/dev/null").expect("/dev/null is there")))
            .collect();
        let elsewhere = Memory::new();
        let foreign = elsewhere.region("foreign").container(0x1000);
        let stage = Stage {
            notifiers: notifiers.clone(),
            ..Stage::default()
        };
        let mut world = World {
            memory,
            machine: Machine::default(),
            scale,
            lossy,
            handles: BTreeMap::new(),
            spaces: Vec::new(),
            listeners: Vec::new(),
            next_space: 0,
            next_listener: 0,
            held: Vec::new(),
            stage: Arc::new(Mutex::new(stage)),
            notifiers,
            receipt: None,
            foreign: (elsewhere, foreign),
            inconsistent: false,
            tally: BTreeSet::new(),
            created: Vec::new(),
        };
        // The one that most things are put into.
        world.create(&NewRegion {
            kind: Kind::Container,
            size: match scale {
                Scale::Tiny => 64,
                Scale::Full => 1 << 64,
            },
            attributes: 0,
            target: 0,
            offset: 0,
            whole: false,
            mapped: None,
        });
        world
    }

    /// Does all that; returns what came of it.
    pub(crate) fn run(mut self, steps: &[Step]) -> BTreeSet<String> {
        for step in steps {
            self.perform(step);
            if self.inconsistent {
                self.settle();
                self.check_tree_and_views();
                self.check_refuses_everything();
                return self.tally;
            }
            self.settle();
            self.check();
        }
        let tally = std::mem::take(&mut self.tally);
        self.end();
        tally
    }

    pub(crate) fn note(&mut self, what: impl Into<String>) {
        self.tally.insert(what.into());
    }

    pub(crate) fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().expect("no test panics with the stage locked")
    }

    /// Makes a region in both worlds.
    pub(crate) fn create(&mut self, new: &NewRegion) -> Id {
        let id = self.machine.next_id();
        let mut model = RegionModel::new(new.kind, new.size);
        model.readonly = new.attributes & 1 != 0;
        model.nonvolatile = new.attributes & 2 != 0;
        model.unmergeable = new.attributes & 4 != 0;
        model.enabled = new.attributes & 8 == 0;
        let name = name_of(id);
        let builder = self
            .memory
            .region(&name)
            .readonly(model.readonly)
            .nonvolatile(model.nonvolatile)
            .unmergeable(model.unmergeable)
            .enabled(model.enabled);
        // A block cannot have 2^64 bytes; the region's size can be set so afterwards.
        let block = || RamBlock::unbacked(u64::try_from(new.size).unwrap_or(u64::MAX));
        let size = Size::new(new.size).expect("sizes are at most 2^64");
        let region = match new.kind {
            Kind::Container => builder.container(size),
            Kind::Ram => builder.ram(block()),
            Kind::RamDevice => builder.ram_device(block()),
            Kind::RomDevice => builder.rom_device(block(), Arc::new(Silent)),
            Kind::Mmio => builder.io(size, Arc::new(Silent)),
            Kind::Reservation => builder.reservation(size),
            Kind::Iommu => builder.iommu(size, Arc::new(Silent)),
            Kind::Alias => {
                let target = self.pick_handle(new.target).expect("r0 is never dropped");
                model.target = Some(target);
                if new.whole {
                    model.size = self.machine[target].size;
                } else {
                    model.alias_offset = new.offset;
                }
                let size = Size::new(model.size).expect("sizes are at most 2^64");
                builder
                    .alias(&self.handles[&target], model.alias_offset, size)
                    .expect("chains are shorter than the limit")
            }
        };
        if new.kind.has_ram_block() {
            model.size = model.size.min(u128::from(u64::MAX));
        }
        self.machine.put(id, model.clone());
        self.created.push((id, model));
        self.handles.insert(id, region);
        id
    }

    /// One of the regions that there is a handle for.
    pub(crate) fn pick_handle(&self, pick: Pick) -> Option<Id> {
        pick_from(&self.handles.keys().copied().collect::<Vec<_>>(), pick)
    }

    pub(crate) fn pick_among(&self, pick: Pick, wanted: impl Fn(&RegionModel) -> bool) -> Option<Id> {
        let wanted = |&id: &Id| wanted(&self.machine[id]);
        let found: Vec<Id> = self.handles.keys().copied().filter(wanted).collect();
        pick_from(&found, pick).or_else(|| self.pick_handle(pick))
    }

    /// Something to put regions into: often `r0`, mostly a container, now and then anything.
    pub(crate) fn pick_container(&self, pick: Pick) -> Option<Id> {
        match pick % 8 {
            0..=2 => Some(0),
            3..=5 => self.pick_among(pick / 8, |region| region.kind == Kind::Container),
            6 => self.pick_among(pick / 8, |region| region.kind != Kind::Alias),
            _ => self.pick_handle(pick / 8),
        }
    }

    pub(crate) fn space_index(&self, space: &AddressSpace) -> usize {
        let at = self.spaces.iter().position(|other| other.handle == *space);
        at.expect("the world forgets a space only when nobody listens to it")
    }

    /// Who listens to a space.
    pub(crate) fn hearers_of(&self, space: &AddressSpace) -> Vec<Hearer> {
        self.listeners
            .iter()
            .filter(|listening| listening.space == *space)
            .map(|listening| listening.listener.hearer)
            .collect()
    }

    /// What all spaces must show now, in their order; `None` for those that were destroyed.
    pub(crate) fn render_all(&self) -> Vec<Option<Rendering>> {
        let render = |space: &Space| {
            self.machine
                .render(space.root, self.lossy, self.scale.every_byte())
        };
        self.spaces
            .iter()
            .map(|space| (!space.destroyed).then(|| render(space)))
            .collect()
    }

    pub(crate) fn adopt(&mut self, pictures: Vec<Picture>) {
        for (space, picture) in self.spaces.iter_mut().zip(pictures) {
            if space.picture.root != picture.root {
                space.root_moves += 1;
            }
            space.picture = picture;
        }
    }

    /// What a view shows of a space now, for who keeps it.
    pub(crate) fn kept(space: &Space, view: &FlatView) -> Kept {
        Kept {
            address: address_of(view),
            root_moves: space.root_moves,
            root: space.picture.root,
            ranges: space.picture.ranges.clone(),
        }
    }

    /// What handles, spaces, and views that are looked at keep alive.
    fn kept_regions(&self) -> BTreeSet<Id> {
        let mut kept: BTreeSet<Id> = self.handles.keys().copied().collect();
        kept.extend(self.spaces.iter().map(|space| space.root));
        let looked_at = self.held.iter().map(|held| &held.kept);
        let looked_at = looked_at.chain(self.spaces.iter().filter_map(|space| space.reader_keeps.as_ref()));
        for view in looked_at {
            kept.extend(view.root);
            kept.extend(view.ranges.iter().map(|range| range.region));
        }
        kept
    }

    /// Lets both worlds forget what nothing keeps alive any more.
    pub(crate) fn settle(&mut self) {
        if self.machine.clone().remove_unheld(&self.kept_regions()) == 0 {
            return;
        }
        // Who looked at a space before it moved to another view may keep what the old one came to show
        // later, and only the library knows what that was.
        let moves: BTreeMap<usize, usize> = self
            .spaces
            .iter()
            .map(|space| (space.number, space.root_moves))
            .collect();
        self.held
            .retain(|held| moves.get(&held.space) == Some(&held.kept.root_moves));
        for space in &mut self.spaces {
            if let Some(kept) = &space.reader_keeps
                && kept.root_moves != space.root_moves
            {
                space.reader.iter_mut().for_each(Reader::release);
                space.reader_keeps = None;
            }
        }
        // Superseded views are forgotten lazily, when somebody asks.
        for _ in 0..2 {
            let forgotten = self.memory.update(|_| Ok(()));
            assert!(forgotten.is_ok() || self.inconsistent, "{forgotten:?}");
        }
        self.machine.remove_unheld(&self.kept_regions());
    }

    /// Whether a view that somebody looks at is not the current one, where that is known.
    pub(crate) fn is_stale(space: &Space, kept: &Kept) -> Option<bool> {
        if address_of(&space.handle.view()) != kept.address {
            Some(true)
        } else if space.root_moves == kept.root_moves {
            Some(false)
        } else {
            None
        }
    }
}

pub(crate) fn address_of(view: &FlatView) -> usize {
    std::ptr::from_ref(view).addr()
}

pub(crate) fn pick_from<T: Copy>(from: &[T], pick: Pick) -> Option<T> {
    from.get(usize::from(pick) % from.len().max(1)).copied()
}
