//! A vCPU.

use std::sync::Arc;

use flatview_accel::{AccelError, Exit, Vcpu, VcpuConfig, VcpuState};

use crate::accel::Attachment;
use crate::vm::Vm;

/// A vCPU of KVM.
#[derive(Debug)]
pub struct KvmVcpu {
    vm: Arc<Vm>,
    config: VcpuConfig,
    #[expect(dead_code, reason = "keeps memory in the virtual machine")]
    attachment: Arc<Attachment>,
}

impl KvmVcpu {
    pub(crate) fn new(
        vm: &Arc<Vm>,
        attachment: Arc<Attachment>,
        config: VcpuConfig,
    ) -> Result<KvmVcpu, AccelError> {
        Ok(KvmVcpu {
            vm: Arc::clone(vm),
            config,
            attachment,
        })
    }
}

impl Vcpu for KvmVcpu {
    fn run(&mut self) -> Result<Exit, AccelError> {
        todo!()
    }

    fn step(&mut self) -> Result<Exit, AccelError> {
        todo!()
    }

    fn state(&mut self) -> Result<VcpuState, AccelError> {
        todo!()
    }

    fn set_state(&mut self, _: &VcpuState) -> Result<(), AccelError> {
        todo!()
    }

    fn reset(&mut self) -> Result<(), AccelError> {
        todo!()
    }

    fn takes_interrupts(&self) -> bool {
        todo!()
    }

    fn instructions(&self) -> Option<u64> {
        None
    }
}
