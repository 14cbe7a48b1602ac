//! What was found, for people.

use std::collections::BTreeMap;
use std::fmt;

use flatview::AddressRange;

use super::{Found, Place, Sighting, Why};
use crate::layout::Kind;
use crate::units::{Bytes, Count, Spaces};

/// More lines of one sort are counted, not told.
const MOST_LINES: usize = 16;

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}, {}", self.name, self.kind.words(), Bytes(self.size))?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if !self.enabled {
            f.write_str(", disabled")?;
        }
        f.write_str("\n")?;
        if let Some(owner) = &self.owner {
            writeln!(f, "  {owner}")?;
        }
        if let Some(nowhere) = &self.nowhere {
            writeln!(f, "  nowhere: {nowhere}")?;
        }
        self.places.iter().try_for_each(|place| place.fmt(f))
    }
}

impl Kind {
    /// What people call it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Kind::Container => "container",
            Kind::Alias => "alias",
            Kind::Ram => "ram",
            Kind::Rom => "rom",
            Kind::RamDevice => "ram of a device",
            Kind::RomDevice => "flash",
            Kind::Io => "i/o",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {}", Spaces(&self.spaces))?;
        let mut seen = Vec::new();
        let mut hidden = Vec::new();
        let mut away: BTreeMap<String, usize> = BTreeMap::new();
        for sighting in &self.sightings {
            let name = sighting.path.last().map_or("", |step| &step.name);
            let way = way(sighting);
            seen.extend(sighting.shown.iter().map(|shown| Line {
                range: shown.range,
                offset: Some(shown.offset),
                rest: way.clone(),
            }));
            seen.extend(sighting.through.iter().map(|&range| Line {
                range,
                offset: None,
                rest: format!(", what is in it{way}"),
            }));
            // Where it is seen on another way, nobody misses it.
            let others = sighting.hidden.iter().filter(|hidden| hidden.by != name);
            hidden.extend(others.map(|hidden| Line {
                range: hidden.range,
                offset: None,
                rest: format!(" by {}", hidden.by),
            }));
            if let Some(why) = sighting.why.as_ref().filter(|why| **why != Why::Hidden) {
                *away.entry(reason(why, sighting)).or_default() += 1;
            }
        }
        // Why a bus master or the thirteen windows of PAM do not show it nobody asks, if something else does.
        if !seen.is_empty() {
            away.clear();
        }
        write_lines(f, "seen   ", seen)?;
        write_lines(f, "hidden ", hidden)?;
        for (reason, count) in &away {
            let ways = match count {
                1 => String::new(),
                _ => format!(" ({count} ways)"),
            };
            writeln!(f, "    unseen  {reason}{ways}")?;
        }
        Ok(())
    }
}

/// Some addresses, and what is to be said of them.
struct Line {
    range: AddressRange,
    /// The byte of the region that they begin at.
    offset: Option<u64>,
    rest: String,
}

impl Line {
    /// Joins what goes on in the same way: QEMU cuts the RAM that a BIOS may shadow in many small aliases.
    fn join(&mut self, next: &Line) -> bool {
        let length = next.range.start().wrapping_sub(self.range.start());
        let goes_on = self.range.abuts(next.range)
            && self.rest == next.rest
            && self.offset.map(|offset| offset.wrapping_add(length)) == next.offset;
        if goes_on && let Some(joined) = AddressRange::from_bounds(self.range.start(), next.range.last()) {
            self.range = joined;
        }
        goes_on
    }
}

fn write_lines(f: &mut fmt::Formatter<'_>, what: &str, mut lines: Vec<Line>) -> fmt::Result {
    lines.sort_by(|one, other| (one.range, &one.rest).cmp(&(other.range, &other.rest)));
    lines.dedup_by(|next, line| (next.range, &next.rest) == (line.range, &line.rest) || line.join(next));
    for line in lines.iter().take(MOST_LINES) {
        let Line { range, offset, rest } = line;
        write!(f, "    {what} {range} ({})", Bytes(range.size().bytes()))?;
        if let Some(offset) = offset.filter(|&offset| offset != 0) {
            write!(f, ", from its byte {offset:#x} on")?;
        }
        writeln!(f, "{rest}")?;
    }
    match lines.len().saturating_sub(MOST_LINES) {
        0 => Ok(()),
        left => writeln!(f, "    {what} {} more", Count(left, "range")),
    }
}

/// The last alias on the way to a region, if there is one.
fn way(sighting: &Sighting) -> String {
    let mut around = sighting.path.iter().rev().skip(1);
    let alias = around.find(|step| step.kind == Kind::Alias);
    alias.map_or(String::new(), |alias| format!(", through {}", alias.name))
}

fn reason(why: &Why, sighting: &Sighting) -> String {
    let name = sighting.path.last().map_or("", |step| &step.name);
    let at = sighting.span;
    match why {
        Why::Disabled { by } if by == name => format!("{at}: disabled"),
        Why::Disabled { by } => format!("{by} is disabled"),
        Why::Empty => format!("at {:#x}: it has no bytes", at.start()),
        Why::Clipped { by } => format!("{at}: outside of {by}"),
        Why::Hidden => format!("{at}: hidden"),
        Why::Bare => format!("{at}: nothing in it answers"),
    }
}
