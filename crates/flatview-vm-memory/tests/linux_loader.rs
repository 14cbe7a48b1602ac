//! `linux-loader` loads kernels into a memory with holes, ROM and seams.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "helpers of tests fail as tests do"
)]

mod board;

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::PathBuf;

use board::{ATTRS, Board};
use flatview_vm_memory::RamView;
use linux_loader::cmdline::Cmdline;
use linux_loader::configurator::linux::LinuxBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use linux_loader::loader::bootparam::boot_params;
use linux_loader::loader::{self, BzImage, Elf, KernelLoader, KernelLoaderResult};
use vm_memory::{Address, GuestAddress};

const MIB: u64 = 1 << 20;
const HIMEM: u64 = MIB;
/// Two blocks meet within a kernel that is loaded at 1 MiB.
const SEAM: u64 = MIB + 0x3000;

/// RAM up to 640 KiB, the display's window, ROM up to 1 MiB, RAM of two blocks up to 128 MiB.
fn pc() -> Board {
    let board = Board::new();
    let low = board.ram("low", SEAM);
    board.map(0, &low);
    board.map(SEAM, &board.ram("high", 128 * MIB - SEAM));
    let over = |address: u64, region: flatview::Region| {
        board.update(|tx| tx.add_subregion_overlap(&board.system, address, &region, 1));
    };
    over(0xa_0000, board.device(0x2_0000));
    over(0xc_0000, board.rom("bios", 0x4_0000));
    board
}

fn read(board: &Board, address: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    board.space.read(address, &mut bytes, ATTRS).unwrap();
    bytes
}

/// Bytes that differ from place to place.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// The smallest image that a boot loader takes for a bzImage, with this payload.
fn bzimage(payload: &[u8]) -> Vec<u8> {
    const SETUP_SECTORS: usize = 4;
    let mut image = vec![0; (1 + SETUP_SECTORS) * 512];
    image[0x1f1] = SETUP_SECTORS as u8;
    image[0x1fe..0x200].copy_from_slice(&0xaa55_u16.to_le_bytes());
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
    // LOADED_HIGH
    image[0x211] = 1;
    image[0x214..0x218].copy_from_slice(&(HIMEM as u32).to_le_bytes());
    image.extend_from_slice(payload);
    image
}

/// An executable for x86-64 with these segments: where, bytes, size in memory.
fn elf(entry: u64, segments: &[(u64, &[u8], u64)]) -> Vec<u8> {
    let mut image = b"\x7fELF\x02\x01\x01".to_vec();
    image.resize(16, 0);
    let half = |image: &mut Vec<u8>, value: u16| image.extend(value.to_le_bytes());
    let word = |image: &mut Vec<u8>, value: u32| image.extend(value.to_le_bytes());
    let long = |image: &mut Vec<u8>, value: u64| image.extend(value.to_le_bytes());
    half(&mut image, 2);
    half(&mut image, 62);
    word(&mut image, 1);
    long(&mut image, entry);
    long(&mut image, 64);
    long(&mut image, 0);
    word(&mut image, 0);
    let count = segments.len() as u16;
    for value in [64, 56, count, 64, 0, 0] {
        half(&mut image, value);
    }
    let mut offset = 64 + 56 * segments.len() as u64;
    for &(address, bytes, size) in segments {
        word(&mut image, 1);
        word(&mut image, 7);
        for value in [offset, address, address, bytes.len() as u64, size, 0x1000] {
            long(&mut image, value);
        }
        offset += bytes.len() as u64;
    }
    for (_, bytes, _) in segments {
        image.extend_from_slice(bytes);
    }
    image
}

fn load_bzimage(board: &Board, image: &[u8]) -> loader::Result<KernelLoaderResult> {
    let memory = RamView::new(&board.space);
    BzImage::load(&memory, None, &mut Cursor::new(image), Some(GuestAddress(HIMEM)))
}

/// A hand-made bzImage goes where its header says, across the seam of two blocks.
#[test]
fn a_small_bzimage() {
    let (board, payload) = (pc(), pattern(0x8000));
    let loaded = load_bzimage(&board, &bzimage(&payload)).unwrap();
    assert_eq!(loaded.kernel_load, GuestAddress(HIMEM));
    assert_eq!(loaded.kernel_end, HIMEM + 0x8000);
    assert_eq!(read(&board, HIMEM, 0x8000), payload);

    // The header goes on to the zero page, the command line beside it.
    let memory = RamView::new(&board.space);
    let params = boot_params {
        hdr: loaded.setup_header.unwrap(),
        ..boot_params::default()
    };
    let params = BootParams::new(&params, GuestAddress(0x7000));
    LinuxBootConfigurator::write_bootparams(&params, &memory).unwrap();
    assert_eq!(read(&board, 0x7202, 4), b"HdrS");
    let mut cmdline = Cmdline::new(64).unwrap();
    cmdline.insert_str("console=ttyS0").unwrap();
    loader::load_cmdline(&memory, GuestAddress(0x2_0000), &cmdline).unwrap();
    assert_eq!(read(&board, 0x2_0000, 14), b"console=ttyS0\0");

    // Into the display's window nothing is loaded.
    let refused = loader::load_cmdline(&memory, GuestAddress(0xa_0000 - 4), &cmdline);
    assert_eq!(refused, Err(loader::Error::CommandLineCopy));
    let beyond = loader::load_cmdline(&memory, memory_end(&memory), &cmdline);
    assert_eq!(beyond, Err(loader::Error::CommandLineOverflow));
}

fn memory_end(memory: &RamView) -> GuestAddress {
    use vm_memory::GuestMemoryBackend;
    memory.last_addr().unchecked_add(1)
}

/// A real kernel, from `FLATVIEW_BZIMAGE` or `/boot`.
#[test]
fn a_real_bzimage() {
    let Some(path) = real_kernel() else {
        eprintln!("SKIPPED: no kernel; set FLATVIEW_BZIMAGE to a bzImage, or have one as /boot/vmlinuz*");
        return;
    };
    let mut image = Vec::new();
    File::open(&path).unwrap().read_to_end(&mut image).unwrap();
    let board = pc();
    let memory = RamView::new(&board.space);
    let mut file = File::open(&path).unwrap();
    let loaded = BzImage::load(&memory, None, &mut file, Some(GuestAddress(HIMEM))).unwrap();
    let setup = usize::from(image[0x1f1]);
    let kernel = &image[(1 + if setup == 0 { 4 } else { setup }) * 512..];
    assert_eq!(loaded.kernel_load, GuestAddress(HIMEM));
    assert_eq!(loaded.kernel_end, HIMEM + kernel.len() as u64);
    assert!(
        read(&board, HIMEM, kernel.len()) == kernel,
        "the kernel is in memory"
    );
    eprintln!("loaded {} ({} bytes)", path.display(), kernel.len());
}

fn real_kernel() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("FLATVIEW_BZIMAGE") {
        return Some(path.into());
    }
    let boot = std::fs::read_dir("/boot").ok()?;
    let mut kernels = boot.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("vmlinuz")) && File::open(path).is_ok()
    });
    kernels.next()
}

/// What is no bzImage is refused by the loader, not by us.
#[test]
fn a_bad_bzimage() {
    let board = pc();
    let mut image = bzimage(&[1; 16]);
    image[0x202] = 0;
    assert!(load_bzimage(&board, &image).is_err());
    assert_eq!(read(&board, HIMEM, 16), [0; 16]);
}

/// An ELF file with a segment in RAM, one across the seam and one in ROM.
#[test]
fn an_elf_file() {
    let (board, code) = (pc(), pattern(0x6000));
    let image = elf(
        0xf_fff0,
        &[
            (0xf_0000, b"firmware", 8),
            (MIB, &code, 0x7000),
            (0x5000, b"low", 3),
        ],
    );
    let memory = RamView::new(&board.space);
    let loaded = Elf::load(&memory, None, &mut Cursor::new(&image), None).unwrap();
    assert_eq!(loaded.kernel_load, GuestAddress(0xf_fff0));
    assert_eq!(loaded.kernel_end, MIB + 0x7000);
    assert_eq!(read(&board, 0xf_0000, 8), b"firmware");
    assert_eq!(read(&board, MIB, 0x6000), code);
    assert_eq!(read(&board, 0x5000, 3), b"low");
}

/// A segment that lies in a device, or runs from RAM into one, is an error, and the device is not touched.
#[test]
fn an_elf_file_over_a_device() {
    let board = pc();
    let memory = RamView::new(&board.space);
    for address in [0xa_0000, 0xa_0000 - 4, 128 * MIB - 4, 1 << 40] {
        let image = elf(address, &[(address, b"too long", 8)]);
        let refused = Elf::load(&memory, None, &mut Cursor::new(&image), None);
        assert_eq!(
            refused,
            Err(loader::elf::Error::ReadKernelImage.into()),
            "{address:#x}"
        );
    }
}
