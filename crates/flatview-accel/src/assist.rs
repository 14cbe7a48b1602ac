//! What one accelerator cannot execute, another one does.
//!
//! An [`AssistedAccelerator`] is two of them. The vCPUs of the *first* run. One that comes out with
//! [`Exit::Unemulated`] is *repaired*: its state goes to a vCPU of the *second*, the assistant, which executes the
//! instruction on the same address spaces; the state after it goes back, and the first goes on. It takes interrupts and
//! signals; the assistant is expected to leave them alone.
//!
//! ```text
//!   first.run() ──► Unemulated ──► first.state() ──► second.set_state()
//!        ▲                                                 │
//!        └────── first.set_state() ◄── second.state() ◄── second.step()
//! ```
//!
//! If the assistant cannot do it either, or cannot have the state, [`Exit::Unemulated`] comes out as if nobody had
//! tried, and the state is what it was. [`AssistStatistics`] counts both.

use std::sync::Arc;

use flatview::{AddressSpace, FlatRange};

use crate::{
    AccelError, Accelerator, AssistStatistics, Exit, InstructionBytes, IrqChip, Vcpu, VcpuConfig, VcpuState,
};

/// When the time stamp counter is this far ahead of where it was, or behind, it was set: no repair takes so long.
const TSC_SET: u64 = 1 << 32;

/// How many bytes of an instruction without a name are shown.
const UNNAMED: usize = 4;

/// How instructions are repaired.
#[derive(Clone, Copy, Debug)]
pub struct AssistConfig {
    /// Off: vCPUs are those of the first accelerator and nothing else.
    pub enabled: bool,
    /// How many instructions the assistant executes at most before the first goes on; 0 counts as 1. More are worth it
    /// if those that the first cannot execute come together.
    pub instructions: u32,
    /// The name of an instruction, from its bytes and the width of code (16, 32, 64), for [`AssistStatistics`].
    /// Without one it is the first four bytes.
    pub name: fn(&[u8], u32) -> Option<String>,
}

impl Default for AssistConfig {
    fn default() -> AssistConfig {
        AssistConfig {
            enabled: true,
            instructions: 1,
            name: |_, _| None,
        }
    }
}

/// An accelerator, and another one for what it cannot execute.
#[derive(Debug)]
pub struct AssistedAccelerator {
    first: Arc<dyn Accelerator>,
    second: Arc<dyn Accelerator>,
    config: AssistConfig,
    statistics: Arc<AssistStatistics>,
}

impl AssistedAccelerator {
    /// `first` executes, `second` helps.
    pub fn new(
        first: Arc<dyn Accelerator>,
        second: Arc<dyn Accelerator>,
        config: AssistConfig,
    ) -> AssistedAccelerator {
        AssistedAccelerator {
            first,
            second,
            config,
            statistics: Arc::default(),
        }
    }

    /// What was repaired on all vCPUs; it can be read while they run.
    pub fn statistics(&self) -> &Arc<AssistStatistics> {
        &self.statistics
    }
}

impl Accelerator for AssistedAccelerator {
    fn name(&self) -> &'static str {
        self.first.name()
    }

    fn has_smm(&self) -> bool {
        self.first.has_smm()
    }

    fn create_vcpu(&self, config: VcpuConfig) -> Result<Box<dyn Vcpu>, AccelError> {
        if !self.config.enabled {
            return self.first.create_vcpu(config);
        }
        let second = self.second.create_vcpu(config.clone())?;
        let first = self.first.create_vcpu(config)?;
        let statistics = Arc::clone(&self.statistics);
        Ok(Box::new(Assisted::new(first, second, self.config, statistics)))
    }

    fn irqchip(&self) -> Option<Arc<dyn IrqChip>> {
        self.first.irqchip()
    }

    fn has_memory(&self, space: &AddressSpace, range: &FlatRange) -> bool {
        self.first.has_memory(space, range)
    }
}

/// A vCPU, and another one for what it cannot execute.
///
/// The time stamp counter is the first's: the assistant is given its value, but what it has counted since is not
/// handed back ([`Msrs::tsc`](crate::Msrs::tsc) is `None`). Only if it is behind afterwards, or ahead by 2³² or more,
/// the guest has set it.
#[derive(Debug)]
pub struct Assisted {
    first: Box<dyn Vcpu>,
    second: Box<dyn Vcpu>,
    config: AssistConfig,
    statistics: Arc<AssistStatistics>,
    /// How many instructions the second has executed.
    repaired: u64,
}

impl Assisted {
    /// `first` executes, `second` helps. Both have to be made from the same [`VcpuConfig`].
    pub fn new(
        first: Box<dyn Vcpu>,
        second: Box<dyn Vcpu>,
        config: AssistConfig,
        statistics: Arc<AssistStatistics>,
    ) -> Assisted {
        Assisted {
            first,
            second,
            config,
            statistics,
            repaired: 0,
        }
    }

    /// Has the second execute what the first cannot. `None`: the first can go on.
    #[cold]
    fn repair(&mut self, instruction: InstructionBytes, most: u32) -> Result<Option<Exit>, AccelError> {
        let before = self.first.state()?;
        let name = self.name(instruction, &before);
        match self.second.set_state(&before) {
            Ok(()) => {}
            Err(refusal @ AccelError::BadState { .. }) => {
                self.statistics.failed(name, Some(&refusal));
                return Ok(Some(Exit::Unemulated(instruction)));
            }
            Err(error) => return Err(error),
        }
        let mut done = 0;
        let exit = loop {
            match self.second.step()? {
                Exit::Stepped => done += 1,
                Exit::Unemulated(_) if done > 0 => break None,
                Exit::Unemulated(_) => {
                    self.statistics.failed(name, None);
                    return Ok(Some(Exit::Unemulated(instruction)));
                }
                // It executed HLT: the first finds out.
                Exit::Halted => break None,
                exit => break Some(exit),
            }
            if done >= most {
                break None;
            }
        };
        self.statistics.repaired(name, done);
        self.repaired = self.repaired.wrapping_add(u64::from(done));
        let mut after = self.second.state()?;
        after.msrs.tsc = set_tsc(before.msrs.tsc, after.msrs.tsc);
        self.first.set_state(&after)?;
        Ok(exit)
    }

    fn name(&self, instruction: InstructionBytes, state: &VcpuState) -> String {
        let bytes = instruction.as_slice();
        // Without a name the first bytes have to do: what follows is operands, and other instructions.
        (self.config.name)(bytes, state.code_bits())
            .unwrap_or_else(|| InstructionBytes::new(&bytes[..bytes.len().min(UNNAMED)]).to_string())
    }
}

/// The time stamp counter, if it was set.
fn set_tsc(before: Option<u64>, after: Option<u64>) -> Option<u64> {
    let (before, after) = (before?, after?);
    (after.wrapping_sub(before) >= TSC_SET).then_some(after)
}

impl Vcpu for Assisted {
    fn run(&mut self) -> Result<Exit, AccelError> {
        loop {
            match self.first.run()? {
                Exit::Unemulated(instruction) => {
                    if let Some(exit) = self.repair(instruction, self.config.instructions)? {
                        return Ok(exit);
                    }
                }
                exit => return Ok(exit),
            }
        }
    }

    fn step(&mut self) -> Result<Exit, AccelError> {
        match self.first.step()? {
            Exit::Unemulated(instruction) => Ok(self.repair(instruction, 1)?.unwrap_or(Exit::Stepped)),
            exit => Ok(exit),
        }
    }

    fn state(&mut self) -> Result<VcpuState, AccelError> {
        self.first.state()
    }

    fn set_state(&mut self, state: &VcpuState) -> Result<(), AccelError> {
        self.first.set_state(state)
    }

    fn reset(&mut self) -> Result<(), AccelError> {
        self.first.reset()
    }

    fn takes_interrupts(&self) -> bool {
        self.first.takes_interrupts()
    }

    fn instructions(&self) -> Option<u64> {
        Some(self.first.instructions()?.wrapping_add(self.repaired))
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_counter_that_was_set_is_told_from_one_that_went_on() {
        assert_eq!(set_tsc(Some(1000), Some(9000)), None);
        assert_eq!(set_tsc(Some(1000), Some(999)), Some(999));
        assert_eq!(set_tsc(Some(1000), Some(1 << 40)), Some(1 << 40));
        assert_eq!(set_tsc(None, Some(5)), None);
    }
}
