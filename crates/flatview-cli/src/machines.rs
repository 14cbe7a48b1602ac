//! The machines in the sources of a command.

use flatview_mtree::machine::{Grouping, Machine};
use flatview_mtree::text::{Dump, DumpText, Reader};

use crate::cli::LiveArgs;
use crate::error::Error;
use crate::exit::Exit;
use crate::input::{self, Source};
use crate::output;

/// What `run` says of every machine in some sources, the worst of it. Sources are read as they come, and one machine at
/// a time is in memory.
///
/// If there are several, each gets a heading; of JSON each gets a line anyway.
pub(crate) fn each(
    live: &LiveArgs,
    given: &[Source],
    json: bool,
    run: impl FnMut(&Machine<'_>) -> Result<Exit, Error>,
) -> Result<Exit, Error> {
    each_of_spaces(live, given, json, None, run)
}

/// As [`each`], for a command that asks about some spaces only: `memory`, if there is no name.
pub(crate) fn each_of_spaces(
    live: &LiveArgs,
    given: &[Source],
    json: bool,
    only: Option<&[String]>,
    mut run: impl FnMut(&Machine<'_>) -> Result<Exit, Error>,
) -> Result<Exit, Error> {
    let mut exit = Exit::Ok;
    each_group(live, given, |group| {
        if !json {
            group.announce()?;
        }
        let dumps = group.parse()?;
        let machine = match only {
            None => Machine::new(dumps),
            Some(names) => Machine::of_spaces(dumps, names),
        };
        let machine = machine.map_err(|error| match error {
            flatview_mtree::Error::NoSpace { .. } => Error::Answer(error),
            error => group.makes_no_sense(error),
        })?;
        exit = exit.max(run(&machine)?);
        if group.is_last {
            // The process ends, and taking a large machine apart would take as long as putting it together.
            std::mem::forget(machine);
        }
        Ok(())
    })?;
    Ok(exit)
}

/// The dumps of one machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    /// Where they are.
    pub(crate) name: String,
    texts: Vec<DumpText>,
    /// There was another one before.
    is_further: bool,
    /// There is no other.
    is_last: bool,
}

impl Group {
    /// Prints a heading, unless there was no machine before.
    pub(crate) fn announce(&self) -> Result<(), Error> {
        match self.is_further {
            true => output::text(&format!("\n=== {}\n\n", self.name)),
            false => Ok(()),
        }
    }

    /// The dumps, parsed.
    pub(crate) fn parse(&self) -> Result<Vec<Dump<'_>>, Error> {
        let dumps = self.texts.iter().filter_map(|text| text.parse().transpose());
        dumps.collect::<Result<_, _>>().map_err(|source| Error::Parse {
            source_name: self.name.clone(),
            source,
        })
    }

    /// The error of a machine that cannot be made of them.
    pub(crate) fn makes_no_sense(&self, source: flatview_mtree::Error) -> Error {
        Error::Machine {
            source_name: self.name.clone(),
            source,
        }
    }
}

/// The dumps of the one machine in a source.
pub(crate) fn only_group(live: &LiveArgs, source: &Source) -> Result<Group, Error> {
    let mut only = None;
    each_group(
        &live.without_qmp(),
        std::slice::from_ref(source),
        |group| match only {
            None => {
                only = Some(group.clone());
                Ok(())
            }
            Some(_) => Err(Error::NotOne {
                source_name: source.to_string(),
            }),
        },
    )?;
    // There is always one, if without a dump.
    Ok(only.unwrap_or_default())
}

/// Calls `run` with the dumps of every machine in some sources; with none, if there is nothing in them.
pub(crate) fn each_group(
    live: &LiveArgs,
    given: &[Source],
    mut run: impl FnMut(&Group) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut grouping = Grouping::default();
    let mut group = Group::default();
    for source in input::sources(live, given)? {
        let reader = Reader::new(input::open(&source, live.options())?);
        for (place, text) in reader.enumerate() {
            let text = text.map_err(|error| input::Error::Read {
                name: source.to_string(),
                source: error,
            })?;
            // A machine without a disabled region prints the same with -D. In one file, it would be there twice.
            if place == 0 && group.texts.iter().any(|other| other.as_str() == text.as_str()) {
                continue;
            }
            if grouping.begins_machine(text.kind()) && !group.texts.is_empty() {
                run(&group)?;
                group.texts.clear();
                group.is_further = true;
            }
            if group.texts.is_empty() {
                group.name = format!("{source}, from line {}", text.number());
            }
            group.texts.push(text);
        }
        if group.name.is_empty() {
            group.name = source.to_string();
        }
    }
    group.is_last = true;
    run(&group)
}
