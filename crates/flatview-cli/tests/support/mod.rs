//! Running the program as a user runs it.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

pub(crate) fn flatview(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flatview"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE");
    command
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    flatview(arguments).output().expect("it runs")
}

/// Runs with this as standard input.
pub(crate) fn feed(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = flatview(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(input)
        .expect("it listens");
    child.wait_with_output().expect("it ends")
}

/// What it printed, if it succeeded and had nothing to complain of.
pub(crate) fn printed(output: &Output) -> &str {
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    text(&output.stdout)
}

/// What it complained of, if it failed as it does for a wrong question or input.
pub(crate) fn complaint(output: &Output) -> &str {
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""));
    text(&output.stderr)
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("text")
}
