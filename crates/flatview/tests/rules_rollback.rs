//! Where QEMU aborts (E10, F16): listeners that refuse or fail, at every single callback of a commit, of a
//! registration and of the start of tracking.

mod support;

use std::sync::Arc;

use flatview::{AddressSpace, Error, GlobalDirty, Receipt, Region, Registration};
use support::{Board, Log, Recorder, children, lines, notifier, truth};

/// Two spaces, four listeners, and an update in which every kind of event occurs.
//
//  memory:  before  [ram, logged][        ][gone  ]       second:  before  [b     ]
//           after   [ram        ][new     ][      ]                after   [b logged][c]
struct Scene {
    board: Board,
    second: AddressSpace,
    regions: Vec<Region>,
    log: Arc<Log>,
    listeners: Vec<(Arc<Recorder>, Registration)>,
}

impl Scene {
    fn new() -> Scene {
        let board = Board::new();
        let second_root = board.container("second root", 0x1_0000);
        let second = board.look_at("second", &second_root);
        let (ram, gone, new) = (
            board.ram("ram", 0x1000),
            board.io("gone", 0x1000),
            board.io("new", 0x1000),
        );
        let (b, c) = (board.ram("b", 0x1000), board.io("c", 0x1000));
        board.update(|tx| {
            tx.set_log(&ram, true)?;
            tx.set_coalescing(&gone)?;
            tx.add_coalescing(&new, 0x10, 4)?;
            tx.add_coalescing(&new, 0x20, 4)?;
            tx.add_eventfd(&gone, 0, 4, Some(1), &notifier())?;
            tx.add_eventfd(&new, 0, 4, None, &notifier())?;
            tx.add_eventfd(&ram, 8, 0, None, &notifier())?;
            tx.add_subregion(&board.system, 0, &ram)?;
            tx.add_subregion(&board.system, 0x2000, &gone)?;
            tx.add_subregion(&second_root, 0, &b)?;
            tx.add_subregion(&second_root, 0x4000, &board.alias("window", &gone, 0, 0x800))
        });
        let log = Log::new();
        let listeners = vec![
            Recorder::new("A0", 0, &log).on(&board.space),
            Recorder::new("B3", 3, &log).with_nops().on(&second),
            Recorder::new("A5", 5, &log).queueing().on(&board.space),
            Recorder::new("A9", 9, &log).with_nops().on(&board.space),
        ];
        let regions = vec![board.system.clone(), second_root, ram, gone, new, b, c];
        Scene {
            board,
            second,
            regions,
            log,
            listeners,
        }
    }

    fn update(&self) -> Result<Receipt, Error> {
        let [system, second_root, ram, gone, new, b, c] = &self.regions[..] else {
            unreachable!("there are seven")
        };
        self.board.memory.update(|tx| {
            tx.set_log(ram, false)?;
            tx.set_log(b, true)?;
            tx.del_subregion(system, gone)?;
            tx.add_subregion(system, 0x1000, new)?;
            tx.add_subregion(second_root, 0x1000, c)?;
            tx.set_size(gone, 0x400)
        })
    }

    fn truth(&self) -> Vec<String> {
        truth(&self.board.memory, &self.regions)
    }

    /// All that the listeners believe.
    fn pictures(&self) -> Vec<Vec<String>> {
        let of = |(listener, _): &(Arc<Recorder>, _)| [listener.picture(), listener.others()].concat();
        self.listeners.iter().map(of).collect()
    }
}

/// What takes a line of the log back. Who logs a range that stays is left out of it: see
/// `a_range_that_stays_is_shown_as_it_was`.
fn inverse(line: &str) -> String {
    if line.contains("region_nop") {
        return line.split(" log=").next().unwrap_or_default().to_owned();
    }
    for (one, other) in [
        ("region_add", "region_del"),
        ("coalesced_io_add", "coalesced_io_del"),
        ("eventfd_add", "eventfd_del"),
        ("log_start", "log_stop"),
    ] {
        for (from, to) in [(one, other), (other, one)] {
            if let Some((start, end)) = line.split_once(&format!(".{from} ")) {
                let end = match end
                    .rsplit_once(' ')
                    .and_then(|(range, masks)| Some((range, masks.split_once("->")?)))
                {
                    Some((range, (old, new))) => format!("{range} {new}->{old}"),
                    None => end.to_owned(),
                };
                return format!("{start}.{to} {end}");
            }
        }
    }
    line.to_owned()
}

/// The callbacks of one listener about ranges, ioeventfds and coalesced ranges.
fn events(heard: &[&String]) -> Vec<String> {
    let is_event = |line: &&&String| {
        line.contains("_add ") || line.contains("_del ") || line.contains("_nop ") || line.contains("log_st")
    };
    heard
        .iter()
        .filter(is_event)
        .map(|line| (**line).clone())
        .collect()
}

/// Checks what each listener heard after the line `failure`, which says FAILS, given what it heard before.
fn check_compensation(heard: &[String], failure: usize) {
    for name in ["A0", "A5", "A9", "B3"] {
        let of = |lines: &[String]| -> Vec<String> {
            let mine = lines.iter().filter(|line| line.starts_with(&format!("{name}.")));
            mine.cloned().collect()
        };
        let (before, mut after) = (of(&heard[..failure]), of(&heard[failure + 1..]));
        for line in after.iter_mut().filter(|line| line.contains("region_nop")) {
            *line = inverse(line);
        }
        let failed_itself = heard[failure].starts_with(name);
        let said = |callback: &str| before.contains(&format!("{name}.{callback}"));
        let undone = events(&before.iter().collect::<Vec<_>>());
        let mut undone: Vec<String> = undone.iter().rev().map(|line| inverse(line)).collect();
        let expected = if said("commit") {
            undone.insert(0, format!("{name}.begin"));
            undone.push(format!("{name}.commit"));
            undone
        } else if failed_itself && heard[failure].contains(".commit") || !said("prepare") {
            // By contract it has undone the batch itself, or there is nothing to undo.
            Vec::new()
        } else {
            // One that queues throws the queue away.
            undone.truncate(if name == "A5" { 0 } else { undone.len() });
            undone.insert(0, format!("{name}.abort"));
            undone
        };
        assert_eq!(after, expected, "{name}, after {}", heard[failure]);
    }
    let first_again = heard[failure + 1..]
        .iter()
        .position(|line| line.ends_with(".begin"));
    let last_abort = heard[failure + 1..]
        .iter()
        .rposition(|line| line.ends_with(".abort"));
    if let (Some(again), Some(abort)) = (first_again, last_abort) {
        assert!(
            abort < again,
            "who has not committed gives up before who has is called again"
        );
    }
}

/// E10, F16, F17: at every callback of every listener, first by an error, then by a panic. The error names the
/// listener.
#[test]
fn a_commit_that_fails_at_any_callback_is_taken_back() {
    let scene = Scene::new();
    scene.update().unwrap();
    let all = scene.log.take();
    let (after, believed) = (scene.truth(), scene.pictures());
    for kind in [
        "region_add",
        "region_del",
        "region_nop",
        "coalesced_io_add",
        "coalesced_io_del",
        "eventfd_add",
        "eventfd_del",
        "log_start",
        "log_stop",
    ] {
        assert!(
            all.iter().any(|line| line.contains(kind)),
            "the update has a {kind}"
        );
    }

    for (index, line) in all.iter().enumerate() {
        for panics in [false, true] {
            let scene = Scene::new();
            let (before, believed_before) = (scene.truth(), scene.pictures());
            match panics {
                false => scene.log.fail_after(index),
                true => scene.log.panic_after(index),
            }
            let error = scene.update().unwrap_err();
            let (listener, callback) = line.split_once('.').unwrap();
            let callback = callback.split(' ').next().unwrap();
            let why = if panics {
                format!("panicked: told to panic at {line}")
            } else {
                "told to fail".into()
            };
            let space = if listener == "B3" { "second" } else { "memory" };
            let expected = match callback {
                "prepare" => format!("listener `{listener}` of address space `{space}` refused: {why}"),
                _ => format!("listener `{listener}` of address space `{space}` failed in {callback}: {why}"),
            };
            assert_eq!(error.to_string(), expected);
            assert_eq!(matches!(error, Error::Refused { .. }), callback == "prepare");

            let heard = scene.log.take();
            assert!(!heard.iter().any(|line| line.contains("MISTAKE")), "{heard:#?}");
            assert_eq!(heard[..index], all[..index]);
            check_compensation(&heard, index);
            assert_eq!(scene.truth(), before, "after {line} failed");
            assert_eq!(scene.pictures(), believed_before, "after {line} failed");

            // The same again, without a failure, comes to the same as if there had been none.
            scene.update().unwrap();
            assert_eq!(scene.log.take(), all);
            assert_eq!(scene.truth().last(), after.last());
            assert_eq!(scene.pictures(), believed);
        }
    }
}

/// E10: the whole of it once, to read.
#[test]
fn listeners_that_committed_hear_the_inverse_and_the_others_abort() {
    let board = Board::new();
    let ram = board.ram("ram", 0x1000);
    board.map(&board.system, 0, &ram);
    let log = Log::new();
    let (_l0, _r0) = Recorder::new("L0", 0, &log).on(&board.space);
    let (_l1, _r1) = Recorder::new("L1", 1, &log).on(&board.space);
    let (_l2, _r2) = Recorder::new("L2", 2, &log).on(&board.space);
    log.fail_at("L1.commit");
    let error = board
        .memory
        .update(|tx| tx.set_address(&ram, 0x8000))
        .unwrap_err();
    assert!(matches!(
        error,
        Error::ListenerFailed {
            callback: "commit",
            ..
        }
    ));
    log.heard(&[
        "L0.prepare",
        "L1.prepare",
        "L2.prepare",
        "L0.begin",
        "L1.begin",
        "L2.begin",
        "L2.region_del 0-fff ram@0",
        "L1.region_del 0-fff ram@0",
        "L0.region_del 0-fff ram@0",
        "L0.region_add 8000-8fff ram@0",
        "L1.region_add 8000-8fff ram@0",
        "L2.region_add 8000-8fff ram@0",
        "L0.commit",
        "L1.commit FAILS",
        // L2 has not committed: it gives up.
        "L2.abort",
        "L2.region_del 8000-8fff ram@0",
        "L2.region_add 0-fff ram@0",
        // L1 has undone what it had done before it said that it failed. L0 takes everything back.
        "L0.begin",
        "L0.region_del 8000-8fff ram@0",
        "L0.region_add 0-fff ram@0",
        "L0.commit",
    ]);
    board.shows(&["0-fff ram@0"]);
}

/// E10: the inverse shows a range that stays with the mask that it had, which is the one it has again.
#[test]
fn a_range_that_stays_is_shown_as_it_was() {
    let board = Board::new();
    let ram = board.ram("ram", 0x1000);
    board.map(&board.system, 0, &ram);
    let log = Log::new();
    let (_l0, _r0) = Recorder::new("L0", 0, &log).with_nops().on(&board.space);
    log.fail_at("L0.commit");
    board.memory.update(|tx| tx.set_log(&ram, true)).unwrap_err();
    let (_l1, _r1) = Recorder::new("L1", 1, &log).on(&board.space);
    log.fail_at("L1.commit");
    board.memory.update(|tx| tx.set_log(&ram, true)).unwrap_err();
    let heard = log.take();
    let back: Vec<_> = heard
        .iter()
        .skip_while(|line| !line.contains("FAILS"))
        .skip(1)
        .collect();
    assert_eq!(
        back,
        [
            "L0.begin",
            "L0.log_stop 0-fff 1->0",
            "L0.region_nop 0-fff ram@0",
            "L0.commit"
        ]
    );
}

/// E10: a refusal in `prepare`, before anything was done.
#[test]
fn a_refusal_in_prepare_costs_nothing() {
    let board = Board::new();
    let log = Log::new();
    let (_l0, _r0) = Recorder::new("L0", 0, &log).on(&board.space);
    let (_l1, _r1) = Recorder::new("L1", 1, &log).on(&board.space);
    log.fail_at("L1.prepare");
    let refused = board
        .memory
        .update(|tx| tx.add_subregion(&board.system, 0, &board.ram("ram", 0x1000)));
    assert!(matches!(refused, Err(Error::Refused { .. })));
    log.heard(&["L0.prepare", "L1.prepare FAILS", "L0.abort"]);
    assert_eq!(children(&board.system), [""; 0]);
    board.shows(&[]);
}

/// E10: if taking it back fails too, at whichever callback, listeners and views disagree. That is said, and no
/// further change is accepted; but everything can still be torn down.
#[test]
fn a_rollback_that_fails_ends_in_inconsistent() {
    let scene = Scene::new();
    scene.update().unwrap();
    let all = scene.log.take().len();
    let mut rollbacks = 0;
    for first in 0..all {
        for second in 0.. {
            let scene = Scene::new();
            scene.log.fail_after(first);
            scene.log.fail_after(first + 1 + second);
            let error = scene.update().unwrap_err();
            if scene.log.disarm() != 0 {
                // The rollback was over before the second failure: there are no more callbacks to try.
                assert!(!matches!(error, Error::Inconsistent { .. }));
                break;
            }
            rollbacks += 1;
            assert!(
                error
                    .to_string()
                    .starts_with("inconsistent after a failed rollback: listener `"),
                "{error}"
            );
            let heard = scene.log.take();
            assert_eq!(heard.iter().filter(|line| line.ends_with(" FAILS")).count(), 2);

            let is_over = |error: Error| matches!(error, Error::Inconsistent { .. });
            assert!(is_over(scene.board.memory.update(|_| Ok(())).unwrap_err()));
            assert!(is_over(
                scene
                    .board
                    .memory
                    .create_address_space("x", &scene.board.system)
                    .unwrap_err()
            ));
            assert!(is_over(
                scene
                    .board
                    .memory
                    .global_dirty_log_start(GlobalDirty::LIMIT)
                    .unwrap_err()
            ));
            let another = Arc::new(Recorder::new("another", 0, &Log::new()));
            assert!(is_over(scene.second.register(another).unwrap_err()));
            for (_, registration) in scene.listeners {
                registration.unregister().unwrap();
            }
            scene.second.destroy().unwrap();
        }
    }
    assert!(
        rollbacks > 100,
        "only {rollbacks} callbacks of rollbacks were seen"
    );
}

/// F7, F16: a registration that fails at any callback; while all of memory is tracked, too.
#[test]
fn a_registration_that_fails_at_any_callback_leaves_nothing() {
    for tracked in [false, true] {
        let scene = Scene::new();
        if tracked {
            scene
                .board
                .memory
                .global_dirty_log_start(GlobalDirty::MIGRATION)
                .unwrap();
        }
        scene.log.take();
        let log = Log::new();
        let register = || {
            let recorder = Arc::new(Recorder::new("late", 7, &log));
            let registration = scene.board.space.register(recorder.clone());
            (recorder, registration)
        };
        let (recorder, registration) = register();
        let all = log.take();
        assert_eq!(recorder.picture(), lines(&scene.board.space.view()));
        registration.unwrap().unregister().unwrap();
        log.take();

        for (index, line) in all.iter().enumerate() {
            log.fail_after(index);
            let (recorder, registration) = register();
            let error = registration.unwrap_err();
            assert_eq!(matches!(error, Error::Refused { .. }), line == "late.prepare");
            let heard = log.take();
            assert_eq!(heard[..index], all[..index]);
            let undone: Vec<_> = heard[index + 1..].to_vec();
            let mut expected: Vec<String> = match line.as_str() {
                "late.prepare" | "late.commit" => Vec::new(),
                _ => vec!["late.abort".to_owned()],
            };
            if !expected.is_empty() {
                let mut back = events(&heard[..index].iter().collect::<Vec<_>>());
                back.retain(|line| line != "late.log_global_start");
                expected.extend(back.iter().rev().map(|line| inverse(line)));
            }
            if heard[..index].iter().any(|line| line == "late.log_global_start") {
                expected.push("late.log_global_stop".to_owned());
            }
            assert_eq!(undone, expected, "after {line}");
            assert_eq!(recorder.picture(), [""; 0]);
            assert_eq!(Arc::strong_count(&recorder), 1, "it is let go of");
        }
        // None of those who failed hears anything more.
        scene.update().unwrap();
        log.heard(&[]);
    }
}

/// F7, F16: a registration that cannot even be taken back leaves a listener in error, not the memory: it is the
/// listener's own picture only, and it is not registered.
#[test]
fn a_registration_whose_rollback_fails_harms_nobody_else() {
    let board = Board::new();
    board.map(&board.system, 0, &board.io("a", 0x1000));
    board.map(&board.system, 0x1000, &board.io("b", 0x1000));
    let log = Log::new();
    log.fail_at("late.region_add 1000");
    log.fail_at("late.region_del 0");
    let late = Arc::new(Recorder::new("late", 0, &log));
    let error = board.space.register(late.clone()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "inconsistent after a failed rollback: listener `late` of address space `memory` failed in region_add: \
         told to fail, then listener `late` of address space `memory` failed in abort: told to fail"
    );
    assert_eq!(Arc::strong_count(&late), 1);
    log.take();
    board.map(&board.system, 0x2000, &board.io("c", 0x1000));
    log.heard(&[]);
}

/// P13: those who had started stop again, in reverse, and nothing is logged.
#[test]
fn tracking_that_cannot_start_does_not_start() {
    let board = Board::new();
    board.map(&board.system, 0, &board.ram("ram", 0x1000));
    let log = Log::new();
    let _listeners =
        [0, 1, 2].map(|priority| Recorder::new(&format!("L{priority}"), priority, &log).on(&board.space));
    log.fail_at("L2.log_global_start");
    let error = board
        .memory
        .global_dirty_log_start(GlobalDirty::MIGRATION)
        .unwrap_err();
    assert!(matches!(
        error,
        Error::ListenerFailed {
            callback: "log_global_start",
            ..
        }
    ));
    log.heard(&[
        "L0.log_global_start",
        "L1.log_global_start",
        "L2.log_global_start FAILS",
        "L1.log_global_stop",
        "L0.log_global_stop",
    ]);
    board.shows(&["0-fff ram@0"]);

    // Everybody is told, then a range cannot be logged.
    log.fail_at("L1.log_start");
    board
        .memory
        .global_dirty_log_start(GlobalDirty::MIGRATION)
        .unwrap_err();
    let heard = log.take();
    assert_eq!(
        heard[heard.len() - 3..],
        ["L2.log_global_stop", "L1.log_global_stop", "L0.log_global_stop"]
    );
    board.shows(&["0-fff ram@0"]);

    board
        .memory
        .global_dirty_log_start(GlobalDirty::MIGRATION)
        .unwrap();
    board.shows(&["0-fff ram@0 log=4"]);
    // A stop that fails leaves tracking on.
    log.fail_at("L0.log_stop");
    board
        .memory
        .global_dirty_log_stop(GlobalDirty::MIGRATION)
        .unwrap_err();
    board.shows(&["0-fff ram@0 log=4"]);
    board
        .memory
        .global_dirty_log_stop(GlobalDirty::MIGRATION)
        .unwrap();
    board.shows(&["0-fff ram@0"]);
}

/// F9: unregistering goes on whatever fails, and says what failed first.
#[test]
fn unregistering_cannot_be_stopped() {
    let scene = Scene::new();
    let (recorder, registration) = {
        let mut listeners = scene.listeners;
        listeners.remove(0)
    };
    scene.log.fail_at("A0.region_del");
    let error = registration.unregister().unwrap_err();
    assert_eq!(
        error.to_string(),
        "listener `A0` of address space `memory` failed in region_del: told to fail"
    );
    let heard = scene.log.take();
    assert_eq!(
        heard.iter().filter(|line| line.contains("A0.region_del")).count(),
        2
    );
    assert!(heard.iter().any(|line| line == "A0.commit"));
    assert_eq!(Arc::strong_count(&recorder), 1, "it is let go of");
}
