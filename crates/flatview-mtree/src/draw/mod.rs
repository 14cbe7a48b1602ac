//! A picture of an address space: what lies where, in front of what, and what of it is seen.
//!
//! [`svg`] draws one space, to put into a document; [`html`] makes a page of all spaces of a machine, to look
//! around in: with zoom, search and all details, and without anything from outside the page.
//!
//! # Reading a drawing
//!
//! ```text
//!        0x0      0xa0000      0xc0000              what an access meets, from above:
//!        ┌────────┬────────────┬──────────┐
//!        │ pc.ram │ vga-lowmem │ pc.ram   │         the flat view
//!        └────────┴────────────┴──────────┘
//!                  ┆ ┌────────┐┆                    in front: vga-lowmem, seen through the alias
//!                  ┆ │vga-low…│┆                    `smram-region`; a column leads from what is seen
//!                  ┆ └────────┘┆                    up to the flat view
//!                  └smram-region
//!        ┌────────┬────────────┬──────────┐
//!        │ram     │░░░░░░░░░░░░│          │         behind it: RAM, whose middle is hidden and faint
//!        └────────┴────────────┴──────────┘
//!       └ system                           ┘        the container of both
//! ```
//!
//! - Addresses run from left to right, each byte in its order, but not true to scale: a 1-byte port and a DIMM
//!   of 64 GiB are both to be read, so widths grow with the logarithm of the size. Long holes are cut.
//! - What is higher up is in front. Of two siblings that share an address, the one that wins lies above the
//!   other, and what a container holds lies above the container's bar, within its frame. So who looks down from
//!   the flat view meets, at each address, first the one that answers there.
//! - Colours and hatches tell the [kinds](crate::layout::Kind). What has a dashed outline is an alias: it is
//!   one box or frame with what it shows. What is disabled is left out or, if [asked for](Options::disabled),
//!   pale and dotted.
//!
//! Each box has a title that tells all that a [placement](crate::layout::Placement) knows, and who hides what
//! of it. Names are whatever a dump has in it: they are escaped, and control characters shown as pictures.
//!
//! # What it costs
//!
//! *n* log *n* in the number of placements and of the ranges in them; texts are shortened to what fits, and the
//! name of a region is told in full only where it is itself the matter. A drawing is as wide as what is in it
//! asks for: a thousand ports make it a hundred thousand pixels wide, which a page can look around in.
//!
//! The same layout gives the same drawing, byte for byte.
//!
//! # Inside
//!
//! `tree` decides what becomes a box or a frame, `scale` where addresses are and `rows` how high things lie;
//! `ticks`, `label`, `details` and `text` put things into words; `paint` writes it all down, with a `legend`,
//! and `page` adds what makes a page of it. Style and script are files of their own beside them.

mod details;
mod label;
mod legend;
mod page;
mod paint;
mod rows;
mod scale;
mod text;
mod ticks;
mod tree;

use std::fmt;

use flatview::AddressRange;

use self::paint::{Form, Painter};
use crate::layout::Layout;

/// What to draw, and how wide.
///
/// ```
/// use flatview::AddressRange;
/// use flatview_mtree::draw::Options;
///
/// let first_mebibyte = Options {
///     only: AddressRange::from_bounds(0, 0xf_ffff),
///     ..Options::default()
/// };
/// assert_eq!(first_mebibyte.width, 1200);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The addresses to draw; all if `None`.
    pub only: Option<AddressRange>,
    /// The width in pixels that the drawing is stretched to. It gets wider if what is in it would not be
    /// readable otherwise.
    pub width: u32,
    /// Whether to draw what is disabled.
    pub disabled: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            only: None,
            width: 1200,
            disabled: false,
        }
    }
}

/// An SVG document of one address space; [`Display`](fmt::Display) writes it.
///
/// It needs nothing from outside itself, and follows the reader's choice of light or dark.
#[derive(Debug)]
pub struct Drawing<'a> {
    painter: Painter<'a>,
}

impl<'a> Drawing<'a> {
    /// Finds the place of everything.
    pub fn new(layout: &'a Layout, options: &Options) -> Drawing<'a> {
        Drawing {
            painter: Painter::new(layout, options),
        }
    }

    /// Its width in pixels.
    pub fn width(&self) -> u64 {
        self.painter.width()
    }

    /// Its height in pixels.
    pub fn height(&self) -> u64 {
        self.painter.height(Form::Document)
    }
}

impl fmt::Display for Drawing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.painter.write(f, Form::Document)
    }
}

/// One address space as an SVG document.
pub fn svg(layout: &Layout, options: &Options) -> String {
    Drawing::new(layout, options).to_string()
}

/// All spaces of a machine as one HTML page, which needs nothing from outside itself.
///
/// One space is shown at a time, `memory` first if there is one. The wheel and the buttons zoom, dragging moves, and the search finds names
/// (`vga`) and addresses (`0xa0000`) in all spaces. Every key that does something is told on the page. What the
/// page shows is in its address: `#space=1&search=vga` is the second space with all that has `vga` in its name.
///
/// Without scripts, the page is all drawings one below the other.
pub fn html(layouts: &[Layout], options: &Options) -> String {
    page::Page { layouts, options }.to_string()
}
