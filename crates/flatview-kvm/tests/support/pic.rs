//! Interrupts of a controller that is not in the kernel.

use std::sync::{Arc, Mutex, MutexGuard};

use flatview_accel::{InterruptSource, Signals, VcpuConfig};
use flatview_kvm::{KvmAccelerator, KvmVcpu};

use super::{Board, real_mode_vcpu_with};

/// Hands out vectors in order, and notes what it is told.
#[derive(Debug, Default)]
pub(crate) struct Pic(Mutex<Pins>);

#[derive(Debug, Default)]
pub(crate) struct Pins {
    pub(crate) vectors: Vec<u8>,
    pub(crate) cr8: u8,
    pub(crate) apic_base: Vec<u64>,
    /// Whose INTR goes down with the last vector.
    pub(crate) vcpu: Option<VcpuConfig>,
}

impl Pic {
    pub(crate) fn pins(&self) -> MutexGuard<'_, Pins> {
        self.0.lock().unwrap()
    }
}

impl InterruptSource for Pic {
    fn acknowledge(&self) -> Option<u8> {
        let mut pins = self.pins();
        let vector = (!pins.vectors.is_empty()).then(|| pins.vectors.remove(0));
        if pins.vectors.is_empty()
            && let Some(vcpu) = &pins.vcpu
        {
            vcpu.control.clear(Signals::INTR);
        }
        vector
    }

    fn apic_base(&self) -> u64 {
        0xfee0_0900
    }

    fn set_apic_base(&self, value: u64) -> bool {
        self.pins().apic_base.push(value);
        true
    }

    fn cr8(&self) -> u8 {
        self.pins().cr8
    }

    fn set_cr8(&self, value: u8) {
        self.pins().cr8 = value;
    }
}

/// A vCPU in real mode with a [`Pic`]. All handlers of vectors 0x20 to 0x2f add 1 to BX, that of NMI adds 16 and halts.
pub(crate) fn vcpu_with_pic(
    kvm: &KvmAccelerator,
    board: &Board,
    code: &[u8],
) -> (KvmVcpu, VcpuConfig, Arc<Pic>) {
    let pic = Arc::new(Pic::default());
    let config = VcpuConfig {
        interrupts: pic.clone(),
        ..board.vcpu(0)
    };
    pic.pins().vcpu = Some(config.clone());
    let vcpu = real_mode_vcpu_with(kvm, board, code, config.clone());
    board.write(2 * 4, &[0x00, 0x12, 0, 0]);
    for vector in 0x20..0x30 {
        board.write(vector * 4, &[0x00, 0x11, 0, 0]);
    }
    board.write(0x1100, &[0x43, 0xcf]); // inc bx; iret
    board.write(0x1200, &[0x83, 0xc3, 0x10, 0xf4, 0xcf]); // add bx, 16; hlt; iret
    (vcpu, config, pic)
}

pub(crate) fn raise(config: &VcpuConfig, pic: &Pic, vectors: &[u8]) {
    pic.pins().vectors.extend(vectors);
    config.control.raise(Signals::INTR);
}
