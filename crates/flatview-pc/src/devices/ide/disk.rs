//! A disk: ATA commands (ATA-6, clause 8).

use std::io;
use std::sync::Arc;

use super::drive::{Device, Front, MOST_AT_ONCE, Phase, Way};
use super::geometry::Geometry;
use super::identify::{self, DiskFacts};
use super::task_file::{Error, Status, TaskFile};
use crate::devices::block::{BlockBackend, SECTOR};

/// Bytes of a sector, as a length.
const SECTOR_LEN: usize = 512;
/// The most sectors of a block of READ MULTIPLE.
const MOST_MULTIPLE: u8 = 16;
/// As many sectors are moved by DMA before the image is asked again.
const DMA_BLOCK: u32 = 128;
const _: () = assert!(DMA_BLOCK as usize * SECTOR_LEN == MOST_AT_ONCE);
/// SET FEATURES value of Ultra DMA mode 5, the fastest that there is.
const ULTRA_DMA_5: u8 = 0x45;

/// How a command numbers sectors (6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Addressing {
    Chs,
    Lba28,
    Lba48,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Read,
    Write,
    Verify,
}

/// The sectors that a command is still to move; at least one.
#[derive(Clone, Copy, Debug)]
struct Job {
    lba: u64,
    left: u32,
    /// How many of them at a time.
    block: u32,
    addressing: Addressing,
    way: Way,
}

impl Job {
    /// How many sectors are moved next.
    fn sectors(&self) -> u32 {
        self.left.min(self.block)
    }

    fn bytes(&self) -> usize {
        self.sectors() as usize * SECTOR_LEN
    }
}

#[derive(Debug)]
pub(super) struct Disk {
    image: Arc<dyn BlockBackend>,
    /// Its number among the drives of the controller.
    unit: usize,
    sectors: u64,
    geometry: Geometry,
    /// What INITIALIZE DEVICE PARAMETERS made of it.
    current: Geometry,
    multiple: u8,
    write_cache: bool,
    mode: u8,
    /// What the data on its way is part of, if it is sectors.
    job: Option<Job>,
}

impl Disk {
    pub(super) fn new(image: Arc<dyn BlockBackend>, unit: usize) -> Disk {
        let sectors = image.size() / SECTOR;
        let geometry = Geometry::of_disk(sectors);
        Disk {
            image,
            unit,
            sectors,
            geometry,
            current: geometry,
            multiple: MOST_MULTIPLE,
            write_cache: true,
            mode: ULTRA_DMA_5,
            job: None,
        }
    }

    /// The first sector that a command means; `None` if there is no such cylinder, head and sector.
    fn first(&self, file: &TaskFile, addressing: Addressing) -> Option<u64> {
        match addressing {
            Addressing::Chs => self.current.lba(file.chs()),
            Addressing::Lba28 => Some(file.lba28()),
            Addressing::Lba48 => Some(file.lba48()),
        }
    }

    fn show(&self, file: &mut TaskFile, addressing: Addressing, lba: u64) {
        match addressing {
            Addressing::Chs => file.set_chs(self.current.chs(lba)),
            Addressing::Lba28 => file.set_lba28(lba),
            Addressing::Lba48 => file.set_lba48(lba),
        }
    }

    /// A command that moves sectors. If not all of them are there, none is moved.
    fn start(&mut self, front: &mut Front, direction: Direction, is_ext: bool, block: u32, way: Way) {
        let file = &mut front.file;
        let addressing = match (is_ext, file.is_lba()) {
            (true, _) => Addressing::Lba48,
            (false, true) => Addressing::Lba28,
            (false, false) => Addressing::Chs,
        };
        let count = if is_ext { file.count48() } else { file.count28() };
        let Some(lba) = self.first(file, addressing) else {
            return front.fail(Error::IDNF);
        };
        // The Error outputs name the first sector that is not there.
        if lba.saturating_add(count.into()) > self.sectors {
            self.show(file, addressing, lba.max(self.sectors));
            return front.fail(Error::IDNF);
        }
        let job = Job {
            lba,
            left: count,
            block,
            addressing,
            way,
        };
        self.job = Some(job);
        match direction {
            Direction::Read => self.read_block(front, job),
            Direction::Write if self.image.is_readonly() => front.fail(Error::ABRT),
            Direction::Write => front.expect(job.bytes(), way),
            Direction::Verify => front.complete(),
        }
    }

    /// `count` sectors are done. Returns what is left.
    fn advance(&mut self, file: &mut TaskFile, job: Job, count: u32) -> Option<Job> {
        let (lba, left) = (job.lba + u64::from(count), job.left - count);
        file.set_count(left);
        self.show(file, job.addressing, lba);
        self.job = (left > 0).then_some(Job { lba, left, ..job });
        self.job
    }

    fn read_block(&self, front: &mut Front, job: Job) {
        let mut data = std::mem::take(&mut front.data);
        data.resize(job.bytes(), 0);
        match self.image.read_at(job.lba * SECTOR, &mut data) {
            Ok(()) => front.send(data, job.way),
            Err(_) => front.fail(Error::UNC),
        }
    }

    /// Writes the whole sectors among what has come of a block. Returns what is left, or that the image refused.
    fn write_block(&mut self, front: &mut Front, job: Job) -> io::Result<Option<Job>> {
        let came = u32::try_from(front.position / SECTOR_LEN).unwrap_or(u32::MAX);
        let count = job.sectors().min(came);
        let bytes = &front.data[..count as usize * SECTOR_LEN];
        self.image.write_at(job.lba * SECTOR, bytes)?;
        Ok(self.advance(&mut front.file, job, count))
    }

    /// A fault of the drive: what was written may be lost (7.15.6).
    fn fault(front: &mut Front) {
        front.fail(Error::ABRT);
        front.file.status |= Status::DF;
    }

    fn flush(&self, front: &mut Front) {
        match self.image.flush() {
            Ok(()) => front.complete(),
            Err(_) => Disk::fault(front),
        }
    }

    fn identify(&self) -> Vec<u8> {
        let facts = DiskFacts {
            sectors: self.sectors,
            geometry: self.geometry,
            current: self.current,
            most_multiple: MOST_MULTIPLE,
            multiple: self.multiple,
            write_cache: self.write_cache,
        };
        identify::common("FLATVIEW HARDDISK", self.unit, self.mode)
            .disk(&facts)
            .bytes()
    }

    fn seek(&self, front: &mut Front) {
        let addressing = if front.file.is_lba() {
            Addressing::Lba28
        } else {
            Addressing::Chs
        };
        match self.first(&front.file, addressing) {
            Some(lba) if lba < self.sectors => front.complete(),
            _ => front.fail(Error::IDNF),
        }
    }

    fn read_native_max(&self, front: &mut Front, is_ext: bool) {
        let (addressing, last) = match (is_ext, front.file.is_lba()) {
            (true, _) => (Addressing::Lba48, self.sectors),
            (false, true) => (Addressing::Lba28, self.sectors.min(0x0fff_ffff)),
            (false, false) => (Addressing::Chs, self.current.capacity().into()),
        };
        self.show(&mut front.file, addressing, last.saturating_sub(1));
        front.complete();
    }

    /// SET FEATURES (8.46). What changes nothing that a guest could see is taken.
    fn set_features(&mut self, front: &mut Front) {
        let value = front.file.count.current;
        match front.file.features.current {
            0x02 => self.write_cache = true,
            0x82 => {
                self.write_cache = false;
                return self.flush(front);
            }
            // PIO modes are not shown; multiword DMA 0-2, Ultra DMA 0-5.
            0x03 => match value {
                0x00 | 0x01 | 0x08..=0x0c => {}
                0x20..=0x22 | 0x40..=ULTRA_DMA_5 => self.mode = value,
                _ => return front.fail(Error::ABRT),
            },
            // Read look-ahead, and whether a reset brings back the defaults.
            0x55 | 0xaa | 0x66 | 0xcc => {}
            _ => return front.fail(Error::ABRT),
        }
        front.complete();
    }
}

impl Device for Disk {
    fn signature(&self) -> [u8; 2] {
        [0, 0]
    }

    fn status_after_reset(&self) -> Status {
        Status::READY
    }

    fn reset(&mut self) {
        self.current = self.geometry;
        self.multiple = MOST_MULTIPLE;
        self.write_cache = true;
        self.mode = ULTRA_DMA_5;
    }

    fn command(&mut self, front: &mut Front, command: u8) {
        use Direction::{Read, Verify, Write};
        let multiple = u32::from(self.multiple);
        self.job = None;
        match command {
            // READ SECTOR(S), READ MULTIPLE, READ DMA, and their 48-bit forms; the odd ones are "without retry".
            0x20 | 0x21 | 0x24 => self.start(front, Read, command == 0x24, 1, Way::Pio),
            0xc4 | 0x29 if multiple > 0 => self.start(front, Read, command == 0x29, multiple, Way::Pio),
            0xc8 | 0xc9 | 0x25 => self.start(front, Read, command == 0x25, DMA_BLOCK, Way::Dma),
            // WRITE SECTOR(S), WRITE MULTIPLE, WRITE DMA.
            0x30 | 0x31 | 0x34 => self.start(front, Write, command == 0x34, 1, Way::Pio),
            0xc5 | 0x39 if multiple > 0 => self.start(front, Write, command == 0x39, multiple, Way::Pio),
            0xca | 0xcb | 0x35 => self.start(front, Write, command == 0x35, DMA_BLOCK, Way::Dma),
            // READ VERIFY SECTOR(S).
            0x40..=0x42 => self.start(front, Verify, command == 0x42, 1, Way::Pio),
            // RECALIBRATE (obsolete), SEEK.
            0x10..=0x1f => front.complete(),
            0x70..=0x7f => self.seek(front),
            // READ NATIVE MAX ADDRESS, EXT.
            0xf8 | 0x27 => self.read_native_max(front, command == 0x27),
            // INITIALIZE DEVICE PARAMETERS.
            0x91 => {
                let (_, last_head, _) = front.file.chs();
                match front.file.count.current {
                    0 => front.fail(Error::ABRT),
                    sectors => {
                        self.current = Geometry::with(last_head + 1, sectors, self.sectors);
                        front.complete();
                    }
                }
            }
            // SET MULTIPLE MODE.
            0xc6 => match front.file.count.current {
                count if count > MOST_MULTIPLE || !(count == 0 || count.is_power_of_two()) => {
                    front.fail(Error::ABRT);
                }
                count => {
                    self.multiple = count;
                    front.complete();
                }
            },
            // STANDBY IMMEDIATE, IDLE IMMEDIATE, STANDBY, IDLE, SLEEP, and as they were numbered before ATA-4.
            0xe0..=0xe3 | 0xe6 | 0x94..=0x97 | 0x99 => front.complete(),
            // CHECK POWER MODE: active or idle.
            0xe5 | 0x98 => {
                front.file.count.current = 0xff;
                front.complete();
            }
            // FLUSH CACHE, EXT.
            0xe7 | 0xea => self.flush(front),
            // IDENTIFY DEVICE.
            0xec => front.send(self.identify(), Way::Pio),
            0xef => self.set_features(front),
            // NOP (00) among them, which always fails (8.22).
            _ => front.fail(Error::ABRT),
        }
    }

    fn taken(&mut self, front: &mut Front) {
        let Some(job) = self.job else {
            return front.end(Status::READY);
        };
        match (self.advance(&mut front.file, job, job.sectors()), job.way) {
            (Some(left), _) => self.read_block(front, left),
            // The last DRQ block was announced by the last interrupt (9.5); DMA ends with one (9.7).
            (None, Way::Pio) => front.end(Status::READY),
            (None, Way::Dma) => front.complete(),
        }
    }

    fn given(&mut self, front: &mut Front) {
        let Some(job) = self.job else {
            return front.end(Status::READY);
        };
        match self.write_block(front, job) {
            Err(_) => Disk::fault(front),
            Ok(Some(left)) => {
                front.expect(left.bytes(), left.way);
                front.interrupt |= left.way == Way::Pio;
            }
            Ok(None) if self.write_cache => front.complete(),
            Ok(None) => self.flush(front),
        }
    }

    fn cut_short(&mut self, front: &mut Front) {
        let written = match self.job {
            Some(job) if front.phase == Phase::DmaOut => self.write_block(front, job).is_ok(),
            _ => true,
        };
        match written {
            true => front.end(Status::READY),
            false => Disk::fault(front),
        }
    }
}
