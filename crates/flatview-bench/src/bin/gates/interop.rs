//! What accesses through vm-memory's traits cost, beside vm-memory's own memory.

use std::hint::black_box;

use flatview::{Memory, RamBlock, Size};
use flatview_bench::addresses::{Pattern, sequential};
use flatview_bench::measure::repeat;
use flatview_bench::peers::VmMemory;
use flatview_bench::scenes::{BANK_SIZE, BANK_STRIDE};
use flatview_vm_memory::{DmaSpace, RamView};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemory};

use crate::lookups::looked_up;
use crate::table::{Gates, Result};

pub(crate) fn interop(gates: &mut Gates) -> Result<()> {
    const GROUP: &str = "interop";
    let budget = gates.budget / 2;
    for count in [1, 16, 256] {
        let memory = Memory::new();
        let system = memory.region("system").container(Size::MAX);
        let space = memory.create_address_space("memory", &system)?;
        let blocks = (0..count).map(|_| RamBlock::anonymous(BANK_SIZE));
        let blocks = blocks.collect::<std::result::Result<Vec<_>, _>>()?;
        memory.update(|tx| {
            for (address, block) in (0..)
                .step_by(usize::try_from(BANK_STRIDE).unwrap_or(1))
                .zip(&blocks)
            {
                tx.add_subregion(&system, address, &memory.region("bank").ram(block.clone()))?;
            }
            Ok(())
        })?;
        let handle = DmaSpace::new(&space);
        let (dma, ram, peer) = (handle.memory(), RamView::new(&space), VmMemory::banks(count));
        let pattern = Pattern::one_bank(count);
        let own = looked_up(budget / 2, || sequential(pattern, |a| peer.read(a).unwrap_or(0))).least;
        let (dma_cost, ram_cost) = (
            looked_up(budget, || sequential(pattern, |a| read(&*dma, a))),
            looked_up(budget, || sequential(pattern, |a| read(&ram, a))),
        );
        for (what, cost) in [("DmaView", dma_cost), ("RamView", ram_cost)] {
            gates
                .add(GROUP, format!("{what} read_obj u64, {count} ranges"), "ns", cost)
                .beside("vm-memory read_obj", own);
        }
        let taken = repeat(budget / 2, 100, || {
            for _ in 0..100 {
                black_box(handle.memory());
            }
        });
        gates.add(GROUP, format!("DmaSpace::memory, {count} ranges"), "ns", taken);
    }
    Ok(())
}

/// As the peer does: one page of each range.
fn read(memory: &impl GuestMemory, address: u64) -> u64 {
    memory.read_obj(GuestAddress(address & !0xf000)).unwrap_or(0)
}
