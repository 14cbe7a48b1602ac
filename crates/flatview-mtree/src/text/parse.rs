//! From text to dumps.

use super::cursor::{Cursor, Expected};
use super::dispatch::{DISPATCH, Dispatch, EntryLine, Node, NodesLine, SECTIONS, SectionLine};
use super::dump::{
    Dump, EMPTY, FlatDump, Group, Heading, OVERFLOW, REGION, ROOT, SPACE, TreeDump, VIEW, View,
};
use super::error::ParseError;
use super::lines::{RangeLine, RegionLine, SpaceLine};
use super::split::{Role, Splitter, is_orphan};

/// The dumps in a text, in order.
///
/// What is around dumps and between their blocks is skipped: prompts, logs, prose. Lines may end with `\r\n`, and
/// all lines of a block may be indented or quoted (`> `) alike. A dump ends where a line has the monitor's prompt,
/// where the next begins (`FlatView #0`; an address space after the first region; a space of which a QEMU has but one,
/// such as `memory`, for the second time), or with the text. The texts of two machines without a single alias, one behind the other without
/// anything in between, may be cut in the wrong place by that.
///
/// # Errors
///
/// [`ParseError`] for a line below a heading that is not as QEMU prints it, or a region's line under no heading.
///
/// ```
/// use flatview_mtree::text::{Dump, parse};
///
/// let text = "\
/// QEMU 10.0.2 monitor - type 'help' for more information\r
/// (qemu) info mtree\r
/// address-space: memory\r
///   0000000000000000-ffffffffffffffff (prio 0, i/o): system\r
///     0000000000000000-0000000007ffffff (prio 0, ram): pc.ram\r
/// \r
/// (qemu) quit\r
/// ";
/// let dumps = parse(text)?;
/// let [Dump::Tree(tree)] = &dumps[..] else { panic!("one tree") };
/// assert_eq!(tree.lines().nth(1).unwrap().line.name, "pc.ram");
/// assert_eq!(tree.to_string().lines().count(), 4, "printed as QEMU would");
/// # Ok::<(), flatview_mtree::text::ParseError>(())
/// ```
pub fn parse(text: &str) -> Result<Vec<Dump<'_>>, ParseError> {
    parse_lines(text.lines().zip(1..))
}

/// As [`parse`], for numbered lines without their line feeds.
pub(super) fn parse_lines<'a>(
    lines: impl Iterator<Item = (&'a str, u32)>,
) -> Result<Vec<Dump<'a>>, ParseError> {
    let mut splitter = Splitter::default();
    let mut dumps: Vec<Dump<'a>> = Vec::new();
    let mut last = (0, "");
    for (line, number) in lines {
        let line = line.trim_end_matches('\r');
        let at =
            |expected: Expected, text: &str| ParseError::new(number, line, line.len() - text.len(), expected);
        let role = splitter.look(line);
        if !matches!(role, Role::Body(_)) {
            end(&dumps, last)?;
        }
        match role {
            Role::Heading { text, begins_dump } => {
                if begins_dump {
                    dumps.push(match text.starts_with(VIEW) {
                        true => Dump::Flat(FlatDump::default()),
                        false => Dump::Tree(TreeDump::default()),
                    });
                }
                if let Some(dump) = dumps.last_mut() {
                    dump.head(number, text).map_err(|expected| at(expected, text))?;
                }
            }
            Role::Body(text) => {
                if let Some(dump) = dumps.last_mut() {
                    dump.take(number, text).map_err(|expected| at(expected, text))?;
                }
            }
            Role::Interruption | Role::Noise if is_orphan(line) => {
                let what =
                    "a heading (`address-space: `, `memory-region: ` or `FlatView #`) before this region";
                return Err(at(Expected { at: 0, what }, line));
            }
            Role::End | Role::Interruption | Role::Noise => {}
        }
        last = (number, line);
    }
    end(&dumps, last)?;
    Ok(dumps)
}

/// What was read must be whole; `last` is its last line.
fn end(dumps: &[Dump<'_>], (number, line): (u32, &str)) -> Result<(), ParseError> {
    let view = dumps
        .last()
        .and_then(Dump::flat)
        .and_then(|flat| flat.views.last());
    if view.is_some_and(|view| !view.has_root) {
        let what = "a line with ` Root memory region: ` and a name below";
        return Err(ParseError::new(
            number,
            line,
            0,
            Expected { at: line.len(), what },
        ));
    }
    Ok(())
}

impl<'a> Dump<'a> {
    fn head(&mut self, number: u32, text: &'a str) -> Result<(), Expected> {
        match self {
            Dump::Tree(tree) => {
                tree.head(number, text);
                Ok(())
            }
            Dump::Flat(flat) => {
                let mut cursor = Cursor::new(text, VIEW.len());
                let index = cursor.number()?;
                flat.views.push(View {
                    number,
                    index,
                    spaces: Vec::new(),
                    root: "",
                    has_root: false,
                    ranges: Vec::new(),
                    dispatch: None,
                });
                Ok(())
            }
        }
    }

    fn take(&mut self, number: u32, text: &'a str) -> Result<(), Expected> {
        match self {
            Dump::Tree(tree) => tree
                .groups
                .last_mut()
                .map_or(Ok(()), |group| group.take(number, text)),
            Dump::Flat(flat) => flat
                .views
                .last_mut()
                .map_or(Ok(()), |view| view.take(number, text)),
        }
    }
}

impl<'a> TreeDump<'a> {
    fn head(&mut self, number: u32, text: &'a str) {
        let heading = match text.strip_prefix(SPACE) {
            Some(name) => {
                // Names of spaces that share a root stand in a row.
                if let Some(group) = self.groups.last_mut()
                    && let Heading::Spaces(names) = &mut group.heading
                    && u32::try_from(names.len()).is_ok_and(|count| group.number + count == number)
                {
                    names.push(name);
                    return;
                }
                Heading::Spaces(vec![name])
            }
            None => Heading::Region(text.strip_prefix(REGION).unwrap_or_default()),
        };
        self.groups.push(Group {
            number,
            heading,
            lines: Vec::new(),
            overflows: 0,
        });
    }
}

impl<'a> Group<'a> {
    fn take(&mut self, number: u32, text: &'a str) -> Result<(), Expected> {
        let mut cursor = Cursor::new(text, 0);
        let mut overflows = 0;
        while cursor.eat(OVERFLOW) {
            overflows += 1;
        }
        if overflows > 0 && cursor.rest().is_empty() {
            self.overflows += overflows;
            return Ok(());
        }
        self.lines.push(RegionLine::parse(number, overflows, cursor)?);
        Ok(())
    }
}

impl<'a> View<'a> {
    fn take(&mut self, number: u32, text: &'a str) -> Result<(), Expected> {
        let cursor = Cursor::new(text, 0);
        if let Some(dispatch) = &mut self.dispatch {
            return dispatch.take(text, cursor);
        }
        if !self.has_root {
            if let Some(root) = text.strip_prefix(ROOT) {
                (self.root, self.has_root) = (root, true);
            } else {
                self.spaces.push(SpaceLine::parse(cursor)?);
            }
        } else if text == DISPATCH {
            self.dispatch = Some(Dispatch::default());
        } else if text != EMPTY || !self.ranges.is_empty() {
            let range = RangeLine::parse(number, cursor)?;
            if self
                .ranges
                .last()
                .is_some_and(|before| before.line.last >= range.line.start)
            {
                let what = "a range above the one before it";
                return Err(Expected { at: 2, what });
            }
            self.ranges.push(range);
        }
        Ok(())
    }
}

impl<'a> Dispatch<'a> {
    fn take(&mut self, text: &'a str, cursor: Cursor<'a>) -> Result<(), Expected> {
        if text == SECTIONS && self.sections.is_empty() {
        } else if text.starts_with(NodesLine::START) {
            self.root = NodesLine::parse(cursor)?;
        } else if text.starts_with(Node::START) {
            self.nodes.push(Node::parse(cursor)?);
        } else if let Some(node) = self.nodes.last_mut() {
            node.entries.push(EntryLine::parse(cursor)?);
        } else {
            self.sections.push(SectionLine::parse(cursor)?);
        }
        Ok(())
    }
}
