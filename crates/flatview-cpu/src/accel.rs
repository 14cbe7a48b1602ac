//! The accelerator.

use flatview_accel::{AccelError, Accelerator, Vcpu, VcpuConfig};

use crate::SoftVcpu;

/// How many vCPUs a machine can have.
const VCPUS: u32 = 1;

/// Executes a machine's instructions in this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct SoftAccelerator {
    is_assistant: bool,
}

impl SoftAccelerator {
    /// One whose vCPUs execute what those of another accelerator cannot:
    /// see [the crate](crate#as-an-assistant).
    pub fn assistant() -> SoftAccelerator {
        SoftAccelerator { is_assistant: true }
    }

    /// As [`create_vcpu`](Accelerator::create_vcpu), as the type that it is.
    ///
    /// # Errors
    ///
    /// [`AccelError::TooManyVcpus`] for any but the first; [`AccelError::Memory`] if memory cannot be logged. None as an
    /// assistant.
    pub fn create_soft_vcpu(&self, config: &VcpuConfig) -> Result<SoftVcpu, AccelError> {
        if self.is_assistant {
            // It keeps no code: whether memory changes is nothing to it.
            return Ok(SoftVcpu::new(config, true));
        }
        if config.index >= VCPUS {
            return Err(AccelError::TooManyVcpus {
                index: config.index,
                most: VCPUS,
                accelerator: self.name(),
            });
        }
        config.machine.update(|tx| {
            tx.set_code_logging(true);
            Ok(())
        })?;
        Ok(SoftVcpu::new(config, false))
    }
}

impl Accelerator for SoftAccelerator {
    fn name(&self) -> &'static str {
        "soft"
    }

    fn has_smm(&self) -> bool {
        !self.is_assistant
    }

    fn create_vcpu(&self, config: VcpuConfig) -> Result<Box<dyn Vcpu>, AccelError> {
        Ok(Box::new(self.create_soft_vcpu(&config)?))
    }
}
