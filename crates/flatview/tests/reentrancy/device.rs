//! A device that does DMA when it is read.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use flatview::{AddressSpace, Endianness, MemTxAttrs, MemTxError, MemoryRegionOps, Region, RegionBuilder};

use super::support::Board;

/// Who is not a device.
pub(crate) const CPU: MemTxAttrs = MemTxAttrs {
    unspecified: false,
    ..MemTxAttrs::UNSPECIFIED
};

const DEVICE: MemTxAttrs = MemTxAttrs {
    requester_id: 1,
    ..CPU
};

pub(crate) struct Dma {
    aim: Mutex<Option<Aim>>,
    then: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
    calls: AtomicUsize,
    results: Mutex<Vec<Result<u32, MemTxError>>>,
}

#[derive(Clone)]
struct Aim {
    space: AddressSpace,
    address: u64,
    /// Also when another device reads it.
    for_all: bool,
}

impl Dma {
    pub(crate) fn new() -> Arc<Dma> {
        Arc::new(Dma {
            aim: Mutex::new(None),
            then: Mutex::new(None),
            calls: AtomicUsize::new(0),
            results: Mutex::default(),
        })
    }

    /// Lets it read there when the CPU reads it.
    pub(crate) fn aim(&self, space: &AddressSpace, address: u64) {
        self.set_aim(space, address, false);
    }

    /// Lets it read there when anybody reads it.
    pub(crate) fn aim_for_all(&self, space: &AddressSpace, address: u64) {
        self.set_aim(space, address, true);
    }

    fn set_aim(&self, space: &AddressSpace, address: u64, for_all: bool) {
        let space = space.clone();
        *self.aim.lock().unwrap() = Some(Aim {
            space,
            address,
            for_all,
        });
    }

    /// Lets it do something when it is read.
    pub(crate) fn then(&self, then: impl Fn() + Send + Sync + 'static) {
        self.rest();
        *self.then.lock().unwrap() = Some(Arc::new(then));
    }

    /// Nothing more.
    pub(crate) fn rest(&self) {
        *self.aim.lock().unwrap() = None;
        *self.then.lock().unwrap() = None;
    }

    /// How often it was called.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// What its DMA found since somebody asked.
    pub(crate) fn dma(&self) -> Vec<Result<u32, MemTxError>> {
        std::mem::take(&mut self.results.lock().unwrap())
    }
}

impl MemoryRegionOps for Dma {
    fn read(&self, _: u64, _: u32, attrs: MemTxAttrs) -> Result<u64, MemTxError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let aim = self.aim.lock().unwrap().clone();
        if let Some(aim) = aim.filter(|aim| attrs == CPU || aim.for_all) {
            let found = aim.space.load(aim.address, Endianness::Little, DEVICE);
            self.results.lock().unwrap().push(found);
        }
        let then = self.then.lock().unwrap().clone();
        if let Some(then) = then {
            then();
        }
        Ok(7)
    }

    fn write(&self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Maps 0x100 bytes of the device.
pub(crate) fn place<'a>(
    board: &'a Board,
    address: u64,
    device: &Arc<Dma>,
    change: impl FnOnce(RegionBuilder<'a>) -> RegionBuilder<'a>,
) -> Region {
    let region = change(board.memory.region("device")).io(0x100_u64, Arc::clone(device) as _);
    board.map(&board.system, address, &region);
    region
}

/// The CPU reads.
pub(crate) fn load(board: &Board, address: u64) -> Result<u32, MemTxError> {
    board.space.load(address, Endianness::Little, CPU)
}
