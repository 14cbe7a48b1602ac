//! How the program ends when something failed.

use std::error::Error as _;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::error::ErrorKind as Usage;
use thiserror::Error;

use crate::input;

/// The exit code for a question or an input that is wrong.
const BAD: u8 = 2;

/// What a shell says of a program that SIGPIPE ended: 128 and the number of the signal. 0 would be a lie: the verdict
/// may stand in what nobody read.
const READER_LEFT: u8 = 141;

/// Why a command failed.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// No dump could be had.
    #[error(transparent)]
    Input(#[from] input::Error),
    /// The user wants something of a file that only QEMU can do.
    #[error("{flags} needs a running QEMU: what is in {source_name} is printed already")]
    FlagsForText { flags: String, source_name: String },
    /// Nobody reads what we print, or it cannot be stored.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl Error {
    /// Tells the user, one line for the failure and one for each cause. Returns how the program must end.
    pub(crate) fn report(&self) -> ExitCode {
        if matches!(self, Self::Output(error) if error.kind() == ErrorKind::BrokenPipe) {
            return ExitCode::from(READER_LEFT);
        }
        let label = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
        let mut text = format!("{label}flatview:{label:#} {self}\n");
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(&format!("{label}flatview:{label:#}   because: {error}\n"));
            cause = error.source();
        }
        // If standard error is gone, there is nobody to tell.
        let _ = anstream::stderr().write_all(text.as_bytes());
        ExitCode::from(BAD)
    }
}

/// Tells the user what is wrong with the arguments, or the help or version that they asked for. Returns how the
/// program must end.
pub(crate) fn report_usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        Usage::DisplayHelp | Usage::DisplayVersion | Usage::DisplayHelpOnMissingArgumentOrSubcommand => {
            // If there is nobody to tell, there is nobody to tell that.
            let _ = error.print();
        }
        _ => {
            // All of our errors begin with the name of the program.
            let text = error
                .render()
                .ansi()
                .to_string()
                .replacen("error:", "flatview:", 1);
            let _ = anstream::stderr().write_all(text.as_bytes());
        }
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(BAD))
}
