//! How many bytes it takes.
//!
//! # Unsafe code
//!
//! A global allocator is an unsafe trait. This one hands every call to the system's allocator as it is and
//! counts the bytes that were asked for, while counting is on; otherwise it costs one load.

#![allow(unsafe_code, reason = "GlobalAlloc is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};

use flatview::{Error, Memory, MemoryRegionOps, RamBlock, Region, Size};
use serde::Serialize;

use crate::scenes::{Device, RAM_SIZE, WINDOW_SIZE, window_address};

static COUNTING: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicIsize = AtomicIsize::new(0);
static ALLOCATIONS: AtomicIsize = AtomicIsize::new(0);

/// The system's allocator, with a counter of the bytes asked for and not given back.
#[derive(Debug)]
pub struct CountingAllocator;

fn count(bytes: usize, sign: isize) {
    if COUNTING.load(Ordering::Relaxed) {
        LIVE.fetch_add(bytes.cast_signed() * sign, Ordering::Relaxed);
        ALLOCATIONS.fetch_add(isize::from(sign > 0), Ordering::Relaxed);
    }
}

// SAFETY: every call goes to `System` with the arguments it came with.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(layout.size(), -1);
        count(size, 1);
        // SAFETY: as the caller promised.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// What `work` asked for: bytes that it has not given back, and how often it asked. Nothing is counted unless
/// [`CountingAllocator`] is the global allocator; other threads are counted too.
pub fn allocated_by<T>(work: impl FnOnce() -> T) -> (isize, isize, T) {
    let (live, allocations) = (LIVE.load(Ordering::Relaxed), ALLOCATIONS.load(Ordering::Relaxed));
    COUNTING.store(true, Ordering::Relaxed);
    let result = work();
    COUNTING.store(false, Ordering::Relaxed);
    (
        LIVE.load(Ordering::Relaxed) - live,
        ALLOCATIONS.load(Ordering::Relaxed) - allocations,
        result,
    )
}

/// Bytes, as asked for from the allocator: its own overhead is not in them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Footprint {
    /// Of a region: made, with its name, mapped nowhere.
    pub region: f64,
    /// Of a region that is mapped in a container, the container's indices included.
    pub mapped_region: f64,
    /// Of a range in a view just rendered as a whole.
    pub range: f64,
    /// Of a range after many windows were toggled at random, which leaves chunks half full.
    pub range_after_toggles: f64,
    /// How often one toggle of a window asks for memory.
    pub allocations_of_a_toggle: f64,
}

impl Footprint {
    /// With so many regions in one container, toggled so many times.
    ///
    /// # Errors
    ///
    /// None that is expected.
    pub fn measure(count: usize, toggles: usize) -> Result<Footprint, Error> {
        let each = |bytes: isize| bytes as f64 / count as f64;
        let memory = Memory::new();
        let system = memory.region("system").container(Size::MAX);
        let ram = memory.region("ram").ram(RamBlock::unbacked(RAM_SIZE));
        memory.update(|tx| tx.add_subregion(&system, 0, &ram))?;
        let names: Vec<String> = (0..count).map(|index| format!("window{index}")).collect();
        let device: Arc<dyn MemoryRegionOps> = Arc::new(Device(0));
        let mut windows: Vec<Region> = Vec::with_capacity(count);
        let (made, ..) = allocated_by(|| {
            let make = |name: &String| memory.region(name).io(WINDOW_SIZE, Arc::clone(&device));
            windows.extend(names.iter().map(make));
        });
        let (mapped, _, result) = allocated_by(|| {
            memory.update(|tx| {
                windows
                    .iter()
                    .enumerate()
                    .try_for_each(|(index, window)| tx.add_subregion(&system, window_address(index), window))
            })
        });
        drop(result?);
        let (view, _, space) = allocated_by(|| memory.create_address_space("memory", &system));
        let _space = space?;
        let (change, allocations, result) = allocated_by(|| -> Result<(), Error> {
            let mut state = 1_usize;
            for _ in 0..toggles / 2 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let window = &windows[(state >> 33) % count];
                memory.update(|tx| tx.set_enabled(window, false))?;
                memory.update(|tx| tx.set_enabled(window, true))?;
            }
            Ok(())
        });
        result?;
        Ok(Footprint {
            region: each(made),
            mapped_region: each(made + mapped),
            range: each(view),
            range_after_toggles: each(view + change),
            allocations_of_a_toggle: allocations as f64 / toggles as f64,
        })
    }
}
