//! How anything gets to the user. An [`Error::Output`] of these is not for a command to handle: pass it on.

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};

use anstyle::{AnsiColor, Style};
use clap::{ColorChoice, ValueEnum};
use serde::Serialize;

use crate::error::Error;

/// Prints a text as it is.
pub(crate) fn text(text: &str) -> Result<(), Error> {
    bytes(text.as_bytes())
}

/// Prints bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(Error::Output)
}

/// Prints a text in which there are styles of `anstyle`; without them where the user wants no colours.
pub(crate) fn styled(text: &str) -> Result<(), Error> {
    if has_color() {
        bytes(text.as_bytes())
    } else {
        bytes(plain(text).as_bytes())
    }
}

/// The style of a colour.
pub(crate) fn color(color: AnsiColor) -> Style {
    Style::new().fg_color(Some(color.into()))
}

/// Tells the user something that is no result. If nobody listens, so be it.
pub(crate) fn error(text: &str) {
    let _ = anstream::stderr().write_all(text.as_bytes());
}

/// Prints a value as JSON, on one line.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Error> {
    let mut stdout = BufWriter::new(io::stdout().lock());
    serde_json::to_writer(&mut stdout, value)
        .map_err(io::Error::from)
        .and_then(|()| stdout.write_all(b"\n"))
        .and_then(|()| stdout.flush())
        .map_err(Error::Output)
}

/// From now on, colours are used so.
pub(crate) fn set_color(color: ColorChoice) {
    match color {
        ColorChoice::Auto => anstream::ColorChoice::Auto,
        ColorChoice::Always => anstream::ColorChoice::Always,
        ColorChoice::Never => anstream::ColorChoice::Never,
    }
    .write_global();
}

/// What `--color` of these arguments says, as far as can be told without parsing them.
pub(crate) fn asked_color(arguments: impl IntoIterator<Item = OsString>) -> Option<ColorChoice> {
    let mut color = None;
    let mut arguments = arguments
        .into_iter()
        .filter_map(|argument| argument.into_string().ok());
    while let Some(argument) = arguments.next() {
        let value = match argument.strip_prefix("--color") {
            Some("") => arguments.next(),
            Some(value) => value.strip_prefix('=').map(str::to_owned),
            None => None,
        };
        color = value
            .and_then(|value| ColorChoice::from_str(&value, false).ok())
            .or(color);
    }
    color
}

fn has_color() -> bool {
    !matches!(
        anstream::AutoStream::choice(&io::stdout()),
        anstream::ColorChoice::Never
    )
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[cfg(test)]
#[path = "output_test.rs"]
mod tests;
