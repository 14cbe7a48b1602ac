//! What accesses cost: words of memory, devices, copies, dirty logs, preallocation.

use std::hint::black_box;
use std::time::Instant;

use flatview::{
    AddressRange, AddressSpace, DirtyBitmap, DirtyClients, Endianness, MemTxAttrs, Memory, Prealloc,
    RamBlock, Reader, Region, Size,
};
use flatview_bench::addresses::{Pattern, sequential, throughput};
use flatview_bench::measure::{Cost, repeat};
use flatview_bench::peers::{VmDevice, VmMemory};
use flatview_bench::scenes::{BANK_SIZE, Others, Windows};

use crate::lookups::{look, looked_up};
use crate::table::{Gates, MS, Result, US, exactly, ratio};

const ATTRS: MemTxAttrs = MemTxAttrs::UNSPECIFIED;
const MIB: u64 = 1 << 20;

/// Some memory at address 0 of a space.
struct Ram {
    memory: Memory,
    region: Region,
    space: AddressSpace,
    block: RamBlock,
}

impl Ram {
    fn new(size: u64) -> Result<Ram> {
        let memory = Memory::new();
        let system = memory.region("system").container(Size::MAX);
        let block = RamBlock::anonymous(size)?;
        let region = memory.region("ram").ram(block.clone());
        memory.update(|tx| tx.add_subregion(&system, 0, &region))?;
        let space = memory.create_address_space("memory", &system)?;
        space.fill(0, 1, usize::try_from(size)?, ATTRS)?;
        Ok(Ram {
            memory,
            region,
            space,
            block,
        })
    }
}

fn load(reader: &mut Reader, address: u64) -> u64 {
    reader
        .load::<u32>(address, Endianness::Little, ATTRS)
        .map_or(0, u64::from)
}

fn store(reader: &mut Reader, address: u64) -> u64 {
    let stored = reader.store::<u32>(address, 7, Endianness::Little, ATTRS);
    u64::from(stored.is_ok())
}

pub(crate) fn access(gates: &mut Gates) -> Result<()> {
    const GROUP: &str = "access";
    let budget = gates.budget / 2;
    let ram = Ram::new(BANK_SIZE)?;
    let mut reader = ram.space.reader();
    let window = ram.block.window(0, BANK_SIZE).ok_or("there is memory")?;
    let peer = VmMemory::banks(1);
    let pattern = Pattern::one_bank(1);
    // What the access itself costs, without any look-up.
    let host = window.as_ptr().cast::<std::sync::atomic::AtomicU32>();
    let bare_load = looked_up(budget, || {
        sequential(pattern, |a| u64::from(bare::load(host, a)));
    });
    let bare_store = looked_up(budget, || sequential(pattern, |a| bare::store(host, a)));
    let found = looked_up(budget, || sequential(pattern, |a| look(&mut reader, a)));
    let loaded = looked_up(budget, || sequential(pattern, |a| load(&mut reader, a)));
    let stored = looked_up(budget, || sequential(pattern, |a| store(&mut reader, a)));
    let peers = looked_up(budget / 4, || sequential(pattern, |a| peer.read(a).unwrap_or(0))).least;
    for (what, cost, bare) in [
        ("load u32, hot", loaded, bare_load),
        ("store u32, hot", stored, bare_store),
    ] {
        gates
            .add(GROUP, what, "ns", cost)
            .beside("look-up", found.least)
            .beside("bare", bare.least)
            .beside("vm-memory read_obj", peers)
            .at_most(found.least + bare.least + 1.0);
    }
    let looped = looked_up(budget / 2, || {
        sequential(pattern, |a| window.load::<u32>(a).map_or(0, u64::from));
    });
    gates.add(GROUP, "RamWindow load u32", "ns", looped);
    let released = repeat(budget / 2, 100, || {
        for _ in 0..100 {
            black_box(load(&mut reader, 0x100));
            reader.release();
        }
    });
    gates.add(GROUP, "load u32 and release", "ns", released);
    Ok(())
}

/// Accesses without any check, for comparison.
mod bare {
    use std::hint::black_box;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[expect(unsafe_code, reason = "the cost of the access alone")]
    pub(super) fn load(host: *const AtomicU32, address: u64) -> u32 {
        // SAFETY: addresses are those of a bank, which is mapped.
        unsafe { &*at(host, address) }.load(Ordering::Relaxed)
    }

    #[expect(unsafe_code, reason = "the cost of the access alone")]
    pub(super) fn store(host: *const AtomicU32, address: u64) -> u64 {
        // SAFETY: addresses are those of a bank, which is mapped.
        unsafe { &*at(host, address) }.store(7, Ordering::Relaxed);
        black_box(1)
    }

    /// The memory of [`bulk`](super::bulk) is not shorter than any buffer.
    #[expect(unsafe_code, reason = "memcpy")]
    pub(super) fn read(host: *const u8, buffer: &mut [u8]) {
        // SAFETY: the memory is mapped and as long.
        unsafe { std::ptr::copy_nonoverlapping(host, buffer.as_mut_ptr(), buffer.len()) };
    }

    #[expect(unsafe_code, reason = "memcpy")]
    pub(super) fn write(host: *mut u8, bytes: &[u8]) {
        // SAFETY: the memory is mapped and as long.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), host, bytes.len()) };
    }

    fn at(host: *const AtomicU32, address: u64) -> *const AtomicU32 {
        host.wrapping_byte_add(usize::try_from(address).unwrap_or_default())
    }
}

pub(crate) fn device(gates: &mut Gates) -> Result<()> {
    const GROUP: &str = "device";
    let budget = gates.budget / 2;
    // What a look-up took when it was all that there was, and what peers need in the figures of `peer-benchmarks.md`, part B: Cloud Hypervisor's bus, Alioth.
    for (count, part_2, cloud_hypervisor, alioth) in [
        (10, 2.7, 44.4, 21.3),
        (1_000, 12.3, 71.3, 27.3),
        (10_000, 33.3, 98.0, 42.9),
    ] {
        let scene = Windows::new(count, Others::None)?;
        let mut reader = scene.space.reader();
        let bus = VmDevice::new(count)?;
        let pattern = Pattern::windows(count);
        let found = looked_up(budget, || throughput(pattern, |a| look(&mut reader, a)));
        let peer = looked_up(budget / 4, || throughput(pattern, |a| bus.read(a))).least;
        let loaded = looked_up(budget, || throughput(pattern, |a| load(&mut reader, a)));
        let stored = looked_up(budget, || throughput(pattern, |a| store(&mut reader, a)));
        for (what, cost) in [("load", loaded), ("store", stored)] {
            gates
                .add(GROUP, format!("{what} u32, 1 of {count}"), "ns", cost)
                .beside("look-up", found.least)
                .beside("vm-device", peer)
                .beside("Cloud Hypervisor, elsewhere", cloud_hypervisor)
                .beside("Alioth, elsewhere", alioth)
                .beside("look-up, part 2", part_2)
                .at_most(
                    (found.least.max(part_2) + 10.0)
                        .min(cloud_hypervisor)
                        .min(alioth * 1.1),
                );
        }
    }
    Ok(())
}

pub(crate) fn bulk(gates: &mut Gates) -> Result<()> {
    const GROUP: &str = "bulk";
    let budget = gates.budget;
    let ram = Ram::new(MIB)?;
    let mut reader = ram.space.reader();
    let window = ram.block.window(0, MIB).ok_or("there is memory")?;
    for (name, len, limit) in [
        ("1 MiB", 1 << 20, Some(0.95)),
        ("4 KiB", 4 << 10, None),
        ("256 B", 256, None),
    ] {
        let times = ((1 << 20) / len).max(4);
        let (mut buffer, source) = (vec![0_u8; len], vec![1_u8; len]);
        // Turn by turn, as the caches of a shared machine come and go.
        let mut costs = [const { Vec::new() }; 4];
        let host = window.as_ptr();
        for _ in 0..8 {
            let mut all = |index: usize, work: &mut dyn FnMut()| {
                costs[index].push(repeat(budget / 32, times, || (0..times).for_each(|_| work())).least);
            };
            all(0, &mut || bare::read(host, black_box(&mut buffer)));
            all(1, &mut || {
                let _ = black_box(reader.read(0, &mut buffer, ATTRS));
            });
            all(2, &mut || bare::write(host, black_box(&source)));
            all(3, &mut || {
                let _ = black_box(reader.write(0, &source, ATTRS));
            });
        }
        let [bare_read, read, bare_write, write] = costs.map(Cost::of);
        for (what, cost, memcpy) in [("read", read, bare_read), ("write", write, bare_write)] {
            let row = gates.add(
                GROUP,
                format!("{what} {name}, of memcpy's speed"),
                "x",
                ratio(memcpy, cost),
            );
            row.beside("ns", cost.least).beside("memcpy ns", memcpy.least);
            limit.map(|limit| row.at_least(limit));
        }
    }
    Ok(())
}

pub(crate) fn dirty(gates: &mut Gates) -> Result<()> {
    const GROUP: &str = "dirty";
    const SIZE: u64 = 1 << 30;
    let budget = gates.budget / 2;
    let ram = Ram::new(BANK_SIZE)?;
    let mut reader = ram.space.reader();
    let pattern = Pattern::one_bank(1);
    let plain = looked_up(budget, || sequential(pattern, |a| store(&mut reader, a)));
    ram.memory.update(|tx| tx.set_log(&ram.region, true))?;
    let logged = looked_up(budget, || sequential(pattern, |a| store(&mut reader, a)));
    ram.memory
        .global_dirty_log_start(flatview::GlobalDirty::MIGRATION)?;
    let twice = looked_up(budget, || sequential(pattern, |a| store(&mut reader, a)));
    gates
        .add(
            GROUP,
            "store to a dirty page: not logged",
            "ns more",
            exactly(logged.least - plain.least),
        )
        .beside("not logged", plain.least)
        .beside("2 clients", twice.least - plain.least)
        .at_most(1.0);

    let memory = Memory::new();
    let block = RamBlock::anonymous(SIZE)?;
    let region = memory.region("ram").ram(block.clone());
    memory.update(|tx| tx.set_log(&region, true))?;
    let all = AddressRange::new(0, SIZE).ok_or("a gigabyte is a range")?;
    let mut bitmap = DirtyBitmap::new(all);
    for (what, every, limit) in [
        ("0 %", 0, None),
        ("0.1 %", 1000, None),
        ("1 %", 100, Some(13.0)),
        ("100 %", 1, None),
    ] {
        let mut harvests = Vec::new();
        let rounds = (budget.as_micros() / 200).max(20);
        for _ in 0..rounds {
            let mut random = 1_u64;
            let pages = SIZE >> 12;
            let dirty = pages.checked_div(every).unwrap_or(0);
            for index in 0..dirty {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let page = if every == 1 { index } else { random >> 46 };
                block.set_dirty(AddressRange::new(page << 12, 1).ok_or("a byte is a range")?);
            }
            bitmap.clear();
            let (spent, taken) =
                flatview_bench::measure::once(|| block.take_dirty(all, DirtyClients::VGA, &mut bitmap));
            black_box(taken);
            harvests.push(spent);
        }
        let row = gates.add(
            GROUP,
            format!("harvest 1 GiB at {what}"),
            "us",
            Cost::of(harvests).per(US),
        );
        row.beside("QEMU, elsewhere", 23.0);
        limit.map(|limit| row.at_most(limit));
    }
    Ok(())
}

pub(crate) fn prealloc(gates: &mut Gates) -> Result<()> {
    const GROUP: &str = "prealloc";
    const SIZE: u64 = 4 << 30;
    let rounds = (gates.budget.as_millis() / 50).clamp(2, 8);
    for (name, huge_pages) in [("huge pages", true), ("4 KiB pages", false)] {
        let mut costs = [Vec::new(), Vec::new()];
        let make = |threads| -> Result<f64> {
            let builder = RamBlock::builder(SIZE).huge_pages(huge_pages);
            let begin = Instant::now();
            let block = builder.prealloc(Prealloc::new(threads)).anonymous()?;
            let spent = begin.elapsed().as_nanos() as f64;
            drop(block);
            Ok(spent)
        };
        // What the host has never given before costs more than all the rest.
        make(2)?;
        for round in 0..rounds {
            for turn in 0..2 {
                let threads = 1 + (usize::try_from(round)? + turn) % 2;
                costs[threads - 1].push(make(threads)?);
            }
        }
        let [one, two] = costs.map(Cost::of);
        gates
            .add(
                GROUP,
                format!("4 GiB, {name}, 2 threads: 1"),
                "x",
                ratio(one, two),
            )
            .beside("1 thread, ms", one.least / MS)
            .beside("2 threads, ms", two.least / MS)
            .at_least(1.7);
    }
    Ok(())
}
