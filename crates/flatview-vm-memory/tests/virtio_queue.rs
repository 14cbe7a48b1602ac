//! `virtio-queue` on a split, overlapping memory: it pops chains from and completes them in windows onto RAM.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "helpers of tests fail as tests do"
)]

mod board;

use std::io::{Read, Write};
use std::sync::Arc;

use board::{ATTRS, Board, Pages};
use flatview::{AddressSpace, DirtyClients, IommuAccess, PAGE_SIZE, Region, Size};
use flatview_vm_memory::{DmaSpace, DmaView, RamView};
use virtio_queue::desc::RawDescriptor;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

const HIGH: u64 = 1 << 32;
const DESCRIPTORS: u64 = HIGH;
const AVAIL: u64 = HIGH + 0x1000;
const USED: u64 = HIGH + 0x2000;
/// Where the window at 4 GiB ends, and another block begins.
const SEAM: u64 = HIGH + 0x1_8000;

/// RAM whose first 8 pages are at 0 and whose other 24 are at 4 GiB, followed by a DIMM; ROM at 1 MiB.
fn pc() -> (Board, Region, Region) {
    let board = Board::new();
    let (ram, dimm) = (board.ram("pc.ram", 0x2_0000), board.ram("dimm0", 0x1000));
    board.map(0, &board.alias(&ram, 0, 0x8000));
    board.map(HIGH, &board.alias(&ram, 0x8000, 0x1_8000));
    board.map(SEAM, &dimm);
    board.map(0x10_0000, &board.rom("rom", 0x1000));
    (board, ram, dimm)
}

/// A driver that writes to guest memory as the guest's CPU does.
struct Driver<'a> {
    space: &'a AddressSpace,
    /// The number of descriptors.
    count: u16,
    chains: u16,
}

impl Driver<'_> {
    fn write(&self, address: u64, bytes: &[u8]) {
        self.space.write(address, bytes, ATTRS).unwrap();
    }

    fn descriptor_at(&self, table: u64, index: u16, descriptor: Descriptor) {
        use vm_memory::ByteValued;
        let address = table + u64::from(index) * 16;
        self.write(address, RawDescriptor::from(descriptor).as_slice());
    }

    /// Puts a chain of (address, length, flags) into the ring.
    fn offer(&mut self, chain: &[(u64, u32, u16)]) {
        let head = self.count;
        for (place, &(address, len, flags)) in chain.iter().enumerate() {
            let next = if place + 1 < chain.len() { NEXT } else { 0 };
            let descriptor = Descriptor::new(address, len, flags | next, self.count + 1);
            self.descriptor_at(DESCRIPTORS, self.count, descriptor);
            self.count += 1;
        }
        self.write(AVAIL + 4 + u64::from(self.chains) * 2, &head.to_le_bytes());
        self.chains += 1;
        self.write(AVAIL + 2, &self.chains.to_le_bytes());
    }

    /// The index of the used ring and its entries.
    fn used(&self) -> (u16, Vec<(u32, u32)>) {
        let mut index = [0; 2];
        self.space.read(USED + 2, &mut index, ATTRS).unwrap();
        let index = u16::from_le_bytes(index);
        let entry = |place: u16| {
            let mut words = [[0; 4]; 2];
            for (word, at) in words.iter_mut().zip([0, 4]) {
                let address = USED + 4 + u64::from(place) * 8 + at;
                self.space.read(address, word, ATTRS).unwrap();
            }
            (u32::from_le_bytes(words[0]), u32::from_le_bytes(words[1]))
        };
        (index, (0..index).map(entry).collect())
    }
}

fn driver(space: &AddressSpace) -> Driver<'_> {
    Driver {
        space,
        count: 0,
        chains: 0,
    }
}

fn queue() -> Queue {
    let mut queue = Queue::new(16).unwrap();
    let halves = |address: u64| (Some(address as u32), Some((address >> 32) as u32));
    let (low, high) = halves(DESCRIPTORS);
    queue.set_desc_table_address(low, high);
    let (low, high) = halves(AVAIL);
    queue.set_avail_ring_address(low, high);
    let (low, high) = halves(USED);
    queue.set_used_ring_address(low, high);
    queue.set_ready(true);
    queue
}

/// A device that answers each request with it, all bytes one higher. Tells how many it completed.
fn serve(queue: &mut Queue, memory: &Arc<DmaView>) -> usize {
    let chains: Vec<_> = queue.iter(Arc::clone(memory)).unwrap().collect();
    for chain in &chains {
        let mut answer = Vec::new();
        let mut reader = chain.clone().reader(memory).unwrap();
        reader.read_to_end(&mut answer).unwrap();
        answer.iter_mut().for_each(|byte| *byte += 1);
        let mut writer = chain.clone().writer(memory).unwrap();
        let len = writer.write(&answer).unwrap();
        let len = u32::try_from(len).unwrap();
        queue.add_used(&**memory, chain.head_index(), len).unwrap();
    }
    chains.len()
}

fn vga_dirty(board: &Board, regions: [&Region; 2]) -> [Vec<u64>; 2] {
    regions.map(|region| board.harvest(region, DirtyClients::VGA))
}

/// The chain is completed through the alias, and the aliased pages are dirty: those and no others.
#[test]
fn a_chain_is_completed_through_an_alias() {
    let (board, ram, dimm) = pc();
    let mut driver = driver(&board.space);
    let (mut queue, device) = (queue(), DmaSpace::new(&board.space));
    driver.write(0x100, &[1, 2, 3, 4]);
    driver.write(0x7ffe, &[5, 6]);
    // Two buffers of low RAM, two pages of the window, and one across the seam to the other block.
    driver.offer(&[
        (0x100, 4, 0),
        (0x7ffe, 2, 0),
        (HIGH + 0x4fff, 2, WRITE),
        (SEAM - 2, 4, WRITE),
    ]);

    board.update(|tx| {
        tx.set_log(&ram, true)?;
        tx.set_log(&dimm, true)
    });
    vga_dirty(&board, [&ram, &dimm]);
    let memory = device.memory();
    assert!(queue.is_valid(&*memory));
    assert_eq!(serve(&mut queue, &memory), 1);

    assert_eq!(driver.used(), (1, vec![(0, 6)]));
    let mut answer = [0; 6];
    board.space.read(HIGH + 0x4fff, &mut answer[..2], ATTRS).unwrap();
    board.space.read(SEAM - 2, &mut answer[2..], ATTRS).unwrap();
    assert_eq!(answer, [2, 3, 4, 5, 6, 7]);
    // Page 8 of the block is the window's first: used ring, buffer, the last one.
    let expected = [vec![8 + 2, 8 + 4, 8 + 5, 8 + 23], vec![0]];
    assert_eq!(vga_dirty(&board, [&ram, &dimm]), expected);
    assert_eq!(serve(&mut queue, &device.memory()), 0, "nothing new");
    assert!(vga_dirty(&board, [&ram, &dimm]).iter().all(Vec::is_empty));
}

/// Indirect descriptors, two chains in a batch, notifications.
#[test]
fn indirect_tables_and_batches() {
    let (board, ..) = pc();
    let mut driver = driver(&board.space);
    let (mut queue, device) = (queue(), DmaSpace::new(&board.space));
    driver.write(0x3000, &[9; 8]);
    let table = 0x4000;
    driver.descriptor_at(table, 0, Descriptor::new(0x3000, 8, NEXT, 1));
    driver.descriptor_at(table, 1, Descriptor::new(HIGH + 0x6000, 8, WRITE, 0));
    driver.offer(&[(table, 32, INDIRECT)]);
    driver.offer(&[(0x3000, 2, 0), (HIGH + 0x7000, 2, WRITE)]);
    let memory = device.memory();
    queue.disable_notification(&*memory).unwrap();
    assert_eq!(serve(&mut queue, &memory), 2);
    assert!(queue.needs_notification(&*memory).unwrap());
    assert!(
        !queue.enable_notification(&*memory).unwrap(),
        "nothing came meanwhile"
    );
    assert_eq!(driver.used(), (2, vec![(0, 8), (1, 2)]));
    let answer: u64 = memory.read_obj(GuestAddress(HIGH + 0x6000)).unwrap();
    assert_eq!(answer.to_le_bytes(), [10; 8]);
}

/// A guest that directs a device at ROM, at a hole or at another device gets nothing written there.
#[test]
fn buffers_in_rom_and_holes_are_refused() {
    let (board, ..) = pc();
    board.map(0x20_0000, &board.device(0x1000));
    let mut driver = driver(&board.space);
    let (mut queue, device) = (queue(), DmaSpace::new(&board.space));
    for bad in [0x10_0000, 0x20_0000, 0x30_0000, 0x7ffe, u64::MAX - 1] {
        driver.offer(&[(bad, 4, WRITE)]);
    }
    let memory = device.memory();
    let chains: Vec<_> = queue.iter(Arc::clone(&memory)).unwrap().collect();
    assert_eq!(chains.len(), 5);
    for chain in chains {
        assert!(chain.writer(&memory).is_err());
    }
    assert_eq!(memory.read_obj::<u32>(GuestAddress(0x10_0000)).unwrap(), 0);

    // Reading ROM is fine; a loader may have put an option ROM there.
    RamView::new(&board.space)
        .write_obj(7_u8, GuestAddress(0x10_0000))
        .unwrap();
    driver.offer(&[(0x10_0000, 1, 0), (0x500, 1, WRITE)]);
    assert_eq!(serve(&mut queue, &memory), 1);
    assert_eq!(memory.read_obj::<u8>(GuestAddress(0x500)).unwrap(), 8);
}

/// Rings in ROM can be read but not completed; in a hole nothing is found.
#[test]
fn rings_out_of_memory() {
    let (board, ..) = pc();
    let device = DmaSpace::new(&board.space);
    let mut in_rom = queue();
    in_rom.set_used_ring_address(Some(0x10_0000), Some(0));
    assert!(in_rom.add_used(&*device.memory(), 0, 0).is_err());
    let mut in_hole = queue();
    in_hole.set_avail_ring_address(Some(0x50_0000), Some(0));
    assert!(!in_hole.is_valid(&*device.memory()));
    assert!(in_hole.iter(device.memory()).is_err());
}

/// The whole queue behind an IOMMU: rings and buffers at addresses of the device's own.
#[test]
fn a_queue_behind_an_iommu() {
    let (board, ram, dimm) = pc();
    let pages = Arc::new(Pages::default());
    let region = board.memory.region("iommu").iommu(Size::MAX, pages.clone());
    let bus = board.memory.create_address_space("bus", &region).unwrap();
    let (both, ro) = (IommuAccess::all(), IommuAccess::READ);
    // The rings lie in low RAM in reverse order; the buffer's two pages, too.
    pages.map(DESCRIPTORS, 0x3000, ro, &board.space);
    pages.map(AVAIL, 0x2000, ro, &board.space);
    pages.map(USED, 0x1000, both, &board.space);
    pages.map(0x8000_0000, 0x5000, both, &board.space);
    pages.map(0x8000_1000, 0x4000, both, &board.space);

    // The driver knows where its pages are.
    let memory = DmaView::new(&board.space, ATTRS);
    let put = |address: u64, bytes: &[u8]| memory.write_slice(bytes, GuestAddress(address)).unwrap();
    put(0x5100, &[1, 2, 3, 4]);
    let raw = |descriptor| vm_memory::ByteValued::as_slice(&RawDescriptor::from(descriptor)).to_vec();
    put(0x3000, &raw(Descriptor::new(0x8000_0100, 4, NEXT, 1)));
    put(0x3010, &raw(Descriptor::new(0x8000_0ffe, 4, WRITE, 0)));
    put(0x3020, &raw(Descriptor::new(0x9000_0000, 4, WRITE, 0)));
    put(0x2004, &[0, 0, 2, 0]);
    put(0x2002, &[1, 0]);

    board.update(|tx| tx.set_log(&ram, true));
    vga_dirty(&board, [&ram, &dimm]);
    let (mut queue, device) = (queue(), DmaSpace::new(&bus));
    assert_eq!(serve(&mut queue, &device.memory()), 1);
    assert_eq!(
        vga_dirty(&board, [&ram, &dimm])[0],
        [0x1000, 0x4000, 0x5000].map(|at| at / PAGE_SIZE)
    );
    assert_eq!(memory.read_obj::<u16>(GuestAddress(0x5ffe)).unwrap(), 0x0302);
    assert_eq!(memory.read_obj::<u16>(GuestAddress(0x4000)).unwrap(), 0x0504);

    // What the IOMMU does not map.
    put(0x2002, &[2, 0]);
    let memory = device.memory();
    let chain = queue.pop_descriptor_chain(Arc::clone(&memory)).unwrap();
    assert!(chain.writer(&memory).is_err());
}

/// Memory is plugged and unplugged between batches.
#[test]
fn each_batch_sees_the_map_of_its_time() {
    let (board, _, dimm) = pc();
    let mut driver = driver(&board.space);
    let (mut queue, device) = (queue(), DmaSpace::new(&board.space));
    let batch = device.memory();
    let unplugged = board.update(|tx| tx.del_subregion(&board.system, &dimm));
    driver.write(0x100, &[1, 2]);
    driver.offer(&[(0x100, 2, 0), (SEAM, 2, WRITE)]);
    assert_eq!(serve(&mut queue, &batch), 1);
    assert!(!unplugged.is_quiesced());
    drop(batch);
    unplugged.wait().unwrap();

    driver.offer(&[(0x100, 2, 0), (SEAM, 2, WRITE)]);
    let memory = device.memory();
    let chain = queue.pop_descriptor_chain(Arc::clone(&memory)).unwrap();
    assert!(chain.writer(&memory).is_err());
}
