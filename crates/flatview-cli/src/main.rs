//! The program `flatview`.
//!
//! [`cli`] says what can be asked, [`commands`] answers. What commands share: [`input`] is where dumps come from,
//! [`output`] is how anything gets to the user, [`error`] and [`exit`] are how it ends.
//!
//! A command is a function from its arguments to an [`Exit`](exit::Exit). It prints through [`output`] only: to
//! print is to fail when the reader has left (`flatview … | head`), and `println!` would panic.

#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::Parser as _;

mod boot;
mod cli;
mod commands;
mod error;
mod exit;
mod input;
mod machines;
mod output;

fn main() -> ExitCode {
    // Before parsing, which may end in help or in an error, and those have colours, too.
    if let Some(color) = output::asked_color(std::env::args_os().skip(1)) {
        output::set_color(color);
    }
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return error::report_usage(&error),
    };
    output::set_color(cli.color);
    match commands::run(cli.command) {
        Ok(exit) => exit.into(),
        Err(error) => error.report(),
    }
}
