//! Explanations as text.

use std::fmt;

use super::rivals::MOST_STEPS;
use super::{Answer, Explanation, Gap, Outcome, Overruled, Reason, Step};
use crate::region::RegionKind;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:#x} of address space `{}`", self.address, self.space)?;
        write_way(f, 1, &self.way)?;
        match &self.outcome {
            Outcome::Answered(answer) => write_answer(f, answer)?,
            Outcome::Unassigned(gap) => {
                writeln!(f, "is answered by nobody: {}", why_nobody(self.way.last()))?;
                write_gap(f, gap)?;
            }
        }
        if !self.overruled.is_empty() {
            writeln!(f, "overruled:")?;
        }
        for rival in &self.overruled {
            write_rival(f, rival)?;
        }
        if !self.complete {
            writeln!(
                f,
                "and maybe others: it takes more than {MOST_STEPS} steps to find them"
            )?;
        }
        Ok(())
    }
}

fn kind(kind: RegionKind) -> &'static str {
    match kind {
        RegionKind::Container => "container",
        RegionKind::Ram => "ram",
        RegionKind::RamDevice => "ram device",
        RegionKind::RomDevice => "rom device",
        RegionKind::Mmio => "i/o",
        RegionKind::Reservation => "reservation",
        RegionKind::Alias => "alias",
        RegionKind::Iommu => "iommu",
    }
}

fn indent(f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
    write!(f, "{:width$}", "", width = 2 * depth)
}

/// One line for each step, each further to the right.
fn write_way(f: &mut fmt::Formatter<'_>, depth: usize, way: &[Step]) -> fmt::Result {
    let mut alias: Option<&Step> = None;
    for (step, depth) in way.iter().zip(depth..) {
        indent(f, depth)?;
        write_step(f, step)?;
        if let Some(above) = alias
            && let (Some(byte), Some(of), Some(_)) = (above.offset, &above.alias, step.offset)
        {
            write!(f, ", which is {byte:#x} + {:#x}", of.offset)?;
        }
        if let Some(skipped) = step.skipped {
            f.write_str(": skipped, as it shows only the next")?;
            if skipped.lost_attributes {
                f.write_str("; its attributes are lost")?;
            }
            if skipped.lost_address {
                f.write_str("; its address is lost")?;
            }
        }
        f.write_str("\n")?;
        alias = step.alias.is_some().then_some(step);
    }
    Ok(())
}

fn write_step(f: &mut fmt::Formatter<'_>, step: &Step) -> fmt::Result {
    write!(f, "{} ({}, {}", step.region, kind(step.kind), step.span)?;
    if let Some(priority) = step.priority {
        write!(f, ", prio {priority}")?;
    }
    for (is, word) in [
        (!step.enabled, "disabled"),
        (step.readonly, "readonly"),
        (step.nonvolatile, "nonvolatile"),
        (step.unmergeable, "unmergeable"),
        (!step.romd, "romd off"),
    ] {
        if is {
            write!(f, ", {word}")?;
        }
    }
    f.write_str(")")?;
    match step.offset {
        Some(offset) => write!(f, " at its byte {offset:#x}"),
        None => Ok(()),
    }
}

fn write_answer(f: &mut fmt::Formatter<'_>, answer: &Answer) -> fmt::Result {
    writeln!(
        f,
        "is answered by {} at its byte {:#x}",
        answer.name, answer.offset
    )?;
    writeln!(f, "  in the view {}", answer.range)?;
    for (word, by) in [
        ("readonly", &answer.readonly_by),
        ("nonvolatile", &answer.nonvolatile_by),
        ("unmergeable", &answer.unmergeable_by),
    ] {
        if !by.is_empty() {
            writeln!(f, "  {word} by {}", by.join(", "))?;
        }
    }
    if !answer.romd {
        writeln!(f, "  not read directly: romd is off")?;
    }
    Ok(())
}

fn why_nobody(last: Option<&Step>) -> String {
    match last {
        Some(last) if !last.enabled => format!("{} is disabled", last.region),
        Some(last) if last.offset.is_none() => format!("it is no byte of {}", last.region),
        Some(last) => format!("{} lets it through", last.region),
        None => "there is no root".to_owned(),
    }
}

fn write_gap(f: &mut fmt::Formatter<'_>, gap: &Gap) -> fmt::Result {
    write!(f, "  in the hole {} of the view", gap.range)?;
    match (&gap.below, &gap.above) {
        (Some(below), Some(above)) => write!(f, ", between {below} and {above}")?,
        (Some(below), None) => write!(f, ", above {below}")?,
        (None, Some(above)) => write!(f, ", below {above}")?,
        (None, None) => {}
    }
    f.write_str("\n")
}

fn write_rival(f: &mut fmt::Formatter<'_>, rival: &Overruled) -> fmt::Result {
    write_way(f, 1, &rival.way)?;
    indent(f, 2)?;
    if let Some(within) = &rival.within {
        write!(f, "within {within}: ")?;
    }
    for (index, reason) in rival.reasons.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { "; " })?;
        write!(f, "{reason}")?;
    }
    f.write_str("\n")
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::LowerPriority { than, priority } => {
                write!(f, "lower priority than {than} (prio {priority})")
            }
            Reason::MappedEarlier { than } => write!(f, "mapped earlier than {than}, at the same priority"),
            Reason::BehindChild { child } => {
                write!(f, "fills only what its children leave, and there is {child}")
            }
            Reason::Disabled { region } => write!(f, "{region} is disabled"),
            Reason::Clipped { by, window } => write!(f, "cut off by {by}, which is {window}"),
            Reason::Empty { region } => write!(f, "{region} has no bytes"),
            Reason::Hole => f.write_str("lets the address through: nothing in it answers here"),
            Reason::BeyondTarget { target, span } => {
                write!(f, "lets the address through: {target} is {span}")
            }
        }
    }
}
