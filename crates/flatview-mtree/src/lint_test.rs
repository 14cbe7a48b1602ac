use super::*;
use crate::test_dump::tree;
use crate::text::parse;

const ALL: &str = "address-space: memory\n  0-ffffffffffffffff 0 i/o system\n";

fn lines(kind: Kind, short: &str) -> Vec<String> {
    let text = tree(short);
    let dumps = parse(&text).unwrap();
    let only = vec![kind];
    let options = Options {
        only,
        ..Options::default()
    };
    let findings = lint(&Machine::new(dumps).unwrap(), &options).unwrap();
    assert!(findings.iter().all(|finding| finding.kind == kind));
    findings.iter().map(Finding::to_string).collect()
}

fn in_memory(kind: Kind, short: &str) -> Vec<String> {
    lines(kind, &format!("{ALL}{short}"))
}

#[test]
fn a_hole_has_neighbours_and_the_last_one_is_usual() {
    let text = tree(&format!(
        "{ALL}    1000-1fff 0 ram low\n    4000-4fff 0 i/o high\n"
    ));
    let dumps = parse(&text).unwrap();
    let options = Options {
        only: vec![Kind::Hole],
        ..Options::default()
    };
    let findings = lint(&Machine::new(dumps).unwrap(), &options).unwrap();
    let told: Vec<(&str, bool)> = findings
        .iter()
        .map(|finding| (&*finding.sentence, finding.is_usual))
        .collect();
    assert_eq!(
        told,
        [
            ("0x0-0xfff (4 KiB) below low", false),
            ("0x2000-0x3fff (8 KiB) between low and high", false),
            (
                "0x5000-0xffffffffffffffff (15.9 EiB) above high, to the end",
                true
            ),
        ]
    );
    assert!(!Report(&findings).to_string().contains("to the end"));
    assert!(format!("{:#}", Report(&findings)).contains("to the end"));
}

#[test]
fn ports_have_no_holes() {
    let found = lines(
        Kind::Hole,
        "address-space: I/O\n  0-ffff 0 i/o io\n    70-71 0 i/o rtc\n",
    );
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn what_is_hidden_to_the_last_byte_is_told_with_who_hides_it() {
    let found = in_memory(
        Kind::FullyHidden,
        "    0-ffff 0 ram ram\n    1000-1fff -1 i/o lost\n    2000-2fff -1 i/o off [disabled]\n    ff00-100ff -1 i/o half\n",
    );
    assert_eq!(
        found,
        ["fully-hidden: memory: lost (line 4) at 0x1000-0x1fff (4 KiB) is hidden by ram"]
    );
}

#[test]
fn what_one_space_shows_is_not_hidden() {
    let found = lines(
        Kind::FullyHidden,
        "\
address-space: memory
  0-ffffffffffffffff 0 i/o system
    0-ffff 1 ram ram
    1000-1fff 0 i/o alias window @device 0000000000000000-0000000000000fff
address-space: device
  0-fff 0 i/o device
",
    );
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn ram_behind_a_device_is_told_but_for_what_every_pc_hides() {
    let ports = "address-space: I/O\n  0-ffff 0 i/o io\n";
    let memory = "    0-7ffffff 0 ram pc.ram\n    a0000-bffff 1 i/o vga\n    2000000-2000fff 1 i/o nic\n";
    assert_eq!(
        lines(Kind::ShadowedPartly, &format!("{ports}{ALL}{memory}")),
        ["shadowed-partly: memory: pc.ram (line 6) is hidden at 0x2000000-0x2000fff (4 KiB) by nic"]
    );
    let without_ports = in_memory(Kind::ShadowedPartly, memory);
    assert!(
        without_ports[0].contains("2 ranges from 0xa0000 to 0x2000fff (together 132 KiB) by vga, nic"),
        "{without_ports:?}"
    );
}

#[test]
fn what_sticks_out_of_its_container_is_clipped() {
    let found = in_memory(
        Kind::Clipped,
        "    1000-1fff 0 i/o box\n      1000-10ff 0 i/o in\n      1800-27ff 0 i/o long\n      3000-3fff 0 i/o out\n    9000-9fff 0 i/o off [disabled]\n",
    );
    assert_eq!(
        found,
        [
            "clipped: long (line 5) loses its last 2 KiB to the end of box, which has 0x1000 bytes",
            "clipped: out (line 6) begins at byte 0x2000 of box, which has 0x1000: nothing of it is seen",
        ]
    );
}

#[test]
fn what_no_window_shows_is_clipped() {
    let found = in_memory(
        Kind::Clipped,
        "
    1000-1fff 0 i/o alias window @bus 0000000000001000-0000000000001fff
memory-region: bus
  0-ffffffffffffffff 0 i/o bus
    1000-17ff 1 i/o seen
    8000-8fff 1 i/o unseen
",
    );
    assert_eq!(
        found,
        ["clipped: memory: unseen (line 8) at 0x8000-0x8fff is not seen: of bus only 0x1000-0x1fff is"]
    );
}

#[test]
fn aliases_end_with_their_targets() {
    let found = in_memory(
        Kind::AliasBeyondTarget,
        "
    0-fff 0 ram alias fits @ram 0000000000000000-0000000000000fff
    1000-2fff 0 ram alias long @ram 0000000000000000-0000000000001fff
    3000-3fff 0 ram alias behind @ram 0000000000001000-0000000000001fff
memory-region: ram
  0-fff 0 ram ram
",
    );
    assert_eq!(
        found,
        [
            "alias-beyond-target: long (line 4) shows bytes of ram from 0x0 on, which ends after 0x1000: its last 4 KiB are empty",
            "alias-beyond-target: behind (line 5) begins at byte 0x1000 of ram, which has 0x1000: it shows nothing",
        ]
    );
}

#[test]
fn an_alias_to_nothing_is_told() {
    let short = "    0-fff 0 ram alias window @gone 0000000000000000-0000000000000fff\n";
    assert_eq!(
        in_memory(Kind::MissingTarget, short),
        ["missing-target: window (line 3) leads to gone, which is not in the dump"]
    );
}

#[test]
fn marks_of_overflows_are_told() {
    let text = "\
address-space: memory
  0000000000000000-ffffffffffffffff (prio 0, i/o): system
[DETECTED OVERFLOW!]     fffffffffffff000-0000000000000fff (prio 1, i/o): bar

";
    let dumps = parse(text).unwrap();
    let options = Options {
        only: vec![Kind::Overflow],
        ..Options::default()
    };
    let findings = lint(&Machine::new(dumps).unwrap(), &options).unwrap();
    let sentences: Vec<&str> = findings.iter().map(|finding| &*finding.sentence).collect();
    assert_eq!(
        sentences,
        ["bar begins at 0xfffffffffffff000 and ends beyond 2^64"]
    );
    assert_eq!(findings[0].line, Some(3));
}

#[test]
fn what_wraps_around_stays_in_the_container_that_it_is_printed_in() {
    // Without -D, what lies outside of a container may be in another one that has no line.
    let text = "\
address-space: memory
  0000000000000000-ffffffffffffffff (prio 0, i/o): system
    0000000800000000-00000008ffffffff (prio 0, i/o): box
[DETECTED OVERFLOW!]       0000000700000000-0000000700000fff (prio 1, i/o): bar

";
    let dumps = parse(text).unwrap();
    let options = Options {
        only: vec![Kind::Clipped],
        ..Options::default()
    };
    let findings = lint(&Machine::new(dumps).unwrap(), &options).unwrap();
    assert!(
        findings[0].sentence.contains("byte 0xffffffff00000000 of box"),
        "{findings:?}"
    );
}

#[test]
fn equal_priorities_are_told_where_the_order_matters() {
    let overlap = "    0-fff 1 i/o one\n    800-17ff 1 i/o other\n    0-fff 2 i/o off [disabled]\n";
    assert_eq!(
        in_memory(Kind::SamePriorityOverlap, overlap),
        [
            "same-priority-overlap: memory: other (line 4) is in front of one (line 3) at 0x800-0xfff (2 KiB): \
             both have priority 1; a guess: flat views (-f) would tell"
        ]
    );
    let same_address = "    0-fff 1 i/o one\n    0-1fff 1 i/o other\n";
    let found = in_memory(Kind::SamePriorityOverlap, same_address);
    assert!(
        found[0].ends_with("it is printed first at this address"),
        "{found:?}"
    );
    let higher = "    0-fff 1 i/o one\n    800-17ff 2 i/o other\n";
    assert!(in_memory(Kind::SamePriorityOverlap, higher).is_empty());
    let behind = "    0-1fff 3 ram all\n    0-fff 1 i/o one\n    800-17ff 1 i/o other\n";
    assert!(
        in_memory(Kind::SamePriorityOverlap, behind).is_empty(),
        "nobody sees it"
    );
}

#[test]
fn a_flat_view_settles_who_is_in_front() {
    let mut text = tree(&format!("{ALL}    0-fff 1 i/o one\n    800-17ff 1 i/o other\n"));
    text.push_str(
        "\
FlatView #0
 AS \"memory\", root: system
 Root memory region: system
  0000000000000000-0000000000000fff (prio 1, i/o): one
  0000000000001000-00000000000017ff (prio 1, i/o): other @0000000000000800

",
    );
    let dumps = parse(&text).unwrap();
    let options = Options {
        only: vec![Kind::SamePriorityOverlap],
        ..Options::default()
    };
    let findings = lint(&Machine::new(dumps).unwrap(), &options).unwrap();
    assert_eq!(findings[0].regions[0].name, "one");
    assert!(findings[0].sentence.ends_with("the flat view has it"));
}

#[test]
fn one_byte_is_told_where_no_flat_view_settles_it() {
    let short = "
    1000-1000 0 i/o alias shut @bus 0000000000001000-0000000000001000
    2000-2000 0 i/o alias off @bus 0000000000001000-0000000000001000 [disabled]
memory-region: bus
  0-ffffffffffffffff 0 i/o bus
";
    assert_eq!(
        in_memory(Kind::ZeroOrOneByte, short),
        ["zero-or-one-byte: shut (line 3) shows one byte of bus or none; it is taken for none"]
    );
}

#[test]
fn memory_that_is_seen_twice_is_told_with_both_addresses() {
    let short = "
    e0000-fffff 0 rom alias isa-bios @pc.bios 0000000000020000-000000000003ffff
    fffc0000-ffffffff 0 rom pc.bios
memory-region: pc.bios
  fffc0000-ffffffff 0 rom pc.bios
";
    assert_eq!(
        in_memory(Kind::DuplicateMapping, short),
        [
            "duplicate-mapping: memory: pc.bios at 0xe0000-0xfffff and at 0xfffe0000-0xffffffff (128 KiB), \
             its bytes from 0x20000 on"
        ]
    );
}

#[test]
fn the_largest_ranges_come_in_order_of_size() {
    let short = "    0-fff 0 ram small\n    10000-1ffff 0 ram large\n    20000-27fff 0 i/o middle\n";
    let text = tree(&format!("{ALL}{short}"));
    let dumps = parse(&text).unwrap();
    let options = Options {
        only: vec![Kind::Largest],
        largest: 2,
    };
    let findings = lint(&Machine::new(dumps).unwrap(), &options).unwrap();
    let names: Vec<&str> = findings.iter().map(|finding| &*finding.regions[0].name).collect();
    assert_eq!(names, ["large", "middle"]);
}

#[test]
fn kinds_have_names() {
    for kind in Kind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
    }
    assert_eq!("noise".parse::<Kind>(), Err(UnknownKind("noise".to_owned())));
}

#[test]
fn a_machine_without_findings_has_a_report() {
    assert_eq!(Report(&[]).to_string(), "nothing to report\n");
}
