//! Harvests of dirty pages: 1 GiB, of which a guest has written to every hundredth page before each.

use flatview::{AddressRange, DirtyClients, RamBlock};
use flatview_bench::measure::in_turns;
use flatview_kvm::KvmConfig;

use super::bare::Bare;
use super::guest::{GIB, Guest, LOW};
use super::machine::Machine;
use super::{GROUP, row, wall};
use crate::table::{Gates, Result, US};

const PAGES: usize = 1 << 18;
const STRIDE: u32 = 100;
const DIRTY: u32 = 2_622;
/// `KVM_MEM_LOG_DIRTY_PAGES`.
const LOG: u32 = 1;

/// How the kernel tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Log,
    ManualProtect,
    Ring,
}

/// Guest, and harvest through the core: from the kernel to marks, from there to a bitmap, and everything is clean.
fn ours(method: Method) -> Result<impl FnMut() -> Result<f64>> {
    let mut config = KvmConfig::default();
    config.manual_protect = method == Method::ManualProtect;
    config.dirty_ring = (method == Method::Ring).then_some(8192);
    let machine = Machine::new(config)?;
    let region = machine.memory.region("ram").ram(RamBlock::anonymous(GIB)?);
    machine.memory.update(|tx| {
        tx.add_subregion(&machine.system, GIB, &region)?;
        tx.set_log(&region, true)
    })?;
    let mut vcpu = machine.vcpu(&Guest::writes(DIRTY, STRIDE << 12))?;
    let all = AddressRange::new(0, GIB).ok_or("a gigabyte is a range")?;
    // Who begins finds everything dirty.
    let client = DirtyClients::VGA;
    machine.memory.snapshot_and_clear_dirty(&region, all, client)?;
    Ok(move || {
        machine.run(&mut vcpu, 1)?;
        let mut bitmap = None;
        let spent = wall(|| {
            bitmap = Some(machine.memory.snapshot_and_clear_dirty(&region, all, client)?);
            Ok(())
        })?;
        check(bitmap.map_or(0, |bitmap| bitmap.count()))?;
        Ok(spent)
    })
}

/// Guest, and the ioctls; what they say goes into a bitmap of everything.
fn bare(is_manual: bool) -> Result<impl FnMut() -> Result<f64>> {
    let bare = Bare::new(LOW + GIB)?;
    if is_manual {
        bare.protect_manually()?;
    }
    bare.set_slot(1, GIB, LOW, GIB, LOG)?;
    let mut vcpu = bare.vcpu(&Guest::writes(DIRTY, STRIDE << 12))?;
    let mut seen = vec![0_u64; PAGES / 64];
    let mut all = seen.clone();
    Ok(move || {
        vcpu.run(1)?;
        let spent = wall(|| {
            bare.get_dirty_log(1, &mut seen)?;
            for (all, seen) in all.iter_mut().zip(&seen) {
                *all |= seen;
            }
            match is_manual {
                true => bare.clear_dirty_log(1, &seen),
                false => Ok(()),
            }
        })?;
        check(seen.iter().map(|word| u64::from(word.count_ones())).sum())?;
        Ok(spent)
    })
}

fn check(pages: u64) -> Result<()> {
    match pages == u64::from(DIRTY) {
        true => Ok(()),
        false => Err(format!("{pages} pages are dirty, and the guest has written to {DIRTY}").into()),
    }
}

pub(super) fn harvests(gates: &mut Gates) -> Result<()> {
    for (what, method) in [
        ("harvest, log", Method::Log),
        ("harvest, manual protect", Method::ManualProtect),
    ] {
        let mut ours = ours(method)?;
        let mut bare = bare(method == Method::ManualProtect)?;
        let costs = in_turns(gates.budget * 10, [&mut ours, &mut bare])?;
        row(gates, what.into(), costs).at_most(1.1);
    }
    let mut ring = ours(Method::Ring)?;
    let [cost] = in_turns(gates.budget * 4, [&mut ring])?;
    gates.add(GROUP, "harvest, ring", "us", cost.per(US));
    Ok(())
}
