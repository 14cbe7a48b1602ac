use std::sync::Arc;

use super::super::fixture::Machine;
use super::super::{Callback, EventLog, RecordingListener};
use super::*;
use crate::{Error, Registration};

/// Remembers what it was sent, and takes no table when it is told so.
struct Backend {
    sent: Mutex<Vec<String>>,
    limit: usize,
    fails: Mutex<bool>,
}

impl VhostBackend for Backend {
    fn set_mem_table(&self, table: &[VhostMemoryRegion]) -> Result<(), ListenerError> {
        if *self.fails.lock() {
            return Err("the other side hung up".into());
        }
        self.sent.lock().push(format!("{table:?}"));
        Ok(())
    }
    fn memslots_limit(&self) -> usize {
        self.limit
    }
}

struct Device {
    machine: Machine,
    vhost: Arc<VhostListener<Arc<Backend>>>,
    registration: Registration,
}

impl Device {
    /// With 64 KiB at 0.
    fn new(limit: usize) -> Device {
        let machine = Machine::new();
        machine.map(0, &machine.ram("ram", 0x1_0000, 0x70_0000));
        let backend = Arc::new(Backend {
            sent: Mutex::new(Vec::new()),
            limit,
            fails: Mutex::new(false),
        });
        let vhost = Arc::new(VhostListener::new("vhost", backend));
        let registration = machine.space.register(vhost.clone()).unwrap();
        Device {
            machine,
            vhost,
            registration,
        }
    }

    fn sent(&self) -> Vec<String> {
        std::mem::take(&mut self.vhost.backend().sent.lock())
    }

    /// Maps something that is no RAM.
    fn punch(&self, address: u64) -> Result<(), Error> {
        self.machine.try_map(address, &self.machine.reservation(0x1000))
    }
}

fn range(start: u64, size: u64) -> AddressRange {
    AddressRange::new(start, size).unwrap()
}

fn refusal(result: Result<(), Error>) -> VhostError {
    match result {
        Err(Error::Refused { source, .. }) => source.downcast_ref::<VhostError>().unwrap().clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn x1_a_whole_table_is_sent_when_it_has_changed() {
    let device = Device::new(8);
    assert_eq!(device.sent(), ["[0x0+0x10000 at 0x700000]"]);
    // It has not: a device beside the RAM is none of its business.
    device.punch(0x10_0000).unwrap();
    assert!(device.sent().is_empty());
    device.punch(0x4000).unwrap();
    assert_eq!(
        device.sent(),
        ["[0x0+0x4000 at 0x700000, 0x5000+0xb000 at 0x705000]"]
    );
    assert_eq!(device.vhost.table().len(), 2);
}

#[test]
fn x1_who_leaves_sends_an_empty_table() {
    let device = Device::new(8);
    device.sent();
    let Device {
        vhost, registration, ..
    } = device;
    registration.unregister().unwrap();
    assert_eq!(*vhost.backend().sent.lock(), ["[]"]);
}

#[test]
fn x2_a_display_that_begins_to_log_takes_ram_out_of_the_table() {
    let device = Device::new(8);
    let ram = device.machine.ranges()[0].region().clone();
    device.sent();
    device.machine.update(|tx| tx.set_log(&ram, true));
    device.machine.update(|tx| tx.set_log(&ram, false));
    assert_eq!(device.sent(), ["[]", "[0x0+0x10000 at 0x700000]"]);
}

#[test]
fn x4_a_ring_is_mapped_within_one_region_only() {
    let device = Device::new(8);
    device.punch(0x4000).unwrap();
    let ring = device.vhost.map_ring(range(0x3000, 0x1000)).unwrap();
    assert_eq!(
        (ring.range(), ring.userspace_addr()),
        (range(0x3000, 0x1000), 0x70_3000)
    );
    for outside in [
        range(0x3000, 0x1001),
        range(0x4000, 1),
        range(0x2_0000, 1),
        AddressRange::ALL,
    ] {
        let refused = device.vhost.map_ring(outside).unwrap_err();
        assert_eq!(refused, VhostError::RingOutside { ring: outside });
    }
}

#[test]
fn x4_a_ring_that_would_vanish_is_a_refusal() {
    let device = Device::new(8);
    let ring = device.vhost.map_ring(range(0x3000, 0x1000)).unwrap();
    device.sent();
    let before = device.machine.ranges();
    let refused = refusal(device.punch(0x3800));
    let expected = VhostError::RingMoved {
        ring: ring.range(),
        was: 0x70_3000,
        becomes: None,
    };
    assert_eq!(refused, expected);
    let text = "the ring at 0x3000-0x3fff is in use at 0x703000 of the process and would be in no memory that \
                vhost can use";
    assert_eq!(refused.to_string(), text);
    assert_eq!(device.machine.ranges(), before);
    assert!(device.sent().is_empty());
}

#[test]
fn x4_a_ring_that_would_be_elsewhere_is_a_refusal() {
    let device = Device::new(8);
    let _ring = device.vhost.map_ring(range(0x3000, 0x1000)).unwrap();
    let other = device.machine.ram("other", 0x1000, 0x80_0000);
    let refused = refusal(device.machine.try_map(0x3000, &other));
    assert!(
        matches!(
            refused,
            VhostError::RingMoved {
                becomes: Some(0x80_0000),
                ..
            }
        ),
        "{refused}"
    );
}

#[test]
fn x4_a_ring_that_is_not_used_any_more_may_move() {
    let device = Device::new(8);
    let [used, unused] =
        [range(0x3000, 0x1000), range(0x8000, 0x1000)].map(|range| device.vhost.map_ring(range).unwrap());
    drop(unused);
    device.punch(0x8000).unwrap();
    refusal(device.punch(0x3000));
    drop(used);
    device.punch(0x3000).unwrap();
}

/// The map changes while another thread sets a ring up; here, the thread is a listener after ours.
#[test]
fn x4_a_ring_is_not_mapped_where_a_change_under_way_takes_it_from() {
    struct Late(
        Arc<VhostListener<Arc<Backend>>>,
        Mutex<Vec<Result<(), VhostError>>>,
    );
    impl MemoryListener for Late {
        fn name(&self) -> &str {
            "late"
        }
        fn priority(&self) -> u32 {
            priority::DEV_BACKEND + 1
        }
        fn prepare(&self, _: &ViewChange<'_>) -> ListenerResult {
            let rings = [range(0x3000, 0x1000), range(0x5000, 0x1000)];
            *self.1.lock() = rings.map(|range| self.0.map_ring(range).map(drop)).into();
            Ok(())
        }
    }
    let device = Device::new(8);
    let late = Arc::new(Late(device.vhost.clone(), Mutex::new(Vec::new())));
    let _late = device.machine.space.register(late.clone()).unwrap();
    device.punch(0x3000).unwrap();
    let results = std::mem::take(&mut *late.1.lock());
    assert!(
        matches!(
            results[..],
            [Err(VhostError::RingMoved { becomes: None, .. }), Ok(())]
        ),
        "{results:?}"
    );
}

#[test]
fn x5_a_table_longer_than_the_limit_is_a_refusal() {
    let device = Device::new(2);
    device.punch(0x4000).unwrap();
    let refused = refusal(device.punch(0x8000));
    assert_eq!(refused, VhostError::TooManyMemslots { limit: 2, needed: 3 });
    assert_eq!(
        refused.to_string(),
        "vhost takes 2 memory regions at most; the change needs 3"
    );
}

#[test]
fn x5_a_device_for_which_there_is_too_much_already_does_not_join() {
    let device = Device::new(8);
    device.punch(0x4000).unwrap();
    let backend = Backend {
        sent: Mutex::new(Vec::new()),
        limit: 1,
        fails: Mutex::new(false),
    };
    let second = device
        .machine
        .space
        .register(Arc::new(VhostListener::new("second", backend)));
    assert_eq!(
        refusal(second.map(drop)),
        VhostError::TooManyMemslots { limit: 1, needed: 2 }
    );
}

#[test]
fn a_backend_that_fails_keeps_its_table_and_the_map_stays() {
    let device = Device::new(8);
    device.sent();
    let (before, table) = (device.machine.ranges(), device.vhost.table());
    *device.vhost.backend().fails.lock() = true;
    let error = device.punch(0x4000).unwrap_err();
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
    assert_eq!(device.machine.ranges(), before);
    assert_eq!(device.vhost.table(), table);
    *device.vhost.backend().fails.lock() = false;
    device.punch(0x4000).unwrap();
    assert_eq!(device.sent().len(), 1);
}

/// Whoever fails, and wherever: what was not sent is forgotten, what was sent is sent back.
#[test]
fn a_commit_that_is_taken_back_takes_the_table_back() {
    for callback in [
        Callback::Prepare,
        Callback::Begin,
        Callback::RegionAdd,
        Callback::Commit,
    ] {
        let device = Device::new(8);
        let after =
            RecordingListener::new("after", &EventLog::new()).with_priority(priority::DEV_BACKEND + 1);
        let after = Arc::new(after);
        let _after = device.machine.space.register(after.clone()).unwrap();
        let table = device.vhost.table();
        device.sent();
        after.fail_in(callback, 0);
        device.punch(0x4000).unwrap_err();
        assert_eq!(device.vhost.table(), table, "{callback}");
        assert_eq!(
            device.sent().len(),
            if callback == Callback::Commit { 2 } else { 0 },
            "{callback}"
        );
        // A ring can be mapped as if nothing had been tried.
        let ring = device.vhost.map_ring(range(0x4000, 0x1000)).unwrap();
        assert_eq!(ring.userspace_addr(), 0x70_4000);
    }
}
