//! A failure in any callback of any listener takes the whole commit back, for all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use flatview::listeners::{Callback, Detail, InjectedFailure, Record, RecordingListener};
use flatview::{Error, EventNotifier, GlobalDirty, Region, Registration, Transaction};

use crate::machine::{Machine, notifier};

/// What a listener that believes what it hears takes the machine to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Picture {
    /// By what there is; how many times.
    things: BTreeMap<String, i32>,
    /// By range, less its marks: who logs it.
    logs: BTreeMap<String, String>,
}

impl Picture {
    fn hear(&mut self, events: &[Record]) {
        for event in events.iter().filter(|event| !event.failed) {
            let (thing, count) = match (event.callback, &event.detail) {
                (Callback::RegionAdd | Callback::RegionDel, Detail::Section(section)) => {
                    let mut section = section.clone();
                    let logs = format!("{:?}", section.dirty_log_mask);
                    section.dirty_log_mask = flatview::DirtyClients::empty();
                    let thing = section.to_string();
                    if event.callback == Callback::RegionAdd {
                        self.logs.insert(thing.clone(), logs);
                    } else {
                        assert_eq!(self.logs.remove(&thing), Some(logs), "{event}");
                    }
                    (thing, event.callback == Callback::RegionAdd)
                }
                (Callback::LogStart | Callback::LogStop, Detail::Log { section, old, new }) => {
                    assert_eq!(section.dirty_log_mask, *new, "{event}");
                    let mut section = section.clone();
                    section.dirty_log_mask = flatview::DirtyClients::empty();
                    let before = self.logs.insert(section.to_string(), format!("{new:?}"));
                    // Who joins hears of the mask twice: in region_add and in log_start (rule F7).
                    let expected = [old, new].map(|clients| Some(format!("{clients:?}")));
                    assert!(expected.contains(&before), "{event}");
                    continue;
                }
                (Callback::EventfdAdd, detail) => (detail.to_string(), true),
                (Callback::EventfdDel, detail) => (detail.to_string(), false),
                (Callback::CoalescedIoAdd, Detail::Coalesced { addresses, .. }) => {
                    (addresses.to_string(), true)
                }
                (Callback::CoalescedIoDel, Detail::Coalesced { addresses, .. }) => {
                    (addresses.to_string(), false)
                }
                _ => continue,
            };
            let counted = self.things.entry(thing).or_default();
            *counted += if count { 1 } else { -1 };
            assert!((0..=1).contains(counted), "{event} makes {counted}");
        }
        self.things.retain(|_, count| *count != 0);
    }
}

/// A machine with one of everything, three listeners, and a change that makes them hear of all callbacks.
struct Scene {
    machine: Machine,
    listeners: Vec<Arc<RecordingListener>>,
    ram: Region,
    device: Region,
    other: Region,
    notifiers: [EventNotifier; 2],
    _registrations: Vec<Registration>,
}

impl Scene {
    fn new() -> Scene {
        let (machine, ram) = Machine::with_ram();
        let device = machine.mmio("device", 0x1000);
        let other = machine.mmio("other", 0x1000);
        let logged = machine.ram("logged", 0x1000);
        let split = machine.ram("split", 0x3000);
        let notifiers = [notifier(), notifier()];
        machine.update(|tx| {
            tx.set_log(&logged, true)?;
            tx.add_subregion(&machine.system, 0x4_0000, &logged)?;
            tx.add_subregion(&machine.system, 0x6_0000, &split)?;
            tx.add_coalescing(&device, 0, 0x10)?;
            tx.add_eventfd(&device, 8, 4, Some(1), &notifiers[0])?;
            tx.add_subregion(&machine.system, 0x2_0000, &device)?;
            tx.add_subregion(&machine.system, 0x3_0000, &other)
        });
        let window = machine
            .memory
            .region("window")
            .alias(&machine.system, 0, 0x10_0000)
            .unwrap();
        let second = machine.memory.region("second").container(0x20_0000);
        machine.update(|tx| tx.add_subregion(&second, 0x8_0000, &window));
        let second = machine.memory.create_address_space("second", &second).unwrap();
        let mut listeners = Vec::new();
        let mut registrations = Vec::new();
        for (name, priority, space) in [
            ("low", 0, &machine.space),
            ("mid", 5, &second),
            ("high", 10, &machine.space),
        ] {
            let listener = Arc::new(machine.recorder(name, priority).with_nop());
            registrations.push(space.register(listener.clone()).unwrap());
            listeners.push(listener);
        }
        Scene {
            machine,
            listeners,
            ram,
            device,
            other,
            notifiers,
            _registrations: registrations,
        }
    }

    fn change(&self, tx: &mut Transaction<'_>) -> Result<(), Error> {
        let Scene {
            device,
            other,
            notifiers,
            ..
        } = self;
        let logged = self.machine.space.view().find(0x4_0000).unwrap().region().clone();
        tx.set_log(&self.ram, true)?;
        tx.set_log(&logged, false)?;
        tx.clear_coalescing(device)?;
        tx.add_coalescing(other, 0, 0x20)?;
        tx.del_eventfd(device, 8, 4, Some(1), &notifiers[0])?;
        tx.add_eventfd(device, 16, 2, None, &notifiers[1])?;
        tx.add_subregion_overlap(
            &self.machine.system,
            0x6_1000,
            &self.machine.mmio("new", 0x1000),
            1,
        )?;
        tx.add_subregion(&self.machine.system, 0x5_0000, &self.machine.mmio("more", 0x1000))
    }

    /// What each listener takes the machine to be, from the first event on.
    fn pictures(&self) -> Vec<Picture> {
        let events = self.machine.log.events();
        let mut pictures = vec![Picture::default(); self.listeners.len()];
        for (picture, name) in pictures.iter_mut().zip(["low", "mid", "high"]) {
            let heard: Vec<_> = events
                .iter()
                .filter(|event| &*event.listener == name)
                .cloned()
                .collect();
            picture.hear(&heard);
        }
        pictures
    }
}

const CALLBACKS: [Callback; 12] = [
    Callback::Prepare,
    Callback::Begin,
    Callback::CoalescedIoDel,
    Callback::RegionDel,
    Callback::RegionNop,
    Callback::LogStart,
    Callback::LogStop,
    Callback::RegionAdd,
    Callback::CoalescedIoAdd,
    Callback::EventfdDel,
    Callback::EventfdAdd,
    Callback::Commit,
];

#[test]
fn the_change_makes_everybody_hear_of_everything() {
    let scene = Scene::new();
    scene.machine.log.take();
    scene.machine.update(|tx| scene.change(tx));
    let heard = scene.machine.log.take();
    for callback in CALLBACKS {
        for name in ["low", "mid", "high"] {
            let is_heard = heard
                .iter()
                .any(|event| event.callback == callback && &*event.listener == name);
            assert!(is_heard, "{name} does not hear {callback}");
        }
    }
}

/// F16 is not copied: every callback can fail, or panic, and nothing has happened.
#[test]
fn f16_a_failure_in_any_callback_of_any_listener_puts_everything_back() {
    for callback in CALLBACKS {
        for failing in 0..3 {
            for panics in [false, true] {
                fails_without_a_trace(callback, failing, panics);
            }
        }
    }
}

fn fails_without_a_trace(callback: Callback, failing: usize, panics: bool) {
    let scene = Scene::new();
    let (ranges, pictures) = (scene.machine.ranges(), scene.pictures());
    let listener = &scene.listeners[failing];
    match panics {
        true => listener.panic_in(callback, 0),
        false => listener.fail_in(callback, 0),
    }
    let error = scene.machine.memory.update(|tx| scene.change(tx)).unwrap_err();

    let failed = match &error {
        Error::Refused { source, .. } => (Callback::Prepare.name(), source),
        Error::ListenerFailed { callback, source, .. } => (*callback, source),
        error => panic!("{error}"),
    };
    assert_eq!(failed.0, callback.name());
    assert_eq!(failed.1.is::<InjectedFailure>(), !panics);
    let mut expected = pictures.clone();
    if callback == Callback::Commit {
        // Who fails in commit has undone the batch without being told.
        expected[failing] = scene.pictures()[failing].clone();
    }
    assert_eq!(
        scene.pictures(),
        expected,
        "{callback} {failing}\n{}",
        scene.machine.log.take_text()
    );
    assert_eq!(scene.machine.ranges(), ranges, "readers see the old map");

    if callback != Callback::Commit {
        // It was as if nothing had been tried: the same change succeeds now, and means the same.
        scene.machine.update(|tx| scene.change(tx));
        let undisturbed = Scene::new();
        undisturbed.machine.update(|tx| undisturbed.change(tx));
        assert_eq!(scene.pictures(), undisturbed.pictures());
        assert_eq!(scene.machine.ranges(), undisturbed.machine.ranges());
    }
}

/// The exact order: those who have not committed give up from the highest down, then those who have hear the
/// inverse, in exactly the reverse order.
#[test]
fn a_commit_that_fails_last_is_taken_back_in_exactly_the_reverse_order() {
    let (machine, _ram) = Machine::with_ram();
    let [l0, l5, l9] =
        [("L0", 0), ("L5", 5), ("L9", 9)].map(|(name, priority)| Arc::new(machine.recorder(name, priority)));
    let _registrations = [&l0, &l5, &l9].map(|listener| machine.space.register(listener.clone()).unwrap());
    machine.log.take();
    l5.fail_in(Callback::Commit, 0);
    machine
        .memory
        .update(|tx| tx.add_subregion_overlap(&machine.system, 0x8000, &machine.mmio("m", 0x8000), 1))
        .unwrap_err();
    machine.assert_heard(
        "L0.prepare -1 +2
         L5.prepare -1 +2
         L9.prepare -1 +2
         L0.begin
         L5.begin
         L9.begin
         L9.region_del 0x0-0xffff RAM@0x0
         L5.region_del 0x0-0xffff RAM@0x0
         L0.region_del 0x0-0xffff RAM@0x0
         L0.region_add 0x0-0x7fff RAM@0x0
         L5.region_add 0x0-0x7fff RAM@0x0
         L9.region_add 0x0-0x7fff RAM@0x0
         L0.region_add 0x8000-0xffff m@0x0
         L5.region_add 0x8000-0xffff m@0x0
         L9.region_add 0x8000-0xffff m@0x0
         L0.commit
         L5.commit => failed
         L9.abort
         L9.region_del 0x8000-0xffff m@0x0
         L9.region_del 0x0-0x7fff RAM@0x0
         L9.region_add 0x0-0xffff RAM@0x0
         L0.begin
         L0.region_del 0x8000-0xffff m@0x0
         L0.region_del 0x0-0x7fff RAM@0x0
         L0.region_add 0x0-0xffff RAM@0x0
         L0.commit",
    );
}

#[test]
fn a_rollback_that_fails_says_so_and_ends_all_updates() {
    let (machine, ram) = Machine::with_ram();
    let low = Arc::new(machine.recorder("low", 0));
    let high = Arc::new(machine.recorder("high", 1));
    let _registrations = [&low, &high].map(|listener| machine.space.register(listener.clone()).unwrap());
    high.fail_in(Callback::RegionAdd, 0);
    low.fail_in(Callback::RegionDel, 1);
    let error = machine
        .memory
        .update(|tx| tx.set_readonly(&ram, true))
        .unwrap_err();
    let Error::Inconsistent { failure, rollback } = &error else {
        panic!("{error}")
    };
    assert!(
        failure.contains("`high`") && failure.contains("region_add"),
        "{failure}"
    );
    assert!(
        rollback.contains("`low`") && rollback.contains("abort"),
        "{rollback}"
    );
    let error = machine.memory.update(|_| Ok(())).unwrap_err();
    assert!(matches!(error, Error::Inconsistent { .. }), "{error}");
}

/// P13: those who had started are stopped again, the last first.
#[test]
fn p13_tracking_that_does_not_start_everywhere_is_stopped() {
    let (machine, _ram) = Machine::with_ram();
    let listeners =
        [("L0", 0), ("L1", 1), ("L2", 2)].map(|(name, priority)| Arc::new(machine.recorder(name, priority)));
    let _registrations = listeners
        .each_ref()
        .map(|listener| machine.space.register(listener.clone()).unwrap());
    machine.log.take();
    listeners[2].fail_in(Callback::LogGlobalStart, 0);
    machine
        .memory
        .global_dirty_log_start(GlobalDirty::MIGRATION)
        .unwrap_err();
    machine.assert_heard(
        "L0.log_global_start
         L1.log_global_start
         L2.log_global_start => failed
         L1.log_global_stop
         L0.log_global_stop",
    );
    // Nor is it remembered as started: the next attempt begins anew.
    listeners[1].fail_in(Callback::LogStart, 0);
    machine
        .memory
        .global_dirty_log_start(GlobalDirty::MIGRATION)
        .unwrap_err();
    let heard = machine.log.take_text();
    assert!(
        heard.ends_with("L2.log_global_stop\nL1.log_global_stop\nL0.log_global_stop\n"),
        "{heard}"
    );
    machine
        .memory
        .global_dirty_log_start(GlobalDirty::MIGRATION)
        .unwrap();
}
