//! Where one dump ends and the next begins, and what is no dump at all.

use std::collections::BTreeSet;

use super::dump::{OVERFLOW, REGION, SPACE, VIEW};

/// Goes through a text line by line and tells what each is.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    kind: Option<Kind>,
    /// How many bytes stand before each line of the block: a quotation mark, or the indentation of a listing.
    prefix: Option<usize>,
    /// Something that is no dump came since the last block; a prompt, and there is an end to the dump.
    prompted: bool,
    /// Trees of alias targets come last.
    has_regions: bool,
    /// The spaces that were met of which a QEMU has one.
    unique: BTreeSet<String>,
    /// The last line was a heading.
    after_heading: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tree,
    Flat,
}

/// What a line is. Texts are without the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role<'a> {
    /// A heading.
    Heading {
        /// The heading, from its first word on.
        text: &'a str,
        /// A dump begins with it.
        begins_dump: bool,
    },
    /// A line below a heading.
    Body(&'a str),
    /// The empty line that ends a tree or a view.
    End,
    /// Something else where a line of the block could stand.
    Interruption,
    /// Something else.
    Noise,
}

/// Whether a QEMU has one space of that name only. A space of a device is called as the device, and there may be
/// many of it.
fn is_unique(name: &str) -> bool {
    matches!(name, "memory" | "I/O") || name.starts_with("cpu-memory-")
}

impl Splitter {
    /// The role of the next line, which is without its line feed.
    pub(super) fn look<'a>(&mut self, line: &'a str) -> Role<'a> {
        if let Some(at) = heading(line) {
            return self.heading(line, at);
        }
        self.after_heading = false;
        let Some(prefix) = self.prefix else {
            self.prompted |= line.contains(PROMPT);
            return Role::Noise;
        };
        // A blank line may have lost what the others begin with.
        let body = line.get(prefix..).unwrap_or_default();
        if body.trim_end().is_empty() {
            self.prefix = None;
            return Role::End;
        }
        if body.starts_with([' ', '\t']) || body.starts_with(OVERFLOW) {
            return Role::Body(body);
        }
        self.prefix = None;
        self.prompted |= line.contains(PROMPT);
        Role::Interruption
    }

    fn heading<'a>(&mut self, line: &'a str, at: usize) -> Role<'a> {
        let text = &line[at..];
        // A prompt stands before the first line only.
        self.prompted |= line[..at].contains(PROMPT);
        self.prefix = Some(line[..at].find(PROMPT).unwrap_or(at));
        let kind = if text.starts_with(VIEW) {
            Kind::Flat
        } else {
            Kind::Tree
        };
        let space = text.strip_prefix(SPACE);
        let unique = space.filter(|name| is_unique(name));
        let begins_dump = self.kind != Some(kind)
            || self.prompted
            || text.strip_prefix(VIEW) == Some("0")
            || space.is_some() && self.has_regions
            || !self.after_heading && unique.is_some_and(|name| self.unique.contains(name));
        if begins_dump {
            *self = Splitter {
                kind: Some(kind),
                prefix: self.prefix,
                ..Splitter::default()
            };
        }
        self.after_heading = true;
        self.has_regions |= text.starts_with(REGION);
        self.unique.extend(unique.map(str::to_owned));
        Role::Heading { text, begins_dump }
    }
}

/// The monitor's. What was typed behind it comes with sequences that move the cursor, so that it is no use.
pub(super) const PROMPT: &str = "(qemu) ";

/// Where a heading begins: at the beginning, or behind spaces, quotation marks and a prompt.
fn heading(line: &str) -> Option<usize> {
    let rest = line.trim_start_matches([' ', '\t', '>']);
    let rest = rest.strip_prefix(PROMPT).unwrap_or(rest);
    let is = [SPACE, REGION].iter().any(|start| rest.starts_with(start))
        || rest
            .strip_prefix(VIEW)
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()));
    is.then_some(line.len() - rest.len())
}

/// Whether a line that stands under no heading is one of a region all the same, so that something is missing.
pub(super) fn is_orphan(line: &str) -> bool {
    let rest = line.trim_start_matches([' ', '\t', '>']);
    let rest = rest.strip_prefix(OVERFLOW).unwrap_or(rest).trim_start();
    rest.len() < line.len()
        && rest
            .split_once(" (prio ")
            .is_some_and(|(range, _)| range.len() == 16 + 1 + 16)
}
