//! What the colours, hatches and lines mean.

use std::fmt::{self, Write};

use super::paint::{MARGIN, SMALL as FONT, rect};
use super::text::width;

const LINE: u64 = 24;

/// The kinds and what they look like.
pub(super) const ENTRIES: [(&str, &str); 10] = [
    ("ram", "RAM"),
    ("rom", "ROM"),
    ("io", "I/O"),
    ("ram-device", "RAM device"),
    ("rom-device", "ROM device"),
    ("container frame", "container"),
    ("ram alias", "alias"),
    ("ram behind", "hidden"),
    ("container disabled", "disabled"),
    ("break", "hole, cut short"),
];

pub(super) fn write(f: &mut dyn Write, top: u64, width: u64) -> fmt::Result {
    writeln!(f, r#"<g class="legend">"#)?;
    for ((class, name), (x, line)) in ENTRIES.into_iter().zip(places(width)) {
        let y = top + line * LINE;
        swatch(f, class, x, y)?;
        writeln!(
            f,
            r#"<text class="facts" x="{}" y="{}">{name}</text>"#,
            x + 30,
            y + 12
        )?;
    }
    writeln!(f, "</g>")
}

/// How high it is in a drawing of this width.
pub(super) fn height(width: u64) -> u64 {
    places(width).map(|(_, line)| line + 1).max().unwrap_or(0) * LINE
}

/// Where the entries of the legend go in a drawing of this width: from the left, and in which line.
fn places(room: u64) -> impl Iterator<Item = (u64, u64)> {
    let mut at = (MARGIN, 0);
    ENTRIES.into_iter().map(move |(_, name)| {
        let needed = 30 + width(name, FONT);
        if at.0 + needed > room {
            at = (MARGIN, at.1 + 1);
        }
        let place = at;
        at.0 += needed + 14;
        place
    })
}

/// A small picture of what a kind looks like.
pub(super) fn swatch(f: &mut dyn Write, class: &str, x: u64, y: u64) -> fmt::Result {
    if class == "break" {
        let place = x..x + 24;
        write!(f, r#"<g class="hole">"#)?;
        rect(f, "base", &place, y, y + 16)?;
        return write!(
            f,
            r#"<path d="M{} {y}l4 5l-6 6l4 5"/><path d="M{} {y}l4 5l-6 6l4 5"/></g>"#,
            x + 9,
            x + 15
        );
    }
    let place = x..x + 24;
    write!(f, r#"<g class="node {class}">"#)?;
    rect(f, "base", &place, y, y + 16)?;
    if !class.contains("frame") && !class.contains("behind") && !class.contains("disabled") {
        let kind = class.split(' ').next().unwrap_or(class);
        rect(f, &format!("seen {kind}"), &place, y, y + 16)?;
    }
    write!(f, "</g>")
}
