//! All that is known of a box, in words: for its title.

use std::fmt::{self, Write};

use flatview::AddressRange;

use super::text::{Escaped, first, human};
use super::tree::{Node, Tree, parent};
use crate::layout::{AliasOf, Kind, Layout, Placement, Seen};

/// How many ranges, and how many regions around it, a title tells at most.
const MOST: usize = 6;
/// How many characters of the name of another region a title tells.
const OTHER: usize = 60;

/// What a kind is called.
pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Container => "container",
        Kind::Alias => "alias",
        Kind::Ram => "ram",
        Kind::Rom => "rom",
        Kind::RamDevice => "ram device",
        Kind::RomDevice => "rom device",
        Kind::Io => "i/o",
    }
}

/// Where an alias leads to.
pub(super) fn target(alias: &AliasOf) -> String {
    match alias.offset {
        0 => format!("→ {}", first(&alias.target, OTHER)),
        offset => format!("→ {}+{offset:#x}", first(&alias.target, OTHER)),
    }
}

/// A range and its size.
pub(super) fn range(range: AddressRange) -> String {
    format!("{range} ({})", human(range.size().bytes()))
}

/// The title of a range of the flat view.
pub(super) fn seen(f: &mut dyn Write, seen: &Seen) -> fmt::Result {
    writeln!(f, "{}", Escaped(&seen.region))?;
    writeln!(f, "flat view, {}", range(seen.range))?;
    let nonvolatile = if seen.nonvolatile { "non-volatile " } else { "" };
    writeln!(f, "answers as {nonvolatile}{}", kind(seen.kind))?;
    write!(f, "from its byte {:#x} on", seen.offset)
}

/// The title of a box or frame.
pub(super) fn node(f: &mut dyn Write, layout: &Layout, tree: &Tree<'_>, node: &Node<'_>) -> fmt::Result {
    let (front, back) = (node.front, node.back);
    write!(f, "{}", Escaped(&front.name))?;
    if let Some(alias) = &front.alias {
        write!(f, " {}", Escaped(&target(alias)))?;
    }
    writeln!(f)?;
    let disabled = if front.enabled { "" } else { "disabled " };
    let what = kind(node.kind());
    let seen_through = if node.is_alias() && what != "alias" {
        "alias of "
    } else {
        ""
    };
    writeln!(f, "{disabled}{seen_through}{what}, {}", range(node.whole()))?;
    match parent(front, node.front_index).map(|parent| &layout.placements[parent]) {
        None => writeln!(f, "the root")?,
        Some(parent) if parent.alias.is_some() => {
            writeln!(f, "shown by {}", Escaped(&first(&parent.name, OTHER)))?;
        }
        Some(parent) => {
            let name = first(&parent.name, OTHER);
            writeln!(f, "priority {} in {}", front.priority, Escaped(&name))?;
        }
    }
    ways(f, layout, tree, node)?;
    if front
        .window
        .is_some_and(|window| front.span.within_space() != Some(window))
    {
        writeln!(f, "cut: all of it would be {}", front.span)?;
    }
    if matches!(node.kind(), Kind::Container | Kind::Alias) {
        // In front of it, or behind where it lets through.
        others(f, "others answer at", back)?;
    } else {
        answers(f, back)?;
        others(f, "hidden at", back)?;
    }
    if let Some(line) = front.line {
        writeln!(f, "line {line} of the dump")?;
    }
    Ok(())
}

/// What it is in, and the arithmetic of the aliases.
fn ways(f: &mut dyn Write, layout: &Layout, tree: &Tree<'_>, node: &Node<'_>) -> fmt::Result {
    let mut at = Some(node.back_index);
    while let Some(index) = at.filter(|&index| index >= node.front_index) {
        let placement = &layout.placements[index];
        if let (Some(alias), Some(window)) = (&placement.alias, placement.window) {
            let name = first(&alias.target, OTHER);
            let target = Escaped(&name);
            let begin = alias.offset;
            write!(f, "its byte 0 is byte {begin:#x} of {target}")?;
            let own = placement.span.offset_of(window.start());
            match own.and_then(|own| Some((own, own.checked_add(begin)?))) {
                Some((own, byte)) if own != 0 || begin != window.start() => writeln!(
                    f,
                    ": address {:#x} is byte {own:#x} + {begin:#x} = {byte:#x}",
                    window.start()
                )?,
                _ => writeln!(f)?,
            }
        }
        at = parent(placement, index);
    }
    let around = |&node: &usize| tree.nodes[node].parent;
    let names: Vec<_> = std::iter::successors(node.parent, around)
        .take(MOST + 1)
        .map(|node| first(&tree.nodes[node].front.name, OTHER))
        .collect();
    if !names.is_empty() {
        write!(f, "in ")?;
        if names.len() > MOST {
            write!(f, "… › ")?;
        }
        let names: Vec<_> = names
            .iter()
            .take(MOST)
            .rev()
            .map(|name| Escaped(name).to_string())
            .collect();
        writeln!(f, "{}", names.join(" › "))?;
    }
    Ok(())
}

fn answers(f: &mut dyn Write, placement: &Placement) -> fmt::Result {
    match &placement.shown[..] {
        [] => writeln!(f, "answers nowhere"),
        [all] if Some(*all) == placement.window => writeln!(f, "answers at all of it"),
        shown => {
            write!(f, "answers at ")?;
            list(f, shown, |f, range| write!(f, "{range}"))
        }
    }
}

fn others(f: &mut dyn Write, what: &str, placement: &Placement) -> fmt::Result {
    if placement.hidden.is_empty() {
        return Ok(());
    }
    write!(f, "{what} ")?;
    list(f, &placement.hidden, |f, hidden| {
        write!(f, "{} by {}", hidden.range, Escaped(&first(&hidden.by, OTHER)))
    })
}

fn list<T>(
    f: &mut dyn Write,
    items: &[T],
    mut write: impl FnMut(&mut dyn Write, &T) -> fmt::Result,
) -> fmt::Result {
    for (at, item) in items.iter().take(MOST).enumerate() {
        if at > 0 {
            f.write_str(", ")?;
        }
        write(f, item)?;
    }
    match items.len().saturating_sub(MOST) {
        0 => writeln!(f),
        more => writeln!(f, " and {more} more"),
    }
}
