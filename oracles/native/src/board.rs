//! The smallest machine that a vCPU runs in: memory, and nothing that interrupts.

use std::sync::Arc;

use flatview::{AddressSpace, MemTxAttrs, Memory, RamBlock, Size};
use flatview_accel::{Accelerator, Clock, Control, InterruptSource, Vcpu, VcpuConfig};
use thiserror::Error;

/// Why a board could not be made, or did not run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BoardError {
    /// No memory.
    #[error(transparent)]
    Ram(#[from] flatview::RamError),
    /// A region that does not fit.
    #[error(transparent)]
    Memory(#[from] flatview::Error),
    /// No vCPU, or it refused.
    #[error(transparent)]
    Accelerator(#[from] flatview_accel::AccelError),
}

/// A vCPU with memory.
#[derive(Debug)]
pub struct Board {
    /// The vCPU.
    pub vcpu: Box<dyn Vcpu>,
    space: AddressSpace,
    control: Arc<Control>,
    /// Without it the space would be empty.
    _machine: Memory,
}

impl Board {
    /// RAM at these addresses, of these sizes, in bytes.
    ///
    /// # Errors
    ///
    /// [`BoardError`].
    pub fn new(accelerator: &dyn Accelerator, ram: &[(u64, u64)]) -> Result<Board, BoardError> {
        let machine = Memory::new();
        let system = machine.region("system").container(Size::MAX);
        let ports = machine.region("io").container(0x1_0000);
        for &(base, size) in ram {
            let block = machine
                .region(&format!("ram@{base:#x}"))
                .ram(RamBlock::anonymous(size)?);
            machine.update(|tx| tx.add_subregion(&system, base, &block))?;
        }
        let space = machine.create_address_space("memory", &system)?;
        let control = Arc::new(Control::new(Clock::counted(0)));
        let vcpu = accelerator.create_vcpu(VcpuConfig {
            index: 0,
            memory: space.clone(),
            io: machine.create_address_space("I/O", &ports)?,
            smm: None,
            interrupts: Arc::new(Quiet),
            control: Arc::clone(&control),
            machine: machine.clone(),
        })?;
        Ok(Board {
            vcpu,
            space,
            control,
            _machine: machine,
        })
    }

    /// Lets the vCPU run for so many instructions from now on, at most.
    pub fn allow(&self, instructions: u64) {
        self.control
            .set_deadline(self.control.clock().now() + instructions);
    }

    /// Reads memory; what is not there is zeroes.
    pub fn read(&self, address: u64, buffer: &mut [u8]) {
        if self.space.read(address, buffer, MemTxAttrs::UNSPECIFIED).is_err() {
            buffer.fill(0);
        }
    }

    /// Writes memory, as a device would. What is not there takes nothing.
    pub fn write(&self, address: u64, bytes: &[u8]) {
        let _ = self.space.write(address, bytes, MemTxAttrs::UNSPECIFIED);
    }
}

/// Interrupt controllers that have nothing to say.
#[derive(Debug)]
struct Quiet;

impl InterruptSource for Quiet {
    fn acknowledge(&self) -> Option<u8> {
        None
    }

    fn apic_base(&self) -> u64 {
        0xfee0_0900
    }

    fn set_apic_base(&self, _: u64) -> bool {
        true
    }

    fn cr8(&self) -> u8 {
        0
    }

    fn set_cr8(&self, _: u8) {}
}
