//! `mtree dump`: what QEMU prints.

use flatview_mtree::qmp::{Flags, Version};
use flatview_mtree::text::parse;
use serde::Serialize;

use crate::cli::{DumpArgs, LiveArgs};
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

pub(super) fn run(live: &LiveArgs, arguments: &DumpArgs) -> Result<Exit, Error> {
    let given = arguments.source.as_slice();
    if given.is_empty() && live.qmp.is_none() {
        return Err(Error::NoSource);
    }
    let [source] = &input::sources(live, given)?[..] else {
        return Err(Error::NoSource);
    };
    let flags = arguments.flags.flags();
    if flags != Flags::default() && !matches!(source, Source::Qemu(_)) {
        let flags = flags.command_line().replace("info mtree ", "");
        return Err(Error::FlagsForText {
            flags,
            source_name: source.to_string(),
        });
    }
    let mut input = input::read(source, flags, live.options())?;
    input.text.retain(|character| character != '\r');
    if arguments.clean {
        let dumps = parse(&input.text).map_err(|error| Error::Parse {
            source_name: source.to_string(),
            source: error,
        })?;
        input.text = dumps.iter().map(ToString::to_string).collect();
    }
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
