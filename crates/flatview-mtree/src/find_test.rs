use super::*;
use crate::test_dump::tree;
use crate::text::parse;

fn found(short: &str, pattern: &str) -> Vec<Found> {
    let text = tree(short);
    let dumps = parse(&text).unwrap();
    find(&Machine::new(dumps).unwrap(), &Pattern::new(pattern)).unwrap()
}

fn text(short: &str, pattern: &str) -> String {
    found(short, pattern).iter().map(Found::to_string).collect()
}

const MACHINE: &str = "\
address-space: cpu-memory-0
address-space: memory
  0-ffffffffffffffff 0 i/o system
    0-7fff 0 ram alias low @ram 0000000000000000-0000000000007fff
    4000-4fff 1 i/o device
    6000-6fff -1 i/o behind
    8000-8fff 1 i/o box
      8000-80ff 0 i/o inside
      9000-90ff 0 i/o outside
    a000-afff 1 i/o off [disabled]
      a000-a0ff 0 i/o in-off
    b000-b0ff 0 i/o alias empty @bus 0000000000000000-00000000000000ff
address-space: nic
  0-ffffffffffffffff 0 i/o bus master container
    0-ffffffffffffffff 0 i/o alias bus master @system 0000000000000000-ffffffffffffffff [disabled]
memory-region: ram
  0-ffff 0 ram ram
memory-region: bus
  0-ffff 0 i/o bus
    1000-1fff 0 i/o far
memory-region: loose
  0-ffff 0 i/o loose
    0-ff 0 i/o in-loose
";

#[test]
fn ram_is_seen_around_what_hides_it() {
    assert_eq!(
        text(MACHINE, "=ram"),
        "\
ram: ram, 64 KiB, line 19
  memory and cpu-memory-0
    seen    0x0-0x3fff (16 KiB), through low
    seen    0x5000-0x7fff (12 KiB), from its byte 0x5000 on, through low
    hidden  0x4000-0x4fff (4 KiB) by device
  nic
    unseen  bus master is disabled
"
    );
}

#[test]
fn each_reason_for_being_nowhere_is_told() {
    let why = |name: &str| {
        let found = found(MACHINE, &format!("={name}"));
        let [found] = &found[..] else {
            panic!("{name}: {}", found.len())
        };
        assert!(!found.is_seen(), "{name}");
        found
            .places
            .first()
            .map(|place| place.sightings[0].why.clone().unwrap())
    };
    let disabled = Some(Why::Disabled { by: "off".to_owned() });
    assert_eq!(why("behind"), Some(Why::Hidden));
    assert_eq!(why("off"), disabled);
    assert_eq!(why("in-off"), disabled);
    assert_eq!(why("outside"), Some(Why::Clipped { by: "box".to_owned() }));
    assert_eq!(why("empty"), Some(Why::Bare));
    assert_eq!(
        why("far"),
        Some(Why::Clipped {
            by: "empty".to_owned()
        })
    );
    assert_eq!(why("in-loose"), None);
    assert_eq!(found(MACHINE, "=in-loose")[0].nowhere, Some(Nowhere::NotPlaced));
}

#[test]
fn what_only_unplaced_aliases_lead_to_is_nowhere() {
    let short = "\
address-space: memory
  0-ffff 0 i/o system
memory-region: loose
  0-ffff 0 i/o loose
    0-ff 0 ram alias window @ram 0000000000000000-00000000000000ff
memory-region: ram
  0-ff 0 ram ram
";
    assert_eq!(
        text(short, "=ram"),
        "ram: ram, 256 bytes, line 9\n  nowhere: only aliases lead to it, in no space themselves: window\n"
    );
}

#[test]
fn containers_and_aliases_are_seen_through() {
    let boxed = &found(MACHINE, "=box")[0];
    let sighting = &boxed.places[0].sightings[0];
    assert!(sighting.shown.is_empty() && boxed.is_seen());
    assert_eq!(
        sighting.through,
        [AddressRange::from_bounds(0x8000, 0x80ff).unwrap()]
    );
    let low = &found(MACHINE, "=low")[0];
    assert_eq!(low.places[0].sightings[0].through.len(), 2);
}

#[test]
fn patterns_are_parts_globs_and_names() {
    let names = |pattern: &str| -> Vec<String> {
        found(MACHINE, pattern)
            .into_iter()
            .map(|found| found.name)
            .collect()
    };
    assert_eq!(names("LOOSE"), ["loose", "in-loose"]);
    assert_eq!(names("in*"), ["inside", "in-off", "in-loose"]);
    assert_eq!(names("*o?f"), ["off", "in-off"]);
    assert_eq!(names("=bus"), ["bus"]);
    assert!(names("=BUS").is_empty());
    let slow = "*a*a*a*a*a*a*a*a*b";
    assert!(!Pattern::new(slow).matches(&"a".repeat(10_000)), "and soon");
}
