//! What is refused: the error names the region and the numbers, and nothing has changed. QEMU asserts in most
//! of these cases. Trees whose rendering would not end are in `bad_rendering.rs`.

mod support;

use std::sync::Arc;

use flatview::{AddressRange, Error, EventNotifier, Memory, RamBlock, Region, Size, Transaction};
use support::{Board, Inert, Log, Recorder, notifier, truth};

/// A board with a bus, a region of every kind that verbs ask for, and a region of each kind of another memory.
//
//  system ──► bus @0x8000 ──► io @0x400
//         ├─► ram @0
//         └─► alias of ram @0x4000
//  outer ──► middle ──► inner
struct Scene {
    board: Board,
    bus: Region,
    io: Region,
    ram: Region,
    alias: Region,
    loose: Region,
    outer: Region,
    inner: Region,
    notifier: EventNotifier,
    foreign: Foreign,
}

struct Foreign {
    _board: Board,
    io: Region,
    alias: Region,
    flash: Region,
}

impl Scene {
    fn new() -> Scene {
        let (board, other) = (Board::new(), Board::new());
        let (bus, io) = (board.container("bus", 0x1000), board.io("io", 0x100));
        let ram = board.ram("ram", 0x1000);
        let alias = board.alias("alias", &ram, 0, 0x1000);
        let [outer, middle, inner] = ["outer", "middle", "inner"].map(|name| board.container(name, 0x1000));
        let notifier = notifier();
        board.update(|tx| {
            tx.add_subregion(&board.system, 0x8000, &bus)?;
            tx.add_subregion(&bus, 0x400, &io)?;
            tx.add_subregion(&board.system, 0, &ram)?;
            tx.add_subregion(&board.system, 0x4000, &alias)?;
            tx.add_subregion(&outer, 0, &middle)?;
            tx.add_subregion(&middle, 0, &inner)?;
            tx.add_eventfd(&io, 0x10, 4, Some(1), &notifier)?;
            tx.add_coalescing(&io, 0x20, 0x10)
        });
        let foreign_io = other.io("foreign", 0x1000);
        Scene {
            loose: board.io("loose", 0x100),
            foreign: Foreign {
                alias: other.alias("foreign", &foreign_io, 0, 0x1000),
                flash: other
                    .memory
                    .region("foreign")
                    .rom_device(RamBlock::unbacked(1), Arc::new(Inert)),
                io: foreign_io,
                _board: other,
            },
            board,
            bus,
            io,
            ram,
            alias,
            outer,
            inner,
            notifier,
        }
    }

    fn truth(&self) -> Vec<String> {
        let Scene {
            board,
            bus,
            io,
            ram,
            alias,
            loose,
            outer,
            inner,
            ..
        } = self;
        let regions = [&board.system, bus, io, ram, alias, loose, outer, inner].map(Clone::clone);
        truth(&board.memory, &regions)
    }
}

type Verb = fn(&mut Transaction<'_>, &Scene) -> Result<(), Error>;

/// Each verb, in an update that goes on and in one that ends with it.
fn all_are_refused(cases: &[(Verb, &str)]) {
    for (verb, says) in cases {
        let scene = Scene::new();
        let log = Log::new();
        let (_l, _registration) = Recorder::new("L", 0, &log).on(&scene.board.space);
        let before = scene.truth();
        scene.board.update(|tx| {
            let error = verb(tx, &scene).expect_err(says);
            assert_eq!(error.to_string(), *says);
            assert_eq!(scene.truth(), before, "{says}");
            Ok(())
        });
        let error = scene.board.memory.update(|tx| verb(tx, &scene)).expect_err(says);
        assert_eq!(error.to_string(), *says);
        assert_eq!(scene.truth(), before, "{says}");
        log.heard(&[]);
    }
}

/// B5, B12, B14, B15.
#[test]
fn what_is_mapped_twice_or_not_there_or_within_itself_is_refused() {
    all_are_refused(&[
        // B12
        (
            |tx, s| tx.add_subregion(&s.board.system, 0, &s.io),
            "region `io` is already mapped at 0x400 in `bus`",
        ),
        (
            |tx, s| tx.add_subregion_overlap(&s.bus, 0, &s.io, 1),
            "region `io` is already mapped at 0x400 in `bus`",
        ),
        // B5
        (
            |tx, s| tx.del_subregion(&s.board.system, &s.io),
            "region `io` is not in `system` but in `bus`",
        ),
        (
            |tx, s| tx.del_subregion(&s.bus, &s.loose),
            "region `loose` is not in `bus` but mapped nowhere",
        ),
        // B14
        (
            |tx, s| tx.add_subregion(&s.alias, 0, &s.loose),
            "region `loose` cannot be put into `alias`, which is an alias",
        ),
        // B15
        (
            |tx, s| tx.add_subregion(&s.inner, 0, &s.outer),
            "region `outer` cannot be put into `inner`, which is within it",
        ),
        (
            |tx, s| tx.add_subregion(&s.outer, 0, &s.outer),
            "region `outer` cannot be put into `outer`, which is within it",
        ),
    ]);
}

/// B8, D4, D8: what a region is never changes.
#[test]
fn verbs_for_another_kind_of_region_are_refused() {
    all_are_refused(&[
        (
            |tx, s| tx.set_alias_offset(&s.io, 1),
            "region `io` is not an alias but of kind Mmio",
        ),
        (
            |tx, s| tx.set_alias_offset(&s.bus, 1),
            "region `bus` is not an alias but of kind Container",
        ),
        (
            |tx, s| tx.rom_device_set_romd(&s.ram, false),
            "region `ram` is not a ROM device but of kind Ram",
        ),
        // An alias of a ROM device would be none, either: the verb does not follow it.
        (
            |tx, s| tx.rom_device_set_romd(&s.alias, false),
            "region `alias` is not a ROM device but of kind Alias",
        ),
    ]);
}

/// I1, I2.
#[test]
fn ioeventfds_that_no_access_could_signal_are_refused() {
    all_are_refused(&[
        (
            |tx, s| tx.add_eventfd(&s.io, 0, 3, None, &s.notifier),
            "an ioeventfd on `io` cannot match writes of 3 bytes: 0 (any), 1, 2, 4 or 8 can be",
        ),
        (
            |tx, s| tx.add_eventfd(&s.io, 0, 16, None, &s.notifier),
            "an ioeventfd on `io` cannot match writes of 16 bytes: 0 (any), 1, 2, 4 or 8 can be",
        ),
        (
            |tx, s| tx.add_eventfd(&s.io, 0xfd, 4, None, &s.notifier),
            "0x4 bytes at 0xfd are no range within the 0x100 bytes of `io`",
        ),
        (
            |tx, s| tx.add_eventfd(&s.io, 0x100, 0, None, &s.notifier),
            "0x1 bytes at 0x100 are no range within the 0x100 bytes of `io`",
        ),
        (
            |tx, s| tx.add_eventfd(&s.io, u64::MAX, 8, None, &s.notifier),
            "0x8 bytes at 0xffffffffffffffff are no range within the 0x100 bytes of `io`",
        ),
        (
            |tx, s| tx.add_eventfd(&s.io, 0x10, 4, Some(1), &s.notifier),
            "region `io` already has this ioeventfd at 0x10",
        ),
        (
            |tx, s| tx.del_eventfd(&s.io, 0x10, 4, Some(2), &s.notifier),
            "region `io` does not have this ioeventfd at 0x10",
        ),
        (
            |tx, s| tx.del_eventfd(&s.io, 0x10, 0, None, &s.notifier),
            "region `io` does not have this ioeventfd at 0x10",
        ),
        (
            |tx, s| tx.del_eventfd(&s.io, 0x10, 4, Some(1), &notifier()),
            "region `io` does not have this ioeventfd at 0x10",
        ),
    ]);
}

/// J1, J2.
#[test]
fn coalesced_ranges_without_bytes_or_outside_are_refused() {
    all_are_refused(&[
        (
            |tx, s| tx.add_coalescing(&s.io, 0x10, 0),
            "0x0 bytes at 0x10 are no range within the 0x100 bytes of `io`",
        ),
        (
            |tx, s| tx.add_coalescing(&s.io, 0xff, 2),
            "0x2 bytes at 0xff are no range within the 0x100 bytes of `io`",
        ),
        (
            |tx, s| tx.add_coalescing(&s.io, 1, Size::MAX),
            "0x10000000000000000 bytes at 0x1 are no range within the 0x100 bytes of `io`",
        ),
        (
            |tx, s| tx.add_coalescing(&s.io, u64::MAX, 1),
            "0x1 bytes at 0xffffffffffffffff are no range within the 0x100 bytes of `io`",
        ),
        (
            |tx, s| {
                // As the last verb of several: `set_size` is undone with the update, not with the verb.
                let empty = s.board.container("empty", 0);
                tx.set_coalescing(&empty)
            },
            "0x0 bytes at 0x0 are no range within the 0x0 bytes of `empty`",
        ),
    ]);
}

/// P2: users are counted in a byte, as in QEMU, but not beyond either end of it.
#[test]
fn log_users_beyond_what_can_be_counted_are_refused() {
    let leave = "region `ram` has 0 users of its dirty log: one more cannot leave";
    all_are_refused(&[(|tx, s| tx.set_log(&s.ram, false), leave)]);

    let Scene { board, ram, .. } = Scene::new();
    board.update(|tx| (0..255).try_for_each(|_| tx.set_log(&ram, true)));
    let error = board.memory.update(|tx| tx.set_log(&ram, true)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "region `ram` has 255 users of its dirty log: one more cannot be counted"
    );
    board.update(|tx| (0..255).try_for_each(|_| tx.set_log(&ram, false)));
    assert!(ram.state().unwrap().dirty_log_mask.is_empty());
}

#[test]
fn a_region_of_another_memory_is_refused_by_every_verb() {
    const SAYS: &str = "region `foreign` belongs to another memory";
    let verbs: [Verb; 23] = [
        |tx, s| tx.add_subregion(&s.board.system, 0, &s.foreign.io),
        |tx, s| tx.add_subregion(&s.foreign.io, 0, &s.loose),
        |tx, s| tx.add_subregion_overlap(&s.board.system, 0, &s.foreign.io, 1),
        |tx, s| tx.add_subregion_overlap(&s.foreign.io, 0, &s.loose, 1),
        |tx, s| tx.del_subregion(&s.board.system, &s.foreign.io),
        |tx, s| tx.del_subregion(&s.foreign.io, &s.io),
        |tx, s| tx.set_address(&s.foreign.io, 1),
        |tx, s| tx.set_size(&s.foreign.io, 1),
        |tx, s| tx.set_enabled(&s.foreign.io, false),
        |tx, s| tx.set_readonly(&s.foreign.io, true),
        |tx, s| tx.set_nonvolatile(&s.foreign.io, true),
        |tx, s| tx.set_unmergeable(&s.foreign.io, true),
        |tx, s| tx.set_alias_offset(&s.foreign.alias, 1),
        |tx, s| tx.rom_device_set_romd(&s.foreign.flash, false),
        |tx, s| tx.set_log(&s.foreign.io, true),
        |tx, s| tx.add_eventfd(&s.foreign.io, 0, 4, None, &s.notifier),
        |tx, s| tx.del_eventfd(&s.foreign.io, 0, 4, None, &s.notifier),
        |tx, s| tx.add_coalescing(&s.foreign.io, 0, 4),
        |tx, s| tx.set_coalescing(&s.foreign.io),
        |tx, s| tx.clear_coalescing(&s.foreign.io),
        |tx, s| tx.set_flush_coalesced(&s.foreign.io, true),
        |_, s| s.board.memory.region("new").alias(&s.foreign.io, 0, 1).map(drop),
        |_, s| s.board.memory.find(&s.foreign.io, 0, 1).map(drop),
    ];
    all_are_refused(&verbs.map(|verb| (verb, SAYS)));

    let Scene { board, foreign, .. } = Scene::new();
    let memory = &board.memory;
    let before = foreign.io.state().unwrap();
    for result in [
        memory.create_address_space("foreign", &foreign.io).map(drop),
        memory.present(&foreign.io, 0).map(drop),
        memory.sync_dirty_bitmap(&foreign.io),
        memory.clear_dirty_bitmap(&foreign.io, AddressRange::ALL),
    ] {
        assert_eq!(result.unwrap_err().to_string(), SAYS);
    }
    assert_eq!(memory.address_spaces(), std::slice::from_ref(&board.space));
    assert_eq!(
        format!("{before:?}"),
        format!("{:?}", foreign.io.state().unwrap())
    );
}

/// Handles outlive their memory, and say so.
#[test]
fn handles_of_a_dropped_memory_fail_politely() {
    let Board {
        memory,
        system,
        space,
    } = Board::new();
    let (io, weak) = (
        memory.region("io").io(0x1000, Arc::new(Inert)),
        memory.downgrade(),
    );
    let mut reader = space.reader();
    let mapped = memory.update(|tx| tx.add_subregion(&system, 0, &io)).unwrap();
    reader.find(0).unwrap();
    let log = Log::new();
    let (_l, registration) = Recorder::new("L", 0, &log).on(&space);
    assert!(weak.upgrade().is_some());
    drop(memory);
    assert!(weak.upgrade().is_none());

    let gone = |error: Error| {
        assert!(matches!(error, Error::MemoryDropped { .. }));
        error.to_string()
    };
    assert_eq!(
        gone(io.state().unwrap_err()),
        "the memory that `io` belongs to was dropped"
    );
    assert_eq!(
        gone(system.subregions().unwrap_err()),
        "the memory that `system` belongs to was dropped"
    );
    let again = space.register(Arc::new(Recorder::new("late", 0, &log)));
    assert_eq!(
        gone(again.unwrap_err()),
        "the memory that `memory` belongs to was dropped"
    );
    assert_eq!(
        gone(space.destroy().unwrap_err()),
        "the memory that `memory` belongs to was dropped"
    );
    assert!(!space.is_destroyed());
    registration.unregister().unwrap();

    // A device that holds the space that shows it would keep itself alive, if that space still showed it.
    assert!(reader.find(0).is_none());
    assert!(space.view().is_empty());
    assert!(space.translate(0, 1).is_none());
    assert_eq!(
        (space.name(), io.name()),
        ("memory", "io"),
        "what a handle is, it knows itself"
    );
    mapped.wait().unwrap();
    assert!(mapped.is_quiesced());

    // To any other memory they are foreign.
    let other = Memory::new();
    let refused = other.update(|tx| tx.set_address(&io, 1)).unwrap_err();
    assert!(matches!(refused, Error::ForeignRegion { .. }));
}
