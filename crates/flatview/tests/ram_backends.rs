//! Where the memory of RAM blocks comes from: rules A4 to A10, A26, Q3, Q4, Q8, Q15 to Q19, Q29.

#[path = "support/host.rs"]
mod host;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flatview::{AtomicOp, HugePages, MemfdOptions, Memory, RamBlock, RamError};
use host::{flags, is_mapped, load, store};

const PAGE: u64 = 0x1000;

/// A4, A26, Q29: zeroed, private, of whole pages, aligned to a huge page; the guest's size is what was asked for.
#[test]
fn anonymous_memory_is_zeroed_private_and_aligned() {
    let block = RamBlock::builder(0x1234).name("pc.ram").anonymous().unwrap();
    assert_eq!((block.name(), block.size().bytes()), ("pc.ram", 0x1234));
    assert_eq!((block.max_size(), block.page_size()), (0x2000, PAGE));
    assert_eq!(
        (block.fd().is_some(), block.is_shared(), block.is_readonly()),
        (false, false, false)
    );
    assert!(!block.is_resizeable());
    assert_eq!(block.alignment(), 0x20_0000);
    assert!(block.host_address().unwrap().is_multiple_of(0x20_0000));
    assert_eq!(load(&block, 0x1ff8), 0);
    store(&block, 0x1ff8, 0x1234_5678_9abc_def0);
    assert_eq!(load(&block, 0x1ff8), 0x1234_5678_9abc_def0);
    assert!(block.window(0x1ff9, 8).is_none());

    let aligned = RamBlock::builder(PAGE).align(0x4000_0000).anonymous().unwrap();
    assert_eq!(aligned.alignment(), 0x4000_0000);
    assert!(aligned.host_address().unwrap().is_multiple_of(0x4000_0000));
}

/// A7: all that a block can grow to is mapped from the start.
#[test]
fn memory_that_may_grow_is_mapped_as_a_whole() {
    let block = RamBlock::builder(PAGE).max_size(0x10_0000).anonymous().unwrap();
    assert_eq!((block.size().bytes(), block.max_size()), (PAGE.into(), 0x10_0000));
    assert!(block.is_resizeable());
    store(&block, 0xf_fff8, 1);
    assert_eq!(load(&block, 0xf_fff8), 1);
}

/// Q3, Q4, A9: others who map the descriptor see what is written, unless they map it for themselves.
#[test]
fn what_is_shared_is_seen_by_others() {
    let ours = RamBlock::builder(4 * PAGE).share(true).anonymous().unwrap();
    assert!(ours.is_shared());
    let fd = || ours.fd().unwrap().try_clone_to_owned().unwrap();
    let theirs = RamBlock::builder(2 * PAGE).share(true).fd(fd(), PAGE).unwrap();
    assert_eq!(theirs.fd_offset(), PAGE);
    let private = RamBlock::builder(2 * PAGE).fd(fd(), PAGE).unwrap();
    store(&ours, PAGE + 8, 0xabcd);
    assert_eq!((load(&theirs, 8), load(&private, 8)), (0xabcd, 0xabcd));
    store(&private, 8, 0x1111);
    assert_eq!((load(&ours, PAGE + 8), load(&theirs, 8)), (0xabcd, 0xabcd));
    store(&theirs, 8, 0x2222);
    assert_eq!((load(&ours, PAGE + 8), load(&private, 8)), (0x2222, 0x1111));
}

/// R3, R11: a memory file is shared and sealed unless asked for otherwise.
#[test]
fn a_memory_file_keeps_its_length_if_it_is_sealed() {
    let longer = |block: &RamBlock| {
        let file = File::from(block.fd().unwrap().try_clone_to_owned().unwrap());
        file.set_len(0x10_0000)
    };
    let sealed = RamBlock::builder(0x1001).memfd(MemfdOptions::default()).unwrap();
    assert!(sealed.is_shared());
    assert_eq!(sealed.max_size(), 0x2000);
    assert!(longer(&sealed).is_err());
    let options = MemfdOptions {
        seal: false,
        ..MemfdOptions::default()
    };
    let open = RamBlock::builder(PAGE).memfd(options).unwrap();
    longer(&open).unwrap();
    let private = RamBlock::builder(PAGE).share(false).memfd(options).unwrap();
    assert!(!private.is_shared());
}

/// Huge pages: used if the host has some, an error if it has not.
#[test]
fn a_memory_file_can_be_of_huge_pages() {
    let free = fs::read_to_string("/proc/meminfo").unwrap();
    let free = free.lines().find_map(|line| line.strip_prefix("HugePages_Free:"));
    let free: u64 = free.map_or(0, |free| free.trim().parse().unwrap());
    let options = |hugetlb| MemfdOptions {
        hugetlb: Some(hugetlb),
        seal: true,
    };
    let make = |size| RamBlock::builder(size).memfd(options(HugePages::Default));
    assert!(
        matches!(make(1 << 46), Err(RamError::Map { .. } | RamError::Memfd { .. })),
        "no host has as many"
    );
    let odd = RamBlock::builder(PAGE).memfd(options(HugePages::Size(0x1234)));
    assert!(matches!(odd, Err(RamError::Memfd { .. })), "{odd:?}");
    let none = RamBlock::builder(PAGE).memfd(options(HugePages::Size(1 << 13)));
    assert!(matches!(none, Err(RamError::Memfd { .. })), "{none:?}");
    if free == 0 {
        let refused = make(64 << 20);
        assert!(
            matches!(refused, Err(RamError::Map { .. } | RamError::Memfd { .. })),
            "{refused:?}"
        );
        eprintln!("SKIPPED: this host has no free huge pages, so only their absence was tested");
        return;
    }
    let block = make(1 << 20);
    assert!(
        matches!(block, Err(RamError::SmallerThanPage { .. })),
        "{block:?}"
    );
    let block = make(2 << 20).unwrap();
    assert!(block.page_size() > PAGE);
    assert!((block.host_address().unwrap() as u64).is_multiple_of(block.page_size()));
    store(&block, 8, 7);
    assert_eq!(load(&block, 8), 7);
}

/// A8, Q15, Q17: a file that is not there is created, one that is empty is made longer; both keep what is shared.
#[test]
fn a_file_keeps_what_is_written_to_shared_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ram");
    let share = |share| RamBlock::builder(2 * PAGE).share(share).file(&path, PAGE);
    let block = share(true).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 3 * PAGE);
    assert_eq!((block.alignment(), block.fd_offset()), (PAGE, PAGE));
    store(&block, 8, 0x1122_3344_5566_7788);
    drop(block);
    let at = usize::try_from(PAGE + 8).unwrap();
    assert_eq!(
        fs::read(&path).unwrap()[at..at + 8],
        0x1122_3344_5566_7788_u64.to_ne_bytes()
    );

    let private = share(false).unwrap();
    assert_eq!(load(&private, 8), 0x1122_3344_5566_7788);
    store(&private, 8, 1);
    drop(private);
    let again = share(true).unwrap();
    assert_eq!(load(&again, 8), 0x1122_3344_5566_7788);

    let empty = folder.path().join("empty");
    File::create(&empty).unwrap();
    let block = RamBlock::builder(PAGE + 1).share(true).file(&empty, 0).unwrap();
    assert_eq!(
        (fs::metadata(&empty).unwrap().len(), block.max_size()),
        (2 * PAGE, 2 * PAGE)
    );
}

/// Q15: in a directory, a file that nobody else sees.
#[test]
fn a_file_in_a_directory_has_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let block = RamBlock::builder(PAGE)
        .share(true)
        .file(folder.path(), 0)
        .unwrap();
    store(&block, 0, 5);
    assert_eq!(load(&block, 0), 5);
    assert!(block.fd().is_some());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// A8, Q15: what is read-only is neither created nor changed, and a private mapping of it can be written.
#[test]
fn a_file_can_be_mapped_for_reading_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rom");
    let missing = RamBlock::builder(PAGE).readonly(true).file(&path, 0);
    assert!(matches!(missing, Err(RamError::Open { .. })), "{missing:?}");
    assert!(!path.exists());
    fs::write(&path, [0x5a; 0x1000]).unwrap();

    let rom = RamBlock::builder(PAGE).readonly(true).file(&path, 0).unwrap();
    assert!(rom.is_readonly());
    assert!(!flags(&rom).contains(&"wr".to_owned()));
    assert_eq!(load(&rom, 0), 0x5a5a_5a5a_5a5a_5a5a);

    let shared = RamBlock::builder(PAGE)
        .share(true)
        .readonly(true)
        .file(&path, 0)
        .unwrap();
    assert!(shared.is_readonly() && shared.is_shared());

    let copy = RamBlock::builder(PAGE)
        .open_readonly(true)
        .file(&path, 0)
        .unwrap();
    assert!(!copy.is_readonly());
    store(&copy, 0, 1);
    assert_eq!((load(&copy, 0), load(&rom, 0)), (1, 0x5a5a_5a5a_5a5a_5a5a));
    let file = File::open(&path).unwrap();
    let copy = RamBlock::builder(PAGE)
        .fd(file.as_fd().try_clone_to_owned().unwrap(), 0)
        .unwrap();
    store(&copy, 0, 1);
    assert_eq!(fs::read(&path).unwrap(), [0x5a; 0x1000]);
    drop(copy);

    let refused = RamBlock::builder(PAGE).share(true).fd(file.into(), 0);
    assert!(matches!(refused, Err(RamError::ReadonlyFile)), "{refused:?}");
}

/// A8: nobody writes what is mapped for reading only, and a region made of it is ROM.
#[test]
fn what_is_mapped_for_reading_only_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rom");
    fs::write(&path, [0x5a; 0x1000]).unwrap();
    let rom = RamBlock::builder(PAGE).readonly(true).file(&path, 0).unwrap();
    let window = rom.window(0x10, 0x100).unwrap();
    let part = window.part(8, 8).unwrap();
    let mut bytes = [0; 16];
    window.read(0, &mut bytes).unwrap();
    assert_eq!((bytes, part.load::<u32>(4)), ([0x5a; 16], Ok(0x5a5a_5a5a)));
    assert!(window.store(0, 1_u8).is_err());
    assert!(part.store(0, 1_u64).is_err());
    assert!(window.write(0, &[1; 8]).is_err());
    assert!(window.fill(0, 1, 8).is_err());
    assert!(window.compare_exchange(0, 0x5a_u8, 1).is_err());
    assert!(window.atomic(0, AtomicOp::Add, 1_u32).is_err());
    assert_eq!(window.load::<u64>(0), Ok(0x5a5a_5a5a_5a5a_5a5a));

    let memory = Memory::new();
    assert!(memory.region("rom").ram(rom.clone()).state().unwrap().readonly);
    assert!(
        !memory
            .region("ram")
            .ram(RamBlock::anonymous(PAGE).unwrap())
            .state()
            .unwrap()
            .readonly
    );
}

/// A10: memory of the caller stays his, and what keeps it goes with the last handle.
#[test]
#[expect(unsafe_code, reason = "the caller's promise")]
fn memory_of_the_caller_is_kept_as_long_as_the_block() {
    struct Keeps(
        #[expect(dead_code, reason = "kept for its drop")] RamBlock,
        Arc<AtomicUsize>,
    );
    impl Drop for Keeps {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let theirs = RamBlock::anonymous(2 * PAGE).unwrap();
    let window = theirs.window(0, 2 * PAGE).unwrap();
    let host = std::ptr::NonNull::new(window.as_ptr()).unwrap();
    let keeps = Keeps(theirs.clone(), Arc::clone(&dropped));
    // SAFETY: `keeps` has the block, whose memory is only reached through windows.
    let block = unsafe { RamBlock::from_raw(host, PAGE, keeps) };
    drop(theirs);
    store(&block, 16, 3);
    assert_eq!(window.load::<u64>(16).unwrap(), 3);
    assert!(block.window(PAGE, 1).is_none());
    assert_eq!((block.alignment(), block.fd().is_some()), (0, false));
    let discarded = block.discard(flatview::AddressRange::new(0, PAGE).unwrap());
    assert!(
        matches!(discarded, Err(RamError::NotOurs { .. })),
        "{discarded:?}"
    );
    assert_eq!(dropped.load(Ordering::Relaxed), 0);
    drop(block);
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

/// Q8: what the host is told about the memory.
#[test]
fn the_host_is_advised() {
    let has = |block: &RamBlock, flag: &str| flags(block).iter().any(|other| other == flag);
    let plain = RamBlock::anonymous(4 << 20).unwrap();
    assert!(has(&plain, "dc"), "no child of this process gets it");
    assert!(!has(&plain, "dd") && !has(&plain, "mg") && !has(&plain, "nr"));
    let block = RamBlock::builder(4 << 20)
        .dump(false)
        .reserve(false)
        .huge_pages(false)
        .anonymous()
        .unwrap();
    assert!(has(&block, "dd") && has(&block, "nr") && !has(&block, "hg"));
    if fs::exists("/sys/kernel/mm/transparent_hugepage").unwrap() {
        assert!(has(&plain, "hg"));
    }
    match RamBlock::builder(PAGE).merge(true).anonymous() {
        Ok(block) => assert!(has(&block, "mg")),
        Err(RamError::Advise { what, .. }) => eprintln!("SKIPPED: this kernel cannot {what}"),
        Err(error) => panic!("{error}"),
    }
}

/// Q10: memory goes with the last that can reach it.
#[test]
fn memory_is_unmapped_with_its_block() {
    let block = RamBlock::builder(PAGE)
        .name("going")
        .share(true)
        .anonymous()
        .unwrap();
    let window = block.window(0, 8).unwrap();
    assert!(is_mapped("going"));
    drop(block);
    assert!(is_mapped("going"), "a window keeps it");
    drop(window);
    assert!(!is_mapped("going"));
}
