//! Addresses above the flat view, in as many lines as it takes for them not to overlap.

use super::scale::Scale;
use super::text;

/// The font size of the addresses.
pub(super) const FONT: u64 = 10;
/// More lines than this look like noise; what finds no place then is not written.
const MOST_LINES: usize = 5;
/// What is left free between two addresses.
const GAP: u64 = 8;

/// An address at its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tick {
    pub(super) address: String,
    pub(super) x: u64,
    /// Where it is written, counted from the flat view up.
    pub(super) line: usize,
}

/// The room that an address takes, with what is left free after it.
pub(super) fn width(address: u128) -> u64 {
    // Digits of a monospaced font are 0.6 of its size wide.
    text::address(address).len() as u64 * FONT * 62 / 100 + GAP
}

/// The addresses that are written, and how far the last of them reach.
pub(super) fn ticks(scale: &Scale) -> (Vec<Tick>, u64) {
    let mut ends: Vec<u64> = Vec::new();
    let mut ticks = Vec::new();
    for (address, x) in scale.ticks() {
        let free = ends.iter().position(|&end| end <= x);
        let line = match free {
            Some(line) => line,
            None if ends.len() < MOST_LINES => {
                ends.push(0);
                ends.len() - 1
            }
            None => continue,
        };
        ends[line] = x + width(address);
        let address = text::address(address);
        ticks.push(Tick { address, x, line });
    }
    let reach = ends.into_iter().max().unwrap_or(0);
    (ticks, reach)
}
