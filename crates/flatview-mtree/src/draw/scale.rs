//! The address line: which address lies how far to the right.
//!
//! A line that is true to scale shows a DIMM or an I/O port, never both. So it is cut at every address where
//! something begins or ends, and each *cell* between two cuts is as wide as the logarithm of its size asks for,
//! and as the names in it need. The order of addresses is kept, lengths are not.

use std::ops::Range;

use flatview::AddressRange;

/// The least width of a cell, in pixels: enough to see and to point at.
pub(super) const LEAST: u64 = 10;

/// The widest that a hole gets. One that asks for more is cut, and marked so.
const WIDEST_HOLE: u64 = 34;

/// Where something begins or ends: sorted, each once. The end of the space is 2^64.
#[derive(Debug)]
pub(super) struct Edges(Vec<u128>);

impl Edges {
    pub(super) fn of(ranges: impl Iterator<Item = AddressRange>) -> Edges {
        let mut edges: Vec<u128> = ranges
            .flat_map(|range| [range.start().into(), u128::from(range.last()) + 1])
            .collect();
        edges.sort_unstable();
        edges.dedup();
        Edges(edges)
    }

    pub(super) fn last(&self) -> Option<u128> {
        self.0.last().copied()
    }

    /// The number of the first edge that is not before `address`.
    fn at(&self, address: u128) -> usize {
        self.0.partition_point(|&edge| edge < address)
    }

    /// The cells that a range fills. Its ends are edges, or it is taken to reach to the nearest ones.
    pub(super) fn cells(&self, range: AddressRange) -> Range<usize> {
        self.at(range.start().into())..self.at(u128::from(range.last()) + 1)
    }
}

/// Cells that something is drawn over.
#[derive(Clone, Debug)]
pub(super) struct Want {
    pub(super) cells: Range<usize>,
    /// The width that its name would like to have.
    pub(super) room: u64,
    /// Whether it is more than a frame: where there are only frames, there is a hole.
    pub(super) fills: bool,
}

/// The address line.
#[derive(Debug)]
pub(super) struct Scale {
    edges: Edges,
    /// Where each edge is, in pixels; one for each edge.
    x: Vec<u64>,
    /// Which cells nothing is drawn over; one for each cell.
    holes: Vec<bool>,
    /// Which of the holes were cut.
    cuts: Vec<bool>,
}

impl Scale {
    /// A line about `width` wide, or wider if what is `wanted` on it asks for that.
    pub(super) fn new(edges: Edges, wanted: &[Want], width: u64) -> Scale {
        let cells = edges.0.len().saturating_sub(1);
        let holes = holes(cells, wanted);
        let mut cuts = vec![false; cells];
        // Of each cell, the least width, and what of it grows if there is room.
        let mut widths: Vec<(u64, u64)> = Vec::with_capacity(cells);
        for (cell, bytes) in edges.0.windows(2).map(|pair| pair[1] - pair[0]).enumerate() {
            widths.push(if holes[cell] {
                let asked = LEAST + log2(bytes) * 3 / 32;
                cuts[cell] = asked > WIDEST_HOLE;
                (asked.min(WIDEST_HOLE), 0)
            } else {
                let asked = LEAST + 4 + log2(bytes) * 3 / 16;
                (asked, asked)
            });
        }
        for want in wanted {
            // What spans many cells is wide anyway; this also keeps the work linear.
            if (1..=6).contains(&want.cells.len()) {
                let each = want.room.div_ceil(want.cells.len() as u64);
                for (least, _) in &mut widths[want.cells.clone()] {
                    *least = (*least).max(each);
                }
            }
        }
        let factor = factor(&widths, width);
        let mut x = vec![0];
        let mut at = 0;
        for widths in widths {
            at += stretched(widths, factor);
            x.push(at);
        }
        Scale {
            edges,
            x,
            holes,
            cuts,
        }
    }

    pub(super) fn edges(&self) -> &Edges {
        &self.edges
    }

    /// How wide all of it is.
    pub(super) fn width(&self) -> u64 {
        self.x.last().copied().unwrap_or(0)
    }

    /// From where to where a range goes, in pixels.
    pub(super) fn place(&self, range: AddressRange) -> Range<u64> {
        self.place_cells(&self.edges.cells(range))
    }

    /// From where to where cells go, in pixels.
    pub(super) fn place_cells(&self, cells: &Range<usize>) -> Range<u64> {
        let x = |edge: usize| self.x.get(edge).copied().unwrap_or_else(|| self.width());
        x(cells.start)..x(cells.end)
    }

    /// The edges, each with its address and its place.
    pub(super) fn ticks(&self) -> impl Iterator<Item = (u128, u64)> {
        self.edges.0.iter().copied().zip(self.x.iter().copied())
    }

    /// The cells that nothing is drawn over: first address, size, place, and whether it was cut.
    pub(super) fn holes(&self) -> impl Iterator<Item = (AddressRange, Range<u64>, bool)> {
        (0..self.holes.len())
            .filter(|&cell| self.holes[cell])
            .filter_map(|cell| {
                let first = u64::try_from(self.edges.0[cell]).ok()?;
                let last = u64::try_from(self.edges.0[cell + 1] - 1).ok()?;
                let range = AddressRange::from_bounds(first, last)?;
                Some((range, self.x[cell]..self.x[cell + 1], self.cuts[cell]))
            })
    }
}

/// One, in what factors are counted in.
const ONE: u64 = 256;

/// The width of a cell that grows by a factor, unless its name asks for more.
fn stretched((least, growing): (u64, u64), factor: u64) -> u64 {
    least.max(growing * factor / ONE)
}

/// The largest factor by which cells can grow so that all of them fit; at least one.
fn factor(widths: &[(u64, u64)], room: u64) -> u64 {
    let (mut fits, mut too_much) = (ONE, ONE << 12);
    while too_much - fits > 1 {
        let middle = fits.midpoint(too_much);
        let total: u64 = widths.iter().map(|&width| stretched(width, middle)).sum();
        *if total <= room { &mut fits } else { &mut too_much } = middle;
    }
    fits
}

/// Which cells nothing is drawn over.
fn holes(cells: usize, wanted: &[Want]) -> Vec<bool> {
    let mut steps = vec![0_i64; cells + 1];
    for want in wanted.iter().filter(|want| want.fills && !want.cells.is_empty()) {
        steps[want.cells.start] += 1;
        steps[want.cells.end] -= 1;
    }
    let mut over = 0;
    steps
        .iter()
        .take(cells)
        .map(|step| {
            over += step;
            over == 0
        })
        .collect()
}

/// Sixteen times the logarithm of base two, without floating point: a drawing is the same on every machine.
fn log2(bytes: u128) -> u64 {
    let whole = bytes.max(1).ilog2();
    // The mantissa between two powers of two, taken as a straight line.
    let part = ((bytes << 4) >> whole) & 15;
    u64::from(whole) * 16 + u64::try_from(part).unwrap_or(0)
}

#[cfg(test)]
#[path = "scale_test.rs"]
mod tests;
