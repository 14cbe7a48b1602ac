//! The kinds of line that `info mtree` prints, each read and written.

use std::fmt;

use flatview::mtree::{AliasWindow, FlatLine, TreeLine};

use super::cursor::{Cursor, Expected};

/// A region in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionLine<'a> {
    /// The line of the text where it stands, from 1 on.
    pub number: u32,
    /// All of it but the owner.
    pub line: TreeLine<'a>,
    /// What `-o` adds, with the space before it: ` owner:{dev id=nic}`, ` orphan`; empty without `-o`.
    pub owner: &'a str,
}

/// A range of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeLine<'a> {
    /// The line of the text where it stands, from 1 on.
    pub number: u32,
    /// All of it but the owner and the marks.
    pub line: FlatLine<'a>,
    /// As in [`RegionLine::owner`].
    pub owner: &'a str,
    /// How often ` KVM` stands behind it: once for each space in which KVM has just this range as a slot.
    pub kvm: u32,
}

/// An address space that shows a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceLine<'a> {
    /// Its name.
    pub name: &'a str,
    /// The name of its root.
    pub root: &'a str,
    /// What the root shows, if it is an alias.
    pub alias: Option<&'a str>,
}

impl<'a> RegionLine<'a> {
    /// The line of a region, of which the marks of overflows have been read already.
    pub(super) fn parse(number: u32, overflows: u32, mut text: Cursor<'a>) -> Result<Self, Expected> {
        let mut level = 0;
        while text.eat("  ") {
            level += 1;
        }
        let (start, last, priority, nonvolatile, type_name) = range(&mut text)?;
        let (mut body, owner) = split_owner(text.rest());
        let disabled = body.strip_suffix(" [disabled]");
        body = disabled.unwrap_or(body);
        let (name, alias) = match body.strip_prefix("alias ").and_then(alias) {
            Some((name, window)) => (name, Some(window)),
            None => (body, None),
        };
        if level == 0 {
            let what = "two spaces for each container around the region";
            return Err(Expected { at: 0, what });
        }
        Ok(RegionLine {
            number,
            line: TreeLine {
                overflows,
                level,
                start,
                last,
                priority,
                nonvolatile,
                type_name,
                name,
                alias,
                disabled: disabled.is_some(),
            },
            owner,
        })
    }
}

impl<'a> RangeLine<'a> {
    pub(super) fn parse(number: u32, mut text: Cursor<'a>) -> Result<Self, Expected> {
        text.expect("  ", "a range of the view, behind two spaces")?;
        let (start, last, priority, nonvolatile, type_name) = range(&mut text)?;
        let mut body = text.rest();
        let mut kvm = 0;
        while let Some(before) = body.strip_suffix(" KVM") {
            body = before;
            kvm += 1;
        }
        let (body, owner) = split_owner(body);
        let offset = body.rsplit_once(" @").and_then(|(name, digits)| {
            let mut digits = Cursor::new(digits, 0);
            let offset = digits.hex16().ok()?;
            // What is not written again as it was is a part of the name.
            (digits.rest().is_empty() && offset != 0).then_some((name, offset))
        });
        let (name, offset) = offset.unwrap_or((body, 0));
        if last < start {
            let what = "a last address that is not below the first";
            return Err(Expected { at: 2 + 16 + 1, what });
        }
        Ok(RangeLine {
            number,
            line: FlatLine {
                start,
                last,
                priority,
                nonvolatile,
                type_name,
                name,
                offset,
            },
            owner,
            kvm,
        })
    }
}

impl<'a> SpaceLine<'a> {
    pub(super) fn parse(mut text: Cursor<'a>) -> Result<Self, Expected> {
        const WHAT: &str = "an address space: AS \"NAME\", root: NAME";
        text.expect(" AS \"", WHAT)?;
        let name = text.until("\", root: ", WHAT)?;
        let (root, alias) = match text.rest().split_once(", alias ") {
            Some((root, alias)) => (root, Some(alias)),
            None => (text.rest(), None),
        };
        Ok(SpaceLine { name, root, alias })
    }
}

impl fmt::Display for RegionLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.line, self.owner)
    }
}

impl fmt::Display for RangeLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.line, self.owner)?;
        (0..self.kvm).try_for_each(|_| f.write_str(" KVM"))
    }
}

impl fmt::Display for SpaceLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " AS \"{}\", root: {}", self.name, self.root)?;
        self.alias.map_or(Ok(()), |alias| write!(f, ", alias {alias}"))
    }
}

/// From the first address to the colon and the space behind the type.
fn range<'a>(text: &mut Cursor<'a>) -> Result<(u64, u64, i32, bool, &'a str), Expected> {
    let start = text.hex16()?;
    text.expect("-", "`-` and the last address")?;
    let last = text.hex16()?;
    text.expect(" (prio ", "` (prio `")?;
    let priority = text.number()?;
    text.expect(", ", "`, ` and the type")?;
    let nonvolatile = text.eat("nv-");
    let type_name = TYPES.into_iter().find(|name| text.eat(name));
    let Some(type_name) = type_name else {
        return text.expected("a type: ramd, romd, rom, ram or i/o (RW, R-, -W or -- before QEMU 2.9)");
    };
    text.expect("): ", "`): ` and the name")?;
    Ok((start, last, priority, nonvolatile, type_name))
}

/// Those of today, the most frequent one first, and those of QEMU before 2.9, which said what a guest may do.
const TYPES: [&str; 9] = ["i/o", "ramd", "ram", "romd", "rom", "RW", "R-", "-W", "--"];

/// What stands behind `alias `: the name, and what it shows.
fn alias(body: &str) -> Option<(&str, AliasWindow<'_>)> {
    let (names, range) = body.split_at_checked(body.len().checked_sub(" ".len() + 16 + 1 + 16)?)?;
    let mut range = Cursor::new(range, 0);
    range.eat(" ").then_some(())?;
    let first = range.hex16().ok()?;
    range.eat("-").then_some(())?;
    let last = range.hex16().ok()?;
    let (name, target) = names.split_once(" @")?;
    Some((name, AliasWindow { target, first, last }))
}

/// The body of a line, and what `-o` added to it.
fn split_owner(body: &str) -> (&str, &str) {
    let bytes = body.as_bytes();
    let mut end = body.len();
    if let Some(before) = body.strip_suffix(" orphan") {
        return body.split_at(before.len());
    }
    for opening in [" parent:{", " owner:{"] {
        if end > 0
            && bytes[end - 1] == b'}'
            && let Some(at) = body[..end].rfind(opening)
            && is_reference(&body[at + opening.len()..end - 1])
        {
            end = at;
        }
    }
    body.split_at(end)
}

/// What stands in the braces.
fn is_reference(text: &str) -> bool {
    let kind = text.strip_prefix("dev ").or_else(|| text.strip_prefix("obj "));
    let is = |kind: &str| ["id=", "path=", "type="].iter().any(|how| kind.starts_with(how));
    kind.is_some_and(is) && !text.contains('}')
}
