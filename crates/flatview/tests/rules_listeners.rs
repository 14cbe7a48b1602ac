//! Group F of the reference: listeners, their order, and how they join and leave. Listeners that fail are in
//! `rules_rollback.rs` and `rules_joining.rs`.

mod support;

use std::sync::{Arc, Mutex};

use flatview::{
    AddressRange, AddressSpace, Error, FlatRange, GlobalDirty, ListenerResult, MemoryListener,
    MemoryRegionSection, Registration, ViewChange, WeakMemory, listener::priority,
};
use support::{Board, Log, Recorder, busy_board, line, lines, notifier};

/// F1: only a name is needed.
#[test]
fn every_callback_is_optional() {
    struct Deaf;
    impl MemoryListener for Deaf {
        fn name(&self) -> &str {
            "deaf"
        }
    }
    assert_eq!(Deaf.priority(), priority::MIN);
    let board = Board::new();
    let ram = board.ram("ram", 0x1000);
    board.map(&board.system, 0, &ram);
    let _registration = board.space.register(Arc::new(Deaf)).unwrap();
    board.update(|tx| {
        tx.set_log(&ram, true)?;
        tx.set_coalescing(&ram)?;
        tx.add_eventfd(&ram, 0, 4, None, &notifier())
    });
    board.unmap(&board.system, &ram);
    board
        .memory
        .global_dirty_log_start(GlobalDirty::MIGRATION)
        .unwrap();
    board.memory.global_dirty_log_sync(true).unwrap();
    board.memory.clear_dirty_bitmap(&ram, AddressRange::ALL).unwrap();
    board
        .memory
        .global_dirty_log_stop(GlobalDirty::MIGRATION)
        .unwrap();
}

/// F6: KVM and vhost come after those who have no priority.
#[test]
fn accelerators_come_after_everybody_else() {
    assert_eq!(
        (priority::MIN, priority::ACCEL, priority::DEV_BACKEND),
        (0, 10, 10)
    );
}

/// F3: equal priorities in order of registration, wherever in between it was.
#[test]
fn listeners_of_equal_priority_are_called_in_order_of_registration() {
    let board = Board::new();
    let log = Log::new();
    let _listeners = [("a", 5), ("low", 0), ("b", 5), ("high", u32::MAX), ("c", 5)]
        .map(|(name, priority)| Recorder::new(name, priority, &log).on(&board.space));
    let io = board.io("io", 0x1000);
    let order = || {
        let heard = log.take();
        let called = |callback: &str| -> Vec<String> {
            let lines = heard.iter().filter_map(|line| line.split_once('.'));
            lines
                .filter(|(_, what)| what.starts_with(callback))
                .map(|(name, _)| name.to_owned())
                .collect()
        };
        (called("region_add"), called("region_del"), called("commit"))
    };
    let ascending = ["low", "a", "b", "c", "high"].map(str::to_owned).to_vec();
    let descending: Vec<String> = ascending.iter().rev().cloned().collect();
    board.map(&board.system, 0, &io);
    assert_eq!(order(), (ascending.clone(), vec![], ascending.clone()));
    board.unmap(&board.system, &io);
    assert_eq!(order(), (vec![], descending, ascending));
}

/// F4, and F5 as documented: what adds ascending, what removes descending, ioeventfds too.
#[test]
fn what_adds_goes_up_and_what_removes_goes_down() {
    let board = Board::new();
    let (ram, io) = (board.ram("ram", 0x1000), board.io("io", 0x1000));
    board.map(&board.system, 0, &ram);
    let log = Log::new();
    let (_l0, _r0) = Recorder::new("L0", 0, &log).with_nops().on(&board.space);
    let (_l1, _r1) = Recorder::new("L1", 1, &log).with_nops().on(&board.space);
    let notifier = notifier();
    board.update(|tx| {
        tx.set_log(&ram, true)?;
        tx.set_coalescing(&io)?;
        tx.add_eventfd(&io, 8, 4, Some(1), &notifier)?;
        tx.add_subregion(&board.system, 0x1000, &io)
    });
    log.heard(&[
        "L0.prepare",
        "L1.prepare",
        "L0.begin",
        "L1.begin",
        "L0.region_nop 0-fff ram@0 log=1",
        "L1.region_nop 0-fff ram@0 log=1",
        "L0.log_start 0-fff 0->1",
        "L1.log_start 0-fff 0->1",
        "L0.region_add 1000-1fff io@0",
        "L1.region_add 1000-1fff io@0",
        "L0.coalesced_io_add 1000-1fff",
        "L1.coalesced_io_add 1000-1fff",
        "L0.eventfd_add 1008/4=1",
        "L1.eventfd_add 1008/4=1",
        "L0.commit",
        "L1.commit",
    ]);
    board.update(|tx| {
        tx.set_log(&ram, false)?;
        tx.del_subregion(&board.system, &io)
    });
    log.heard(&[
        "L0.prepare",
        "L1.prepare",
        "L0.begin",
        "L1.begin",
        "L1.coalesced_io_del 1000-1fff",
        "L0.coalesced_io_del 1000-1fff",
        "L1.region_del 1000-1fff io@0",
        "L0.region_del 1000-1fff io@0",
        "L0.region_nop 0-fff ram@0",
        "L1.region_nop 0-fff ram@0",
        "L1.log_stop 0-fff 1->0",
        "L0.log_stop 0-fff 1->0",
        "L1.eventfd_del 1008/4=1",
        "L0.eventfd_del 1008/4=1",
        "L0.commit",
        "L1.commit",
    ]);
}

/// F7, F8, I10: everything as new, range by range; the first listener for ioeventfds hears of those that are there.
#[test]
fn who_joins_hears_of_everything_there_is() {
    let board = busy_board();
    let log = Log::new();
    let late = Arc::new(Recorder::new("late", 0, &log).with_nops());
    let registration = board.space.register(late.clone()).unwrap();
    assert_eq!(registration.address_space(), &board.space);
    log.heard(&[
        "late.prepare",
        "late.begin",
        "late.region_add 0-fff io@0",
        "late.coalesced_io_add 10-1f",
        "late.coalesced_io_add 40-4f",
        "late.region_add 4000-4fff ram@0 log=1",
        "late.log_start 4000-4fff 0->1",
        "late.eventfd_add 80/2",
        "late.commit",
    ]);
    assert_eq!(late.picture(), lines(&board.space.view()));
}

/// F7: also that all of memory is being tracked.
#[test]
fn who_joins_while_memory_is_tracked_hears_that_first() {
    let board = Board::new();
    board.map(&board.system, 0, &board.ram("ram", 0x1000));
    board
        .memory
        .global_dirty_log_start(GlobalDirty::MIGRATION)
        .unwrap();
    let log = Log::new();
    let _registration = board
        .space
        .register(Arc::new(Recorder::new("late", 0, &log)))
        .unwrap();
    log.heard(&[
        "late.prepare",
        "late.begin",
        "late.log_global_start",
        "late.region_add 0-fff ram@0 log=4",
        "late.log_start 0-fff 0->4",
        "late.commit",
    ]);
}

/// F9: everything as gone, ascending, in one pass; and then nothing any more. `log_global_stop` is not called.
#[test]
fn who_leaves_hears_of_everything_as_gone() {
    for by_dropping in [true, false] {
        let board = busy_board();
        board
            .memory
            .global_dirty_log_start(GlobalDirty::MIGRATION)
            .unwrap();
        let log = Log::new();
        let (listener, registration) = Recorder::new("L", 0, &log).on(&board.space);
        match by_dropping {
            true => drop(registration),
            false => registration.unregister().unwrap(),
        }
        log.heard(&[
            "L.begin",
            "L.coalesced_io_del 10-1f",
            "L.coalesced_io_del 40-4f",
            "L.region_del 0-fff io@0",
            "L.log_stop 4000-4fff 5->0",
            "L.region_del 4000-4fff ram@0 log=5",
            "L.eventfd_del 80/2",
            "L.commit",
        ]);
        assert_eq!(listener.picture(), [""; 0]);
        assert_eq!(listener.others(), [""; 0]);
        board.map(&board.system, 0x8000, &board.io("another", 0x1000));
        log.heard(&[]);
        assert_eq!(Arc::strong_count(&listener), 1);
    }
}

/// F9, F11: a memory that goes takes leave of everybody, the newest listener first; registrations that are
/// dropped later have nothing left to do.
#[test]
fn a_dropped_memory_unregisters_everybody() {
    let board = busy_board();
    let log = Log::new();
    let (l0, r0) = Recorder::new("L0", 0, &log).on(&board.space);
    let (l1, r1) = Recorder::new("L1", 1, &log).on(&board.space);
    drop(board);
    let heard = log.take();
    let commits: Vec<_> = heard.iter().filter(|line| line.ends_with(".commit")).collect();
    assert_eq!(commits, ["L1.commit", "L0.commit"]);
    assert_eq!((l0.picture(), l1.picture()), (vec![], vec![]));
    drop(r0);
    r1.unregister().unwrap();
    log.heard(&[]);
}

/// F10: a listener can be registered more than once; each registration is its own.
#[test]
fn one_listener_can_listen_to_several_spaces() {
    struct Adds(Mutex<Vec<String>>);
    impl MemoryListener for Adds {
        fn name(&self) -> &str {
            "adds"
        }
        fn region_add(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
            let text = format!("{}: {}", section.address_space().name(), line(section));
            self.0.lock().unwrap().push(text);
            Ok(())
        }
    }
    let board = Board::new();
    let io = board.io("io", 0x1000);
    let other = board.look_at("other", &board.alias("alias", &board.system, 0, 0x10_0000));
    let adds = Arc::new(Adds(Mutex::default()));
    let listen = |space: &AddressSpace| space.register(adds.clone()).unwrap();
    let (first, _second) = (listen(&board.space), listen(&other));
    board.map(&board.system, 0x1000, &io);
    assert_eq!(
        *adds.0.lock().unwrap(),
        ["memory: 1000-1fff io@0", "other: 1000-1fff io@0"]
    );
    drop(first);
    board.update(|tx| tx.set_address(&io, 0x2000));
    assert_eq!(adds.0.lock().unwrap()[2..], ["other: 2000-2fff io@0"]);
}

/// Keeps what it hears, as a listener does that tells a kernel later.
#[derive(Default)]
struct Keeper {
    kept: Mutex<Vec<FlatRange>>,
    changes: Mutex<Vec<[Vec<String>; 4]>>,
}

impl MemoryListener for Keeper {
    fn name(&self) -> &str {
        "keeper"
    }

    fn prepare(&self, change: &ViewChange<'_>) -> ListenerResult {
        self.changes.lock().expect("nobody panicked").push([
            lines(change.old_view()),
            lines(change.new_view()),
            change.removed().map(line).collect(),
            change.added().map(line).collect(),
        ]);
        Ok(())
    }

    fn region_add(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        self.kept
            .lock()
            .expect("nobody panicked")
            .push(section.range().clone());
        Ok(())
    }
}

/// F12, B21: a section says all that a range says, and which space it is of.
#[test]
fn a_section_is_a_range_of_a_space() {
    struct Looks;
    impl MemoryListener for Looks {
        fn name(&self) -> &str {
            "looks"
        }
        fn region_add(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
            assert_eq!(section.address_space().name(), "memory");
            assert_eq!(section.range().region().name(), "ram");
            assert_eq!(
                (section.start(), section.last(), section.offset_in_region()),
                (0x4000, 0x47ff, 0x800)
            );
            assert!(section.is_readonly() && section.is_nonvolatile() && section.is_unmergeable());
            Ok(())
        }
    }
    let board = Board::new();
    let _registration = board.space.register(Arc::new(Looks)).unwrap();
    let window = board
        .memory
        .region("window")
        .readonly(true)
        .nonvolatile(true)
        .unmergeable(true);
    let window = window.alias(&board.ram("ram", 0x1000), 0x800, 0x800).unwrap();
    board.map(&board.system, 0x4000, &window);
}

/// F13, B21: a range that was kept keeps its region, and says what it said; there is nothing to count.
#[test]
fn a_range_can_be_kept_after_the_callback() {
    let board = Board::new();
    let keeper = Arc::new(Keeper::default());
    let registration = board.space.register(keeper.clone()).unwrap();
    {
        let io = board.io("io", 0x1000);
        board.map(&board.system, 0, &io);
        board.unmap(&board.system, &io).wait().unwrap();
    }
    drop(registration);
    drop(board);
    let kept = keeper.kept.lock().unwrap();
    assert_eq!(line(&kept[0]), "0-fff io@0");
    assert!(matches!(
        kept[0].region().state(),
        Err(Error::MemoryDropped { .. })
    ));
}

/// What a listener is asked to prepare for.
#[test]
fn prepare_says_what_was_what_will_be_and_the_difference() {
    let board = Board::new();
    board.map(&board.system, 0, &board.io("stays", 0x1000));
    let io = board.io("io", 0x1000);
    board.map(&board.system, 0x4000, &io);
    let keeper = Arc::new(Keeper::default());
    let _registration = board.space.register(keeper.clone()).unwrap();
    board.update(|tx| tx.set_address(&io, 0x8000));
    let changes = keeper.changes.lock().unwrap();
    let owned = |lines: &[&str]| -> Vec<String> { lines.iter().map(|line| (*line).to_owned()).collect() };
    let (stays, old, new) = ("0-fff stays@0", "4000-4fff io@0", "8000-8fff io@0");
    assert_eq!(
        changes[0],
        [owned(&[]), owned(&[stays, old]), owned(&[]), owned(&[stays, old])]
    );
    assert_eq!(
        changes[1],
        [
            owned(&[stays, old]),
            owned(&[stays, new]),
            owned(&[old]),
            owned(&[new])
        ]
    );
}

/// Looks at everything there is whatever it is asked, as one with a lock of its own could have to wait for who
/// does.
struct Nosy {
    space: AddressSpace,
    memory: WeakMemory,
    fails: bool,
}

impl Nosy {
    fn look(&self) {
        let Some(memory) = self.memory.upgrade() else {
            return;
        };
        let ranges = self.space.view().len();
        let children = self
            .space
            .root()
            .subregions()
            .map_or(0, |children| children.len());
        let found = memory
            .find(self.space.root(), 0, 1)
            .is_ok_and(|found| found.is_some());
        assert!(ranges + children + memory.address_spaces().len() >= usize::from(found));
    }
}

impl MemoryListener for Nosy {
    fn name(&self) -> &str {
        self.look();
        "nosy"
    }

    fn priority(&self) -> u32 {
        self.look();
        0
    }

    fn wants_nop(&self) -> bool {
        self.look();
        true
    }

    fn log_sync_mode(&self) -> flatview::LogSync {
        self.look();
        flatview::LogSync::Global
    }

    fn region_nop(&self, _: &MemoryRegionSection<'_>) -> ListenerResult {
        self.look();
        if self.fails { Err("no".into()) } else { Ok(()) }
    }
}

/// E12: none of our locks is held while a listener is asked anything, so it may hold one of its own.
#[test]
fn a_listener_may_look_whatever_it_is_asked() {
    for fails in [false, true] {
        let board = busy_board();
        let nosy = Nosy {
            space: board.space.clone(),
            memory: board.memory.downgrade(),
            fails,
        };
        let registration = board.space.register(Arc::new(nosy)).unwrap();
        let io = board.io("another", 0x1000);
        let updated = board
            .memory
            .update(|tx| tx.add_subregion(&board.system, 0x8000, &io));
        assert_eq!(updated.is_err(), fails);
        board.memory.global_dirty_log_sync(true).unwrap();
        registration.unregister().unwrap();
    }
}

/// F9, F15: leaving from within an update takes effect when the update is over, whoever leaves and however it
/// ends.
#[test]
fn who_leaves_during_an_update_leaves_after_it() {
    for succeeds in [true, false] {
        let board = Board::new();
        let io = board.io("io", 0x1000);
        let log = Log::new();
        let (_l0, r0) = Recorder::new("L0", 0, &log).on(&board.space);
        let (_l1, r1) = Recorder::new("L1", 1, &log).on(&board.space);
        // L0 leaves from a callback of its own, L1 from the closure.
        let said: Arc<Mutex<Option<Result<(), Error>>>> = Arc::default();
        let (out, mut r1) = (Arc::clone(&said), Some(r1));
        log.run_at("L0.begin", move || {
            *out.lock().unwrap() = Some(Registration::unregister(r0))
        });
        if !succeeds {
            log.fail_at("L1.commit");
        }
        let updated = board.memory.update(|tx| {
            drop(r1.take());
            tx.add_subregion(&board.system, 0, &io)
        });
        assert_eq!(updated.is_ok(), succeeds);
        assert!(matches!(
            said.lock().unwrap().take(),
            Some(Err(Error::NestedUpdate))
        ));
        let heard = log.take();
        let last: Vec<_> = heard
            .iter()
            .rev()
            .take(if succeeds { 6 } else { 4 })
            .rev()
            .collect();
        match succeeds {
            true => assert_eq!(
                last,
                [
                    "L1.begin",
                    "L1.region_del 0-fff io@0",
                    "L1.commit",
                    "L0.begin",
                    "L0.region_del 0-fff io@0",
                    "L0.commit"
                ]
            ),
            // It was taken back before: there is nothing to take leave of.
            false => assert_eq!(last, ["L1.begin", "L1.commit", "L0.begin", "L0.commit"]),
        }
        board.update(|tx| tx.set_readonly(&io, true));
        log.heard(&[]);
    }
}
