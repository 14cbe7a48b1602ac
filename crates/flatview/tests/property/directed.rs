//! What random worlds do not reach, and what they found, made small.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flatview::{
    AddressSpace, Compat, Error, FlatView, ListenerResult, Memory, MemoryListener, MemoryRegionSection,
    RamBlock, Region, Size,
};

/// A name, an address and an offset for each range.
fn shown(view: &FlatView) -> Vec<(String, u64, u64, u64)> {
    view.iter()
        .map(|range| {
            let name = range.region().name().to_owned();
            (name, range.start(), range.last(), range.offset_in_region())
        })
        .collect()
}

fn range(name: &str, start: u64, last: u64, offset: u64) -> (String, u64, u64, u64) {
    (name.to_owned(), start, last, offset)
}

/// Fails in the callbacks it is told to.
#[derive(Default)]
struct Fails {
    region_add: AtomicBool,
    region_del: AtomicBool,
    commit: AtomicBool,
}

fn fail(when: &AtomicBool) -> ListenerResult {
    match when.load(Ordering::Relaxed) {
        true => Err("told to fail".into()),
        false => Ok(()),
    }
}

impl MemoryListener for Fails {
    fn name(&self) -> &str {
        "fails"
    }

    fn priority(&self) -> u32 {
        1
    }

    fn region_add(&self, _: &MemoryRegionSection<'_>) -> ListenerResult {
        fail(&self.region_add)
    }

    fn region_del(&self, _: &MemoryRegionSection<'_>) -> ListenerResult {
        fail(&self.region_del)
    }

    fn commit(&self, _: &FlatView) -> ListenerResult {
        fail(&self.commit)
    }
}

fn machine() -> (Memory, Region, AddressSpace) {
    let memory = Memory::new();
    let system = memory.region("system").container(Size::MAX);
    let space = memory.create_address_space("memory", &system);
    (memory, system, space.expect("an empty container can be shown"))
}

/// Instead of E10: a commit that fails, and whose taking back fails too, ends all updates.
#[test]
fn a_rollback_that_fails_ends_all_updates() {
    let (memory, system, space) = machine();
    let ram = memory.region("ram").ram(RamBlock::unbacked(0x1000));
    let listeners = [Arc::new(Fails::default()), Arc::new(Fails::default())];
    let [first, second] = listeners
        .clone()
        .map(|listener| space.register(listener).unwrap());
    let state = |listener: &Fails| listener.region_del.store(true, Ordering::Relaxed);

    // The second does not commit; the first, which has, does not take the range back.
    listeners[1].commit.store(true, Ordering::Relaxed);
    state(&listeners[0]);
    let failed = memory.update(|tx| tx.add_subregion(&system, 0, &ram));
    let Err(Error::Inconsistent { failure, rollback }) = failed else {
        panic!("{failed:?}");
    };
    assert!(
        failure.contains("commit") && rollback.contains("region_del"),
        "{failure}; {rollback}"
    );
    assert_eq!(ram.state().unwrap().container, None, "the tree is as it was");
    assert!(space.view().is_empty(), "readers never saw it");
    for _ in 0..2 {
        let refused = memory.update(|_| Ok(()));
        assert!(matches!(refused, Err(Error::Inconsistent { .. })), "{refused:?}");
    }
    let refused = memory.create_address_space("other", &system);
    assert!(matches!(refused, Err(Error::Inconsistent { .. })), "{refused:?}");
    // Taking things apart still works.
    first.unregister().unwrap();
    second.unregister().unwrap_err();
    space.destroy().unwrap();
}

/// A container in a container, so many levels deep, with RAM at the bottom; each a byte further on, so that a
/// view cannot skip it (rule C30).
fn nest(memory: &Memory, levels: usize) -> Vec<Region> {
    let mut regions: Vec<Region> = (1..levels)
        .map(|_| memory.region("level").container(0x1000))
        .collect();
    regions.push(memory.region("bottom").ram(RamBlock::unbacked(0x1000)));
    memory
        .update(|tx| {
            regions
                .windows(2)
                .try_for_each(|pair| tx.add_subregion(&pair[0], 1, &pair[1]))
        })
        .expect("the regions are mapped nowhere");
    regions
}

/// B15: the depth that rendering follows has a limit, and one beyond it is an error that changes nothing.
#[test]
fn rendering_goes_so_deep_and_no_deeper() {
    let (memory, system, space) = machine();
    let regions = nest(&memory, 255);
    memory
        .update(|tx| tx.add_subregion(&system, 1, &regions[0]))
        .unwrap();
    assert_eq!(shown(&space.view()), [range("bottom", 0xff, 0x1000, 0)]);
    memory
        .update(|tx| tx.del_subregion(&system, &regions[0]))
        .unwrap();

    let above = memory.region("above").container(0x1000);
    memory
        .update(|tx| tx.add_subregion(&above, 1, &regions[0]))
        .unwrap();
    let refused = memory.update(|tx| tx.add_subregion(&system, 1, &above));
    assert!(
        matches!(refused, Err(Error::RenderingTooDeep { limit: 256, .. })),
        "{refused:?}"
    );
    assert_eq!(above.state().unwrap().container, None);
    assert!(space.view().is_empty());
    let accepted = memory.update(|tx| {
        tx.set_size(&above, 1)?;
        tx.add_subregion(&system, 1, &above)
    });
    accepted.expect("what shows nothing has no depth");
}

/// B15: two aliases a level are more ranges than anybody has memory for.
#[test]
fn rendering_takes_so_many_steps_and_no_more() {
    let (memory, system, space) = machine();
    let mut below = memory.region("bottom").ram(RamBlock::unbacked(1));
    for level in 0..64 {
        let size = 1u64 << level;
        let above = memory.region("level").container(Size::new(2 << level).unwrap());
        let [low, high] = [0, 1].map(|_| memory.region("half").alias(&below, 0, size).unwrap());
        memory
            .update(|tx| {
                tx.add_subregion(&above, 0, &low)?;
                tx.add_subregion(&above, size, &high)
            })
            .unwrap();
        below = above;
    }
    let refused = memory.update(|tx| tx.add_subregion(&system, 0, &below));
    assert!(
        matches!(refused, Err(Error::RenderingTooLarge { .. })),
        "{refused:?}"
    );
    assert!(space.view().is_empty());
    let refused = memory.create_address_space("other", &below);
    assert!(
        matches!(refused, Err(Error::RenderingTooLarge { .. })),
        "{refused:?}"
    );
    assert_eq!(memory.address_spaces(), [space]);
}

/// A14, B15: a chain of aliases of aliases has a limit, too.
#[test]
fn alias_chains_are_so_long_and_no_longer() {
    let memory = Memory::new();
    let mut end = memory.region("ram").ram(RamBlock::unbacked(0x1000));
    let mut made = 0;
    let refused = loop {
        match memory.region("alias").alias(&end, 0, 0x1000) {
            Ok(alias) => (end, made) = (alias, made + 1),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(refused, Error::AliasChainTooLong { limit: 256, .. }),
        "{refused:?}"
    );
    assert_eq!(made, 255);
    // A space that looks at it sees the RAM: all of them are skipped on the way.
    let space = memory.create_address_space("memory", &end).unwrap();
    assert_eq!(shown(&space.view()), [range("ram", 0, 0xfff, 0)]);
}

/// P2: uses of a dirty log are counted, up to 255.
#[test]
fn uses_of_a_dirty_log_are_counted() {
    let (memory, system, space) = machine();
    let vga = memory.region("vga.vram").ram(RamBlock::unbacked(0x1000));
    memory.update(|tx| tx.add_subregion(&system, 0, &vga)).unwrap();
    let switch = |on, times: usize| {
        memory
            .update(|tx| (0..times).try_for_each(|_| tx.set_log(&vga, on)))
            .map(|_| ())
    };
    switch(true, 255).unwrap();
    let refused = switch(true, 1);
    assert!(
        matches!(
            refused,
            Err(Error::LogCount {
                count: 255,
                on: true,
                ..
            })
        ),
        "{refused:?}"
    );
    switch(false, 254).unwrap();
    assert!(!space.view().find(0).unwrap().dirty_log_mask().is_empty());
    let refused = switch(false, 2);
    assert!(
        matches!(
            refused,
            Err(Error::LogCount {
                count: 0,
                on: false,
                ..
            })
        ),
        "{refused:?}"
    );
    assert!(
        !space.view().find(0).unwrap().dirty_log_mask().is_empty(),
        "as it was"
    );
}

/// B12, C2: a region that is mapped can be a root, too, and its own address counts there. C33 with the
/// compatibility switch: QEMU counts it or not, depending on how many children there are.
#[test]
fn a_mapped_region_can_be_a_root() {
    for (compat, first) in [(Compat::empty(), 0x1_0000_0000), (Compat::LOSSY_VIEW_ROOTS, 0)] {
        let memory = Memory::with_compat(compat);
        let system = memory.region("system").container(Size::MAX);
        let devices = memory.region("device-memory").container(0x1_0000_0000);
        let dimm = |name| memory.region(name).ram(RamBlock::unbacked(0x1000));
        let (one, two) = (dimm("one"), dimm("two"));
        memory
            .update(|tx| {
                tx.add_subregion(&system, 0x1_0000_0000, &devices)?;
                tx.add_subregion(&devices, 0, &one)
            })
            .unwrap();
        let space = memory.create_address_space("device-memory", &devices).unwrap();
        assert_eq!(shown(&space.view()), [range("one", first, first + 0xfff, 0)]);
        memory
            .update(|tx| tx.add_subregion(&devices, 0x1000, &two))
            .unwrap();
        let (low, high) = (0x1_0000_0000, 0x1_0000_1000);
        assert_eq!(
            shown(&space.view()),
            [
                range("one", low, low + 0xfff, 0),
                range("two", high, high + 0xfff, 0)
            ]
        );
    }
}

/// Found: a child's change damages its container, whose last handle goes before the transaction ends.
#[test]
fn a_container_may_go_in_the_transaction_that_damages_it() {
    let (memory, _, _) = machine();
    let container = memory.region("container").container(0x1000);
    let ram = memory.region("ram").ram(RamBlock::unbacked(0x1000));
    memory.update(|tx| tx.add_subregion(&container, 0, &ram)).unwrap();
    let container = Cell::new(Some(container));
    memory
        .update(|tx| {
            tx.set_readonly(&ram, true)?;
            drop(container.take());
            Ok(())
        })
        .unwrap();
    assert!(ram.state().unwrap().readonly);
    assert_eq!(ram.state().unwrap().container, None);
}

/// Found: what only a space sees whose handle is gone is not rendered any more.
#[test]
fn a_space_that_is_gone_refuses_nothing() {
    let (memory, _, space) = machine();
    let root = memory.region("root").container(0x1000);
    let mirror = memory.region("mirror").alias(&root, 0, 0x1000).unwrap();
    let looking = memory.create_address_space("looking", &root).unwrap();
    memory
        .update(|tx| tx.add_subregion(&root, 0, &mirror))
        .expect_err("it would see itself without end");
    drop(looking);
    memory.update(|tx| tx.add_subregion(&root, 0, &mirror)).unwrap();

    // Its root may be gone, too, when the next update asks for physical roots.
    let bus = memory.region("bus").container(0x1000);
    let ram = memory.region("ram").ram(RamBlock::unbacked(0x1000));
    let looking = memory.create_address_space("looking", &memory.region("gone").container(0x1000));
    drop(looking.unwrap());
    memory.update(|tx| tx.add_subregion(&bus, 0, &ram)).unwrap();
    assert_eq!(memory.address_spaces(), [space]);
}

/// Found: a view that every space leaves in the same commit is not rendered once more.
#[test]
fn a_view_that_everybody_leaves_refuses_nothing() {
    let memory = Memory::new();
    let bus = memory.region("bus").container(0x1000);
    let mirror = memory.region("mirror").alias(&bus, 0, 0x1000);
    let mirror = mirror.expect("the bus is one of ours");
    let window = memory.region("window").alias(&bus, 0, 0x1000);
    let window = window.expect("the bus is one of ours");
    let space = memory.create_address_space("space", &window).unwrap();
    let ram = memory.region("ram").ram(RamBlock::unbacked(0x10));
    memory
        .update(|tx| {
            tx.add_subregion(&bus, 0, &ram)?;
            tx.add_subregion(&bus, 0x800, &mirror)?;
            tx.set_enabled(&mirror, false)
        })
        .unwrap();
    assert_eq!(space.view().len(), 1);
    // The bus sees itself without end from here on; the window ends.
    memory
        .update(|tx| {
            tx.set_address(&mirror, 0)?;
            tx.set_enabled(&mirror, true)?;
            tx.set_enabled(&window, false)
        })
        .unwrap();
    assert!(space.view().is_empty());
}

/// Found: one space leaves a view, another one comes to it, and it changes, in one commit.
#[test]
fn spaces_may_pass_the_view_of_a_root_on() {
    let memory = Memory::new();
    let roots = ["a", "b"].map(|name| memory.region(name).container(0x1000));
    let rams = ["x", "y", "z", "u"].map(|name| memory.region(name).ram(RamBlock::unbacked(0x400)));
    let switches = ["first", "second"].map(|name| memory.region(name).container(0x1000));
    let to_a = switches
        .each_ref()
        .map(|_| memory.region("to a").alias(&roots[0], 0, 0x1000).unwrap());
    let to_b = switches
        .each_ref()
        .map(|_| memory.region("to b").alias(&roots[1], 0, 0x1000).unwrap());
    memory
        .update(|tx| {
            tx.add_subregion(&roots[0], 0, &rams[0])?;
            tx.add_subregion(&roots[0], 0x800, &rams[1])?;
            tx.add_subregion(&roots[1], 0, &rams[2])?;
            tx.add_subregion(&roots[1], 0x800, &rams[3])?;
            for (index, switch) in switches.iter().enumerate() {
                tx.add_subregion(switch, 0, &to_a[index])?;
                tx.add_subregion(switch, 0, &to_b[index])?;
                tx.set_enabled(&to_a[index], index == 0)?;
                tx.set_enabled(&to_b[index], index == 1)?;
            }
            Ok(())
        })
        .unwrap();
    let spaces = switches
        .each_ref()
        .map(|switch| memory.create_address_space("space", switch).unwrap());
    assert_eq!(spaces[0].view().root(), Some(&roots[0]));
    assert_eq!(spaces[1].view().root(), Some(&roots[1]));
    for round in 1..4 {
        memory
            .update(|tx| {
                for index in 0..2 {
                    tx.set_enabled(&to_a[index], (index + round) % 2 == 0)?;
                    tx.set_enabled(&to_b[index], (index + round) % 2 == 1)?;
                }
                tx.set_address(&rams[1], 0x800 + round as u64 * 0x10)?;
                tx.set_address(&rams[3], 0x800 + round as u64 * 0x20)
            })
            .unwrap();
        for (index, space) in spaces.iter().enumerate() {
            let (root, ram, step) = if (index + round) % 2 == 0 {
                (0, 0, 0x10)
            } else {
                (1, 2, 0x20)
            };
            let view = space.view();
            assert_eq!(view.root(), Some(&roots[root]), "round {round}");
            let name = |index: usize| rams[index].name();
            let moved = 0x800 + round as u64 * step;
            assert_eq!(
                shown(&view),
                [
                    range(name(ram), 0, 0x3ff, 0),
                    range(name(ram + 1), moved, moved + 0x3ff, 0)
                ],
                "round {round}"
            );
        }
    }
}

/// Found: a receipt of an update that replaced nothing speaks for those before it.
#[test]
fn a_receipt_speaks_for_earlier_updates() {
    let (memory, system, space) = machine();
    let ram = memory.region("ram").ram(RamBlock::unbacked(0x1000));
    memory.update(|tx| tx.add_subregion(&system, 0, &ram)).unwrap();
    let view = space.view();
    drop(memory.update(|tx| tx.del_subregion(&system, &ram)).unwrap());
    let nothing = memory.update(|_| Ok(())).unwrap();
    assert!(!nothing.is_quiesced());
    drop(view);
    assert!(nothing.is_quiesced());
}
