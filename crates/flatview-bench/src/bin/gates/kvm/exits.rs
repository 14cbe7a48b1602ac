//! Accesses that come out of the guest, to a device and back.

use flatview_bench::measure::in_turns;
use flatview_kvm::KvmConfig;

use super::bare::Bare;
use super::guest::{Guest, LOW};
use super::machine::Machine;
use super::{row, wall};
use crate::table::{Gates, Result};

/// Instructions of 16-bit code, with what is done.
const ACCESSES: [(&str, &[u8]); 4] = [
    // MOV EAX, [0]
    ("MMIO load u32", &[0x66, 0xa1, 0, 0]),
    // MOV [0], EAX
    ("MMIO store u32", &[0x66, 0xa3, 0, 0]),
    // IN AL, DX
    ("port load u8", &[0xec]),
    // OUT DX, AL
    ("port store u8", &[0xee]),
];

/// Real-mode guests that do nothing else.
pub(super) fn exits(gates: &mut Gates) -> Result<()> {
    const EXITS: u64 = 50;
    let each = |spent: f64| spent / EXITS as f64;
    for (what, instruction) in ACCESSES {
        let guest = Guest::exits(instruction);
        let machine = Machine::new(KvmConfig::default())?;
        let mut vcpu = machine.vcpu(&guest)?;
        let bare = Bare::new(LOW)?;
        let mut bare_vcpu = bare.vcpu(&guest)?;
        let mut ours = || wall(|| machine.run(&mut vcpu, EXITS)).map(each);
        let mut bares = || wall(|| bare_vcpu.run(EXITS)).map(each);
        let costs = in_turns(gates.budget * 2, [&mut ours, &mut bares])?;
        row(gates, what.into(), costs).at_most(1.1);
    }
    Ok(())
}
