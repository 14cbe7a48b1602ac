//! What tests of whole guests share: machines, firmware, disks. Each test takes what it needs of it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a part of tests"
)]

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use flatview_accel::{Accelerator, Clock};
use flatview_cpu::SoftAccelerator;
use flatview_pc::board::{Drive, Pc, PcConfig};
use flatview_pc::devices::block::MemoryImage;
use flatview_pc::layout::RamLayout;
use flatview_pc::machine::End;
use flatview_pc::timer::{Timer, TimerQueue};
use flatview_testkit::{file, program};

/// What a device wrote, to look at while the machine goes on.
#[derive(Clone, Default)]
pub struct Text(Arc<Mutex<Vec<u8>>>);

impl Text {
    pub fn get(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A PC whose clock counts instructions.
pub struct Guest {
    pub pc: Pc,
    pub serial: Text,
    pub debugcon: Text,
    look: Arc<Mutex<Option<Timer>>>,
}

/// A guest that polls never lets its vCPU come out; this does, every millisecond of the guest's time.
fn look_often(timers: &Arc<TimerQueue>) -> Arc<Mutex<Option<Timer>>> {
    const MILLISECOND: u64 = 1_000_000;
    let look: Arc<Mutex<Option<Timer>>> = Arc::default();
    let (weak, queue) = (Arc::downgrade(&look), Arc::downgrade(timers));
    let mut timer = timers.timer(move || {
        if let (Some(look), Some(timers)) = (weak.upgrade(), queue.upgrade())
            && let Some(timer) = look.lock().unwrap().as_mut()
        {
            timer.arm(timers.now() + MILLISECOND);
        }
    });
    timer.arm(timers.now() + MILLISECOND);
    *look.lock().unwrap() = Some(timer);
    look
}

/// Debian's SeaBIOS and its VGA BIOS, or nothing if the test must skip.
pub fn seabios() -> Option<(Vec<u8>, Vec<u8>)> {
    let read = |name: &str| Some(fs::read(file("seabios", &format!("/usr/share/seabios/{name}"))?).unwrap());
    Some((read("bios-256k.bin")?, read("vgabios-stdvga.bin")?))
}

/// What the demonstration says on the serial port of a machine with 64 MiB.
pub const DEMO_SAYS: &str = "The BIOS says that the memory is:
0000000000000000-000000000009fbff RAM
000000000009fc00-000000000009ffff reserved
00000000000f0000-00000000000fffff reserved
0000000000100000-0000000003fdffff RAM
0000000003fe0000-0000000003ffffff reserved
00000000fffc0000-00000000ffffffff reserved
000000fd00000000-000000ffffffffff reserved
Good bye.
";

/// The drives of the demonstration.
pub fn demo() -> Vec<Drive> {
    vec![disk(flatview_pc::demo::disk())]
}

/// With SeaBIOS and the host's clock, on another accelerator than the software CPU.
pub fn kvm_guest(megabytes: u64, accelerator: &dyn Accelerator, drives: Vec<Drive>) -> Option<Guest> {
    let (bios, vga) = seabios()?;
    Some(Guest::on(
        accelerator,
        megabytes,
        bios,
        Some(vga),
        drives,
        |config| {
            config.clock = Clock::host();
        },
    ))
}

/// A disk whose image is in memory.
pub fn disk(image: Vec<u8>) -> Drive {
    Drive::Disk(Arc::new(MemoryImage::new(image)))
}

impl Guest {
    pub fn new(megabytes: u64, bios: Vec<u8>, vga_bios: Option<Vec<u8>>, drives: Vec<Drive>) -> Guest {
        Guest::with(megabytes, bios, vga_bios, drives, |_| ())
    }

    /// With another configuration than usual.
    pub fn with(
        megabytes: u64,
        bios: Vec<u8>,
        vga_bios: Option<Vec<u8>>,
        drives: Vec<Drive>,
        change: impl FnOnce(&mut PcConfig),
    ) -> Guest {
        Guest::on(
            &SoftAccelerator::default(),
            megabytes,
            bios,
            vga_bios,
            drives,
            change,
        )
    }

    /// On another accelerator than the software CPU.
    pub fn on(
        accelerator: &dyn Accelerator,
        megabytes: u64,
        bios: Vec<u8>,
        vga_bios: Option<Vec<u8>>,
        drives: Vec<Drive>,
        change: impl FnOnce(&mut PcConfig),
    ) -> Guest {
        let (serial, debugcon) = (Text::default(), Text::default());
        let mut config = PcConfig {
            ram: RamLayout::new(megabytes << 20, &[]).unwrap(),
            bios,
            vga_bios,
            drives,
            serial: Some(Box::new(serial.clone())),
            debugcon: Some(Box::new(debugcon.clone())),
            clock: Clock::counted(0),
            date: Some(1_767_225_600),
        };
        change(&mut config);
        let pc = Pc::new(config, accelerator).unwrap();
        let look = look_often(pc.timers());
        Guest {
            look,
            pc,
            serial,
            debugcon,
        }
    }

    /// With SeaBIOS; nothing if that is missing.
    pub fn seabios(megabytes: u64, drives: Vec<Drive>) -> Option<Guest> {
        let (bios, vga) = seabios()?;
        Some(Guest::new(megabytes, bios, Some(vga), drives))
    }

    /// Runs until `done`, or the end. `most` is in millions of instructions: more is a failure.
    pub fn run_until(
        &mut self,
        most: u64,
        what: &str,
        mut done: impl FnMut(&mut Guest) -> bool,
    ) -> Option<End> {
        loop {
            if done(self) {
                return None;
            }
            let end = self.pc.machine().turn().unwrap();
            if end.is_some() {
                return end;
            }
            let executed = self.pc.machine().instructions().unwrap_or(0);
            assert!(
                executed <= most * 1_000_000,
                "no {what} after {executed} instructions\nserial: {}\ndebug: {}\nstate: {:x?}",
                self.serial.get(),
                self.debugcon.get(),
                self.pc.machine().state(),
            );
        }
    }

    /// Types on the serial port, as fast as the guest reads.
    pub fn types(&mut self, text: &[u8]) {
        let serial = Arc::clone(self.pc.serial().unwrap());
        let mut left = text;
        let end = self.run_until(10_000, "input", |_| {
            left = &left[serial.send(left)..];
            left.is_empty()
        });
        assert_eq!(end, None);
    }

    /// Runs until the guest's serial port has said `text`.
    pub fn run_until_serial(&mut self, most: u64, text: &str) {
        let end = self.run_until(most, text, |guest| guest.serial.get().contains(text));
        assert_eq!(
            end,
            None,
            "before the guest said {text:?} it said {:?}",
            self.serial.get()
        );
    }
}

/// A disk that GRUB boots from: `script` is what it does, `files` are at the root of its memory disk. `modules` are
/// beyond those for the disk itself. Nothing if GRUB's tools are missing.
pub fn grub_disk(script: &str, modules: &[&str], files: &[(&str, &Path)]) -> Option<Vec<u8>> {
    let mut image = grub(script, modules, files)?;
    image.resize(4 << 20, 0);
    Some(image)
}

/// As [`grub_disk`], with `files` in the disk's first partition, which is an archive: for what is too large for the
/// memory disk, which is loaded with GRUB.
pub fn grub_disk_with_partition(script: &str, modules: &[&str], files: &[(&str, &[u8])]) -> Option<Vec<u8>> {
    const SECTOR: usize = 512;
    /// Where `fdisk` begins, too.
    const START: u32 = 2048;
    let mut image = grub(script, &[modules, &["part_msdos"]].concat(), &[])?;
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, *bytes).unwrap();
    }
    let partition = archive.into_inner().unwrap();
    assert!(image.len() <= START as usize * SECTOR, "GRUB is too large");
    image.resize(START as usize * SECTOR, 0);
    // The first of four entries: active, for Linux, the first and the last sector in cylinders and heads, which nobody
    // looks at, then the first sector and how many there are.
    let sectors = u32::try_from(partition.len().div_ceil(SECTOR)).unwrap();
    image[446..454].copy_from_slice(&[0x80, 0, 2, 0, 0x83, 0xfe, 0xff, 0xff]);
    image[454..458].copy_from_slice(&START.to_le_bytes());
    image[458..462].copy_from_slice(&sectors.to_le_bytes());
    image[462..510].fill(0);
    image.extend(partition);
    // To whole cylinders of 1 MiB.
    image.resize(image.len().next_multiple_of(1 << 20), 0);
    Some(image)
}

/// GRUB as it is at the begin of a disk.
fn grub(script: &str, modules: &[&str], files: &[(&str, &Path)]) -> Option<Vec<u8>> {
    let mkimage = program("grub", "grub-mkimage")?;
    let boot = file("grub", "/usr/lib/grub/i386-pc/boot.img")?;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("script.cfg"), script).unwrap();
    let mut archive = tar::Builder::new(fs::File::create(path("disk.tar")).unwrap());
    for (name, file) in files {
        archive.append_path_with_name(file, name).unwrap();
    }
    archive.finish().unwrap();
    let status = Command::new(mkimage)
        .args(["-O", "i386-pc", "-d", "/usr/lib/grub/i386-pc", "-p", "(memdisk)/"])
        .arg("-m")
        .arg(path("disk.tar"))
        .arg("-c")
        .arg(path("script.cfg"))
        .arg("-o")
        .arg(path("core.img"))
        .args(["biosdisk", "memdisk", "tar", "serial", "terminal", "echo"])
        .args(modules)
        .status()
        .unwrap();
    assert!(status.success(), "grub-mkimage");
    // What grub-bios-setup does: the boot sector says already that the core image begins in the next sector.
    let mut image = fs::read(boot).unwrap();
    image.resize(512, 0);
    image[510..].copy_from_slice(&[0x55, 0xaa]);
    image.extend(fs::read(path("core.img")).unwrap());
    Some(image)
}
