//! `explain`: each reason to be overruled by its rule, whole texts of a PC-like map, and trees that are meant
//! to take for ever.

#[path = "explain/hostile.rs"]
mod hostile;
#[path = "explain/pc.rs"]
mod pc;
#[path = "explain/reasons.rs"]
mod reasons;
mod support;

use std::sync::{Arc, Mutex};

use flatview::explain::{Explanation, Outcome, Overruled, Reason};
use flatview::{AddressSpace, Error, FlatView, ListenerResult, Memory, MemoryListener, RegionKind};
use support::Board;

#[track_caller]
fn explain(space: &AddressSpace, address: u64) -> Explanation {
    space
        .explain(address)
        .expect("what is published can be explained")
}

/// The names of the regions on the way.
fn way(explanation: &Explanation) -> Vec<&str> {
    explanation.way.iter().map(|step| &*step.region).collect()
}

/// The only rival.
#[track_caller]
fn rival(explanation: &Explanation) -> &Overruled {
    match &explanation.overruled[..] {
        [rival] => rival,
        _ => panic!("not one rival:\n{explanation}"),
    }
}

/// The only rival's way and reasons as text.
#[track_caller]
fn rival_text(explanation: &Explanation) -> (Vec<&str>, Vec<String>) {
    let rival = rival(explanation);
    (
        rival.way.iter().map(|step| &*step.region).collect(),
        rival.reasons.iter().map(Reason::to_string).collect(),
    )
}

#[test]
fn values_can_be_compared_and_outlive_what_they_tell_of() {
    let board = Board::new();
    let ram = board.ram("ram", 0x1000);
    board.map(&board.system, 0, &ram);
    let (one, other) = (explain(&board.space, 5), explain(&board.space, 5));
    assert_eq!(one, other);
    assert_ne!(one, explain(&board.space, 6));
    board.unmap(&board.system, &ram);
    assert_eq!(one.clone().region(), Some(&ram));
    assert_eq!(one.way[1].kind, RegionKind::Ram);
    let Outcome::Unassigned(gap) = explain(&board.space, 5).outcome else {
        panic!("it is gone");
    };
    assert_eq!((gap.range.start(), gap.below, gap.above), (0, None, None));
}

/// What a listener is told when it asks in the middle of an update.
#[derive(Default)]
struct Asks {
    space: Mutex<Option<AddressSpace>>,
    told: Mutex<Vec<Error>>,
}

impl MemoryListener for Asks {
    fn name(&self) -> &str {
        "asks"
    }

    fn commit(&self, _: &FlatView) -> ListenerResult {
        let space = self.space.lock().expect("nobody panics").clone();
        let told = space.and_then(|space| space.explain(0).err());
        self.told.lock().expect("nobody panics").extend(told);
        Ok(())
    }
}

#[test]
fn not_within_an_update_and_not_of_what_is_gone() {
    let board = Board::new();
    let ram = board.ram("ram", 0x1000);
    let asks = Arc::new(Asks::default());
    let registration = board.space.register(asks.clone()).expect("it takes everything");
    *asks.space.lock().expect("nobody panics") = Some(board.space.clone());
    board.update(|tx| {
        tx.add_subregion(&board.system, 0, &ram)?;
        assert!(matches!(board.space.explain(0), Err(Error::NestedUpdate)));
        Ok(())
    });
    let told = std::mem::take(&mut *asks.told.lock().expect("nobody panics"));
    assert!(matches!(told[..], [Error::NestedUpdate]), "{told:?}");
    *asks.space.lock().expect("nobody panics") = None;
    drop(registration);

    let other = board.look_at("other", &board.system);
    other.destroy().expect("nobody listens");
    assert!(matches!(
        other.explain(0),
        Err(Error::AddressSpaceDestroyed { .. })
    ));
    let Board { memory, space, .. } = board;
    drop::<Memory>(memory);
    assert!(matches!(space.explain(0), Err(Error::MemoryDropped { .. })));
}
