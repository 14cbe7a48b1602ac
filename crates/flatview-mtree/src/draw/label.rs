//! The names in boxes and on the bars of frames.

use std::fmt::{self, Write};

use super::details;
use super::paint::{FONT, SMALL};
use super::text::{Escaped, first, human, shorten, width};
use super::tree::Node;

/// Writes the name of a node, and what else fits, to the right of `x`.
pub(super) fn write(f: &mut dyn Write, node: &Node<'_>, x: u64, room: u64, top: u64) -> fmt::Result {
    let mut name = first(&node.front.name, 200);
    if let Some(alias) = &node.front.alias {
        name = format!("{name} {}", details::target(alias));
    }
    let name = shorten(&name, FONT, room);
    if name.is_empty() {
        return Ok(());
    }
    if node.is_frame() {
        let used = width(&name, FONT) + 10;
        let facts = facts(node, room.saturating_sub(used));
        write!(
            f,
            r#"<text x="{x}" y="{}">{}<tspan class="facts" dx="8">{}</tspan></text>"#,
            top + 14,
            Escaped(&name),
            Escaped(&facts)
        )
    } else {
        let facts = facts(node, room);
        write!(f, r#"<text x="{x}" y="{}">{}</text>"#, top + 14, Escaped(&name))?;
        write!(
            f,
            r#"<text class="facts" x="{x}" y="{}">{}</text>"#,
            top + 27,
            Escaped(&facts)
        )
    }
}

/// What the label of a node tells besides the name: as much as fits, the most telling first.
fn facts(node: &Node<'_>, room: u64) -> String {
    let size = human(node.whole().size().bytes());
    let kind = details::kind(node.kind());
    let kind = if node.front.enabled {
        kind.to_owned()
    } else {
        format!("disabled {kind}")
    };
    let priority = match node.front.priority {
        0 => String::new(),
        priority => format!(" · prio {priority}"),
    };
    // Colours tell the kind, too.
    let all = [
        format!("{kind} · {size}{priority}"),
        format!("{size}{priority}"),
        size,
    ];
    all.into_iter()
        .find(|facts| width(facts, SMALL) <= room)
        .unwrap_or_default()
}

/// The width that the name of a node would like to have.
pub(super) fn room(node: &Node<'_>) -> u64 {
    match &node.front.alias {
        None => (width(&first(&node.front.name, 20), FONT) + 12).min(104),
        Some(alias) => {
            let name = format!("{} {}", first(&node.front.name, 40), details::target(alias));
            (width(&name, FONT) + 12).min(210)
        }
    }
}
