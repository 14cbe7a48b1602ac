//! `mtree diff`: what changed between two machines.

use flatview_mtree::diff::{Diff, diff};
use flatview_mtree::machine::Machine;

use crate::cli::{DiffArgs, LiveArgs};
use crate::error::Error;
use crate::exit::Exit;
use crate::input::{self, Source};
use crate::machines::only_group;
use crate::output;

pub(super) fn run(live: &LiveArgs, arguments: &DiffArgs) -> Result<Exit, Error> {
    let [before, after] = &input::sources(live, &arguments.sources)?[..] else {
        return Err(Error::NotTwo);
    };
    if (before, after) == (&Source::Stdin, &Source::Stdin) {
        return Err(Error::NotTwo);
    }
    let before = only_group(live, before)?;
    let after = only_group(live, after)?;
    let diff = diff(&machine(&before)?, &machine(&after)?);
    if arguments.json {
        output::json(&diff)?;
    } else {
        output::styled(&colored(&diff))?;
    }
    Ok(if diff.is_empty() {
        Exit::Ok
    } else {
        Exit::Different
    })
}

fn machine(group: &crate::machines::Group) -> Result<Machine<'_>, Error> {
    Machine::new(group.parse()?).map_err(|source| group.makes_no_sense(source))
}

/// The lines of a difference, in the colours that such lines have.
pub(super) fn colored(diff: &Diff) -> String {
    let mut text = String::new();
    for line in diff.to_string().lines() {
        let style = match line.as_bytes().first() {
            Some(b'+') => output::color(anstyle::AnsiColor::Green),
            Some(b'-') => output::color(anstyle::AnsiColor::Red),
            Some(b'~') => output::color(anstyle::AnsiColor::Yellow),
            _ => anstyle::Style::new(),
        };
        text.push_str(&format!("{style}{line}{style:#}\n"));
    }
    text
}
