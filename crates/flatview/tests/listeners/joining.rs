//! What a listener hears when it is registered (F7, F8) and when it leaves (F9).

use std::sync::Arc;

use flatview::listeners::{Callback, InjectedFailure};
use flatview::{Error, GlobalDirty, Registration, Size};

use crate::machine::{Machine, notifier};

/// RAM that a display logs, with a device with everything in its middle.
fn furnished() -> Machine {
    let (machine, ram) = Machine::with_ram();
    let device = machine.mmio("m", 0x1000);
    machine.update(|tx| {
        tx.set_log(&ram, true)?;
        tx.add_coalescing(&device, 0x100, 0x10)?;
        tx.add_coalescing(&device, 0, 0x10)?;
        tx.add_eventfd(&device, 8, 4, Some(1), &notifier())?;
        tx.add_eventfd(&device, 0, 0, None, &notifier())?;
        tx.add_subregion_overlap(&machine.system, 0x4000, &device, 1)
    });
    machine
}

#[test]
fn f7_f8_who_joins_hears_of_everything_there_is() {
    let machine = furnished();
    // F8: the first listener hears of ioeventfds, too.
    let _l0 = machine
        .space
        .register(Arc::new(machine.recorder("L0", 0)))
        .unwrap();
    machine.assert_heard(
        "L0.prepare -0 +3
         L0.begin
         L0.region_add 0x0-0x3fff RAM@0x0 log VGA
         L0.log_start 0x0-0x3fff RAM@0x0 log VGA: none -> VGA
         L0.region_add 0x4000-0x4fff m@0x0
         L0.coalesced_io_add 0x4100-0x410f of 0x4000-0x4fff m@0x0
         L0.coalesced_io_add 0x4000-0x400f of 0x4000-0x4fff m@0x0
         L0.region_add 0x5000-0xffff RAM@0x5000 log VGA
         L0.log_start 0x5000-0xffff RAM@0x5000 log VGA: none -> VGA
         L0.eventfd_add 0x4000 size 0
         L0.eventfd_add 0x4008 size 4 data 0x1
         L0.commit",
    );
}

#[test]
fn f9_who_leaves_hears_of_everything_as_gone() {
    let machine = furnished();
    let registration = machine
        .space
        .register(Arc::new(machine.recorder("L0", 0)))
        .unwrap();
    let _other = machine
        .space
        .register(Arc::new(machine.recorder("L10", 10)))
        .unwrap();
    machine.log.take();
    registration.unregister().unwrap();
    machine.assert_heard(
        "L0.begin
         L0.log_stop 0x0-0x3fff RAM@0x0 log VGA: VGA -> none
         L0.region_del 0x0-0x3fff RAM@0x0 log VGA
         L0.coalesced_io_del 0x4100-0x410f of 0x4000-0x4fff m@0x0
         L0.coalesced_io_del 0x4000-0x400f of 0x4000-0x4fff m@0x0
         L0.region_del 0x4000-0x4fff m@0x0
         L0.log_stop 0x5000-0xffff RAM@0x5000 log VGA: VGA -> none
         L0.region_del 0x5000-0xffff RAM@0x5000 log VGA
         L0.eventfd_del 0x4000 size 0
         L0.eventfd_del 0x4008 size 4 data 0x1
         L0.commit",
    );
}

#[test]
fn f7_who_joins_while_all_of_memory_is_tracked_hears_that_first() {
    let (machine, _ram) = Machine::with_ram();
    machine
        .memory
        .global_dirty_log_start(GlobalDirty::MIGRATION)
        .unwrap();
    let l0 = machine
        .space
        .register(Arc::new(machine.recorder("L0", 0)))
        .unwrap();
    machine.assert_heard(
        "L0.prepare -0 +1
         L0.begin
         L0.log_global_start
         L0.region_add 0x0-0xffff RAM@0x0 log MIGRATION
         L0.log_start 0x0-0xffff RAM@0x0 log MIGRATION: none -> MIGRATION
         L0.commit",
    );
    // F9: but no log_global_stop.
    l0.unregister().unwrap();
    machine.assert_heard(
        "L0.begin
         L0.log_stop 0x0-0xffff RAM@0x0 log MIGRATION: MIGRATION -> none
         L0.region_del 0x0-0xffff RAM@0x0 log MIGRATION
         L0.commit",
    );
}

/// Registers a listener that fails in its first call of `callback`, after tracking was started.
fn refused(callback: Callback) -> (Machine, Error) {
    let (machine, _ram) = Machine::with_ram();
    machine.map(0x10_0000, &machine.mmio("m", 0x1000));
    machine
        .memory
        .global_dirty_log_start(GlobalDirty::MIGRATION)
        .unwrap();
    let listener = Arc::new(machine.recorder("L0", 0));
    listener.fail_in(callback, usize::from(callback == Callback::RegionAdd));
    let error = machine.space.register(listener).unwrap_err();
    // It is not registered: nothing is heard of a change.
    let heard = machine.log.events();
    machine.map(0x20_0000, &machine.ram("more", 0x1000));
    assert_eq!(machine.log.events(), heard);
    (machine, error)
}

#[test]
fn who_fails_while_it_joins_hears_the_inverse_and_is_not_registered() {
    let (machine, error) = refused(Callback::RegionAdd);
    assert_eq!(
        error.to_string(),
        "listener `L0` of address space `memory` failed in region_add: `L0` was told to fail in region_add"
    );
    machine.assert_heard(
        "L0.prepare -0 +2
         L0.begin
         L0.log_global_start
         L0.region_add 0x0-0xffff RAM@0x0 log MIGRATION
         L0.log_start 0x0-0xffff RAM@0x0 log MIGRATION: none -> MIGRATION
         L0.region_add 0x100000-0x100fff m@0x0 => failed
         L0.abort
         L0.log_stop 0x0-0xffff RAM@0x0: MIGRATION -> none
         L0.region_del 0x0-0xffff RAM@0x0 log MIGRATION
         L0.log_global_stop",
    );
}

#[test]
fn who_fails_in_log_global_start_is_not_registered() {
    let (machine, error) = refused(Callback::LogGlobalStart);
    assert!(
        matches!(
            error,
            Error::ListenerFailed {
                callback: "log_global_start",
                ..
            }
        ),
        "{error}"
    );
    machine.assert_heard(
        "L0.prepare -0 +2
         L0.begin
         L0.log_global_start => failed
         L0.abort",
    );
}

#[test]
fn who_refuses_what_is_there_is_not_registered() {
    let (machine, error) = refused(Callback::Prepare);
    let Error::Refused { source, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(
        source.downcast_ref::<InjectedFailure>().unwrap().callback,
        Callback::Prepare
    );
    machine.assert_heard("L0.prepare -0 +2 => failed");
}

#[test]
fn who_fails_to_commit_what_is_there_is_not_registered() {
    let (machine, error) = refused(Callback::Commit);
    assert!(
        matches!(
            error,
            Error::ListenerFailed {
                callback: "commit",
                ..
            }
        ),
        "{error}"
    );
    let heard = machine.log.take_text();
    assert!(
        heard.ends_with("L0.commit => failed\nL0.log_global_stop\n"),
        "{heard}"
    );
}

#[test]
fn f9_who_fails_while_it_leaves_hears_the_rest_and_is_gone() {
    let machine = furnished();
    let l0 = Arc::new(machine.recorder("L0", 0));
    let registration = machine.space.register(l0.clone()).unwrap();
    machine.log.take();
    l0.fail_in(Callback::RegionDel, 1);
    let error = registration.unregister().unwrap_err();
    assert!(
        matches!(
            error,
            Error::ListenerFailed {
                callback: "region_del",
                ..
            }
        ),
        "{error}"
    );
    let heard = machine.log.take_text();
    assert!(
        heard.contains("L0.region_del 0x4000-0x4fff m@0x0 => failed\n"),
        "{heard}"
    );
    assert!(heard.ends_with("L0.commit\n"), "{heard}");
    machine.map(0x20_0000, &machine.ram("more", 0x1000));
    machine.assert_heard("");
}

/// F15: QEMU replays the old view and lets the commit catch up; here it is an error.
#[test]
fn f15_nobody_joins_within_an_update() {
    let (machine, ram) = Machine::with_ram();
    machine.update(|tx| {
        tx.set_readonly(&ram, true)?;
        let joined = machine.space.register(Arc::new(machine.recorder("L0", 0)));
        assert!(matches!(joined, Err(Error::NestedUpdate)));
        Ok(())
    });
    machine.assert_heard("");
}

#[test]
fn who_leaves_within_an_update_leaves_after_it() {
    let (machine, ram) = Machine::with_ram();
    let l0 = machine
        .space
        .register(Arc::new(machine.recorder("L0", 0)))
        .unwrap();
    machine.log.take();
    machine.update(|tx| {
        drop(l0);
        tx.set_readonly(&ram, true)
    });
    machine.assert_heard(
        "L0.prepare -1 +1
         L0.begin
         L0.region_del 0x0-0xffff RAM@0x0
         L0.region_add 0x0-0xffff RAM@0x0 readonly
         L0.commit
         L0.begin
         L0.region_del 0x0-0xffff RAM@0x0 readonly
         L0.commit",
    );
}

/// F10: one registration, one space; one listener may have several.
#[test]
fn f10_a_listener_of_two_spaces_hears_each_apart() {
    let (machine, _ram) = Machine::with_ram();
    let empty = machine.memory.region("empty").container(Size::MAX);
    let other = machine.memory.create_address_space("other", &empty).unwrap();
    let listener = Arc::new(machine.recorder("L", 0));
    let _both: [Registration; 2] = [
        machine.space.register(listener.clone()).unwrap(),
        other.register(listener).unwrap(),
    ];
    machine.assert_heard(
        "L.prepare -0 +1
         L.begin
         L.region_add 0x0-0xffff RAM@0x0
         L.commit
         L.prepare -0 +0
         L.begin
         L.commit",
    );
}

#[test]
fn dropping_the_memory_unregisters_everybody() {
    let (machine, _ram) = Machine::with_ram();
    let l0 = machine
        .space
        .register(Arc::new(machine.recorder("L0", 0)))
        .unwrap();
    machine.log.take();
    let Machine { memory, log, .. } = machine;
    drop(memory);
    assert_eq!(
        log.take_text(),
        "L0.begin\nL0.region_del 0x0-0xffff RAM@0x0\nL0.commit\n"
    );
    l0.unregister().unwrap();
}
