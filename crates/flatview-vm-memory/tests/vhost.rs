//! `vhost` takes the table of a space, and looks rings up in its memory.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![expect(unsafe_code, reason = "a RAM block over memory of a memfd")]

mod board;

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use board::{ATTRS, Board};
use flatview::listeners::{VhostBackend as TableTaker, VhostListener, VhostMemoryRegion};
use flatview::{ListenerError, RamBlock};
use flatview_vm_memory::{DmaView, RamSpace, RamView};
use vhost::vhost_kern::VhostKernBackend;
use vhost::vhost_kern::vsock::Vsock;
use vhost::vhost_user::Frontend;
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::mmap::MmapRegion;
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress,
};

/// RAM that another process could map.
fn shared(size: u64) -> (RamBlock, File) {
    let fd = rustix::fs::memfd_create("ram", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let file = File::from(fd);
    file.set_len(size).unwrap();
    let offset = FileOffset::new(file.try_clone().unwrap(), 0);
    let mapping = MmapRegion::<()>::from_file(offset, usize::try_from(size).unwrap()).unwrap();
    let host = NonNull::new(mapping.as_ptr()).unwrap();
    // SAFETY: the mapping is `size` bytes long, lives as long as the block, and nobody has a reference to its bytes.
    (unsafe { RamBlock::from_raw(host, size, mapping) }, file)
}

/// A vhost-user device: what it is sent can be read from the socket.
struct Device {
    frontend: Mutex<Frontend>,
    block: RamBlock,
    fd: RawFd,
}

impl TableTaker for Device {
    fn set_mem_table(&self, table: &[VhostMemoryRegion]) -> Result<(), ListenerError> {
        let base = self.block.host_address().unwrap() as u64;
        let regions: Vec<_> = table
            .iter()
            .map(|region| VhostUserMemoryRegionInfo {
                guest_phys_addr: region.guest_phys_addr,
                memory_size: region.memory_size,
                userspace_addr: region.userspace_addr,
                mmap_offset: region.userspace_addr - base,
                mmap_handle: self.fd,
            })
            .collect();
        // vhost-user has no empty table; a device without memory keeps what it has.
        if !regions.is_empty() {
            self.frontend.lock().unwrap().set_mem_table(&regions)?;
        }
        Ok(())
    }

    fn memslots_limit(&self) -> usize {
        8
    }
}

/// The regions of the next `VHOST_USER_SET_MEM_TABLE` on the socket: address, size, host address, offset.
fn next_table(socket: &mut UnixStream) -> Vec<[u64; 4]> {
    let mut header = [0; 20];
    socket.read_exact(&mut header).unwrap();
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
    assert_eq!(word(0), 5, "SET_MEM_TABLE");
    let count = word(12) as usize;
    assert_eq!(word(8) as usize, 8 + 32 * count);
    let mut regions = vec![0; 32 * count];
    socket.read_exact(&mut regions).unwrap();
    let long = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let region = |bytes: &[u8]| [0, 8, 16, 24].map(|at| long(&bytes[at..at + 8]));
    regions.chunks(32).map(region).collect()
}

/// The listener's table goes out as vhost-user's message, for split RAM and again when it changes.
#[test]
fn vhost_user_takes_the_table() {
    let board = Board::new();
    let (block, file) = shared(0x2_0000);
    let ram = board.memory.region("ram").ram(block.clone());
    let high = board.alias(&ram, 0x8000, 0x1_8000);
    board.map(0, &board.alias(&ram, 0, 0x8000));
    board.map(1 << 32, &high);
    board.map(0xf_0000, &board.rom("rom", 0x1000));
    board.map(0xa_0000, &board.device(0x1000));

    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let device = Device {
        frontend: Mutex::new(Frontend::from_stream(ours, 1)),
        block: block.clone(),
        fd: file.as_raw_fd(),
    };
    let listener = Arc::new(VhostListener::new("vhost-user", device));
    let _registration = board.space.register(listener).unwrap();
    let base = block.host_address().unwrap() as u64;
    let low = [0, 0x8000, base, 0];
    let expected = [low, [1 << 32, 0x1_8000, base + 0x8000, 0x8000]];
    assert_eq!(next_table(&mut theirs), expected);

    // What the device finds there is what we write, through the alias too.
    DmaView::new(&board.space, ATTRS)
        .write_slice(b"ring", GuestAddress((1 << 32) + 0x10))
        .unwrap();
    let mut found = [0; 4];
    file.read_exact_at(&mut found, expected[1][3] + 0x10).unwrap();
    assert_eq!(&found, b"ring");

    board.update(|tx| tx.del_subregion(&board.system, &high));
    assert_eq!(next_table(&mut theirs), [low]);
}

/// The same from a snapshot, for who has no listener; the ROM must not be in it.
#[test]
fn a_table_from_a_snapshot() {
    let board = Board::new();
    let (block, file) = shared(0x4000);
    let ram = board.memory.region("ram").ram(block.clone());
    board.map(0x1000, &board.alias(&ram, 0x1000, 0x2000));
    board.map(0x10_0000, &board.rom("rom", 0x1000));
    let view = RamView::new(&board.space);
    let writable = view.iter().filter(|range| !range.is_readonly());
    let table: Vec<_> = writable
        .map(|range| VhostUserMemoryRegionInfo {
            guest_phys_addr: range.start_addr().0,
            memory_size: range.len(),
            userspace_addr: range.get_host_address(MemoryRegionAddress(0)).unwrap() as u64,
            mmap_offset: range.window().offset_in_block(),
            mmap_handle: file.as_raw_fd(),
        })
        .collect();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    Frontend::from_stream(ours, 1).set_mem_table(&table).unwrap();
    let host = block.host_address().unwrap() as u64 + 0x1000;
    assert_eq!(next_table(&mut theirs), [[0x1000, 0x2000, host, 0x1000]]);
}

/// A device of the kernel, without the kernel: only what it asks of the memory.
struct Kernel {
    fd: File,
    memory: RamSpace,
}

impl AsRawFd for Kernel {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl VhostKernBackend for Kernel {
    type AS = RamSpace;

    fn mem(&self) -> &RamSpace {
        &self.memory
    }
}

fn rings_at(address: u64) -> VringConfigData {
    VringConfigData {
        queue_max_size: 256,
        queue_size: 256,
        flags: 0,
        desc_table_addr: address,
        avail_ring_addr: address + 0x1000,
        used_ring_addr: address + 0x2000,
        log_addr: None,
    }
}

/// vhost-kernel looks rings up through the handle, in the map of the moment.
#[test]
fn vhost_kernel_looks_rings_up() {
    let board = Board::new();
    let ram = board.ram("ram", 0x8000);
    board.map(1 << 32, &board.alias(&ram, 0x4000, 0x4000));
    let device = Kernel {
        fd: File::open("/dev/null").unwrap(),
        memory: RamSpace::new(&board.space),
    };
    assert!(device.is_valid(&rings_at(1 << 32)));
    assert!(!device.is_valid(&rings_at(0)), "a hole");
    let hole = board.device(0x1000);
    board.update(|tx| tx.add_subregion_overlap(&board.system, (1 << 32) + 0x1000, &hole, 1));
    assert!(!device.is_valid(&rings_at(1 << 32)), "a device in front");
}

/// The kernel's own vhost takes the table.
#[test]
fn vhost_kernel_takes_the_table() {
    let board = Board::new();
    let ram = board.ram("ram", 0x8000);
    board.map(0, &board.alias(&ram, 0, 0x4000));
    board.map(1 << 32, &board.alias(&ram, 0x4000, 0x4000));
    let vsock = match Vsock::new(RamSpace::new(&board.space)) {
        Ok(vsock) => vsock,
        Err(error) => {
            eprintln!("SKIPPED: /dev/vhost-vsock cannot be used: {error}");
            return;
        }
    };
    let view = RamView::new(&board.space);
    let table: Vec<_> = view
        .iter()
        .map(|range| VhostUserMemoryRegionInfo {
            guest_phys_addr: range.start_addr().0,
            memory_size: range.len(),
            userspace_addr: range.get_host_address(MemoryRegionAddress(0)).unwrap() as u64,
            mmap_offset: 0,
            mmap_handle: -1,
        })
        .collect();
    vsock.set_owner().unwrap();
    vsock.set_mem_table(&table).unwrap();
}
