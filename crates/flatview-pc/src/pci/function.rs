//! A function on the bus.

use std::fmt;
use std::sync::{Arc, Mutex};

use flatview::{AddressSpace, Error, Memory, Owner, Region, Size, WeakMemory};

use super::bar::{Bar, BarKind};
use super::config::{ConfigSpace, reg};
use crate::device::{Reset, lock};
use crate::trace::Causes;

/// What the bus gives each function: the spaces that its BARs appear in, and the one that its DMA sees.
#[derive(Clone, Debug)]
pub struct PciSpaces {
    /// Whose memory it is.
    pub machine: Memory,
    /// Where memory BARs appear: the container `pci`.
    pub memory: Region,
    /// Where I/O BARs appear: the container `io`.
    pub io: Region,
    /// What bus masters see: `system`.
    pub system: Region,
    /// Who is told why the map changes.
    pub causes: Arc<Causes>,
}

/// What a function does beyond what all functions do.
pub trait PciBehaviour: Send + Sync {
    /// The guest has written `size` bytes at `offset` of the configuration space. Nothing is locked.
    fn config_written(&self, _function: &PciFunction, _offset: u8, _size: u8) {}

    /// The machine was reset, and the configuration space is as after power-on. Nothing is locked.
    fn reset(&self, _function: &PciFunction) {}
}

impl PciBehaviour for () {}

/// A function on the bus.
pub struct PciFunction {
    name: String,
    devfn: u8,
    owner: Owner,
    state: Mutex<State>,
    bars: Vec<Bar>,
    /// Weak: the memory keeps the ports alive through which a guest reaches this.
    machine: WeakMemory,
    /// Where memory BARs appear, and where I/O BARs do.
    containers: [Region; 2],
    causes: Arc<Causes>,
    /// What the function's DMA sees when the guest lets it.
    master: Region,
    dma: AddressSpace,
    behaviour: Box<dyn PciBehaviour>,
}

struct State {
    config: ConfigSpace,
    after_reset: ConfigSpace,
    /// Where each BAR is mapped.
    mapped: Vec<Option<u64>>,
}

/// Makes a [`PciFunction`].
pub struct PciFunctionBuilder {
    name: String,
    devfn: u8,
    owner: Owner,
    config: ConfigSpace,
    bars: Vec<Bar>,
    spaces: PciSpaces,
    master: Region,
    dma: AddressSpace,
}

impl PciFunction {
    /// A function in slot `slot`, below 32, with number `function`, below 8, and the space that its DMA sees: nothing,
    /// until the guest sets the bus-master bit. `name` is that of this space, as QEMU has it: `piix3-ide`. Its regions
    /// belong to `owner`.
    ///
    /// # Errors
    ///
    /// [`flatview::Error`].
    pub fn builder(
        spaces: &PciSpaces,
        name: &str,
        owner: &Owner,
        slot: u8,
        function: u8,
    ) -> Result<PciFunctionBuilder, Error> {
        let mut config = ConfigSpace::default();
        // QEMU gives its own functions this subsystem; some guests look for it.
        config.set(reg::SUBSYSTEM, &[0xf4, 0x1a, 0x00, 0x11]);
        let command = reg::COMMAND_IO | reg::COMMAND_MEMORY | reg::COMMAND_MASTER | reg::COMMAND_OTHER;
        config.set_writable(reg::COMMAND, &command.to_le_bytes());
        config.set_clearable(reg::STATUS, &[0, 0xf9]);
        config.set_writable(reg::INTERRUPT_LINE, &[0xff]);
        config.set_writable(0x0c, &[0xff]); // the cache line's size
        // What belongs to the function itself, as QEMU has it: any byte can be written.
        config.set_writable(reg::HEADER_END, &[0xff; 0xc0]);
        let machine = &spaces.machine;
        let region = |name| machine.region(name).owner(owner);
        let container = region("bus master container").container(Size::MAX);
        let master = region("bus master")
            .enabled(false)
            .alias(&spaces.system, 0, Size::MAX)?;
        machine.update(|tx| tx.add_subregion(&container, 0, &master))?;
        Ok(PciFunctionBuilder {
            dma: machine.create_address_space(name, &container)?,
            name: name.into(),
            devfn: slot << 3 | function & 7,
            owner: owner.clone(),
            config,
            bars: Vec::new(),
            spaces: spaces.clone(),
            master,
        })
    }

    /// Its DMA address space's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Slot and function: 8 bits.
    pub fn devfn(&self) -> u8 {
        self.devfn
    }

    /// What its DMA sees.
    pub fn dma(&self) -> &AddressSpace {
        &self.dma
    }

    /// Its base address registers.
    pub fn bars(&self) -> &[Bar] {
        &self.bars
    }

    /// Where a BAR is mapped now.
    pub fn bar_address(&self, index: u8) -> Option<u64> {
        let at = self.bars.iter().position(|bar| bar.index == index)?;
        lock(&self.state).mapped[at]
    }

    /// The `size` bytes at `offset` of the configuration space.
    pub fn read_config(&self, offset: u8, size: u8) -> u32 {
        lock(&self.state).config.get(offset, size)
    }

    /// Looks at the configuration space, or changes it as the device itself does.
    pub fn with_config<T>(&self, work: impl FnOnce(&mut ConfigSpace) -> T) -> T {
        work(&mut lock(&self.state).config)
    }

    /// A guest writes the low `size` bytes of `value` at `offset` of the configuration space. BARs appear and
    /// disappear.
    pub fn write_config(&self, offset: u8, size: u8, value: u32) {
        {
            let mut state = lock(&self.state);
            state.config.write(offset, size, value);
            self.follow(&mut state, offset);
        }
        self.behaviour.config_written(self, offset, size);
    }

    /// Maps BARs where configuration space says.
    fn follow(&self, state: &mut State, offset: u8) {
        let wanted: Vec<Option<u64>> = self.bars.iter().map(|bar| bar.address(&state.config)).collect();
        let master = state.config.u16(reg::COMMAND) & reg::COMMAND_MASTER != 0;
        let changes = || self.bars.iter().zip(state.mapped.iter().zip(&wanted));
        let is_master = self.master.state().is_ok_and(|state| state.enabled);
        if changes().all(|(_, (old, new))| old == new) && is_master == master {
            return;
        }
        let cause = || {
            let (slot, function) = (self.devfn >> 3, self.devfn & 7);
            let what = match self
                .bars
                .iter()
                .find(|bar| (bar.offset()..bar.offset() + 4).contains(&offset))
            {
                Some(bar) => format!("{} (0x{offset:02x})", bar.name()),
                None if offset == reg::COMMAND => "command (0x04)".into(),
                None => format!("0x{offset:02x}"),
            };
            let value = state.config.get(offset & !3, 4);
            format!(
                "PCI 00:{slot:02x}.{function} {} writes {what}: {value:#x}",
                self.name
            )
        };
        let done = self.causes.update(&self.machine, cause, |tx| {
            for (bar, (old, new)) in changes().filter(|(_, (old, new))| old != new) {
                let container = &self.containers[usize::from(bar.kind == BarKind::Io)];
                if old.is_some() {
                    tx.del_subregion(container, &bar.region)?;
                }
                if let Some(address) = *new {
                    tx.add_subregion_overlap(container, address, &bar.region, 1)?;
                }
            }
            tx.set_enabled(&self.master, master)
        });
        if done {
            state.mapped = wanted;
        }
    }
}

impl PciFunctionBuilder {
    /// Vendor and device id.
    pub fn id(mut self, vendor: u16, device: u16) -> Self {
        self.config.set(reg::VENDOR_ID, &vendor.to_le_bytes());
        self.config.set(reg::DEVICE_ID, &device.to_le_bytes());
        self
    }

    /// Class and subclass, programming interface, revision.
    pub fn class(mut self, class: u16, interface: u8, revision: u8) -> Self {
        let [subclass, base] = class.to_le_bytes();
        self.config
            .set(reg::REVISION, &[revision, interface, subclass, base]);
        self
    }

    /// The slot has other functions, too.
    pub fn multifunction(mut self) -> Self {
        self.config.set(reg::HEADER_TYPE, &[0x80]);
        self
    }

    /// Changes configuration space as it is after power-on.
    pub fn config(mut self, change: impl FnOnce(&mut ConfigSpace)) -> Self {
        change(&mut self.config);
        self
    }

    /// Adds a base address register. `size` is rounded up to a power of two.
    pub fn bar(mut self, index: u8, kind: BarKind, size: u64, region: &Region) -> Self {
        let size = size.max(16).checked_next_power_of_two().unwrap_or(1 << 63);
        let region = region.clone();
        let bar = Bar {
            index,
            kind,
            size,
            region,
        };
        bar.install(&mut self.config);
        self.bars.push(bar);
        self
    }

    /// What the function's DMA will see.
    pub fn dma(&self) -> &AddressSpace {
        &self.dma
    }

    /// Makes the function.
    pub fn build(self, behaviour: impl PciBehaviour + 'static) -> Arc<PciFunction> {
        Arc::new(PciFunction {
            name: self.name,
            devfn: self.devfn,
            owner: self.owner,
            state: Mutex::new(State {
                mapped: vec![None; self.bars.len()],
                after_reset: self.config.clone(),
                config: self.config,
            }),
            bars: self.bars,
            machine: self.spaces.machine.downgrade(),
            containers: [self.spaces.memory, self.spaces.io],
            causes: self.spaces.causes,
            master: self.master,
            dma: self.dma,
            behaviour: Box::new(behaviour),
        })
    }
}

impl Reset for PciFunction {
    fn reset(&self) {
        {
            let mut state = lock(&self.state);
            state.config = state.after_reset.clone();
            self.follow(&mut state, reg::COMMAND);
        }
        self.behaviour.reset(self);
    }
}

impl fmt::Debug for PciFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PciFunction")
            .field("name", &self.name)
            .field(
                "devfn",
                &format_args!("{:02x}.{}", self.devfn >> 3, self.devfn & 7),
            )
            .field("owner", &self.owner)
            .field("bars", &self.bars)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PciFunctionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PciFunctionBuilder")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
