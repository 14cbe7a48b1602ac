//! What a change of the map means, address by address.

use flatview::AddressRange;

use super::{MapChange, MapLine};

/// What answers at the first address of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The region's name.
    pub name: String,
    /// The byte of the region.
    pub offset: u64,
    /// Whether it cannot be written.
    pub readonly: bool,
    /// Whether it is memory, and not a device.
    pub ram: bool,
}

impl Shown {
    /// What it shows `bytes` further on.
    fn advanced(&self, bytes: u64) -> Shown {
        Shown {
            offset: self.offset.wrapping_add(bytes),
            ..self.clone()
        }
    }
}

/// Addresses that show something else than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The addresses.
    pub range: AddressRange,
    /// What answered; nothing if `None`.
    pub before: Option<Shown>,
    /// What answers; nothing if `None`.
    pub after: Option<Shown>,
}

impl MapChange {
    /// The addresses that show something else than before, in ascending order. A listener hears of a range as gone and
    /// new when only a part of it, or its extent, has changed: here what stays is left out.
    pub fn steps(&self) -> Vec<Step> {
        let mut cuts: Vec<u128> = self.gone.iter().chain(&self.new).flat_map(ends).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let mut steps: Vec<Step> = Vec::new();
        for pair in cuts.windows(2) {
            let &[start, end] = pair else { continue };
            let Some(range) = between(start, end) else {
                continue;
            };
            let (before, after) = (
                shown_at(&self.gone, range.start()),
                shown_at(&self.new, range.start()),
            );
            if before == after {
                continue;
            }
            if let Some(last) = steps.last_mut().filter(|last| ends_of(last.range).1 == start) {
                let size = u64::try_from(start - ends_of(last.range).0).unwrap_or(u64::MAX);
                let goes_on = |shown: &Option<Shown>| shown.as_ref().map(|shown| shown.advanced(size));
                if goes_on(&last.before) == before
                    && goes_on(&last.after) == after
                    && let Some(longer) = between(ends_of(last.range).0, end)
                {
                    last.range = longer;
                    continue;
                }
            }
            steps.push(Step { range, before, after });
        }
        steps
    }
}

/// The first address, and the one after the last.
fn ends_of(range: AddressRange) -> (u128, u128) {
    (range.start().into(), u128::from(range.last()) + 1)
}

fn ends(line: &MapLine) -> [u128; 2] {
    let (start, end) = ends_of(line.range);
    [start, end]
}

fn between(start: u128, end: u128) -> Option<AddressRange> {
    AddressRange::from_bounds(
        u64::try_from(start).ok()?,
        u64::try_from(end.checked_sub(1)?).ok()?,
    )
}

/// What `lines`, which are disjoint and in ascending order, show at `address`.
fn shown_at(lines: &[MapLine], address: u64) -> Option<Shown> {
    let after = lines.partition_point(|line| line.range.start() <= address);
    let line = lines.get(after.checked_sub(1)?)?;
    (address <= line.range.last()).then(|| line.shown.advanced(address - line.range.start()))
}

#[cfg(test)]
mod test {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    fn line(start: u64, last: u64, name: &str, offset: u64) -> MapLine {
        let range = AddressRange::from_bounds(start, last).unwrap();
        let (name, readonly, ram) = (name.to_owned(), false, true);
        MapLine {
            range,
            shown: Shown {
                name,
                offset,
                readonly,
                ram,
            },
        }
    }

    fn told(gone: &[MapLine], new: &[MapLine]) -> Vec<String> {
        let change = MapChange {
            number: 1,
            cause: None,
            gone: gone.to_vec(),
            new: new.to_vec(),
        };
        let name = |shown: &Option<Shown>| {
            shown
                .as_ref()
                .map_or("-".into(), |shown| format!("{}@{:x}", shown.name, shown.offset))
        };
        let tell = |step: &Step| {
            let (start, last) = (step.range.start(), step.range.last());
            format!(
                "{start:x}-{last:x} {} > {}",
                name(&step.before),
                name(&step.after)
            )
        };
        change.steps().iter().map(tell).collect()
    }

    #[test]
    fn what_stays_is_left_out() {
        // A ROM of 0x400 bytes loses its second quarter to RAM, which goes on behind it.
        let gone = [line(0, 0x3ff, "rom", 0), line(0x400, u64::MAX, "ram", 0x400)];
        let new = [
            line(0, 0xff, "rom", 0),
            line(0x100, 0x1ff, "ram", 0x100),
            line(0x200, 0x3ff, "rom", 0x200),
            line(0x400, u64::MAX, "ram", 0x400),
        ];
        assert_eq!(told(&gone, &new), ["100-1ff rom@100 > ram@100"]);
    }

    #[test]
    fn neighbours_that_go_on_are_one_step_and_nothing_is_something() {
        let gone = [
            line(0x100, 0x1ff, "a", 0),
            line(0x200, 0x2ff, "a", 0x100),
            line(0x300, 0x3ff, "a", 0),
        ];
        assert_eq!(told(&gone, &[]), ["100-2ff a@0 > -", "300-3ff a@0 > -"]);
        assert_eq!(
            told(&[], &[line(0, u64::MAX, "b", 0)]),
            ["0-ffffffffffffffff - > b@0"]
        );
        assert_eq!(
            told(&gone[..1], &[line(0x180, 0x27f, "a", 0)]),
            ["100-17f a@0 > -", "180-1ff a@80 > a@0", "200-27f - > a@80"]
        );
    }
}
