//! Blocks that cannot be made leave nothing behind. One test in a process of its own: it counts what the process has.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/host.rs"]
mod host;

use std::fs::{self, File};
use std::path::Path;

use flatview::{HugePages, MemfdOptions, NumaMode, NumaPolicy, Prealloc, RamBlock, RamError};

const PAGE: u64 = 0x1000;

type Case = (
    &'static str,
    fn(&Path) -> Result<RamBlock, RamError>,
    fn(&RamError) -> bool,
    &'static str,
);

macro_rules! is {
    ($pattern:pat) => {
        |error| matches!(error, $pattern)
    };
}

/// A size that no host has, with a binding that is refused last of all.
fn nowhere() -> NumaPolicy {
    NumaPolicy::new(NumaMode::Bind, [1_000])
}

const CASES: &[Case] = &[
    // A20, R4
    (
        "no size",
        |_| RamBlock::anonymous(0),
        is!(RamError::NoSize),
        "at least one byte",
    ),
    (
        "more than memory",
        |_| RamBlock::anonymous(1 << 60),
        is!(RamError::Map { .. }),
        "0x1000000000000000 bytes",
    ),
    (
        "more than numbers",
        |_| RamBlock::anonymous(u64::MAX),
        is!(RamError::Map { .. }),
        "0xffffffffffffffff",
    ),
    (
        "more than memory, shared",
        |_| RamBlock::builder(1 << 62).share(true).anonymous(),
        is!(RamError::Memfd { .. } | RamError::Map { .. }),
        "0x4000000000000000",
    ),
    (
        "more than a file",
        |path| RamBlock::builder(1 << 62).file(path.join("new"), 0),
        is!(RamError::Truncate { .. } | RamError::Map { .. }),
        "0x4000000000000000",
    ),
    (
        "no huge pages of such a size",
        |_| {
            RamBlock::builder(PAGE).memfd(MemfdOptions {
                hugetlb: Some(HugePages::Size(1 << 13)),
                seal: true,
            })
        },
        is!(RamError::Memfd { .. }),
        "memory file",
    ),
    (
        "begins with more than it can have",
        |_| RamBlock::builder(2 * PAGE).max_size(PAGE).anonymous(),
        is!(RamError::LargerThanMaximum { .. }),
        "0x2000",
    ),
    // R5
    (
        "populated, not reserved",
        |_| {
            RamBlock::builder(PAGE)
                .prealloc(Prealloc::new(1))
                .reserve(false)
                .anonymous()
        },
        is!(RamError::PreallocateUnreserved),
        "preallocated",
    ),
    // R6
    (
        "nodes, no policy",
        |_| {
            RamBlock::builder(PAGE)
                .numa(NumaPolicy::new(NumaMode::Default, [0]))
                .anonymous()
        },
        is!(RamError::NodesWithoutPolicy),
        "default policy",
    ),
    (
        "policy, no nodes",
        |_| {
            RamBlock::builder(PAGE)
                .numa(NumaPolicy::new(NumaMode::Bind, []))
                .anonymous()
        },
        is!(RamError::PolicyWithoutNodes { .. }),
        "Bind",
    ),
    (
        "no such node",
        |_| RamBlock::builder(PAGE).numa(nowhere()).anonymous(),
        is!(RamError::Bind { .. }),
        "[1000]",
    ),
    (
        "no such node by far",
        |_| {
            RamBlock::builder(PAGE)
                .numa(NumaPolicy::new(NumaMode::Interleave, [u32::MAX]))
                .anonymous()
        },
        is!(RamError::Bind { .. }),
        "[4294967295]",
    ),
    (
        "no such node, preferred",
        |_| {
            RamBlock::builder(PAGE)
                .numa(NumaPolicy::new(NumaMode::Preferred, [1_000]))
                .share(true)
                .anonymous()
        },
        is!(RamError::Bind { .. }),
        "Preferred",
    ),
    // Q15: what was created, or lengthened, is as before.
    (
        "a new file, no such node",
        |path| {
            RamBlock::builder(PAGE)
                .numa(nowhere())
                .share(true)
                .file(path.join("new"), 0)
        },
        is!(RamError::Bind { .. }),
        "[1000]",
    ),
    (
        "an empty file, no such node",
        |path| {
            RamBlock::builder(PAGE)
                .numa(nowhere())
                .share(true)
                .file(path.join("empty"), 0)
        },
        is!(RamError::Bind { .. }),
        "[1000]",
    ),
    (
        "a directory, no such node",
        |path| RamBlock::builder(PAGE).numa(nowhere()).share(true).file(path, 0),
        is!(RamError::Bind { .. }),
        "[1000]",
    ),
    (
        "a directory to be read",
        |path| RamBlock::builder(PAGE).readonly(true).file(path, 0),
        is!(RamError::Open { .. }),
        "irectory",
    ),
    (
        "no such directory",
        |path| RamBlock::builder(PAGE).file(path.join("no/where"), 0),
        is!(RamError::Open { .. }),
        "no/where",
    ),
    (
        "nothing to be read",
        |path| RamBlock::builder(PAGE).readonly(true).file(path.join("new"), 0),
        is!(RamError::Open { .. }),
        "new",
    ),
    (
        "nothing to be opened for reading",
        |path| {
            RamBlock::builder(PAGE)
                .open_readonly(true)
                .file(path.join("new"), 0)
        },
        is!(RamError::Open { .. }),
        "new",
    ),
    (
        "a link that leads nowhere",
        |path| RamBlock::builder(PAGE).file(path.join("link"), 0),
        is!(RamError::Open { .. }),
        "link",
    ),
    (
        "written and shared, but open for reading",
        |path| {
            RamBlock::builder(PAGE)
                .share(true)
                .open_readonly(true)
                .file(path.join("pages"), 0)
        },
        is!(RamError::ReadonlyFile),
        "reading only",
    ),
    // Q16, in its order
    (
        "too short",
        |path| RamBlock::builder(4 * PAGE).align(3).file(path.join("pages"), 0),
        is!(RamError::FileTooShort {
            file_size: 0x3000,
            size: 0x4000,
            offset: 0
        }),
        "0x3000 bytes is too short for 0x4000 bytes from 0x0 on",
    ),
    (
        "too short behind an offset",
        |path| {
            RamBlock::builder(2 * PAGE)
                .share(true)
                .file(path.join("pages"), 2 * PAGE)
        },
        is!(RamError::FileTooShort { .. }),
        "from 0x2000 on",
    ),
    (
        "too short by far",
        |path| RamBlock::builder(2 * PAGE).file(path.join("pages"), u64::MAX - PAGE + 1),
        is!(RamError::FileTooShort { .. }),
        "0xfffffffffffff000",
    ),
    (
        "empty, and not to be written",
        |path| RamBlock::builder(PAGE).readonly(true).file(path.join("empty"), 0),
        is!(RamError::FileTooShort { file_size: 0, .. }),
        "0x0 bytes is too short",
    ),
    (
        "aligned to less than pages",
        |path| RamBlock::builder(PAGE).align(0x800).file(path.join("pages"), 1),
        is!(RamError::AlignmentOfPages { .. }),
        "0x800",
    ),
    (
        "aligned to no power of two",
        |path| RamBlock::builder(PAGE).align(0x3000).file(path.join("pages"), 1),
        is!(RamError::Alignment { .. }),
        "0x3000",
    ),
    (
        "anonymous, aligned to no power of two",
        |_| RamBlock::builder(PAGE).align(0x3000).anonymous(),
        is!(RamError::Alignment { .. }),
        "0x3000",
    ),
    (
        "aligned to all there is",
        |_| RamBlock::builder(PAGE).align(1 << 63).anonymous(),
        is!(RamError::Map { .. }),
        "0x1000 bytes",
    ),
    (
        "within a page",
        |path| RamBlock::builder(0x10).file(path.join("pages"), 1),
        is!(RamError::FileOffset { .. }),
        "0x1 ",
    ),
    (
        "less than a page",
        |path| RamBlock::builder(PAGE - 1).file(path.join("pages"), PAGE),
        is!(RamError::SmallerThanPage { .. }),
        "0xfff",
    ),
    (
        "a new file with a wrong offset",
        |path| RamBlock::builder(PAGE).file(path.join("new"), 0x800),
        is!(RamError::FileOffset { .. }),
        "0x800",
    ),
    (
        "a new file that ends beyond all numbers",
        |path| RamBlock::builder(PAGE).file(path.join("new"), u64::MAX - PAGE + 1),
        is!(RamError::Map { .. }),
        "0x1000",
    ),
    (
        "a descriptor of a directory",
        |path| RamBlock::builder(PAGE).fd(File::open(path).unwrap().into(), 0),
        is!(RamError::Inspect { .. }),
        "irectory",
    ),
    (
        "a descriptor of no memory",
        |_| RamBlock::builder(PAGE).fd(File::open("/proc/self/status").unwrap().into(), 0),
        is!(RamError::FileTooShort { .. } | RamError::Map { .. }),
        "0x1000",
    ),
    (
        "a pipe",
        |_| RamBlock::builder(PAGE).fd(std::io::pipe().unwrap().0.into(), 0),
        is!(RamError::Map { .. }),
        "0x1000",
    ),
];

/// A20, Q9, Q15 to Q18, R4 to R6: a typed error that says what is wrong, and no mapping, descriptor or file.
#[test]
fn a_block_that_cannot_be_made_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("pages"), [1; 0x3000]).unwrap();
    File::create(path.join("empty")).unwrap();
    std::os::unix::fs::symlink("nowhere", path.join("link")).unwrap();
    let files = || {
        let files = fs::read_dir(path).unwrap().map(|file| file.unwrap());
        let mut files: Vec<_> = files
            .map(|file| (file.file_name(), fs::symlink_metadata(file.path()).unwrap().len()))
            .collect();
        files.sort();
        files
    };
    let before = files();
    for (what, make, is_it, says) in CASES {
        let mut had = None;
        // What the allocator takes for its own use it has taken after some rounds.
        for round in 0..6 {
            match make(path) {
                Ok(block) => panic!("{what}: there is {block:?}"),
                Err(error) => {
                    assert!(is_it(&error), "{what}: {error:?}");
                    assert!(error.to_string().contains(says), "{what}: {error}");
                }
            }
            let has = (host::mapped_bytes(), host::descriptors());
            if round >= 3 {
                assert_eq!(*had.get_or_insert(has), has, "{what}");
            }
        }
        assert_eq!(files(), before, "{what}");
    }
}
