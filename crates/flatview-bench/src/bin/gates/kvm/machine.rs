//! A machine that KVM follows: low memory and a door.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flatview::{
    AddressSpace, MemTxAttrs, MemTxError, Memory, MemoryRegionOps, RamBlock, Region, Size, UnassignedIo,
};
use flatview_accel::{Clock, Control, Exit, NoInterrupts, Signals, Vcpu, VcpuConfig};
use flatview_kvm::{KvmAccelerator, KvmConfig, KvmVcpu};

use super::guest::{DOOR, Guest, LOW, PORT};
use crate::table::Result;

/// At address 0 low memory, at [`DOOR`] and [`PORT`] a device that answers with zeros.
pub(super) struct Machine {
    pub(super) memory: Memory,
    pub(super) system: Region,
    pub(super) low: RamBlock,
    pub(super) kvm: KvmAccelerator,
    space: AddressSpace,
    ports: AddressSpace,
    door: Arc<Door>,
}

/// The device. It stops the vCPU after so many accesses.
#[derive(Debug)]
struct Door {
    left: AtomicU64,
    control: Arc<Control>,
}

impl Door {
    fn knock(&self) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.control.raise(Signals::EXIT);
        }
    }
}

impl MemoryRegionOps for Door {
    fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> std::result::Result<u64, MemTxError> {
        self.knock();
        Ok(0)
    }

    fn write(&self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> std::result::Result<(), MemTxError> {
        self.knock();
        Ok(())
    }
}

impl Machine {
    pub(super) fn new(config: KvmConfig) -> Result<Machine> {
        let memory = Memory::new();
        let system = memory.region("system").container(Size::MAX);
        let io = memory.region("io").io(0x1_0000, Arc::new(UnassignedIo));
        let space = memory.create_address_space("memory", &system)?;
        let ports = memory.create_address_space("I/O", &io)?;
        let kvm = KvmAccelerator::new(config)?;
        kvm.attach(&memory, &space, &ports, None)?;
        let door = Arc::new(Door {
            left: AtomicU64::new(0),
            control: Arc::new(Control::new(Clock::host())),
        });
        let low = RamBlock::anonymous(LOW)?;
        let ram = memory.region("low").ram(low.clone());
        let window = memory.region("door").io(0x1000, Arc::<Door>::clone(&door));
        let port = memory.region("port").io(8, Arc::<Door>::clone(&door));
        memory.update(|tx| {
            tx.add_subregion(&system, 0, &ram)?;
            tx.add_subregion(&system, DOOR, &window)?;
            tx.add_subregion(&io, PORT.into(), &port)
        })?;
        Ok(Machine {
            memory,
            system,
            low,
            kvm,
            space,
            ports,
            door,
        })
    }

    /// Memory of a block of its own, mapped.
    pub(super) fn map_ram(&self, name: &str, address: u64, size: u64) -> Result<Region> {
        let ram = self.memory.region(name).ram(RamBlock::anonymous(size)?);
        self.memory
            .update(|tx| tx.add_subregion(&self.system, address, &ram))?;
        Ok(ram)
    }

    /// One transaction that shows a region or hides it.
    pub(super) fn set(&self, region: &Region, enabled: bool) -> Result<()> {
        self.memory.update(|tx| tx.set_enabled(region, enabled))?;
        Ok(())
    }

    /// The vCPU, about to run `guest`.
    pub(super) fn vcpu(&self, guest: &Guest) -> Result<KvmVcpu> {
        guest.load(&self.low)?;
        let mut vcpu = self.kvm.create_kvm_vcpu(VcpuConfig {
            index: 0,
            machine: self.memory.clone(),
            memory: self.space.clone(),
            io: self.ports.clone(),
            smm: None,
            interrupts: Arc::new(NoInterrupts),
            control: Arc::clone(&self.door.control),
        })?;
        let mut state = vcpu.state()?;
        (guest.begin)(&mut state);
        vcpu.set_state(&state)?;
        Ok(vcpu)
    }

    /// Lets it come out to the device so often.
    pub(super) fn run(&self, vcpu: &mut KvmVcpu, accesses: u64) -> Result<()> {
        self.door.left.store(accesses, Ordering::Relaxed);
        match vcpu.run()? {
            Exit::Requested => Ok(()),
            other => Err(format!("the guest came out for {other:?}").into()),
        }
    }
}
