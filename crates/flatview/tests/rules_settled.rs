//! A listener is told when a change is over: what an accelerator needs that keeps vCPUs out meanwhile (W5).
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::{Arc, Mutex};

use flatview::listener::{ListenerResult, MemoryListener, ViewChange};
use flatview::listeners::{Callback, EventLog, RecordingListener};
use flatview::{AddressSpace, Error, FlatView, Memory, RamBlock, Region, Registration, Size};

/// Notes what it is told, each with how many ranges readers see at that time.
struct Witness {
    space: AddressSpace,
    told: Mutex<Vec<(&'static str, usize)>>,
}

impl Witness {
    fn note(&self, what: &'static str) -> ListenerResult {
        let seen = self.space.view().len();
        self.told.lock().unwrap().push((what, seen));
        Ok(())
    }

    fn told(&self) -> Vec<(&'static str, usize)> {
        std::mem::take(&mut self.told.lock().unwrap())
    }
}

impl MemoryListener for Witness {
    fn name(&self) -> &str {
        "witness"
    }

    fn priority(&self) -> u32 {
        5
    }

    fn prepare(&self, _: &ViewChange<'_>) -> ListenerResult {
        self.note("prepare")
    }

    fn begin(&self) -> ListenerResult {
        self.note("begin")
    }

    fn commit(&self, _: &FlatView) -> ListenerResult {
        self.note("commit")
    }

    fn settled(&self) {
        self.note("settled").unwrap();
    }
}

struct Scene {
    memory: Memory,
    system: Region,
    space: AddressSpace,
    witness: Arc<Witness>,
    registration: Registration,
}

impl Scene {
    fn new() -> Scene {
        let memory = Memory::new();
        let system = memory.region("system").container(Size::MAX);
        let space = memory.create_address_space("memory", &system).unwrap();
        let witness = Arc::new(Witness {
            space: space.clone(),
            told: Mutex::default(),
        });
        Scene {
            registration: space.register(witness.clone()).unwrap(),
            memory,
            system,
            space,
            witness,
        }
    }

    fn change(&self) -> Result<(), Error> {
        let ram = self.memory.region("ram").ram(RamBlock::unbacked(0x1000));
        self.memory
            .update(|tx| tx.add_subregion(&self.system, 0, &ram))
            .map(drop)
    }

    /// Another listener, which fails once in `callback`.
    fn failing(&self, priority: u32, callback: Callback) -> Registration {
        let listener = RecordingListener::new("failing", &EventLog::new()).with_priority(priority);
        let listener = Arc::new(listener);
        let registration = self.space.register(listener.clone()).unwrap();
        listener.fail_in(callback, 0);
        registration
    }
}

#[test]
fn it_is_over_when_readers_see_the_new_view() {
    let scene = Scene::new();
    let joined = [("prepare", 0), ("begin", 0), ("commit", 0), ("settled", 0)];
    assert_eq!(scene.witness.told(), joined);
    scene.change().unwrap();
    let changed = [("prepare", 0), ("begin", 0), ("commit", 0), ("settled", 1)];
    assert_eq!(scene.witness.told(), changed);
    scene.registration.unregister().unwrap();
    assert_eq!(
        scene.witness.told(),
        [("begin", 1), ("commit", 1), ("settled", 1)]
    );
}

#[test]
fn it_is_over_when_everything_is_taken_back() {
    for (priority, callback, told) in [
        (10, Callback::Prepare, &["prepare", "settled"][..]),
        (0, Callback::Begin, &["prepare", "settled"]),
        (10, Callback::RegionAdd, &["prepare", "begin", "settled"]),
        (
            10,
            Callback::Commit,
            &["prepare", "begin", "commit", "begin", "commit", "settled"],
        ),
    ] {
        let scene = Scene::new();
        let _failing = scene.failing(priority, callback);
        scene.witness.told();
        scene.change().unwrap_err();
        let expected: Vec<_> = told.iter().map(|&what| (what, 0)).collect();
        assert_eq!(scene.witness.told(), expected, "{callback:?} at {priority}");
        scene.change().unwrap();
    }
}

/// Who refused before it was asked has nothing that could be over for it.
#[test]
fn who_heard_nothing_is_not_told() {
    let scene = Scene::new();
    let _failing = scene.failing(0, Callback::Prepare);
    scene.witness.told();
    scene.change().unwrap_err();
    assert_eq!(scene.witness.told(), []);
}

#[test]
fn a_panic_in_it_ends_nothing() {
    struct Panics;
    impl MemoryListener for Panics {
        fn name(&self) -> &str {
            "panics"
        }

        fn settled(&self) {
            panic!("on purpose");
        }
    }
    let scene = Scene::new();
    let _panics = scene.space.register(Arc::new(Panics)).unwrap();
    scene.witness.told();
    scene.change().unwrap();
    assert_eq!(scene.witness.told().last(), Some(&("settled", 1)));
    assert_eq!(scene.space.view().len(), 1);
}
