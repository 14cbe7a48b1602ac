//! What can be asked: the arguments of the program. Their documentation is the help and the manual.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ColorChoice, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use flatview_mtree::qmp::{Address, Flags, Options, ParseAddressError};

use crate::input::Source;

/// The meaning of exit codes: for the help, and for each page of the manual.
pub(crate) const EXIT_CODES: [(&str, &str); 5] = [
    ("0", "All is well: done, equal, nothing found."),
    ("1", "Different, or something was found."),
    (
        "2",
        "The question is wrong, or its input is, or could not be had.",
    ),
    ("3", "Open: what was given does not decide it."),
    ("141", "Whoever read the output left before its end."),
];

/// Look at the memory map of any QEMU.
#[derive(Debug, Parser)]
#[command(name = "flatview", version, max_term_width = 100, after_long_help = exit_codes())]
pub(crate) struct Cli {
    /// When to use colours.
    ///
    /// `auto` uses them on a terminal, unless the environment variable NO_COLOR is set.
    #[arg(long, global = true, value_name = "WHEN", default_value_t = ColorChoice::Auto, value_enum)]
    pub(crate) color: ColorChoice,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Understand what `info mtree` prints.
    #[command(subcommand, arg_required_else_help = true)]
    Mtree(MtreeCommand),
    /// Print the completions of this program for a shell.
    ///
    /// For bash: flatview completions bash > /etc/bash_completion.d/flatview
    Completions(CompletionsArgs),
    /// Print the manual of this program, or write all of its pages.
    Man(ManArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum MtreeCommand {
    /// Print what `info mtree` of a running QEMU prints.
    ///
    /// Of a file, it prints what the other commands read there. The ends of lines become those of Unix.
    Dump(DumpArgs),
}

/// The arguments of `mtree dump`.
#[derive(Debug, Args)]
pub(crate) struct DumpArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    #[command(flatten)]
    pub(crate) flags: FlagArgs,

    /// Print one object of JSON: the text, where it is from, and which QEMU and which command printed it.
    #[arg(long)]
    pub(crate) json: bool,
}

/// One source of a dump: a file, standard input, or a running QEMU.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// A file with a dump, or `-` for standard input, or `qmp:ADDRESS` for a running QEMU.
    ///
    /// A file whose name begins with `qmp:` is `./qmp:...`.
    #[arg(value_name = "SOURCE", value_parser = source(), value_hint = ValueHint::FilePath)]
    #[arg(required_unless_present = "qmp", conflicts_with = "qmp")]
    source: Option<Source>,

    /// The QMP socket of a running QEMU: PATH, unix:PATH or tcp:HOST:PORT.
    ///
    /// QEMU opens one if it is started with `-qmp unix:PATH,server=on,wait=off`. It talks to one client at a time:
    /// if another program has the socket, give QEMU a second one.
    ///
    /// The socket of a QEMU under libvirt is libvirt's. Let it ask instead, and read standard input:
    /// virsh qemu-monitor-command DOMAIN --hmp 'info mtree' | flatview mtree dump -
    #[arg(long, value_name = "ADDRESS", value_hint = ValueHint::FilePath)]
    qmp: Option<Address>,

    #[command(flatten)]
    wait: WaitArgs,
}

impl SourceArgs {
    /// The source that was given.
    pub(crate) fn source(&self) -> Source {
        match (&self.qmp, &self.source) {
            (Some(address), _) => Source::Qemu(address.clone()),
            (None, Some(source)) => source.clone(),
            (None, None) => unreachable!("clap requires one of the two"),
        }
    }

    /// How long to wait for a running QEMU.
    pub(crate) fn options(&self) -> Options {
        self.wait.options()
    }
}

/// How long to wait for a running QEMU. For commands with two sources; [`SourceArgs`] has it in it.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// How long to wait for a running QEMU: to connect, and for each answer.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    timeout: Duration,
}

impl WaitArgs {
    pub(crate) fn options(&self) -> Options {
        Options {
            connect: self.timeout,
            answer: self.timeout,
            ..Options::default()
        }
    }
}

/// The flags of `info mtree`.
#[derive(Debug, Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "four switches of a command line, each on its own"
)]
pub(crate) struct FlagArgs {
    /// Flat views instead of trees.
    #[arg(short = 'f', long = "flat")]
    flat: bool,
    /// Dispatch tables as well; QEMU has them with -f only.
    #[arg(short = 'd', long = "dispatch")]
    dispatch: bool,
    /// Owners and parents as well.
    #[arg(short = 'o', long = "owners")]
    owners: bool,
    /// Disabled regions as well; QEMU has them without -f only.
    #[arg(short = 'D', long = "disabled")]
    disabled: bool,
}

impl FlagArgs {
    /// As the client of QMP wants them.
    pub(crate) fn flags(&self) -> Flags {
        let &Self {
            flat,
            dispatch,
            owners,
            disabled,
        } = self;
        Flags {
            flat,
            dispatch,
            owners,
            disabled,
        }
    }
}

/// The arguments of `completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// The arguments of `man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write the pages of the program and of each of its subcommands into this folder.
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
}

/// Parses [`Source`]s. A path may be anything that the system can name, so this is no `FromStr`.
fn source() -> impl TypedValueParser<Value = Source> {
    OsStringValueParser::new().try_map(|text: OsString| -> Result<Source, ParseAddressError> {
        match text.to_str() {
            Some("-") => Ok(Source::Stdin),
            Some(text) => match text.strip_prefix("qmp:") {
                Some(address) => address.parse().map(Source::Qemu),
                None => Ok(Source::File(text.into())),
            },
            None => Ok(Source::File(text.into())),
        }
    })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "expected a number of seconds, such as 2.5".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| (Duration::from_millis(1)..=Duration::from_hours(24)).contains(time))
        .ok_or_else(|| "expected at least 0.001 and at most 86400 seconds".to_owned())
}

fn exit_codes() -> String {
    let lines = EXIT_CODES.map(|(code, meaning)| format!("{code:>5}  {meaning}\n"));
    format!("Exit codes:\n{}", lines.concat())
}

#[cfg(test)]
#[path = "cli_test.rs"]
mod tests;
