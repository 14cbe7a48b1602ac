//! i440FX: the host bridge and memory controller, PCI function 00.0 (Intel 82441FX data sheet).

use std::fmt;
use std::sync::Arc;

use flatview::{AddressSpace, Error, Memory, Owner, Region, Size, WeakMemory};

use super::pam::Pam;
use crate::pci::{PciBehaviour, PciFunction, PciSpaces};
use crate::trace::Causes;

/// Of the configuration space: system management RAM control (82441FX, 3.2.23).
const SMRAM: u8 = 0x72;
/// Of SMRAM: everybody sees the RAM at 0xa0000.
const D_OPEN: u8 = 1 << 6;
/// Of SMRAM: there is system management RAM at all.
const G_SMRAME: u8 = 1 << 3;

/// The windows that the memory controller lays over the RAM: PAM and SMRAM.
#[derive(Debug)]
pub struct MemoryMap {
    /// Weak: the memory keeps the ports alive that lead here.
    machine: WeakMemory,
    pam: Pam,
    /// PCI over the RAM at 0xa0000.
    smram_region: Region,
    /// What only system management mode sees.
    smram: Region,
}

impl MemoryMap {
    /// Lays the windows into `system`. `ram` is all of the machine's RAM, `pci` a space whose root is the container
    /// `pci`.
    ///
    /// # Errors
    ///
    /// [`flatview::Error`].
    pub fn new(
        machine: &Memory,
        system: &Region,
        ram: &Region,
        pci: (&Region, &AddressSpace),
    ) -> Result<MemoryMap, Error> {
        let smram_region = machine
            .region("smram-region")
            .alias(pci.0, 0xa_0000, 0x2_0000u64)?;
        let smram = machine.region("smram").enabled(false).container(1u64 << 32);
        let low = machine.region("smram-low").alias(ram, 0xa_0000, 0x2_0000u64)?;
        let pam = machine.update(|tx| {
            tx.add_subregion_overlap(system, 0xa_0000, &smram_region, 1)?;
            tx.add_subregion(&smram, 0xa_0000, &low)?;
            Pam::new(machine, tx, system, ram, pci)
        })?;
        Ok(MemoryMap {
            machine: machine.downgrade(),
            pam: pam.into_value(),
            smram_region,
            smram,
        })
    }

    /// What system management mode sees beyond `system`.
    pub fn smram(&self) -> &Region {
        &self.smram
    }

    /// A space as a CPU in system management mode has it: `system`, and SMRAM over it.
    ///
    /// # Errors
    ///
    /// [`flatview::Error`].
    pub fn smm_space(&self, machine: &Memory, system: &Region) -> Result<AddressSpace, Error> {
        let root = machine.region("memory").container(Size::MAX);
        let all = machine.region("memory").alias(system, 0, Size::MAX)?;
        let smram = machine.region("smram").alias(&self.smram, 0, 1u64 << 32)?;
        machine.update(|tx| {
            tx.add_subregion(&root, 0, &all)?;
            tx.add_subregion_overlap(&root, 0, &smram, 1)
        })?;
        machine.create_address_space("cpu-smm-0", &root)
    }

    fn update(&self, causes: &Causes, cause: impl FnOnce() -> String, pam: &[u8; 7], smram: u8) {
        // What is refused now is tried again with the next write.
        causes.update(&self.machine, cause, |tx| {
            self.pam.update(tx, pam)?;
            tx.set_enabled(&self.smram_region, smram & D_OPEN == 0)?;
            tx.set_enabled(&self.smram, smram & G_SMRAME != 0)
        });
    }
}

/// The function's behaviour.
pub struct I440fx {
    map: Arc<MemoryMap>,
    causes: Arc<Causes>,
}

impl I440fx {
    /// The function 00.0. `ram_size` is that of all RAM, in bytes.
    ///
    /// # Errors
    ///
    /// [`flatview::Error`].
    pub fn function(
        spaces: &PciSpaces,
        map: &Arc<MemoryMap>,
        ram_size: u64,
    ) -> Result<Arc<PciFunction>, Error> {
        let behaviour = I440fx {
            map: Arc::clone(map),
            causes: Arc::clone(&spaces.causes),
        };
        // Firmware of the coreboot family reads the size there, in units of 8 MiB.
        let size = u8::try_from(ram_size >> 23).unwrap_or(u8::MAX);
        Ok(
            PciFunction::builder(spaces, "i440FX", &Owner::device("i440FX"), 0, 0)?
                .id(0x8086, 0x1237)
                .class(0x0600, 0, 2)
                .config(|config| {
                    config.set(0x57, &[size]);
                    config.set(SMRAM, &[0x02]);
                })
                .build(behaviour),
        )
    }

    fn follow(&self, function: &PciFunction, cause: impl FnOnce() -> String) {
        let (pam, smram) = function.with_config(|config| {
            let pam =
                std::array::from_fn(|i| config.u8((Pam::FIRST..=Pam::LAST).nth(i).unwrap_or(Pam::LAST)));
            (pam, config.u8(SMRAM))
        });
        self.map.update(&self.causes, cause, &pam, smram);
    }
}

impl PciBehaviour for I440fx {
    fn config_written(&self, function: &PciFunction, offset: u8, size: u8) {
        let written = offset..=offset.saturating_add(size.saturating_sub(1));
        let meets = |first: u8, last: u8| *written.start() <= last && first <= *written.end();
        let (pam, smram) = (meets(Pam::FIRST, Pam::LAST), meets(SMRAM, SMRAM));
        if pam || smram {
            self.follow(function, || {
                let value = function.read_config(offset, size);
                let what = if pam { "PAM" } else { "SMRAM" };
                let digits = 2 * usize::from(size);
                format!("PCI 00:00.0 i440FX writes {what} (0x{offset:02x}): 0x{value:0digits$x}")
            });
        }
    }

    fn reset(&self, function: &PciFunction) {
        self.follow(function, || "reset".into());
    }
}

impl fmt::Debug for I440fx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("I440fx")
            .field("map", &self.map)
            .finish_non_exhaustive()
    }
}
