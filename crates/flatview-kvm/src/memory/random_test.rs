//! Ten thousand random transactions. After each one the slots are what the view says when every page is looked at on its
//! own, and the kernel agrees.

use std::sync::Arc;

use flatview::{
    AddressSpace, Error, FlatRange, FlatView, GlobalDirty, Memory, RamBlock, Region, RegionKind, Size,
    Transaction, UnassignedIo,
};

use crate::vm::Vm;
use crate::{KvmAccelerator, KvmConfig, Slot, SlotFlags};

#[path = "../../../flatview/src/test_random.rs"]
mod test_random;
use test_random::Random;

const PAGE: u64 = 0x1000;
/// Regions are mapped below this page.
const PAGES: u64 = 96;
const SYSTEM: usize = 0;
const CONTAINER: usize = 1;

struct World {
    memory: Memory,
    space: AddressSpace,
    ports: AddressSpace,
    regions: Vec<Region>,
    /// Where each is mapped, and whether a display logs it.
    state: Vec<(Option<usize>, bool)>,
    /// For a slot that is there for a moment only.
    spare: RamBlock,
}

impl World {
    fn new() -> World {
        let memory = Memory::new();
        let block = |size| RamBlock::anonymous(size).unwrap();
        let region = |name| memory.region(name);
        let system = region("system").container(Size::MAX);
        let io = region("io").container(0x1_0000);
        let ram = region("ram").ram(block(0x1_0000));
        let odd = region("odd").ram(block(0x9800));
        let regions = vec![
            system.clone(),
            region("container").container(24 * PAGE),
            region("rom").rom(block(0x4000)),
            region("flash").rom_device(block(0x4000), Arc::new(UnassignedIo)),
            region("bar").ram_device(block(0x3000)),
            region("device").io(0x1800, Arc::new(UnassignedIo)),
            region("reservation").reservation(PAGE),
            region("part").alias(&ram, 0x2000, 0x3000).unwrap(),
            region("view").readonly(true).alias(&ram, 0x4000, 0x3000).unwrap(),
            region("askew").alias(&odd, 0x800, 0x2000).unwrap(),
            region("beyond").alias(&odd, 0x8000, 0x4000).unwrap(),
            ram,
            odd,
            region("dimm").ram(block(0x1_8000)),
            region("nvdimm").nonvolatile(true).ram(block(0x8000)),
            region("hole").io(PAGE, Arc::new(UnassignedIo)),
            region("small hole").io(0x10, Arc::new(UnassignedIo)),
        ];
        World {
            space: memory.create_address_space("memory", &system).unwrap(),
            ports: memory.create_address_space("I/O", &io).unwrap(),
            state: vec![(None, false); regions.len()],
            memory,
            regions,
            spare: block(PAGE),
        }
    }

    fn change(
        &self,
        random: &mut Random,
        tx: &mut Transaction<'_>,
        state: &mut [(Option<usize>, bool)],
    ) -> Result<(), Error> {
        let index = 1 + usize::try_from(random.below(self.regions.len() as u64 - 1)).unwrap();
        let region = &self.regions[index];
        let on = random.chance(2);
        let askew = if random.chance(4) {
            random.below(16) * 0x100
        } else {
            0
        };
        let address = random.below(PAGES) * PAGE + askew;
        match (random.below(16), &mut state[index]) {
            (0..8, (parent @ None, _)) => {
                let is_inner = index != CONTAINER && random.chance(3);
                let (to, address) = match is_inner {
                    true => (CONTAINER, address % (24 * PAGE)),
                    false => (SYSTEM, address),
                };
                *parent = Some(to);
                let priority = i32::try_from(random.below(4)).unwrap();
                tx.add_subregion_overlap(&self.regions[to], address, region, priority)
            }
            (0, (parent @ Some(_), _)) => {
                let from = parent.take().unwrap();
                tx.del_subregion(&self.regions[from], region)
            }
            (1..8, (Some(SYSTEM), _)) => tx.set_address(region, address),
            (8, _) => tx.set_enabled(region, !random.chance(8)),
            (9, _) => tx.set_readonly(region, on),
            (10, _) if region.kind() == RegionKind::RomDevice => {
                tx.rom_device_set_romd(region, !random.chance(4))
            }
            (10, _) => tx.set_nonvolatile(region, on),
            (11, (_, is_logged)) if region.kind() == RegionKind::Ram => {
                *is_logged = !*is_logged;
                tx.set_log(region, *is_logged)
            }
            (11, _) if region.kind() == RegionKind::Alias => tx.set_alias_offset(region, address % 0x8000),
            (12, _) if index != CONTAINER => tx.set_size(region, 0x80 + address % 0x1_8000),
            _ => tx.set_unmergeable(region, on),
        }
    }

    /// Whether the kernel has a slot there.
    fn is_taken(&self, vm: &Vm, page: u64) -> bool {
        let probe = Slot {
            id: vm.capabilities.memslots - 1,
            gpa: page * PAGE,
            size: PAGE,
            host_address: self.spare.host_address().unwrap(),
            flags: SlotFlags::empty(),
            block: self.spare.clone(),
            block_offset: 0,
        };
        match vm.set_slot(&probe) {
            Ok(()) => {
                vm.delete_slot(&probe).unwrap();
                false
            }
            Err(error) => {
                assert!(error.to_string().contains("File exists"), "{error}");
                true
            }
        }
    }
}

/// Address, size, place in this process, flags.
type Shape = (u64, u64, usize, SlotFlags);

fn shape(slot: &Slot) -> Shape {
    (slot.gpa, slot.size, slot.host_address, slot.flags)
}

/// The slots that show a view, page by page.
fn slots_of(view: &FlatView, most: u64) -> Vec<Shape> {
    let mut slots: Vec<Shape> = Vec::new();
    for range in view {
        let first = slots.len();
        for page in range.start() / PAGE..=range.last() / PAGE {
            let Some((host, flags)) = page_of(range, page * PAGE) else {
                continue;
            };
            match slots[first..].last_mut() {
                Some(slot) if slot.1 < most => {
                    assert_eq!(slot.2 + usize::try_from(slot.1).unwrap(), host);
                    slot.1 += PAGE;
                }
                _ => slots.push((page * PAGE, PAGE, host, flags)),
            }
        }
    }
    slots
}

/// Where the page at `address` is in this process, if the guest can have it.
fn page_of(range: &FlatRange, address: u64) -> Option<(usize, SlotFlags)> {
    let region = range.region();
    let block = region.ram_block()?;
    let is_whole = range.start() <= address && address + (PAGE - 1) <= range.last();
    if !is_whole || !range.is_romd() {
        return None;
    }
    let offset = address - range.start() + range.offset_in_region();
    if offset % PAGE != 0 || offset + PAGE > block.max_size() {
        return None;
    }
    let mut flags = SlotFlags::empty();
    let is_readonly = range.is_readonly() || region.kind() == RegionKind::RomDevice;
    flags.set(SlotFlags::READONLY, is_readonly);
    flags.set(SlotFlags::LOG_DIRTY_PAGES, !range.dirty_log_mask().is_empty());
    Some((block.host_address()? + usize::try_from(offset).unwrap(), flags))
}

/// Returns how many transactions were refused.
fn run(seed: u64, transactions: u32, config: KvmConfig) -> u32 {
    let most = config.max_slot_size.unwrap_or(u64::MAX);
    let kvm = KvmAccelerator::new(config).unwrap();
    let mut world = World::new();
    kvm.attach(&world.memory, &world.space, &world.ports, None)
        .unwrap();
    let mut random = Random::new(seed);
    let mut refused = 0;
    let mut tracks = false;
    for transaction in 0..transactions {
        let before: Vec<Shape> = kvm.slots(0).iter().map(shape).collect();
        let mut state = world.state.clone();
        let changed = if random.chance(40) {
            tracks = !tracks;
            let why = GlobalDirty::MIGRATION;
            let memory = &world.memory;
            match tracks {
                true => memory.global_dirty_log_start(why),
                false => memory.global_dirty_log_stop(why),
            }
        } else {
            world.memory.update(|tx| {
                (0..=random.below(4)).try_for_each(|_| world.change(&mut random, tx, &mut state))
            })
        };
        let slots: Vec<Slot> = kvm.slots(0);
        let shapes: Vec<Shape> = slots.iter().map(shape).collect();
        match changed {
            Ok(_) => world.state = state,
            Err(Error::Refused { source, .. }) => {
                refused += 1;
                assert!(source.to_string().contains("memory slots are needed"), "{source}");
                assert_eq!(shapes, before);
            }
            Err(error) => panic!("seed {seed}, transaction {transaction}: {error}"),
        }
        if transaction % 50 == 0 {}
        let view = world.space.view();
        assert_eq!(
            shapes,
            slots_of(&view, most),
            "seed {seed}, transaction {transaction}: {:?}",
            *view
        );
        for _ in 0..3 {
            let page = random.below(PAGES + 16);
            let within = |slot: &Slot| (slot.gpa..slot.gpa + slot.size).contains(&(page * PAGE));
            assert_eq!(world.is_taken(kvm.vm(), page), slots.iter().any(within));
        }
        if let Some(slot) = slots.get(usize::try_from(random.below(32)).unwrap()) {
            // Any other size, memory or read-only flag of this number would be refused.
            kvm.vm().set_slot(slot).unwrap();
        }
    }
    let numbers = kvm.slots(0);
    let numbers = numbers.iter().map(|slot| slot.id).max();
    assert!(numbers.is_none_or(|most| most < 64), "numbers are taken again");
    refused
}

#[test]
fn ten_thousand_random_transactions_leave_the_slots_that_the_view_says() {
    if !flatview_testkit::kvm() {
        return;
    }
    for seed in 0..7 {
        assert_eq!(run(seed, 1000, KvmConfig::default()), 0);
    }
    for seed in 7..10 {
        let config = KvmConfig {
            max_slots: Some(7),
            max_slot_size: Some(0x4000),
            ..KvmConfig::default()
        };
        let refused = run(seed, 1000, config);
        assert!((1..900).contains(&refused), "{refused} are refused");
    }
}
