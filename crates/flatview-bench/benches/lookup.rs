//! What looking an address up costs. One iteration is one look-up.
#![allow(missing_docs, reason = "criterion's macros make what they make")]

mod thread_cpu;

use criterion::measurement::Measurement;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};
use flatview::Reader;
use flatview_bench::addresses::{Pattern, latency, sequential, throughput};
use flatview_bench::peers::{BareStarts, LockedMap, VmDevice, VmMemory};
use flatview_bench::scenes::{Banks, Others, Windows};

use thread_cpu::{ThreadCpu, lookups};

fn look(reader: &mut Reader, address: u64) -> u64 {
    match reader.find(address) {
        Some(range) => range.start() ^ range.offset_in_region(),
        None => 0,
    }
}

fn add<M: Measurement>(
    group: &mut BenchmarkGroup<'_, M>,
    name: &str,
    count: usize,
    work: impl FnMut(),
    measure: impl Fn(&mut criterion::Bencher<'_, M>, &mut dyn FnMut()),
) {
    let mut work = work;
    group.bench_function(BenchmarkId::new(name, count), |bencher| {
        measure(bencher, &mut work)
    });
}

/// Runs the loop `$run` over every structure that is listed.
macro_rules! compare {
    ($group:ident, $run:ident, $pattern:expr, $count:expr, { $($name:literal => $find:expr),* $(,)? }) => {
        $(
            let mut find = $find;
            add(&mut $group, $name, $count, || $run($pattern, &mut find), |bencher, work| lookups(bencher, work));
        )*
    };
}

fn ram(c: &mut Criterion<ThreadCpu>) {
    for count in [1, 4, 16, 256, 10_000] {
        let scene = Banks::new(count).expect("a scene");
        let mut reader = scene.space.reader();
        let bare = BareStarts::banks(count);
        let map = LockedMap::banks(count);
        let peer = VmMemory::banks(count);
        let one = Pattern::one_bank(count);
        let mut group = c.benchmark_group("RAM, one range");
        compare!(group, sequential, one, count, {
            "flatview" => |a| look(&mut reader, a),
            "bare load" => |a| a ^ bare.load(),
            "load and binary search" => |a| bare.find(a).unwrap_or(0),
            "map behind a lock" => |a| map.find(a).unwrap_or(0),
            "vm-memory, fixed" => |a| peer.find_region(a).unwrap_or(0),
            "vm-memory, atomic" => |a| peer.find_region_atomic(a).unwrap_or(0),
            "vm-memory, fixed, read_obj" => |a| peer.read(a).unwrap_or(0),
        });
        group.finish();
        if count != 256 {
            continue;
        }
        let any = Pattern::banks(count);
        let mut group = c.benchmark_group("RAM, random range, throughput");
        compare!(group, throughput, any, count, {
            "flatview" => |a| look(&mut reader, a),
            "bare load" => |a| a ^ bare.load(),
            "load and binary search" => |a| bare.find(a).unwrap_or(0),
            "map behind a lock" => |a| map.find(a).unwrap_or(0),
            "vm-memory, fixed" => |a| peer.find_region(a).unwrap_or(0),
            "vm-memory, atomic" => |a| peer.find_region_atomic(a).unwrap_or(0),
        });
        group.finish();
        let mut group = c.benchmark_group("RAM, random range, latency");
        compare!(group, latency, any, count, {
            "flatview" => |a| look(&mut reader, a),
            "bare load" => |a| a ^ bare.load(),
            "load and binary search" => |a| bare.find(a).unwrap_or(0),
            "map behind a lock" => |a| map.find(a).unwrap_or(0),
            "vm-memory, fixed" => |a| peer.find_region(a).unwrap_or(0),
            "vm-memory, atomic" => |a| peer.find_region_atomic(a).unwrap_or(0),
        });
        group.finish();
    }
}

fn mmio(c: &mut Criterion<ThreadCpu>) {
    for count in [10, 100, 1_000, 10_000] {
        let scene = Windows::new(count, Others::None).expect("a scene");
        let mut reader = scene.space.reader();
        let bare = BareStarts::windows(count);
        let map = LockedMap::new(count);
        let bus = VmDevice::new(count).expect("no overlap");
        let any = Pattern::windows(count);
        let mut group = c.benchmark_group("MMIO, random window, throughput");
        compare!(group, throughput, any, count, {
            "flatview" => |a| look(&mut reader, a),
            "bare load" => |a| a ^ bare.load(),
            "load and binary search" => |a| bare.find(a).unwrap_or(0),
            "map behind a lock" => |a| map.find(a).unwrap_or(0),
            "vm-device" => |a| bus.find(a).unwrap_or(0),
        });
        group.finish();
        let mut group = c.benchmark_group("MMIO, random window, latency");
        compare!(group, latency, any, count, {
            "flatview" => |a| look(&mut reader, a),
            "bare load" => |a| a ^ bare.load(),
            "load and binary search" => |a| bare.find(a).unwrap_or(0),
            "map behind a lock" => |a| map.find(a).unwrap_or(0),
            "vm-device" => |a| bus.find(a).unwrap_or(0),
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = thread_cpu::configuration();
    targets = ram, mmio
}
criterion_main!(benches);
