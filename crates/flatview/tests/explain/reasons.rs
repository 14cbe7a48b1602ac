//! Each rule by which somebody answers or is overruled.

use std::sync::Arc;

use flatview::explain::Reason;
use flatview::{Compat, Size};

use crate::support::{Board, Inert};
use crate::{explain, rival, rival_text, way};

/// B3, B4: the newest of equals is in front, and who is moved is the newest.
#[test]
fn b3_mapped_earlier() {
    let board = Board::new();
    let (a, b) = (board.io("a", 0x1000), board.io("b", 0x1000));
    board.map(&board.system, 0, &a);
    board.map(&board.system, 0x800, &b);
    let explanation = explain(&board.space, 0x900);
    assert_eq!(explanation.region(), Some(&b));
    assert_eq!(rival(&explanation).candidate().offset, Some(0x900));
    assert_eq!(
        rival(&explanation).reasons,
        [Reason::MappedEarlier { than: "b".into() }]
    );
    board.update(|tx| tx.set_address(&a, 0x100));
    let explanation = explain(&board.space, 0x900);
    assert_eq!(explanation.region(), Some(&a));
    assert_eq!(rival(&explanation).top().region, "b");
}

/// C26: priorities are compared among siblings only.
#[test]
fn c26_priorities_are_local() {
    let board = Board::new();
    let (bus, deep, plain) = (
        board.container("bus", 0x1000),
        board.io("deep", 0x1000),
        board.io("plain", 0x1000),
    );
    board.overlap(&bus, 0, &deep, 1000);
    board.overlap(&board.system, 0, &bus, 1);
    board.overlap(&board.system, 0, &plain, 2);
    let explanation = explain(&board.space, 0);
    assert_eq!(explanation.region(), Some(&plain));
    let rival = rival(&explanation);
    assert_eq!(
        (rival.top().priority, rival.candidate().priority),
        (Some(1), Some(1000))
    );
    assert_eq!(rival.within.as_deref(), Some("system"));
    assert_eq!(
        rival.reasons,
        [Reason::LowerPriority {
            than: "plain".into(),
            priority: 2
        }]
    );
}

/// B7, C3: who is disabled, the region or what it is in.
#[test]
fn b7_c3_disabled() {
    let board = Board::new();
    let (bus, inner, device) = (
        board.container("bus", 0x1000),
        board.container("inner", 0x1000),
        board.io("device", 0x1000),
    );
    board.update(|tx| {
        tx.add_subregion(&inner, 0, &device)?;
        tx.add_subregion(&bus, 0, &inner)?;
        tx.add_subregion(&board.system, 0x1000, &bus)?;
        tx.set_enabled(&bus, false)
    });
    let explanation = explain(&board.space, 0x1010);
    assert_eq!(
        rival_text(&explanation),
        (vec!["bus", "inner", "device"], vec!["bus is disabled".to_owned()])
    );
    assert_eq!(rival(&explanation).candidate().offset, Some(0x10));
    board.update(|tx| tx.set_enabled(&inner, false));
    let disabled = |name: &str| Reason::Disabled { region: name.into() };
    let explanation = explain(&board.space, 0x1010);
    assert_eq!(rival(&explanation).reasons, [disabled("bus"), disabled("inner")]);
    // The one that needs less comes first, even if it is behind.
    let other = board.io("other", 0x1000);
    board.overlap(&bus, 0, &other, -1);
    let explanation = explain(&board.space, 0x1010);
    assert_eq!(
        rival_text(&explanation),
        (vec!["bus", "other"], vec!["bus is disabled".to_owned()])
    );
}

/// C3, C4: a disabled target makes the alias a hole; the target's own container does not matter.
#[test]
fn c3_c4_what_an_alias_shows() {
    let board = Board::new();
    let ram = board.ram("ram", 0x1000);
    let elsewhere = board.container("elsewhere", 0x10);
    let alias = board.alias("alias", &ram, 0x100, 0x200u64);
    board.map(&elsewhere, 0x8_0000, &ram);
    board.update(|tx| {
        tx.set_enabled(&elsewhere, false)?;
        tx.add_subregion(&board.system, 0x4000, &alias)
    });
    let explanation = explain(&board.space, 0x4010);
    assert_eq!(way(&explanation), ["system", "alias", "ram"]);
    let shown = &explanation.way[2];
    assert_eq!((shown.priority, shown.offset), (None, Some(0x110)));
    assert_eq!(shown.span.start(), 0x3f00);
    board.update(|tx| tx.set_enabled(&ram, false));
    let explanation = explain(&board.space, 0x4010);
    let [hole, disabled] = &explanation.overruled[..] else {
        panic!("{explanation}");
    };
    assert_eq!(
        (&*hole.top().region, &hole.reasons[..]),
        ("alias", &[Reason::Hole][..])
    );
    assert_eq!(disabled.within.as_deref(), Some("alias"));
    assert_eq!(disabled.reasons, [Reason::Disabled { region: "ram".into() }]);
}

/// C5, C6, C11: the sums of a chain of aliases, and a target that begins below 0.
#[test]
fn c5_c6_c11_offsets_add_up() {
    let board = Board::new();
    let ram = board.ram("ram", 0x1_0000);
    let inner = board.alias("inner", &ram, 0x8000, 0x4000u64);
    let outer = board.alias("outer", &inner, 0x1000, 0x1000u64);
    board.map(&board.system, 0x200, &outer);
    let explanation = explain(&board.space, 0x234);
    assert_eq!(
        explanation.to_string(),
        "0x234 of address space `memory`
  system (container, 0x0-0xffffffffffffffff) at its byte 0x234
    outer (alias, 0x200-0x11ff, prio 0) at its byte 0x34
      inner (alias, -0xe00-0x31ff) at its byte 0x1034, which is 0x34 + 0x1000
        ram (ram, -0x8e00-0x71ff) at its byte 0x9034, which is 0x1034 + 0x8000
is answered by ram at its byte 0x9034
  in the view 0x200-0x11ff
"
    );
    let of = explanation.way[1].alias.as_ref().expect("an alias");
    assert_eq!((&*of.target, of.offset), ("inner", 0x1000));
}

/// C6, C9: cut off by a container or by an alias that ends at the hole; each byte once.
#[test]
fn c6_c9_clipped() {
    let board = Board::new();
    let (bus, device) = (board.container("bus", 0x1000), board.io("device", 0x2000));
    board.map(&bus, 0x800, &device);
    board.map(&board.system, 0x1_0000, &bus);
    let explanation = explain(&board.space, 0x1_1010);
    let loser = rival(&explanation);
    assert_eq!(
        (loser.candidate().offset, loser.candidate().span.start()),
        (Some(0x810), 0x1_0800)
    );
    let [Reason::Clipped { by, window }] = &loser.reasons[..] else {
        panic!("{explanation}");
    };
    assert_eq!((&**by, window.start(), window.end()), ("bus", 0x1_0000, 0x1_1000));
    assert_eq!(window.size(), Size::from(0x1000));

    let board = Board::new();
    let ram = board.ram("ram", 0x1_0000);
    for (name, start) in [("far", 0x1000), ("near", 0x4000)] {
        board.map(&board.system, start, &board.alias(name, &ram, start, 0x1000u64));
    }
    let explanation = explain(&board.space, 0x5800);
    assert_eq!(
        rival_text(&explanation),
        (
            vec!["near", "ram"],
            vec!["cut off by near, which is 0x4000-0x4fff".to_owned()]
        )
    );
    // What answers is not told again.
    assert_eq!(explain(&board.space, 0x4800).overruled, []);
}

/// What lies outside of an alias as a whole was left out on purpose; what lies outside of its container was
/// not.
#[test]
fn c9_left_out() {
    let board = Board::new();
    let (bus, device) = (board.container("bus", 0x1_0000), board.io("device", 0x1000));
    board.map(&bus, 0x8000, &device);
    board.map(&board.system, 0, &board.alias("window", &bus, 0, 0x4000u64));
    assert_eq!(explain(&board.space, 0x8000).overruled, []);
    let (small, device) = (board.container("small", 0x1000), board.io("lost", 0x1000));
    board.map(&small, 0x8000, &device);
    board.map(&board.system, 0x10_0000, &small);
    assert_eq!(
        rival_text(&explain(&board.space, 0x10_8000)),
        (
            vec!["small", "lost"],
            vec!["cut off by small, which is 0x100000-0x100fff".to_owned()]
        )
    );
}

/// C7, C8: an alias that is larger than its target, or begins far beyond it.
#[test]
fn c7_c8_beyond_the_target() {
    let board = Board::new();
    let ram = board.ram("ram", 0x1000);
    board.map(&board.system, 0, &board.alias("large", &ram, 0, 0x4000u64));
    board.map(
        &board.system,
        0x1_0000,
        &board.alias("minus", &ram, 0u64.wrapping_sub(0x1000), 0x4000u64),
    );
    let says = |address, expected: &str| {
        let explanation = explain(&board.space, address);
        assert_eq!(rival(&explanation).reasons[0].to_string(), expected);
        assert!(matches!(
            rival(&explanation).reasons[0],
            Reason::BeyondTarget { .. }
        ));
    };
    says(0x2000, "lets the address through: ram is 0x0-0xfff");
    says(
        0x1_1000,
        "lets the address through: ram is -0xfffffffffffef000--0xfffffffffffee001",
    );
}

/// C10: nothing wraps; what ends beyond 2^64 is told as that.
#[test]
fn c10_the_end_of_the_space() {
    let board = Board::new();
    let top = board.io("top", 0x2000);
    board.map(&board.system, u64::MAX - 0xfff, &top);
    let explanation = explain(&board.space, u64::MAX);
    assert_eq!(
        explanation.way[1].span.to_string(),
        "0xfffffffffffff000-0x10000000000000fff"
    );
    assert_eq!(explanation.way[1].offset, Some(0xfff));
    let low = explain(&board.space, 0);
    assert_eq!((low.region(), &low.overruled[..]), (None, &[][..]));
}

/// A17, C14: a region without bytes shows nothing of what is in it either.
#[test]
fn a17_c14_no_bytes() {
    let board = Board::new();
    let (empty, bus, device) = (
        board.io("empty", 0),
        board.container("bus", 0),
        board.io("device", 0x1000),
    );
    board.map(&bus, 0, &device);
    board.map(&board.system, 0x1000, &empty);
    board.map(&board.system, 0x4000, &bus);
    let empty = |name: &str| vec![format!("{name} has no bytes")];
    assert_eq!(
        rival_text(&explain(&board.space, 0x1000)),
        (vec!["empty"], empty("empty"))
    );
    assert_eq!(explain(&board.space, 0x1001).overruled, []);
    assert_eq!(
        rival_text(&explain(&board.space, 0x4008)),
        (vec!["bus", "device"], empty("bus"))
    );
    assert_eq!(
        rival(&explain(&board.space, 0x4008)).top().span.to_string(),
        "no bytes at 0x4000"
    );
}

/// B13, C24: a region with children of its own fills only the gaps; C25: a hole lets through.
#[test]
fn b13_c24_c25_gaps_and_holes() {
    let board = Board::new();
    let (ports, uart, bus) = (
        board.io("ports", 0x1000),
        board.io("uart", 8),
        board.container("bus", 0x1000),
    );
    board.map(&ports, 0x3f8, &uart);
    board.map(&board.system, 0, &ports);
    let explanation = explain(&board.space, 0x3f8);
    assert_eq!(explanation.region(), Some(&uart));
    assert_eq!(
        rival(&explanation).reasons,
        [Reason::BehindChild { child: "uart".into() }]
    );
    assert_eq!(rival(&explanation).within.as_deref(), Some("system"));
    // In a gap it answers, and nobody is overruled.
    let explanation = explain(&board.space, 0x400);
    assert_eq!(
        (explanation.region(), way(&explanation)),
        (Some(&ports), vec!["system", "ports"])
    );
    assert_eq!(explanation.overruled, []);
    board.overlap(&board.system, 0, &bus, 1);
    let explanation = explain(&board.space, 0x400);
    assert_eq!(
        (explanation.region(), &rival(&explanation).reasons[..]),
        (Some(&ports), &[Reason::Hole][..])
    );
}

/// C16 to C19: what is inherited, and from whom.
#[test]
fn c16_to_c19_attributes() {
    let board = Board::new();
    let flash = board
        .memory
        .region("flash")
        .unmergeable(true)
        .rom_device(flatview::RamBlock::unbacked(0x1000), Arc::new(Inert));
    let window = board
        .memory
        .region("window")
        .readonly(true)
        .unmergeable(true)
        .alias(&flash, 0, 0x1000)
        .expect("a target of ours");
    let bus = board.memory.region("bus").nonvolatile(true).container(0x1000);
    board.update(|tx| {
        tx.add_subregion(&bus, 0, &window)?;
        tx.add_subregion(&board.system, 0, &bus)?;
        tx.rom_device_set_romd(&flash, false)
    });
    assert_eq!(
        explain(&board.space, 0).to_string(),
        "0x0 of address space `memory`
  system (container, 0x0-0xffffffffffffffff) at its byte 0x0: skipped, as it shows only the next
    bus (container, 0x0-0xfff, prio 0, nonvolatile) at its byte 0x0
      window (alias, 0x0-0xfff, prio 0, readonly, unmergeable) at its byte 0x0
        flash (rom device, 0x0-0xfff, unmergeable, romd off) at its byte 0x0, which is 0x0 + 0x0
is answered by flash at its byte 0x0
  in the view 0x0-0xfff
  readonly by window
  nonvolatile by bus
  unmergeable by window, flash
  not read directly: romd is off
"
    );
}

/// C30, C34: a bus master shows `system`, until its alias is disabled.
#[test]
fn c30_c34_skipped_on_the_way_to_the_view() {
    let board = Board::new();
    let (ram, io) = (board.ram("ram", 0x1000), board.io("io", 0x1000));
    board.map(&board.system, 0, &ram);
    board.map(&board.system, 0x1000, &io);
    let bus = board.container("bus master container", Size::MAX);
    let master = board.alias("bus master", &board.system, 0, Size::MAX);
    board.map(&bus, 0, &master);
    let nic = board.look_at("nic", &bus);
    assert_eq!(
        explain(&nic, 0x1004).to_string(),
        "0x1004 of address space `nic`
  bus master container (container, 0x0-0xffffffffffffffff) at its byte 0x1004: skipped, as it shows only the next
    bus master (alias, 0x0-0xffffffffffffffff, prio 0) at its byte 0x1004: skipped, as it shows only the next
      system (container, 0x0-0xffffffffffffffff) at its byte 0x1004, which is 0x1004 + 0x0
        io (i/o, 0x1000-0x1fff, prio 0) at its byte 0x4
is answered by io at its byte 0x4
  in the view 0x1000-0x1fff
"
    );
    assert_eq!(explain(&nic, 0).view_root.as_deref(), Some("system"));
    board.update(|tx| tx.set_enabled(&master, false));
    let explanation = explain(&nic, 0x1004);
    assert_eq!(explanation.view_root, None);
    assert_eq!(
        explanation.to_string(),
        "0x1004 of address space `nic`
  bus master container (container, 0x0-0xffffffffffffffff) at its byte 0x1004
is answered by nobody: bus master container lets it through
  in the hole 0x0-0xffffffffffffffff of the view
overruled:
  bus master (alias, 0x0-0xffffffffffffffff, prio 0, disabled) at its byte 0x1004
    system (container, 0x0-0xffffffffffffffff) at its byte 0x1004, which is 0x1004 + 0x0
      io (i/o, 0x1000-0x1fff, prio 0) at its byte 0x4
    within bus master container: bus master is disabled
"
    );
    board.update(|tx| tx.set_enabled(&bus, false));
    let text = explain(&nic, 0x1004).to_string();
    assert!(
        text.contains("is answered by nobody: bus master container is disabled\n"),
        "{text}"
    );
}

/// C32, C33: what QEMU loses on the way to the view's root, where that is copied.
#[test]
fn c32_c33_what_is_lost() {
    let board = Board::with_compat(Compat::LOSSY_VIEW_ROOTS);
    let ram = board.ram("ram", 0x1000);
    let window = board
        .memory
        .region("window")
        .readonly(true)
        .alias(&ram, 0, 0x1000)
        .expect("a target of ours");
    board.map(&board.system, 0x8000, &window);
    let space = board.look_at("space", &window);
    assert_eq!(
        explain(&space, 0x10).to_string(),
        "0x10 of address space `space`
  window (alias, 0x0-0xfff, readonly) at its byte 0x10: skipped, as it shows only the next; its attributes are lost; its address is lost
    ram (ram, 0x0-0xfff) at its byte 0x10, which is 0x10 + 0x0
is answered by ram at its byte 0x10
  in the view 0x0-0xfff
"
    );
    // Without that, nothing is skipped.
    let explanation = explain(&board.space, 0x8010);
    assert_eq!(way(&explanation), ["system", "window", "ram"]);
    assert!(explanation.way.iter().all(|step| step.skipped.is_none()));
    assert_eq!(explanation.answer().expect("ram").readonly_by, ["window"]);
}

/// B12: a root's own address counts.
#[test]
fn b12_a_root_that_is_mapped() {
    let board = Board::new();
    let dimm = board.ram("dimm", 0x1000);
    board.map(&board.system, 0x8000, &dimm);
    let space = board.look_at("dimms", &dimm);
    let explanation = explain(&space, 0x8010);
    assert_eq!(
        (explanation.region(), explanation.way[0].offset),
        (Some(&dimm), Some(0x10))
    );
    assert_eq!(explanation.way[0].priority, None);
    let text = explain(&space, 0x10).to_string();
    assert!(
        text.contains("is answered by nobody: it is no byte of dimm\n"),
        "{text}"
    );
    assert!(
        text.contains("in the hole 0x0-0x7fff of the view, below dimm\n"),
        "{text}"
    );
}
