//! Texts of a megabyte that no machine prints: everything that is done with them ends soon, in little memory.
//!
//! Each takes less than four seconds, and at its peak no more than 31 bytes for each byte of text.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::alloc::{GlobalAlloc, Layout as Block, System};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use flatview_mtree::check::check;
use flatview_mtree::facts::Facts;
use flatview_mtree::graph::Graph;
use flatview_mtree::machine::{Machine, combine};
use flatview_mtree::rebuild::Rebuilt;
use flatview_mtree::text::parse;

/// The system's allocator, with a count of what is there, and of the most there was.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code, reason = "GlobalAlloc is an unsafe trait")]
// SAFETY: every call goes to `System` with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, block: Block) -> *mut u8 {
        let live = LIVE.fetch_add(block.size(), Ordering::Relaxed) + block.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(block) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, block: Block) {
        LIVE.fetch_sub(block.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, block) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Far above what is measured: a machine that runs the tests may be slow and busy.
const MOST_TIME: Duration = Duration::from_secs(20);
/// Bytes at the peak for each byte of text.
const MOST_MEMORY: usize = 60;

fn line(text: &mut String, level: usize, start: u64, last: u64, what: &str) {
    let _ = writeln!(
        text,
        "{}{start:016x}-{last:016x} (prio 0, {what}",
        "  ".repeat(level)
    );
}

const SYSTEM: &str = "address-space: memory\n  0000000000000000-ffffffffffffffff (prio 0, i/o): system\n";

/// A view of `memory`, with ranges of a page each.
fn view(pages: u64, range: impl Fn(u64) -> String) -> String {
    let mut text = String::from("FlatView #0\n AS \"memory\", root: system\n Root memory region: system\n");
    for page in 0..pages {
        line(&mut text, 1, page << 12, page << 12 | 0xfff, &range(page));
    }
    text + "\n"
}

fn one_name() -> String {
    let mut text = SYSTEM.to_owned();
    for page in 0..10_000 {
        line(&mut text, 2, page << 12, page << 12 | 0xfff, "i/o): a");
    }
    text + "\n" + &view(10_000, |_| "ram): a".to_owned())
}

fn deep(levels: usize, step: usize) -> String {
    let mut text = SYSTEM.to_owned();
    for level in (2..levels).step_by(step) {
        line(&mut text, level, 0, 0xfff, "i/o): a");
    }
    text + "\n" + &view(1, |_| "ram): b".to_owned())
}

fn aliases_to_one_name() -> String {
    let mut text = SYSTEM.to_owned();
    for page in 0..5_000 {
        let what = "ram): alias w @a 0000000000000000-0000000000000fff";
        line(&mut text, 2, page << 12, page << 12 | 0xfff, what);
    }
    text.push('\n');
    for region in 0..5_000 {
        text.push_str("memory-region: a\n");
        line(&mut text, 1, region, region + 0xfff, "ram): a");
        text.push('\n');
    }
    text + &view(5_000, |page| match page % 2 {
        0 => "ram): a".to_owned(),
        _ => "ram): a @0000000000000010".to_owned(),
    })
}

fn groups_of_one_look() -> String {
    let mut text = SYSTEM.to_owned() + "\n";
    for _ in 0..10_000 {
        text.push_str("address-space: x\n");
        line(&mut text, 1, 0, 0xfff, "ram): a");
        text.push('\n');
    }
    for view in 0..10_000 {
        let _ = write!(
            text,
            "FlatView #{view}\n AS \"x\", root: a\n Root memory region: a\n  {:016x}-{:016x} (prio 0, ram): b\n\n",
            0, 0xfff
        );
    }
    text
}

/// So many siblings meet at one address; with thousands, nobody would render them.
const OVERLAP: u64 = 0x1f;

fn overlapping(reversed: bool) -> String {
    let mut text = SYSTEM.to_owned();
    for child in 0..10_000_u64 {
        line(&mut text, 2, child, child + OVERLAP, &format!("i/o): c{child}"));
    }
    text.push_str("\nFlatView #0\n AS \"memory\", root: system\n Root memory region: system\n");
    for child in 0..10_000_u64 {
        let last = if child == 9_999 { child + OVERLAP } else { child };
        let name = if reversed {
            child.saturating_sub(OVERLAP)
        } else {
            child
        };
        let offset = child - name;
        let at = if offset == 0 {
            String::new()
        } else {
            format!(" @{offset:016x}")
        };
        line(&mut text, 1, child, last, &format!("i/o): c{name}{at}"));
    }
    text + "\n"
}

fn mismatches() -> String {
    let mut text = SYSTEM.to_owned();
    for page in 0..10_000 {
        line(
            &mut text,
            2,
            page << 12,
            page << 12 | 0xfff,
            &format!("ram): r{page}"),
        );
    }
    text + "\n" + &view(10_000, |page| format!("ram): r{}", (page + 1) % 10_000))
}

fn ambiguous_aliases() -> String {
    let mut text = SYSTEM.to_owned();
    for page in 0..4_000 {
        let what = format!("i/o): alias w{page} @b 0000000000000000-0000000000000fff");
        line(&mut text, 2, page << 12, page << 12 | 0xfff, &what);
    }
    text.push('\n');
    for region in 0..8 {
        text.push_str("memory-region: b\n");
        line(&mut text, 1, region, region + 0xfff, "i/o): b");
        for page in 0..4 {
            let what = "i/o): alias v @b 0000000000000000-0000000000000fff";
            line(
                &mut text,
                2,
                region + (page << 4),
                region + (page << 4) + 0xf,
                what,
            );
        }
        text.push('\n');
    }
    text + &view(4_000, |page| format!("i/o): b @{:016x}", page + 1))
}

fn windows() -> String {
    let mut text = SYSTEM.to_owned();
    for page in 0..4_000_u64 {
        line(&mut text, 2, page << 12, page << 12 | 0xfff, "ram): a");
    }
    text.push('\n');
    for space in 0..4_000_u64 {
        text.push_str("address-space: x\n");
        let what = format!(
            "i/o): alias w @system {:016x}-{:016x}",
            space + 1,
            space + (1 << 40)
        );
        line(&mut text, 1, 0, (1 << 40) - 1, &what);
        text.push('\n');
    }
    text + "memory-region: system\n"
        + SYSTEM.split_once('\n').map_or("", |(_, line)| line)
        + "\n"
        + &view(1, |_| "ram): a".to_owned())
}

fn unseen() -> String {
    let mut text = SYSTEM.to_owned();
    for child in 0..5_000 {
        line(
            &mut text,
            2,
            child << 12,
            child << 12 | 0xfff,
            &format!("ram): c{child}"),
        );
        line(&mut text, 3, child << 12, child << 12, &format!("ram): d{child}"));
        line(
            &mut text,
            3,
            child << 12 | 1,
            child << 12 | 1,
            &format!("ram): e{child}"),
        );
    }
    text + "\n" + &view(5_000, |page| format!("ram): c{page}"))
}

#[test]
fn ends_soon_in_little_memory() {
    let texts = [
        ("one name", one_name()),
        ("levels, one by one", deep(1_400, 1)),
        ("levels, by ten thousands", deep(200_000, 10_000)),
        ("aliases to one name", aliases_to_one_name()),
        ("groups of one look", groups_of_one_look()),
        ("overlapping", overlapping(false)),
        ("overlapping, reversed", overlapping(true)),
        ("mismatches", mismatches()),
        ("ambiguous aliases", ambiguous_aliases()),
        ("unseen", unseen()),
        ("windows", windows()),
    ];
    let only = std::env::var("HOSTILE").unwrap_or_default();
    for (name, text) in texts.iter().filter(|(name, _)| name.contains(&only)) {
        let before = LIVE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let mut last = Instant::now();
        let begin = last;
        let mut spent = Vec::new();
        let mut lap = |what: &'static str| {
            spent.push((what, last.elapsed().as_millis()));
            last = Instant::now();
        };
        let dumps = parse(text).unwrap();
        lap("parse");
        let (tree, flat) = combine(dumps.clone());
        let (tree, flat) = (tree.unwrap(), flat.unwrap());
        let graph = Graph::new(&tree);
        lap("graph");
        let facts = Facts::guess(&graph);
        let _ = Rebuilt::new(&graph, &facts);
        lap("rebuild");
        let report = check(&tree, &flat).map(|report| (report.verdict, report.to_string().len()));
        lap("check");
        if let Ok(machine) = Machine::new(dumps) {
            lap("machine");
            let _ = machine.explain(0, 0x1800).map(|explained| explained.to_string());
            lap("explain");
            let _ = machine.layout(0);
            lap("layout");
        }
        let peak = (PEAK.load(Ordering::Relaxed) - before) / text.len();
        println!(
            "{name}: {} KiB, {report:?}, {spent:?} ms, {peak} bytes a byte at most",
            text.len() >> 10
        );
        assert!(begin.elapsed() < MOST_TIME, "{name}: {spent:?}");
        assert!(peak < MOST_MEMORY, "{name}: {peak} bytes a byte");
    }
}
