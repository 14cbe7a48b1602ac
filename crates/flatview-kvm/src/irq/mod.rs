//! The kernel's interrupt controllers, and how interrupts get to them.
//!
//! ```text
//!   KvmIrqChip::set_irq ─┐
//!   irqfd ───────────────┴─► GSI ─► Routes ─┬─► pins of the 8259As and the I/O APIC ─┐
//!                                           └─► MSI ─────────────────────────────────┴─► local APICs
//!   KvmIrqChip::send_msi ────────────────────────────────────────────────────────────────┘
//! ```
//!
//! [`IrqChip::Kernel`] has all of it. [`IrqChip::Split`] has no pins: the board's I/O APIC sends messages, and says
//! which ones, so that the kernel knows of which vectors the board has to hear the end.

mod reset;
mod routes;

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use flatview::EventNotifier;
use flatview_accel::{AccelError, EoiListener, MsiMessage};
use kvm_bindings::{
    KVM_CAP_SPLIT_IRQCHIP, KVM_IRQFD_FLAG_DEASSIGN, KVM_IRQFD_FLAG_RESAMPLE, KVM_PIT_SPEAKER_DUMMY,
    KvmIrqRouting, kvm_irqfd, kvm_msi, kvm_pit_config,
};
use kvm_ioctls::VmFd;
use tracing::debug;

use crate::lock::lock;
use crate::vm::Vm;
use crate::{Capabilities, IrqChip, KvmConfig, KvmError, capabilities, sys};
pub use routes::{Route, Routes};

/// Pins of an I/O APIC of a board, and of the kernel's (`KVM_IOAPIC_NUM_PINS`).
const IOAPIC_PINS: u8 = 24;

/// What a virtual machine knows of its interrupt controllers.
#[derive(Debug, Default)]
pub(crate) struct Irq {
    /// As the kernel has them.
    routes: Mutex<Routes>,
    eoi: Mutex<Option<Weak<dyn EoiListener>>>,
}

impl Irq {
    /// Makes the controllers. No vCPU may be there yet.
    pub(crate) fn new(vm: &VmFd, capabilities: &Capabilities, config: &KvmConfig) -> Result<Irq, KvmError> {
        let need = |has, capability, what| match has {
            true => Ok(()),
            false => Err(KvmError::Lacks { capability, what }),
        };
        let routes = match config.irqchip {
            IrqChip::Off => Routes::default(),
            IrqChip::Kernel => {
                need(capabilities.irqchip, "KVM_CAP_IRQCHIP", "irqchip=kernel")?;
                vm.create_irq_chip().map_err(KvmError::of("KVM_CREATE_IRQCHIP"))?;
                if config.pit {
                    need(capabilities.pit, "KVM_CAP_PIT2", "a PIT in the kernel")?;
                    // The kernel takes port 0x61 as well, so that reads of it show the PIT's channel 2.
                    let pit = kvm_pit_config {
                        flags: KVM_PIT_SPEAKER_DUMMY,
                        ..kvm_pit_config::default()
                    };
                    vm.create_pit2(pit).map_err(KvmError::of("KVM_CREATE_PIT2"))?;
                }
                Routes::of_kvm()
            }
            IrqChip::Split => {
                need(
                    capabilities.split_irqchip,
                    "KVM_CAP_SPLIT_IRQCHIP",
                    "irqchip=split",
                )?;
                need(
                    capabilities.irq_routes != 0,
                    "KVM_CAP_IRQ_ROUTING",
                    "irqchip=split",
                )?;
                capabilities::enable(vm, KVM_CAP_SPLIT_IRQCHIP, IOAPIC_PINS.into())
                    .map_err(KvmError::of("KVM_ENABLE_CAP of KVM_CAP_SPLIT_IRQCHIP"))?;
                Routes::default()
            }
        };
        Ok(Irq {
            routes: Mutex::new(routes),
            eoi: Mutex::default(),
        })
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        lock(&self.routes)
    }

    fn eoi(&self) -> MutexGuard<'_, Option<Weak<dyn EoiListener>>> {
        lock(&self.eoi)
    }
}

impl Vm {
    /// A vCPU came out for the EOI of a level-triggered interrupt (`KVM_EXIT_IOAPIC_EOI`).
    pub(crate) fn ioapic_eoi(&self, vector: u8) {
        let listener = self.irq.eoi().as_ref().and_then(Weak::upgrade);
        if let Some(listener) = listener {
            listener.eoi(vector);
        }
    }

    fn irqfd(&self, gsi: u32, trigger: &EventNotifier, flags: u32, resamplefd: u32) -> io::Result<()> {
        let request = kvm_irqfd {
            fd: descriptor(trigger),
            gsi,
            flags,
            resamplefd,
            ..kvm_irqfd::default()
        };
        sys::irqfd(&self.fd, &request)
    }
}

/// The kernel's interrupt controllers. A handle: clones are the same, and keep the virtual machine.
#[derive(Clone, Debug)]
pub struct KvmIrqChip {
    vm: Arc<Vm>,
}

impl KvmIrqChip {
    /// `None`: the kernel has none.
    pub(crate) fn of(vm: &Arc<Vm>) -> Option<KvmIrqChip> {
        (vm.config.irqchip != IrqChip::Off).then(|| KvmIrqChip { vm: Arc::clone(vm) })
    }

    /// Raises or lowers the line of a global system interrupt (`KVM_IRQ_LINE`). Of one that has no route nothing comes,
    /// and a route to an MSI sends it when the line is raised.
    ///
    /// # Errors
    ///
    /// [`KvmError::Ioctl`].
    pub fn set_irq(&self, gsi: u32, level: bool) -> Result<(), KvmError> {
        self.vm
            .fd
            .set_irq_line(gsi, level)
            .map_err(KvmError::of("KVM_IRQ_LINE"))
    }

    /// Sends a message to the local APICs (`KVM_SIGNAL_MSI`). Returns whether one took it.
    ///
    /// # Errors
    ///
    /// [`KvmError::Lacks`], [`KvmError::Ioctl`].
    pub fn send_msi(&self, message: MsiMessage) -> Result<bool, KvmError> {
        if !self.vm.capabilities.signal_msi {
            return Err(KvmError::Lacks {
                capability: "KVM_CAP_SIGNAL_MSI",
                what: "a message-signalled interrupt",
            });
        }
        let (address_lo, address_hi) = routes::halves(message.address);
        let msi = kvm_msi {
            address_lo,
            address_hi,
            data: message.data,
            ..kvm_msi::default()
        };
        let taken = self
            .vm
            .fd
            .signal_msi(msi)
            .map_err(KvmError::of("KVM_SIGNAL_MSI"))?;
        Ok(taken > 0)
    }

    /// Where interrupts go now.
    pub fn routes(&self) -> Routes {
        self.vm.irq.routes().clone()
    }

    /// Changes where interrupts go: all of it at once, or nothing of it (`KVM_SET_GSI_ROUTING`). Returns what `change`
    /// returns.
    ///
    /// # Errors
    ///
    /// What `change` returns; [`KvmError::Lacks`], [`KvmError::NoFreeRoutes`]; [`KvmError::Ioctl`] for pins that the
    /// kernel does not have.
    pub fn update_routes<T>(
        &self,
        change: impl FnOnce(&mut Routes) -> Result<T, KvmError>,
    ) -> Result<T, KvmError> {
        let mut routes = self.vm.irq.routes();
        let mut new = routes.clone();
        let answer = change(&mut new)?;
        if new != *routes {
            self.commit(&new)?;
            *routes = new;
        }
        Ok(answer)
    }

    fn commit(&self, routes: &Routes) -> Result<(), KvmError> {
        let most = self.vm.capabilities.irq_routes as usize;
        if most == 0 {
            return Err(KvmError::Lacks {
                capability: "KVM_CAP_IRQ_ROUTING",
                what: "another route of an interrupt",
            });
        }
        let entries = routes.entries();
        let too_many = KvmError::NoFreeRoutes {
            needed: entries.len(),
            most,
        };
        if entries.len() > most {
            return Err(too_many);
        }
        let table = KvmIrqRouting::from_entries(&entries).map_err(|_| too_many)?;
        self.vm
            .fd
            .set_gsi_routing(&table)
            .map_err(KvmError::of("KVM_SET_GSI_ROUTING"))
    }

    /// Lets a signal of `trigger` be an interrupt, until the answer is dropped (`KVM_IRQFD`). With `resample` it is a
    /// level: it stays until the guest's EOI, which signals `resample`; whoever still wants the interrupt then signals
    /// `trigger` again. Only a kernel with all controllers does that.
    ///
    /// # Errors
    ///
    /// [`KvmError::Lacks`]; [`KvmError::IrqFd`]: `EBUSY` if `trigger` is an interrupt already, `EINVAL` if it is no
    /// eventfd or there can be no resampling.
    pub fn irqfd(
        &self,
        gsi: u32,
        trigger: &EventNotifier,
        resample: Option<&EventNotifier>,
    ) -> Result<IrqFd, KvmError> {
        if !self.vm.capabilities.irqfd {
            return Err(KvmError::Lacks {
                capability: "KVM_CAP_IRQFD",
                what: "an interrupt by eventfd",
            });
        }
        let (flags, resamplefd) = match resample {
            Some(resample) => (KVM_IRQFD_FLAG_RESAMPLE, descriptor(resample)),
            None => (0, 0),
        };
        self.vm
            .irqfd(gsi, trigger, flags, resamplefd)
            .map_err(|source| KvmError::IrqFd { gsi, source })?;
        Ok(IrqFd {
            vm: Arc::clone(&self.vm),
            gsi,
            trigger: trigger.clone(),
        })
    }
}

impl flatview_accel::IrqChip for KvmIrqChip {
    fn is_split(&self) -> bool {
        self.vm.config.irqchip == IrqChip::Split
    }

    fn set_irq(&self, gsi: u32, level: bool) {
        if let Err(error) = KvmIrqChip::set_irq(self, gsi, level) {
            debug!(gsi, level, %error, "an interrupt is lost");
        }
    }

    fn reset(&self) {
        if let Err(error) = self.vm.reset_irqchips() {
            debug!(%error, "the kernel's interrupt controllers are not reset");
        }
    }

    fn send_msi(&self, message: MsiMessage) {
        if let Err(error) = KvmIrqChip::send_msi(self, message) {
            debug!(?message, %error, "an interrupt is lost");
        }
    }

    fn set_pin_messages(&self, pins: &[Option<MsiMessage>]) -> Result<(), AccelError> {
        if !self.is_split() {
            return Err(KvmError::BadRoute {
                gsi: 0,
                why: "the I/O APIC is the kernel's",
            }
            .into());
        }
        let updated = self.update_routes(|routes| routes.set_pins(pins));
        // An I/O APIC has nobody to tell.
        Ok(updated.inspect_err(|error| debug!(%error, "ends of level-triggered interrupts are lost"))?)
    }

    fn on_eoi(&self, listener: Weak<dyn EoiListener>) {
        *self.vm.irq.eoi() = Some(listener);
    }
}

/// An eventfd that is an interrupt. Dropping it unregisters it.
#[derive(Debug)]
#[must_use = "dropping an irqfd unregisters it"]
pub struct IrqFd {
    vm: Arc<Vm>,
    gsi: u32,
    trigger: EventNotifier,
}

impl IrqFd {
    /// The global system interrupt.
    pub fn gsi(&self) -> u32 {
        self.gsi
    }
}

impl Drop for IrqFd {
    fn drop(&mut self) {
        if let Err(error) = self.vm.irqfd(self.gsi, &self.trigger, KVM_IRQFD_FLAG_DEASSIGN, 0) {
            debug!(gsi = self.gsi, %error, "an irqfd stays");
        }
    }
}

/// As the kernel wants it. An open descriptor is not negative.
fn descriptor(notifier: &EventNotifier) -> u32 {
    notifier.as_fd().as_raw_fd().cast_unsigned()
}

#[cfg(test)]
#[path = "irq_test.rs"]
mod test;
