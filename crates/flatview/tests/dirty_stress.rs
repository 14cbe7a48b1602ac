//! Dirty logs on real threads (rules P2, P5, P7, P10, P13): a harvester copies pages that are marked, as a migration
//! or a display does, while others write in every way that there is. When the writers rest and the last marks were
//! taken, the copy equals memory: no page was lost. `dirty/log_loom.rs` has the same for small cases in every order.
//!
//! `FLATVIEW_DIRTY_ROUNDS` says how often the writers rest; 150 times if it says nothing.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::cast_possible_truncation, reason = "small numbers of the tests' own")]

#[path = "../src/test_random.rs"]
mod random;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use flatview::{
    AddressRange, AddressSpace, AtomicOp, DirtyBitmap, DirtyClients, Endianness, GlobalDirty, MemTxAttrs,
    Memory, PAGE_SIZE, RamBlock, RamWindow, Reader, Region, Size,
};
use random::Random;

/// More than two words of a bitmap, and not all of the last.
const PAGES: u64 = 150;
const BYTES: u64 = PAGES * PAGE_SIZE;
const BASE: u64 = 0x10_0000;
const WRITERS: u64 = 3;
const ATTRS: MemTxAttrs = MemTxAttrs::UNSPECIFIED;
const LITTLE: Endianness = Endianness::Little;

/// Nobody writes these pages, one here and there, so that neighbours are told apart.
fn is_quiet(page: u64) -> bool {
    page % 7 == 3
}

struct Machine {
    memory: Memory,
    space: AddressSpace,
    ram: Region,
    block: RamBlock,
}

impl Machine {
    /// RAM, and some other memory that an update can move while everybody works.
    fn new() -> Machine {
        let memory = Memory::new();
        let system = memory.region("system").container(Size::MAX);
        let block = RamBlock::anonymous(BYTES).unwrap();
        let ram = memory.region("ram").ram(block.clone());
        let space = memory.create_address_space("memory", &system).unwrap();
        memory.update(|tx| tx.add_subregion(&system, BASE, &ram)).unwrap();
        Machine {
            memory,
            space,
            ram,
            block,
        }
    }

    fn window(&self) -> RamWindow {
        self.block.window(0, BYTES).unwrap()
    }
}

/// One thread that writes.
struct Writer {
    space: AddressSpace,
    reader: Reader,
    window: RamWindow,
    dice: Random,
    /// What is written, a new one each time.
    value: u64,
}

impl Writer {
    fn new(machine: &Machine, seed: u64) -> Writer {
        Writer {
            space: machine.space.clone(),
            reader: machine.space.reader(),
            window: machine.window(),
            dice: Random::new(seed),
            value: seed << 56,
        }
    }

    /// A place where `len` bytes are nobody's quiet page; `len` is at most a page.
    fn place(&mut self, len: u64) -> u64 {
        loop {
            let at = self.dice.below(BYTES - len + 1);
            let at = if self.dice.below(2) == 0 { at & !7 } else { at };
            if !is_quiet(at / PAGE_SIZE) && !is_quiet((at + len - 1) / PAGE_SIZE) {
                return at;
            }
        }
    }

    fn write(&mut self) {
        self.value += 1;
        let value = self.value;
        let bytes = [value as u8; 200];
        match self.dice.below(12) {
            0..3 => {
                let at = self.place(8);
                self.reader.store(BASE + at, value, LITTLE, ATTRS).unwrap();
            }
            3..5 => {
                let at = self.place(1);
                self.window.store(at, value as u8).unwrap();
            }
            5..7 => {
                let at = self.place(4);
                self.window.store(at, value as u32).unwrap();
            }
            7 => {
                let at = self.place(200);
                self.space.write(BASE + at, &bytes, ATTRS).unwrap();
            }
            8 => {
                let at = self.place(PAGE_SIZE);
                let fill = (value as u8, PAGE_SIZE as usize);
                self.reader.fill(BASE + at, fill.0, fill.1, ATTRS).unwrap();
            }
            9 => {
                let at = self.place(8);
                let reader = &mut self.reader;
                let added = reader.atomic(BASE + at, AtomicOp::Xor, value, LITTLE, ATTRS);
                added.unwrap();
            }
            10 => {
                let at = self.place(4) & !3;
                let old = self.window.load::<u32>(at).unwrap();
                // Who comes too late does not write.
                let _ = self.window.compare_exchange(at, old, value as u32).unwrap();
            }
            _ => self.map(),
        }
    }

    /// A device that gets a pointer and says afterwards what it wrote.
    fn map(&mut self) {
        let at = self.place(64);
        let mapping = self.space.map(BASE + at, 64, true, ATTRS).unwrap();
        mapping.window().store(8, self.value).unwrap();
        match self.dice.below(3) {
            0 => drop(mapping),
            _ => mapping.unmap(16).unwrap(),
        }
    }
}

/// Lets writers write, and rest when they are asked to. Nothing here orders what they do while they work.
#[derive(Default)]
struct Rest {
    /// Even: work. Odd: rest.
    phase: AtomicU64,
    resting: AtomicU64,
    ended: AtomicBool,
    written: AtomicU64,
}

impl Rest {
    fn work(&self, mut writer: Writer) {
        let _end = End(self);
        let mut written = 0;
        while !self.ended.load(Ordering::Relaxed) {
            let phase = self.phase.load(Ordering::Relaxed);
            if phase.is_multiple_of(2) {
                writer.write();
                written += 1;
                continue;
            }
            self.resting.fetch_add(1, Ordering::SeqCst);
            while self.phase.load(Ordering::SeqCst) == phase && !self.ended.load(Ordering::SeqCst) {
                thread::yield_now();
            }
        }
        self.written.fetch_add(written, Ordering::Relaxed);
    }

    /// Nobody writes while `check` runs.
    fn rest(&self, check: impl FnOnce()) {
        self.resting.store(0, Ordering::SeqCst);
        self.phase.fetch_add(1, Ordering::SeqCst);
        while self.resting.load(Ordering::SeqCst) < WRITERS {
            assert!(!self.ended.load(Ordering::SeqCst), "a writer failed");
            thread::yield_now();
        }
        check();
        self.phase.fetch_add(1, Ordering::SeqCst);
    }
}

/// Who fails ends it for all.
struct End<'a>(&'a Rest);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::SeqCst);
    }
}

/// Somebody who follows memory by its marks.
struct Follower<'a> {
    machine: &'a Machine,
    client: DirtyClients,
    shadow: Vec<u8>,
    /// Whether all pages may be marked: a log that starts knows nothing.
    is_new: Vec<bool>,
}

impl<'a> Follower<'a> {
    fn new(machine: &'a Machine, client: DirtyClients) -> Follower<'a> {
        Follower {
            machine,
            client,
            shadow: Vec::new(),
            is_new: Vec::new(),
        }
    }

    fn start(&mut self) {
        let Machine { memory, ram, .. } = self.machine;
        match self.client {
            DirtyClients::VGA => memory.update(|tx| tx.set_log(ram, true)).map(drop),
            _ => memory.global_dirty_log_start(GlobalDirty::MIGRATION).map(drop),
        }
        .unwrap();
        // Whatever was known before is worth nothing.
        self.shadow = vec![0xee; BYTES as usize];
        self.is_new = vec![true; PAGES as usize];
    }

    fn stop(&self) {
        let Machine { memory, ram, .. } = self.machine;
        match self.client {
            DirtyClients::VGA => memory.update(|tx| tx.set_log(ram, false)).map(drop),
            _ => memory.global_dirty_log_stop(GlobalDirty::MIGRATION).map(drop),
        }
        .unwrap();
    }

    /// Takes the marks of some pages, and copies those pages.
    fn harvest(&mut self, first: u64, end: u64) {
        let (start, size) = (first * PAGE_SIZE, (end - first) * PAGE_SIZE);
        let bytes = AddressRange::new(start, size).unwrap();
        let Machine {
            memory, ram, block, ..
        } = self.machine;
        let bitmap = match self.client {
            DirtyClients::VGA => memory.snapshot_and_clear_dirty(ram, bytes, self.client).unwrap(),
            client => {
                memory.global_dirty_log_sync(false).unwrap();
                let mut bitmap = DirtyBitmap::new(bytes);
                let came = block.take_dirty(bytes, client, &mut bitmap);
                assert_eq!(came, bitmap.count());
                bitmap
            }
        };
        let window = self.machine.window();
        for at in bitmap.pages() {
            let page = at / PAGE_SIZE;
            assert!((first..end).contains(&page), "page {page} of {first} to {end}");
            let is_new = self.is_new[page as usize];
            assert!(is_new || !is_quiet(page), "nobody wrote page {page}");
            let place = at as usize..(at + PAGE_SIZE) as usize;
            window.read(at, &mut self.shadow[place]).unwrap();
        }
        for page in first..end {
            let is_new = std::mem::take(&mut self.is_new[page as usize]);
            assert!(
                !is_new || bitmap.is_dirty(AddressRange::new(page * PAGE_SIZE, 1).unwrap()),
                "P18"
            );
        }
    }

    /// The writers rest.
    fn check(&mut self, round: usize) {
        self.harvest(0, PAGES);
        let mut memory = vec![0; BYTES as usize];
        self.machine.window().read(0, &mut memory).unwrap();
        let page = |bytes: &[u8], page: usize| bytes[page * 4096..(page + 1) * 4096].to_vec();
        let lost: Vec<_> = (0..PAGES as usize)
            .filter(|&number| page(&memory, number) != page(&self.shadow, number))
            .collect();
        assert_eq!(
            lost,
            Vec::<usize>::new(),
            "lost pages of {:?}, round {round}",
            self.client
        );
        let all = AddressRange::new(0, BYTES).unwrap();
        assert!(
            !self.machine.block.is_dirty(all, self.client),
            "nobody writes now"
        );
    }
}

fn follow(clients: &[DirtyClients]) {
    let rounds = std::env::var("FLATVIEW_DIRTY_ROUNDS").map_or(150, |rounds| rounds.parse().unwrap());
    let machine = Machine::new();
    let rest = Rest::default();
    let mut followers: Vec<_> = clients
        .iter()
        .map(|&client| Follower::new(&machine, client))
        .collect();
    thread::scope(|scope| {
        for seed in 1..=WRITERS {
            let writer = Writer::new(&machine, seed);
            let rest = &rest;
            scope.spawn(move || rest.work(writer));
        }
        let _end = End(&rest);
        let mut dice = Random::new(42);
        for round in 0..rounds {
            // A log starts while everybody writes, or goes on.
            let starts = round % 3 == 0;
            for follower in &mut followers {
                if starts {
                    follower.start();
                }
            }
            for _ in 0..dice.below(6) {
                for follower in &mut followers {
                    match dice.below(3) {
                        0 => follower.harvest(0, PAGES),
                        _ => {
                            let first = dice.below(PAGES);
                            let end = first + 1 + dice.below(PAGES - first);
                            follower.harvest(first, end);
                        }
                    }
                }
            }
            rest.rest(|| {
                for follower in &mut followers {
                    follower.check(round);
                }
            });
            let is_last = round + 1 == rounds;
            if round % 3 == 2 || is_last {
                for follower in &followers {
                    follower.stop();
                }
                // Some writes that nobody logs: the next start has to bring them in.
                thread::yield_now();
            }
        }
    });
    assert!(machine.block.logged_by().is_empty());
    println!("{} writes", rest.written.load(Ordering::Relaxed));
}

/// P2, P10: a display that redraws what changed.
#[test]
fn a_display_loses_no_page() {
    follow(&[DirtyClients::VGA]);
}

/// P13, P17: a migration.
#[test]
fn a_migration_loses_no_page() {
    follow(&[DirtyClients::MIGRATION]);
}

/// P1: clients do not take each other's marks away.
#[test]
fn a_display_and_a_migration_lose_no_page() {
    follow(&[DirtyClients::VGA, DirtyClients::MIGRATION]);
}
