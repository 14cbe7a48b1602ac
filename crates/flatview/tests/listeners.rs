//! What listeners hear, exactly: the worked vectors AB10 and AB11 and the rules F1 to F17 and G1 to G10 of
//! the reference, with our deviations. QEMU calls the listeners of every space on every commit (E7); ours hear
//! of their own space only, `prepare` comes first, and ioeventfds go in the documented direction (F5).

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may panic, and its numbers are small"
)]

#[path = "listeners/consumers.rs"]
mod consumers;
#[path = "listeners/failing.rs"]
mod failing;
#[path = "listeners/following.rs"]
mod following;
#[path = "listeners/joining.rs"]
mod joining;
#[path = "listeners/machine.rs"]
mod machine;
#[path = "listeners/models.rs"]
mod models;
#[path = "../src/test_random.rs"]
mod random;
#[path = "listeners/walk.rs"]
mod walk;

use std::sync::Arc;

use flatview::{DirtyClients, GlobalDirty, LogSync, Size};
use machine::{Machine, notifier};

#[test]
fn ab10_a_device_in_the_middle_of_ram() {
    let (machine, _ram) = Machine::with_ram();
    let _listeners = machine.listen(|listener| listener);
    // A second space with an unchanged map: QEMU would call L5 with begin, region_nop and commit. E7, G1.
    let other_root = machine.memory.region("other").container(Size::MAX);
    let other = machine.memory.create_address_space("other", &other_root).unwrap();
    let l5 = Arc::new(machine.recorder("L5", 5).with_nop());
    let _l5 = other.register(l5).unwrap();
    machine.assert_heard("L5.prepare -0 +0\nL5.begin\nL5.commit");

    let device = machine.mmio("m", 0x1000);
    machine.update(|tx| tx.add_subregion_overlap(&machine.system, 0x4000, &device, 1));
    machine.assert_heard(
        "L0.prepare -1 +3
         L10.prepare -1 +3
         L0.begin
         L10.begin
         L10.region_del 0x0-0xffff RAM@0x0
         L0.region_del 0x0-0xffff RAM@0x0
         L0.region_add 0x0-0x3fff RAM@0x0
         L10.region_add 0x0-0x3fff RAM@0x0
         L0.region_add 0x4000-0x4fff m@0x0
         L10.region_add 0x4000-0x4fff m@0x0
         L0.region_add 0x5000-0xffff RAM@0x5000
         L10.region_add 0x5000-0xffff RAM@0x5000
         L0.commit
         L10.commit",
    );
}

#[test]
fn ab11_a_display_logs_ram() {
    let (machine, ram) = Machine::with_ram();
    let _listeners = machine.listen(|listener| listener.with_nop());
    machine.update(|tx| tx.set_log(&ram, true));
    machine.assert_heard(
        "L0.prepare -0 +0
         L10.prepare -0 +0
         L0.begin
         L10.begin
         L0.region_nop 0x0-0xffff RAM@0x0 log VGA
         L10.region_nop 0x0-0xffff RAM@0x0 log VGA
         L0.log_start 0x0-0xffff RAM@0x0 log VGA: none -> VGA
         L10.log_start 0x0-0xffff RAM@0x0 log VGA: none -> VGA
         L0.commit
         L10.commit",
    );
    machine.update(|tx| tx.set_log(&ram, false));
    machine.assert_heard(
        "L0.prepare -0 +0
         L10.prepare -0 +0
         L0.begin
         L10.begin
         L0.region_nop 0x0-0xffff RAM@0x0
         L10.region_nop 0x0-0xffff RAM@0x0
         L10.log_stop 0x0-0xffff RAM@0x0: VGA -> none
         L0.log_stop 0x0-0xffff RAM@0x0: VGA -> none
         L0.commit
         L10.commit",
    );
}

#[test]
fn ab11_a_display_logs_ram_that_code_is_translated_from() {
    let (machine, ram) = Machine::with_ram();
    machine.update(|tx| {
        tx.set_code_logging(true);
        Ok(())
    });
    let _listeners = machine.listen(|listener| listener);
    machine.update(|tx| tx.set_log(&ram, true));
    machine.assert_heard(
        "L0.prepare -0 +0
         L10.prepare -0 +0
         L0.begin
         L10.begin
         L0.log_start 0x0-0xffff RAM@0x0 log VGA|CODE: CODE -> VGA|CODE
         L10.log_start 0x0-0xffff RAM@0x0 log VGA|CODE: CODE -> VGA|CODE
         L0.commit
         L10.commit",
    );
}

#[test]
fn ab11_p13_p14_all_of_memory_is_tracked() {
    let (machine, ram) = Machine::with_ram();
    machine.map(0x10_0000, &machine.mmio("m", 0x1000));
    machine.update(|tx| tx.set_log(&ram, true));
    let _listeners = machine.listen(|listener| listener.with_nop());
    machine
        .memory
        .global_dirty_log_start(GlobalDirty::MIGRATION)
        .unwrap();
    machine.assert_heard(
        "L0.log_global_start
         L10.log_global_start
         L0.prepare -0 +0
         L10.prepare -0 +0
         L0.begin
         L10.begin
         L0.region_nop 0x0-0xffff RAM@0x0 log VGA|MIGRATION
         L10.region_nop 0x0-0xffff RAM@0x0 log VGA|MIGRATION
         L0.log_start 0x0-0xffff RAM@0x0 log VGA|MIGRATION: VGA -> VGA|MIGRATION
         L10.log_start 0x0-0xffff RAM@0x0 log VGA|MIGRATION: VGA -> VGA|MIGRATION
         L0.region_nop 0x100000-0x100fff m@0x0
         L10.region_nop 0x100000-0x100fff m@0x0
         L0.commit
         L10.commit",
    );
    // A second reason changes nothing, and so does the end of one of two (P13, P14).
    machine
        .memory
        .global_dirty_log_start(GlobalDirty::DIRTY_RATE)
        .unwrap();
    machine
        .memory
        .global_dirty_log_stop(GlobalDirty::MIGRATION)
        .unwrap();
    machine.assert_heard("");
    machine
        .memory
        .global_dirty_log_stop(GlobalDirty::DIRTY_RATE)
        .unwrap();
    machine.assert_heard(
        "L0.prepare -0 +0
         L10.prepare -0 +0
         L0.begin
         L10.begin
         L0.region_nop 0x0-0xffff RAM@0x0 log VGA
         L10.region_nop 0x0-0xffff RAM@0x0 log VGA
         L10.log_stop 0x0-0xffff RAM@0x0 log VGA: VGA|MIGRATION -> VGA
         L0.log_stop 0x0-0xffff RAM@0x0 log VGA: VGA|MIGRATION -> VGA
         L0.region_nop 0x100000-0x100fff m@0x0
         L10.region_nop 0x100000-0x100fff m@0x0
         L0.commit
         L10.commit
         L10.log_global_stop
         L0.log_global_stop",
    );
}

#[test]
fn f3_equal_priorities_are_called_in_order_of_registration() {
    let (machine, ram) = Machine::with_ram();
    let registrations = ["second", "first"].map(|name| {
        let priority = if name == "first" { 0 } else { 1 };
        let [a, b] = ["a", "b"].map(|which| Arc::new(machine.recorder(&format!("{name}.{which}"), priority)));
        [
            machine.space.register(a).unwrap(),
            machine.space.register(b).unwrap(),
        ]
    });
    machine.log.take();
    machine.update(|tx| tx.set_readonly(&ram, true));
    let order = |callback: &str| -> Vec<String> {
        let named = machine
            .log
            .events()
            .into_iter()
            .filter(|event| event.callback.name() == callback);
        named.map(|event| event.listener.to_string()).collect()
    };
    let ascending = ["first.a", "first.b", "second.a", "second.b"];
    let descending = ["second.b", "second.a", "first.b", "first.a"];
    for callback in ["prepare", "begin", "region_add", "commit"] {
        assert_eq!(order(callback), ascending, "{callback}");
    }
    assert_eq!(order("region_del"), descending);
    drop(registrations);
}

/// G4, G5: within a range; F4: coalesced ranges down on removal, up on addition.
#[test]
fn g4_g5_coalesced_ranges_go_before_their_range_and_come_after_it() {
    let machine = Machine::new();
    let vga = machine.mmio("vga", 0x2000);
    machine.map(0x1000, &vga);
    machine.update(|tx| {
        tx.add_coalescing(&vga, 0x1000, 0x800)?;
        tx.add_coalescing(&vga, 0, 0x10)
    });
    let _listeners = machine.listen(|listener| listener);
    machine.update(|tx| tx.set_address(&vga, 0x8000));
    machine.assert_heard(
        "L0.prepare -1 +1
         L10.prepare -1 +1
         L0.begin
         L10.begin
         L10.coalesced_io_del 0x2000-0x27ff of 0x1000-0x2fff vga@0x0
         L0.coalesced_io_del 0x2000-0x27ff of 0x1000-0x2fff vga@0x0
         L10.coalesced_io_del 0x1000-0x100f of 0x1000-0x2fff vga@0x0
         L0.coalesced_io_del 0x1000-0x100f of 0x1000-0x2fff vga@0x0
         L10.region_del 0x1000-0x2fff vga@0x0
         L0.region_del 0x1000-0x2fff vga@0x0
         L0.region_add 0x8000-0x9fff vga@0x0
         L10.region_add 0x8000-0x9fff vga@0x0
         L0.coalesced_io_add 0x9000-0x97ff of 0x8000-0x9fff vga@0x0
         L10.coalesced_io_add 0x9000-0x97ff of 0x8000-0x9fff vga@0x0
         L0.coalesced_io_add 0x8000-0x800f of 0x8000-0x9fff vga@0x0
         L10.coalesced_io_add 0x8000-0x800f of 0x8000-0x9fff vga@0x0
         L0.commit
         L10.commit",
    );
}

/// F4 as documented, where QEMU does the opposite (F5); G8: after the ranges; what is gone goes first.
#[test]
fn f5_g8_ioeventfds_come_after_ranges_in_the_documented_direction() {
    let machine = Machine::new();
    let doorbells = machine.mmio("doorbells", 0x1000);
    let (first, second) = (notifier(), notifier());
    machine.map(0x1000, &doorbells);
    machine.update(|tx| tx.add_eventfd(&doorbells, 0, 4, Some(5), &first));
    let _listeners = machine.listen(|listener| listener);
    machine.update(|tx| {
        tx.del_eventfd(&doorbells, 0, 4, Some(5), &first)?;
        tx.add_eventfd(&doorbells, 8, 0, None, &second)?;
        tx.add_subregion(&machine.system, 0x8000, &machine.mmio("more", 0x1000))
    });
    machine.assert_heard(
        "L0.prepare -0 +1
         L10.prepare -0 +1
         L0.begin
         L10.begin
         L0.region_add 0x8000-0x8fff more@0x0
         L10.region_add 0x8000-0x8fff more@0x0
         L10.eventfd_del 0x1000 size 4 data 0x5
         L0.eventfd_del 0x1000 size 4 data 0x5
         L0.eventfd_add 0x1008 size 0
         L10.eventfd_add 0x1008 size 0
         L0.commit
         L10.commit",
    );
}

/// E5: with begin and commit around, unlike QEMU, so that a listener may queue.
#[test]
fn e5_ioeventfds_alone_are_a_commit_too() {
    let machine = Machine::new();
    let doorbells = machine.mmio("doorbells", 0x1000);
    machine.map(0x1000, &doorbells);
    let _listeners = machine.listen(|listener| listener);
    machine.update(|tx| tx.add_eventfd(&doorbells, 0, 4, Some(5), &notifier()));
    machine.assert_heard(
        "L0.prepare -0 +0
         L10.prepare -0 +0
         L0.begin
         L10.begin
         L0.eventfd_add 0x1000 size 4 data 0x5
         L10.eventfd_add 0x1000 size 4 data 0x5
         L0.commit
         L10.commit",
    );
}

#[test]
fn e6_a_change_that_nobody_sees_is_not_heard() {
    let (machine, ram) = Machine::with_ram();
    let _listeners = machine.listen(|listener| listener.with_nop());
    let hidden = machine.mmio("hidden", 0x1000);
    machine.update(|tx| tx.add_subregion_overlap(&machine.system, 0x1000, &hidden, -1));
    machine.update(|tx| {
        tx.set_enabled(&ram, false)?;
        tx.set_enabled(&ram, true)
    });
    machine.assert_heard("");
}

/// G3: a range whose size or attributes changed is gone and new; G2: gone before new, in the whole space.
#[test]
fn g2_g3_resized_and_changed_ranges_are_gone_and_new() {
    let machine = Machine::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| machine.ram(name, 0x1000));
    machine.update(|tx| {
        tx.add_subregion(&machine.system, 0x1000, &a)?;
        tx.add_subregion(&machine.system, 0x4000, &b)?;
        tx.add_subregion(&machine.system, 0x8000, &c)
    });
    let l0 = Arc::new(machine.recorder("L0", 0).with_nop());
    let _l0 = machine.space.register(l0).unwrap();
    machine.log.take();
    machine.update(|tx| {
        tx.set_size(&a, 0x800)?;
        tx.set_nonvolatile(&c, true)
    });
    machine.assert_heard(
        "L0.prepare -2 +2
         L0.begin
         L0.region_del 0x1000-0x1fff a@0x0
         L0.region_del 0x8000-0x8fff c@0x0
         L0.region_add 0x1000-0x17ff a@0x0
         L0.region_nop 0x4000-0x4fff b@0x0
         L0.region_add 0x8000-0x8fff c@0x0 nonvolatile
         L0.commit",
    );
}

/// G6: a new range that is logged already says so itself.
#[test]
fn g6_a_logged_range_comes_and_goes_without_log_start_and_log_stop() {
    let (machine, ram) = Machine::with_ram();
    machine.update(|tx| tx.set_log(&ram, true));
    let _listeners = machine.listen(|listener| listener);
    machine.update(|tx| tx.set_address(&ram, 0x10_0000));
    let heard = machine.log.take();
    assert!(
        heard
            .iter()
            .all(|event| !event.callback.name().starts_with("log_")),
        "{heard:?}"
    );
    assert!(
        heard
            .iter()
            .any(|event| event.to_string() == "L0.region_add 0x100000-0x10ffff RAM@0x0 log VGA")
    );
}

/// F2 (a type says it), P9, P12, P15, P16.
#[test]
fn f2_p9_p12_p15_p16_dirty_pages_are_brought_in_one_way_or_the_other() {
    let (machine, ram) = Machine::with_ram();
    let hole = machine.mmio("hole", 0x1000);
    let quiet = machine.ram("quiet", 0x1000);
    machine.update(|tx| {
        tx.add_subregion_overlap(&machine.system, 0x4000, &hole, 1)?;
        tx.add_subregion(&machine.system, 0x10_0000, &quiet)?;
        tx.set_log(&ram, true)
    });
    let _none = machine
        .space
        .register(Arc::new(machine.recorder("none", 0)))
        .unwrap();
    let ranges = machine.recorder("ranges", 1).with_log_sync(LogSync::PerSection);
    let _ranges = machine.space.register(Arc::new(ranges)).unwrap();
    let global = machine.recorder("global", 2).with_log_sync(LogSync::Global);
    let _global = machine.space.register(Arc::new(global)).unwrap();
    machine.log.take();

    machine.memory.sync_dirty_bitmap(&ram).unwrap();
    machine.assert_heard(
        "ranges.log_sync 0x0-0x3fff RAM@0x0 log VGA
         ranges.log_sync 0x5000-0xffff RAM@0x5000 log VGA
         global.log_sync_global more follows",
    );
    machine.memory.global_dirty_log_sync(true).unwrap();
    machine.assert_heard(
        "ranges.log_sync 0x0-0x3fff RAM@0x0 log VGA
         ranges.log_sync 0x5000-0xffff RAM@0x5000 log VGA
         global.log_sync_global last stage
         none.log_global_after_sync
         ranges.log_global_after_sync
         global.log_global_after_sync",
    );
    let bytes = flatview::AddressRange::from_bounds(0x3800, 0x57ff).unwrap();
    machine.memory.clear_dirty_bitmap(&ram, bytes).unwrap();
    let cleared = ["none", "ranges", "global"].map(|name| {
        format!(
            "{name}.log_clear 0x3800-0x3fff RAM@0x3800 log VGA
             {name}.log_clear 0x5000-0x57ff RAM@0x5000 log VGA"
        )
    });
    machine.assert_heard(&cleared.join("\n"));
    assert_eq!(ram.state().unwrap().dirty_log_mask, DirtyClients::VGA);
}

/// G9: spaces in order of creation; begin and commit by priority, whatever the space.
#[test]
fn g9_e4_two_spaces_in_one_commit() {
    let (machine, ram) = Machine::with_ram();
    let window = machine
        .memory
        .region("window")
        .alias(&ram, 0x8000, 0x1000)
        .unwrap();
    let dma_root = machine.memory.region("dma").container(Size::MAX);
    machine.update(|tx| tx.add_subregion(&dma_root, 0x1000, &window));
    let dma = machine.memory.create_address_space("dma", &dma_root).unwrap();
    let _d0 = dma.register(Arc::new(machine.recorder("D0", 0))).unwrap();
    let _m1 = machine
        .space
        .register(Arc::new(machine.recorder("M1", 1)))
        .unwrap();
    machine.log.take();
    machine.update(|tx| tx.set_readonly(&ram, true));
    machine.assert_heard(
        "D0.prepare -1 +1
         M1.prepare -1 +1
         D0.begin
         M1.begin
         M1.region_del 0x0-0xffff RAM@0x0
         M1.region_add 0x0-0xffff RAM@0x0 readonly
         D0.region_del 0x1000-0x1fff RAM@0x8000
         D0.region_add 0x1000-0x1fff RAM@0x8000 readonly
         D0.commit
         M1.commit",
    );
}
