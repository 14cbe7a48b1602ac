//! The accelerator.

use std::sync::{Arc, Mutex};

use flatview::{AddressSpace, FlatRange, Memory, Registration, Size};
use flatview_accel::{AccelError, Accelerator, IrqChip, Vcpu, VcpuConfig};

use crate::coalesced::Drained;
use crate::io::{Bus, KvmIoListener};
use crate::lock::lock;
use crate::memory::KvmMemoryListener;
use crate::slots::SlotTable;
use crate::vm::Vm;
use crate::{Capabilities, KvmConfig, KvmError, KvmIrqChip, KvmVcpu, Slot, Statistics};

/// A virtual machine of KVM: its memory follows address spaces, and it makes vCPUs.
#[derive(Debug)]
pub struct KvmAccelerator {
    pub(crate) vm: Arc<Vm>,
    attached: Mutex<Option<Arc<Attachment>>>,
}

/// The address spaces that the virtual machine follows. vCPUs keep it.
#[derive(Debug)]
pub(crate) struct Attachment {
    /// By number of the address space.
    spaces: Vec<AddressSpace>,
    io: AddressSpace,
    #[expect(dead_code, reason = "dropping it unregisters the listeners")]
    registrations: Vec<Registration>,
    #[expect(dead_code, reason = "dropping it takes the ring of coalesced writes away")]
    drained: Drained,
}

impl Attachment {
    fn check(&self, spaces: &[AddressSpace], io: &AddressSpace) -> Result<(), KvmError> {
        if self.spaces == spaces && self.io == *io {
            return Ok(());
        }
        Err(KvmError::OtherSpaces {
            has: names(&self.spaces, &self.io),
            asked: names(spaces, io),
        })
    }
}

fn names(spaces: &[AddressSpace], io: &AddressSpace) -> Box<[Box<str>]> {
    let all = spaces.iter().chain([io]);
    all.map(|space| space.name().into()).collect()
}

impl KvmAccelerator {
    /// Opens KVM and makes a virtual machine.
    ///
    /// # Errors
    ///
    /// [`KvmError::Open`] where there is no KVM, or not for this user; [`KvmError::ApiVersion`]; [`KvmError::Lacks`]
    /// for what the configuration asks for; [`KvmError::BadOption`]; [`KvmError::Ioctl`].
    pub fn new(config: KvmConfig) -> Result<KvmAccelerator, KvmError> {
        Ok(KvmAccelerator {
            vm: Arc::new(Vm::new(config)?),
            attached: Mutex::default(),
        })
    }

    /// What the kernel can do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.vm.capabilities
    }

    #[cfg(test)]
    pub(crate) fn vm(&self) -> &Vm {
        &self.vm
    }

    /// What was asked of the kernel so far.
    pub fn statistics(&self) -> Statistics {
        self.vm.counters.snapshot()
    }

    /// The memory slots that the kernel has of address space `address_space` (0: memory; 1: in system management mode),
    /// ascending by address.
    pub fn slots(&self, address_space: usize) -> Vec<Slot> {
        self.vm
            .slots
            .get(address_space)
            .map(|slots| {
                let slots = lock(slots);
                slots.iter().cloned().collect()
            })
            .unwrap_or_default()
    }

    /// The kernel's interrupt controllers; `None` with [`IrqChip::Off`](crate::IrqChip::Off).
    pub fn kvm_irqchip(&self) -> Option<KvmIrqChip> {
        KvmIrqChip::of(&self.vm)
    }

    /// How many memory slots there can still be (rule W13): of the address space that has the fewest left.
    pub fn free_slots(&self) -> usize {
        let free = |slots: &Mutex<SlotTable>| {
            let slots = lock(slots);
            slots.most() - slots.len()
        };
        self.vm.slots.iter().map(free).min().unwrap_or_default()
    }

    /// Lets the virtual machine follow address spaces from now on: its memory is that of `memory`, its ports are those
    /// of `io`, and its memory in system management mode is that of `smm`, where the kernel
    /// [has one](Accelerator::has_smm). They are spaces of `machine`.
    ///
    /// Whoever makes a vCPU need not call this: the first one does it. It is for those who want memory in the kernel
    /// without vCPUs. With the same spaces it can be called again.
    ///
    /// # Errors
    ///
    /// [`AccelError::Memory`] if the kernel does not take what the spaces show; [`KvmError::OtherSpaces`] in an
    /// [`AccelError::Host`] if it follows others.
    pub fn attach(
        &self,
        machine: &Memory,
        memory: &AddressSpace,
        io: &AddressSpace,
        smm: Option<&AddressSpace>,
    ) -> Result<(), AccelError> {
        self.attachment(machine, memory, io, smm).map(drop)
    }

    pub(crate) fn attachment(
        &self,
        machine: &Memory,
        memory: &AddressSpace,
        io: &AddressSpace,
        smm: Option<&AddressSpace>,
    ) -> Result<Arc<Attachment>, AccelError> {
        let smm = smm.filter(|_| self.has_smm());
        let spaces: Vec<AddressSpace> = [memory].into_iter().chain(smm).cloned().collect();
        let mut attached = lock(&self.attached);
        if let Some(attached) = &*attached {
            attached.check(&spaces, io)?;
            return Ok(Arc::clone(attached));
        }
        let mut registrations = Vec::new();
        for (index, space) in spaces.iter().enumerate() {
            registrations.push(space.register(Arc::new(KvmMemoryListener::new(&self.vm, index)))?);
        }
        // The kernel has one bus for memory, and no other for system management mode.
        for (space, bus) in [(memory, Bus::Memory), (io, Bus::Ports)] {
            registrations.push(space.register(Arc::new(KvmIoListener::new(&self.vm, bus)))?);
        }
        let new = Arc::new(Attachment {
            spaces,
            io: io.clone(),
            registrations,
            drained: Drained::new(&self.vm, machine, memory, io),
        });
        *attached = Some(Arc::clone(&new));
        Ok(new)
    }

    /// As [`create_vcpu`](Accelerator::create_vcpu), as the type that it is.
    ///
    /// # Errors
    ///
    /// [`AccelError`].
    pub fn create_kvm_vcpu(&self, config: VcpuConfig) -> Result<KvmVcpu, AccelError> {
        let VcpuConfig {
            machine,
            memory,
            io,
            smm,
            ..
        } = &config;
        let attachment = self.attachment(machine, memory, io, smm.as_ref())?;
        KvmVcpu::new(&self.vm, attachment, config)
    }
}

impl Accelerator for KvmAccelerator {
    fn name(&self) -> &'static str {
        "kvm"
    }

    fn has_smm(&self) -> bool {
        self.vm.capabilities.has_smm()
    }

    fn create_vcpu(&self, config: VcpuConfig) -> Result<Box<dyn Vcpu>, AccelError> {
        Ok(Box::new(self.create_kvm_vcpu(config)?))
    }

    fn irqchip(&self) -> Option<Arc<dyn IrqChip>> {
        self.kvm_irqchip()
            .map(|irqchip| Arc::new(irqchip) as Arc<dyn IrqChip>)
    }

    /// Rule W14.
    fn has_memory(&self, space: &AddressSpace, range: &FlatRange) -> bool {
        let attached = lock(&self.attached).clone();
        let index = attached.and_then(|attached| attached.spaces.iter().position(|other| other == space));
        let Some(slots) = index.and_then(|index| self.vm.slots.get(index)) else {
            return false;
        };
        let slots = lock(slots);
        let most = self.vm.max_slot_size();
        slots
            .at(range.start())
            .is_some_and(|slot| Size::from(slot.size) == range.size().min(most.into()))
    }
}
