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
    let mut picture = None;
    each(live, &arguments.source.sources, true, |machine| {
        // A file holds one picture.
        if picture.is_some() {
            return Err(Error::OneMachine);
        }
        picture = Some(match format(arguments) {
            DrawFormat::Svg => draw::svg(
                &machine.layout(machine.space(arguments.space.as_deref())?)?,
                &options,
            ),
            DrawFormat::Html => draw::html(&layouts(machine, arguments)?, &options),
        });
        Ok(Exit::Ok)
    })?;
    let picture = picture.unwrap_or_default();
    match &arguments.output {
        None => output::text(&picture)?,
        Some(path) => fs::write(path, &picture).map_err(|source| Error::Write {
            path: path.clone(),
            source,
        })?,
    }
    Ok(Exit::Ok)
}

/// As asked for; as the name of the file says; a page.
fn format(arguments: &DrawArgs) -> DrawFormat {
    let extension = arguments.output.as_deref().and_then(Path::extension);
    arguments.format.unwrap_or_else(|| match extension {
        Some(extension) if extension.eq_ignore_ascii_case("svg") => DrawFormat::Svg,
        _ => DrawFormat::Html,
    })
}

fn layouts(machine: &Machine<'_>, arguments: &DrawArgs) -> Result<Vec<Layout>, flatview_mtree::Error> {
    match arguments.space.as_deref() {
        Some(name) => Ok(vec![machine.layout(machine.space(Some(name))?)?]),
        None => machine.layouts().collect(),
    }
}
