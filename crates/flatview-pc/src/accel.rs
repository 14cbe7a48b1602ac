//! Which accelerator a machine runs on: KVM where there is one that is worth it, the software CPU otherwise, and the
//! two together where KVM cannot execute something.

use std::fmt;
use std::sync::Arc;

use flatview_accel::{AccelError, Accelerator, AssistStatistics, AssistedInstruction};
use flatview_cpu::SoftAccelerator;
use thiserror::Error;

/// What executes the guest's instructions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccelChoice {
    /// KVM if it is usable, and fast: see [`FAST`]. The software CPU otherwise.
    #[default]
    Auto,
    /// The software CPU.
    Soft,
    /// KVM, with these options, however fast it is.
    Kvm(KvmOptions),
}

/// Options of KVM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvmOptions {
    /// The software CPU executes what KVM cannot.
    pub repair: bool,
    /// The guest sees all that the host's processor has, and not just what the software CPU has, too.
    pub host_cpu: bool,
    /// Dirty pages are told of in rings of so many entries: a power of two. `None`: in bitmaps.
    pub dirty_ring: Option<u32>,
    /// Which interrupt controllers are the kernel's.
    pub irqchip: IrqChipChoice,
}

/// Which interrupt controllers are the kernel's: QEMU's `kernel-irqchip`. The PIT is always the board's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IrqChipChoice {
    /// None.
    #[default]
    Off,
    /// The local APICs.
    Split,
    /// The local APICs, the I/O APIC and the 8259As.
    On,
}

impl Default for KvmOptions {
    fn default() -> KvmOptions {
        KvmOptions {
            repair: true,
            host_cpu: false,
            dirty_ring: None,
            irqchip: IrqChipChoice::Off,
        }
    }
}

/// [`AccelChoice::Auto`] takes a KVM that executes at least so many instructions in a second: about a third of what the
/// software CPU does (`docs/benchmarks.md`), and a tenth of what any processor does that KVM has hardware for.
pub const FAST: f64 = 100e6;

/// There is no KVM for this machine.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChooseError {
    /// It cannot be used.
    #[error(transparent)]
    Kvm(#[from] AccelError),
    /// It has a time of its own.
    #[error("KVM cannot count instructions, and the clock is to go by them")]
    Counted,
}

/// An accelerator, and how it came to be chosen.
#[derive(Clone)]
pub struct Chosen {
    accelerator: Arc<dyn Accelerator>,
    why: Option<String>,
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    kvm: Option<Arc<flatview_kvm::KvmAccelerator>>,
    repairs: Option<Arc<AssistStatistics>>,
}

/// Chooses. `counted`: the machine's clock counts instructions, which only the software CPU does.
///
/// # Errors
///
/// [`ChooseError`], where KVM was asked for. [`AccelChoice::Auto`] always finds one.
pub fn choose(choice: &AccelChoice, counted: bool) -> Result<Chosen, ChooseError> {
    match choice {
        AccelChoice::Soft => Ok(Chosen::soft(None)),
        AccelChoice::Kvm(_) if counted => Err(ChooseError::Counted),
        AccelChoice::Kvm(options) => Ok(Chosen::kvm(options)?),
        AccelChoice::Auto if counted => Ok(Chosen::soft(Some("the clock counts instructions".into()))),
        AccelChoice::Auto => Ok(automatic()),
    }
}

fn automatic() -> Chosen {
    let chosen = speed().and_then(|speed| {
        let millions = speed / 1e6;
        if speed < FAST {
            let why = format!("KVM executes only {millions:.1} million instructions a second here");
            return Ok(Chosen::soft(Some(why)));
        }
        let mut chosen = Chosen::kvm(&KvmOptions::default())?;
        chosen.why = Some(format!("it executes {millions:.0} million instructions a second"));
        Ok(chosen)
    });
    chosen.unwrap_or_else(|error| Chosen::soft(Some(error.to_string())))
}

impl Chosen {
    fn soft(why: Option<String>) -> Chosen {
        Chosen {
            accelerator: Arc::new(SoftAccelerator::default()),
            why,
            #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
            kvm: None,
            repairs: None,
        }
    }

    /// The accelerator.
    pub fn accelerator(&self) -> &Arc<dyn Accelerator> {
        &self.accelerator
    }

    /// Why this one, if that was not asked for.
    pub fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// What the accelerator has counted so far. It can be looked at while the machine runs.
    pub fn statistics(&self) -> AccelStatistics {
        let repairs = self.repairs.as_ref();
        AccelStatistics {
            counters: self.counters(),
            repaired: repairs.map_or(0, |repairs| repairs.executed()),
            not_repaired: repairs.map_or(0, |repairs| repairs.failed_repairs()),
            instructions: repairs.map(|repairs| repairs.instructions()).unwrap_or_default(),
        }
    }
}

/// What an error of an accelerator says, with all that is known: the instruction's name, where there is one, and the
/// registers. Several lines.
pub fn describe(error: &AccelError) -> String {
    let mut text = error.to_string();
    let state = match error {
        AccelError::Unemulated { instruction, state } => {
            if let Some(name) = flatview_cpu::instruction_name(instruction.as_slice(), state.code_bits()) {
                text.push_str(&format!(" (`{name}`)"));
            }
            state
        }
        AccelError::Internal { state, .. } => state,
        _ => return text,
    };
    format!("{text}\n{state}").trim_end().to_owned()
}

/// What an accelerator has counted.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AccelStatistics {
    /// What was asked of KVM, and why its vCPUs came out.
    pub counters: Vec<(&'static str, u64)>,
    /// Instructions that KVM could not execute, and the software CPU did.
    pub repaired: u64,
    /// Instructions that neither could.
    pub not_repaired: u64,
    /// Which they were, as far as there was room to remember.
    pub instructions: Vec<AssistedInstruction>,
}

/// One line for each count that is not 0.
impl fmt::Display for AccelStatistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let repairs = [("repaired", self.repaired), ("not_repaired", self.not_repaired)];
        for (name, count) in self.counters.iter().copied().chain(repairs) {
            if count != 0 {
                writeln!(f, "{name:<24}{count:>12}")?;
            }
        }
        for AssistedInstruction {
            name,
            repaired,
            failed,
            ..
        } in &self.instructions
        {
            writeln!(f, "  {name:<22}{repaired:>12} repaired, {failed} not")?;
        }
        Ok(())
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod here {
    //! KVM.

    use std::sync::Arc;

    use flatview_accel::{AccelError, AssistConfig, AssistedAccelerator};
    use flatview_cpu::SoftAccelerator;
    use flatview_kvm::{IrqChip, KvmAccelerator, KvmConfig, Routes, measure_speed};

    use super::{Chosen, IrqChipChoice, KvmOptions};

    pub(super) fn speed() -> Result<f64, AccelError> {
        Ok(measure_speed(&KvmConfig::default())?)
    }

    impl Chosen {
        pub(super) fn kvm(options: &KvmOptions) -> Result<Chosen, AccelError> {
            let mut config = KvmConfig::default();
            config.dirty_ring = options.dirty_ring;
            config.irqchip = match options.irqchip {
                IrqChipChoice::Off => IrqChip::Off,
                IrqChipChoice::Split => IrqChip::Split,
                IrqChipChoice::On => IrqChip::Kernel,
            };
            config.pit = false;
            config.cpuid = (!options.host_cpu).then(flatview_cpu::cpuid_leaves);
            let kvm = Arc::new(KvmAccelerator::new(config)?);
            if let Some(irqchip) = kvm.kvm_irqchip().filter(|_| options.irqchip == IrqChipChoice::On) {
                irqchip.update_routes(|routes| {
                    *routes = Routes::of_pc();
                    Ok(())
                })?;
            }
            let assist = AssistConfig {
                enabled: options.repair,
                name: flatview_cpu::instruction_name,
                ..AssistConfig::default()
            };
            let assistant = Arc::new(SoftAccelerator::assistant());
            let assisted = AssistedAccelerator::new(kvm.clone(), assistant, assist);
            Ok(Chosen {
                repairs: Some(Arc::clone(assisted.statistics())),
                accelerator: Arc::new(assisted),
                why: None,
                kvm: Some(kvm),
            })
        }

        /// What KVM has counted, by name.
        pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
            self.kvm
                .as_ref()
                .map(|kvm| kvm.statistics().iter().collect())
                .unwrap_or_default()
        }
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod here {
    //! No KVM.

    use flatview_accel::AccelError;

    use super::{Chosen, KvmOptions};

    pub(super) fn speed() -> Result<f64, AccelError> {
        Err(AccelError::Host {
            what: "KVM",
            source: std::io::Error::new(
                std::io::ErrorKind::Unsupported,
                "a guest of x86 needs a host of x86-64 with Linux",
            ),
        })
    }

    impl Chosen {
        pub(super) fn kvm(_: &KvmOptions) -> Result<Chosen, AccelError> {
            speed().map(|_| Chosen::soft(None))
        }

        pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
            Vec::new()
        }
    }
}

use here::speed;

impl fmt::Debug for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chosen")
            .field("accelerator", &self.accelerator)
            .field("why", &self.why)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod test {
    use flatview_accel::{InstructionBytes, VcpuState};

    use super::*;

    #[test]
    fn what_cannot_be_executed_is_named_and_the_registers_are_shown() {
        let mut state = Box::new(VcpuState::power_on(0));
        state.regs.rip = 0x1234;
        let instruction = InstructionBytes::new(&[0x0f, 0x01, 0xd0, 0x90]);
        let text = describe(&AccelError::Unemulated { instruction, state });
        let first =
            "the instruction 0f 01 d0 90 at f000:1234 cannot be executed by this accelerator (`xgetbv`)\n";
        assert!(text.starts_with(first), "{text}");
        assert!(text.contains("RIP=0000000000001234"), "{text}");
    }
}
