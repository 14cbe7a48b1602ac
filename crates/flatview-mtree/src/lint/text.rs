//! Findings, for people.

use std::fmt;

use super::{Finding, Kind};
use crate::units::{Count, Spaces};

/// Findings as a report for people: those of a kind below its heading. More than twenty of a kind and space are
/// counted, and what is [usual](Finding::is_usual) is left out, unless it is printed with `{:#}`.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a>(pub &'a [Finding]);

/// As many of one kind, of the same spaces, are read with pleasure.
const MOST_TOLD: usize = 20;

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.kind)?;
        if !self.spaces.is_empty() {
            write!(f, "{}: ", Spaces(&self.spaces))?;
        }
        f.write_str(&self.sentence)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = f.alternate();
        let told: Vec<&Finding> = self.0.iter().filter(|finding| all || !finding.is_usual).collect();
        if told.is_empty() {
            return f.write_str("nothing to report\n");
        }
        for (place, of_kind) in told.chunk_by(|one, other| one.kind == other.kind).enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            writeln!(f, "{}: {}", of_kind[0].kind, of_kind[0].kind.heading())?;
            for of_spaces in of_kind.chunk_by(|one, other| one.spaces == other.spaces) {
                let mut indent = "  ";
                if !of_spaces[0].spaces.is_empty() {
                    writeln!(f, "  {}", Spaces(&of_spaces[0].spaces))?;
                    indent = "    ";
                }
                let most = if all { usize::MAX } else { MOST_TOLD };
                for finding in of_spaces.iter().take(most) {
                    writeln!(f, "{indent}{}", finding.sentence)?;
                }
                if let left @ 1.. = of_spaces.len().saturating_sub(most) {
                    writeln!(f, "{indent}.. and {} more", Count(left, "finding"))?;
                }
            }
        }
        Ok(())
    }
}

impl Kind {
    fn heading(self) -> &'static str {
        match self {
            Kind::Hole => "nobody answers here, though below and above somebody does",
            Kind::FullyHidden => "enabled, but others answer wherever these are",
            Kind::ShadowedPartly => "RAM that is partly hidden",
            Kind::Clipped => "cut off by what is around them",
            Kind::AliasBeyondTarget => "aliases with bytes that their targets have not",
            Kind::MissingTarget => "aliases to what is not in the dump",
            Kind::Overflow => "beyond 2^64",
            Kind::SamePriorityOverlap => "equal priorities: only the order says who is in front",
            Kind::ZeroOrOneByte => "one byte or none: the text does not tell, flat views (-f) do",
            Kind::DuplicateMapping => "the same bytes at two addresses",
            Kind::Largest => "the largest ranges",
        }
    }
}
