//! Readers on real threads while somebody commits: each look shows one version of the memory, never a part of
//! one; what a receipt was waited for is gone; readers free nothing. `publish_loom.rs` has the same for small
//! cases in every order.
//!
//! `FLATVIEW_STRESS_SECONDS` says how long each test takes; 2 if it says nothing.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../src/test_random.rs"]
mod random;

use std::cell::Cell;
use std::env;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use flatview::{
    AddressSpace, Error, FlatView, MemTxAttrs, MemTxError, Memory, MemoryRegionOps, RamBlock, Reader,
    Receipt, Region, Size, Transaction, ViewRef,
};
use random::Random;

const TILES: u64 = 8;
const TILE: u64 = 0x4000;
const WINDOW: u64 = TILES * TILE;

thread_local!(static IS_READER: Cell<bool> = const { Cell::new(false) });

#[derive(Default)]
struct Counts {
    alive: AtomicUsize,
    freed_by_readers: AtomicUsize,
    looks: AtomicU64,
}

/// What stands behind each region; notices who frees it.
struct Device(Arc<Counts>);

impl Device {
    fn new(counts: &Arc<Counts>) -> Arc<Device> {
        counts.alive.fetch_add(1, Ordering::Relaxed);
        Arc::new(Device(Arc::clone(counts)))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::Relaxed);
        let by_reader = IS_READER.with(Cell::get);
        self.0
            .freed_by_readers
            .fetch_add(usize::from(by_reader), Ordering::Relaxed);
    }
}

impl MemoryRegionOps for Device {
    fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(0)
    }

    fn write(&self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        Ok(())
    }
}

/// Eight tiles of memory that go round, and behind them a region that bears the version as its name. In each
/// version one tile is another one than before.
///
/// ```text
///           0x0000  0x4000  0x8000            0x1c000  0x20000
/// version 0 | tile0 | tile1 | tile2 |  ....  | tile7 |   "0"   |
/// version 1 | tile7 | tile0 | tile1 |  ....  | tile6 |   "1"   |
/// ```
struct Machine {
    memory: Memory,
    /// Shows the version.
    system: Region,
    /// Looks at `system`.
    space: AddressSpace,
    /// Looks at `system` as long as its bus master is on.
    master: AddressSpace,
    bus: Region,
    /// Looks at `system` or at `elsewhere`.
    switched: AddressSpace,
    ways: [Region; 2],
    tiles: Vec<Region>,
    marker: Region,
    version: u64,
    counts: Arc<Counts>,
}

impl Machine {
    fn new() -> Machine {
        let counts = Arc::new(Counts::default());
        let memory = Memory::new();
        let system = memory.region("system").container(Size::MAX);
        let elsewhere = memory.region("elsewhere").container(Size::MAX);
        let other = memory.region("other").io(WINDOW, Device::new(&counts));
        let lead = |name, target| memory.region(name).alias(target, 0, Size::MAX).unwrap();
        let [bus, here, there] = [
            lead("bus", &system),
            lead("here", &system),
            lead("there", &elsewhere),
        ];
        let master_root = memory.region("master").container(Size::MAX);
        let switched_root = memory.region("switched").container(Size::MAX);
        let create = |name, root| memory.create_address_space(name, root).unwrap();
        let machine = Machine {
            space: create("memory", &system),
            master: create("master", &master_root),
            switched: create("switched", &switched_root),
            tiles: (0..TILES).map(|tile| tile_of(&memory, tile, &counts)).collect(),
            marker: marker_of(&memory, 0, &counts),
            version: 0,
            bus,
            ways: [here, there],
            system,
            memory: memory.clone(),
            counts,
        };
        memory
            .update(|tx| {
                tx.add_subregion(&elsewhere, 0, &other)?;
                tx.add_subregion(&master_root, 0, &machine.bus)?;
                for way in &machine.ways {
                    tx.add_subregion(&switched_root, 0, way)?;
                }
                tx.set_enabled(&machine.ways[1], false)?;
                machine.map(tx)
            })
            .unwrap();
        machine
    }

    fn map(&self, tx: &mut Transaction<'_>) -> Result<(), Error> {
        for (tile, address) in self.tiles.iter().zip(addresses(self.version)) {
            tx.add_subregion(&self.system, address, tile)?;
        }
        tx.add_subregion(&self.system, WINDOW, &self.marker)
    }

    /// One commit: the next version, and perhaps another way for a space to look. Returns what it removed, too.
    fn step(&mut self) -> (Receipt, [Weak<dyn MemoryRegionOps>; 2]) {
        self.version += 1;
        let version = self.version;
        let replaced = usize::try_from(version % TILES).unwrap();
        let tile = tile_of(&self.memory, version % TILES, &self.counts);
        let marker = marker_of(&self.memory, version, &self.counts);
        let old_tile = std::mem::replace(&mut self.tiles[replaced], tile);
        let old_marker = std::mem::replace(&mut self.marker, marker);
        let commit = self.memory.update(|tx| {
            tx.del_subregion(&self.system, &old_tile)?;
            for (tile, address) in self.tiles.iter().zip(addresses(version)) {
                tx.set_address(tile, address)?;
            }
            let address = addresses(version).nth(replaced).unwrap();
            tx.add_subregion(&self.system, address, &self.tiles[replaced])?;
            tx.del_subregion(&self.system, &old_marker)?;
            tx.add_subregion(&self.system, WINDOW, &self.marker)?;
            tx.set_enabled(&self.bus, !version.is_multiple_of(3))?;
            tx.set_enabled(&self.ways[0], version % 4 < 2)?;
            tx.set_enabled(&self.ways[1], version % 4 >= 2)
        });
        let gone = [old_tile, old_marker].map(|region| Arc::downgrade(region.ops().unwrap()));
        (commit.unwrap(), gone)
    }

    /// Everything is unmapped, and nobody looks any more.
    fn finish(self) {
        let removed = self.memory.update(|tx| {
            for region in self.tiles.iter().chain([&self.marker]) {
                tx.del_subregion(&self.system, region)?;
            }
            Ok(())
        });
        removed.unwrap().wait().unwrap();
        assert!(self.space.view().is_empty());
        let counts = Arc::clone(&self.counts);
        let left = self.tiles.len() + 2;
        assert_eq!(counts.alive.load(Ordering::Relaxed), left, "handles, and `other`");
        drop(self);
        assert_eq!(counts.alive.load(Ordering::Relaxed), 0);
        assert_eq!(counts.freed_by_readers.load(Ordering::Relaxed), 0);
    }
}

fn tile_of(memory: &Memory, tile: u64, counts: &Arc<Counts>) -> Region {
    let block = RamBlock::unbacked(TILE);
    memory
        .region(&format!("tile{tile}"))
        .rom_device(block, Device::new(counts))
}

fn marker_of(memory: &Memory, version: u64, counts: &Arc<Counts>) -> Region {
    memory.region(&version.to_string()).io(TILE, Device::new(counts))
}

/// Where the tiles are.
fn addresses(version: u64) -> impl Iterator<Item = u64> {
    (0..TILES).map(move |tile| (tile + version) % TILES * TILE)
}

/// Which version a view shows, if it looks at `system`: then it shows all of that version and nothing else.
fn version_of(view: &FlatView) -> Option<u64> {
    let ranges: Vec<_> = view.iter().collect();
    for pair in ranges.windows(2) {
        assert!(pair[0].last() < pair[1].start(), "{pair:?}");
    }
    let (marker, tiles) = ranges.split_last()?;
    if marker.region().name() == "other" {
        assert_eq!(ranges.len(), 1, "{ranges:?}");
        return None;
    }
    let version: u64 = marker.region().name().parse().expect("the marker is last");
    assert_eq!(
        (tiles.len() as u64, marker.start()),
        (TILES, WINDOW),
        "{ranges:?}"
    );
    for (tile, address) in addresses(version).enumerate() {
        let range = view.find(address).expect("tiles are everywhere");
        assert_eq!(range.start(), address);
        assert_eq!(range.region().name(), format!("tile{tile}"), "version {version}");
    }
    Some(version)
}

/// Looks in every way that there is, until it is told to stop.
struct Looker<'a> {
    machine: &'a [AddressSpace; 3],
    readers: [Reader; 3],
    newest: [u64; 3],
    snapshots: Vec<(ViewRef, Option<u64>)>,
    dice: Random,
}

impl Looker<'_> {
    fn new(spaces: &[AddressSpace; 3], seed: u64) -> Looker<'_> {
        Looker {
            machine: spaces,
            readers: spaces.each_ref().map(AddressSpace::reader),
            newest: [0; 3],
            snapshots: Vec::new(),
            dice: Random::new(seed),
        }
    }

    fn look(&mut self) {
        let which = [0, 0, 1, 2][usize::try_from(self.dice.below(4)).unwrap()];
        let reader = &mut self.readers[which];
        match self.dice.below(32) {
            0 => {
                reader.release();
                thread::sleep(Duration::from_micros(self.dice.below(200)));
            }
            1 => *reader = self.machine[which].reader(),
            2 | 3 => {
                let view = self.machine[which].view();
                let version = version_of(&view);
                self.newest(which, version);
                self.snapshots.push((view, version));
            }
            4..8 => {
                if let Some((view, version)) = self.snapshots.pop() {
                    assert_eq!(version_of(&view), version, "views stay as they are");
                }
            }
            8..12 => {
                let version = version_of(reader.view());
                assert!(which != 0 || version.is_some());
                self.newest(which, version);
            }
            12..16 => self.find_known(),
            _ => {
                let address = self.dice.below(WINDOW + TILE);
                match self.readers[which].find(address) {
                    Some(range) => assert!(range.range().contains(address), "{range:?}, not {address:#x}"),
                    None => assert_ne!(which, 0, "a hole at {address:#x}"),
                }
            }
        }
    }

    /// What a reader finds is of a version between those that it shows before and after.
    fn find_known(&mut self) {
        let reader = &mut self.readers[0];
        let slot = self.dice.below(TILES);
        let before = version_of(reader.view()).unwrap();
        let found = reader.find(slot * TILE).unwrap().region().name().to_owned();
        let after = version_of(reader.view()).unwrap();
        let mut possible = (before..=after).map(|version| (slot + TILES - version % TILES) % TILES);
        assert!(
            possible.any(|tile| found == format!("tile{tile}")),
            "{found} in slot {slot}, versions {before} to {after}"
        );
        self.newest(0, Some(after));
    }

    /// Whoever has seen a version sees no older one any more.
    fn newest(&mut self, which: usize, version: Option<u64>) {
        let Some(version) = version else { return };
        let newest = &mut self.newest[which];
        assert!(version >= *newest, "{version} after {newest}");
        *newest = version;
    }
}

/// Fails if `test` has not ended long after it should have.
fn with_watchdog(test: impl FnOnce(Instant) + Send + 'static) {
    let seconds = env::var("FLATVIEW_STRESS_SECONDS").map_or(2, |seconds| seconds.parse().unwrap());
    let (done, ended) = mpsc::channel();
    let running = thread::spawn(move || {
        test(Instant::now() + Duration::from_secs(seconds));
        let _ = done.send(());
    });
    match ended.recv_timeout(Duration::from_secs(seconds + 60)) {
        Err(RecvTimeoutError::Timeout) => panic!("somebody waits for ever"),
        _ => running.join().unwrap(),
    }
}

/// Runs two readers on threads of their own for as long as `commit` runs.
fn with_readers(mut machine: Machine, commit: impl FnOnce(&mut Machine)) {
    let stop = AtomicBool::new(false);
    let spaces = [&machine.space, &machine.master, &machine.switched].map(AddressSpace::clone);
    thread::scope(|scope| {
        for seed in [1, 2] {
            let (stop, spaces, counts) = (&stop, &spaces, Arc::clone(&machine.counts));
            scope.spawn(move || {
                IS_READER.set(true);
                let mut looker = Looker::new(spaces, seed);
                while !stop.load(Ordering::Relaxed) {
                    looker.look();
                    counts.looks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        commit(&mut machine);
        stop.store(true, Ordering::Relaxed);
    });
    drop(spaces);
    let looks = machine.counts.looks.load(Ordering::Relaxed);
    println!("{looks} looks at {} versions", machine.version);
    assert!(looks > 1000 && machine.version > 100);
    machine.finish();
}

#[test]
fn readers_see_whole_versions_and_what_was_waited_for_is_gone() {
    with_watchdog(|end| {
        with_readers(Machine::new(), |machine| {
            let mut removed = Vec::new();
            while Instant::now() < end {
                let (receipt, gone) = machine.step();
                removed.extend(gone);
                if machine.version.is_multiple_of(4) {
                    receipt.wait().unwrap();
                    assert!(receipt.is_quiesced());
                    for gone in removed.drain(..) {
                        assert_eq!(gone.strong_count(), 0, "version {}", machine.version);
                    }
                }
            }
        });
    });
}

/// Spaces are made and dropped beside the commits, in all orders with their readers and views, and somebody
/// else waits too. Who commits may free what somebody else's receipt is about, so when that is gone is not
/// checked here.
#[test]
fn spaces_come_and_go_while_everybody_waits() {
    with_watchdog(|end| {
        with_readers(Machine::new(), |machine| {
            let visiting = AtomicBool::new(true);
            let (memory, system) = (machine.memory.clone(), machine.system.clone());
            let bus = memory.region("visitor").alias(&system, 0, Size::MAX).unwrap();
            thread::scope(|scope| {
                scope.spawn(|| {
                    let mut dice = Random::new(3);
                    while visiting.load(Ordering::Relaxed) {
                        let root = [&system, &bus][usize::try_from(dice.below(2)).unwrap()];
                        let space = memory.create_address_space("visitor", root).unwrap();
                        let mut reader = space.reader();
                        let view = space.view();
                        drop(space);
                        assert!(version_of(reader.view()) >= version_of(&view));
                        match dice.below(3) {
                            0 => drop((reader, view)),
                            1 => drop((view, reader)),
                            _ => {
                                drop(view);
                                let untouched = memory.update(|_| Ok(())).unwrap();
                                reader.release();
                                untouched.wait().unwrap();
                            }
                        }
                    }
                });
                while Instant::now() < end {
                    machine.step().0.wait().unwrap();
                }
                visiting.store(false, Ordering::Relaxed);
            });
        });
    });
}
