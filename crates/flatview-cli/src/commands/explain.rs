//! `mtree explain`: why addresses resolve as they do.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::Path;

use anstyle::{AnsiColor, Style};
use flatview::AddressRange;
use flatview_mtree::address::{self, AddressError};
use flatview_mtree::explain::Explained;
use flatview_mtree::machine::Machine;

use crate::cli::{ExplainArgs, LiveArgs};
use crate::error::Error;
use crate::exit::Exit;
use crate::input::Source;
use crate::machines::each_of_spaces;
use crate::output::{self, color};

pub(super) fn run(live: &LiveArgs, arguments: &ExplainArgs) -> Result<Exit, Error> {
    let (ranges, sources) = sort_out(&arguments.arguments)?;
    let only = (!arguments.all_spaces).then_some(&arguments.space[..]);
    each_of_spaces(live, &sources, arguments.json, only, |machine| {
        let mut all = Vec::new();
        let spaces = spaces(machine, arguments)?;
        for &range in &ranges {
            for &space in &spaces {
                for (count, explained) in machine.explain_range(space, range).enumerate() {
                    let failed = |source| Error::Machine {
                        source_name: machine.graph.spaces[space].name.to_owned(),
                        source,
                    };
                    let explained = explained.map_err(failed)?;
                    if count == arguments.most {
                        output::error(&format!(
                            "flatview: there is more in {range} from {:#x} on: --most {count} ends here\n",
                            explained.range.start()
                        ));
                        break;
                    }
                    if arguments.json {
                        all.push(explained);
                    } else {
                        output::styled(&colored(&explained))?;
                    }
                }
            }
        }
        if arguments.json {
            output::json(&all)?;
        }
        Ok(Exit::Ok)
    })
}

/// Addresses, and what is none.
fn sort_out(arguments: &[OsString]) -> Result<(Vec<AddressRange>, Vec<Source>), Error> {
    let mut ranges = Vec::new();
    let mut sources = Vec::new();
    for argument in arguments {
        match argument.to_str().map(address::parse) {
            Some(Ok(range)) => ranges.push(range),
            // What looks like a number is no file that happens to be missing.
            Some(Err(wrong)) if looks_like_address(argument, &wrong) => return Err(Error::Address(wrong)),
            _ => sources.push(Source::parse(argument.clone()).map_err(Error::Qmp)?),
        }
    }
    match ranges.is_empty() {
        true => Err(Error::NoAddress),
        false => Ok((ranges, sources)),
    }
}

fn looks_like_address(argument: &OsString, wrong: &AddressError) -> bool {
    let is_number = !matches!(wrong, AddressError::NotANumber { .. });
    let begins = argument
        .to_str()
        .is_some_and(|text| text.starts_with(|first: char| first.is_ascii_digit()));
    (is_number || begins) && !Path::new(argument).exists()
}

/// The spaces in which to explain.
fn spaces(machine: &Machine<'_>, arguments: &ExplainArgs) -> Result<Vec<usize>, Error> {
    if arguments.all_spaces {
        let mut seen = HashSet::new();
        let views = machine
            .built
            .spaces
            .iter()
            .map(|space| space.view().root().cloned());
        let first = views.enumerate().filter(|(_, root)| seen.insert(root.clone()));
        return Ok(first.map(|(place, _)| place).collect());
    }
    if arguments.space.is_empty() {
        return Ok(vec![machine.space(None)?]);
    }
    let named = arguments.space.iter().map(|name| Ok(machine.space(Some(name))?));
    named.collect()
}

/// The text with the answer and the reasons in colours.
fn colored(explained: &Explained) -> String {
    let bold = Style::new().bold();
    let mut style = bold;
    let mut reasons = Style::new();
    let mut text = String::new();
    for line in explained.to_string().lines() {
        if line.starts_with("is answered by nobody") {
            style = color(AnsiColor::Yellow).bold();
        } else if line.starts_with("is answered by") {
            style = color(AnsiColor::Green).bold();
        } else if line.starts_with("overruled:") {
            (style, reasons) = (bold, color(AnsiColor::Red));
        } else if line.starts_with("open,") {
            (style, reasons) = (bold, color(AnsiColor::Yellow));
        } else if line.contains("    within ") {
            style = reasons;
        }
        text.push_str(&format!("{style}{line}{style:#}\n"));
        style = Style::new();
    }
    text.push('\n');
    text
}
