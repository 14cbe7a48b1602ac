//! How the program ends when nothing failed.

use std::process::ExitCode;

/// The verdict of a command. Their numbers are documented in [`EXIT_CODES`](crate::cli::EXIT_CODES).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, equal, nothing found.
    Ok,
    /// Different, or something was found.
    #[expect(dead_code, reason = "no command compares anything yet")]
    Different,
    /// What was given does not decide it.
    #[expect(dead_code, reason = "no command compares anything yet")]
    Open,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Ok => Self::SUCCESS,
            Exit::Different => Self::from(1),
            Exit::Open => Self::from(3),
        }
    }
}
