use super::super::fixture::Machine;
use super::*;
use crate::{Error, IoEventFd, LogSync, Registration};

fn recorded() -> (Machine, EventLog, Arc<RecordingListener>, Registration) {
    let machine = Machine::new();
    let log = EventLog::new();
    let listener = Arc::new(RecordingListener::new("it", &log));
    let registration = machine.space.register(listener.clone()).unwrap();
    log.take();
    (machine, log, listener, registration)
}

#[test]
fn a_log_is_looked_at_or_taken() {
    let (machine, log, listener, _registration) = recorded();
    machine.map(0, &machine.ram("ram", 0x1000, 0));
    let heard = log.events();
    let names: Vec<_> = heard.iter().map(|record| record.callback.name()).collect();
    assert_eq!(names, ["prepare", "begin", "region_add", "commit"]);
    assert_eq!(listener.log().take(), heard);
    assert!(log.take().is_empty());
}

#[test]
fn records_of_two_machines_compare() {
    let run = || {
        let (machine, log, ..) = recorded();
        machine.map(0, &machine.ram("ram", 0x1000, 0));
        log.take()
    };
    assert_eq!(run(), run());
}

#[test]
fn records_keep_no_region_alive() {
    let (machine, log, _listener, _registration) = recorded();
    let ram = machine.ram("ram", 0x1000, 0);
    machine.map(0, &ram);
    machine.unmap(&ram);
    let weak = ram.downgrade();
    drop(ram);
    machine.map(0x1000, &machine.ram("other", 0x1000, 0));
    assert!(weak.upgrade().is_none());
    assert!(log.take_text().contains("region_del 0x0-0xfff ram@0x0\n"));
}

#[test]
fn every_mark_of_a_range_is_printed() {
    let machine = Machine::new();
    let flash = machine.rom_device(0x1000, 0);
    let log = EventLog::new();
    let listener = RecordingListener::new("it", &log).with_log_sync(LogSync::None);
    let _registration = machine.space.register(Arc::new(listener)).unwrap();
    log.take();
    machine.update(|tx| {
        tx.set_readonly(&flash, true)?;
        tx.set_nonvolatile(&flash, true)?;
        tx.set_unmergeable(&flash, true)?;
        tx.rom_device_set_romd(&flash, false)?;
        tx.set_log(&flash, true)?;
        tx.set_code_logging(true);
        tx.add_subregion(&machine.system, 0xf000, &flash)
    });
    let expected =
        "it.region_add 0xf000-0xffff flash@0x0 readonly nonvolatile unmergeable romd-off log VGA|CODE\n";
    let heard = log.take_text();
    assert!(heard.contains(expected), "{heard}");
}

/// Unlike ranges, of which only those who log them differ (rule C37).
#[test]
fn sections_that_differ_in_their_dirty_log_mask_differ() {
    let machine = Machine::new();
    let ram = machine.ram("ram", 0x1000, 0);
    machine.map(0, &ram);
    let before = machine.ranges();
    machine.update(|tx| tx.set_log(&ram, true));
    let after = machine.ranges();
    assert_eq!(before, after);
    assert_ne!(SectionRecord::from(&before[0]), SectionRecord::from(&after[0]));
}

#[test]
fn an_ioeventfd_is_recorded_with_its_notifier() {
    let (machine, log, _listener, _registration) = recorded();
    let device = machine.rom_device(0x1000, 0);
    let notifier = crate::EventNotifier::new(std::fs::File::open("/dev/null").unwrap());
    machine.update(|tx| {
        tx.add_subregion(&machine.system, 0x1000, &device)?;
        tx.add_eventfd(&device, 4, 2, Some(0xabc), &notifier)
    });
    let expected = Detail::EventFd(IoEventFd {
        address: 0x1004,
        size: 2,
        datamatch: Some(0xabc),
        notifier,
    });
    let heard = log.take();
    let record = heard
        .iter()
        .find(|record| record.callback == Callback::EventfdAdd)
        .unwrap();
    assert_eq!(record.detail, expected);
    assert_eq!(record.to_string(), "it.eventfd_add 0x1004 size 2 data 0xabc");
}

#[test]
fn it_fails_once_in_the_call_it_was_told_to() {
    let (machine, log, listener, _registration) = recorded();
    listener.fail_in(Callback::Commit, 2);
    let regions = [0, 1, 2, 3].map(|number| (number * 0x1000, machine.ram("ram", 0x1000, 0)));
    let mapped = regions.map(|(address, ram)| machine.try_map(address, &ram).is_ok());
    assert_eq!(mapped, [true, true, false, true]);
    assert_eq!(log.take().iter().filter(|record| record.failed).count(), 1);
}

#[test]
fn a_failure_says_who_failed_and_where() {
    let (machine, log, listener, _registration) = recorded();
    listener.fail_in(Callback::RegionAdd, 0);
    let error = machine.try_map(0, &machine.ram("ram", 0x1000, 0)).unwrap_err();
    let Error::ListenerFailed { callback, source, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(*callback, "region_add");
    let injected = source.downcast_ref::<InjectedFailure>().unwrap();
    assert_eq!(
        (&*injected.listener, injected.callback),
        ("it", Callback::RegionAdd)
    );
    assert!(
        log.take_text()
            .contains("it.region_add 0x0-0xfff ram@0x0 => failed\n")
    );
}

#[test]
fn a_panic_is_a_failure() {
    let (machine, _log, listener, _registration) = recorded();
    listener.panic_in(Callback::Prepare, 0);
    let error = machine.try_map(0, &machine.ram("ram", 0x1000, 0)).unwrap_err();
    let expected =
        "listener `it` of address space `memory` refused: panicked: `it` was told to fail in prepare";
    assert_eq!(error.to_string(), expected);
    machine.map(0, &machine.ram("ram", 0x1000, 0));
}

#[test]
fn a_failure_that_is_forgotten_does_not_happen() {
    let (machine, _log, listener, _registration) = recorded();
    listener.fail_in(Callback::Begin, 0);
    listener.clear_failures();
    machine.map(0, &machine.ram("ram", 0x1000, 0));
}
