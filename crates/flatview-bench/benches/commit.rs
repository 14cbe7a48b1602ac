//! What changes cost: toggling a window among its siblings, building, the PCI case.
#![allow(missing_docs, reason = "criterion's macros make what they make")]

mod thread_cpu;

use criterion::{BatchSize, BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main};
use flatview_bench::peers::{ClonedVec, LockedMap, VmDevice, entry};
use flatview_bench::scenes::{BusMasters, Others, Pci, Windows, window};

use thread_cpu::ThreadCpu;

const COUNTS: [usize; 4] = [10, 100, 1_000, 10_000];

/// One iteration is one change: every other hides the window, every other shows it.
fn toggle(c: &mut Criterion<ThreadCpu>) {
    let mut group = c.benchmark_group("toggle");
    for count in COUNTS {
        for (name, others) in [
            ("flatview", Others::None),
            ("flatview, 50 spaces share", Others::Sharing(50)),
            ("flatview, 50 see less", Others::Smaller(50)),
            ("flatview, 50 have a window more", Others::TwoChildren(50)),
        ] {
            let scene = Windows::new(count, others).expect("a scene");
            let mut enabled = true;
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| {
                    enabled = !enabled;
                    scene.set(count / 2, enabled).expect("a window can be toggled");
                });
            });
        }
        let vec = ClonedVec::new(count);
        let mut out = None;
        group.bench_function(BenchmarkId::new("clone and splice a vector", count), |bencher| {
            bencher.iter(|| match out.take() {
                None => out = vec.remove(count / 2),
                Some(entry) => vec.insert(entry),
            });
        });
        let map = LockedMap::new(count);
        let mut out = None;
        group.bench_function(BenchmarkId::new("map behind a lock", count), |bencher| {
            bencher.iter(|| match out.take() {
                None => out = map.remove(count / 2),
                Some(entry) => map.insert(entry),
            });
        });
        let mut bus = VmDevice::new(count).expect("no overlap");
        let mut there = true;
        group.bench_function(BenchmarkId::new("vm-device", count), |bencher| {
            bencher.iter(|| {
                match there {
                    true => bus.remove(count / 2),
                    false => bus.insert(count / 2).expect("the place is free"),
                }
                there = !there;
            });
        });
    }
    group.finish();
}

fn build(c: &mut Criterion<ThreadCpu>) {
    const COUNT: usize = 10_000;
    let mut group = c.benchmark_group("10000 at once");
    group.sample_size(20).sampling_mode(SamplingMode::Flat);
    group.bench_function("flatview: map", |bencher| {
        bencher.iter_batched(
            || Windows::unmapped(COUNT, Others::None).expect("a scene"),
            |scene| {
                scene.map_all().expect("nothing is in the way");
                scene
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("flatview: make the regions", |bencher| {
        bencher.iter_batched(
            || Windows::unmapped(0, Others::None).expect("a scene"),
            |mut scene| {
                scene.windows = (0..COUNT).map(|index| window(&scene.memory, index)).collect();
                scene
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("map behind a lock: make and insert", |bencher| {
        bencher.iter_with_large_drop(|| LockedMap::from_entries((0..COUNT).map(entry)));
    });
    group.sample_size(10);
    group.bench_function("vm-device: make and insert", |bencher| {
        bencher.iter_with_large_drop(|| VmDevice::new(COUNT).expect("no overlap"));
    });
    group.finish();
}

fn pci(c: &mut Criterion<ThreadCpu>) {
    const DEVICES: usize = 200;
    let mut group = c.benchmark_group("200 PCI devices");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for (name, masters) in [
        ("shared view", BusMasters::Sharing),
        ("as QEMU", BusMasters::SharingAndOwnBar),
        ("own views", BusMasters::TwoChildren),
    ] {
        let scene = Pci::new(DEVICES, masters).expect("a scene");
        let clear = || scene.unmap_all().expect("all are mapped");
        group.bench_function(BenchmarkId::new("place all, by device", name), |bencher| {
            bencher.iter_batched(
                || (),
                |()| {
                    scene.map_all().expect("none is mapped");
                    Cleared(clear)
                },
                BatchSize::PerIteration,
            );
        });
        group.bench_function(BenchmarkId::new("place all, by BAR", name), |bencher| {
            bencher.iter_batched(
                || (),
                |()| {
                    scene.map_all_one_by_one().expect("none is mapped");
                    Cleared(clear)
                },
                BatchSize::PerIteration,
            );
        });
        scene.map_all().expect("none is mapped");
        let mut mapped = true;
        group.bench_function(BenchmarkId::new("toggle 3 BARs of one", name), |bencher| {
            bencher.iter(|| {
                match mapped {
                    true => scene.unmap(DEVICES / 2),
                    false => scene.map(DEVICES / 2),
                }
                .expect("BARs can be toggled");
                mapped = !mapped;
            });
        });
    }
    group.finish();
}

/// Clears up when criterion drops the result, which it does not measure.
struct Cleared<F: Fn()>(F);

impl<F: Fn()> Drop for Cleared<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

criterion_group! {
    name = benches;
    config = thread_cpu::configuration();
    targets = toggle, build, pci
}
criterion_main!(benches);
