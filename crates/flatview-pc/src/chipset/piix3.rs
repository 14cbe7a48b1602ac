//! PIIX3: the ISA bridge, PCI function 01.0, with the routing of PCI interrupts and the reset port (Intel 82371SB data
//! sheet).

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use flatview::{Error, MemTxAttrs, MemTxError, MemoryRegionOps, Owner};

use crate::device::{Reset, lock};
use crate::irq::{InterruptSink, IrqLine};
use crate::pci::{PciBehaviour, PciFunction, PciSpaces};
use crate::request::{Request, Requests};

/// Of the configuration space: the first of four routing registers (82371SB, 2.5.5).
const PIRQRC: u8 = 0x60;

/// Brings the four PCI interrupts, PIRQA to PIRQD, to ISA interrupts as the routing registers say. Its pins are the
/// PIRQs, 0 to 3.
#[derive(Debug)]
pub struct PirqRouter {
    isa: Vec<IrqLine>,
    state: Mutex<Routes>,
}

#[derive(Debug)]
struct Routes {
    levels: [bool; 4],
    /// The registers.
    routes: [u8; 4],
}

impl PirqRouter {
    /// `isa` are the 16 ISA interrupts.
    pub fn new(isa: Vec<IrqLine>) -> Arc<PirqRouter> {
        let state = Mutex::new(Routes {
            levels: [false; 4],
            routes: [0x80; 4],
        });
        Arc::new(PirqRouter { isa, state })
    }

    /// Which PIRQ a function's interrupt pin, 0 for INTA#, is wired to: slots take turns.
    pub fn pirq(slot: u8, pin: u8) -> u8 {
        slot.wrapping_sub(1).wrapping_add(pin) & 3
    }

    fn route(&self, routes: [u8; 4]) {
        self.change(|state| state.routes = routes);
    }

    /// Tells those ISA interrupts whose level changes with the state, and no others: they are other devices', too.
    fn change(&self, change: impl FnOnce(&mut Routes)) {
        let mut state = lock(&self.state);
        let old = state.high();
        change(&mut state);
        let new = state.high();
        for (number, line) in self.isa.iter().enumerate() {
            if (old ^ new) >> number & 1 != 0 {
                line.set(new >> number & 1 != 0);
            }
        }
    }
}

impl Routes {
    /// The ISA interrupts that are high, a bit each.
    fn high(&self) -> u32 {
        let wires = self.levels.iter().zip(&self.routes).filter(|(level, _)| **level);
        wires.fold(0, |high, (_, &route)| {
            high | 1_u32.checked_shl(route.into()).unwrap_or(0)
        })
    }
}

impl InterruptSink for PirqRouter {
    fn set_irq(&self, pin: u32, level: bool) {
        self.change(|state| state.levels[pin as usize & 3] = level);
    }
}

/// The reset control port, 0xcf9: 1 byte, `piix3-reset-control` (82371SB, 2.6.2.6). It lies over the second byte of
/// 0xcf8.
#[derive(Debug)]
pub struct ResetControl {
    register: AtomicU8,
    requests: Requests,
}

impl ResetControl {
    /// Resets by `requests`.
    pub fn new(requests: &Requests) -> Arc<ResetControl> {
        Arc::new(ResetControl {
            register: AtomicU8::new(0),
            requests: requests.clone(),
        })
    }
}

impl MemoryRegionOps for ResetControl {
    fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(u64::from(self.register.load(Ordering::Relaxed)))
    }

    fn write(&self, _: u64, _: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        if value & 4 != 0 {
            self.requests.make(Request::Reset("port 0xcf9"));
        }
        // Bit 1: whether a reset is a hard one. Here all are.
        self.register
            .store(if value & 2 == 0 { 0 } else { 2 }, Ordering::Relaxed);
        Ok(())
    }
}

impl Reset for ResetControl {
    fn reset(&self) {
        self.register.store(0, Ordering::Relaxed);
    }
}

struct IsaBridge(Arc<PirqRouter>);

impl PciBehaviour for IsaBridge {
    fn config_written(&self, function: &PciFunction, offset: u8, _: u8) {
        if (PIRQRC & !3..PIRQRC + 4).contains(&offset) {
            self.0.route(routes(function));
        }
    }

    fn reset(&self, function: &PciFunction) {
        self.0.route(routes(function));
    }
}

fn routes(function: &PciFunction) -> [u8; 4] {
    function.read_config(PIRQRC, 4).to_le_bytes()
}

/// The function 01.0.
///
/// # Errors
///
/// [`flatview::Error`].
pub fn isa_bridge(spaces: &PciSpaces, router: &Arc<PirqRouter>) -> Result<Arc<PciFunction>, Error> {
    Ok(
        PciFunction::builder(spaces, "PIIX3", &Owner::device("PIIX3"), 1, 0)?
            .id(0x8086, 0x7000)
            .class(0x0601, 0, 0)
            .multifunction()
            .config(|config| {
                // The values after power-on, 82371SB, 2.5; but no command bit is set, as in QEMU.
                config.set(0x06, &[0x00, 0x02]);
                config.set(0x4c, &[0x4d, 0x00, 0x03, 0x00]);
                config.set(PIRQRC, &[0x80; 4]);
                config.set(0x69, &[0x02]);
                config.set(0x70, &[0x80]);
                config.set(0x76, &[0x0c, 0x0c, 0x02]);
                config.set(0xa0, &[0x08]);
                config.set(0xa8, &[0x0f]);
            })
            .build(IsaBridge(Arc::clone(router))),
    )
}
