//! Changes, for people: one line each.

use std::collections::HashMap;
use std::fmt;

use super::{Answer, Diff, FlatChange, FlatChanges, SpaceChange, TreeChange, What};
use crate::units::{Bytes, Count, Spaces};

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spaces
            .iter()
            .try_for_each(|change| writeln!(f, "{change}"))?;
        write_tree(f, &self.tree)?;
        self.flat.iter().try_for_each(|changes| changes.fmt(f))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

/// Changes in the tree. What goes on from one region to the next is one line: PAM switches the memory below 1 MiB in
/// thirteen pieces.
fn write_tree(f: &mut fmt::Formatter<'_>, changes: &[TreeChange]) -> fmt::Result {
    let mut runs: Vec<Vec<&TreeChange>> = Vec::new();
    let mut open: HashMap<(&str, &str, bool, u128), usize> = HashMap::new();
    for change in changes {
        let is_enabled = match change.what {
            What::Enabled => true,
            What::Disabled => false,
            _ => {
                runs.push(vec![change]);
                continue;
            }
        };
        let start = u128::from(change.to.unwrap_or_default());
        let key = |at: u128| (&*change.tree, &*change.region, is_enabled, at);
        let run = open.remove(&key(start)).unwrap_or(runs.len());
        if run == runs.len() {
            runs.push(Vec::new());
        }
        runs[run].push(change);
        open.insert(key(start + change.size), run);
    }
    for run in runs {
        match &run[..] {
            [first, .., last] => {
                let TreeChange { tree, region, .. } = first;
                let start = first.to.unwrap_or_default();
                let end = u128::from(last.to.unwrap_or_default()) + last.size - 1;
                let verb = if first.what == What::Enabled {
                    "enabled"
                } else {
                    "disabled"
                };
                let bytes: u128 = run.iter().map(|change| change.size).sum();
                let (count, bytes) = (Count(run.len(), "region"), Bytes(bytes));
                writeln!(
                    f,
                    "~ {tree}: {region} at {start:#x}-{end:#x} {verb} ({count}, {bytes})"
                )?;
            }
            run => run.iter().try_for_each(|change| writeln!(f, "{change}"))?,
        }
    }
    Ok(())
}

impl fmt::Display for SpaceChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.has_appeared { '+' } else { '-' };
        write!(f, "{mark} address space {} with root {}", self.space, self.root)
    }
}

impl fmt::Display for TreeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.what {
            What::Appeared { .. } => '+',
            What::Vanished { .. } => '-',
            _ => '~',
        };
        write!(f, "{mark} {}: {} ", self.tree, self.region)?;
        let from = self.from.or(self.to).unwrap_or_default();
        let to = self.to.unwrap_or(from);
        let size = Bytes(self.size);
        match &self.what {
            What::Appeared { regions } | What::Vanished { regions } => {
                let Self { kind, priority, .. } = self;
                write!(f, "at {to:#x} ({kind}, {size}, prio {priority})")?;
                if !self.is_enabled {
                    f.write_str(", disabled")?;
                }
                match regions {
                    0 => Ok(()),
                    _ => write!(f, ", with {} in it", Count(*regions, "region")),
                }
            }
            What::Moved { containers: None } => write!(f, "moved {from:#x} -> {to:#x} ({size})"),
            What::Moved {
                containers: Some((one, other)),
            } => {
                let named = |name: &str| match name {
                    "" => "nothing".to_owned(),
                    name => name.to_owned(),
                };
                let (one, other) = (named(one), named(other));
                write!(f, "moved {from:#x} in {one} -> {to:#x} in {other} ({size})")
            }
            What::Resized {
                from: before,
                to: after,
            } => {
                let (was, is) = (Bytes(*before), Bytes(*after));
                write!(f, "at {to:#x} resized {before:#x} ({was}) -> {after:#x} ({is})")
            }
            What::Priority { from, to: now } => write!(f, "at {to:#x} priority {from} -> {now} ({size})"),
            What::Enabled => write!(f, "at {to:#x} enabled ({size})"),
            What::Disabled => write!(f, "at {to:#x} disabled ({size})"),
            What::Type { from, to: now } => write!(f, "at {to:#x} type {from} -> {now} ({size})"),
            What::Nonvolatile { now: true } => write!(f, "at {to:#x} became non-volatile ({size})"),
            What::Nonvolatile { now: false } => write!(f, "at {to:#x} became volatile ({size})"),
            What::AliasTarget { from, to: now } => write!(f, "at {to:#x} leads to {from} -> {now} ({size})"),
            What::AliasOffset { from, to: now } => {
                write!(
                    f,
                    "at {to:#x} begins at byte {from:#x} -> {now:#x} of its target ({size})"
                )
            }
        }
    }
}

impl fmt::Display for FlatChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.spaces.len() == 1 { "shows" } else { "show" };
        let ranges = Count(self.changes.len(), "range");
        if let Some(like) = &self.like {
            let spaces = Spaces(&self.spaces);
            return match self.changes.first().is_some_and(|change| change.before.is_none()) {
                true => writeln!(
                    f,
                    "+ {spaces} {verb} what {like} shows ({ranges}); before, nothing"
                ),
                false => writeln!(
                    f,
                    "- {spaces} {verb} nothing; before, what {like} showed ({ranges})"
                ),
            };
        }
        writeln!(f, "~ {} {verb}", Spaces(&self.spaces))?;
        self.changes.iter().try_for_each(|change| writeln!(f, "{change}"))
    }
}

impl fmt::Display for FlatChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match (&self.before, &self.after) {
            (None, _) => '+',
            (_, None) => '-',
            _ => '~',
        };
        write!(
            f,
            "{mark}   {} ({})  ",
            self.range,
            Bytes(self.range.size().bytes())
        )?;
        // Only the byte tells such answers apart.
        let same = match (&self.before, &self.after) {
            (Some(one), Some(other)) => (&one.region, &one.type_name) == (&other.region, &other.type_name),
            _ => false,
        };
        write_answer(f, self.before.as_ref(), same)?;
        f.write_str(" -> ")?;
        write_answer(f, self.after.as_ref(), same)
    }
}

fn write_answer(f: &mut fmt::Formatter<'_>, answer: Option<&Answer>, with_offset: bool) -> fmt::Result {
    let Some(answer) = answer else {
        return f.write_str("nothing");
    };
    f.write_str(&answer.region)?;
    if with_offset {
        write!(f, " @{:#x}", answer.offset)?;
    }
    write!(f, " ({})", answer.type_name)
}
