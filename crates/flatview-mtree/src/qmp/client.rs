//! The client.

use std::io::ErrorKind;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::json;
use serde_json::value::RawValue;

use super::address::Address;
use super::error::Error;
use super::flags::Flags;
use super::lines::{Lines, NoLine};
use super::message::{Failure, Greeting, Message, Version};
use super::stream::{Deadline, Stream};

/// How many bytes of what came instead of an answer an error shows.
const SHOWN: usize = 200;

/// How long to wait for QEMU, and for how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The time to connect and to be greeted: 30 s.
    pub connect: Duration,
    /// The time for all of an answer: 30 s.
    pub answer: Duration,
    /// The longest line, in bytes: 256 MiB. The whole answer to a command is one line, so a dump must be shorter.
    pub longest_line: usize,
}

impl Default for Options {
    fn default() -> Self {
        let time = Duration::from_secs(30);
        Self {
            connect: time,
            answer: time,
            longest_line: 256 << 20,
        }
    }
}

/// A connection to the QMP socket of a running QEMU.
///
/// After an [`Error::Timeout`], [`Error::Failed`] or [`Error::Refused`] it may be asked on; after others, drop it and
/// connect again.
#[derive(Debug)]
pub struct Client {
    lines: Lines,
    version: Version,
    options: Options,
    last_id: u64,
}

impl Client {
    /// Connects to QEMU, with the default [`Options`].
    pub fn connect(address: &Address) -> Result<Self, Error> {
        Self::connect_with(address, Options::default())
    }

    /// Connects to QEMU, and gets as far as that it takes commands.
    pub fn connect_with(address: &Address, options: Options) -> Result<Self, Error> {
        let deadline = Deadline::after(options.connect);
        let no_greeting = || Error::NoGreeting {
            address: address.to_string(),
            waited: options.connect,
        };
        let stream = Stream::connect(address, deadline).map_err(|source| match source.kind() {
            // Others wait there, too, and more than the socket lets wait.
            ErrorKind::TimedOut => no_greeting(),
            _ => Error::Connect {
                address: address.to_string(),
                source,
            },
        })?;
        let mut lines = Lines::new(stream, options.longest_line);
        let version = greeting(&mut lines, deadline).map_err(|error| match error {
            Error::Timeout { .. } => no_greeting(),
            error => error,
        })?;
        let mut client = Self {
            lines,
            version,
            options,
            last_id: 0,
        };
        client.execute(
            &json!({"execute": "qmp_capabilities"}),
            "`qmp_capabilities`",
            |_| Some(()),
        )?;
        Ok(client)
    }

    /// Which QEMU it is, as it said when it greeted.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Runs `info mtree` and returns what it prints. The ends of lines are `\n`.
    ///
    /// A complaint, say about a flag that this QEMU does not know, is [`Error::Refused`] and never taken for a dump.
    pub fn info_mtree(&mut self, flags: Flags) -> Result<String, Error> {
        let command = flags.command_line();
        let answer = self.human_monitor_command(&command)?;
        if is_dump(&answer) {
            Ok(answer)
        } else {
            Err(Error::Refused {
                command,
                answer: excerpt(answer.as_bytes()),
            })
        }
    }

    /// Runs a line of the human monitor and returns what it prints, with `\n` at the ends of lines.
    ///
    /// The monitor has no errors: what it complains about stands in the text.
    pub fn human_monitor_command(&mut self, command_line: &str) -> Result<String, Error> {
        let command =
            json!({"execute": "human-monitor-command", "arguments": {"command-line": command_line}});
        let asked = format!("`{command_line}`");
        let mut text: String =
            self.execute(&command, &asked, |answer| serde_json::from_str(answer.get()).ok())?;
        text.retain(|character| character != '\r');
        Ok(text)
    }

    /// Gives a command, waits for its answer, and takes from that what is wanted. `None` means that it is not there.
    fn execute<T>(
        &mut self,
        command: &serde_json::Value,
        asked: &str,
        take: impl FnOnce(&RawValue) -> Option<T>,
    ) -> Result<T, Error> {
        self.last_id += 1;
        let id = self.last_id.to_string();
        let mut command = command.clone();
        command["id"] = self.last_id.into();
        let deadline = Deadline::after(self.options.answer);
        let bytes = format!("{command}\r\n");
        self.lines
            .stream()
            .write_all(bytes.as_bytes(), deadline)
            .map_err(|error| no_line(NoLine::Io(error), asked, deadline, self.options.longest_line))?;
        loop {
            let line = next_line(&mut self.lines, asked, deadline)?;
            let unexpected = || Error::Unexpected {
                expected: format!("an answer to {asked}"),
                line: excerpt(line),
            };
            let message = parse(line, || format!("an answer to {asked}"))?;
            if message.event.is_some() || message.id.is_some_and(|theirs| theirs.get() != id) {
                continue;
            }
            if let Some(error) = message.error {
                let Failure { class, description } = read(error).ok_or_else(unexpected)?;
                return Err(Error::Failed {
                    asked: asked.to_owned(),
                    class,
                    description,
                });
            }
            return message.answer.and_then(take).ok_or_else(unexpected);
        }
    }
}

/// What QEMU says first.
fn greeting(lines: &mut Lines, deadline: Deadline) -> Result<Version, Error> {
    let line = next_line(lines, "the connection with a greeting", deadline)?;
    let message = parse(line, || "QEMU's greeting".to_owned())?;
    message
        .greeting
        .and_then(read::<Greeting>)
        .map(|greeting| greeting.version)
        .ok_or_else(|| Error::Unexpected {
            expected: "QEMU's greeting with its version".to_owned(),
            line: excerpt(line),
        })
}

fn next_line<'a>(lines: &'a mut Lines, asked: &str, deadline: Deadline) -> Result<&'a [u8], Error> {
    let longest = lines.longest();
    lines
        .next(deadline)
        .map_err(|reason| no_line(reason, asked, deadline, longest))
}

fn no_line(reason: NoLine, asked: &str, deadline: Deadline, limit: usize) -> Error {
    let asked = asked.to_owned();
    match reason {
        NoLine::TooLong => Error::LineTooLong { asked, limit },
        NoLine::Io(error) if error.kind() == ErrorKind::TimedOut => Error::Timeout {
            asked,
            waited: deadline.allowed,
        },
        // QEMU went away with something of ours unread.
        NoLine::Io(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
            Error::Closed { asked }
        }
        NoLine::Io(source) => Error::Io { asked, source },
        NoLine::Closed => Error::Closed { asked },
    }
}

fn parse(line: &[u8], asked: impl FnOnce() -> String) -> Result<Message<'_>, Error> {
    serde_json::from_slice(line).map_err(|source| Error::NotJson {
        asked: asked(),
        line: excerpt(line),
        source,
    })
}

fn read<T: DeserializeOwned>(value: &RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}

/// The beginning of a text, on one line.
fn excerpt(text: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&text[..text.len().min(SHOWN)]);
    let words: Vec<&str> = shown
        .split(char::is_whitespace)
        .filter(|word| !word.is_empty())
        .collect();
    let mut shown = String::new();
    for character in words.join(" ").chars() {
        if character.is_control() {
            // Not onto somebody's terminal.
            shown.extend(character.escape_debug());
        } else {
            shown.push(character);
        }
    }
    if shown.is_empty() {
        shown.push_str("nothing");
    }
    if text.len() > SHOWN {
        shown.push_str(" ...");
    }
    shown
}

/// Whether this is what `info mtree` prints, of any version and with any flags, and no complaint.
///
/// Each way of complaining is a sentence of its own and they differ by version; a dump is easier to tell. Every
/// region stands there with its priority, and where there is none, at least a heading is.
fn is_dump(answer: &str) -> bool {
    answer.contains("(prio ")
        || answer
            .lines()
            .any(|line| line.starts_with("address-space") || line.starts_with("FlatView #"))
}

#[cfg(test)]
#[path = "client_test.rs"]
mod tests;
