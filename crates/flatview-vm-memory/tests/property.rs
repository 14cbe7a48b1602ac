//! Random maps, random accesses: what goes through vm-memory does what accesses of the space do.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "helpers of tests fail as tests do"
)]

mod board;

use std::sync::Arc;

use board::{ATTRS, Board, Pages};
use flatview::{AddressRange, AddressSpace, DirtyClients, IommuAccess, PAGE_SIZE, Region, Size};
use flatview_vm_memory::{DmaView, RamView};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryBackend, Permissions};

/// Maps fill the first of these bytes, so that accesses meet them.
const SPAN: u64 = 0x8000;
const BLOCK: u64 = 0x3000;
const BLOCKS: usize = 3;

/// One more layer of the map.
#[derive(Clone, Debug)]
enum Layer {
    /// A window onto a block: which, from where, how long.
    Window {
        block: usize,
        offset: u64,
        len: u64,
        readonly: bool,
    },
    Reservation(u64),
}

#[derive(Clone, Debug)]
struct Access {
    /// Through the IOMMU.
    translated: bool,
    /// As a loader.
    loads: bool,
    write: bool,
    address: u64,
    bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Plan {
    layers: Vec<(u64, i32, Layer)>,
    /// Pages of the device: where they lead, what is permitted.
    pages: Vec<(u64, u8)>,
    logged: bool,
}

fn layer() -> impl Strategy<Value = Layer> {
    let window = (0..BLOCKS, 0..BLOCK, 1..0x2000_u64, any::<bool>());
    let window = window.prop_map(|(block, offset, len, readonly)| Layer::Window {
        block,
        offset,
        len: len.min(BLOCK - offset),
        readonly,
    });
    prop_oneof![4 => window, 1 => (1..0x800_u64).prop_map(Layer::Reservation)]
}

fn plan() -> impl Strategy<Value = Plan> {
    let pages = vec((0..SPAN / PAGE_SIZE, 0..4_u8), 8);
    (vec((0..SPAN, 0..3, layer()), 1..10), pages, any::<bool>()).prop_map(|(layers, pages, logged)| Plan {
        layers,
        pages,
        logged,
    })
}

fn access() -> impl Strategy<Value = Access> {
    let len = prop_oneof![select(vec![1, 2, 4, 8]), 0..0x1800_usize];
    let bytes = (len, any::<u8>()).prop_map(|(len, seed)| {
        let byte = |at: usize| (at as u8).wrapping_mul(31).wrapping_add(seed);
        (0..len).map(byte).collect()
    });
    (any::<(bool, bool, bool)>(), 0..SPAN + 0x1000, bytes).prop_map(
        |((translated, loads, write), address, bytes)| Access {
            translated: translated && !loads,
            loads,
            write,
            address,
            bytes,
        },
    )
}

struct Machine {
    board: Board,
    blocks: Vec<Region>,
    device: AddressSpace,
    logged: bool,
}

fn machine(plan: &Plan) -> Machine {
    let board = Board::new();
    let blocks: Vec<_> = (0..BLOCKS).map(|_| board.ram("block", BLOCK)).collect();
    for (address, priority, layer) in &plan.layers {
        let region = match *layer {
            Layer::Reservation(len) => board.memory.region("reservation").reservation(len),
            Layer::Window {
                block,
                offset,
                len,
                readonly,
            } => {
                let window = board.memory.region("window").readonly(readonly);
                window.alias(&blocks[block], offset, len).unwrap()
            }
        };
        board.update(|tx| tx.add_subregion_overlap(&board.system, *address, &region, *priority));
    }
    let pages = Arc::new(Pages::default());
    for (iova, &(page, permission)) in (0..).step_by(PAGE_SIZE as usize).zip(&plan.pages) {
        let permission = IommuAccess::from_bits_truncate(permission);
        pages.map(iova, page * PAGE_SIZE, permission, &board.space);
    }
    let iommu = board.memory.region("iommu").iommu(Size::MAX, pages);
    let device = board.memory.create_address_space("device", &iommu).unwrap();
    for (at, block) in blocks.iter().enumerate() {
        let fill = vec![at as u8 + 1; BLOCK as usize];
        block
            .ram_block()
            .unwrap()
            .window(0, BLOCK)
            .unwrap()
            .write(0, &fill)
            .unwrap();
        if plan.logged {
            board.update(|tx| tx.set_log(block, true));
            board.harvest(block, DirtyClients::VGA);
        }
    }
    Machine {
        board,
        blocks,
        device,
        logged: plan.logged,
    }
}

impl Machine {
    fn space(&self, access: &Access) -> &AddressSpace {
        match access.translated {
            true => &self.device,
            false => &self.board.space,
        }
    }

    /// How many bytes from the first on are memory that may be accessed so.
    fn reach(&self, access: &Access) -> usize {
        let view = self.board.space.view();
        let reached = |at: u64| match access.loads {
            true => view
                .find(at)
                .is_some_and(|range| range.region().ram_block().is_some()),
            false => self.space(access).access_valid(at, 1, access.write, ATTRS),
        };
        let refused = (access.address..)
            .zip(&access.bytes)
            .position(|(at, _)| !reached(at));
        refused.unwrap_or(access.bytes.len())
    }

    /// All memory, and which pages of it are dirty.
    fn state(&self) -> Vec<(Vec<u8>, Vec<u64>)> {
        let state = |region: &Region| {
            let mut bytes = vec![0; BLOCK as usize];
            let block = region.ram_block().unwrap();
            block.window(0, BLOCK).unwrap().read(0, &mut bytes).unwrap();
            let dirty = match self.logged {
                true => self.board.harvest(region, DirtyClients::VGA),
                false => {
                    let all = AddressRange::new(0, BLOCK).unwrap();
                    assert!(block.logged_by().is_empty() && !block.is_dirty(all, block.logged_by()));
                    Vec::new()
                }
            };
            (bytes, dirty)
        };
        self.blocks.iter().map(state).collect()
    }
}

/// How many bytes vm-memory did; it refuses when the first is not there.
fn through(memory: &impl GuestMemory, access: &Access, buffer: &mut [u8]) -> usize {
    let at = GuestAddress(access.address);
    let done = match access.write {
        true => memory.write(&access.bytes, at),
        false => memory.read(buffer, at),
    };
    done.unwrap_or_default()
}

fn check(plan: &Plan, accesses: &[Access]) {
    let (ours, oracle) = (machine(plan), machine(plan));
    for access in accesses {
        let (reach, len) = (oracle.reach(access), access.bytes.len());
        let at = GuestAddress(access.address);
        let mut found = vec![0xee; len];
        let done = if access.loads {
            through(&RamView::new(&ours.board.space), access, &mut found)
        } else {
            let dma = DmaView::new(ours.space(access), ATTRS);
            let permissions = if access.write {
                Permissions::Write
            } else {
                Permissions::Read
            };
            assert_eq!(dma.check_range(at, len, permissions), reach == len);
            through(&dma, access, &mut found)
        };
        assert_eq!(done, reach, "{access:x?}");

        let (bytes, space) = (&access.bytes[..reach], oracle.space(access));
        if access.write && access.loads {
            space.write_rom(access.address, bytes);
        } else if access.write {
            space.write(access.address, bytes, ATTRS).unwrap();
        } else {
            let mut expected = vec![0xee; len];
            space.read(access.address, &mut expected[..reach], ATTRS).unwrap();
            assert_eq!(found, expected, "{access:x?}");
        }
        assert_eq!(ours.state(), oracle.state(), "{access:x?}");
    }
}

/// The ranges of a loader's view are those of the space that are RAM, byte by byte.
fn check_ranges(plan: &Plan) {
    let machine = machine(plan);
    let (view, ram) = (machine.board.space.view(), RamView::new(&machine.board.space));
    for at in 0..SPAN + BLOCK {
        let range = view.find(at).filter(|range| range.region().ram_block().is_some());
        let ours = ram.find_region(GuestAddress(at));
        assert_eq!(range.is_some(), ours.is_some(), "{at:#x}");
        let (Some(range), Some(_)) = (range, ours) else {
            continue;
        };
        let base = range.region().ram_block().unwrap().host_address().unwrap() as u64;
        let host = base + range.offset_in_region() + (at - range.start());
        assert_eq!(ram.get_host_address(GuestAddress(at)).unwrap() as u64, host);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Same bytes, same refusals, same dirty pages.
    #[test]
    fn vm_memory_does_what_the_space_does(plan in plan(), accesses in vec(access(), 1..30)) {
        check(&plan, &accesses);
    }

    /// Same ranges.
    #[test]
    fn ranges_are_those_of_the_view(plan in plan()) {
        check_ranges(&plan);
    }
}
