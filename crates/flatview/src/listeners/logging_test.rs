use std::fmt::Write;
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::super::fixture::Machine;
use super::*;
use crate::primitive::Mutex;
use crate::{EventNotifier, GlobalDirty};

/// Writes events of our target as lines.
#[derive(Clone)]
struct Lines(Arc<Mutex<String>>);

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        written.unwrap();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "flatview::listener"
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        assert_eq!(*event.metadata().level(), Level::DEBUG);
        let mut lines = self.0.lock();
        event.record(&mut Line(&mut lines));
        lines.push('\n');
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// What is told while `run` runs, with `listener` registered.
fn told(machine: &Machine, listener: LoggingListener, run: impl FnOnce()) -> String {
    let lines = Lines(Arc::new(Mutex::new(String::new())));
    tracing::subscriber::with_default(lines.clone(), || {
        let registration = machine.space.register(Arc::new(listener)).unwrap();
        lines.0.lock().clear();
        run();
        let told = lines.0.lock().clone();
        drop(registration);
        told
    })
}

fn lines(expected: &[&str]) -> String {
    expected.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_change_is_told_with_space_range_region_and_offset() {
    let machine = Machine::new();
    let ram = machine.ram("ram", 0x2000, 0);
    let high = machine.memory.region("high").alias(&ram, 0x1000, 0x1000).unwrap();
    let told = told(&machine, LoggingListener::new("map"), || {
        machine.map(0x8000, &high)
    });
    let expected = [
        r#"prepare listener="map" space="memory" removed=0 added=1"#,
        r#"begin listener="map""#,
        r#"region_add listener="map" space="memory" range=0x8000-0x8fff region="ram" offset=0x1000"#,
        r#"commit listener="map" ranges=1"#,
    ];
    assert_eq!(told, lines(&expected));
}

#[test]
fn every_callback_is_told() {
    let machine = Machine::new();
    let flash = machine.rom_device(0x1000, 0);
    let gone = machine.ram("gone", 0x1000, 0);
    machine.map(0x4000, &flash);
    machine.map(0x8000, &gone);
    let notifier = EventNotifier::new(std::fs::File::open("/dev/null").unwrap());
    let told = told(
        &machine,
        LoggingListener::new("map").with_nop().with_priority(3),
        || {
            machine.update(|tx| {
                tx.del_subregion(&machine.system, &gone)?;
                tx.add_coalescing(&flash, 0x100, 0x10)?;
                tx.add_eventfd(&flash, 8, 4, Some(1), &notifier)
            });
            machine.update(|tx| {
                tx.clear_coalescing(&flash)?;
                tx.del_eventfd(&flash, 8, 4, Some(1), &notifier)
            });
            machine
                .memory
                .global_dirty_log_start(GlobalDirty::MIGRATION)
                .unwrap();
            machine.memory.global_dirty_log_sync(false).unwrap();
            machine
                .memory
                .clear_dirty_bitmap(&flash, AddressRange::ALL)
                .unwrap();
            machine
                .memory
                .global_dirty_log_stop(GlobalDirty::MIGRATION)
                .unwrap();
        },
    );
    let flash = r#"listener="map" space="memory" range=0x4000-0x4fff region="flash" offset=0x0"#;
    let expected = [
        &format!(r#"coalesced_io_add {flash} addresses=0x4100-0x410f"#),
        &format!(r#"coalesced_io_del {flash} addresses=0x4100-0x410f"#),
        r#"eventfd_add listener="map" space="memory" address=0x4008 size=4 datamatch=Some(1)"#,
        r#"eventfd_del listener="map" space="memory" address=0x4008 size=4 datamatch=Some(1)"#,
        r#"log_global_start listener="map""#,
        &format!("region_nop {flash}"),
        &format!("log_start {flash} old=DirtyClients(0x0) new=DirtyClients(MIGRATION)"),
        &format!("log_sync {flash}"),
        r#"log_global_after_sync listener="map""#,
        &format!("log_clear {flash}"),
        &format!("log_stop {flash} old=DirtyClients(MIGRATION) new=DirtyClients(0x0)"),
        r#"log_global_stop listener="map""#,
        r#"region_del listener="map" space="memory" range=0x8000-0x8fff region="gone" offset=0x0"#,
    ];
    for line in expected {
        assert!(
            told.lines().any(|other| other == line),
            "{line}\nis not in\n{told}"
        );
    }
}

#[test]
fn what_is_taken_back_is_told_as_it_was_done() {
    use super::super::{Callback, EventLog, RecordingListener};
    let machine = Machine::new();
    let failing = Arc::new(RecordingListener::new("failing", &EventLog::new()).with_priority(1));
    let _failing = machine.space.register(failing.clone()).unwrap();
    failing.fail_in(Callback::Commit, 0);
    let told = told(&machine, LoggingListener::new("map").with_priority(2), || {
        machine.try_map(0, &machine.ram("ram", 0x1000, 0)).unwrap_err();
    });
    let names: Vec<_> = told.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["prepare", "begin", "region_add", "abort", "region_del"]);
}
