//! The devices of the board, and the wires between them.

use std::io::Write;
use std::sync::{Arc, Mutex};

use flatview::{AddressRange, Error, MemoryRegionOps, Owner, Region, UnassignedIo};
use flatview_accel::{InterruptSource, Signals};

use super::config::{Drive, PcError};
use super::{Parts, PcConfig, rom};
use crate::chipset::{AcpiPm, Apm, Gpe0, I440fx, PirqRouter, ResetControl, isa_bridge, piix4_pm};
use crate::device::{Reset, lock};
use crate::devices::ide::{Ide, IdeDrive};
use crate::devices::vga::Vga;
use crate::devices::{Debugcon, DeviceRegion, Hpet, HpetLines, I8042, I8042Lines, Pit, Port92, Rtc, Serial};
use crate::firmware::{FirmwareConfig, FwCfg, NumaNode, install};
use crate::irq::IrqLine;
use crate::layout::{HYPER_TRANSPORT, RamLayout};
use crate::pci::{BarKind, PciFunction};
use crate::request::Request;

/// What others want to reach.
#[derive(Debug)]
pub(crate) struct Devices {
    pub(crate) interrupts: Arc<dyn InterruptSource>,
    pub(crate) serial: Option<Arc<Serial>>,
    pub(crate) keyboard: Arc<Mutex<I8042>>,
    pub(crate) vga: Arc<Vga>,
    pub(crate) pm: Arc<AcpiPm>,
}

/// Makes devices and puts them into the memory map.
pub(super) struct Builder<'a> {
    pub(super) parts: &'a Parts,
    pub(super) resets: Vec<Arc<dyn Reset>>,
}

impl Devices {
    /// The devices, and what is reset, in its order.
    pub(super) fn new(parts: &Parts, config: PcConfig) -> Result<(Devices, Vec<Arc<dyn Reset>>), PcError> {
        let mut builder = Builder {
            parts,
            resets: Vec::new(),
        };
        let (interrupts, gsi) = builder.interrupt_controllers()?;
        let isa = |irq| IrqLine::new(Arc::clone(&gsi), irq);
        let rtc = builder.timers(&isa, config.date)?;
        let keyboard = builder.legacy_ports(&isa)?;
        let pm = builder.chipset(&isa, config.ram.size())?;
        let vga = builder.vga(config.vga_bios)?;
        let ide = builder.ide(&isa, &config.drives)?;
        set_cmos(&mut lock(&rtc), &config.ram, &ide);
        let serial = match config.serial {
            Some(out) => Some(builder.serial(isa(4), out)?),
            None => None,
        };
        if let Some(out) = config.debugcon {
            let debugcon = Debugcon::new(out);
            builder.ports("isa-debugcon", [Debugcon::region(&debugcon, 0x402)])?;
        }
        builder.fw_cfg(&config.ram, serial.is_some())?;
        builder.resets.push(Arc::clone(&parts.bus) as _);
        let devices = Devices {
            interrupts,
            serial,
            keyboard,
            vga,
            pm,
        };
        Ok((devices, builder.resets))
    }
}

impl Builder<'_> {
    /// Maps a device's regions where it says, in `container`.
    pub(super) fn map(
        &self,
        container: &Region,
        device: &str,
        regions: impl IntoIterator<Item = DeviceRegion>,
        priority: i32,
    ) -> Result<(), Error> {
        let (machine, owner) = (&self.parts.spaces.machine, Owner::device(device));
        for region in regions {
            let mapped = machine
                .region(region.name)
                .owner(&owner)
                .io(region.size, region.ops);
            machine.update(|tx| tx.add_subregion_overlap(container, region.address, &mapped, priority))?;
        }
        Ok(())
    }

    pub(super) fn ports(
        &self,
        device: &str,
        regions: impl IntoIterator<Item = DeviceRegion>,
    ) -> Result<(), Error> {
        self.map(&self.parts.spaces.io, device, regions, 0)
    }

    /// A port of the board itself.
    fn port(
        &self,
        name: &'static str,
        (address, size): (u64, u64),
        ops: Arc<dyn MemoryRegionOps>,
        priority: i32,
    ) -> Result<(), Error> {
        let region = DeviceRegion {
            name,
            address,
            size,
            ops,
        };
        self.map(&self.parts.spaces.io, name, [region], priority)
    }

    /// HPET, and the PIT and the RTC, whose interrupts it can replace. Returns the RTC.
    fn timers(&mut self, isa: &dyn Fn(u32) -> IrqLine, date: Option<i64>) -> Result<Arc<Mutex<Rtc>>, Error> {
        let Parts { timers, spaces, .. } = self.parts;
        let lines = HpetLines {
            irq_0: isa(0),
            irq_8: isa(8),
            gsi_2: isa(2),
        };
        let hpet = Hpet::new(timers, lines);
        self.map(&spaces.system, "hpet", [Hpet::region(&hpet)], 0)?;
        let replaced = |input| IrqLine::new(Arc::clone(&hpet) as _, input);
        let pit = Pit::new(timers, replaced(Hpet::PIT));
        self.ports("isa-pit", Pit::regions(&pit))?;
        let date = date.unwrap_or_else(Rtc::host_time);
        let rtc = Rtc::new(timers, replaced(Hpet::RTC), date);
        self.ports("mc146818rtc", Rtc::regions(&rtc))?;
        let resets: [Arc<dyn Reset>; 3] = [pit, Arc::clone(&rtc) as _, hpet];
        self.resets.extend(resets);
        Ok(rtc)
    }

    /// Keyboard controller, and the ports of the board itself.
    fn legacy_ports(&mut self, isa: &dyn Fn(u32) -> IrqLine) -> Result<Arc<Mutex<I8042>>, Error> {
        let Parts {
            control,
            timers,
            requests,
            ..
        } = self.parts;
        // Two devices drive it: the one that spoke last is heard.
        let a20 = {
            let control = Arc::clone(control);
            IrqLine::to_fn(move |open| control.set(Signals::A20M, !open))
        };
        let reset = |why| {
            let requests = requests.clone();
            IrqLine::to_fn(move |level| {
                if level {
                    requests.make(Request::Reset(why));
                }
            })
        };
        let lines = I8042Lines {
            keyboard: isa(1),
            mouse: isa(12),
            a20: a20.clone(),
            reset: reset("the keyboard controller"),
        };
        let keyboard = I8042::new(timers, lines);
        self.ports("i8042", I8042::regions(&keyboard))?;
        let port92 = Port92::new(a20, reset("port 0x92"));
        self.ports("port92", [Port92::region(&port92)])?;
        // Where firmware says how far it is, and where a coprocessor's error was taken back: nothing answers.
        self.port("ioport80", (0x80, 1), Arc::new(UnassignedIo), 0)?;
        self.port("ioportF0", (0xf0, 1), Arc::new(UnassignedIo), 0)?;
        let resets: [Arc<dyn Reset>; 2] = [Arc::clone(&keyboard) as _, port92];
        self.resets.extend(resets);
        Ok(keyboard)
    }

    /// Host bridge, ISA bridge, power management.
    fn chipset(&mut self, isa: &dyn Fn(u32) -> IrqLine, ram_size: u64) -> Result<Arc<AcpiPm>, Error> {
        let Parts {
            spaces,
            bus,
            control,
            timers,
            requests,
            map,
            has_smm,
            ..
        } = self.parts;
        self.port("pci-conf-idx", (0xcf8, 4), bus.index_ops(), 0)?;
        self.port("pci-conf-data", (0xcfc, 4), bus.data_ops(), 0)?;
        let reset = ResetControl::new(requests);
        // It lies over a byte of the one before.
        self.port("piix-reset-control", (0xcf9, 1), Arc::clone(&reset) as _, 1)?;
        bus.add(I440fx::function(spaces, map, ram_size)?);
        let router = PirqRouter::new((0..16).map(isa).collect());
        bus.add(isa_bridge(spaces, &router)?);
        let pm = AcpiPm::new(timers, isa(9), requests);
        let function = piix4_pm(spaces, &pm, *has_smm)?;
        let apm = Apm::new(&pm, control, &function);
        self.port("apm-io", (0xb2, 2), Arc::clone(&apm) as _, 0)?;
        self.port("acpi-gpe0", (0xafe0, 4), Arc::new(Gpe0(Arc::clone(&pm))), 0)?;
        bus.add(function);
        let resets: [Arc<dyn Reset>; 3] = [reset, apm, Arc::clone(&pm) as _];
        self.resets.extend(resets);
        Ok(pm)
    }

    /// The screen, with its firmware.
    fn vga(&mut self, firmware: Option<Vec<u8>>) -> Result<Arc<Vga>, PcError> {
        let Parts {
            spaces, bus, timers, ..
        } = self.parts;
        let owner = Owner::device("VGA");
        let vga = Vga::new(Arc::clone(timers))?;
        let regions = vga.regions(&spaces.machine, &owner, &spaces.memory, &spaces.causes)?;
        spaces.machine.update(|tx| {
            tx.add_subregion_overlap(&spaces.memory, 0xa_0000, &regions.lowmem, 1)?;
            let mut ports = regions.ports.iter();
            ports.try_for_each(|(port, region)| tx.add_subregion(&spaces.io, *port, region))
        })?;
        let function = PciFunction::builder(spaces, "VGA", &owner, 2, 0)?
            .id(0x1234, 0x1111)
            .class(0x0300, 0, 2)
            .bar(0, BarKind::Memory { prefetchable: true }, 16 << 20, &regions.vram)
            .bar(2, BarKind::Memory { prefetchable: false }, 0x1000, &regions.mmio);
        let function = match firmware {
            Some(image) => {
                let rom = rom::rom(&spaces.machine, "vga.rom", &owner, &image)?;
                function.bar(6, BarKind::Rom, image.len() as u64, &rom)
            }
            None => function,
        };
        bus.add(function.build(()));
        self.resets.push(Arc::clone(&vga) as _);
        Ok(vga)
    }

    /// The drives.
    fn ide(&mut self, isa: &dyn Fn(u32) -> IrqLine, drives: &[Drive]) -> Result<Arc<Ide>, PcError> {
        if drives.len() > 4 {
            return Err(PcError::TooManyDrives { drives: drives.len() });
        }
        let Parts { spaces, bus, .. } = self.parts;
        let owner = Owner::device("piix3-ide");
        let function = PciFunction::builder(spaces, "piix3-ide", &owner, 1, 1)?
            .id(0x8086, 0x7010)
            .class(0x0101, 0x80, 0)
            .config(|config| {
                config.set(0x06, &[0x80, 0x02]);
            });
        let units = [0, 1, 2, 3].map(|unit: usize| match drives.get(unit) {
            Some(Drive::Disk(image)) => Some(IdeDrive::Disk(Arc::clone(image))),
            Some(Drive::CdRom(image)) => Some(IdeDrive::Cdrom(Some(Arc::clone(image)))),
            _ => None,
        });
        let ide = Ide::new(function.dma().clone(), [isa(14), isa(15)], units);
        let regions = ide.regions(&spaces.machine, &owner)?;
        spaces.machine.update(|tx| {
            let blocks = [(0x1f0, &regions.command[0]), (0x3f6, &regions.control[0])];
            let second = [(0x170, &regions.command[1]), (0x376, &regions.control[1])];
            let mut blocks = blocks.into_iter().chain(second);
            blocks.try_for_each(|(port, region)| tx.add_subregion(&spaces.io, port, region))
        })?;
        let function = function.bar(4, BarKind::Io, 16, &regions.bus_master);
        bus.add(function.build(()));
        self.resets.push(Arc::clone(&ide) as _);
        Ok(ide)
    }

    fn serial(&mut self, irq: IrqLine, out: Box<dyn Write + Send>) -> Result<Arc<Serial>, Error> {
        let serial = Serial::new(irq, out);
        self.ports("isa-serial", [Serial::region(&serial, 0x3f8)])?;
        self.resets.push(Arc::clone(&serial) as _);
        Ok(serial)
    }

    fn fw_cfg(&mut self, ram: &RamLayout, has_serial: bool) -> Result<(), PcError> {
        let Parts { spaces, memory, .. } = self.parts;
        let mut config = FirmwareConfig::new(ram.below_4g, ram.above_4g, 1);
        config.serial_ports = u8::from(has_serial);
        config.numa = ram
            .nodes
            .iter()
            .map(|&ram| NumaNode {
                ram,
                ..NumaNode::default()
            })
            .collect();
        config.hpet = true;
        config
            .reserved
            .extend(AddressRange::new(HYPER_TRANSPORT, 12_u64 << 30));
        let fw_cfg = FwCfg::new(memory.clone());
        install(&fw_cfg, &config)?;
        let regions = fw_cfg.regions(&spaces.machine, &Owner::device("fw_cfg"));
        spaces.machine.update(|tx| {
            tx.add_subregion(&spaces.io, FwCfg::CONTROL_PORT.into(), &regions.control)?;
            tx.add_subregion(&spaces.io, FwCfg::DMA_PORT.into(), &regions.dma)
        })?;
        self.resets.push(fw_cfg);
        Ok(())
    }
}

/// What the firmware looks for in the RTC's memory, as QEMU's `pc` has it.
fn set_cmos(rtc: &mut Rtc, ram: &RamLayout, ide: &Ide) {
    rtc.set_memory(ram.below_4g, ram.above_4g);
    // A coprocessor, and a PS/2 mouse.
    rtc.set(0x14, 0x06);
    // Boot from disk, floppy, CD-ROM, in this order.
    rtc.set(0x3d, 0x12);
    rtc.set(0x38, 0x30);
    for unit in 0..2 {
        let Some(geometry) = ide.geometry(unit) else {
            continue;
        };
        // The first two disks have type 47: any geometry, which follows.
        let (kind, type_at, at) = match unit {
            0 => (0xf0, 0x19, 0x1b),
            _ => (0x0f, 0x1a, 0x24),
        };
        rtc.set(0x12, rtc.get(0x12) | kind);
        rtc.set(type_at, 47);
        let [cylinders, high] = geometry.cylinders.to_le_bytes();
        // More than 8 heads is bit 3 of the control byte; no precompensation; the landing zone is the last cylinder.
        let control = 0xc0 | u8::from(geometry.heads > 8) << 3;
        let bytes = [
            cylinders,
            high,
            geometry.heads,
            0xff,
            0xff,
            control,
            cylinders,
            high,
            geometry.sectors,
        ];
        for (index, byte) in (at..).zip(bytes) {
            rtc.set(index, byte);
        }
    }
    rtc.set(0x39, ide.cmos_translations());
}
