//! The IDE controller of the PIIX3: two channels with two drives each, and a bus master.
//!
//! # Words
//!
//! - A *channel* is a cable with its registers: the command block (ports 0x1f0, 0x170), the control block (0x3f6,
//!   0x376), the bus master (BAR 4), and an interrupt line.
//! - A *drive* on it is master or slave. What the host writes to the command block reaches both; only the selected
//!   one answers and obeys (ATA-6, 7.1).
//! - The *task file* is what the command block holds: the parameters of a command, and its result.
//! - PIO moves data through the data port, a *DRQ block* at a time; DMA through the bus master, which obeys a list of
//!   physical region descriptors (*PRDs*) in guest memory.
//! - A disk obeys ATA commands; a CD-ROM obeys SCSI-like *packets* (ATAPI), which are sent like data.
//!
//! # Time
//!
//! A command does its work while it is written, so a drive is never seen busy, except while the host holds it in
//! reset. Interrupts come at the points where ATA-6 has them (clause 9). The work of one access is bounded: a command
//! moves at most 65,536 sectors, a list of PRDs has at most 8,192 entries.
//!
//! # Locks
//!
//! Each channel has a lock. It is not held while the bus master reads or writes memory: see `bus_master`.
//!
//! Sources: ATA/ATAPI-6 (T13/1410D revision 3b); "Programming Interface for Bus Master IDE Controller", revision 1.0;
//! Intel 82371SB (PIIX3) datasheet; MMC-3 (T10/1363-D). What they leave open is as QEMU has it.

mod bus_master;
mod cdrom;
mod channel;
mod controller;
mod disk;
mod drive;
mod geometry;
mod identify;
mod mmc;
mod ports;
mod task_file;

#[cfg(test)]
mod bench;
#[cfg(test)]
mod cdrom_test;
#[cfg(test)]
mod disk_test;
#[cfg(test)]
mod qemu_test;
#[cfg(test)]
mod random_test;

pub use controller::{Ide, IdeDrive, IdeRegions};
pub use geometry::{Geometry, Translation};
