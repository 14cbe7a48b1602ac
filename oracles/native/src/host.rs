//! The processor that runs this program, as an oracle.
//!
//! There is one on x86-64 Linux. Elsewhere [`Host::new`] says so, and whoever asks skips.

use thiserror::Error;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[path = "host/linux.rs"]
mod implementation;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
#[path = "host/none.rs"]
mod implementation;

pub use implementation::Host;

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
        source: std::io::Error,
    },
}
