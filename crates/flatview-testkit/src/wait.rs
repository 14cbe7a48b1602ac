//! Waiting for other threads.

use std::thread;
use std::time::{Duration, Instant};

/// After this nobody believes that it comes.
const LONG: Duration = Duration::from_secs(120);

/// Waits until `is_so`. How long that takes does not matter, but a test that would wait for ever fails.
///
/// # Panics
///
/// After two minutes.
pub fn wait_until(mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < LONG, "it never comes");
        thread::yield_now();
    }
}
