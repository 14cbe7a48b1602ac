//! Group H of the reference: address spaces come and go.

mod support;

use std::sync::Arc;

use flatview::{Error, Size, Translation};
use support::{Board, Log, Recorder, lines, share_a_view, shows};

/// H1: at once, and nobody else hears of it.
#[test]
fn a_new_space_has_its_view_at_once() {
    let board = Board::new();
    let log = Log::new();
    let (_l, _registration) = Recorder::new("L", 0, &log).with_nops().on(&board.space);
    let root = board.container("root", 0x1_0000);
    board.map(&root, 0, &board.io("a", 0x1000));
    board.map(&root, 0x4000, &board.io("b", 0x1000));
    let space = board.look_at("space", &root);
    assert_eq!((space.name(), space.root()), ("space", &root));
    shows(&space, &["0-fff a@0", "4000-4fff b@0"]);
    log.heard(&[]);
}

/// H1: names need not be unique; the order is that of creation, and the same root can be looked at twice.
#[test]
fn spaces_are_listed_in_order_of_creation() {
    let board = Board::new();
    let names = ["b", "", "a", "a"];
    let spaces = names.map(|name| board.look_at(name, &board.system));
    let listed = board.memory.address_spaces();
    assert_eq!(listed[0], board.space);
    assert_eq!(listed[1..], spaces);
    assert_eq!(
        listed.iter().map(|space| space.name()).collect::<Vec<_>>(),
        ["memory", "b", "", "a", "a"]
    );
    assert_ne!(spaces[2], spaces[3]);
    assert_eq!(spaces[2], spaces[2].clone());
}

/// H1, H8: every device has one, and they share what they can. One update reaches all of them.
#[test]
fn hundreds_of_spaces_look_at_one_view() {
    let board = Board::new();
    board.map(&board.system, 0, &board.ram("ram", 0x1000));
    let io = board.io("io", 0x1000);
    board.map(&board.system, 0x8000, &io);
    let masters: Vec<_> = (0..200)
        .map(|index| {
            let alias = board.alias("bus master", &board.system, 0, Size::MAX);
            board.look_at(&format!("master {index}"), &alias)
        })
        .collect();
    board.update(|tx| tx.set_address(&io, 0x4000));
    for master in &masters {
        assert!(share_a_view(master, &board.space));
    }
    shows(&masters[199], &["0-fff ram@0", "4000-4fff io@0"]);
}

/// H2, H3: shows nothing from then on, in its own view and nobody else's; who still looks keeps what is seen.
#[test]
fn a_destroyed_space_shows_nothing() {
    let board = Board::new();
    let io = board.io("io", 0x1000);
    board.map(&board.system, 0, &io);
    let root = board.container("root", 0x1000);
    let window = board.alias("window", &io, 0, 0x800);
    board.map(&root, 0, &window);
    let space = board.look_at("space", &root);
    let mut reader = space.reader();
    assert!(reader.find(0).is_some());
    let snapshot = space.view();

    let receipt = space.destroy().unwrap();
    assert!(space.is_destroyed());
    assert!(!receipt.is_quiesced());
    assert_eq!(lines(&snapshot), ["0-7ff io@0"]);
    assert!(reader.find(0).is_none());
    drop(snapshot);
    receipt.wait().unwrap();
    shows(&space, &[]);
    board.shows(&["0-fff io@0"]);
    assert_eq!(board.memory.address_spaces(), std::slice::from_ref(&board.space));

    // What happens to its root is no business of it any more.
    board.update(|tx| tx.set_alias_offset(&window, 0x100));
    shows(&space, &[]);
    assert!(matches!(
        space.destroy(),
        Err(Error::AddressSpaceDestroyed { .. })
    ));
    let listener = Arc::new(Recorder::new("L", 0, &Log::new()));
    assert!(matches!(
        space.register(listener),
        Err(Error::AddressSpaceDestroyed { .. })
    ));
}

/// H2, H3: with listeners it is an error that says how many, and nothing happens.
#[test]
fn a_space_with_listeners_is_not_destroyed() {
    let board = Board::new();
    board.map(&board.system, 0, &board.io("io", 0x1000));
    let log = Log::new();
    let (_l0, r0) = Recorder::new("L0", 0, &log).on(&board.space);
    let (_l1, r1) = Recorder::new("L1", 0, &log).on(&board.space);
    let error = board.space.destroy().unwrap_err();
    assert!(matches!(error, Error::AddressSpaceBusy { listeners: 2, .. }));
    assert_eq!(error.to_string(), "address space `memory` still has 2 listeners");
    log.heard(&[]);
    board.shows(&["0-fff io@0"]);
    assert!(!board.space.is_destroyed());
    drop((r0, r1));
    board.space.destroy().unwrap();
    board.shows(&[]);
}

/// H2: a space also goes when nobody has a handle to it; a registration is one.
#[test]
fn a_space_lives_as_long_as_somebody_has_it() {
    let board = Board::new();
    let root = board.container("root", 0x1000);
    let space = board.look_at("space", &root);
    let log = Log::new();
    let (listener, registration) = Recorder::new("L", 0, &log).on(&space);
    let reader = space.reader();
    let count = || board.memory.address_spaces().len();
    drop(space);
    assert_eq!(count(), 2);
    board.map(&root, 0, &board.io("io", 0x800));
    assert_eq!(
        listener.picture(),
        ["0-7ff io@0"],
        "it is alive in the registration"
    );
    drop(registration);
    assert_eq!(count(), 2, "and in the reader");
    drop(reader);
    assert_eq!(count(), 1);
}

/// H3, L17: what an access would reach.
//
//        0        1000     2000
//        [ram    ][io     ]
#[test]
fn translate_tells_where_an_access_goes() {
    let board = Board::new();
    let (ram, io) = (board.ram("ram", 0x1000), board.io("io", 0x1000));
    board.map(&board.system, 0, &board.alias("window", &ram, 0x200, 0x800));
    board.map(&board.system, 0x1000, &io);
    let translate = |address, size: u64| {
        board.space.translate(address, size).map(
            |Translation {
                 region, offset, size, ..
             }| { (region.name().to_owned(), offset, size.to_u64().unwrap()) },
        )
    };
    for (address, size, expected) in [
        (0x0, 0x10, Some(("ram", 0x200, 0x10))),
        (0x7f8, 0x10, Some(("ram", 0x9f8, 0x8))),
        (0x1ffc, 0x8, Some(("io", 0xffc, 0x8))),
        (0x800, 1, None),
        (u64::MAX, 1, None),
    ] {
        let expected = expected.map(|(name, offset, size)| (name.to_owned(), offset, size));
        assert_eq!(translate(address, size), expected, "{address:x}");
    }
}
