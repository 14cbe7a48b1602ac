//! Which slots the kernel was told of, in what order: from the trace that the library writes.

use std::cell::RefCell;
use std::fmt::{Debug, Write};
use std::sync::Once;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Before the library traces anything: what was traced for the first time while nobody listened may stay unheard.
pub(crate) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| tracing::subscriber::set_global_default(Recorder).unwrap());
}

/// The ioctls that `action` leads to on this thread, one line each: `delete 4`, or number, address, size and flags
/// (1: logged, 2: read-only).
pub(crate) fn slot_ioctls(action: impl FnOnce()) -> Vec<String> {
    LINES.take();
    action();
    LINES.take()
}

struct Recorder;

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "flatview::kvm"
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields {
            message,
            slot,
            gpa,
            size,
            flags,
        } = fields;
        if message == "KVM_SET_USER_MEMORY_REGION" {
            let line = match &*size {
                "0x0" => format!("delete {slot}"),
                _ => format!("{slot}: {gpa} {size} {flags}"),
            };
            LINES.with_borrow_mut(|lines| lines.push(line));
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Fields {
    message: String,
    slot: u64,
    gpa: String,
    size: String,
    flags: u64,
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "slot" => self.slot = value,
            "flags" => self.flags = value,
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = match field.name() {
            "message" => &mut self.message,
            "gpa" => &mut self.gpa,
            "size" => &mut self.size,
            _ => return,
        };
        write!(text, "{value:?}").unwrap();
    }
}
