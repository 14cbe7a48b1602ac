//! `mtree check`: whether a tree and its flat views agree.

use flatview_mtree::check::{Verdict, check};
use flatview_mtree::machine::combine;

use crate::cli::{CheckArgs, LiveArgs};
use crate::error::Error;
use crate::exit::Exit;
use crate::machines::each_group;
use crate::output;

pub(super) fn run(live: &LiveArgs, arguments: &CheckArgs) -> Result<Exit, Error> {
    let mut exit = Exit::Ok;
    each_group(live, &arguments.sources, |group| {
        let dumps = group.parse()?;
        let (tree, flat) = combine(dumps);
        let tree = tree.ok_or_else(|| group.makes_no_sense(flatview_mtree::Error::NoTree))?;
        let flat = flat.ok_or_else(|| group.makes_no_sense(flatview_mtree::Error::NoFlat))?;
        let report = check(&tree, &flat).map_err(|error| group.makes_no_sense(error.into()))?;
        exit = exit.max(match report.verdict {
            Verdict::Equal => Exit::Ok,
            Verdict::Open => Exit::Open,
            Verdict::Different => Exit::Different,
        });
        if arguments.json {
            return output::json(&report);
        }
        group.announce()?;
        output::text(&report.to_string())
    })?;
    Ok(exit)
}
