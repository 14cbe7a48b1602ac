use proptest::prelude::*;

use super::*;
use crate::test_dump::tree;
use crate::text::parse;

/// The lines of the tree's part, without what the views make of it.
fn lines(before: &str, after: &str) -> Vec<String> {
    let (before, after) = (tree(before), tree(after));
    let dumps = [parse(&before).unwrap(), parse(&after).unwrap()];
    let machines = [
        Machine::new(dumps[0].clone()).unwrap(),
        Machine::new(dumps[1].clone()).unwrap(),
    ];
    let changes = diff(&machines[0], &machines[1]);
    let backwards = diff(&machines[1], &machines[0]);
    assert_eq!(changes.tree.len(), backwards.tree.len(), "as many both ways");
    let trees = Diff {
        flat: Vec::new(),
        ..changes
    };
    trees.to_string().lines().map(str::to_owned).collect()
}

const ALL: &str = "address-space: memory\n  0-ffffffffffffffff 0 i/o system\n    0-0 0 i/o off [disabled]\n";

fn in_memory(before: &str, after: &str) -> Vec<String> {
    lines(&format!("{ALL}{before}"), &format!("{ALL}{after}"))
}

#[test]
fn each_change_of_a_line_is_one_line() {
    let changes = [
        (
            "4000-4fff 1 i/o nic",
            "~ memory: nic moved 0x1000 -> 0x4000 (4 KiB)",
        ),
        (
            "1000-17ff 1 i/o nic",
            "~ memory: nic at 0x1000 resized 0x1000 (4 KiB) -> 0x800 (2 KiB)",
        ),
        (
            "1000-1fff -3 i/o nic",
            "~ memory: nic at 0x1000 priority 1 -> -3 (4 KiB)",
        ),
        (
            "1000-1fff 1 ram nic",
            "~ memory: nic at 0x1000 type i/o -> ram (4 KiB)",
        ),
        (
            "1000-1fff 1 nv-i/o nic",
            "~ memory: nic at 0x1000 became non-volatile (4 KiB)",
        ),
        (
            "1000-1fff 1 i/o nic [disabled]",
            "~ memory: nic at 0x1000 disabled (4 KiB)",
        ),
    ];
    for (line, told) in changes {
        let found = in_memory("    1000-1fff 1 i/o nic\n", &format!("    {line}\n"));
        assert_eq!(found, [told]);
    }
}

#[test]
fn an_alias_may_lead_elsewhere() {
    let with = |alias: &str| format!("    1000-1fff 1 i/o alias window @{alias}\n");
    let before = with("bus 0000000000001000-0000000000001fff");
    assert_eq!(
        in_memory(&before, &with("bus 0000000000003000-0000000000003fff")),
        ["~ memory: window at 0x1000 begins at byte 0x1000 -> 0x3000 of its target (4 KiB)"]
    );
    assert_eq!(
        in_memory(&before, &with("ram 0000000000001000-0000000000001fff")),
        ["~ memory: window at 0x1000 leads to bus -> ram (4 KiB)"]
    );
}

#[test]
fn what_appears_takes_along_what_is_in_it() {
    let bar = "    1000-1fff 1 i/o bar\n      1000-10ff 0 i/o table\n      1800-18ff 0 i/o pba\n";
    assert_eq!(
        in_memory("", bar),
        ["+ memory: bar at 0x1000 (i/o, 4 KiB, prio 1), with 2 regions in it"]
    );
    assert_eq!(
        in_memory(bar, ""),
        ["- memory: bar at 0x1000 (i/o, 4 KiB, prio 1), with 2 regions in it"]
    );
}

#[test]
fn what_moves_takes_along_what_is_in_it() {
    let at =
        |page: u32| format!("    {page}000-{page}fff 1 i/o bar\n      {page}000-{page}0ff 0 i/o table\n");
    assert_eq!(
        in_memory(&at(1), &at(2)),
        ["~ memory: bar moved 0x1000 -> 0x2000 (4 KiB)"]
    );
}

#[test]
fn what_moves_to_another_container_is_told_with_both() {
    let before = "    1000-1fff 1 i/o one\n      1000-10ff 0 i/o nic\n    2000-2fff 1 i/o two\n";
    let after = "    1000-1fff 1 i/o one\n    2000-2fff 1 i/o two\n      2000-20ff 0 i/o nic\n";
    assert_eq!(
        in_memory(before, after),
        ["~ memory: nic moved 0x1000 in one -> 0x2000 in two (256 bytes)"]
    );
}

#[test]
fn of_many_with_one_name_the_one_that_changed_is_told() {
    let slots = |skip: u32, last: &str| -> String {
        let rest = (0..20).filter(|&slot| slot != skip);
        let lines = rest.map(|slot| {
            format!(
                "    {:x}-{:x} 0 i/o virtio-mmio\n",
                slot * 0x200,
                slot * 0x200 + 0x1ff
            )
        });
        lines.collect::<String>() + last
    };
    assert_eq!(
        in_memory(&slots(99, ""), &slots(7, "    9000-91ff 0 i/o virtio-mmio\n")),
        ["~ memory: virtio-mmio moved 0xe00 -> 0x9000 (512 bytes)"]
    );
    assert_eq!(
        in_memory(&slots(99, ""), &slots(7, "")),
        ["- memory: virtio-mmio at 0xe00 (i/o, 512 bytes, prio 0)"]
    );
}

#[test]
fn a_dump_without_disabled_regions_leaves_them_open() {
    let before = "address-space: memory\n  0-ffff 0 i/o system\n    0-fff 0 i/o on\n    1000-1fff 0 i/o off [disabled]\n";
    let after = "address-space: memory\n  0-ffff 0 i/o system\n    0-fff 0 i/o on\n";
    let note = "the second dump has no disabled regions (-D); left out of the other: 1 region";
    assert_eq!(lines(before, after), [format!("note: {note}")]);
    let enabled =
        "address-space: memory\n  0-ffff 0 i/o system\n    0-fff 0 i/o on\n    1000-1fff 0 i/o off\n";
    assert_eq!(
        lines(before, enabled)[0],
        "~ memory: off at 0x1000 enabled (4 KiB)"
    );
}

#[test]
fn owners_do_not_count() {
    let with = |device: u32| {
        let owner = format!(" owner:{{dev path=/machine/unattached/device[{device}]}}");
        format!("    1000-1fff 1 i/o nic{owner}\n    2000-2fff 1 i/o nic{owner}\n")
    };
    assert!(in_memory(&with(7), &with(8)).is_empty());
    assert!(in_memory(&with(7), "    1000-1fff 1 i/o nic\n    2000-2fff 1 i/o nic\n").is_empty());
}

#[test]
fn spaces_come_and_go() {
    let with = |space: &str| format!("{ALL}address-space: {space}\n  0-fff 0 i/o container\n");
    assert_eq!(
        lines(&with("nic"), &with("disk")),
        [
            "+ address space disk with root container",
            "- address space nic with root container",
        ]
    );
}

#[test]
fn many_regions_of_one_name_take_no_time() {
    let many = |shift: u64| -> String {
        let lines = (0..10_000_u64).map(|slot| {
            let start = slot * 0x20 + shift;
            format!("    {start:x}-{:x} 0 i/o slot\n", start + 0xf)
        });
        format!("{ALL}{}", lines.collect::<String>())
    };
    let (before, after) = (tree(&many(0)), tree(&many(0x1000)));
    let dumps = [parse(&before).unwrap(), parse(&after).unwrap()];
    let machines = [
        Machine::new(dumps[0].clone()).unwrap(),
        Machine::new(dumps[1].clone()).unwrap(),
    ];
    let start = std::time::Instant::now();
    assert!(!diff(&machines[0], &machines[1]).is_empty());
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}

/// A region of a random machine: in one of three containers.
#[derive(Clone, Debug)]
struct Leaf {
    around: usize,
    slot: u64,
    pages: u64,
    priority: i32,
    name: usize,
    enabled: bool,
}

fn leaf() -> impl Strategy<Value = Leaf> {
    let place = (0..3_usize, 0..16_u64, 1..4_u64);
    (place, -2..3_i32, 0..3_usize, any::<bool>()).prop_map(
        |((around, slot, pages), priority, name, enabled)| Leaf {
            around,
            slot,
            pages,
            priority,
            name,
            enabled,
        },
    )
}

fn print(leaves: &[Leaf]) -> String {
    let mut short = ALL.to_owned();
    for around in 0..3 {
        let base = 0x10_0000 * (around as u64 + 1);
        short += &format!("    {base:x}-{:x} 0 i/o box{around}\n", base + 0xf_ffff);
        let mut inside: Vec<&Leaf> = leaves.iter().filter(|leaf| leaf.around == around).collect();
        inside.sort_by_key(|leaf| (leaf.slot, -leaf.priority));
        for leaf in inside {
            let start = base + leaf.slot * 0x1000;
            let last = start + leaf.pages * 0x1000 - 1;
            let mark = if leaf.enabled { "" } else { " [disabled]" };
            short += &format!(
                "      {start:x}-{last:x} {} i/o leaf{}{mark}\n",
                leaf.priority, leaf.name
            );
        }
    }
    short
}

proptest! {
    #[test]
    fn the_change_of_one_line_is_found_and_only_that(
        leaves in prop::collection::vec(leaf(), 1..24),
        which in any::<prop::sample::Index>(),
        what in 0..4,
    ) {
        let mut changed = leaves.clone();
        let leaf = which.get_mut(&mut changed);
        let told = match what {
            0 => { leaf.slot += 20; " moved " }
            1 => { leaf.enabled = !leaf.enabled; "abled " }
            2 => { leaf.priority += 7; " priority " }
            _ => { leaf.pages += 5; " resized " }
        };
        let name = format!(": leaf{} ", leaf.name);
        let found = lines(&print(&leaves), &print(&changed));
        prop_assert_eq!(found.len(), 1, "{:?}", &found);
        prop_assert!(found[0].contains(told) && found[0].contains(&name), "{:?}", &found);
        prop_assert!(lines(&print(&leaves), &print(&leaves)).is_empty());
    }
}
