//! What was repaired, and what could not be.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::AccelError;

/// How many names are kept apart. A guest chooses its instructions: the rest is one row, [`OTHERS`].
const ROWS: usize = 64;
/// The name of all instructions that have no row of their own.
const OTHERS: &str = "others";

/// How many instructions an assistant has executed, and which.
///
/// vCPUs count while others read.
#[derive(Debug, Default)]
pub struct AssistStatistics {
    executed: AtomicU64,
    failed: AtomicU64,
    rows: Mutex<HashMap<String, Counts>>,
    refusal: Mutex<Option<String>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    repaired: u64,
    failed: u64,
}

/// An instruction that the first accelerator could not execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssistedInstruction {
    /// Its name, or its bytes; `others` for all those that are not counted on their own.
    pub name: String,
    /// How often it was repaired.
    pub repaired: u64,
    /// How often it was not.
    pub failed: u64,
}

impl AssistStatistics {
    /// How many instructions the assistant has executed.
    pub fn executed(&self) -> u64 {
        self.executed.load(Ordering::Relaxed)
    }

    /// How often it could not.
    pub fn failed_repairs(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Which ones the first accelerator could not execute, at most 65 rows, the most frequent first.
    pub fn instructions(&self) -> Vec<AssistedInstruction> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<_> = rows
            .iter()
            .map(|(name, counts)| AssistedInstruction {
                name: name.clone(),
                repaired: counts.repaired,
                failed: counts.failed,
            })
            .collect();
        list.sort_by(|a, b| {
            let often = |row: &AssistedInstruction| row.repaired.saturating_add(row.failed);
            often(b).cmp(&often(a)).then_with(|| a.name.cmp(&b.name))
        });
        list
    }

    /// Why the assistant could not have a vCPU's state, the last time that it could not.
    pub fn last_refusal(&self) -> Option<String> {
        self.refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// An instruction was repaired, with `executed` instructions from it on.
    pub(crate) fn repaired(&self, name: String, executed: u32) {
        self.executed.fetch_add(u64::from(executed), Ordering::Relaxed);
        self.count(name, |counts| counts.repaired += 1);
    }

    /// An instruction was not repaired; `refusal` if that is because of the state.
    pub(crate) fn failed(&self, name: String, refusal: Option<&AccelError>) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.count(name, |counts| counts.failed += 1);
        if let Some(refusal) = refusal {
            *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal.to_string());
        }
    }

    fn count(&self, name: String, add: impl FnOnce(&mut Counts)) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let name = if rows.len() < ROWS || rows.contains_key(&name) {
            name
        } else {
            OTHERS.to_owned()
        };
        add(rows.entry(name).or_default());
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_most_frequent_come_first() {
        let statistics = AssistStatistics::default();
        statistics.repaired("fld".to_owned(), 1);
        statistics.repaired("int3".to_owned(), 4);
        let refusal = AccelError::BadState {
            register: "cr4",
            value: 0x1000,
            why: "no",
        };
        statistics.failed("int3".to_owned(), Some(&refusal));
        assert_eq!((statistics.executed(), statistics.failed_repairs()), (5, 1));
        let row = |name: &str, repaired, failed| AssistedInstruction {
            name: name.to_owned(),
            repaired,
            failed,
        };
        assert_eq!(statistics.instructions(), [row("int3", 1, 1), row("fld", 1, 0)]);
        assert_eq!(
            statistics.last_refusal().as_deref(),
            Some("cr4 cannot be 0x1000: no")
        );
    }

    #[test]
    fn no_guest_makes_the_table_grow_without_end() {
        let statistics = AssistStatistics::default();
        for number in 0..1000 {
            statistics.repaired(format!("{number}"), 1);
        }
        let rows = statistics.instructions();
        assert_eq!(rows.len(), ROWS + 1);
        assert_eq!(
            (rows[0].name.as_str(), rows[0].repaired),
            (OTHERS, 1000 - ROWS as u64)
        );
    }
}
