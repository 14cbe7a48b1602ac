//! The re-entrancy guard (rules K12, K13): a device does not meet itself, whatever the guest points its DMA to.
//!
//! Devices here answer with a number, and when the CPU reads them they read somewhere else: their DMA. Requester 0 is
//! the CPU, all others are devices.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "reentrancy/device.rs"]
mod device;
#[path = "support/mod.rs"]
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use flatview::{
    AddressSpace, Endianness, Error, IommuAccess, IommuOps, IotlbEntry, MemTxAttrs, MemTxError,
    MemoryRegionCache, MemoryRegionOpsMut, Owner, RamBlock, Size,
};

use device::{CPU, Dma, load, place};
use support::Board;

const REFUSED: Result<u32, MemTxError> = Err(MemTxError::ACCESS_ERROR);

/// In seconds.
const DEADLOCK: u64 = 60;

/// Fails if `test` does not end: a deadlock is the other way in which all of this could go wrong.
fn with_watchdog(test: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let running = thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    match ended.recv_timeout(Duration::from_secs(DEADLOCK)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("somebody waits for ever"),
        _ => running.join().unwrap(),
    }
}

/// K12: the inner access is refused, the device does not see it, and the outer one goes on.
#[test]
fn a_device_does_not_reach_itself() {
    let board = Board::new();
    let device = Dma::new();
    place(&board, 0x1000, &device, |region| region);
    device.aim(&board.space, 0x1000);
    assert_eq!(load(&board, 0x1000), Ok(7));
    assert_eq!(device.dma(), [REFUSED]);
    assert_eq!(device.calls(), 1);
}

/// The guard is about who is reached, not about the way: another space, an alias, a copy, a cache, a mapping.
#[test]
fn no_way_leads_back() {
    let board = Board::new();
    let device = Dma::new();
    let region = place(&board, 0x1000, &device, |region| region);
    let root = board.container("bus", Size::MAX);
    let space = board.look_at("bus", &root);
    let alias = board.alias("alias", &region, 0, 0x100_u64);
    board.map(&root, 0x8000, &alias);
    device.aim(&space, 0x8000);
    assert_eq!(load(&board, 0x1000), Ok(7));
    assert_eq!(device.dma(), [REFUSED]);

    device.then(move || {
        let refused = Err(MemTxError::ACCESS_ERROR);
        let refused_and_nobody = Err(MemTxError::ACCESS_ERROR | MemTxError::DECODE_ERROR);
        assert_eq!(space.read(0x7ffc, &mut [0; 8], CPU), refused_and_nobody);
        assert_eq!(space.write(0x8000, &[0; 8], CPU), refused);
        assert_eq!(space.fill(0x8000, 0, 8, CPU), refused);
        assert_eq!(space.copy_to(0x8000, &space, 0x8000, 4, CPU), refused);
        assert_eq!(space.reader().read(0x8000, &mut [0; 4], CPU), refused);
        let exchanged = space.compare_exchange(0x8000, 0_u32, 1, Endianness::Little, CPU);
        assert_eq!(exchanged, Err(MemTxError::ACCESS_ERROR));
        let mut cache = MemoryRegionCache::new(&space, 0x8000, 4, CPU);
        assert_eq!(cache.load::<u32>(0, Endianness::Little), REFUSED);
        let mapping = space.map(0x8000, 4, true, CPU).unwrap();
        assert_eq!(mapping.unmap(4), refused);
    });
    assert_eq!(load(&board, 0x1000), Ok(7));
    assert_eq!(device.calls(), 2);
}

/// K12: a device in a mutex, which is locked meanwhile, is refused too, before anybody asks it.
#[test]
fn a_device_in_a_mutex_does_not_wait_for_itself() {
    struct Simple(Option<AddressSpace>, Vec<Result<u32, MemTxError>>);
    impl MemoryRegionOpsMut for Simple {
        fn read(&mut self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
            let space = self.0.as_ref().unwrap();
            self.1.push(space.load(0x1000, Endianness::Little, CPU));
            assert!(!space.access_valid(0x1000, 4, false, CPU), "it would be refused");
            Ok(7)
        }
        fn write(&mut self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
            Ok(())
        }
    }
    with_watchdog(|| {
        let board = Board::new();
        let device = Arc::new(Mutex::new(Simple(Some(board.space.clone()), Vec::new())));
        let region = board.memory.region("simple").io(0x100_u64, device.clone());
        board.map(&board.system, 0x1000, &region);
        assert!(board.space.access_valid(0x1000, 4, false, CPU));
        assert_eq!(load(&board, 0x1000), Ok(7));
        assert_eq!(device.lock().unwrap().1, [REFUSED]);
    });
}

/// K12: nor through another device.
#[test]
fn a_device_is_not_reached_through_another() {
    let board = Board::new();
    let (a, b) = (Dma::new(), Dma::new());
    place(&board, 0x1000, &a, |region| region);
    place(&board, 0x2000, &b, |region| region);
    a.aim(&board.space, 0x2000);
    b.aim_for_all(&board.space, 0x1000);
    assert_eq!(load(&board, 0x1000), Ok(7));
    assert_eq!(a.dma(), [Ok(7)], "B is let in");
    assert_eq!(b.dma(), [REFUSED]);
    assert_eq!((a.calls(), b.calls()), (1, 1));
}

/// K12: all regions of an owner are one device; regions without an owner are each one.
#[test]
fn regions_of_one_owner_guard_each_other() {
    for (owned, expected) in [(true, REFUSED), (false, Ok(7))] {
        let board = Board::new();
        let (one, other) = (Dma::new(), Dma::new());
        let nic = Owner::device("nic0");
        place(&board, 0x1000, &one, |region| {
            if owned { region.owner(&nic) } else { region }
        });
        place(&board, 0x2000, &other, |region| {
            if owned { region.owner(&nic) } else { region }
        });
        one.aim(&board.space, 0x2000);
        assert_eq!(load(&board, 0x1000), Ok(7));
        assert_eq!(one.dma(), [expected]);
        // Afterwards both are as they were.
        assert_eq!(load(&board, 0x2000), Ok(7));
    }
    let board = Board::new();
    let (one, other) = (Dma::new(), Dma::new());
    place(&board, 0x1000, &one, |region| {
        region.owner(&Owner::device("nic0"))
    });
    place(&board, 0x2000, &other, |region| {
        region.owner(&Owner::device("nic0"))
    });
    one.aim(&board.space, 0x2000);
    assert_eq!(load(&board, 0x1000), Ok(7));
    assert_eq!(one.dma(), [Ok(7)], "owners of one name are two");
}

/// K12, not as in QEMU: ROM devices and read-only regions are devices like all others.
#[test]
fn read_only_devices_are_guarded_too() {
    let board = Board::new();
    let device = Dma::new();
    place(&board, 0x1000, &device, |region| region.readonly(true));
    device.aim(&board.space, 0x1000);
    assert_eq!(load(&board, 0x1000), Ok(7));
    assert_eq!(device.dma(), [REFUSED]);

    let flash = Dma::new();
    let block = RamBlock::anonymous(0x1000).unwrap();
    let region = board.memory.region("flash").rom_device(block, flash.clone());
    board.map(&board.system, 0x4000, &region);
    board.update(|tx| tx.rom_device_set_romd(&region, false));
    flash.aim(&board.space, 0x4000);
    assert_eq!(load(&board, 0x4000), Ok(7));
    assert_eq!(flash.dma(), [REFUSED]);
}

/// D10: who opts out is let in, as deep as all others (and no guest overflows the stack with it).
#[test]
fn who_opts_out_reaches_itself_to_some_depth() {
    let board = Board::new();
    let device = Dma::new();
    place(&board, 0x1000, &device, |region| region.reentrancy_guard(false));
    device.aim(&board.space, 0x1000);
    assert_eq!(load(&board, 0x1000), Ok(7));
    assert_eq!(device.dma(), [Ok(7)]);
    assert_eq!(device.calls(), 2);

    device.aim_for_all(&board.space, 0x1000);
    assert_eq!(load(&board, 0x1000), Ok(7));
    assert_eq!(device.calls(), 2 + 16);
    let dma = device.dma();
    assert_eq!(dma.iter().filter(|&&result| result == REFUSED).count(), 1);
    assert_eq!(
        load(&board, 0x2000),
        Err(MemTxError::DECODE_ERROR),
        "nobody is there"
    );
    device.rest();
    assert_eq!(load(&board, 0x1000), Ok(7));
}

/// A chain of devices is as long as 16.
#[test]
fn chains_of_devices_end() {
    let board = Board::new();
    let devices: Vec<_> = (0..20).map(|_| Dma::new()).collect();
    for (number, device) in (1..).zip(&devices) {
        place(&board, number * 0x1000, device, |region| region);
        device.aim_for_all(&board.space, (number + 1) * 0x1000);
    }
    assert_eq!(load(&board, 0x1000), Ok(7));
    let calls: Vec<_> = devices.iter().map(|device| device.calls()).collect();
    assert_eq!(calls[..16], [1; 16]);
    assert_eq!(calls[16..], [0; 4]);
    assert_eq!(devices[15].dma(), [REFUSED]);
}

/// K13: work that a device does later is guarded by its owner, on this thread.
#[test]
fn deferred_work_is_in_its_device() {
    let board = Board::new();
    let (device, nic) = (Dma::new(), Owner::device("nic0"));
    place(&board, 0x1000, &device, |region| region.owner(&nic));
    let engaged = nic.engage().unwrap();
    assert!(nic.engage().is_none());
    assert_eq!(load(&board, 0x1000), REFUSED);
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(load(&board, 0x1000), Ok(7), "another thread is not in it"));
    });
    drop(engaged);
    assert_eq!(load(&board, 0x1000), Ok(7));

    let owner = nic.clone();
    device.then(move || assert!(owner.engage().is_none(), "it is in an access"));
    assert_eq!(load(&board, 0x1000), Ok(7));
    assert!(nic.engage().is_some());
}

/// K13: engagements are values, and values go in any order.
#[test]
fn engagements_end_in_any_order() {
    let owners: Vec<_> = (0..3)
        .map(|number| Owner::device(format!("nic{number}")))
        .collect();
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut engaged: Vec<_> = owners.iter().map(Owner::engage).collect();
        assert!(engaged.iter().all(Option::is_some), "{order:?}");
        for ended in order {
            engaged[ended] = None;
            for (owner, engaged) in owners.iter().zip(&engaged) {
                let again = owner.engage();
                assert_eq!(again.is_none(), engaged.is_some(), "{order:?} after {ended}");
            }
        }
    }
}

/// K12 is for each thread: two CPUs may be in one device.
#[test]
fn two_threads_are_in_one_device() {
    with_watchdog(|| {
        let board = Board::new();
        let device = Dma::new();
        place(&board, 0x1000, &device, |region| region);
        let meeting = Barrier::new(2);
        // Neither leaves before the other has come.
        device.then(move || {
            meeting.wait();
        });
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| assert_eq!(load(&board, 0x1000), Ok(7)));
            }
        });
        assert_eq!(device.calls(), 2);
    });
}

/// A device with a lock that does DMA: it takes what it needs, lets go, accesses memory, and locks again.
struct Polite {
    dma: Arc<Dma>,
    state: Mutex<u32>,
    meeting: Arc<Barrier>,
}

impl flatview::MemoryRegionOps for Polite {
    fn read(&self, offset: u64, size: u32, attrs: MemTxAttrs) -> Result<u64, MemTxError> {
        // Not held while the DMA goes on: the guest decides whom that meets, and what he locks.
        *self.state.lock().unwrap() += 1;
        if attrs == CPU {
            self.meeting.wait();
        }
        let value = self.dma.read(offset, size, attrs)?;
        *self.state.lock().unwrap() += 1;
        Ok(value)
    }

    fn write(&self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        Ok(())
    }
}

/// Two devices read each other at the same time: with the locks let go nobody waits, and nobody is refused.
#[test]
fn mutual_dma_of_two_threads_goes_through() {
    with_watchdog(|| {
        let board = Board::new();
        let meeting = Arc::new(Barrier::new(2));
        let devices = [0x1000, 0x2000].map(|address| {
            let device = Arc::new(Polite {
                dma: Dma::new(),
                state: Mutex::new(0),
                meeting: Arc::clone(&meeting),
            });
            let region = board.memory.region("polite").io(0x100, device.clone());
            board.map(&board.system, address, &region);
            device.dma.aim(&board.space, 0x3000 - address);
            device
        });
        for _ in 0..200 {
            thread::scope(|scope| {
                for address in [0x1000, 0x2000] {
                    let board = &board;
                    scope.spawn(move || assert_eq!(load(board, address), Ok(7)));
                }
            });
        }
        for device in &devices {
            assert_eq!(device.dma.dma(), [Ok(7); 200]);
            assert_eq!(*device.state.lock().unwrap(), 200 * 2 * 2);
        }
    });
}

/// A device that panics is left like any other.
#[test]
fn a_panic_leaves_the_device() {
    struct Fragile(bool);
    impl MemoryRegionOpsMut for Fragile {
        fn read(&mut self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
            assert!(self.0, "not yet");
            Ok(7)
        }
        fn write(&mut self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
            self.0 = true;
            Ok(())
        }
    }
    let board = Board::new();
    let (outer, nic) = (Dma::new(), Owner::device("nic0"));
    let fragile = board.memory.region("fragile").owner(&nic);
    let fragile = fragile.io(0x100_u64, Arc::new(Mutex::new(Fragile(false))));
    board.map(&board.system, 0x1000, &fragile);
    place(&board, 0x2000, &outer, |region| region);
    outer.aim(&board.space, 0x1000);

    let mut reader = board.space.reader();
    for address in [0x1000, 0x2000] {
        let mut load = || reader.load::<u32>(address, Endianness::Little, CPU);
        assert!(catch_unwind(AssertUnwindSafe(&mut load)).is_err());
        assert!(nic.engage().is_some());
        let receipt = board.update(|_| Ok(()));
        reader.release();
        assert!(receipt.wait().is_ok(), "this thread is in no device");
    }
    reader.store(0x1000, 1_u32, Endianness::Little, CPU).unwrap();
    assert_eq!(reader.load::<u32>(0x1000, Endianness::Little, CPU), Ok(7));
    assert_eq!(reader.load::<u32>(0x2000, Endianness::Little, CPU), Ok(7));
    assert_eq!(outer.dma(), [Ok(7)]);
}

/// Who is in a device looks at a view, so he would wait for himself.
#[test]
fn waiting_within_a_device_is_an_error() {
    with_watchdog(|| {
        for guarded in [true, false] {
            let board = Board::new();
            let device = Dma::new();
            let region = place(&board, 0x1000, &device, |region| region.reentrancy_guard(guarded));
            let memory = board.memory.downgrade();
            device.then(move || {
                let memory = memory.upgrade().unwrap();
                let moved = memory.update(|tx| tx.set_address(&region, 0x5000)).unwrap();
                assert!(matches!(moved.wait(), Err(Error::WaitInCallback)));
            });
            assert_eq!(load(&board, 0x1000), Ok(7));
            board.update(|_| Ok(())).wait().unwrap();
        }
    });
}

/// L2: a device may move its own BAR while somebody accesses it: the access ends in the view in which it began, and
/// the next one sees the new.
#[test]
fn a_bar_moves_in_the_middle_of_an_access() {
    let board = Board::new();
    let device = Dma::new();
    let bar = place(&board, 0x1000, &device, |region| region);
    let behind = board
        .memory
        .region("ram")
        .ram(RamBlock::anonymous(0x1000).unwrap());
    let other = board
        .memory
        .region("other")
        .ram(RamBlock::anonymous(0x1000).unwrap());
    board.map(&board.system, 0x1100, &behind);
    board.space.fill(0x1100, 0x11, 4, CPU).unwrap();
    board.map(&board.system, 0x9000, &other);
    let memory = board.memory.downgrade();
    let (moving, system, gone) = (bar.clone(), board.system.clone(), behind.clone());
    device.then(move || {
        let memory = memory.upgrade().unwrap();
        let moved = memory.update(|tx| {
            tx.set_address(&moving, 0x5000)?;
            tx.del_subregion(&system, &gone)
        });
        assert!(!moved.unwrap().is_quiesced(), "the reader is in the middle");
    });
    let mut reader = board.space.reader();
    let mut bytes = [0; 8];
    reader.read(0x10fc, &mut bytes, CPU).unwrap();
    assert_eq!(bytes, [7, 0, 0, 0, 0x11, 0x11, 0x11, 0x11]);
    device.rest();
    assert_eq!(
        reader.load::<u32>(0x10fc, Endianness::Little, CPU),
        Err(MemTxError::DECODE_ERROR)
    );
    assert_eq!(reader.load::<u32>(0x5000, Endianness::Little, CPU), Ok(7));
    assert_eq!(device.calls(), 2);
    board.update(|_| Ok(())).is_quiesced();
}

/// O2: an IOMMU whose tables lie behind itself finds nothing there, and does not go round for ever.
#[test]
fn an_iommu_does_not_translate_for_itself() {
    struct Walker(
        std::sync::OnceLock<AddressSpace>,
        Mutex<Vec<Result<u32, MemTxError>>>,
    );
    impl IommuOps for Walker {
        fn translate(&self, iova: u64, _: IommuAccess, _: u32) -> IotlbEntry {
            let space = self.0.get().unwrap();
            let entry = space.load::<u32>(0x1000, Endianness::Little, CPU);
            self.1.lock().unwrap().push(entry);
            IotlbEntry {
                target: Some(space.clone()),
                iova,
                translated_address: 0x8000,
                address_mask: 0xfff,
                permission: IommuAccess::all(),
            }
        }
    }
    let board = Board::new();
    let walker = Arc::new(Walker(Default::default(), Mutex::default()));
    let iommu = board.memory.region("iommu").iommu(0x4000_u64, walker.clone());
    let ram = board
        .memory
        .region("ram")
        .ram(RamBlock::anonymous(0x1000).unwrap());
    board.map(&board.system, 0, &iommu);
    board.map(&board.system, 0x8000, &ram);
    walker.0.set(board.space.clone()).unwrap();
    assert_eq!(load(&board, 0x2000), Ok(0));
    let walks = walker.1.lock().unwrap().clone();
    assert!(!walks.is_empty() && walks.iter().all(|&walk| walk == Err(MemTxError::DECODE_ERROR)));
}
