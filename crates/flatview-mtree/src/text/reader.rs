//! Dumps from a stream, one at a time.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};
use std::num::NonZeroU32;

use super::dispatch::SECTIONS;
use super::dump::{Dump, VIEW};
use super::error::ParseError;
use super::parse::parse_lines;
use super::split::{PROMPT, Role, Splitter, is_orphan};

/// Reads dumps one at a time, so that memory is needed for the largest of them only, however many there are and
/// whatever stands between them.
///
/// ```
/// use flatview_mtree::text::Reader;
///
/// let file = "FlatView #0\n AS \"memory\", root: system\n Root memory region: (none)\n  No rendered FlatView\n\n";
/// let many = file.repeat(3);
/// let mut dumps = 0;
/// for text in Reader::new(many.as_bytes()) {
///     assert!(text?.parse()?.is_some_and(|dump| dump.to_string() == file));
///     dumps += 1;
/// }
/// assert_eq!(dumps, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    splitter: Splitter,
    /// Lines that were read.
    lines: u32,
    /// The dump that has begun.
    text: DumpText,
    line: Vec<u8>,
    ended: bool,
}

/// The text of one dump, without what stood around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpText {
    text: String,
    /// Where lines were left out: the line of `text`, counted from 0, and its number in the stream.
    numbers: Vec<(u32, u32)>,
    lines: u32,
}

/// With which flags of `info mtree` a dump was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DumpKind {
    /// `-f`.
    pub flat: bool,
    /// `-d`.
    pub dispatch: bool,
    /// `-o`.
    pub owners: bool,
    /// `-D`; a machine without a disabled region looks the same both ways.
    pub disabled: bool,
}

/// Lines of dumps are not longer than that, in bytes.
pub const MOST_LINE: u64 = 1 << 20;

impl<R: BufRead> Reader<R> {
    /// Reads from a stream.
    pub fn new(from: R) -> Reader<R> {
        Reader {
            from,
            splitter: Splitter::default(),
            lines: 0,
            text: DumpText::default(),
            line: Vec::new(),
            ended: false,
        }
    }

    /// The next line, cut off at the most that is allowed; `false` at the end.
    fn next_line(&mut self) -> io::Result<bool> {
        self.line.clear();
        let read = (&mut self.from)
            .take(MOST_LINE)
            .read_until(b'\n', &mut self.line)?;
        if read as u64 == MOST_LINE && !self.line.ends_with(b"\n") {
            self.from.skip_until(b'\n')?;
        }
        self.lines = self.lines.saturating_add(1);
        Ok(read > 0)
    }

    fn next_dump(&mut self) -> io::Result<Option<DumpText>> {
        while self.next_line()? {
            let line = match std::str::from_utf8(&self.line) {
                Ok(line) => Cow::Borrowed(line),
                Err(_) => String::from_utf8_lossy(&self.line),
            };
            let line = line.trim_end_matches('\n').trim_end_matches('\r');
            let done = match self.splitter.look(line) {
                Role::Heading {
                    begins_dump: true, ..
                } => {
                    let done = std::mem::take(&mut self.text);
                    self.text.push(self.lines, line);
                    done
                }
                // What will be an error is to be one with the line's number.
                Role::Noise if !is_orphan(line) => continue,
                _ => {
                    self.text.push(self.lines, line);
                    continue;
                }
            };
            if !done.text.is_empty() {
                return Ok(Some(done));
            }
        }
        self.ended = true;
        let last = std::mem::take(&mut self.text);
        Ok((!last.text.is_empty()).then_some(last))
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = io::Result<DumpText>;

    fn next(&mut self) -> Option<io::Result<DumpText>> {
        if self.ended {
            return None;
        }
        let next = self.next_dump();
        self.ended |= next.is_err();
        next.transpose()
    }
}

impl DumpText {
    fn push(&mut self, number: u32, line: &str) {
        let expected = self
            .numbers
            .last()
            .map(|&(first, number)| number + (self.lines - first));
        if expected != Some(number) {
            self.numbers.push((self.lines, number));
        }
        self.text.push_str(line);
        self.text.push('\n');
        self.lines += 1;
    }

    /// The line of the stream where it begins, from 1 on.
    pub fn number(&self) -> NonZeroU32 {
        let number = self
            .numbers
            .first()
            .and_then(|&(_, number)| NonZeroU32::new(number));
        number.unwrap_or(NonZeroU32::MIN)
    }

    /// With which flags it was printed, as far as a glance tells.
    pub fn kind(&self) -> DumpKind {
        let has = |text: &str| self.text.contains(text);
        DumpKind {
            flat: self
                .text
                .trim_start_matches([' ', '\t', '>'])
                .trim_start_matches(PROMPT)
                .starts_with(VIEW),
            dispatch: has(SECTIONS),
            owners: has(" owner:{") || has(" orphan\n") || has(" parent:{"),
            disabled: has(" [disabled]"),
        }
    }

    /// The text, every line ended by `\n`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Parses it. Numbers of lines are those of the stream.
    ///
    /// `None` does not come from a [`Reader`]: only a text without a heading is no dump.
    ///
    /// # Errors
    ///
    /// As [`parse`](super::parse).
    pub fn parse(&self) -> Result<Option<Dump<'_>>, ParseError> {
        let mut runs = self.numbers.iter().copied().peekable();
        let (mut first, mut number) = (0, 1);
        let lines = self.text.lines().zip(0..).map(move |(line, index)| {
            if let Some(run) = runs.next_if(|&(first, _)| first == index) {
                (first, number) = run;
            }
            (line, number + (index - first))
        });
        Ok(parse_lines(lines)?.pop())
    }
}
