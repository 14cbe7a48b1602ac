//! How the program ends when something failed.

use std::error::Error as _;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::error::ErrorKind as Usage;
use flatview_accel::AccelError;
use flatview_mtree::address::AddressError;
use flatview_mtree::qmp::ParseAddressError;
use flatview_mtree::text::ParseError;
use flatview_pc::board::PcError;
use flatview_pc::firmware::images::FetchError;
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
    /// Nothing says where the dumps are.
    #[error("no SOURCE: give a file with dumps, `-` for standard input, or --qmp ADDRESS for a running QEMU")]
    NoSource,
    /// The text is not as `info mtree` prints it.
    #[error("{source_name} is not as `info mtree` prints it")]
    Parse { source_name: String, source: ParseError },
    /// What was read cannot be shown.
    #[error("cannot make sense of {source_name}")]
    Machine {
        source_name: String,
        source: flatview_mtree::Error,
    },
    /// There is nothing to explain.
    #[error("no ADDRESS: write 0xfee00000, 4G-64K, or 0xa0000..0xc0000")]
    NoAddress,
    /// Something that looks like an address is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Something that looks like the address of a QEMU is none.
    #[error(transparent)]
    Qmp(#[from] ParseAddressError),
    /// A machine does not have what was asked for, or too much of it.
    #[error(transparent)]
    Answer(#[from] flatview_mtree::Error),
    /// A comparison takes two.
    #[error(
        "two sources are compared: give A and B, or A and --qmp ADDRESS; only one of them can be standard input"
    )]
    NotTwo,
    /// Only something that runs can be watched.
    #[error("only a running QEMU can be watched: give --qmp ADDRESS")]
    NotRunning,
    /// A comparison is of one machine with one.
    #[error("there is more than one machine in {source_name}: give one of them")]
    NotOne { source_name: String },
    /// A picture is of one machine.
    #[error("there is more than one machine in the input, but a picture is of one: give one of them")]
    OneMachine,
    /// Nobody reads what we print, or it cannot be stored.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    /// A machine was not made, or does not run.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The memory map cannot be shown.
    #[error(transparent)]
    Memory(#[from] flatview::Error),
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Why a machine was not made, or does not run. Each is one line: what is wrong and why stand together.
#[derive(Debug, Error)]
pub(crate) enum BootError {
    /// What an option says is wrong.
    #[error("{option}: {why}")]
    Option {
        option: &'static str,
        why: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What a device says cannot be kept.
    #[error("{option}: cannot write {}: {why}", path.display())]
    Chardev {
        option: &'static str,
        path: PathBuf,
        why: io::Error,
    },
    /// The cables have two drives each.
    #[error("--disk: {given} disks, but there is room for {most}, beside the CD-ROM")]
    TooManyDisks { given: usize, most: usize },
    /// The machine cannot be made.
    #[error("no machine: {0}")]
    Machine(PcError),
    /// There is no firmware, and none can be had.
    #[error("{0}. Or give one with --bios")]
    Fetch(FetchError),
    /// No pseudo terminal.
    #[error("no pseudo terminal: {0}")]
    Pty(io::Error),
    /// Signals cannot be caught.
    #[error("signals cannot be caught: {0}")]
    Signals(io::Error),
    /// The machine cannot go on.
    #[error("the machine cannot go on: {}", flatview_pc::accel::describe(.0))]
    Run(AccelError),
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
