//! `mtree draw`: address spaces as pictures.

use std::fs;
use std::path::Path;

use flatview_mtree::draw::{self, Options};
use flatview_mtree::layout::Layout;
use flatview_mtree::machine::Machine;

use crate::cli::{DrawArgs, DrawFormat, LiveArgs};
use crate::error::Error;
use crate::exit::Exit;
use crate::machines::each;
use crate::output;

pub(super) fn run(live: &LiveArgs, arguments: &DrawArgs) -> Result<Exit, Error> {
    let options = Options {
        only: arguments.range,
        width: arguments.width,
        disabled: arguments.disabled,
    };
    let mut drawn = false;
    each(live, &arguments.source.sources, true, |machine| {
        // A file holds one picture.
        if std::mem::replace(&mut drawn, true) {
            return Err(Error::OneMachine);
        }
        let picture = match format(arguments) {
            DrawFormat::Svg => {
                let space = machine.space(arguments.space.as_deref())?;
                draw::svg(&layout(machine, space)?, &options)
            }
            DrawFormat::Html => draw::html(&layouts(machine, arguments)?, &options),
        };
        match &arguments.output {
            None => output::text(&picture)?,
            Some(path) => fs::write(path, &picture).map_err(|source| Error::Write {
                path: path.clone(),
                source,
            })?,
        }
        Ok(Exit::Ok)
    })
}

/// As asked for; as the name of the file says; a page.
fn format(arguments: &DrawArgs) -> DrawFormat {
    let extension = arguments.output.as_deref().and_then(Path::extension);
    arguments.format.unwrap_or_else(|| match extension {
        Some(extension) if extension.eq_ignore_ascii_case("svg") => DrawFormat::Svg,
        _ => DrawFormat::Html,
    })
}

fn layouts(machine: &Machine<'_>, arguments: &DrawArgs) -> Result<Vec<Layout>, Error> {
    match arguments.space.as_deref() {
        Some(name) => Ok(vec![layout(machine, machine.space(Some(name))?)?]),
        None => machine
            .layouts()
            .map(|layout| layout.map_err(too_large))
            .collect(),
    }
}

fn layout(machine: &Machine<'_>, space: usize) -> Result<Layout, Error> {
    machine.layout(space).map_err(too_large)
}

fn too_large(source: flatview_mtree::Error) -> Error {
    Error::Machine {
        source_name: "the machine".to_owned(),
        source,
    }
}
