//! Reports as text.

use std::fmt;

use super::{Assumed, Assumption, Difference, Report, Shown, Verdict};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.verdict {
            Verdict::Equal => "equal: the tree renders to the printed views",
            Verdict::Open => "open: the tree renders to the printed views if",
            Verdict::Different => "different: the tree does not render to the printed views",
        };
        writeln!(f, "{what}")?;
        if self.verdict == Verdict::Different {
            self.differences
                .iter()
                .try_for_each(|difference| writeln!(f, "  {difference}"))?;
            if !self.assumed.is_empty() {
                writeln!(
                    f,
                    "and that although it is assumed, as its text does not say it, that"
                )?;
            }
        }
        self.assumed
            .iter()
            .try_for_each(|assumed| writeln!(f, "  {assumed}"))?;
        writeln!(f, "{} spaces, {} ranges compared", self.spaces, self.ranges)
    }
}

impl fmt::Display for Assumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.region)?;
        if let Some(line) = self.line {
            write!(f, " (line {line})")?;
        }
        match &self.what {
            Assumption::Answers => f.write_str(" answers where its children do not"),
            Assumption::PureContainer => f.write_str(" is only a container"),
            Assumption::Readonly => f.write_str(" is read-only"),
            Assumption::Writable => f.write_str(" is not read-only"),
            Assumption::Unmergeable => f.write_str(" is never joined with its neighbours"),
            Assumption::Mergeable => f.write_str(" is joined with its neighbours"),
            Assumption::Unseen => f.write_str(" lies in a disabled region that has no line"),
            Assumption::Within => f.write_str(" lies in the region that it stands under"),
            Assumption::Empty => f.write_str(" has no bytes"),
            Assumption::NotLarger { size } => write!(f, " has no more than {size:#x} bytes"),
            Assumption::OneByte => f.write_str(" has one byte"),
            Assumption::LeadsTo { line: Some(line) } => write!(f, " leads to the region at line {line}"),
            Assumption::LeadsTo { line: None } => f.write_str(" leads to a region that has no line"),
            Assumption::InFrontOf { regions } => write!(f, " is in front of {}", regions.join(", ")),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::NoSpace { space, root } => {
                write!(f, "{space}: printed with the root {root}, but not in the tree")
            }
            Difference::NoView { space, root } => {
                write!(
                    f,
                    "{space}: in the tree with the root {root}, but not in a printed view"
                )
            }
            Difference::Root {
                space,
                printed,
                rendered,
            } => write!(f, "{space}: printed from {printed}, rendered from {rendered}"),
            Difference::Range {
                space,
                range,
                printed,
                rendered,
                ..
            } => {
                write!(f, "{space}: {range}: printed ")?;
                write_shown(f, printed.as_ref())?;
                f.write_str(", rendered ")?;
                write_shown(f, rendered.as_ref())
            }
            Difference::Cut {
                space,
                address,
                is_printed,
            } => {
                let (with, without) = if *is_printed {
                    ("printed", "rendered")
                } else {
                    ("rendered", "printed")
                };
                write!(
                    f,
                    "{space}: a new range begins at {address:#x} as {with}, not as {without}"
                )
            }
        }
    }
}

fn write_shown(f: &mut fmt::Formatter<'_>, shown: Option<&Shown>) -> fmt::Result {
    match shown {
        None => f.write_str("nothing"),
        Some(Shown {
            region,
            offset,
            priority,
            type_name,
        }) => write!(f, "{region} @{offset:#x} (prio {priority}, {type_name})"),
    }
}
