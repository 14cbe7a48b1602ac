//! PIIX4 PM: power management, PCI function 01.3, and the APM ports (Intel 82371AB data sheet, chapter 7).

use std::sync::{Arc, Mutex, Weak};

use flatview::{Error, MemTxAttrs, MemTxError, MemoryRegionOps, Owner, Region, WeakMemory};
use flatview_accel::{Control, Signals};

use super::pm::{AcpiPm, PmControl, PmEvents, PmTimer};
use crate::device::{Reset, lock};
use crate::firmware::{ACPI_DISABLE, ACPI_ENABLE};
use crate::pci::{PciBehaviour, PciFunction, PciSpaces};
use crate::trace::Causes;

/// Of the configuration space: where the power management ports are (82371AB, 7.1.7).
const PMBASE: u8 = 0x40;
/// Of the configuration space, the byte of DEVACTB with `APMC_EN`: writes to the APM control port cause SMIs.
const DEVACTB3: u8 = 0x5b;
const APMC_EN: u8 = 1 << 1;
/// Of the configuration space: bit 0 lets the power management ports appear.
const PMREGMISC: u8 = 0x80;

struct Pm {
    machine: WeakMemory,
    causes: Arc<Causes>,
    /// 64 bytes, with the registers in it.
    ports: Region,
}

impl Pm {
    fn follow(&self, function: &PciFunction) {
        let (base, enabled) = function.with_config(|config| {
            (
                u64::from(config.u16(PMBASE) & 0xffc0),
                config.u8(PMREGMISC) & 1 != 0,
            )
        });
        let old = self.ports.state().ok();
        if old.is_some_and(|old| (old.address, old.enabled) == (base, enabled)) {
            return;
        }
        let cause = || format!("PCI 00:01.3 PIIX4_PM moves its ports to {base:#x}");
        // Whether it was done, the region itself says when this next looks.
        self.causes.update(&self.machine, cause, |tx| {
            tx.set_address(&self.ports, base)?;
            tx.set_enabled(&self.ports, enabled)
        });
    }
}

impl PciBehaviour for Pm {
    fn config_written(&self, function: &PciFunction, _: u8, _: u8) {
        self.follow(function);
    }

    fn reset(&self, function: &PciFunction) {
        self.follow(function);
    }
}

/// The function 01.3. `smm` says whether there is system management mode; where there is none, firmware is told that
/// it is set up already.
///
/// # Errors
///
/// [`flatview::Error`].
pub fn piix4_pm(spaces: &PciSpaces, pm: &Arc<AcpiPm>, smm: bool) -> Result<Arc<PciFunction>, Error> {
    let owner = Owner::device("PIIX4_PM");
    let machine = &spaces.machine;
    let region = |name| machine.region(name).owner(&owner);
    let ports = region("piix4-pm").enabled(false).container(64u64);
    let events = region("acpi-evt").io(4, Arc::new(PmEvents(Arc::clone(pm))));
    let control = region("acpi-cnt").io(2, Arc::new(PmControl(Arc::clone(pm))));
    let timer = region("acpi-tmr").io(4, Arc::new(PmTimer(Arc::clone(pm))));
    machine.update(|tx| {
        tx.add_subregion(&spaces.io, 0, &ports)?;
        tx.add_subregion(&ports, 0, &events)?;
        tx.add_subregion(&ports, 4, &control)?;
        tx.add_subregion(&ports, 8, &timer)
    })?;
    let behaviour = Pm {
        machine: machine.downgrade(),
        causes: Arc::clone(&spaces.causes),
        ports,
    };
    Ok(PciFunction::builder(spaces, "PIIX4_PM", &owner, 1, 3)?
        .id(0x8086, 0x7113)
        .class(0x0680, 0, 3)
        .config(|config| {
            config.set(0x06, &[0x80, 0x02]);
            config.set(0x3d, &[1]);
            config.set(PMBASE, &[1]);
            config.set(DEVACTB3, &[if smm { 0 } else { APMC_EN }]);
            config.set(0x90, &[1]);
        })
        .build(behaviour))
}

/// The APM control and status ports, 0xb2 and 0xb3: 2 bytes, `apm-io` (82371AB, 7.3.1).
#[derive(Debug)]
pub struct Apm {
    ports: Mutex<[u8; 2]>,
    pm: Arc<AcpiPm>,
    control: Arc<Control>,
    function: Weak<PciFunction>,
}

impl Apm {
    /// The ports. Writes to the control port cause SMIs of `control`'s vCPU when `function`, the one of
    /// [`piix4_pm`], says so.
    pub fn new(pm: &Arc<AcpiPm>, control: &Arc<Control>, function: &Arc<PciFunction>) -> Arc<Apm> {
        Arc::new(Apm {
            ports: Mutex::default(),
            pm: Arc::clone(pm),
            control: Arc::clone(control),
            function: Arc::downgrade(function),
        })
    }
}

impl MemoryRegionOps for Apm {
    fn read(&self, offset: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(u64::from(lock(&self.ports)[(offset & 1) as usize]))
    }

    fn write(&self, offset: u64, _: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        let [byte, ..] = value.to_le_bytes();
        lock(&self.ports)[(offset & 1) as usize] = byte;
        if offset == 0 {
            match byte {
                ACPI_ENABLE => self.pm.enable_acpi(true),
                ACPI_DISABLE => self.pm.enable_acpi(false),
                _ => {}
            }
            let function = self.function.upgrade();
            if function.is_some_and(|function| function.read_config(DEVACTB3, 1) & u32::from(APMC_EN) != 0) {
                self.control.raise(Signals::SMI);
            }
        }
        Ok(())
    }

    fn access_rules(&self) -> flatview::AccessRules {
        let byte = flatview::AccessSizes {
            min: 1,
            max: 1,
            unaligned: false,
        };
        flatview::AccessRules {
            valid: Some(byte),
            implemented: byte,
            ..Default::default()
        }
    }
}

impl Reset for Apm {
    fn reset(&self) {
        *lock(&self.ports) = [0; 2];
    }
}
