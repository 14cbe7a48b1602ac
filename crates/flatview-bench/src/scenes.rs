//! The machines that are changed and looked at.

use std::sync::Arc;

use flatview::{
    AddressSpace, Error, MemTxAttrs, MemTxError, Memory, MemoryRegionOps, Owner, RamBlock, Region, Size,
};

/// The size of the RAM at the bottom of [`Windows`] and [`Pci`].
pub const RAM_SIZE: u64 = 256 << 20;
/// Where the first window of [`Windows`] lies.
pub const WINDOWS_BASE: u64 = 0x4000_0000;
/// From one window to the next.
pub const WINDOW_STRIDE: u64 = 8 << 10;
/// The size of a window.
pub const WINDOW_SIZE: u64 = 4 << 10;
/// From one range of [`Banks`] to the next.
pub const BANK_STRIDE: u64 = 128 << 10;
/// The size of such a range.
pub const BANK_SIZE: u64 = 64 << 10;

/// A device that answers with a constant.
#[derive(Debug)]
pub struct Device(pub u64);

impl MemoryRegionOps for Device {
    fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(self.0)
    }

    fn write(&self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        Ok(())
    }
}

/// Address spaces besides the system's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// None.
    None,
    /// So many bus masters: a container with an alias of the whole system. They share the system's view.
    Sharing(usize),
    /// So many whose alias of the system ends before the system does: each has a view of its own.
    Smaller(usize),
    /// So many whose container has a window of its own besides the alias: each has a view of its own.
    TwoChildren(usize),
}

/// 256 MiB of RAM and a number of MMIO windows of 4 KiB, 8 KiB apart, each of its own device: the scene of
/// `peer-benchmarks.md`, section 1.
#[derive(Debug)]
pub struct Windows {
    /// The machine.
    pub memory: Memory,
    /// The root of the system's space.
    pub system: Region,
    /// The system's space.
    pub space: AddressSpace,
    /// The windows, ascending.
    pub windows: Vec<Region>,
    /// The other spaces.
    pub others: Vec<AddressSpace>,
}

/// The address of window number `index`.
pub fn window_address(index: usize) -> u64 {
    WINDOWS_BASE + index as u64 * WINDOW_STRIDE
}

/// One more MMIO window, mapped nowhere.
pub fn window(memory: &Memory, index: usize) -> Region {
    let name = format!("window{index}");
    memory
        .region(&name)
        .owner(&Owner::device(name.as_str()))
        .io(WINDOW_SIZE, Arc::new(Device(index as u64)))
}

impl Windows {
    /// The scene with so many windows mapped.
    ///
    /// # Errors
    ///
    /// None that is expected.
    pub fn new(count: usize, others: Others) -> Result<Windows, Error> {
        let scene = Windows::unmapped(count, others)?;
        scene.map_all()?;
        Ok(scene)
    }

    /// The same with the windows made and not mapped.
    ///
    /// # Errors
    ///
    /// None that is expected.
    pub fn unmapped(count: usize, others: Others) -> Result<Windows, Error> {
        let memory = Memory::new();
        let system = memory.region("system").container(Size::MAX);
        let ram = memory.region("ram").ram(RamBlock::unbacked(RAM_SIZE));
        memory.update(|tx| tx.add_subregion(&system, 0, &ram))?;
        let space = memory.create_address_space("memory", &system)?;
        let others = other_spaces(&memory, &system, others)?;
        let windows = (0..count).map(|index| window(&memory, index)).collect();
        Ok(Windows {
            memory,
            system,
            space,
            windows,
            others,
        })
    }

    /// Maps all windows in one transaction.
    ///
    /// # Errors
    ///
    /// None that is expected.
    pub fn map_all(&self) -> Result<(), Error> {
        self.memory.update(|tx| {
            for (index, window) in self.windows.iter().enumerate() {
                tx.add_subregion(&self.system, window_address(index), window)?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Shows or hides one window: one transaction.
    ///
    /// # Errors
    ///
    /// None that is expected.
    pub fn set(&self, index: usize, enabled: bool) -> Result<(), Error> {
        self.memory
            .update(|tx| tx.set_enabled(&self.windows[index], enabled))?;
        Ok(())
    }
}

fn other_spaces(memory: &Memory, system: &Region, others: Others) -> Result<Vec<AddressSpace>, Error> {
    let (count, seen, own_window) = match others {
        Others::None => (0, Size::MAX, false),
        Others::Sharing(count) => (count, Size::MAX, false),
        Others::Smaller(count) => (count, Size::from(1 << 48), false),
        Others::TwoChildren(count) => (count, Size::MAX, true),
    };
    (0..count)
        .map(|index| {
            let container = memory.region("bus-master-container").container(Size::MAX);
            let alias = memory.region("bus-master").alias(system, 0, seen)?;
            memory.update(|tx| {
                tx.add_subregion(&container, 0, &alias)?;
                if own_window {
                    tx.add_subregion_overlap(&container, 0xfee0_0000, &window(memory, index), 1)?;
                }
                Ok(())
            })?;
            memory.create_address_space(&format!("bus-master{index}"), &container)
        })
        .collect()
}

/// So many separate ranges of RAM, 64 KiB every 128 KiB.
#[derive(Debug)]
pub struct Banks {
    /// The machine.
    pub memory: Memory,
    /// Its space.
    pub space: AddressSpace,
}

impl Banks {
    /// The scene with so many ranges.
    ///
    /// # Errors
    ///
    /// None that is expected.
    pub fn new(count: usize) -> Result<Banks, Error> {
        let memory = Memory::new();
        let system = memory.region("system").container(Size::MAX);
        memory.update(|tx| {
            for index in 0..count as u64 {
                let ram = memory
                    .region(&format!("ram{index}"))
                    .ram(RamBlock::unbacked(BANK_SIZE));
                tx.add_subregion(&system, index * BANK_STRIDE, &ram)?;
            }
            Ok(())
        })?;
        let space = memory.create_address_space("memory", &system)?;
        Ok(Banks { memory, space })
    }
}

/// 256 MiB of RAM over a `pci` container (priority -1) with devices of 3 BARs and a bus-master space each.
#[derive(Debug)]
pub struct Pci {
    /// The machine.
    pub memory: Memory,
    /// Where the BARs are mapped.
    pub pci: Region,
    /// The devices, each with its BARs, mapped nowhere at first.
    pub devices: Vec<[Region; 3]>,
    /// The system's space, then those of the devices.
    pub spaces: Vec<AddressSpace>,
}

const BARS_BASE: u64 = 0xc000_0000;
const BAR_SIZES: [u64; 3] = [16 << 10, 4 << 10, 16 << 10];
const BAR_STRIDE: u64 = 32 << 10;

/// Whether the bus masters of [`Pci`] see the system as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusMasters {
    /// An alias of the whole system: all share its view.
    Sharing,
    /// The same, and each device has one more space, rooted at its last BAR: QEMU's `virtio-pci-cfg-mem-as`.
    SharingAndOwnBar,
    /// Besides that alias, each device has a window of its own: each has a view of its own.
    TwoChildren,
}

impl Pci {
    /// The scene with so many devices, BARs not mapped.
    ///
    /// # Errors
    ///
    /// None that is expected.
    pub fn new(count: usize, masters: BusMasters) -> Result<Pci, Error> {
        let memory = Memory::new();
        let system = memory.region("system").container(Size::MAX);
        let pci = memory.region("pci").container(Size::MAX);
        let ram = memory.region("ram").ram(RamBlock::unbacked(RAM_SIZE));
        memory.update(|tx| {
            tx.add_subregion(&system, 0, &ram)?;
            tx.add_subregion_overlap(&system, 0, &pci, -1)
        })?;
        let mut spaces = vec![memory.create_address_space("memory", &system)?];
        let others = match masters {
            BusMasters::Sharing | BusMasters::SharingAndOwnBar => Others::Sharing(count),
            BusMasters::TwoChildren => Others::TwoChildren(count),
        };
        spaces.extend(other_spaces(&memory, &system, others)?);
        let devices: Vec<[Region; 3]> = (0..count)
            .map(|device| {
                [0, 1, 2].map(|bar| {
                    memory
                        .region(&format!("device{device}.bar{bar}"))
                        .owner(&Owner::device(format!("device{device}")))
                        .io(BAR_SIZES[bar], Arc::new(Device(device as u64)))
                })
            })
            .collect();
        if masters == BusMasters::SharingAndOwnBar {
            for [.., last] in &devices {
                spaces.push(memory.create_address_space("virtio-pci-cfg-mem-as", last)?);
            }
        }
        Ok(Pci {
            memory,
            pci,
            devices,
            spaces,
        })
    }

    fn bars(&self, device: usize) -> impl Iterator<Item = (u64, &Region)> {
        let first = device as u64 * 3;
        (first..)
            .map(|index| BARS_BASE + index * BAR_STRIDE)
            .zip(&self.devices[device])
    }

    /// Maps the BARs of one device: one transaction.
    ///
    /// # Errors
    ///
    /// None that is expected.
    pub fn map(&self, device: usize) -> Result<(), Error> {
        self.memory.update(|tx| {
            self.bars(device)
                .try_for_each(|(address, bar)| tx.add_subregion_overlap(&self.pci, address, bar, 1))
        })?;
        Ok(())
    }

    /// Unmaps the BARs of one device: one transaction.
    ///
    /// # Errors
    ///
    /// None that is expected.
    pub fn unmap(&self, device: usize) -> Result<(), Error> {
        self.memory.update(|tx| {
            self.bars(device)
                .try_for_each(|(_, bar)| tx.del_subregion(&self.pci, bar))
        })?;
        Ok(())
    }

    /// Maps all BARs, a transaction for each device.
    ///
    /// # Errors
    ///
    /// None that is expected.
    pub fn map_all(&self) -> Result<(), Error> {
        (0..self.devices.len()).try_for_each(|device| self.map(device))
    }

    /// Maps all BARs, a transaction for each BAR.
    ///
    /// # Errors
    ///
    /// None that is expected.
    pub fn map_all_one_by_one(&self) -> Result<(), Error> {
        for device in 0..self.devices.len() {
            for (address, bar) in self.bars(device) {
                self.memory
                    .update(|tx| tx.add_subregion_overlap(&self.pci, address, bar, 1))?;
            }
        }
        Ok(())
    }

    /// Unmaps all BARs, in one transaction.
    ///
    /// # Errors
    ///
    /// None that is expected.
    pub fn unmap_all(&self) -> Result<(), Error> {
        self.memory.update(|tx| {
            self.devices
                .iter()
                .flatten()
                .try_for_each(|bar| tx.del_subregion(&self.pci, bar))
        })?;
        Ok(())
    }
}
