//! Where dumps come from.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, IsTerminal, Read};
use std::path::{Path, PathBuf};

use flatview_mtree::qmp::{self, Address, Client, Flags, Options, ParseAddressError, Version};
use indicatif::{ProgressBar, ProgressStyle};
use thiserror::Error;

use crate::cli::LiveArgs;

/// Files above this size take long enough to read that a user may wonder.
const LARGE: u64 = 64 << 20;

/// Where a dump comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
    /// A running QEMU.
    Qemu(Address),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Stdin => f.write_str("standard input"),
            Self::Qemu(address) => address.fmt(f),
        }
    }
}

impl Source {
    /// What an argument means.
    pub(crate) fn parse(text: OsString) -> Result<Source, ParseAddressError> {
        match text.to_str() {
            Some("-") => Ok(Source::Stdin),
            Some(text) => match text.strip_prefix("qmp:") {
                Some(address) => address.parse().map(Source::Qemu),
                None => Ok(Source::File(text.into())),
            },
            None => Ok(Source::File(text.into())),
        }
    }
}

/// The sources that were given; the running QEMU or standard input, if none were.
pub(crate) fn sources(live: &LiveArgs, given: &[Source]) -> Result<Vec<Source>, crate::error::Error> {
    match (given, &live.qmp) {
        ([], Some(address)) => Ok(vec![Source::Qemu(address.clone())]),
        ([], None) if io::stdin().is_terminal() => Err(crate::error::Error::NoSource),
        ([], None) => Ok(vec![Source::Stdin]),
        (given, None) => Ok(given.to_vec()),
        (given, Some(address)) => {
            let live = Source::Qemu(address.clone());
            Ok(given.iter().cloned().chain([live]).collect())
        }
    }
}

/// What a source said.
#[derive(Debug)]
pub(crate) struct Input {
    /// The text: of files as it is there, of QEMU with `\n` at the ends of lines.
    pub(crate) text: String,
    /// Which QEMU said it, if one did.
    pub(crate) version: Option<Version>,
}

/// Why a source said nothing.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// It cannot be read.
    #[error("cannot read {name}")]
    Read { name: String, source: io::Error },
    /// It is no text.
    #[error("{name} is no text: byte {byte:#04x} at offset {offset}, in line {line}, is not UTF-8")]
    NotText {
        name: String,
        byte: u8,
        offset: usize,
        line: usize,
    },
    /// QEMU does not say.
    #[error(transparent)]
    Qemu(#[from] qmp::Error),
}

/// Reads all of a source. A running QEMU is asked with these flags; files have been asked already.
pub(crate) fn read(source: &Source, flags: Flags, options: Options) -> Result<Input, Error> {
    let bytes = match source {
        Source::Qemu(address) => {
            let mut qemu = Client::connect_with(address, options)?;
            let text = qemu.info_mtree(flags)?;
            return Ok(Input {
                text,
                version: Some(qemu.version().clone()),
            });
        }
        Source::File(path) => read_file(path),
        Source::Stdin => read_stdin(),
    };
    let name = source.to_string();
    let bytes = bytes.map_err(|source| Error::Read {
        name: name.clone(),
        source,
    })?;
    Ok(Input {
        text: text(bytes, name)?,
        version: None,
    })
}

/// Dumps of a machine, read as they come. A running QEMU is asked for all that it says of its memory map.
pub(crate) fn open(source: &Source, options: Options) -> Result<Box<dyn BufRead>, Error> {
    let opened: io::Result<Box<dyn BufRead>> = match source {
        Source::Qemu(address) => {
            let mut qemu = Client::connect_with(address, options)?;
            return Ok(Box::new(Cursor::new(ask_all(&mut qemu)?)));
        }
        Source::File(path) => open_file(path).map(|(file, bar, _)| -> Box<dyn BufRead> {
            Box::new(BufReader::with_capacity(BUFFER, bar.wrap_read(file)))
        }),
        Source::Stdin => Ok(Box::new(BufReader::with_capacity(BUFFER, io::stdin()))),
    };
    opened.map_err(|error| Error::Read {
        name: source.to_string(),
        source: error,
    })
}

const BUFFER: usize = 1 << 16;

/// The tree and the views, with owners, and with disabled regions if this QEMU can print them.
pub(crate) fn ask_all(qemu: &mut Client) -> Result<String, qmp::Error> {
    let owners = Flags {
        owners: true,
        ..Flags::default()
    };
    let all = Flags {
        disabled: true,
        ..owners
    };
    let tree = match qemu.info_mtree(all) {
        // What an old QEMU does not know is refused.
        Err(qmp::Error::Refused { .. }) => qemu.info_mtree(owners)?,
        tree => tree?,
    };
    let views = qemu.info_mtree(Flags { flat: true, ..owners })?;
    Ok(tree + &views)
}

/// Reads all of a file; of a large one the user sees how far it is.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let (file, bar, size) = open_file(path)?;
    let mut bytes = Vec::new();
    // A file may claim any size.
    bytes.try_reserve_exact(usize::try_from(size).unwrap_or(usize::MAX))?;
    let read = bar.wrap_read(file).read_to_end(&mut bytes);
    bar.finish_and_clear();
    read.map(|_| bytes)
}

/// A file, with a bar if it is large, and its size if it has one.
fn open_file(path: &Path) -> io::Result<(File, ProgressBar, u64)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    // Of pipes and devices nobody knows the size.
    let size = if metadata.is_file() { metadata.len() } else { 0 };
    let bar = if wants_progress(size, io::stderr().is_terminal()) {
        ProgressBar::new(size)
            .with_style(style())
            .with_message(path.display().to_string())
    } else {
        ProgressBar::hidden()
    };
    Ok((file, bar, size))
}

fn read_stdin() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
}

fn wants_progress(size: u64, terminal: bool) -> bool {
    terminal && size > LARGE
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{msg} [{wide_bar}] {bytes} of {total_bytes}, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// Bytes as text; what is none is not guessed at.
fn text(bytes: Vec<u8>, name: String) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let line = 1 + bytes[..offset].iter().filter(|&&byte| byte == b'\n').count();
        Error::NotText {
            name,
            byte: bytes[offset],
            offset,
            line,
        }
    })
}

#[cfg(test)]
#[path = "input_test.rs"]
mod tests;
