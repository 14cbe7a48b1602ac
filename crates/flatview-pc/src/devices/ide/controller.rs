//! The controller: what the board and the PCI function see.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use flatview::{AddressSpace, Memory, Owner, Region};

use super::cdrom::Cdrom;
use super::channel::Channel;
use super::disk::Disk;
use super::drive::{Device, Drive};
use super::geometry::Geometry;
use super::ports::{Block, Ports};
use crate::device::{Reset, lock};
use crate::devices::block::{BlockBackend, SECTOR};
use crate::irq::IrqLine;

/// A drive to be put on a cable.
#[derive(Clone, Debug)]
pub enum IdeDrive {
    /// A disk.
    Disk(Arc<dyn BlockBackend>),
    /// A CD-ROM drive, with or without a disc in it. Of the image, whole blocks of 2048 bytes are seen; the last is
    /// filled up with zeros.
    Cdrom(Option<Arc<dyn BlockBackend>>),
}

/// The IDE controller of the PIIX3: see the module.
pub struct Ide {
    channels: [Mutex<Channel>; 2],
    memory: AddressSpace,
    geometries: [Option<Geometry>; 4],
}

/// The regions of an [`Ide`], with QEMU's names. None is mapped yet.
#[derive(Clone, Debug)]
pub struct IdeRegions {
    /// `ide`, 8 bytes: the command blocks, at 0x1f0 and 0x170.
    pub command: [Region; 2],
    /// `ide`, 1 byte: the control blocks, at 0x3f6 and 0x376.
    pub control: [Region; 2],
    /// `piix-bmdma-container`, 16 bytes: the bus masters, BAR 4 of the function.
    pub bus_master: Region,
}

impl Ide {
    /// A controller whose bus masters access `memory`, with the interrupt lines of the first and the second channel
    /// (14 and 15), and with these drives: first master, first slave, second master, second slave.
    pub fn new(memory: AddressSpace, irqs: [IrqLine; 2], drives: [Option<IdeDrive>; 4]) -> Arc<Ide> {
        let geometries = [0, 1, 2, 3].map(|unit: usize| match drives.get(unit) {
            Some(Some(IdeDrive::Disk(image))) => Some(Geometry::of_disk(image.size() / SECTOR)),
            _ => None,
        });
        let mut unit = 0;
        let [first, first_slave, second, second_slave] = drives.map(|drive| {
            let device: Option<Box<dyn Device>> = drive.map(|drive| match drive {
                IdeDrive::Disk(image) => Box::new(Disk::new(image, unit)) as Box<dyn Device>,
                IdeDrive::Cdrom(image) => Box::new(Cdrom::new(image, unit)),
            });
            unit += 1;
            device.map(Drive::new)
        });
        let [irq, second_irq] = irqs;
        let channels = [
            Mutex::new(Channel::new([first, first_slave], irq)),
            Mutex::new(Channel::new([second, second_slave], second_irq)),
        ];
        let ide = Ide {
            channels,
            memory,
            geometries,
        };
        ide.reset();
        Arc::new(ide)
    }

    /// Makes the regions; `owner` is the PCI function. The bus masters work only if their accesses reach no region
    /// of that owner, which the re-entrancy guard sees to.
    ///
    /// # Errors
    ///
    /// [`flatview::Error`] if `memory` cannot be changed now.
    pub fn regions(self: &Arc<Self>, memory: &Memory, owner: &Owner) -> Result<IdeRegions, flatview::Error> {
        let region = |name, size: u64, channel, block| {
            let ports = Ports {
                ide: Arc::clone(self),
                channel,
                block,
            };
            memory.region(name).owner(owner).io(size, Arc::new(ports))
        };
        let bus_master = memory
            .region("piix-bmdma-container")
            .owner(owner)
            .container(16_u64);
        memory.update(|tx| {
            for (channel, offset) in [(0, 0), (1, 8)] {
                let registers = region("piix-bmdma", 4, channel, Block::BusMaster);
                tx.add_subregion(&bus_master, offset, &registers)?;
                let table = region("bmdma", 4, channel, Block::Table);
                tx.add_subregion(&bus_master, offset + 4, &table)?;
            }
            Ok(())
        })?;
        Ok(IdeRegions {
            command: [0, 1].map(|channel| region("ide", 8, channel, Block::Command)),
            control: [0, 1].map(|channel| region("ide", 1, channel, Block::Control)),
            bus_master,
        })
    }

    /// The geometry of a disk, for the CMOS; `unit` counts first master, first slave, second master, second slave.
    pub fn geometry(&self, unit: usize) -> Option<Geometry> {
        *self.geometries.get(unit)?
    }

    /// What a BIOS of QEMU's kind looks for in byte 0x39 of the CMOS: how it is to translate each disk's geometry, two
    /// bits each, the first in the low ones.
    pub fn cmos_translations(&self) -> u8 {
        let bits = |geometry: &Option<Geometry>| geometry.map_or(0, |geometry| geometry.translation() as u8);
        self.geometries
            .iter()
            .rev()
            .fold(0, |byte, geometry| byte << 2 | bits(geometry))
    }

    pub(super) fn channel(&self, number: usize) -> MutexGuard<'_, Channel> {
        lock(&self.channels[number])
    }

    /// Lets the bus master of a channel do what there is to do.
    pub(super) fn move_data(&self, number: usize) {
        let mut next = self.channel(number).begin_dma();
        while let Some(access) = next {
            let outcome = access.make(&self.memory);
            next = self.channel(number).continue_dma(outcome);
        }
    }
}

impl Reset for Ide {
    fn reset(&self) {
        for channel in &self.channels {
            lock(channel).reset();
        }
    }
}

impl fmt::Debug for Ide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ide")
            .field("memory", &self.memory)
            .field("geometries", &self.geometries)
            .finish_non_exhaustive()
    }
}
