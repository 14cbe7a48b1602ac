//! Group I of the reference: ioeventfds follow what a view shows. The order in which they sort is in the
//! vector AB16; what is refused is in `bad_input.rs`.

mod support;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flatview::{
    AccessRules, AccessSizes, Endianness, Error, EventNotifier, MemTxAttrs, MemoryRegionOps, RamBlock,
};
use support::registers::Registers;
use support::{Board, Inert, Listening, notifier};

/// What is heard of ioeventfds, in order, and nothing else but their ranges.
#[track_caller]
fn hears(scene: &Listening, expected: &[&str]) {
    let heard = scene.log.take();
    assert!(!heard.iter().any(|line| line.contains("MISTAKE")), "{heard:#?}");
    let events: Vec<_> = heard
        .iter()
        .filter_map(|line| line.strip_prefix("L.eventfd_"))
        .collect();
    assert_eq!(events, expected);
}

/// I1: on a region of any kind that is a range, whatever its state.
#[test]
fn any_region_can_have_ioeventfds() {
    let Listening { board, io, .. } = &Listening::new();
    let memory = &board.memory;
    let block = || RamBlock::unbacked(0x1000);
    let regions = [
        io.clone(),
        memory.region("ram").ram(block()),
        memory.region("ram device").ram_device(block()),
        memory.region("flash").rom_device(block(), Arc::new(Inert)),
        memory.region("reservation").reservation(0x1000),
        memory
            .region("disabled")
            .enabled(false)
            .io(0x1000, Arc::new(Inert)),
    ];
    let notifier = notifier();
    for region in &regions {
        for (offset, size) in [(0, 0), (0, 1), (0xffe, 2), (0xffc, 4), (0xff8, 8), (0xfff, 0)] {
            board.update(|tx| tx.add_eventfd(region, offset, size, None, &notifier));
        }
        assert_eq!(region.state().unwrap().ioeventfds.len(), 6);
    }
}

/// I1, I2, I4, without I5: one is the same only if all of it is.
#[test]
fn what_is_deleted_is_exactly_what_was_added() {
    let scene = Listening::new();
    let Listening { board, io, .. } = &scene;
    let (one, other) = (notifier(), notifier());
    let all = [
        (0, 0, None, &one),
        (0, 4, None, &one),
        (0, 4, None, &other),
        (0, 4, Some(0), &one),
        (0, 4, Some(1), &one),
        (4, 4, Some(1), &one),
    ];
    board.update(|tx| {
        all.iter().try_for_each(|&(offset, size, value, notifier)| {
            tx.add_eventfd(io, offset, size, value, notifier)
        })
    });
    hears(
        &scene,
        &[
            "add 1000/0",
            "add 1000/4",
            "add 1000/4",
            "add 1000/4=0",
            "add 1000/4=1",
            "add 1004/4=1",
        ],
    );
    for (index, &(offset, size, value, notifier)) in all.iter().enumerate() {
        board.update(|tx| {
            let again = tx.add_eventfd(io, offset, size, value, notifier);
            assert!(matches!(again, Err(Error::EventFd { present: true, .. })));
            tx.del_eventfd(io, offset, size, value, notifier)?;
            let again = tx.del_eventfd(io, offset, size, value, notifier);
            assert!(matches!(again, Err(Error::EventFd { present: false, .. })));
            Ok(())
        });
        let left = io.state().unwrap().ioeventfds;
        assert_eq!(left.len(), all.len() - 1 - index);
        assert!(
            left.iter()
                .all(|one| (one.address, one.size, one.datamatch, &one.notifier)
                    != (offset, size, value, notifier))
        );
    }
    hears(
        &scene,
        &[
            "del 1000/0",
            "del 1000/4",
            "del 1000/4",
            "del 1000/4=0",
            "del 1000/4=1",
            "del 1004/4=1",
        ],
    );
}

/// I6: QEMU stores the value in the device's byte order; here it is the device's value throughout.
#[test]
fn the_value_to_match_is_kept_as_given() {
    let Listening { board, io, .. } = &Listening::new();
    board.update(|tx| tx.add_eventfd(io, 0, 2, Some(0x1234_5678), &notifier()));
    assert_eq!(io.state().unwrap().ioeventfds[0].datamatch, Some(0x1234_5678));
}

/// I6, I12: listeners compare with what is on the bus.
#[test]
fn listeners_hear_the_bytes_that_the_guest_writes() {
    let scene = Listening::new();
    let Listening { board, .. } = &scene;
    let big = Registers::new(AccessRules::any(Endianness::Big));
    let device = board
        .memory
        .region("device")
        .io(0x100, big as Arc<dyn MemoryRegionOps>);
    board.map(&board.system, 0x4000, &device);
    scene.log.take();
    let one = notifier();
    board.update(|tx| {
        tx.add_eventfd(&device, 0, 2, Some(0x1234), &one)?;
        tx.add_eventfd(&device, 8, 8, Some(0x0102_0304_0506_0708), &one)?;
        tx.add_eventfd(&device, 0x10, 1, Some(0xff01), &one)?;
        tx.add_eventfd(&device, 0x20, 0, Some(0x1234), &one)
    });
    hears(
        &scene,
        &[
            "add 4000/2=3412",
            "add 4008/8=807060504030201",
            "add 4010/1=1",
            "add 4020/0=1234",
        ],
    );
    // Two that mean the same are heard of once.
    board.update(|tx| tx.add_eventfd(&device, 0x10, 1, Some(0x201), &one));
    hears(&scene, &[]);
}

/// I7, F14: at the address where the view shows them, and wherever it does.
//
//  io @1000, a window onto io@800 at 8000
#[test]
fn ioeventfds_are_where_their_region_is_shown() {
    let scene = Listening::new();
    let Listening { board, io, .. } = &scene;
    let window = board.alias("window", io, 0x800, 0x100);
    board.update(|tx| {
        tx.add_eventfd(io, 0x10, 4, Some(1), &notifier())?;
        tx.add_eventfd(io, 0x810, 4, Some(2), &notifier())?;
        tx.add_subregion(&board.system, 0x8000, &window)
    });
    hears(&scene, &["add 1010/4=1", "add 1810/4=2", "add 8010/4=2"]);
    board.update(|tx| tx.set_address(io, 0x4000));
    hears(
        &scene,
        &["del 1010/4=1", "del 1810/4=2", "add 4010/4=1", "add 4810/4=2"],
    );
    board.update(|tx| tx.set_alias_offset(&window, 0));
    hears(&scene, &["del 8010/4=2", "add 8010/4=1"]);
    assert_eq!(
        scene.listener.others(),
        ["eventfd 4010/4=1", "eventfd 4810/4=2", "eventfd 8010/4=1"]
    );
    board.update(|tx| tx.set_enabled(io, false));
    hears(&scene, &["del 4010/4=1", "del 4810/4=2", "del 8010/4=1"]);
}

/// I7: one that is partly hidden is there with its full length; one whose range is split counts once.
//
//        1000        1ffc       2000
//  io:   [iiiiiiiiiii[ 8 bytes |
//  lid:                   [ over the last 6 of them ]
#[test]
fn an_ioeventfd_is_there_while_any_byte_of_it_is_shown() {
    let scene = Listening::new();
    let Listening { board, io, .. } = &scene;
    board.update(|tx| tx.add_eventfd(io, 0xff8, 8, None, &notifier()));
    hears(&scene, &["add 1ff8/8"]);
    let lid = board.io("lid", 2);
    board.overlap(&board.system, 0x1ffe, &lid, 1);
    hears(&scene, &[]);
    // In the middle: io is shown on both sides, and so are both ends of the ioeventfd.
    board.update(|tx| tx.set_address(&lid, 0x1ffa));
    hears(&scene, &[]);
    assert_eq!(board.space.view().len(), 3);
    board.update(|tx| {
        tx.set_address(&lid, 0x1ff8)?;
        tx.set_size(&lid, 8)
    });
    hears(&scene, &["del 1ff8/8"]);
    board.unmap(&board.system, &lid);
    hears(&scene, &["add 1ff8/8"]);
}

/// I7: one for any length counts as one byte.
#[test]
fn an_ioeventfd_for_any_length_is_at_one_byte() {
    let scene = Listening::new();
    let Listening { board, io, .. } = &scene;
    board.update(|tx| tx.add_eventfd(io, 0x10, 0, None, &notifier()));
    hears(&scene, &["add 1010/0"]);
    let lid = board.io("lid", 1);
    board.overlap(&board.system, 0x1011, &lid, 1);
    hears(&scene, &[]);
    board.update(|tx| tx.set_address(&lid, 0x1010));
    hears(&scene, &["del 1010/0"]);
}

/// I7: what would begin below address 0 cannot be told to anybody.
#[test]
fn an_ioeventfd_that_begins_before_the_space_is_not_there() {
    let scene = Listening::new();
    let Listening { board, io, .. } = &scene;
    board.update(|tx| tx.add_eventfd(io, 0, 8, None, &notifier()));
    hears(&scene, &["add 1000/8"]);
    board.map(&board.system, 0, &board.alias("cut", io, 4, 0x100));
    hears(&scene, &[]);
    board.shows(&["0-ff io@4", "1000-1fff io@0"]);
}

/// I8, I9: what is gone comes before what is new, and what stays is not mentioned.
#[test]
fn only_the_difference_is_told_and_deletions_first() {
    let scene = Listening::new();
    let Listening { board, io, .. } = &scene;
    let notifiers = [notifier(), notifier(), notifier()];
    board.update(|tx| {
        (0..)
            .zip(&notifiers)
            .try_for_each(|(index, notifier)| tx.add_eventfd(io, index * 4, 4, None, notifier))
    });
    scene.log.take();
    board.update(|tx| {
        tx.add_eventfd(io, 0, 4, Some(1), &notifiers[0])?;
        tx.del_eventfd(io, 0, 4, None, &notifiers[0])?;
        tx.del_eventfd(io, 8, 4, None, &notifiers[2])?;
        tx.add_eventfd(io, 8, 4, None, &notifiers[0])
    });
    hears(
        &scene,
        &["del 1000/4", "del 1008/4", "add 1000/4=1", "add 1008/4"],
    );
    // A change elsewhere, a change that comes to nothing, and a change of what is shown elsewhere.
    board.map(&board.system, 0x8000, &board.io("elsewhere", 0x1000));
    board.update(|tx| {
        tx.del_eventfd(io, 4, 4, None, &notifiers[1])?;
        tx.add_eventfd(io, 4, 4, None, &notifiers[1])
    });
    board.overlap(&board.system, 0x1800, &board.io("lid", 0x100), 1);
    hears(&scene, &[]);
}

/// I8: two regions take each other's place.
#[test]
fn ioeventfds_of_regions_that_change_places_go_along() {
    let scene = Listening::new();
    let Listening { board, io, .. } = &scene;
    let other = board.io("other", 0x1000);
    board.update(|tx| {
        tx.add_subregion(&board.system, 0x2000, &other)?;
        tx.add_eventfd(io, 0, 4, Some(1), &notifier())?;
        tx.add_eventfd(&other, 0, 4, Some(2), &notifier())
    });
    hears(&scene, &["add 1000/4=1", "add 2000/4=2"]);
    board.update(|tx| {
        tx.set_address(io, 0x2000)?;
        tx.set_address(&other, 0x1000)
    });
    hears(
        &scene,
        &["del 1000/4=1", "del 2000/4=2", "add 1000/4=2", "add 2000/4=1"],
    );
}

/// A descriptor that says when it is closed.
struct Watched(File, Arc<AtomicBool>);

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        assert!(!self.1.load(Ordering::Relaxed), "it is open");
        self.0.as_fd()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.1.store(true, Ordering::Relaxed);
    }
}

/// I14: who adds an ioeventfd need not keep it open; it is open until no view shows it any more.
#[test]
fn a_descriptor_stays_open_for_as_long_as_a_listener_may_need_it() {
    let scene = Listening::new();
    let Listening { board, io, .. } = &scene;
    let closed = Arc::new(AtomicBool::new(false));
    let watched = Watched(File::open("/dev/null").unwrap(), Arc::clone(&closed));
    let notifier = EventNotifier::new(watched);
    board.update(|tx| tx.add_eventfd(io, 0, 4, None, &notifier));
    drop(notifier);
    let is_open = Arc::clone(&closed);
    scene
        .log
        .run_at("L.eventfd_del", move || assert!(!is_open.load(Ordering::Relaxed)));
    let eventfd = io.state().unwrap().ioeventfds.remove(0);
    let snapshot = board.space.view();
    let receipt = board.update(move |tx| tx.del_eventfd(io, 0, 4, None, &eventfd.notifier));
    hears(&scene, &["add 1000/4", "del 1000/4"]);
    drop(snapshot);
    receipt.wait().unwrap();
    assert_eq!(scene.log.disarm(), 0);
    assert!(closed.load(Ordering::Relaxed));
}

/// I11, AB16 without I5: in software a write that matches signals and does not reach the device; of several the one
/// that says most.
#[test]
fn a_write_that_matches_signals_and_goes_no_further() {
    let board = Board::new();
    let ops = Registers::plain();
    let device = board
        .memory
        .region("device")
        .io(0x100, Arc::clone(&ops) as Arc<dyn MemoryRegionOps>);
    board.map(&board.system, 0x1000, &device);
    let [five, six, any, word, later] = [(); 5].map(|()| EventNotifier::eventfd().unwrap());
    board.update(|tx| {
        tx.add_eventfd(&device, 0, 4, Some(5), &five)?;
        tx.add_eventfd(&device, 0, 4, Some(6), &six)?;
        tx.add_eventfd(&device, 0, 0, None, &any)?;
        tx.add_eventfd(&device, 8, 2, None, &word)
    });
    let mut reader = board.space.reader();
    let mut signals = |address, bytes: &[u8]| {
        reader.write(address, bytes, MemTxAttrs::UNSPECIFIED).unwrap();
        let all = [&five, &six, &any, &word, &later];
        let set: Vec<usize> = (0..5)
            .filter(|&index| all[index].test_and_clear().unwrap())
            .collect();
        (set, ops.calls())
    };
    let none = Vec::<String>::new();
    assert_eq!(signals(0x1000, &[5, 0, 0, 0]), (vec![0], none.clone()));
    assert_eq!(signals(0x1000, &[6, 0, 0, 0]), (vec![1], none.clone()));
    assert_eq!(
        signals(0x1000, &[7, 0, 0, 0]),
        (vec![2], none.clone()),
        "any value"
    );
    assert_eq!(signals(0x1000, &[6]), (vec![2], none.clone()), "any length");
    assert_eq!(signals(0x1008, &[1, 2]), (vec![3], none.clone()));
    assert_eq!(
        signals(0x1008, &[1, 2, 3, 4]),
        (vec![], vec!["w4@8=4030201".to_owned()]),
        "another length"
    );
    assert_eq!(
        signals(0x1009, &[1]),
        (vec![], vec!["w1@9=1".to_owned()]),
        "another address"
    );
    assert_eq!(
        reader.load::<u16>(0x1008, Endianness::Little, MemTxAttrs::UNSPECIFIED),
        Ok(0x0101)
    );
    assert_eq!(ops.calls(), ["r2@8"], "reads never match");

    let mut signals = |address, bytes: &[u8]| {
        reader.write(address, bytes, MemTxAttrs::UNSPECIFIED).unwrap();
        (
            later.test_and_clear().unwrap(),
            any.test_and_clear().unwrap(),
            ops.calls().len(),
        )
    };
    let failed = board.memory.update(|tx| {
        tx.add_eventfd(&device, 0x10, 1, None, &later)?;
        Err::<(), _>(Error::other("no"))
    });
    assert!(failed.is_err());
    assert_eq!(signals(0x1010, &[1]), (false, false, 1), "it was never there");
    board.update(|tx| tx.add_eventfd(&device, 0x10, 1, None, &later));
    assert_eq!(signals(0x1010, &[1]), (true, false, 0));
    board.update(|tx| tx.del_eventfd(&device, 0x10, 1, None, &later));
    assert_eq!(signals(0x1010, &[1]), (false, false, 1));
    assert_eq!(
        signals(0x1000, &[1]),
        (false, true, 0),
        "the others are still there"
    );
}

/// I6, I11: the value is the device's, so a big-endian device sees the bytes of a buffer from the other end.
#[test]
fn the_value_that_is_matched_is_that_of_the_device() {
    let board = Board::new();
    let any = AccessSizes {
        min: 1,
        max: 8,
        unaligned: true,
    };
    let rules = AccessRules {
        valid: Some(any),
        implemented: any,
        endianness: Endianness::Big,
    };
    let ops = Registers::new(rules);
    let device = board
        .memory
        .region("device")
        .io(0x100, Arc::clone(&ops) as Arc<dyn MemoryRegionOps>);
    board.map(&board.system, 0, &device);
    let notifier = EventNotifier::eventfd().unwrap();
    board.update(|tx| tx.add_eventfd(&device, 0, 2, Some(0x1234), &notifier));
    board
        .space
        .write(0, &[0x34, 0x12], MemTxAttrs::UNSPECIFIED)
        .unwrap();
    assert!(!notifier.test_and_clear().unwrap());
    board
        .space
        .write(0, &[0x12, 0x34], MemTxAttrs::UNSPECIFIED)
        .unwrap();
    assert!(notifier.test_and_clear().unwrap());
    assert_eq!(ops.calls(), ["w2@0=3412"]);
}
