//! How fast this KVM is.
//!
//! Where a hypervisor runs in a virtual machine that has no hardware for it, KVM may be there and still interpret each
//! instruction of a guest's kernel: hundreds of times slower than a processor, and slower than the software CPU. Only a
//! guest tells.

use std::time::Instant;

use flatview::RamBlock;
use kvm_bindings::KVM_EXIT_HLT;
use kvm_ioctls::VcpuFd;

use crate::slots::PAGE_SIZE;
use crate::vm::Vm;
use crate::{KvmConfig, KvmError, Slot, SlotFlags};

/// Where the loop is.
const CODE: u16 = 0x100;
/// `dec cx; jnz`, again and again, and `hlt`.
const LOOP: [u8; 4] = [0x49, 0x75, 0xfd, 0xf4];
/// The first attempt: a third of a millisecond where each instruction is interpreted.
const FEW: u16 = 250;
/// The second, where the first was over too soon to tell: a tenth of a millisecond on a processor.
const MANY: u16 = u16::MAX;
/// What an exit may cost, in seconds: less does not tell anything.
const EXIT: f64 = 100e-6;

/// How many instructions this KVM executes in a second, in a loop in real mode. Takes two milliseconds: a virtual
/// machine is made for it.
///
/// # Errors
///
/// Those of [`KvmAccelerator::new`](crate::KvmAccelerator::new), and [`KvmError::Ioctl`] if the loop cannot be run.
pub fn measure_speed(config: &KvmConfig) -> Result<f64, KvmError> {
    // Before the virtual machine, so that its memory goes after it, whatever fails.
    let slot = code()?;
    let vm = Vm::new(KvmConfig {
        device: config.device.clone(),
        ..KvmConfig::default()
    })?;
    vm.set_slot(&slot)?;
    let mut vcpu = vm.fd.create_vcpu(0).map_err(KvmError::of("KVM_CREATE_VCPU"))?;
    let few = rate(&mut vcpu, FEW)?;
    match few.1 < EXIT {
        true => Ok(rate(&mut vcpu, MANY)?.0),
        false => Ok(few.0),
    }
}

/// A slot with the loop in it.
fn code() -> Result<Slot, KvmError> {
    let failed = |source| KvmError::Ioctl {
        ioctl: "mmap",
        source,
    };
    let block = RamBlock::anonymous(PAGE_SIZE).map_err(|error| failed(std::io::Error::other(error)))?;
    let window = block.window(CODE.into(), LOOP.len() as u64);
    let written = window.is_some_and(|window| window.write(0, &LOOP).is_ok());
    match block.host_address() {
        Some(host_address) if written => Ok(Slot {
            id: 0,
            gpa: 0,
            size: PAGE_SIZE,
            host_address,
            flags: SlotFlags::empty(),
            block,
            block_offset: 0,
        }),
        _ => Err(failed(std::io::ErrorKind::OutOfMemory.into())),
    }
}

/// Instructions in a second, and for how many seconds it ran.
fn rate(vcpu: &mut VcpuFd, turns: u16) -> Result<(f64, f64), KvmError> {
    let mut sregs = vcpu.get_sregs().map_err(KvmError::of("KVM_GET_SREGS"))?;
    (sregs.cs.base, sregs.cs.selector) = (0, 0);
    vcpu.set_sregs(&sregs).map_err(KvmError::of("KVM_SET_SREGS"))?;
    let mut regs = vcpu.get_regs().map_err(KvmError::of("KVM_GET_REGS"))?;
    (regs.rip, regs.rcx, regs.rflags) = (CODE.into(), turns.into(), 2);
    vcpu.set_regs(&regs).map_err(KvmError::of("KVM_SET_REGS"))?;
    let begin = Instant::now();
    loop {
        match vcpu.run() {
            Ok(_) => {}
            // A signal of somebody else's.
            Err(error) if error.errno() == libc::EINTR => continue,
            Err(error) => return Err(KvmError::of("KVM_RUN")(error)),
        }
        if vcpu.get_kvm_run().exit_reason == KVM_EXIT_HLT {
            break;
        }
        return Err(KvmError::Ioctl {
            ioctl: "KVM_RUN",
            source: std::io::Error::other(format!(
                "a loop in real mode came out with exit reason {}",
                vcpu.get_kvm_run().exit_reason
            )),
        });
    }
    let seconds = begin.elapsed().as_secs_f64().max(1e-9);
    Ok((f64::from(turns) * 2.0 / seconds, seconds))
}
