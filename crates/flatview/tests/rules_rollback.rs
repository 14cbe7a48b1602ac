//! Where QEMU aborts (E10, F16): listeners that refuse or fail, at every single callback of a commit and of its
//! rollback. Those that fail as they join or leave are in `rules_joining.rs`.

mod support;

use std::sync::Arc;

use flatview::{AddressSpace, Error, GlobalDirty, Receipt, Region, Registration};
use support::{Board, Log, Recorder, children, events, inverse, notifier, truth};

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
    let (before, after) = (&heard[..failure], &heard[failure + 1..]);
    let names = |lines: &[String], callback: &str| -> Vec<String> {
        let of = |line: &String| line.strip_suffix(callback).map(str::to_owned);
        lines.iter().filter_map(of).collect()
    };
    // Who has not committed gives up before who has is called again, the last to be prepared first.
    let first_again = after.iter().position(|line| line.ends_with(".begin"));
    let gave_up = names(&after[..first_again.unwrap_or(after.len())], ".abort");
    assert_eq!(names(after, ".abort"), gave_up);
    let mut prepared = names(before, ".prepare");
    prepared.retain(|name| gave_up.contains(name));
    prepared.reverse();
    assert_eq!(gave_up, prepared);
    // Who has committed hears everything in exactly the reverse order, across listeners as well.
    let committed = names(before, ".commit");
    let theirs = |lines: &[String]| -> Vec<String> {
        let by_them = |line: &&String| committed.iter().any(|name| line.starts_with(&format!("{name}.")));
        events(&lines.iter().filter(by_them).collect::<Vec<_>>())
    };
    let back: Vec<String> = theirs(before).iter().rev().map(|line| inverse(line)).collect();
    let heard_back: Vec<String> = theirs(after)
        .iter()
        .map(|line| {
            if line.contains("region_nop") {
                inverse(line)
            } else {
                line.clone()
            }
        })
        .collect();
    assert_eq!(heard_back, back, "after {}", heard[failure]);
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
