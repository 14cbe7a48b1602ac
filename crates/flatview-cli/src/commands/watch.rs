//! `mtree watch`: what changes in a running QEMU.

use std::time::Instant;

use flatview_mtree::diff::{Diff, diff};
use flatview_mtree::machine::Machine;
use flatview_mtree::qmp::{self, Client};
use flatview_mtree::text::parse;
use serde::Serialize;

use super::diff::colored;
use crate::cli::{LiveArgs, WatchArgs};
use crate::error::Error;
use crate::exit::Exit;
use crate::input::{self, Source, ask_all};
use crate::output;

/// A change as JSON.
#[derive(Serialize)]
struct Change<'a> {
    /// Since the first look.
    seconds: f64,
    #[serde(flatten)]
    diff: &'a Diff,
}

pub(super) fn run(live: &LiveArgs, arguments: &WatchArgs) -> Result<Exit, Error> {
    let [Source::Qemu(address)] = &input::sources(live, arguments.source.as_slice())?[..] else {
        return Err(Error::NotRunning);
    };
    let mut qemu = Client::connect_with(address, live.options()).map_err(input::Error::from)?;
    let begin = Instant::now();
    let mut before = ask_all(&mut qemu).map_err(input::Error::from)?;
    output::error(&format!(
        "flatview: watching QEMU {} every {} s\n",
        qemu.version(),
        arguments.interval.as_secs_f64()
    ));
    let mut left = arguments.count;
    while left != Some(0) {
        std::thread::sleep(arguments.interval);
        let now = match ask_all(&mut qemu) {
            Ok(now) => now,
            Err(qmp::Error::Closed { .. } | qmp::Error::Io { .. }) => {
                output::error("flatview: QEMU has ended\n");
                break;
            }
            Err(error) => return Err(input::Error::from(error).into()),
        };
        if now == before {
            continue;
        }
        let diff = diff(&machine(&before, address)?, &machine(&now, address)?);
        before = now;
        // QEMU may print the same in another order.
        if diff.is_empty() {
            continue;
        }
        let seconds = begin.elapsed().as_secs_f64();
        if arguments.json {
            output::json(&Change { seconds, diff: &diff })?;
        } else {
            output::styled(&format!("after {seconds:.1} s\n{}", colored(&diff)))?;
        }
        left = left.map(|left| left - 1);
    }
    Ok(Exit::Ok)
}

fn machine<'a>(text: &'a str, address: &qmp::Address) -> Result<Machine<'a>, Error> {
    let source_name = || address.to_string();
    let dumps = parse(text).map_err(|source| Error::Parse {
        source_name: source_name(),
        source,
    })?;
    Machine::new(dumps).map_err(|source| Error::Machine {
        source_name: source_name(),
        source,
    })
}
