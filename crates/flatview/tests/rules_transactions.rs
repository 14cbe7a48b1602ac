//! Group E of the reference: updates, and what they may not do. Readers and receipts are in
//! `rules_receipts.rs`, listeners that fail in `rules_rollback.rs`.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use flatview::{Error, Region};
use support::{Board, Log, Recorder, children, notifier, truth};

/// E1, E2: nesting is refused, not counted; the outer update goes on.
#[test]
fn an_update_within_an_update_is_refused_and_harms_nobody() {
    let board = Board::new();
    let (a, b) = (board.io("a", 0x1000), board.io("b", 0x1000));
    board.update(|tx| {
        tx.add_subregion(&board.system, 0, &a)?;
        let inner = board
            .memory
            .update(|tx| tx.add_subregion(&board.system, 0x1000, &b));
        assert!(matches!(inner, Err(Error::NestedUpdate)));
        let space = board.memory.create_address_space("another", &board.system);
        assert!(matches!(space, Err(Error::NestedUpdate)));
        assert!(matches!(board.space.destroy(), Err(Error::NestedUpdate)));
        let listener = Arc::new(Recorder::new("L", 0, &Log::new()));
        assert!(matches!(board.space.register(listener), Err(Error::NestedUpdate)));
        tx.add_subregion(&board.system, 0x2000, &b)
    });
    board.shows(&["0-fff a@0", "2000-2fff b@0"]);
    assert_eq!(board.memory.address_spaces().len(), 1);
}

/// E1: "nested" means the same memory. There are no globals.
#[test]
fn machines_are_updated_independently() {
    let (here, there) = (Board::new(), Board::new());
    here.update(|tx| {
        there.map(&there.system, 0, &there.io("there", 0x1000));
        tx.add_subregion(&here.system, 0, &here.io("here", 0x1000))
    });
    here.shows(&["0-fff here@0"]);
    there.shows(&["0-fff there@0"]);
}

/// E3, E5, I15: what a view shows stays, so no range is gone or new. Unlike QEMU's, the listeners hear `begin`
/// and `commit` around it, and only those whose space has the ioeventfd.
#[test]
fn an_ioeventfd_alone_replaces_no_range() {
    let board = Board::new();
    let io = board.io("io", 0x1000);
    board.map(&board.system, 0, &io);
    let log = Log::new();
    let (_l, _registration) = Recorder::new("L", 0, &log).with_nops().on(&board.space);
    board.update(|tx| tx.add_eventfd(&io, 0, 4, None, &notifier()));
    log.heard(&[
        "L.prepare",
        "L.begin",
        "L.region_nop 0-fff io@0",
        "L.eventfd_add 0/4",
        "L.commit",
    ]);
}

/// E4, G9: everybody prepares and begins, by priority; then space by space in order of creation.
#[test]
fn one_update_of_two_spaces_is_one_commit() {
    let board = Board::new();
    let second_root = board.container("second root", 0x1_0000);
    let second = board.look_at("second", &second_root);
    let log = Log::new();
    let (_l5, _r5) = Recorder::new("of second, 5", 5, &log).on(&second);
    let (_l9, _r9) = Recorder::new("of first, 9", 9, &log).on(&board.space);
    let (_l0, _r0) = Recorder::new("of second, 0", 0, &log).on(&second);
    board.update(|tx| {
        tx.add_subregion(&second_root, 0, &board.io("b", 0x1000))?;
        tx.add_subregion(&board.system, 0, &board.io("a", 0x1000))
    });
    log.heard(&[
        "of second, 0.prepare",
        "of second, 5.prepare",
        "of first, 9.prepare",
        "of second, 0.begin",
        "of second, 5.begin",
        "of first, 9.begin",
        "of first, 9.region_add 0-fff a@0",
        "of second, 0.region_add 0-fff b@0",
        "of second, 5.region_add 0-fff b@0",
        "of second, 0.commit",
        "of second, 5.commit",
        "of first, 9.commit",
    ]);
}

/// E6, B9: what nobody sees, nobody hears of. QEMU renders everything anew for some of these.
#[test]
fn changes_that_nobody_sees_are_not_told() {
    let board = Board::new();
    let (io, off) = (board.io("io", 0x1000), board.io("off", 0x1000));
    let (hidden, shelf) = (board.io("hidden", 0x1000), board.container("shelf", 0x1000));
    board.update(|tx| {
        tx.add_subregion_overlap(&board.system, 0, &io, 1)?;
        tx.set_enabled(&off, false)?;
        tx.add_subregion(&board.system, 0x8000, &off)?;
        tx.add_subregion(&board.system, 0, &hidden)
    });
    let log = Log::new();
    let (_l, _registration) = Recorder::new("L", 0, &log).with_nops().on(&board.space);
    board.update(|_| Ok(()));
    board.update(|tx| tx.add_subregion(&shelf, 0, &board.io("on the shelf", 0x1000)));
    board.update(|tx| {
        tx.set_readonly(&off, true)?;
        tx.set_size(&off, 0x10)?;
        tx.set_address(&off, 0x9000)
    });
    board.update(|tx| {
        tx.set_size(&hidden, 0x800)?;
        tx.set_address(&hidden, 0x800)
    });
    board.update(|tx| tx.set_enabled(&io, true));
    log.heard(&[]);
    board.shows(&["0-fff io@0"]);
}

/// E11: one commit carries what all changes together come to, and none if that is nothing.
#[test]
fn only_the_sum_of_the_changes_is_told() {
    let board = Board::new();
    let (a, b) = (board.io("a", 0x1000), board.io("b", 0x1000));
    board.map(&board.system, 0, &a);
    let log = Log::new();
    let (_l, _registration) = Recorder::new("L", 0, &log).on(&board.space);
    board.update(|tx| {
        tx.set_enabled(&a, false)?;
        tx.del_subregion(&board.system, &a)?;
        tx.add_subregion(&board.system, 0x4000, &b)?;
        tx.add_subregion(&board.system, 0, &a)?;
        tx.del_subregion(&board.system, &b)?;
        tx.set_enabled(&a, true)
    });
    log.heard(&[]);
    board.update(|tx| {
        tx.set_address(&a, 0x4000)?;
        tx.add_subregion(&board.system, 0, &b)?;
        tx.set_address(&a, 0x5000)?;
        tx.set_size(&a, 0x800)
    });
    log.heard(&[
        "L.prepare",
        "L.begin",
        "L.region_del 0-fff a@0",
        "L.region_add 0-fff b@0",
        "L.region_add 5000-57ff a@0",
        "L.commit",
    ]);
}

/// E8: unlike QEMU's, all spaces change together, after the last listener has committed.
#[test]
fn listeners_see_the_old_view_of_every_space_until_all_have_committed() {
    let board = Board::new();
    let second_root = board.container("second root", 0x1000);
    let second = board.look_at("second", &second_root);
    let log = Log::new();
    let (_l0, _r0) = Recorder::new("L0", 0, &log).on(&board.space);
    let (_l1, _r1) = Recorder::new("L1", 1, &log).on(&second);
    let seen = Arc::new(Mutex::new(Vec::new()));
    for callback in [
        "L0.prepare",
        "L0.region_add",
        "L0.commit",
        "L1.region_add",
        "L1.commit",
    ] {
        let (seen, first, second) = (Arc::clone(&seen), board.space.clone(), second.clone());
        log.run_at(callback, move || {
            seen.lock()
                .unwrap()
                .push((first.view().len(), second.view().len()));
        });
    }
    board.update(|tx| {
        tx.add_subregion(&board.system, 0, &board.io("a", 0x1000))?;
        tx.add_subregion(&second_root, 0, &board.io("b", 0x1000))
    });
    assert_eq!(log.disarm(), 0);
    assert_eq!(*seen.lock().unwrap(), [(0, 0); 5]);
    assert_eq!((board.space.view().len(), second.view().len()), (1, 1));
}

/// E9: nothing of the sort recurses; each says so at once, from whichever callback.
#[test]
fn a_listener_cannot_change_anything() {
    for callback in ["L.prepare", "L.begin", "L.region_del", "L.region_add", "L.commit"] {
        let board = Board::new();
        let io = board.io("io", 0x1000);
        let first = board.map(&board.system, 0, &io);
        let log = Log::new();
        let (_l, _registration) = Recorder::new("L", 0, &log).on(&board.space);
        let refusals = Arc::new(Mutex::new(Vec::new()));
        let (memory, space, root) = (board.memory.clone(), board.space.clone(), board.system.clone());
        let (heard, refused) = (Log::new(), Arc::clone(&refusals));
        log.run_at(callback, move || {
            let mut refused = refused.lock().unwrap();
            let mut note = |what: &'static str, result: Result<(), Error>| {
                refused.push((what, result.unwrap_err().to_string()));
            };
            note("update", memory.update(|_| Ok(())).map(drop));
            note("create", memory.create_address_space("another", &root).map(drop));
            let another = Arc::new(Recorder::new("another", 0, &heard));
            note("register", space.register(another).map(drop));
            note("destroy", space.destroy().map(drop));
            note(
                "track",
                memory
                    .global_dirty_log_start(flatview::GlobalDirty::LIMIT)
                    .map(drop),
            );
            note("sync", memory.global_dirty_log_sync(false));
            note("wait", first.wait());
            assert_eq!(heard.take(), [""; 0]);
        });
        board.update(|tx| tx.set_address(&io, 0x4000));
        assert_eq!(log.disarm(), 0, "{callback} was called");
        let nested = "an update of this memory already runs on this thread; updates do not nest";
        for (what, refusal) in refusals.lock().unwrap().iter() {
            match *what {
                "wait" => assert!(
                    refusal.starts_with("cannot wait for a receipt within"),
                    "{refusal}"
                ),
                _ => assert_eq!(refusal, nested, "{what}"),
            }
        }
        assert_eq!(refusals.lock().unwrap().len(), 7);
        board.shows(&["4000-4fff io@0"]);
        board.update(|_| Ok(()));
    }
}

/// E9, A19: looking is no change, and neither is making a region.
#[test]
fn a_listener_may_look_and_may_make_regions() {
    let board = Board::new();
    let log = Log::new();
    let (_l, _registration) = Recorder::new("L", 0, &log).on(&board.space);
    let io = board.io("io", 0x1000);
    let (memory, system, moved) = (board.memory.clone(), board.system.clone(), io.clone());
    let made = Arc::new(Mutex::new(None));
    let out = Arc::clone(&made);
    log.run_at("L.region_add", move || {
        assert_eq!(moved.state().unwrap().address, 0x4000, "the tree is the new one");
        assert_eq!(system.subregions().unwrap().len(), 1);
        assert!(
            memory.find(&system, 0x4000, 1).unwrap().is_none(),
            "the view is not"
        );
        assert_eq!(memory.address_spaces().len(), 1);
        *out.lock().unwrap() = Some(memory.region("made").container(0x10));
    });
    board.map(&board.system, 0x4000, &io);
    assert_eq!(log.disarm(), 0);
    let made: Option<Region> = made.lock().unwrap().take();
    board.map(&board.system, 0, &made.unwrap());
}

/// One of everything that can be set, in a tree whose order matters.
fn change_everything(board: &Board, regions: &[Region; 3]) -> impl FnOnce(&mut flatview::Transaction<'_>) {
    let (system, [a, b, ram]) = (board.system.clone(), regions.clone());
    let (new, alias) = (board.io("new", 0x1000), board.alias("alias", &ram, 0, 0x1000));
    move |tx| {
        let mut change = || {
            tx.set_address(&a, 0x800)?;
            tx.set_size(&b, 0x3000)?;
            tx.set_readonly(&b, true)?;
            tx.set_nonvolatile(&b, true)?;
            tx.set_unmergeable(&b, true)?;
            tx.set_log(&ram, true)?;
            tx.add_eventfd(&a, 0, 4, Some(1), &notifier())?;
            tx.set_coalescing(&b)?;
            tx.set_flush_coalesced(&ram, true)?;
            tx.del_subregion(&system, &ram)?;
            tx.add_subregion_overlap(&system, 0x9000, &ram, -4)?;
            tx.add_subregion(&system, 0, &new)?;
            tx.add_subregion(&new, 0, &alias)?;
            tx.set_alias_offset(&alias, 0x10)?;
            tx.set_enabled(&a, false)?;
            tx.set_code_logging(true);
            Ok::<(), Error>(())
        };
        change().expect("all of it is allowed");
    }
}

/// E10: the error or the panic of the closure undoes all of it, the order of equals included.
#[test]
fn a_closure_that_fails_or_panics_leaves_no_trace() {
    let board = Board::new();
    let regions = [
        board.io("a", 0x2000),
        board.io("b", 0x2000),
        board.ram("ram", 0x1000),
    ];
    for (place, region) in (0..).zip(&regions) {
        board.map(&board.system, place * 0x1000, region);
    }
    let log = Log::new();
    let (_l, _registration) = Recorder::new("L", 0, &log).with_nops().on(&board.space);
    let mut everything = regions.to_vec();
    everything.push(board.system.clone());
    let picture = || truth(&board.memory, &everything);
    let before = picture();
    assert_eq!(children(&board.system), ["ram", "b", "a"]);

    let refused: Result<_, Error> = board.memory.update(|tx| {
        change_everything(&board, &regions)(tx);
        assert_ne!(picture(), before);
        Err::<(), _>(Error::other("changed my mind"))
    });
    assert_eq!(refused.unwrap_err().to_string(), "changed my mind");
    assert_eq!(picture(), before);

    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _ = board.memory.update(|tx| -> Result<(), Error> {
            change_everything(&board, &regions)(tx);
            panic!("on purpose");
        });
    }));
    assert!(panicked.is_err());
    assert_eq!(picture(), before);
    log.heard(&[]);

    // And nothing is stuck.
    board.update(|tx| {
        change_everything(&board, &regions)(tx);
        Ok(())
    });
    assert_ne!(picture(), before);
}

/// E10: a verb that is refused changes nothing, and the closure may go on.
#[test]
fn a_refused_verb_does_not_end_the_update() {
    let board = Board::new();
    let io = board.io("io", 0x1000);
    let receipt = board.memory.update(|tx| {
        tx.add_subregion(&board.system, 0, &io)?;
        assert!(tx.add_subregion(&board.system, 0x1000, &io).is_err());
        Ok(42)
    });
    assert_eq!(*receipt.as_ref().unwrap().value(), 42);
    assert_eq!(receipt.unwrap().into_value(), 42);
    board.shows(&["0-fff io@0"]);
}

/// E14: a PAM register of QEMU's i440FX.
#[test]
fn thirteen_windows_change_in_one_commit() {
    let board = Board::new();
    let ram = board.ram("ram", 0x10_0000);
    let windows: Vec<Region> = (0..13)
        .map(|index| board.alias("window", &ram, 0xc_0000 + index * 0x4000, 0x4000))
        .collect();
    board.map(&board.system, 0, &board.io("pci hole", 0x10_0000));
    board.update(|tx| {
        (0..).zip(&windows).try_for_each(|(index, window)| {
            tx.set_enabled(window, false)?;
            tx.add_subregion_overlap(&board.system, 0xc_0000 + index * 0x4000, window, 1)
        })
    });
    let log = Log::new();
    let (_l, _registration) = Recorder::new("L", 0, &log).on(&board.space);
    board.update(|tx| windows.iter().try_for_each(|window| tx.set_enabled(window, true)));
    log.heard(&[
        "L.prepare",
        "L.begin",
        "L.region_del 0-fffff pci hole@0",
        "L.region_add 0-bffff pci hole@0",
        "L.region_add c0000-f3fff ram@c0000",
        "L.region_add f4000-fffff pci hole@f4000",
        "L.commit",
    ]);
}
