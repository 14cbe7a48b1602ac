//! What can be asked: the arguments of the program. Their documentation is the help and the manual.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use flatview::AddressRange;
use flatview_mtree::address;
use flatview_mtree::find::Pattern;
use flatview_mtree::lint::{self, Kind};
use flatview_mtree::qmp::{Address, Flags, Options};

use crate::boot::BootArgs;
use crate::input::Source;

/// The meaning of exit codes: for the help, and for each page of the manual.
pub(crate) const EXIT_CODES: [(&str, &str); 7] = [
    ("0", "All is well: done, equal, nothing found."),
    ("1", "Different, or something was found."),
    (
        "2",
        "The question is wrong, or its input is, or could not be had.",
    ),
    ("3", "Open: what was given does not decide it."),
    ("4", "The guest crashed: a triple fault."),
    ("130", "Ctrl-C, or another signal, ended the machine."),
    ("141", "Whoever read the output left before its end."),
];

/// Run a PC, and look at the memory map of any QEMU.
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
    /// Run real firmware, and what it boots, on a PC: i440FX and PIIX3, as QEMU's `pc`.
    ///
    /// It needs no hypervisor and no rights. Without --disk and --cdrom it shows what it can: SeaBIOS boots a small disk
    /// that prints the memory map it is given, and the machine's own memory map is printed at the end. Add
    /// --trace-memory to see how that came about. Ctrl-C ends the machine.
    Boot(BootArgs),
    /// Understand what `info mtree` prints.
    #[command(arg_required_else_help = true)]
    Mtree(MtreeArgs),
    /// Print the completions of this program for a shell.
    ///
    /// For bash: flatview completions bash > /etc/bash_completion.d/flatview
    Completions(CompletionsArgs),
    /// Print the manual of this program, or write all of its pages.
    Man(ManArgs),
}

/// The arguments of all of `mtree`.
#[derive(Debug, Args)]
pub(crate) struct MtreeArgs {
    #[command(flatten)]
    pub(crate) live: LiveArgs,

    #[command(subcommand)]
    pub(crate) command: MtreeCommand,
}

/// A running QEMU, and how long to wait for it.
#[derive(Clone, Debug, Args)]
pub(crate) struct LiveArgs {
    /// The QMP socket of a running QEMU: PATH, unix:PATH or tcp:HOST:PORT.
    ///
    /// It is where the dumps come from if no SOURCE is given. QEMU opens one if it is started with
    /// `-qmp unix:PATH,server=on,wait=off`. It talks to one client at a time: if another program has the socket, give
    /// QEMU a second one.
    ///
    /// The socket of a QEMU under libvirt is libvirt's. Let it ask instead, and read standard input:
    /// virsh qemu-monitor-command DOMAIN --hmp 'info mtree' | flatview mtree lint -
    #[arg(long, global = true, value_name = "ADDRESS", value_hint = ValueHint::FilePath)]
    pub(crate) qmp: Option<Address>,

    /// How long to wait for a running QEMU: to connect, and for each answer.
    #[arg(long, global = true, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    timeout: Duration,
}

impl LiveArgs {
    /// For a source that was chosen already.
    pub(crate) fn without_qmp(&self) -> LiveArgs {
        LiveArgs {
            qmp: None,
            ..self.clone()
        }
    }

    /// How long to wait for a running QEMU.
    pub(crate) fn options(&self) -> Options {
        Options {
            connect: self.timeout,
            answer: self.timeout,
            ..Options::default()
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum MtreeCommand {
    /// Print what `info mtree` of a running QEMU prints.
    ///
    /// Of a file, it prints what the other commands read there. The ends of lines become those of Unix.
    Dump(DumpArgs),
    /// Say why addresses resolve as they do.
    ///
    /// The way from the root of the address space to the region that answers, the arithmetic of each alias, and who
    /// else would have answered but was overruled, and why. What the text of a dump leaves open is told, too; give the
    /// output of `info mtree -f` as well, and it is not open any more.
    Explain(ExplainArgs),
    /// Say whether a tree and the flat views that were printed beside it agree.
    ///
    /// The exit code is 0 if they are equal, 1 if they are different, and 3 if they are equal only if something is
    /// assumed that the text of the tree does not say; what, is printed.
    Check(CheckArgs),
    /// Say where regions are visible, and where they are hidden and by whom.
    ///
    /// The exit code is 1 if there is no region of that name.
    Find(FindArgs),
    /// Say what people look for in a memory map: holes, hidden regions, aliases beyond their target, and more.
    ///
    /// A line for each, with the reason. What every machine of its kind has is left out unless --all is given. The exit
    /// code is 0 whatever is found, unless --strict is given.
    Lint(LintArgs),
    /// Say what changed between two machines, or two moments: moved, appeared, vanished, enabled, answered by another.
    ///
    /// By the tree and by the flat views; the order in which QEMU prints does not count. The exit code is 1 if
    /// something changed.
    Diff(DiffArgs),
    /// Watch a running QEMU, and print what changes as `diff` does.
    ///
    /// Until QEMU ends, or --count changes were printed.
    Watch(WatchArgs),
    /// Draw the layers of address spaces: who is in front of whom, with the flat view on top.
    ///
    /// SVG shows one space; an HTML page shows all of them, with zoom, search and all details, and needs nothing else.
    Draw(DrawArgs),
}

/// The arguments of `mtree dump`.
#[derive(Debug, Args)]
pub(crate) struct DumpArgs {
    /// A file with a dump, or `-` for standard input, or `qmp:ADDRESS` for a running QEMU.
    ///
    /// A file whose name begins with `qmp:` is `./qmp:...`.
    #[arg(value_name = "SOURCE", value_parser = source(), value_hint = ValueHint::FilePath)]
    pub(crate) source: Option<Source>,

    #[command(flatten)]
    pub(crate) flags: FlagArgs,

    /// Only the dumps, as QEMU prints them: without prompts, logs, indentation and quotation marks around them.
    ///
    /// What is not as QEMU prints it is an error.
    #[arg(long)]
    pub(crate) clean: bool,

    /// Print one object of JSON: the text, where it is from, and which QEMU and which command printed it.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where the dumps of a machine are: several files are of one machine, with several flags of `info mtree`.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// Files with dumps, or `-` for standard input, or `qmp:ADDRESS` for a running QEMU.
    ///
    /// All are of one machine, or of one machine after the other. Without any, `--qmp` says where they come from, or
    /// they are read from standard input. A file whose name begins with `qmp:` is `./qmp:...`.
    #[arg(value_name = "SOURCE", value_parser = source(), value_hint = ValueHint::FilePath)]
    pub(crate) sources: Vec<Source>,
}

/// The arguments of `mtree explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Addresses, and sources.
    ///
    /// An address is a number or a sum of numbers: 0xfee00000, 4096, 64K, 4G-64K. A range of addresses is
    /// 0xa0000..0xc0000 without its end, or 0xa0000..=0xbffff; all that is in it is explained. What is no address is a
    /// SOURCE: a file with dumps, `-` for standard input, or `qmp:ADDRESS` for a running QEMU.
    #[arg(value_name = "ADDRESS|SOURCE", required = true, value_hint = ValueHint::FilePath, allow_negative_numbers = true)]
    pub(crate) arguments: Vec<OsString>,

    /// The address space, by its name; may be given more than once.
    ///
    /// Without it, `memory`, or the first space if there is none of that name. The I/O ports are `I/O`.
    #[arg(long, value_name = "NAME")]
    pub(crate) space: Vec<String>,

    /// Explain the addresses in every space, spaces that show the same once.
    #[arg(long, conflicts_with = "space")]
    pub(crate) all_spaces: bool,

    /// How many ranges and holes of a range of addresses are explained.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub(crate) most: usize,

    /// Print an array of JSON for each machine.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The arguments of `mtree check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The tree, the flat views, and what else there is of the machine with other flags (-D, -o).
    ///
    /// They may be in one file. Files with dumps, or `-` for standard input, or `qmp:ADDRESS` for a running QEMU.
    #[arg(value_name = "TREE FLAT", value_parser = source(), value_hint = ValueHint::FilePath)]
    pub(crate) sources: Vec<Source>,

    /// Print an object of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The arguments of `mtree find`.
#[derive(Debug, Args)]
pub(crate) struct FindArgs {
    /// A part of the name; with `*` or `?` a pattern of the whole name; with `=` before it exactly the name.
    #[arg(value_name = "NAME|PATTERN")]
    pub(crate) pattern: Pattern,

    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// Print an array of JSON for each machine.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The arguments of `mtree lint`.
#[derive(Debug, Args)]
pub(crate) struct LintArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// Only findings of this kind; may be given more than once.
    ///
    /// `overlaps` is all that is about who hides or cuts off whom.
    #[arg(long, value_name = "KIND", value_parser = kinds())]
    only: Vec<Vec<Kind>>,

    /// How many of the largest ranges of each view are told.
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    largest: usize,

    /// What is usual as well, and all of it.
    #[arg(long)]
    pub(crate) all: bool,

    /// End with 1 if anything is found, the largest ranges and holes aside.
    #[arg(long)]
    pub(crate) strict: bool,

    /// Print an array of JSON for each machine, with all findings.
    #[arg(long)]
    pub(crate) json: bool,
}

impl LintArgs {
    /// As the library wants them.
    pub(crate) fn options(&self) -> lint::Options {
        lint::Options {
            only: self.only.concat(),
            largest: self.largest,
        }
    }
}

/// The arguments of `mtree diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// What was before, and what is now; with --qmp, a running QEMU is what is now.
    ///
    /// Files with dumps, or `-` for standard input, or `qmp:ADDRESS` for a running QEMU. A file may hold the output of
    /// several flags of `info mtree`.
    #[arg(value_name = "A B", value_parser = source(), value_hint = ValueHint::FilePath)]
    pub(crate) sources: Vec<Source>,

    /// Print an object of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The arguments of `mtree watch`.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The running QEMU, as `qmp:ADDRESS` or with --qmp.
    #[arg(value_name = "SOURCE", value_parser = source())]
    pub(crate) source: Option<Source>,

    /// How long to wait between two looks.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) interval: Duration,

    /// End after so many changes.
    #[arg(long, value_name = "COUNT")]
    pub(crate) count: Option<u64>,

    /// Print each change as a line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The arguments of `mtree draw`.
#[derive(Debug, Args)]
pub(crate) struct DrawArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// The address space, by its name. Without it: all of them on a page, `memory` as SVG.
    #[arg(long, value_name = "NAME")]
    pub(crate) space: Option<String>,

    /// Draw these addresses only, such as 0..1M.
    #[arg(long, value_name = "RANGE", value_parser = address::parse)]
    pub(crate) range: Option<AddressRange>,

    /// Where to write; the end of the name (.svg, .html) says what. Standard output without it.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,

    /// What to draw.
    #[arg(long, value_enum)]
    pub(crate) format: Option<DrawFormat>,

    /// Disabled regions as well.
    #[arg(long)]
    pub(crate) disabled: bool,

    /// The width that is aimed at, in pixels; a space that needs more gets more.
    #[arg(long, value_name = "PIXELS", default_value_t = 1200)]
    pub(crate) width: u32,
}

/// What `mtree draw` draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DrawFormat {
    /// One space as SVG.
    Svg,
    /// A self-contained page.
    Html,
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
    OsStringValueParser::new().try_map(Source::parse)
}

/// Names of kinds of findings, and of two groups of them.
fn kinds() -> impl TypedValueParser<Value = Vec<Kind>> {
    let names = Kind::ALL.map(Kind::name).into_iter().chain([HOLES, OVERLAPS]);
    PossibleValuesParser::new(names).map(|name| match name.as_str() {
        HOLES => vec![Kind::Hole],
        OVERLAPS => vec![
            Kind::Overflow,
            Kind::AliasBeyondTarget,
            Kind::FullyHidden,
            Kind::ShadowedPartly,
            Kind::Clipped,
            Kind::SamePriorityOverlap,
        ],
        // No other names pass the parser.
        kind => kind.parse().into_iter().collect(),
    })
}

const HOLES: &str = "holes";
const OVERLAPS: &str = "overlaps";

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
