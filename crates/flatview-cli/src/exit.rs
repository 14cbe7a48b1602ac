//! How the program ends when nothing failed.

use std::process::ExitCode;

/// The verdict of a command, the best first. Their numbers are documented in [`EXIT_CODES`](crate::cli::EXIT_CODES).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Done, equal, nothing found.
    Ok,
    /// What was given does not decide it.
    Open,
    /// Different, or something was found.
    Different,
    /// The guest crashed.
    Crashed,
    /// The user ended it.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Ok => Self::SUCCESS,
            Exit::Different => Self::from(1),
            Exit::Open => Self::from(3),
            Exit::Crashed => Self::from(4),
            Exit::Interrupted => Self::from(130),
        }
    }
}
