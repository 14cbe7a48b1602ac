//! Where QEMU aborts (F7, F16, P13): listeners that fail as they join or leave, or as tracking of all of memory
//! starts or stops.

mod support;

use std::sync::Arc;

use flatview::{Error, GlobalDirty};
use support::{Board, Log, Recorder, busy_board, events, inverse, lines};

/// F7, F16: a registration that fails at any callback; while all of memory is tracked, too.
#[test]
fn a_registration_that_fails_at_any_callback_leaves_nothing() {
    for tracked in [false, true] {
        let board = busy_board();
        if tracked {
            board
                .memory
                .global_dirty_log_start(GlobalDirty::MIGRATION)
                .unwrap();
        }
        let log = Log::new();
        let register = || {
            let recorder = Arc::new(Recorder::new("late", 7, &log));
            let registration = board.space.register(recorder.clone());
            (recorder, registration)
        };
        let (recorder, registration) = register();
        let all = log.take();
        assert_eq!(recorder.picture(), lines(&board.space.view()));
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
        board.map(&board.system, 0x8000, &board.io("another", 0x1000));
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
    let (board, log) = (busy_board(), Log::new());
    let (recorder, registration) = Recorder::new("L", 0, &log).on(&board.space);
    log.fail_at("L.region_del");
    let error = registration.unregister().unwrap_err();
    assert_eq!(
        error.to_string(),
        "listener `L` of address space `memory` failed in region_del: told to fail"
    );
    let heard = log.take();
    assert_eq!(
        heard.iter().filter(|line| line.contains("L.region_del")).count(),
        2
    );
    assert!(heard.iter().any(|line| line == "L.commit"));
    assert_eq!(Arc::strong_count(&recorder), 1, "it is let go of");
}
