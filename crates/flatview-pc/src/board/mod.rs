//! The board: QEMU's `pc` machine, put together.
//!
//! Where everything is in memory:
//!
//! ```text
//! system  (what CPUs and bus masters see)
//! ├─ ram-below-4g, ram-above-4g    windows onto pc.ram
//! ├─ pci, priority -1              behind the RAM: whatever RAM leaves free is PCI
//! │   ├─ vga-lowmem, BARs, ROMs
//! │   ├─ pc.rom                    0xc0000, 128 KiB, behind PAM
//! │   ├─ isa-bios                  the last 128 KiB of pc.bios, below 1 MiB
//! │   └─ pc.bios                   ends at 4 GiB
//! ├─ smram-region, priority 1      PCI over the RAM at 0xa0000
//! ├─ pam-*, priority 1             13 windows between 0xc0000 and 0xfffff
//! ├─ ioapic, hpet
//! └─ apic-msi, priority 4096       no RAM or BAR hides it
//! ```

mod config;
mod devices;
mod interrupts;
mod rom;

use std::sync::{Arc, Mutex};

use flatview::{AddressSpace, Memory, Region, Size, UnassignedIo};
use flatview_accel::{Accelerator, Clock, Control, IrqChip, VcpuConfig};

pub use config::{Drive, PcConfig, PcError};

use crate::chipset::{AcpiPm, MemoryMap};
use crate::devices::vga::{Screen, Vga};
use crate::devices::{I8042, Serial};
use crate::machine::Machine;
use crate::pci::{PciHost, PciSpaces};
use crate::request::Requests;
use crate::timer::TimerQueue;
use crate::trace::Causes;
use devices::Devices;

/// A PC: its memory, its devices, a CPU.
#[derive(Debug)]
pub struct Pc {
    machine: Machine,
    parts: Parts,
    devices: Devices,
}

/// What devices are connected to.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Memory, ports, PCI.
    pub(crate) spaces: PciSpaces,
    pub(crate) memory: AddressSpace,
    pub(crate) ports: AddressSpace,
    pub(crate) smm: AddressSpace,
    /// All RAM.
    pub(crate) ram: Region,
    pub(crate) map: Arc<MemoryMap>,
    pub(crate) bus: Arc<PciHost>,
    pub(crate) control: Arc<Control>,
    pub(crate) timers: Arc<TimerQueue>,
    pub(crate) requests: Requests,
    /// What the accelerator can do.
    pub(crate) has_smm: bool,
    /// The interrupt controllers that it has.
    pub(crate) irqchip: Option<Arc<dyn IrqChip>>,
}

impl Parts {
    /// The memory map without devices, after power-on.
    fn new(
        config: &PcConfig,
        control: &Arc<Control>,
        accelerator: &dyn Accelerator,
    ) -> Result<Parts, PcError> {
        let machine = Memory::new();
        let system = machine.region("system").container(Size::MAX);
        let pci = machine.region("pci").container(Size::MAX);
        let io = machine.region("io").io(0x1_0000, Arc::new(UnassignedIo));
        machine.update(|tx| tx.add_subregion_overlap(&system, 0, &pci, -1))?;
        let ram = config.ram.build(&machine, &system)?;
        rom::map(&machine, &pci, &config.bios)?;
        let memory = machine.create_address_space("memory", &system)?;
        let ports = machine.create_address_space("I/O", &io)?;
        // What PAM reads from in a window whose writes go to RAM.
        let hole = machine.create_address_space("pci", &pci)?;
        let map = Arc::new(MemoryMap::new(&machine, &system, &ram, (&pci, &hole))?);
        Ok(Parts {
            smm: map.smm_space(&machine, &system)?,
            spaces: PciSpaces {
                machine,
                memory: pci,
                io,
                system,
                causes: Arc::new(Causes::default()),
            },
            memory,
            ports,
            ram,
            map,
            bus: PciHost::new(),
            control: Arc::clone(control),
            timers: TimerQueue::new(Arc::clone(control)),
            requests: Requests::new(control),
            has_smm: accelerator.has_smm(),
            irqchip: accelerator.irqchip(),
        })
    }
}

impl Pc {
    /// A PC after power-on.
    ///
    /// # Errors
    ///
    /// [`PcError`].
    pub fn new(mut config: PcConfig, accelerator: &dyn Accelerator) -> Result<Pc, PcError> {
        let clock = std::mem::replace(&mut config.clock, Clock::counted(0));
        let control = Arc::new(Control::new(clock));
        let parts = Parts::new(&config, &control, accelerator)?;
        let (devices, resets) = Devices::new(&parts, config)?;
        let vcpu = accelerator.create_vcpu(VcpuConfig {
            index: 0,
            machine: parts.spaces.machine.clone(),
            memory: parts.memory.clone(),
            io: parts.ports.clone(),
            smm: parts.has_smm.then(|| parts.smm.clone()),
            interrupts: Arc::clone(&devices.interrupts),
            control: Arc::clone(&control),
        })?;
        let (timers, requests) = (Arc::clone(&parts.timers), parts.requests.clone());
        let mut machine = Machine::new(vcpu, control, timers, requests, resets);
        machine.reset()?;
        Ok(Pc {
            machine,
            parts,
            devices,
        })
    }

    /// The loop in which it runs.
    pub fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// Its memory map.
    pub fn memory(&self) -> &Memory {
        &self.parts.spaces.machine
    }

    /// What the CPU and bus masters see.
    pub fn memory_space(&self) -> &AddressSpace {
        &self.parts.memory
    }

    /// The I/O ports.
    pub fn port_space(&self) -> &AddressSpace {
        &self.parts.ports
    }

    /// All of its RAM, wherever that is mapped: a block, or a container with a block for each NUMA node.
    pub fn ram(&self) -> &Region {
        &self.parts.ram
    }

    /// The PCI bus.
    pub fn bus(&self) -> &Arc<PciHost> {
        &self.parts.bus
    }

    /// The timers of its devices, which go by the guest's clock.
    pub fn timers(&self) -> &Arc<TimerQueue> {
        &self.parts.timers
    }

    /// Why the memory map changes, for a [`MapTrace`](crate::trace::MapTrace).
    pub fn causes(&self) -> &Arc<Causes> {
        &self.parts.spaces.causes
    }

    /// Power management: the power button.
    pub fn power(&self) -> &Arc<AcpiPm> {
        &self.devices.pm
    }

    /// What is on the screen.
    pub fn screen(&self) -> Screen {
        self.devices.vga.screen()
    }

    /// The screen's adapter, for who looks at the screen while the machine runs.
    pub fn vga(&self) -> &Arc<Vga> {
        &self.devices.vga
    }

    /// The keyboard controller, for who types.
    pub fn keyboard(&self) -> &Arc<Mutex<I8042>> {
        &self.devices.keyboard
    }

    /// The first serial port, if there is one.
    pub fn serial(&self) -> Option<&Arc<Serial>> {
        self.devices.serial.as_ref()
    }
}
