//! What is wrong with a text.

use std::fmt;

use super::cursor::Expected;

/// A line is not as `info mtree` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The line, from 1 on.
    pub line: u32,
    /// The column, in characters from 1 on; one more than the line has if something is missing at its end.
    pub column: usize,
    /// What was expected there.
    pub expected: &'static str,
    /// What stands there: as much of it as helps.
    pub found: String,
}

impl ParseError {
    /// The line without a prefix of `skipped` bytes is what was read.
    pub(super) fn new(number: u32, line: &str, skipped: usize, expected: Expected) -> ParseError {
        let at = (skipped + expected.at).min(line.len());
        let (before, rest) = line.split_at_checked(at).unwrap_or((line, ""));
        ParseError {
            line: number,
            column: before.chars().count() + 1,
            expected: expected.what,
            found: rest.chars().take(MOST_FOUND).collect(),
        }
    }
}

const MOST_FOUND: usize = 40;

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}, column {}: expected {}, ",
            self.line, self.column, self.expected
        )?;
        match self.found.as_str() {
            "" => f.write_str("found the end of the line"),
            found => write!(f, "found {found:?}"),
        }
    }
}

impl std::error::Error for ParseError {}
