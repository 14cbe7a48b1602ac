//! A vCPU.
//!
//! - `page.rs`: the page that is shared with the kernel, `KVM_RUN`, and why it came back.
//! - `run.rs`: the loop, and what is done for each exit.
//! - `bus.rs`: the accesses that come out, to the address spaces.
//! - `events.rs`: what the vCPU is told from outside, and interrupts.
//! - `deadline.rs`: how it comes out in time.
//! - `state.rs`, with `convert.rs` and `msrs.rs`: the registers, read and written.
//! - `reset.rs`: power-on and INIT. `cpuid.rs`: what the processor says that it is.

mod bus;
mod convert;
mod cpuid;
mod deadline;
mod events;
mod msrs;
mod page;
mod reset;
mod run;
mod state;

use std::sync::Arc;

use flatview_accel::{AccelError, Exit, Vcpu, VcpuConfig, VcpuState};

use self::bus::Bus;
use self::deadline::DeadlineTimer;
use self::msrs::MsrSet;
use self::page::RunPage;
use self::reset::PowerOn;
use crate::accel::Attachment;
use crate::dirty::VcpuRing;
use crate::gate::Runner;
use crate::vm::Vm;
use crate::{IrqChip, KvmError};

/// A vCPU of KVM.
///
/// It does what the software CPU does, but for this: KVM has no A20 gate, so [`Signals::A20M`] is not looked at; and
/// what an [`InterruptSource`] thinks of a value that the guest has written to `IA32_APIC_BASE` comes too late for a #GP.
///
/// The kernel keeps a vCPU for as long as the virtual machine: one with the same number cannot be made again. A
/// [`Control`](flatview_accel::Control) can get one vCPU out of the guest, the first that it was given to.
///
/// [`Signals::A20M`]: flatview_accel::Signals::A20M
/// [`InterruptSource`]: flatview_accel::InterruptSource
#[derive(Debug)]
pub struct KvmVcpu {
    page: RunPage,
    bus: Bus,
    runner: Arc<Runner>,
    timer: DeadlineTimer,
    msrs: MsrSet,
    power_on: PowerOn,
    /// The registers as they were read or written last, if nothing has changed them since.
    known: Option<VcpuState>,
    /// General and system registers and events come with every exit.
    wants_registers: bool,
    /// They are in the page, and true.
    has_registers: bool,
    /// The kernel has an access to finish, the next time it runs.
    unfinished: bool,
    /// Without an APIC in the kernel: it waits for an interrupt.
    halted: bool,
    /// The kernel may have an NMI that was not delivered.
    nmi_queued: bool,
    shutdown: bool,
    if_flag: bool,
    /// Without an 8259A in the kernel: an interrupt can be injected now.
    ready_for_interrupt: bool,
    /// A vector that the kernel did not take yet.
    acknowledged: Option<u8>,
    /// Without an APIC in the kernel: what the guest has been given.
    cr8: u8,
    apic_base: u64,
    /// SMBASE, for a kernel that does not show it.
    smbase: u32,
    /// Where the kernel tells which pages it has written, unless it does so in bitmaps.
    dirty_ring: Option<VcpuRing>,
    config: VcpuConfig,
    vm: Arc<Vm>,
    #[expect(dead_code, reason = "keeps memory in the virtual machine")]
    attachment: Arc<Attachment>,
}

impl KvmVcpu {
    pub(crate) fn new(
        vm: &Arc<Vm>,
        attachment: Arc<Attachment>,
        config: VcpuConfig,
    ) -> Result<KvmVcpu, AccelError> {
        let most = vm.capabilities.max_vcpus;
        if config.index >= most {
            return Err(AccelError::TooManyVcpus {
                index: config.index,
                most,
                accelerator: "kvm",
            });
        }
        if config.control.clock().counted_shift().is_some() {
            return Err(KvmError::CountedClock.into());
        }
        let fd = vm
            .fd
            .create_vcpu(config.index.into())
            .map_err(KvmError::of("KVM_CREATE_VCPU"))?;
        vm.map_coalesced_ring(&fd)?;
        let dirty_ring = VcpuRing::new(vm, &fd)?;
        let cpuid = cpuid::table(vm, config.index)?;
        fd.set_cpuid2(&cpuid).map_err(KvmError::of("KVM_SET_CPUID2"))?;
        let power_on = PowerOn::new(&fd, cpuid::signature(&cpuid), vm.config.irqchip)?;
        let msrs = MsrSet::probe(&fd)?;
        let mut vcpu = KvmVcpu {
            page: RunPage::new(&vm.kvm, fd)?,
            bus: Bus::new(&config),
            runner: Arc::default(),
            timer: DeadlineTimer::default(),
            msrs,
            power_on,
            known: None,
            wants_registers: false,
            has_registers: false,
            unfinished: false,
            halted: false,
            nmi_queued: false,
            shutdown: false,
            if_flag: false,
            ready_for_interrupt: false,
            acknowledged: None,
            cr8: 0,
            apic_base: 0,
            smbase: 0,
            dirty_ring,
            config,
            vm: Arc::clone(vm),
            attachment,
        };
        vcpu.power_on()?;
        vcpu.vm.gate.add(&vcpu.runner);
        // Neither may live for as long as the control does.
        let (runner, vm) = (Arc::clone(&vcpu.runner), Arc::downgrade(vm));
        vcpu.config.control.on_kick(move || {
            if runner.kick()
                && let Some(vm) = vm.upgrade()
            {
                vm.counters.kicks.add(1);
            }
        });
        Ok(vcpu)
    }

    /// Whether the kernel has its local APIC.
    fn has_apic(&self) -> bool {
        self.vm.config.irqchip != IrqChip::Off
    }
}

impl Drop for KvmVcpu {
    fn drop(&mut self) {
        self.vm.gate.remove(&self.runner);
    }
}

impl Vcpu for KvmVcpu {
    fn run(&mut self) -> Result<Exit, AccelError> {
        self.run_until_exit(false)
    }

    /// An interrupt and the first instruction of its handler are one step.
    ///
    /// Some hypervisors that emulate KVM shut a vCPU down that steps in user mode. It is put back to where it was then.
    ///
    /// # Errors
    ///
    /// [`AccelError`]; with [`KvmError::CannotStep`] within it in that case.
    fn step(&mut self) -> Result<Exit, AccelError> {
        self.single_step()
    }

    fn state(&mut self) -> Result<VcpuState, AccelError> {
        self.read_state()
    }

    fn set_state(&mut self, state: &VcpuState) -> Result<(), AccelError> {
        self.write_state(state)
    }

    fn reset(&mut self) -> Result<(), AccelError> {
        self.power_on()
    }

    fn takes_interrupts(&self) -> bool {
        self.if_flag
    }

    fn instructions(&self) -> Option<u64> {
        None
    }
}
