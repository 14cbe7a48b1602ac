//! `man`: the manual.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::{Cli, EXIT_CODES, ManArgs};
use crate::error::Error;
use crate::exit::Exit;
use crate::output;

pub(super) fn run(arguments: &ManArgs) -> Result<Exit, Error> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    match &arguments.dir {
        None => output::bytes(&page(&program).map_err(Error::Output)?.1)?,
        Some(folder) => {
            fs::create_dir_all(folder).map_err(|source| Error::Write {
                path: folder.clone(),
                source,
            })?;
            write_pages(&program, folder)?;
        }
    }
    Ok(Exit::Ok)
}

/// Writes the page of a command, and those of its subcommands.
fn write_pages(command: &Command, folder: &Path) -> Result<(), Error> {
    let write = |(name, page): (String, Vec<u8>)| {
        let path = folder.join(name);
        fs::write(&path, page).map_err(|source| Error::Write { path, source })
    };
    page(command).map_err(Error::Output).and_then(write)?;
    command
        .get_subcommands()
        .try_for_each(|command| write_pages(command, folder))
}

/// The page of a command, and the name of its file.
fn page(command: &Command) -> io::Result<(String, Vec<u8>)> {
    let source = concat!("flatview ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual("Flatview");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    exit_status().to_writer(&mut page)?;
    Ok((man.get_filename(), page))
}

fn exit_status() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_CODES {
        roff.control("TP", []);
        roff.text([bold(code)]);
        roff.text([roman(meaning)]);
    }
    roff
}
