//! Memory that is populated, bound to nodes, thrown away, replaced and written back: rules Q20, Q21, Q24, R2, R6.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/host.rs"]
mod host;

use std::fs;
use std::sync::{Arc, Mutex};

use flatview::{
    AddressRange, MemfdOptions, NumaMode, NumaPolicy, Prealloc, RamBlock, RamBlockBuilder, RamError,
};
use host::{load, resident, store};

const PAGE: u64 = 0x1000;
const MIB: u64 = 1 << 20;

fn bytes(start: u64, size: u64) -> AddressRange {
    AddressRange::new(start, size).unwrap()
}

/// One of each kind of memory.
fn all_kinds(
    builder: impl Fn() -> RamBlockBuilder,
    folder: &std::path::Path,
) -> Vec<(&'static str, RamBlock)> {
    let path = folder.join("ram");
    vec![
        ("anonymous", builder().anonymous().unwrap()),
        ("shared", builder().share(true).anonymous().unwrap()),
        ("memory file", builder().memfd(MemfdOptions::default()).unwrap()),
        (
            "private memory file",
            builder().share(false).memfd(MemfdOptions::default()).unwrap(),
        ),
        ("file", builder().share(true).file(&path, PAGE).unwrap()),
        ("private file", builder().file(&path, PAGE).unwrap()),
    ]
}

/// R2: all pages are there before the block is.
#[test]
fn memory_is_populated_before_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, block) in all_kinds(|| RamBlock::builder(20 * MIB + PAGE), folder.path()) {
        assert_eq!(resident(&block), 0, "{kind}: nothing is there unless asked for");
    }
    for threads in [0, 1, 2, 5] {
        let builder = || RamBlock::builder(20 * MIB + PAGE).prealloc(Prealloc::new(threads));
        for (kind, block) in all_kinds(builder, folder.path()) {
            assert!(
                resident(&block) >= 20 * MIB + PAGE,
                "{kind}, {threads} threads: {:#x}",
                resident(&block)
            );
        }
    }
    let rom = RamBlock::builder(20 * MIB)
        .readonly(true)
        .prealloc(Prealloc::new(2));
    let rom = rom.file(folder.path().join("ram"), 0).unwrap();
    assert!(resident(&rom) >= 20 * MIB);
    let growing = RamBlock::builder(PAGE + 1).max_size(64 * MIB).huge_pages(false);
    let growing = growing.prealloc(Prealloc::new(1)).anonymous().unwrap();
    assert_eq!(
        resident(&growing),
        2 * PAGE,
        "what the guest has, not what it may get"
    );
}

/// Progress ascends to all there is.
#[test]
fn population_says_how_far_it_is() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let prealloc = Prealloc::new(2).on_progress(move |done, total| hears.lock().unwrap().push((done, total)));
    let block = RamBlock::builder(40 * MIB + 1)
        .prealloc(prealloc)
        .anonymous()
        .unwrap();
    let heard = heard.lock().unwrap();
    assert!(heard.len() >= 5, "{heard:?}");
    assert!(heard.is_sorted_by(|a, b| a.0 < b.0), "{heard:?}");
    assert_eq!(heard.last(), Some(&(block.max_size(), block.max_size())));
}

/// A panic in the callback is the caller's, and no block is made.
#[test]
fn a_panic_of_who_hears_of_progress_is_passed_on() {
    let prealloc = Prealloc::new(2).on_progress(|_, _| std::panic::resume_unwind(Box::new("progress")));
    let make = || RamBlock::builder(40 * MIB).prealloc(prealloc).anonymous();
    let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(make));
    assert!(made.is_err());
}

/// R6: the first node is there, or nothing can be bound on this host.
#[test]
fn memory_can_be_bound_to_nodes() {
    let folder = tempfile::tempdir().unwrap();
    for mode in [NumaMode::Bind, NumaMode::Interleave, NumaMode::Preferred] {
        let builder = || RamBlock::builder(4 * PAGE).numa(NumaPolicy::new(mode, [0]));
        match builder().anonymous() {
            Ok(block) => {
                store(&block, 0, 1);
                let prealloc = builder()
                    .prealloc(Prealloc::new(2))
                    .share(true)
                    .anonymous()
                    .unwrap();
                assert!(resident(&prealloc) >= 4 * PAGE);
                builder().file(folder.path(), 0).unwrap();
                block.remap(bytes(0, PAGE)).unwrap();
            }
            Err(RamError::Bind { source, .. }) => eprintln!("SKIPPED: {mode:?} on this host: {source}"),
            Err(error) => panic!("{mode:?}: {error}"),
        }
    }
}

/// Q21: pages that are given back are zeroes, and no others are touched.
#[test]
fn pages_can_be_given_back() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, block) in all_kinds(|| RamBlock::builder(8 * PAGE).huge_pages(false), folder.path()) {
        for page in 0..8 {
            store(&block, page * PAGE + 8, page + 1);
        }
        let before = resident(&block);
        block.discard(bytes(2 * PAGE, 3 * PAGE)).unwrap();
        assert!(resident(&block) < before, "{kind}");
        for page in 0..8 {
            let expected = if (2..5).contains(&page) { 0 } else { page + 1 };
            assert_eq!(load(&block, page * PAGE + 8), expected, "{kind}, page {page}");
        }
        let whole = [(PAGE, PAGE - 1), (1, PAGE), (PAGE + 8, 8)];
        for (start, size) in whole {
            let refused = block.discard(bytes(start, size));
            assert!(
                matches!(refused, Err(RamError::NotWholePages { .. })),
                "{kind}: {refused:?}"
            );
        }
        for (start, size) in [
            (8 * PAGE, PAGE),
            (7 * PAGE, 2 * PAGE),
            (u64::MAX - PAGE + 1, PAGE),
        ] {
            for refused in [block.discard(bytes(start, size)), block.remap(bytes(start, size))] {
                assert!(
                    matches!(refused, Err(RamError::OutsideBlock { .. })),
                    "{kind}: {refused:?}"
                );
            }
        }
        let refused = block.discard(AddressRange::ALL);
        assert!(
            matches!(refused, Err(RamError::OutsideBlock { .. })),
            "{kind}: {refused:?}"
        );
    }
}

/// Q21: not what is read-only, nor what is not ours.
#[test]
fn pages_of_others_are_not_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rom");
    fs::write(&path, [7; 0x2000]).unwrap();
    let rom = RamBlock::builder(2 * PAGE).readonly(true).file(&path, 0).unwrap();
    let copy = RamBlock::builder(2 * PAGE)
        .open_readonly(true)
        .file(&path, 0)
        .unwrap();
    for block in [&rom, &copy] {
        let refused = block.discard(bytes(0, PAGE));
        assert!(matches!(refused, Err(RamError::Readonly { .. })), "{refused:?}");
    }
    for block in [RamBlock::unbacked(PAGE), RamBlock::foreign(PAGE, 0x1000)] {
        for refused in [block.discard(bytes(0, PAGE)), block.remap(bytes(0, PAGE))] {
            assert!(matches!(refused, Err(RamError::NotOurs { .. })), "{refused:?}");
        }
        block.sync(bytes(0, PAGE)).unwrap();
    }
    assert_eq!(fs::read(&path).unwrap(), [7; 0x2000]);
}

/// Q24: a broken page is replaced by a new one, mapped and advised as the old one.
#[test]
fn broken_pages_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, block) in all_kinds(|| RamBlock::builder(8 * PAGE).dump(false), folder.path()) {
        let window = block.window(3 * PAGE, 8).unwrap();
        for page in 0..8 {
            store(&block, page * PAGE, 9);
        }
        block.remap(bytes(3 * PAGE, PAGE)).unwrap();
        assert_eq!(
            (
                load(&block, 2 * PAGE),
                load(&block, 3 * PAGE),
                load(&block, 4 * PAGE)
            ),
            (9, 0, 9),
            "{kind}"
        );
        window.store(0, 4_u64).unwrap();
        assert_eq!(load(&block, 3 * PAGE), 4, "{kind}");
        assert!(host::flags(&block).contains(&"dd".to_owned()), "{kind}");
    }
    let path = folder.path().join("rom");
    fs::write(&path, [7; 0x2000]).unwrap();
    let rom = RamBlock::builder(2 * PAGE)
        .readonly(true)
        .dump(false)
        .prealloc(Prealloc::new(1));
    let rom = rom.file(&path, 0).unwrap();
    rom.remap(bytes(0, PAGE)).unwrap();
    assert_eq!(load(&rom, 0), 0x0707_0707_0707_0707, "the file has it");
    assert!(host::flags(&rom).contains(&"dd".to_owned()));

    let populated = RamBlock::builder(2 * PAGE)
        .prealloc(Prealloc::new(1))
        .huge_pages(false);
    let populated = populated.anonymous().unwrap();
    populated.remap(bytes(0, PAGE)).unwrap();
    assert_eq!(resident(&populated), 2 * PAGE);
}

/// Q20: a shared file is written back; there is nothing to be done for others.
#[test]
fn shared_files_are_written_back() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, block) in all_kinds(|| RamBlock::builder(4 * PAGE), folder.path()) {
        store(&block, PAGE, 1);
        block.sync(bytes(PAGE + 5, 100)).unwrap();
        block.sync(bytes(0, 4 * PAGE)).unwrap();
        let refused = block.sync(bytes(3 * PAGE, PAGE + 1));
        assert!(
            matches!(refused, Err(RamError::OutsideBlock { .. })),
            "{kind}: {refused:?}"
        );
    }
}
