//! The processor that runs this program, as an oracle.
//!
//! There is one on x86-64 Linux. Elsewhere [`Host::new`] says so, and whoever asks skips.

use std::env;
use std::io::{self, Write};

use thiserror::Error;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[path = "host/linux.rs"]
mod implementation;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
#[path = "host/none.rs"]
mod implementation;

pub use implementation::Host;

impl Host {
    /// The processor; `None`, after a loud word on stderr, if there is none and the test must skip.
    ///
    /// # Panics
    ///
    /// If there is none, and the environment variable `FLATVIEW_REQUIRE` (a list with commas) has `native` in it.
    #[must_use]
    pub fn or_skip() -> Option<Host> {
        let why = match Host::new() {
            Ok(host) => return Some(host),
            Err(why) => why,
        };
        let required = env::var("FLATVIEW_REQUIRE").unwrap_or_default();
        let forbidden = required.split(',').any(|word| word.trim() == "native");
        assert!(
            !forbidden,
            "{why}, and FLATVIEW_REQUIRE={required} forbids to skip"
        );
        // Not `eprintln!`: of a test that passes nobody sees that.
        let _ = writeln!(
            io::stderr(),
            "\n*** SKIPPED: {why}, so this test proves nothing ***"
        );
        None
    }
}

/// Why the host cannot run cases.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// Another processor or another system.
    #[error("only x86-64 Linux can run single instructions natively")]
    OtherHost,
    /// The system refused something.
    #[error("{what}: {source}")]
    Refused {
        /// What was asked of it.
        what: &'static str,
        /// Its answer.
        source: io::Error,
    },
}
