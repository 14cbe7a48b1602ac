//! Where interrupts go: the table of `KVM_SET_GSI_ROUTING`.

use std::collections::BTreeMap;

use flatview_accel::MsiMessage;
use kvm_bindings as kvm;
use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, kvm_irq_routing_entry, kvm_irq_routing_entry__bindgen_ty_1,
    kvm_irq_routing_irqchip, kvm_irq_routing_msi,
};

use super::IOAPIC_PINS;
use crate::KvmError;

/// Pins of the two 8259As together.
const PIC_PINS: u8 = 16;

/// GSIs are lower than this, whatever the number of routes (`KVM_MAX_IRQ_ROUTES`).
const GSIS: u32 = 4096;

/// Where an interrupt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// To pins of the kernel's controllers.
    Pins {
        /// Of the 8259As: 0 to 7 of the master, 8 to 15 of the slave.
        pic: Option<u8>,
        /// Of the I/O APIC: 0 to 23.
        ioapic: Option<u8>,
    },
    /// It is a message to the local APICs.
    Msi(MsiMessage),
}

/// Where each global system interrupt goes; one that has no route goes nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes(BTreeMap<u32, Route>);

impl Routes {
    /// No routes: what a split controller begins with.
    pub fn new() -> Routes {
        Routes::default()
    }

    /// As KVM makes them with all controllers in the kernel: a GSI goes to the pins of its number.
    pub fn of_kvm() -> Routes {
        let pins = |pin| Route::Pins {
            pic: (pin < PIC_PINS).then_some(pin),
            ioapic: Some(pin),
        };
        Routes((0..IOAPIC_PINS).map(|pin| (pin.into(), pins(pin))).collect())
    }

    /// As a PC's firmware tells the guest, and as QEMU has them: as [`of_kvm`](Self::of_kvm), but the PIT's interrupt,
    /// GSI 0, is at pin 2 of the I/O APIC, and GSI 2 goes nowhere (it is where the second 8259A is at the first).
    pub fn of_pc() -> Routes {
        let mut routes = Routes::of_kvm();
        let timer = Route::Pins {
            pic: Some(0),
            ioapic: Some(2),
        };
        routes.0.insert(0, timer);
        let cascade = Route::Pins {
            pic: Some(2),
            ioapic: None,
        };
        routes.0.insert(2, cascade);
        routes
    }

    /// The route of a GSI.
    pub fn get(&self, gsi: u32) -> Option<Route> {
        self.0.get(&gsi).copied()
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Route)> {
        self.0.iter().map(|(&gsi, &route)| (gsi, route))
    }

    /// Gives a GSI a route, instead of the one that it has.
    ///
    /// # Errors
    ///
    /// [`KvmError::BadRoute`]: there is no such GSI, or no such pin.
    pub fn set(&mut self, gsi: u32, route: Route) -> Result<(), KvmError> {
        let bad = |why| Err(KvmError::BadRoute { gsi, why });
        if gsi >= GSIS {
            return bad("GSIs are lower than 4096");
        }
        if let Route::Pins { pic, ioapic } = route {
            if pic.is_some_and(|pin| pin >= PIC_PINS) {
                return bad("the 8259As have 16 pins");
            }
            if ioapic.is_some_and(|pin| pin >= IOAPIC_PINS) {
                return bad("the I/O APIC has 24 pins");
            }
        }
        self.0.insert(gsi, route);
        Ok(())
    }

    /// Takes a GSI's route away.
    pub fn remove(&mut self, gsi: u32) -> Option<Route> {
        self.0.remove(&gsi)
    }

    /// Gives the lowest GSI that has no route, and that is no pin of an I/O APIC, a message. Returns it.
    ///
    /// # Errors
    ///
    /// [`KvmError::NoFreeRoutes`].
    pub fn add_msi(&mut self, message: MsiMessage) -> Result<u32, KvmError> {
        let mut gsis = IOAPIC_PINS.into()..GSIS;
        let free = gsis.find(|gsi| !self.0.contains_key(gsi));
        let gsi = free.ok_or(KvmError::NoFreeRoutes {
            needed: self.0.len() + 1,
            most: GSIS as usize,
        })?;
        self.0.insert(gsi, Route::Msi(message));
        Ok(gsi)
    }

    /// Gives the GSIs of an I/O APIC's pins these messages, and takes away those of the rest.
    pub(super) fn set_pins(&mut self, pins: &[Option<MsiMessage>]) -> Result<(), KvmError> {
        if pins.len() > IOAPIC_PINS.into() {
            return Err(KvmError::BadRoute {
                gsi: IOAPIC_PINS.into(),
                why: "the I/O APIC has 24 pins",
            });
        }
        self.0.retain(|&gsi, _| gsi >= IOAPIC_PINS.into());
        let messages = (0..).zip(pins);
        self.0
            .extend(messages.filter_map(|(gsi, &message)| Some((gsi, Route::Msi(message?)))));
        Ok(())
    }

    /// As the kernel has them.
    pub(super) fn entries(&self) -> Vec<kvm_irq_routing_entry> {
        let mut entries = Vec::new();
        for (gsi, route) in self.iter() {
            let mut add = |type_, u| {
                entries.push(kvm_irq_routing_entry {
                    gsi,
                    type_,
                    u,
                    ..kvm_irq_routing_entry::default()
                });
            };
            match route {
                Route::Pins { pic, ioapic } => {
                    let pic = pic.map(|pin| match pin.checked_sub(8) {
                        Some(pin) => (kvm::KVM_IRQCHIP_PIC_SLAVE, pin),
                        None => (kvm::KVM_IRQCHIP_PIC_MASTER, pin),
                    });
                    let ioapic = ioapic.map(|pin| (kvm::KVM_IRQCHIP_IOAPIC, pin));
                    for (irqchip, pin) in pic.into_iter().chain(ioapic) {
                        let pin = pin.into();
                        let irqchip = kvm_irq_routing_irqchip { irqchip, pin };
                        add(
                            KVM_IRQ_ROUTING_IRQCHIP,
                            kvm_irq_routing_entry__bindgen_ty_1 { irqchip },
                        );
                    }
                }
                Route::Msi(MsiMessage { address, data }) => {
                    let (address_lo, address_hi) = halves(address);
                    let msi = kvm_irq_routing_msi {
                        address_lo,
                        address_hi,
                        data,
                        ..kvm_irq_routing_msi::default()
                    };
                    add(KVM_IRQ_ROUTING_MSI, kvm_irq_routing_entry__bindgen_ty_1 { msi });
                }
            }
        }
        entries
    }
}

/// The low and the high 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "it takes a number apart")]
pub(super) fn halves(address: u64) -> (u32, u32) {
    (address as u32, (address >> 32) as u32)
}

#[cfg(test)]
#[path = "routes_test.rs"]
mod test;
