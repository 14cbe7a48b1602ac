//! What answers.

mod completions;
mod dump;
mod man;

use crate::cli::{Command, MtreeCommand};
use crate::error::Error;
use crate::exit::Exit;

/// Does what was asked.
pub(crate) fn run(command: Command) -> Result<Exit, Error> {
    match command {
        Command::Mtree(MtreeCommand::Dump(arguments)) => dump::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
    }
}
