//! `mtree lint`: what people look for.

use flatview_mtree::lint::{Kind, Report, lint};

use crate::cli::{LintArgs, LiveArgs};
use crate::error::Error;
use crate::exit::Exit;
use crate::machines::each;
use crate::output;

pub(super) fn run(live: &LiveArgs, arguments: &LintArgs) -> Result<Exit, Error> {
    let options = arguments.options();
    each(live, &arguments.source.sources, arguments.json, |machine| {
        let findings = lint(machine, &options)?;
        let report = Report(&findings);
        if arguments.json {
            output::json(&findings)?;
        } else if arguments.all {
            output::text(&format!("{report:#}"))?;
        } else {
            output::text(&report.to_string())?;
        }
        let is_odd = findings
            .iter()
            .any(|finding| !finding.is_usual && !matches!(finding.kind, Kind::Hole | Kind::Largest));
        Ok(if arguments.strict && is_odd {
            Exit::Different
        } else {
            Exit::Ok
        })
    })
}
