//! `completions`: for the shells.

use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs};
use crate::error::Error;
use crate::exit::Exit;
use crate::output;

pub(super) fn run(arguments: &CompletionsArgs) -> Result<Exit, Error> {
    // Not straight to standard output: clap_complete panics when that fails.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "flatview", &mut script);
    output::bytes(&script)?;
    Ok(Exit::Ok)
}
