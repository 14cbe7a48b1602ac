//! The drawing, written down as SVG.

use std::fmt::{self, Write};
use std::ops::Range;

use flatview::AddressRange;

use super::Options;
use super::details;
use super::label;
use super::legend;
use super::rows::{self, Row};
use super::scale::{Edges, Scale, Want};
use super::text::{Escaped, first, human, shorten, width};
use super::ticks::{self, Tick};
use super::tree::{Node, Tree};
use crate::layout::{Kind, Layout, Seen};

const STYLE: &str = include_str!("drawing.css");
/// What the hatches look like; once in a document.
pub(super) const HATCHES: &str = include_str!("hatches.svg");

/// What is left free around a drawing.
pub(super) const MARGIN: u64 = 12;
const TITLE: u64 = 30;
const TICK_LINE: u64 = 13;
const STRIP: u64 = 36;
/// Between the flat view and what is in front of all.
const AIR: u64 = 14;
/// The size of names.
pub(super) const FONT: u64 = 12;
/// The size of everything else.
pub(super) const SMALL: u64 = 10;

/// What a drawing is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Of nothing: a document of its own, with style and legend.
    Document,
    /// Of a page that has them.
    Page,
}

/// A drawing with everything in its place.
#[derive(Debug)]
pub(super) struct Painter<'a> {
    layout: &'a Layout,
    tree: Tree<'a>,
    view: Vec<(&'a Seen, AddressRange)>,
    scale: Scale,
    rows: Vec<Row>,
    boxes_height: u64,
    ticks: Vec<Tick>,
    reach: u64,
    /// Where the flat view begins, from the top.
    strip: u64,
}

impl<'a> Painter<'a> {
    pub(super) fn new(layout: &'a Layout, options: &Options) -> Painter<'a> {
        let tree = Tree::of(layout, options);
        let clip = options.only.unwrap_or(AddressRange::ALL);
        let view: Vec<_> = layout
            .view
            .iter()
            .filter_map(|seen| Some((seen, seen.range.intersection(clip)?)))
            .collect();
        let pieces = tree.nodes.iter().flat_map(|node| {
            let hidden = node.back.hidden.iter().map(|hidden| hidden.range);
            let all = node.back.shown.iter().copied().chain(hidden);
            let inside = all.filter_map(|range| range.intersection(node.window));
            inside.chain([node.window])
        });
        let edges = Edges::of(pieces.chain(view.iter().map(|&(_, range)| range)));
        let mut wanted = Vec::new();
        for node in &tree.nodes {
            wanted.push(Want {
                cells: edges.cells(node.window),
                room: label::room(node),
                fills: !node.is_frame() || answers(node),
            });
        }
        for (seen, range) in &view {
            wanted.push(Want {
                cells: edges.cells(*range),
                room: (width(&first(&seen.region, 20), FONT) + 12).min(76),
                fills: true,
            });
        }
        let besides = 2 * MARGIN + edges.last().map_or(0, ticks::width);
        let scale = Scale::new(edges, &wanted, u64::from(options.width).saturating_sub(besides));
        let (rows, boxes_height) = rows::pack(&tree, &scale);
        let (ticks, reach) = ticks::ticks(&scale);
        let lines = ticks.iter().map(|tick| tick.line as u64 + 1).max().unwrap_or(0);
        Painter {
            layout,
            tree,
            view,
            scale,
            rows,
            boxes_height,
            ticks,
            reach,
            strip: TITLE + lines * TICK_LINE + 4,
        }
    }

    pub(super) fn width(&self) -> u64 {
        // Of an empty drawing, there remains a sentence.
        (self.scale.width().max(self.reach) + 2 * MARGIN).max(420)
    }

    pub(super) fn height(&self, form: Form) -> u64 {
        let legend = match form {
            Form::Document => legend::height(self.width()),
            Form::Page => 0,
        };
        self.ground() + MARGIN + legend
    }

    fn ground(&self) -> u64 {
        self.strip + STRIP + AIR + self.boxes_height
    }

    fn place(&self, range: AddressRange) -> Range<u64> {
        let place = self.scale.place(range);
        place.start + MARGIN..place.end + MARGIN
    }

    /// What the space is called.
    pub(super) fn title(&self) -> String {
        title(self.layout)
    }

    pub(super) fn write(&self, f: &mut dyn Write, form: Form) -> fmt::Result {
        let (width, height) = (self.width(), self.height(form));
        let title = self.title();
        write!(
            f,
            r#"<svg xmlns="http://www.w3.org/2000/svg" class="flatview" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="group" aria-label="{}""#,
            Escaped(&title)
        )?;
        if form == Form::Page {
            let strip = self.strip;
            write!(f, r#" data-strip="{strip} {STRIP}" data-scale=""#)?;
            for (address, x) in self.scale.ticks() {
                write!(f, "{address:x},{} ", x + MARGIN)?;
            }
            write!(f, "\"")?;
        }
        writeln!(f, ">")?;
        if form == Form::Document {
            writeln!(f, "<style>\n{STYLE}</style>\n{HATCHES}")?;
            writeln!(f, r#"<rect class="paper" width="{width}" height="{height}"/>"#)?;
        }
        let room = width.saturating_sub(2 * MARGIN);
        let short = shorten(&title, 15, room);
        writeln!(
            f,
            r#"<text class="title" x="{MARGIN}" y="20">{}</text>"#,
            Escaped(&short)
        )?;
        if self.tree.nodes.is_empty() {
            let y = self.strip + 20;
            writeln!(f, r#"<text x="{MARGIN}" y="{y}">Nothing is mapped here.</text>"#)?;
        }
        self.lines(f)?;
        self.columns(f)?;
        for node in 0..self.tree.nodes.len() {
            self.node(f, node)?;
        }
        self.flat_view(f)?;
        if form == Form::Document {
            legend::write(f, self.ground() + MARGIN, width)?;
        }
        writeln!(f, "</svg>")
    }

    /// Addresses, lines down from them, and holes.
    fn lines(&self, f: &mut dyn Write) -> fmt::Result {
        let (strip, ground) = (self.strip, self.ground());
        for (_, place, cut) in self.scale.holes() {
            if cut {
                let (x, width) = (place.start + MARGIN, place.end - place.start);
                let height = ground - strip;
                writeln!(
                    f,
                    r#"<rect class="cut" x="{x}" y="{strip}" width="{width}" height="{height}"/>"#
                )?;
            }
        }
        write!(f, r#"<path class="guide" d=""#)?;
        for (_, x) in self.scale.ticks() {
            write!(f, "M{} {strip}V{ground}", x + MARGIN)?;
        }
        write!(f, "\"/>\n<path class=\"tick\" d=\"")?;
        for tick in &self.ticks {
            let top = strip - 2 - tick.line as u64 * TICK_LINE - 9;
            write!(f, "M{} {strip}V{top}", tick.x + MARGIN)?;
        }
        writeln!(f, "\"/>\n<g class=\"ticks\">")?;
        for tick in &self.ticks {
            let y = strip - 4 - tick.line as u64 * TICK_LINE;
            writeln!(
                f,
                r#"<text x="{}" y="{y}">{}</text>"#,
                tick.x + MARGIN + 3,
                tick.address
            )?;
        }
        writeln!(f, "</g>")
    }

    /// What is seen, connected to the flat view.
    fn columns(&self, f: &mut dyn Write) -> fmt::Result {
        writeln!(f, r#"<g class="columns">"#)?;
        let top = self.strip + STRIP;
        for (index, node) in self.tree.nodes.iter().enumerate() {
            // From the upper edge of the box, or of the bar of a frame.
            let row = self.rows[index];
            let up = if node.is_frame() {
                row.bottom + rows::BAR
            } else {
                row.top
            };
            let height = self.ground() - up - top;
            for (range, kind) in self.pieces(node) {
                let place = self.place(range);
                let width = place.end - place.start;
                writeln!(
                    f,
                    r#"<rect class="{}" data-n="{index}" x="{}" y="{top}" width="{width}" height="{height}"/>"#,
                    class(kind),
                    place.start
                )?;
            }
        }
        writeln!(f, "</g>")
    }

    /// Where a node answers, and as what: that can be less than it is, if it is seen through something
    /// readonly.
    fn pieces(&self, node: &Node<'a>) -> impl Iterator<Item = (AddressRange, Kind)> {
        let (window, own) = (node.window, node.kind());
        let shown = node
            .back
            .shown
            .iter()
            .filter_map(move |shown| shown.intersection(window));
        shown.flat_map(move |shown| {
            let from = self
                .view
                .partition_point(|(_, range)| range.last() < shown.start());
            let kinds = self.view[from..]
                .iter()
                .map_while(move |(seen, range)| Some((range.intersection(shown)?, seen.kind)));
            // A layout whose view says otherwise is wrong, but not a reason to draw nothing.
            let unknown = self
                .view
                .get(from)
                .is_none_or(|(_, range)| !range.overlaps(shown));
            kinds.chain(unknown.then_some((shown, own)))
        })
    }

    fn node(&self, f: &mut dyn Write, index: usize) -> fmt::Result {
        let node = &self.tree.nodes[index];
        let place = self.place(node.window);
        let row = self.rows[index];
        let frame = node.is_frame();
        let (top, bottom) = (self.ground() - row.top, self.ground() - row.bottom);
        let bar = if frame { bottom - rows::BAR } else { top };
        write!(f, r#"<g class="node {}"#, class(node.kind()))?;
        for (has, name) in [
            (frame, " frame"),
            (node.is_alias(), " alias"),
            (!node.front.enabled, " disabled"),
        ] {
            f.write_str(if has { name } else { "" })?;
        }
        write!(f, r#"" data-n="{index}" data-name=""#)?;
        for (at, name) in node.names(self.layout).enumerate() {
            let arrow = if at == 0 { "" } else { " → " };
            write!(f, "{arrow}{}", Escaped(name))?;
        }
        let (start, last) = (node.window.start(), node.window.last());
        write!(f, r#"" data-at="{start:x}-{last:x}"><title>"#)?;
        details::node(f, self.layout, &self.tree, node)?;
        write!(f, "</title>")?;
        rect(f, "base", &place, top, bottom)?;
        if frame {
            rect(f, "bar", &place, bar, bottom)?;
        }
        let mut widest = place.start..place.start;
        for (range, kind) in self.pieces(node) {
            let piece = self.place(range);
            rect(f, &format!("seen {}", class(kind)), &piece, bar, bottom)?;
            if piece.end - piece.start > widest.end - widest.start {
                widest = piece;
            }
        }
        if answers(node) {
            for hidden in &node.back.hidden {
                if let Some(range) = hidden.range.intersection(node.window) {
                    let piece = self.place(range);
                    write!(
                        f,
                        r#"<rect class="hidden" x="{}" y="{bar}" width="{}" height="{}"><title>{}, {}&#10;hidden by {}</title></rect>"#,
                        piece.start,
                        piece.end - piece.start,
                        bottom - bar,
                        Escaped(&first(&node.front.name, 60)),
                        details::range(range),
                        Escaped(&first(&hidden.by, 60))
                    )?;
                }
            }
        }
        // The name stands on what is seen if it has a chance to be read there.
        let readable = !frame && widest.end - widest.start >= 40;
        let left = if readable { widest.start } else { place.start };
        label::write(f, node, left + 5, place.end.saturating_sub(left + 8), bar)?;
        writeln!(f, "</g>")
    }

    fn flat_view(&self, f: &mut dyn Write) -> fmt::Result {
        let (top, bottom) = (self.strip, self.strip + STRIP);
        writeln!(f, r#"<g class="view">"#)?;
        for (hole, place, cut) in self.scale.holes() {
            let place = place.start + MARGIN..place.end + MARGIN;
            write!(
                f,
                r#"<g class="hole"><title>nothing answers&#10;{}</title>"#,
                details::range(hole)
            )?;
            rect(f, "base", &place, top, bottom)?;
            if cut {
                let middle = (place.start + place.end) / 2;
                for x in [middle - 4, middle + 3] {
                    write!(f, r#"<path d="M{x} {top}l4 9l-6 9l6 9l-4 9"/>"#)?;
                }
            }
            writeln!(f, "</g>")?;
        }
        for (seen, range) in &self.view {
            let place = self.place(*range);
            let (start, last) = (range.start(), range.last());
            write!(
                f,
                r#"<g class="piece {}" data-at="{start:x}-{last:x}""#,
                class(seen.kind)
            )?;
            if let Some(node) = self.tree.node_of.get(seen.placement).copied().flatten() {
                write!(f, r#" data-n="{node}""#)?;
            }
            write!(f, "><title>")?;
            details::seen(f, seen)?;
            write!(f, "</title>")?;
            rect(f, "base", &place, top, bottom)?;
            let room = (place.end - place.start).saturating_sub(8);
            let name = shorten(&seen.region, FONT, room);
            if !name.is_empty() {
                let x = place.start + 4;
                let size = shorten(&human(seen.range.size().bytes()), SMALL, room);
                write!(f, r#"<text x="{x}" y="{}">{}</text>"#, top + 15, Escaped(&name))?;
                write!(f, r#"<text class="facts" x="{x}" y="{}">{size}</text>"#, top + 28)?;
            }
            writeln!(f, "</g>")?;
        }
        writeln!(f, "</g>")
    }
}

/// What a space is called: its names, as far as they can be told, and its root.
pub(super) fn title(layout: &Layout) -> String {
    let names: Vec<_> = layout.spaces.iter().take(3).map(|name| first(name, 60)).collect();
    let more = match layout.spaces.len().saturating_sub(3) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more} (root {})", names.join(", "), first(&layout.root, 60))
}

/// Whether a node is something that can answer.
fn answers(node: &Node<'_>) -> bool {
    !matches!(node.kind(), Kind::Container | Kind::Alias)
}

fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Container => "container",
        Kind::Alias => "lost",
        Kind::Ram => "ram",
        Kind::Rom => "rom",
        Kind::RamDevice => "ram-device",
        Kind::RomDevice => "rom-device",
        Kind::Io => "io",
    }
}

pub(super) fn rect(f: &mut dyn Write, class: &str, x: &Range<u64>, top: u64, bottom: u64) -> fmt::Result {
    let (width, height) = (x.end - x.start, bottom - top);
    let left = x.start;
    write!(
        f,
        r#"<rect class="{class}" x="{left}" y="{top}" width="{width}" height="{height}"/>"#
    )
}
