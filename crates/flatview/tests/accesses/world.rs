//! A random machine, twice: as a [`Model`] and in the library.

use std::sync::{Arc, Mutex};

use flatview::{
    AddressRange, AddressSpace, DirtyBitmap, DirtyClients, GlobalDirty, Mapping, MemTxAttrs, Memory,
    MemoryRegionCache, RamBlock, Reader, Region, Size,
};

use crate::bytes::Bytes;
use crate::device::{Calls, Device, Iommu, PAGE_MASK, Shape, choose_entry};
use crate::model::{Block, Kind, LOW, Model, Node};

/// Fewer bytes of bounce buffers than some mappings want.
const BOUNCE: u64 = 0x30;

/// A mapping that is there, and what it should be.
pub(crate) struct Mapped {
    pub(crate) mapping: Mapping,
    pub(crate) place: (usize, u64),
    pub(crate) is_write: bool,
    pub(crate) attrs: MemTxAttrs,
    /// Block and first byte; or the bytes of the copy.
    pub(crate) memory: Result<(usize, usize), Vec<u8>>,
}

pub(crate) struct Cached {
    pub(crate) cache: MemoryRegionCache,
    pub(crate) place: (usize, u64),
    pub(crate) size: u64,
    pub(crate) attrs: MemTxAttrs,
}

pub(crate) struct World {
    pub(crate) model: Model,
    pub(crate) memory: Memory,
    pub(crate) regions: Vec<Region>,
    blocks: Vec<RamBlock>,
    devices: Vec<Arc<Device>>,
    pub(crate) iommu: Arc<Iommu>,
    pub(crate) spaces: [AddressSpace; 2],
    /// Two for each space: a copy needs two.
    pub(crate) readers: [[Reader; 2]; 2],
    pub(crate) mappings: Vec<Mapped>,
    pub(crate) bounced: [u64; 2],
    pub(crate) cache: Option<Cached>,
    calls: Calls,
    is_logging: bool,
}

impl World {
    pub(crate) fn new(bytes: &mut Bytes<'_>) -> World {
        let memory = Memory::new();
        let mut model = Model::default();
        let pages = (LOW as u64 / (PAGE_MASK + 1)) as usize;
        model.table = (0..pages)
            .map(|_| [choose_entry(bytes), choose_entry(bytes)])
            .collect();
        let iommu = Arc::new(Iommu {
            table: Mutex::new(model.table.clone()),
            spaces: Mutex::default(),
        });
        let roots = ["system", "bus"].map(|name| memory.region(name).container(Size::MAX));
        let space = |root: &Region| memory.create_address_space(root.name(), root).unwrap();
        let spaces = [space(&roots[0]), space(&roots[1])];
        iommu.spaces.lock().unwrap().extend(spaces.clone());
        for space in &spaces {
            space.set_max_bounce_buffer_size(BOUNCE);
        }
        let reader = |space: &AddressSpace| [space.reader(), space.reader()];
        model.roots = [0, 1];
        model.nodes = vec![Node::new(Kind::Container, Size::MAX.bytes()); 2];
        let mut world = World {
            model,
            readers: spaces.each_ref().map(reader),
            regions: roots.to_vec(),
            spaces,
            memory,
            iommu,
            blocks: Vec::new(),
            devices: Vec::new(),
            mappings: Vec::new(),
            bounced: [0; 2],
            cache: None,
            calls: Calls::default(),
            is_logging: false,
        };
        for _ in 0..4 + bytes.below(9) {
            world.make(bytes);
        }
        world.is_logging = bytes.once_in(2);
        if world.is_logging {
            // Blocks that come later are logged from their beginning.
            world
                .memory
                .global_dirty_log_start(GlobalDirty::MIGRATION)
                .unwrap();
            for block in &mut world.model.blocks {
                block.dirty = true;
            }
        }
        world.compare("the beginning");
        world
    }

    /// Makes a region and maps it.
    fn make(&mut self, bytes: &mut Bytes<'_>) {
        let number = self.regions.len();
        let name = format!("r{number}");
        let builder = self.memory.region(&name);
        let size = 1 + bytes.below(0x60) as u64;
        let (mut node, region) = match bytes.byte() % 16 {
            kind @ 0..=5 => {
                let block = self.block(bytes, size);
                let size = self.blocks[block].size().bytes();
                let memory = self.blocks[block].clone();
                let builder = self.memory.region(&name);
                match kind {
                    0..=2 => (Node::new(Kind::Ram(block), size), builder.ram(memory)),
                    3 => {
                        let mut node = Node::new(Kind::Ram(block), size);
                        node.readonly = true;
                        (node, builder.rom(memory))
                    }
                    4 => (
                        Node::new(Kind::RamDevice(block), size),
                        builder.ram_device(memory),
                    ),
                    _ => {
                        let device = self.device(bytes, u64::try_from(size).unwrap());
                        let ops = Arc::clone(&self.devices[device]);
                        let region = self.memory.region(&name).rom_device(memory, ops);
                        (Node::new(Kind::RomDevice(block, device), size), region)
                    }
                }
            }
            6..=9 => {
                let device = self.device(bytes, size);
                let ops = Arc::clone(&self.devices[device]);
                let region = self.memory.region(&name).io(size, ops);
                (Node::new(Kind::Mmio(device), size.into()), region)
            }
            10 => (
                Node::new(Kind::Reservation, size.into()),
                builder.reservation(size),
            ),
            11 => {
                let size = size * 3;
                let region = builder.iommu(size, Arc::clone(&self.iommu) as _);
                (Node::new(Kind::Iommu, size.into()), region)
            }
            12 => (Node::new(Kind::Container, size.into()), builder.container(size)),
            _ if number == 2 => (
                Node::new(Kind::Reservation, size.into()),
                builder.reservation(size),
            ),
            _ => {
                let target = 2 + bytes.below(number - 2);
                let offset = bytes.below(0x20) as u64;
                let size = size * 2;
                let readonly = bytes.once_in(3);
                let builder = builder.readonly(readonly);
                let region = builder.alias(&self.regions[target], offset, size).unwrap();
                let mut node = Node::new(Kind::Alias(target), size.into());
                (node.alias_offset, node.readonly) = (offset, readonly);
                (node, region)
            }
        };
        node.priority = bytes.below(3) as i32 - 1;
        self.model.nodes.push(node);
        self.regions.push(region);
        // Containers hold only what was made before them, so nothing can contain itself.
        if self.model.nodes[number].kind == Kind::Container {
            for child in 2..number {
                if self.model.nodes[child].parent.is_none() {
                    self.map(number, child, bytes.below(0x20) as u64);
                }
            }
        }
        let root = bytes.pick(&[0, 0, 1]);
        match bytes.byte() % 6 {
            // For an alias or a container to show.
            0 => {}
            1 => {
                let size = u64::try_from(self.model.nodes[number].size).unwrap();
                self.map(
                    root,
                    number,
                    0_u64.wrapping_sub(size - size.min(bytes.below(3) as u64)),
                );
            }
            _ => {
                let address = bytes.below(LOW) as u64;
                // Those that were made with words in mind lie at words.
                let align = bytes.pick(&[1, 1, 8, 16]);
                self.map(root, number, address / align * align);
            }
        }
    }

    pub(crate) fn map(&mut self, container: usize, child: usize, address: u64) {
        let priority = self.model.nodes[child].priority;
        self.memory
            .update(|tx| {
                let (container, child) = (&self.regions[container], &self.regions[child]);
                tx.add_subregion_overlap(container, address, child, priority)
            })
            .unwrap();
        self.model.nodes[child].address = address;
        self.model.nodes[child].parent = Some(container);
        self.model.put_in_order(container, child);
    }

    fn block(&mut self, bytes: &mut Bytes<'_>, size: u64) -> usize {
        let number = self.blocks.len();
        if number > 0 && bytes.once_in(5) {
            return bytes.below(number);
        }
        let is_backed = !bytes.once_in(12);
        let block = if is_backed {
            RamBlock::anonymous(size).unwrap()
        } else {
            RamBlock::unbacked(size)
        };
        let fill = |index| (index as u8).wrapping_mul(7) ^ (number as u8) << 5;
        // Memory comes in whole pages (rule Q29).
        let len = if is_backed { block.max_size() } else { 0 };
        let content: Vec<u8> = (0..len).map(fill).collect();
        if let Some(window) = block.window(0, len) {
            window.write(0, &content).unwrap();
        }
        self.blocks.push(block);
        self.model.blocks.push(Block {
            bytes: content,
            dirty: false,
        });
        number
    }

    fn device(&mut self, bytes: &mut Bytes<'_>, size: u64) -> usize {
        let number = self.devices.len();
        let shape = Shape::choose(bytes, size);
        // An access may reach beyond the end (rule K22).
        let content: Vec<u8> = (0..size + 16).map(|index| 0xff - index as u8).collect();
        self.model.shapes.push(shape.clone());
        self.model.device_bytes.push(content.clone());
        self.devices.push(Arc::new(Device {
            number,
            shape,
            bytes: Mutex::new(content),
            calls: Arc::clone(&self.calls),
        }));
        number
    }

    /// Everything that an access can have changed.
    #[track_caller]
    pub(crate) fn compare(&mut self, after: &'static str) {
        self.model.note(after);
        let calls = std::mem::take(&mut *self.calls.lock().unwrap());
        let expected = std::mem::take(&mut self.model.calls);
        assert_eq!(calls, expected, "calls, after {after}");
        for (device, expected) in self.devices.iter().zip(&self.model.device_bytes) {
            let bytes = device.bytes.lock().unwrap();
            assert_eq!(*bytes, *expected, "device {}, after {after}", device.number);
        }
        for (number, (block, expected)) in self.blocks.iter().zip(&mut self.model.blocks).enumerate() {
            let size = block.max_size();
            let Some(window) = block.window(0, size) else {
                continue;
            };
            let mut bytes = vec![0; expected.bytes.len()];
            window.read(0, &mut bytes).unwrap();
            assert_eq!(bytes, expected.bytes, "block {number}, after {after}");
            let all = AddressRange::new(0, size).unwrap();
            let mut bitmap = DirtyBitmap::new(all);
            let is_dirty = std::mem::take(&mut expected.dirty);
            if is_dirty {
                self.model.reached.borrow_mut().insert("a mark");
            }
            if self.is_logging {
                let pages = block.take_dirty(all, DirtyClients::MIGRATION, &mut bitmap);
                assert_eq!(pages > 0, is_dirty, "marks of block {number}, after {after}");
            }
        }
        for mapped in &self.mappings {
            let mut bytes = vec![0; usize::try_from(mapped.mapping.size()).unwrap()];
            mapped.mapping.window().read(0, &mut bytes).unwrap();
            match &mapped.memory {
                Ok((block, at)) => {
                    assert_eq!(bytes, self.model.blocks[*block].bytes[*at..at + bytes.len()]);
                }
                Err(copy) => assert_eq!(bytes, *copy, "a bounce buffer, after {after}"),
            }
        }
    }
}

/// Otherwise nothing would ever go.
impl Drop for World {
    fn drop(&mut self) {
        self.iommu.spaces.lock().unwrap().clear();
    }
}

impl Model {
    /// Rule B3.
    pub(crate) fn put_in_order(&mut self, container: usize, child: usize) {
        let priority = self.nodes[child].priority;
        let mut children = std::mem::take(&mut self.nodes[container].children);
        children.retain(|&other| other != child);
        let place = children
            .iter()
            .position(|&other| priority >= self.nodes[other].priority);
        children.insert(place.unwrap_or(children.len()), child);
        self.nodes[container].children = children;
    }
}
