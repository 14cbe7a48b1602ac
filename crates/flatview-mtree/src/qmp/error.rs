//! Why a question to QEMU got no answer.

use std::io;
use std::time::Duration;

use thiserror::Error;

/// Why a question to QEMU got no answer: what was asked, and what came instead.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nobody at the address, or they let nobody in.
    #[error("cannot connect to {address}")]
    Connect {
        /// The address.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// Somebody listens, but says nothing.
    #[error(
        "{address} did not greet within {} s: either another client has the socket, for QMP serves one at a \
         time, or QEMU hangs, or it is no QMP socket",
        .waited.as_secs_f64()
    )]
    NoGreeting {
        /// The address.
        address: String,
        /// The time it had.
        waited: Duration,
    },
    /// The answer did not come, or not all of it.
    #[error("no answer to {asked} within {} s", .waited.as_secs_f64())]
    Timeout {
        /// What was asked.
        asked: String,
        /// The time it had.
        waited: Duration,
    },
    /// QEMU ended, or another client threw us out.
    #[error("QEMU closed the connection before it answered {asked}")]
    Closed {
        /// What was asked.
        asked: String,
    },
    /// The connection failed.
    #[error("the connection failed at {asked}")]
    Io {
        /// What was asked.
        asked: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A line is longer than we are willing to remember.
    #[error("the line that should answer {asked} is longer than {limit} bytes")]
    LineTooLong {
        /// What was asked.
        asked: String,
        /// The limit: see [`Options::longest_line`](super::Options::longest_line).
        limit: usize,
    },
    /// A line is no message of QMP. A human monitor's socket begins with such a line.
    #[error("expected {asked} as an object of JSON, but this came: {line}")]
    NotJson {
        /// What was asked.
        asked: String,
        /// The line, or how it begins.
        line: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A line is JSON, but neither an answer nor an event, or the answer is not of the type that it should be.
    #[error("expected {expected}, but this came: {line}")]
    Unexpected {
        /// What should have come.
        expected: String,
        /// The line, or how it begins.
        line: String,
    },
    /// QEMU answered with an error.
    #[error("QEMU cannot do {asked}: {description} ({class})")]
    Failed {
        /// What was asked.
        asked: String,
        /// QEMU's class of the error, such as `GenericError` or `CommandNotFound`.
        class: String,
        /// QEMU's words.
        description: String,
    },
    /// The human monitor answered, but with a complaint and not with a dump. This is how a QEMU that is too old for
    /// a flag says so.
    #[error("QEMU does not do `{command}`: {answer}")]
    Refused {
        /// The command line.
        command: String,
        /// What the monitor said, or how it begins.
        answer: String,
    },
}
