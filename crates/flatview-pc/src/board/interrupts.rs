//! The interrupt controllers of the board: all of them, or those that the accelerator leaves to it.

use std::sync::Arc;

use flatview::{Error, Region};
use flatview_accel::{InterruptSource, IrqChip, NoInterrupts, Signals};

use super::devices::Builder;
use crate::device::Reset;
use crate::irq::{
    AcceleratedApics, AcceleratedLines, CpuInterrupts, ExternalInterrupts, Gsi, InterruptSink, Ioapic,
    IrqLine, Lapic, LocalApics, Pic,
};

/// Whom the CPU asks for vectors, and where lines end.
type Controllers = (Arc<dyn InterruptSource>, Arc<dyn InterruptSink>);

/// Where the 8259As, their edge and level registers and the I/O APIC are, if the kernel has them: by QEMU's names.
const KERNELS_PORTS: [(&str, u64, u64); 4] = [
    ("kvm-pic", 0x20, 2),
    ("kvm-pic", 0xa0, 2),
    ("kvm-elcr", 0x4d0, 1),
    ("kvm-elcr", 0x4d1, 1),
];
const KERNELS_IOAPIC: (&str, u64, u64) = ("kvm-ioapic", 0xfec0_0000, 0x1000);

impl Builder<'_> {
    /// 8259A, I/O APIC and local APIC; the lines to them.
    pub(super) fn interrupt_controllers(&mut self) -> Result<Controllers, Error> {
        match &self.parts.irqchip {
            None => self.all_controllers(),
            Some(chip) if chip.is_split() => self.without_apics(chip),
            Some(chip) => self.no_controllers(chip),
        }
    }

    fn all_controllers(&mut self) -> Result<Controllers, Error> {
        let parts = self.parts;
        let lapic = Lapic::new(0, &parts.timers, Arc::clone(&parts.control));
        let pic = Pic::new(IrqLine::new(lapic.clone(), Lapic::LINT0));
        let ioapic = self.ioapic(lapic.clone())?;
        self.ports("isa-pic", Pic::regions(&pic))?;
        // Nothing that a guest maps hides it.
        self.map(&parts.spaces.system, "apic", [Lapic::region(&lapic)], 0x1000)?;
        let resets: [Arc<dyn Reset>; 3] = [pic.clone(), ioapic.clone(), lapic.clone()];
        self.resets.extend(resets);
        Ok((CpuInterrupts::new(lapic, pic.clone()), Gsi::new(pic, ioapic)))
    }

    /// The local APICs are the accelerator's.
    fn without_apics(&mut self, chip: &Arc<dyn IrqChip>) -> Result<Controllers, Error> {
        let apics = self.accelerated_apics(chip)?;
        let control = Arc::clone(&self.parts.control);
        let pic = Pic::new(IrqLine::to_fn(move |level| control.set(Signals::INTR, level)));
        let ioapic = self.ioapic(apics)?;
        self.ports("isa-pic", Pic::regions(&pic))?;
        let resets: [Arc<dyn Reset>; 2] = [pic.clone(), ioapic.clone()];
        self.resets.extend(resets);
        Ok((ExternalInterrupts::new(pic.clone()), Gsi::new(pic, ioapic)))
    }

    /// All of them are the accelerator's; what is mapped for them only shows where they are.
    fn no_controllers(&mut self, chip: &Arc<dyn IrqChip>) -> Result<Controllers, Error> {
        self.accelerated_apics(chip)?;
        let spaces = &self.parts.spaces;
        for (name, address, size) in KERNELS_PORTS {
            self.reserve(&spaces.io, (name, address, size))?;
        }
        self.reserve(&spaces.system, KERNELS_IOAPIC)?;
        let lines = AcceleratedLines::new(Arc::clone(chip));
        self.resets.push(lines.clone());
        Ok((Arc::new(NoInterrupts), lines))
    }

    fn reserve(&self, container: &Region, (name, address, size): (&str, u64, u64)) -> Result<(), Error> {
        let machine = &self.parts.spaces.machine;
        let region = machine.region(name).reservation(size);
        machine.update(|tx| tx.add_subregion(container, address, &region))?;
        Ok(())
    }

    fn ioapic(&self, apics: Arc<dyn LocalApics>) -> Result<Arc<Ioapic>, Error> {
        let ioapic = Ioapic::new(apics);
        self.map(&self.parts.spaces.system, "ioapic", [Ioapic::region(&ioapic)], 0)?;
        Ok(ioapic)
    }

    fn accelerated_apics(&self, chip: &Arc<dyn IrqChip>) -> Result<Arc<AcceleratedApics>, Error> {
        let apics = AcceleratedApics::new(Arc::clone(chip));
        let region = AcceleratedApics::region(&apics);
        self.map(&self.parts.spaces.system, "apic", [region], 0x1000)?;
        Ok(apics)
    }
}
