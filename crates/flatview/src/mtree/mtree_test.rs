//! What real machines do not show: `tests/corpus` has the rest.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::{
    AddressSpace, Error, MemTxAttrs, MemTxError, Memory, MemoryRegionOps, Owner, OwnerKind, OwnerReference,
    RamBlock, Region, Size,
};

struct NoDevice;

impl MemoryRegionOps for NoDevice {
    fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(0)
    }

    fn write(&self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        Ok(())
    }
}

/// A memory with one space, whose root is a container of 2^64 bytes.
fn fixture() -> (Memory, Region, AddressSpace) {
    let memory = Memory::new();
    let system = memory.region("system").container(Size::MAX);
    let space = memory.create_address_space("memory", &system).unwrap();
    (memory, system, space)
}

fn ram(memory: &Memory, name: &str, size: u64) -> Region {
    memory.region(name).ram(RamBlock::unbacked(size))
}

/// Rule A28: the type, of an alias that of the end of its chain, and `nv-` for the region's own mark.
#[test]
fn a28_types_in_a_tree() {
    let (memory, system, _space) = fixture();
    let block = || RamBlock::unbacked(0x10);
    let ops = || Arc::new(NoDevice);
    let bar = memory.region("bar").ram_device(block());
    let locked = memory.region("locked bar").readonly(true).ram_device(block());
    let flash = memory.region("flash").rom_device(block(), ops());
    let busy = memory.region("busy flash").rom_device(block(), ops());
    let bios = memory.region("bios").rom(block());
    let dimm = memory.region("dimm").nonvolatile(true).ram(block());
    let port = memory.region("port").readonly(true).io(0x10, ops());
    let held = memory.region("held").reservation(0x10);
    let window = memory
        .region("window")
        .readonly(true)
        .alias(&dimm, 0, 0x10)
        .unwrap();
    let onto_it = memory
        .region("view")
        .nonvolatile(true)
        .alias(&window, 0, 0x10)
        .unwrap();
    let onto_busy = memory.region("peep").alias(&busy, 8, 8).unwrap();
    let all = [
        &bar, &locked, &flash, &busy, &bios, &dimm, &port, &held, &window, &onto_it, &onto_busy,
    ];
    memory
        .update(|tx| {
            tx.rom_device_set_romd(&busy, false)?;
            for (address, region) in (0_u64..).step_by(0x10).zip(all) {
                tx.add_subregion(&system, address, region)?;
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(
        system.mtree().unwrap().to_string(),
        "memory-region: system
  0000000000000000-ffffffffffffffff (prio 0, i/o): system
    0000000000000000-000000000000000f (prio 0, ramd): bar
    0000000000000010-000000000000001f (prio 0, ramd): locked bar
    0000000000000020-000000000000002f (prio 0, romd): flash
    0000000000000030-000000000000003f (prio 0, i/o): busy flash
    0000000000000040-000000000000004f (prio 0, rom): bios
    0000000000000050-000000000000005f (prio 0, nv-ram): dimm
    0000000000000060-000000000000006f (prio 0, i/o): port
    0000000000000070-000000000000007f (prio 0, i/o): held
    0000000000000080-000000000000008f (prio 0, ram): alias window @dimm 0000000000000000-000000000000000f
    0000000000000090-000000000000009f (prio 0, nv-ram): alias view @window 0000000000000000-000000000000000f
    00000000000000a0-00000000000000a7 (prio 0, i/o): alias peep @busy flash 0000000000000008-000000000000000f

"
    );
}

/// Rules C16, C17: in a view, what is inherited counts, and read-only comes before the type.
#[test]
fn c16_c17_types_in_a_view() {
    let (memory, system, space) = fixture();
    let block = || RamBlock::unbacked(0x10);
    let guarded = memory.region("guarded").readonly(true).container(0x30);
    let kept = memory.region("kept").nonvolatile(true).container(0x20);
    let bar = memory.region("bar").ram_device(block());
    let flash = memory.region("flash").rom_device(block(), Arc::new(NoDevice));
    let port = memory.region("port").io(0x10, Arc::new(NoDevice));
    let memory_bar = memory.region("bar2").ram_device(block());
    let busy = memory.region("busy").rom_device(block(), Arc::new(NoDevice));
    memory
        .update(|tx| {
            tx.add_subregion(&system, 0, &guarded)?;
            tx.add_subregion(&guarded, 0x00, &bar)?;
            tx.add_subregion(&guarded, 0x10, &flash)?;
            tx.add_subregion_overlap(&guarded, 0x20, &port, -7)?;
            tx.add_subregion(&system, 0x40, &kept)?;
            tx.add_subregion(&kept, 0x00, &memory_bar)?;
            tx.rom_device_set_romd(&busy, false)?;
            tx.add_subregion(&kept, 0x10, &busy)
        })
        .unwrap();
    assert_eq!(
        space.mtree_flat().unwrap().to_string(),
        "FlatView #0
 AS \"memory\", root: system
 Root memory region: system
  0000000000000000-000000000000000f (prio 0, rom): bar
  0000000000000010-000000000000001f (prio 0, rom): flash
  0000000000000020-000000000000002f (prio -7, rom): port
  0000000000000040-000000000000004f (prio 0, nv-ramd): bar2
  0000000000000050-000000000000005f (prio 0, nv-i/o): busy

"
    );
}

/// Rules A16, A17: the last address is inclusive, and a size of zero looks like a size of one.
#[test]
fn a16_a17_ends() {
    let (memory, system, _space) = fixture();
    let none = memory.region("none").container(0);
    let one = memory.region("one").container(1);
    let nothing = memory.region("nothing").alias(&system, 0x8000, 0).unwrap();
    let nearly = memory.region("nearly").alias(&system, 1, u64::MAX).unwrap();
    let top = memory.region("top").container(0x1000);
    memory
        .update(|tx| {
            tx.add_subregion(&system, 0x10, &none)?;
            tx.add_subregion(&system, 0x20, &one)?;
            tx.add_subregion(&system, 0x30, &nothing)?;
            tx.set_enabled(&nearly, false)?;
            tx.add_subregion(&system, 0, &nearly)?;
            tx.add_subregion(&system, u64::MAX - 0xfff, &top)
        })
        .unwrap();
    assert_eq!(
        system.mtree().unwrap().disabled(true).to_string(),
        "memory-region: system
  0000000000000000-ffffffffffffffff (prio 0, i/o): system
    0000000000000000-fffffffffffffffe (prio 0, i/o): alias nearly @system 0000000000000001-ffffffffffffffff [disabled]
    0000000000000010-0000000000000010 (prio 0, i/o): none
    0000000000000020-0000000000000020 (prio 0, i/o): one
    0000000000000030-0000000000000030 (prio 0, i/o): alias nothing @system 0000000000008000-0000000000008000
    fffffffffffff000-ffffffffffffffff (prio 0, i/o): top

"
    );
}

/// Section 2.1, step 4: an overflow is told before the indentation, at once, even where the line is hidden.
#[test]
fn overflow_is_told_before_the_next_line_that_is_printed() {
    let (memory, system, _space) = fixture();
    let hidden = memory.region("hidden").enabled(false).container(Size::MAX);
    let within = memory.region("within").container(Size::MAX);
    let last = memory.region("last").enabled(false).container(Size::MAX);
    let alias = memory.region("alias").alias(&system, u64::MAX, 0x11).unwrap();
    memory
        .update(|tx| {
            tx.add_subregion(&system, 0x1000, &hidden)?;
            tx.add_subregion(&hidden, u64::MAX, &within)?;
            tx.add_subregion(&system, 0x2000, &alias)?;
            tx.add_subregion(&system, 0x3000, &last)
        })
        .unwrap();
    let tree = system.mtree().unwrap();
    assert_eq!(
        tree.to_string(),
        "memory-region: system
  0000000000000000-ffffffffffffffff (prio 0, i/o): system
[DETECTED OVERFLOW!] [DETECTED OVERFLOW!]       0000000000000fff-0000000000000ffe (prio 0, i/o): within
    0000000000002000-0000000000002010 (prio 0, i/o): alias alias @system ffffffffffffffff-000000000000000f
[DETECTED OVERFLOW!] 
"
    );
    assert_eq!(
        tree.disabled(true).to_string(),
        "memory-region: system
  0000000000000000-ffffffffffffffff (prio 0, i/o): system
[DETECTED OVERFLOW!]     0000000000001000-0000000000000fff (prio 0, i/o): hidden [disabled]
[DETECTED OVERFLOW!]       0000000000000fff-0000000000000ffe (prio 0, i/o): within
    0000000000002000-0000000000002010 (prio 0, i/o): alias alias @system ffffffffffffffff-000000000000000f
[DETECTED OVERFLOW!]     0000000000003000-0000000000002fff (prio 0, i/o): last [disabled]

"
    );
}

/// Section 2.1, step 4: by address, then priority, then the newest first (B3); B4 makes a moved one newest.
#[test]
fn b3_b4_order_of_children() {
    let (memory, system, _space) = fixture();
    let child = |name: &str| memory.region(name).container(0x10);
    let [first, second, low, high, other] = ["first", "second", "low", "high", "other"].map(child);
    memory
        .update(|tx| {
            tx.add_subregion_overlap(&system, 0x10, &high, 2)?;
            tx.add_subregion_overlap(&system, 0x10, &low, i32::MIN)?;
            tx.add_subregion(&system, 0x20, &first)?;
            tx.add_subregion(&system, 0x10, &second)?;
            tx.add_subregion_overlap(&system, 0, &other, -1)?;
            tx.set_address(&first, 0x10)
        })
        .unwrap();
    assert_eq!(
        system.mtree().unwrap().to_string(),
        "memory-region: system
  0000000000000000-ffffffffffffffff (prio 0, i/o): system
    0000000000000000-000000000000000f (prio -1, i/o): other
    0000000000000010-000000000000001f (prio 2, i/o): high
    0000000000000010-000000000000001f (prio 0, i/o): first
    0000000000000010-000000000000001f (prio 0, i/o): second
    0000000000000010-000000000000001f (prio -2147483648, i/o): low

"
    );
}

/// Section 2.1: the queue of targets is first in, first out, over all groups; aliases that are hidden, and
/// those in targets, count; each target is printed once, at its own address.
#[test]
fn targets_are_printed_once_in_the_order_in_which_they_are_met() {
    let (memory, system, _space) = fixture();
    let io = memory.region("io").container(0x100);
    let _ports = memory.create_address_space("I/O", &io).unwrap();
    let far = ram(&memory, "far", 0x10);
    let near = ram(&memory, "near", 0x10);
    let inner = memory.region("inner").alias(&far, 0, 0x10).unwrap();
    let bank = memory.region("bank").container(0x20);
    let a = memory.region("a").alias(&bank, 0, 0x20).unwrap();
    let b = memory.region("b").enabled(false).alias(&near, 0, 0x10).unwrap();
    let c = memory.region("c").alias(&bank, 0, 0x20).unwrap();
    let d = memory.region("d").alias(&io, 0, 0x100).unwrap();
    memory
        .update(|tx| {
            tx.add_subregion(&bank, 0, &inner)?;
            tx.add_subregion(&system, 0x1000, &near)?;
            tx.add_subregion(&system, 0x2000, &a)?;
            tx.add_subregion(&io, 0, &b)?;
            tx.add_subregion(&io, 0, &c)?;
            tx.add_subregion(&io, 0x80, &d)
        })
        .unwrap();
    assert_eq!(
        memory.mtree().to_string(),
        "address-space: memory
  0000000000000000-ffffffffffffffff (prio 0, i/o): system
    0000000000001000-000000000000100f (prio 0, ram): near
    0000000000002000-000000000000201f (prio 0, i/o): alias a @bank 0000000000000000-000000000000001f

address-space: I/O
  0000000000000000-00000000000000ff (prio 0, i/o): io
    0000000000000000-000000000000001f (prio 0, i/o): alias c @bank 0000000000000000-000000000000001f
    0000000000000080-000000000000017f (prio 0, i/o): alias d @io 0000000000000000-00000000000000ff

memory-region: bank
  0000000000000000-000000000000001f (prio 0, i/o): bank
    0000000000000000-000000000000000f (prio 0, ram): alias inner @far 0000000000000000-000000000000000f

memory-region: near
  0000000000001000-000000000000100f (prio 0, ram): near

memory-region: io
  0000000000000000-00000000000000ff (prio 0, i/o): io
    0000000000000000-000000000000001f (prio 0, i/o): alias c @bank 0000000000000000-000000000000001f
    0000000000000080-000000000000017f (prio 0, i/o): alias d @io 0000000000000000-00000000000000ff

memory-region: far
  0000000000000000-000000000000000f (prio 0, ram): far

"
    );
}

/// Section 2.1: names in a group as strcmp has them; groups in order of creation, which QEMU leaves to chance.
/// Spaces that are gone are not printed.
#[test]
fn spaces_of_one_root_share_a_group() {
    let memory = Memory::new();
    let [one, two] = ["one", "two"].map(|name| memory.region(name).enabled(false).container(1));
    let space = |name, root| memory.create_address_space(name, root).unwrap();
    let destroyed = space("destroyed", &one);
    let dropped = space("dropped", &one);
    let _kept = [
        space("b", &two),
        space("a", &one),
        space("é", &two),
        space("a", &two),
        space("B", &two),
    ];
    destroyed.destroy().unwrap();
    drop(dropped);
    assert_eq!(
        memory.mtree().to_string(),
        "address-space: B
address-space: a
address-space: b
address-space: é

address-space: a

"
    );
    assert_eq!(
        memory.mtree().disabled(true).to_string(),
        "address-space: B
address-space: a
address-space: b
address-space: é
  0000000000000000-0000000000000000 (prio 0, i/o): two [disabled]

address-space: a
  0000000000000000-0000000000000000 (prio 0, i/o): one [disabled]

"
    );
    assert_eq!(
        destroyed.mtree_flat().unwrap().to_string(),
        "FlatView #0\n AS \"destroyed\", root: one\n Root memory region: (none)\n  No rendered FlatView\n\n"
    );
}

/// Rule A24: owner, then parent where that is another object, then neither.
#[test]
fn a24_owners_and_parents() {
    let (memory, system, _space) = fixture();
    let device = Owner::device("nic0");
    let twin = Owner::device("nic0");
    let path = Owner::new(OwnerKind::Device, OwnerReference::Path("/machine/nic".into()));
    let list = Owner::new(
        OwnerKind::Object,
        OwnerReference::Type("memory-region-portio-list".into()),
    );
    let make = |name: &str| memory.region(name).nonvolatile(true);
    let regions = [
        make("orphan").ram(RamBlock::unbacked(1)),
        make("owned").owner(&device).ram(RamBlock::unbacked(1)),
        make("kept").parent(&path).ram(RamBlock::unbacked(1)),
        make("both").owner(&list).parent(&path).ram(RamBlock::unbacked(1)),
        make("same")
            .owner(&device)
            .parent(&device)
            .ram(RamBlock::unbacked(1)),
        make("twins")
            .owner(&device)
            .parent(&twin)
            .ram(RamBlock::unbacked(1)),
    ];
    memory
        .update(|tx| {
            for (address, region) in (0_u64..).step_by(2).zip(&regions) {
                tx.add_subregion(&system, address, region)?;
            }
            tx.set_enabled(&regions[0], false)
        })
        .unwrap();
    assert_eq!(
        system.mtree().unwrap().owners(true).disabled(true).to_string(),
        "memory-region: system
  0000000000000000-ffffffffffffffff (prio 0, i/o): system orphan
    0000000000000000-0000000000000000 (prio 0, nv-ram): orphan [disabled] orphan
    0000000000000002-0000000000000002 (prio 0, nv-ram): owned owner:{dev id=nic0}
    0000000000000004-0000000000000004 (prio 0, nv-ram): kept parent:{dev path=/machine/nic}
    0000000000000006-0000000000000006 (prio 0, nv-ram): both owner:{obj type=memory-region-portio-list} parent:{dev path=/machine/nic}
    0000000000000008-0000000000000008 (prio 0, nv-ram): same owner:{dev id=nic0}
    000000000000000a-000000000000000a (prio 0, nv-ram): twins owner:{dev id=nic0} parent:{dev id=nic0}

"
    );
    let flat = memory
        .mtree_flat()
        .owners(true)
        .accelerator("HVF", |_, range| range.start() == 4);
    assert_eq!(
        flat.to_string(),
        "FlatView #0
 AS \"memory\", root: system
 Root memory region: system
  0000000000000002-0000000000000002 (prio 0, nv-ram): owned owner:{dev id=nic0}
  0000000000000004-0000000000000004 (prio 0, nv-ram): kept parent:{dev path=/machine/nic} HVF
  0000000000000006-0000000000000006 (prio 0, nv-ram): both owner:{obj type=memory-region-portio-list} parent:{dev path=/machine/nic}
  0000000000000008-0000000000000008 (prio 0, nv-ram): same owner:{dev id=nic0}
  000000000000000a-000000000000000a (prio 0, nv-ram): twins owner:{dev id=nic0} parent:{dev id=nic0}

"
    );
}

/// Rules C30, C31, C34: spaces by view, the physical root, and what there is to say of a view of nothing.
#[test]
fn c30_c31_c34_views_and_their_spaces() {
    let (memory, system, _space) = fixture();
    let bus = |name: &str| memory.region(name).container(Size::MAX);
    let [on, off, hollow] = ["on", "off", "hollow"].map(bus);
    let master = |enabled| {
        memory
            .region("master")
            .enabled(enabled)
            .alias(&system, 0, Size::MAX)
            .unwrap()
    };
    let direct = master(true);
    let _spaces = [&off, &on, &hollow, &direct].map(|root| {
        let name = format!("to {}", root.name());
        memory.create_address_space(&name, root).unwrap()
    });
    memory
        .update(|tx| {
            tx.add_subregion(&system, 0x10, &ram(&memory, "x", 0x10))?;
            tx.add_subregion(&system, 0x18, &ram(&memory, "y", 0x10))?;
            tx.add_subregion(&on, 0, &master(true))?;
            tx.add_subregion(&off, 0, &master(false))?;
            tx.add_subregion(&hollow, 0, &bus("nothing"))?;
            tx.add_subregion(&hollow, 1, &bus("nothing more"))
        })
        .unwrap();
    let asked = RefCell::new(Vec::new());
    let flat = memory.mtree_flat().accelerator("KVM", |space, range| {
        asked.borrow_mut().push((space.name().to_string(), range.start()));
        range.start() == 0x10 && space.name() != "to on"
    });
    assert_eq!(
        flat.to_string(),
        "FlatView #0
 AS \"memory\", root: system
 AS \"to on\", root: on
 AS \"to master\", root: master, alias system
 Root memory region: system
  0000000000000010-0000000000000017 (prio 0, ram): x KVM KVM
  0000000000000018-0000000000000027 (prio 0, ram): y

FlatView #1
 AS \"to off\", root: off
 Root memory region: (none)
  No rendered FlatView

FlatView #2
 AS \"to hollow\", root: hollow
 Root memory region: hollow
  No rendered FlatView

"
    );
    drop(flat);
    let spaces = ["memory", "to on", "to master"].map(String::from);
    let questions = [0x10, 0x18].map(|start| spaces.clone().map(|space| (space, start)));
    assert_eq!(asked.into_inner(), questions.concat());
}

#[test]
fn what_the_hook_looks_at_is_not_locked() {
    let (memory, system, space) = fixture();
    let region = ram(&memory, "ram", 0x10);
    memory.update(|tx| tx.add_subregion(&system, 0, &region)).unwrap();
    let flat = memory.mtree_flat().accelerator("X", |asked, range| {
        memory.update(|tx| tx.set_enabled(&region, false)).unwrap();
        range.region().state().is_ok() && asked.view().is_empty() && memory.mtree().to_string().len() > 10
    });
    assert!(flat.to_string().contains("ram): ram X\n"));
    assert!(space.view().is_empty());
}

/// Not half of what another thread is about to do.
#[test]
fn a_text_is_of_one_moment() {
    let (memory, system, _space) = fixture();
    let region = ram(&memory, "dimm", 0x10);
    memory
        .update(|tx| tx.add_subregion(&system, 0x1000, &region))
        .unwrap();
    let (half_way, printer) = channel();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            memory
                .update(|tx| {
                    tx.del_subregion(&system, &region)?;
                    half_way.send(()).unwrap();
                    std::thread::sleep(Duration::from_millis(50));
                    tx.add_subregion(&system, 0x2000, &region)
                })
                .unwrap();
        });
        printer.recv().unwrap();
        let tree = memory.mtree().to_string();
        assert!(
            tree.contains("    0000000000002000-000000000000200f (prio 0, ram): dimm\n"),
            "{tree}"
        );
    });
}

#[test]
fn an_update_prints_what_it_has_done_so_far() {
    let (memory, system, _space) = fixture();
    let region = ram(&memory, "dimm", 0x10);
    let undone: Result<_, Error> = memory.update(|tx| {
        tx.add_subregion(&system, 0x1000, &region)?;
        assert!(memory.mtree().to_string().contains("): dimm\n"));
        assert!(
            memory
                .mtree_flat()
                .to_string()
                .contains("  No rendered FlatView\n")
        );
        Err::<(), _>(Error::other("never mind"))
    });
    undone.unwrap_err();
    assert!(!memory.mtree().to_string().contains("dimm"));
}

/// Rule B15 does not allow cycles, but nothing bounds how deep containers nest.
#[test]
fn printing_does_not_recurse() {
    const DEPTH: u64 = 2_000;
    let memory = Memory::new();
    let mut top = memory.region("bottom").container(1);
    for _ in 1..DEPTH {
        let above = memory.region("level").container(Size::MAX);
        memory.update(|tx| tx.add_subregion(&above, 1, &top)).unwrap();
        top = above;
    }
    let print = move || top.mtree().unwrap().to_string();
    let text = std::thread::Builder::new()
        .stack_size(0x1_0000)
        .spawn(print)
        .unwrap()
        .join()
        .unwrap();
    assert_eq!(text.lines().count() as u64, DEPTH + 2);
    let last = text.lines().nth_back(1).unwrap();
    assert_eq!(
        last.trim_start(),
        "00000000000007cf-00000000000007cf (prio 0, i/o): bottom"
    );
    assert_eq!(last.len() - last.trim_start().len(), 4_000);
}

/// `n` containers in one another, each of them the root of a space, are n²/2 lines but only n regions.
#[test]
fn nested_roots_are_printed_from_one_picture() {
    let memory = Memory::new();
    let regions: Vec<Region> = (0..100)
        .map(|n| memory.region(&format!("{n}")).container(1))
        .collect();
    memory
        .update(|tx| {
            for pair in regions.windows(2) {
                tx.add_subregion(&pair[0], 0, &pair[1])?;
            }
            Ok(())
        })
        .unwrap();
    let space = |region| memory.create_address_space("x", region).unwrap();
    let _spaces: Vec<AddressSpace> = regions.iter().map(space).collect();
    assert_eq!(
        memory.mtree().to_string().lines().count(),
        100 * 101 / 2 + 2 * 100
    );
}

#[test]
fn a_memory_that_is_gone_is_told() {
    let (memory, system, space) = fixture();
    drop(memory);
    assert!(matches!(system.mtree(), Err(Error::MemoryDropped { .. })));
    assert!(matches!(space.mtree_flat(), Err(Error::MemoryDropped { .. })));
}
