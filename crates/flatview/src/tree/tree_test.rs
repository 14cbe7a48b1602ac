//! What the tree does without anybody's being able to see it: it looks at few regions, and it forgets.

use super::*;
use crate::error::Error;
use crate::memory::Memory;

/// The index finds all children that meet a range, and looks at few others, however many there are.
#[test]
fn a_look_into_a_large_container_is_short() {
    let memory = Memory::new();
    let container = memory.region("container").container(Size::MAX);
    // Pages side by side, and every hundredth the first of a stretch of almost two to the thirteenth.
    let children: Vec<(u64, Region)> = (0..5000)
        .map(|page| {
            let size = if page % 100 == 0 { 0x1ff_f000 } else { 0x1000u64 };
            (page * 0x1000, memory.region("child").reservation(size))
        })
        .collect();
    memory
        .update(|tx| {
            children
                .iter()
                .try_for_each(|(at, child)| tx.add_subregion(&container, *at, child))
        })
        .unwrap();

    let tree = memory.shared().tree.lock();
    let index = tree
        .node(container.id())
        .links()
        .children
        .index()
        .expect("5000 are many");
    for page in [0, 1, 99, 100, 2501, 4999, 5000, 100_000] {
        let range = AddressRange::new(page * 0x1000, 1).unwrap();
        let mut expected: Vec<RegionId> = children
            .iter()
            .filter(|(at, child)| {
                let window = AddressRange::new(*at, tree.node(child.id()).attributes.size);
                window.is_some_and(|window| window.overlaps(range))
            })
            .map(|(_, child)| child.id())
            .collect();
        let mut found = Vec::new();
        tree.children_meeting(container.id(), range, &mut found);
        assert!(found.is_sorted_by_key(|&child| tree.node(child).key()));
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "page {page}");
        let looked_at = index.candidates(range).count();
        assert!(
            looked_at <= 2 * expected.len() + 100,
            "{looked_at} for {}",
            expected.len()
        );
    }
}

/// Ids of regions that are gone are used again, and nothing of them is left: no alias at its target, no child.
#[test]
fn a_region_that_is_gone_leaves_nothing_in_the_tree() {
    let memory = Memory::new();
    let target = memory.region("target").container(0x1000);
    let nodes = || {
        // What was dropped last is taken out by whoever asks next.
        target.state().unwrap();
        let tree = memory.shared().tree.lock();
        (
            tree.nodes.len(),
            tree.free.len(),
            tree.node(target.id()).links().aliases.len(),
        )
    };
    let before = nodes();
    for _ in 0..100 {
        let container = memory.region("container").container(0x1000);
        let alias = memory.region("alias").alias(&target, 0, 0x1000).unwrap();
        memory
            .update(|tx| tx.add_subregion(&container, 0, &alias))
            .unwrap();
    }
    let (places, free, aliases) = nodes();
    assert_eq!((places - free, aliases), (before.0 - before.1, before.2));
    assert!(
        places <= before.0 + 4,
        "{places} places for two regions at a time"
    );
}

/// A transaction that is rolled back leaves the tree as it was and no damage.
#[test]
fn a_rollback_leaves_a_clean_journal() {
    let memory = Memory::new();
    let system = memory.region("system").container(0x1000);
    let _space = memory.create_address_space("memory", &system).unwrap();
    let child = memory.region("child").reservation(0x100);
    let failed: Result<_, Error> = memory.update(|tx| {
        tx.add_subregion(&system, 0, &child)?;
        tx.set_size(&child, 0x200)?;
        assert!(!memory.shared().tree.lock().journal().is_clean());
        Err::<(), _>(Error::other("no"))
    });
    assert!(failed.is_err());
    let tree = memory.shared().tree.lock();
    assert!(tree.journal().is_clean());
    assert_eq!(tree.node(child.id()).attributes.size, Size::from(0x100));
}
