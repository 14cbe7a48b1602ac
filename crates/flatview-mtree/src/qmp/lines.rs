//! Lines of a bounded length, in a bounded time.

use std::io;

use super::stream::{Deadline, Stream};

/// What is asked of the operating system at a time.
const CHUNK: usize = 64 << 10;

/// The connection, and what was read of it but not used yet.
#[derive(Debug)]
pub(super) struct Lines {
    stream: Stream,
    buffer: Vec<u8>,
    /// The bytes of the buffer that were given out already.
    used: usize,
    longest: usize,
}

/// Why there is no line.
#[derive(Debug)]
pub(super) enum NoLine {
    Closed,
    TooLong,
    Io(io::Error),
}

impl Lines {
    pub(super) fn new(stream: Stream, longest: usize) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            used: 0,
            longest,
        }
    }

    #[cfg(test)]
    pub(super) fn set_longest(&mut self, longest: usize) {
        self.longest = longest;
    }

    /// The longest line that is taken.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    pub(super) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// The next line, without its end. After a failure of time what has come of it is kept.
    pub(super) fn next(&mut self, deadline: Deadline) -> Result<&[u8], NoLine> {
        // What was given out goes, and so does what it took, if that was much.
        self.buffer.drain(..self.used);
        self.used = 0;
        self.buffer.shrink_to(4 * CHUNK);
        let mut searched = 0;
        let end = loop {
            if let Some(end) = self.buffer[searched..].iter().position(|&byte| byte == b'\n') {
                break searched + end;
            }
            searched = self.buffer.len();
            if searched > self.longest {
                return Err(NoLine::TooLong);
            }
            self.fill(deadline)?;
        };
        if end > self.longest {
            return Err(NoLine::TooLong);
        }
        self.used = end + 1;
        let line = &self.buffer[..end];
        Ok(line.strip_suffix(b"\r").unwrap_or(line))
    }

    fn fill(&mut self, deadline: Deadline) -> Result<(), NoLine> {
        let old = self.buffer.len();
        self.buffer.resize(old + CHUNK, 0);
        let read = self.stream.read(&mut self.buffer[old..], deadline);
        self.buffer.truncate(old + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(NoLine::Closed),
            Ok(_) => Ok(()),
            Err(error) => Err(NoLine::Io(error)),
        }
    }
}
