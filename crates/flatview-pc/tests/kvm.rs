//! The machine on KVM: it does what it does on the software CPU.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flatview::{AddressSpace, FlatRange};
use flatview_accel::{AccelError, Accelerator, Clock, Exit, Vcpu, VcpuConfig, VcpuState};
use flatview_cpu::SoftAccelerator;
use flatview_kvm::{KvmAccelerator, KvmConfig};
use flatview_pc::accel::{AccelChoice, ChooseError, Chosen, IrqChipChoice, KvmOptions, choose};
use flatview_pc::machine::End;
use support::{DEMO_SAYS, Guest, demo, kvm_guest};

fn chosen(options: KvmOptions) -> Option<Chosen> {
    flatview_testkit::kvm().then(|| choose(&AccelChoice::Kvm(options), false).unwrap())
}

/// The boot sector of the demonstration, under SeaBIOS, and what KVM was told meanwhile.
#[test]
fn the_demonstration_says_the_same() {
    for irqchip in [IrqChipChoice::Off, IrqChipChoice::Split, IrqChipChoice::On] {
        let Some(chosen) = chosen(KvmOptions {
            irqchip,
            ..KvmOptions::default()
        }) else {
            return;
        };
        let Some(mut guest) = kvm_guest(64, &**chosen.accelerator(), demo()) else {
            return;
        };
        assert_eq!(guest.pc.machine().run().unwrap(), End::PowerOff, "{irqchip:?}");
        assert_eq!(guest.serial.get().replace('\r', ""), DEMO_SAYS, "{irqchip:?}");
        // SeaBIOS opens and closes PAM; RAM that a guest sees read only is so for KVM, too (D2).
        let accelerator = chosen.accelerator();
        let space = guest.pc.memory_space();
        for range in space.view().iter() {
            let is_memory = range.region().ram_block().is_some();
            assert_eq!(accelerator.has_memory(space, range), is_memory, "{range:?}");
        }
    }
}

/// 32-bit code that KVM may not be able to emulate, as on machines without hardware for it: then somebody helps.
#[test]
fn u_boot_gets_as_far_as_with_the_software_cpu() {
    let Some(rom) = flatview_testkit::file("u-boot", "/usr/lib/u-boot/qemu-x86/u-boot.rom") else {
        return;
    };
    let Some(chosen) = chosen(KvmOptions::default()) else {
        return;
    };
    let rom = std::fs::read(rom).unwrap();
    let mut guest = Guest::on(&**chosen.accelerator(), 128, rom, None, vec![], |config| {
        config.clock = Clock::host();
    });
    guest.run_until_serial(0, "Hit any key to stop autoboot");
    eprintln!("{}", chosen.statistics());
}

/// Two accelerators, of which now one and now the other has the vCPU.
#[derive(Debug)]
struct Alternating {
    kvm: KvmAccelerator,
    soft: SoftAccelerator,
    moves: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Alternates {
    vcpus: [Box<dyn Vcpu>; 2],
    current: usize,
    moves: Arc<AtomicU64>,
}

impl Accelerator for Alternating {
    fn name(&self) -> &'static str {
        "alternating"
    }

    fn has_smm(&self) -> bool {
        false
    }

    fn create_vcpu(&self, config: VcpuConfig) -> Result<Box<dyn Vcpu>, AccelError> {
        let kvm = self.kvm.create_vcpu(config.clone())?;
        let soft = self.soft.create_vcpu(config)?;
        Ok(Box::new(Alternates {
            vcpus: [kvm, soft],
            current: 0,
            moves: Arc::clone(&self.moves),
        }))
    }

    fn has_memory(&self, space: &AddressSpace, range: &FlatRange) -> bool {
        self.kvm.has_memory(space, range)
    }
}

impl Alternates {
    fn current(&mut self) -> &mut dyn Vcpu {
        &mut *self.vcpus[self.current]
    }
}

impl Vcpu for Alternates {
    fn run(&mut self) -> Result<Exit, AccelError> {
        let exit = self.current().run()?;
        if exit == Exit::Deadline {
            let state = self.current().state()?;
            self.current = 1 - self.current;
            // What it had translated is of a time when the other one did not write memory.
            self.current().reset()?;
            self.current().set_state(&state)?;
            assert_eq!(self.current().state()?.regs, state.regs);
            self.moves.fetch_add(1, Ordering::Relaxed);
        }
        Ok(exit)
    }

    fn step(&mut self) -> Result<Exit, AccelError> {
        self.current().step()
    }

    fn state(&mut self) -> Result<VcpuState, AccelError> {
        self.current().state()
    }

    fn set_state(&mut self, state: &VcpuState) -> Result<(), AccelError> {
        self.current().set_state(state)
    }

    fn reset(&mut self) -> Result<(), AccelError> {
        self.current().reset()
    }

    fn takes_interrupts(&self) -> bool {
        self.vcpus[self.current].takes_interrupts()
    }

    fn instructions(&self) -> Option<u64> {
        None
    }
}

/// SeaBIOS and the demonstration, in real mode and protected mode, with interrupts and DMA in flight: every time a timer
/// is due the guest goes on with the other CPU.
#[test]
fn a_machine_that_changes_its_cpu_all_the_time_boots() {
    if !flatview_testkit::kvm() {
        return;
    }
    let mut config = KvmConfig::default();
    config.cpuid = Some(flatview_cpu::cpuid_leaves());
    let accelerator = Alternating {
        kvm: KvmAccelerator::new(config).unwrap(),
        soft: SoftAccelerator::default(),
        moves: Arc::default(),
    };
    let Some(mut guest) = kvm_guest(64, &accelerator, demo()) else {
        return;
    };
    assert_eq!(guest.pc.machine().run().unwrap(), End::PowerOff);
    assert_eq!(guest.serial.get().replace('\r', ""), DEMO_SAYS);
    assert!(accelerator.moves.load(Ordering::Relaxed) >= 10);
}

#[test]
fn a_clock_that_counts_instructions_is_not_for_kvm() {
    let kvm = AccelChoice::Kvm(KvmOptions::default());
    assert!(matches!(choose(&kvm, true), Err(ChooseError::Counted)));
    let chosen = choose(&AccelChoice::Auto, true).unwrap();
    assert_eq!(chosen.accelerator().name(), "soft");
    assert_eq!(chosen.why(), Some("the clock counts instructions"));
}

#[test]
fn what_is_chosen_by_itself_says_why() {
    let chosen = choose(&AccelChoice::Auto, false).unwrap();
    let why = chosen.why().unwrap();
    match chosen.accelerator().name() {
        "kvm" => assert!(why.contains("million instructions a second"), "{why}"),
        _ => assert!(
            why.contains("KVM executes only") || why.contains("/dev/kvm"),
            "{why}"
        ),
    }
    assert_eq!(choose(&AccelChoice::Soft, false).unwrap().why(), None);
}
