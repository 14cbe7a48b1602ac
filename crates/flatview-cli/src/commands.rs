//! What answers.

mod check;
mod completions;
mod diff;
mod draw;
mod dump;
mod explain;
mod find;
mod lint;
mod man;
mod watch;

use crate::boot;
use crate::cli::{Command, MtreeArgs, MtreeCommand};
use crate::error::Error;
use crate::exit::Exit;

/// Does what was asked.
pub(crate) fn run(command: Command) -> Result<Exit, Error> {
    match command {
        Command::Boot(arguments) => boot::run(&arguments),
        Command::Mtree(MtreeArgs { live, command }) => match command {
            MtreeCommand::Dump(arguments) => dump::run(&live, &arguments),
            MtreeCommand::Explain(arguments) => explain::run(&live, &arguments),
            MtreeCommand::Check(arguments) => check::run(&live, &arguments),
            MtreeCommand::Find(arguments) => find::run(&live, &arguments),
            MtreeCommand::Lint(arguments) => lint::run(&live, &arguments),
            MtreeCommand::Diff(arguments) => diff::run(&live, &arguments),
            MtreeCommand::Watch(arguments) => watch::run(&live, &arguments),
            MtreeCommand::Draw(arguments) => draw::run(&live, &arguments),
        },
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
    }
}
