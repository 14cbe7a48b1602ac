//! `mtree dump`: what QEMU prints.

use flatview_mtree::qmp::{Flags, Version};
use serde::Serialize;

use crate::cli::DumpArgs;
use crate::error::Error;
use crate::exit::Exit;
use crate::input::{self, Source};
use crate::output;

/// A dump as JSON.
#[derive(Serialize)]
struct Dump<'a> {
    source: String,
    qemu: Option<Qemu<'a>>,
    text: &'a str,
}

/// Who printed it, and why.
#[derive(Serialize)]
struct Qemu<'a> {
    major: u32,
    minor: u32,
    micro: u32,
    package: &'a str,
    command: String,
}

pub(super) fn run(arguments: &DumpArgs) -> Result<Exit, Error> {
    let source = arguments.source.source();
    let flags = arguments.flags.flags();
    if flags != Flags::default() && !matches!(source, Source::Qemu(_)) {
        let flags = flags.command_line().replace("info mtree ", "");
        return Err(Error::FlagsForText {
            flags,
            source_name: source.to_string(),
        });
    }
    let mut input = input::read(&source, flags, arguments.source.options())?;
    input.text.retain(|character| character != '\r');
    if arguments.json {
        let qemu = input.version.as_ref().map(
            |Version {
                 major,
                 minor,
                 micro,
                 package,
                 ..
             }| Qemu {
                major: *major,
                minor: *minor,
                micro: *micro,
                package,
                command: flags.command_line(),
            },
        );
        output::json(&Dump {
            source: source.to_string(),
            qemu,
            text: &input.text,
        })?;
    } else {
        output::text(&input.text)?;
    }
    Ok(Exit::Ok)
}
