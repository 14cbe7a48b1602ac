//! How high up everything lies: what is in front above what it is in front of, and all as low as that allows.
//!
//! Nodes fall onto what is there already, from the back to the front, like bricks. So siblings that share no
//! address share a row, and those that do are stacked. A frame lies on a bar, grows with what falls into it, and
//! is closed before the next one comes.

use super::scale::Scale;
use super::tree::Tree;

/// The height of a box, in pixels.
pub(super) const BOX: u64 = 34;
/// The height of the bar that a frame stands on.
pub(super) const BAR: u64 = 19;
/// What is left free above a box or a frame.
const GAP: u64 = 6;

/// Where a node begins and ends, in pixels above the ground.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) bottom: u64,
    pub(super) top: u64,
}

enum Step {
    Open(usize),
    Close(usize),
}

/// The rows of all nodes, and the height of all.
pub(super) fn pack(tree: &Tree<'_>, scale: &Scale) -> (Vec<Row>, u64) {
    let cells: Vec<_> = tree
        .nodes
        .iter()
        .map(|node| scale.edges().cells(node.window))
        .collect();
    let mut ground = Ground::new(cells.iter().map(|cells| cells.end).max().unwrap_or(0));
    let mut rows = vec![Row::default(); tree.nodes.len()];
    // Frames may be nested as deep as somebody likes: no recursion.
    let mut steps: Vec<Step> = tree.roots().map(Step::Open).collect();
    let mut inner = Vec::new();
    while let Some(step) = steps.pop() {
        match step {
            Step::Open(node) => {
                let bottom = ground.highest(cells[node].clone());
                let frame = tree.nodes[node].is_frame();
                let top = bottom + if frame { BAR } else { BOX };
                rows[node] = Row { bottom, top };
                ground.raise(cells[node].clone(), top + GAP);
                if frame {
                    steps.push(Step::Close(node));
                    inner.extend(tree.children(node).map(Step::Open));
                    steps.extend(inner.drain(..).rev());
                }
            }
            Step::Close(node) => {
                let top = ground.highest(cells[node].clone());
                rows[node].top = top;
                ground.raise(cells[node].clone(), top + GAP);
            }
        }
    }
    let height = rows.iter().map(|row| row.top).max().unwrap_or(0);
    (rows, height)
}

/// How high each cell is filled: a segment tree, so that a node costs the logarithm of the number of cells.
struct Ground {
    size: usize,
    /// The highest cell below each knot.
    highest: Vec<u64>,
    /// What all cells below a knot were raised to, at least. Nothing is ever lowered, so it need not be
    /// handed down.
    raised: Vec<u64>,
}

impl Ground {
    fn new(cells: usize) -> Ground {
        let size = cells.max(1).next_power_of_two();
        Ground {
            size,
            highest: vec![0; 2 * size],
            raised: vec![0; 2 * size],
        }
    }

    fn highest(&self, cells: std::ops::Range<usize>) -> u64 {
        let mut highest = 0;
        let (mut left, mut right) = (cells.start + self.size, cells.end + self.size);
        if left >= right {
            return 0;
        }
        let (first, last) = (left, right - 1);
        while left < right {
            if left % 2 == 1 {
                highest = highest.max(self.highest[left]);
                left += 1;
            }
            if right % 2 == 1 {
                right -= 1;
                highest = highest.max(self.highest[right]);
            }
            left /= 2;
            right /= 2;
        }
        for mut knot in [first, last] {
            while knot > 0 {
                highest = highest.max(self.raised[knot]);
                knot /= 2;
            }
        }
        highest
    }

    fn raise(&mut self, cells: std::ops::Range<usize>, to: u64) {
        let (mut left, mut right) = (cells.start + self.size, cells.end + self.size);
        if left >= right {
            return;
        }
        let ends = [left, right - 1];
        while left < right {
            if left % 2 == 1 {
                self.raise_knot(left, to);
                left += 1;
            }
            if right % 2 == 1 {
                right -= 1;
                self.raise_knot(right, to);
            }
            left /= 2;
            right /= 2;
        }
        for mut knot in ends {
            while knot > 1 {
                knot /= 2;
                self.highest[knot] = self.highest[knot].max(to);
            }
        }
    }

    fn raise_knot(&mut self, knot: usize, to: u64) {
        self.raised[knot] = self.raised[knot].max(to);
        self.highest[knot] = self.highest[knot].max(to);
    }
}

#[cfg(test)]
#[path = "rows_test.rs"]
mod tests;
