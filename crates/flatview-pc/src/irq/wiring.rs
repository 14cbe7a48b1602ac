//! How the controllers of a PC are wired to its lines, and to its CPU.

use std::sync::{Arc, Mutex};

use flatview_accel::{InterruptSource, NoInterrupts};

use crate::device::lock;
use crate::irq::lapic::Taken;
use crate::irq::{InterruptSink, Ioapic, Lapic, Pic};

/// The global system interrupts of a PC: an [`InterruptSink`] with 24 inputs. 0 to 15 are the ISA interrupts: they go to
/// the input of that number of the 8259A pair and of the I/O APIC, except that interrupt 0 is input 2 of the I/O APIC.
/// 16 to 23 only go to the I/O APIC.
#[derive(Debug)]
pub struct Gsi {
    pic: Arc<Mutex<Pic>>,
    ioapic: Arc<Ioapic>,
    /// The levels of 0 and of 2, which share an input of the I/O APIC. Held while that is told; before all other locks.
    shared: Mutex<[bool; 2]>,
}

impl Gsi {
    /// Lines to these controllers.
    pub fn new(pic: Arc<Mutex<Pic>>, ioapic: Arc<Ioapic>) -> Arc<Gsi> {
        let shared = Mutex::default();
        Arc::new(Gsi { pic, ioapic, shared })
    }
}

impl InterruptSink for Gsi {
    fn set_irq(&self, pin: u32, level: bool) {
        if pin < 16 {
            self.pic.set_irq(pin, level);
        }
        if let 0 | 2 = pin {
            let mut shared = lock(&self.shared);
            shared[usize::from(pin == 2)] = level;
            self.ioapic.set_irq(2, shared[0] || shared[1]);
        } else {
            self.ioapic.set_irq(pin, level);
        }
    }
}

/// The interrupt controllers as the CPU sees them: its local APIC, and the 8259A pair behind that.
#[derive(Clone, Debug)]
pub struct CpuInterrupts {
    lapic: Arc<Lapic>,
    pic: Arc<Mutex<Pic>>,
}

impl CpuInterrupts {
    /// `pic` drives [`Lapic::LINT0`] of `lapic`.
    pub fn new(lapic: Arc<Lapic>, pic: Arc<Mutex<Pic>>) -> Arc<CpuInterrupts> {
        Arc::new(CpuInterrupts { lapic, pic })
    }
}

/// The 8259A pair as the CPU sees it whose local APIC is the accelerator's.
#[derive(Clone, Debug)]
pub struct ExternalInterrupts {
    pic: Arc<Mutex<Pic>>,
    apic: NoInterrupts,
}

impl ExternalInterrupts {
    /// INTR of `pic` is [`Signals::INTR`](flatview_accel::Signals::INTR).
    pub fn new(pic: Arc<Mutex<Pic>>) -> Arc<ExternalInterrupts> {
        let apic = NoInterrupts;
        Arc::new(ExternalInterrupts { pic, apic })
    }
}

impl InterruptSource for ExternalInterrupts {
    fn acknowledge(&self) -> Option<u8> {
        Some(lock(&self.pic).acknowledge())
    }

    fn apic_base(&self) -> u64 {
        self.apic.apic_base()
    }

    fn set_apic_base(&self, value: u64) -> bool {
        self.apic.set_apic_base(value)
    }

    fn cr8(&self) -> u8 {
        self.apic.cr8()
    }

    fn set_cr8(&self, value: u8) {
        self.apic.set_cr8(value);
    }
}

impl InterruptSource for CpuInterrupts {
    fn acknowledge(&self) -> Option<u8> {
        match self.lapic.acknowledge()? {
            Taken::Vector(vector) => Some(vector),
            Taken::External => Some(lock(&self.pic).acknowledge()),
        }
    }

    fn apic_base(&self) -> u64 {
        self.lapic.base()
    }

    fn set_apic_base(&self, value: u64) -> bool {
        self.lapic.set_base(value)
    }

    fn cr8(&self) -> u8 {
        self.lapic.task_priority() >> 4
    }

    fn set_cr8(&self, value: u8) {
        self.lapic.set_task_priority(value << 4);
    }
}
