//! The verbs of a transaction, as the rules state them, and when they are refused.

use flatview::Error;

use crate::model::{EventFd, Id, Kind, Machine, RegionModel};

/// Reasons for which a verb must be refused. Where several hold, any of them will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    AlreadyMapped { container: Id, address: u64 },
    NotASubregion { actual: Option<Id> },
    ContainmentCycle,
    ChildOfAlias,
    WrongKind,
    BadRange,
    BadEventFdSize,
    EventFd { present: bool },
    LogCount { on: bool },
}

pub(crate) type Verdict = Result<(), Vec<Refusal>>;

fn refused(reasons: Vec<Refusal>) -> Verdict {
    if reasons.is_empty() { Ok(()) } else { Err(reasons) }
}

pub(crate) fn name_of(id: Id) -> String {
    format!("r{id}")
}

impl Refusal {
    pub(crate) fn is(&self, error: &Error) -> bool {
        match (self, error) {
            (
                Refusal::AlreadyMapped { container, address },
                Error::AlreadyMapped {
                    container: named,
                    address: at,
                    ..
                },
            ) => **named == *name_of(*container) && at == address,
            (Refusal::NotASubregion { actual }, Error::NotASubregion { actual: named, .. }) => {
                actual.map(name_of).as_deref() == named.as_deref()
            }
            (Refusal::EventFd { present }, Error::EventFd { present: said, .. }) => present == said,
            (Refusal::LogCount { on }, Error::LogCount { on: said, .. }) => on == said,
            (Refusal::ContainmentCycle, Error::ContainmentCycle { .. })
            | (Refusal::ChildOfAlias, Error::ChildOfAlias { .. })
            | (Refusal::WrongKind, Error::WrongKind { .. })
            | (Refusal::BadRange, Error::BadRange { .. })
            | (Refusal::BadEventFdSize, Error::BadEventFdSize { .. }) => true,
            _ => false,
        }
    }
}

impl RegionModel {
    /// The last byte of `size` bytes at `offset`, if they lie within the region and are any at all.
    fn last_within(&self, offset: u64, size: u128) -> Option<u64> {
        let end = u128::from(offset) + size;
        if size == 0 || end > self.size {
            return None;
        }
        u64::try_from(end - 1).ok()
    }
}

impl Machine {
    /// Rules B1, B2, B12, B14, B15.
    pub(crate) fn add_subregion(&mut self, container: Id, offset: u64, sub: Id, priority: i32) -> Verdict {
        let mut reasons = Vec::new();
        if let Some(present) = self[sub].container {
            reasons.push(Refusal::AlreadyMapped {
                container: present,
                address: self[sub].address,
            });
        }
        if self[container].kind == Kind::Alias {
            reasons.push(Refusal::ChildOfAlias);
        }
        if self.is_within(container, sub) {
            reasons.push(Refusal::ContainmentCycle);
        }
        refused(reasons)?;
        self[sub].address = offset;
        self[sub].priority = priority;
        self.link(container, sub);
        Ok(())
    }

    /// Rule B3: before the first sibling of the same or lower priority.
    fn link(&mut self, container: Id, sub: Id) {
        let priority = self[sub].priority;
        let siblings = &self[container].children;
        let at = siblings
            .iter()
            .position(|&other| priority >= self[other].priority)
            .unwrap_or(siblings.len());
        self[container].children.insert(at, sub);
        self[sub].container = Some(container);
    }

    fn unlink(&mut self, container: Id, sub: Id) {
        self[container].children.retain(|&child| child != sub);
        self[sub].container = None;
    }

    /// Rule B5.
    pub(crate) fn del_subregion(&mut self, container: Id, sub: Id) -> Verdict {
        let actual = self[sub].container;
        if actual != Some(container) {
            return Err(vec![Refusal::NotASubregion { actual }]);
        }
        self.unlink(container, sub);
        Ok(())
    }

    /// Rule B4.
    pub(crate) fn set_address(&mut self, region: Id, address: u64) {
        if self[region].address == address {
            return;
        }
        self[region].address = address;
        if let Some(container) = self[region].container {
            self.unlink(container, region);
            self.link(container, region);
        }
    }

    /// Rule B8.
    pub(crate) fn set_alias_offset(&mut self, alias: Id, offset: u64) -> Verdict {
        if self[alias].kind != Kind::Alias {
            return Err(vec![Refusal::WrongKind]);
        }
        self[alias].alias_offset = offset;
        Ok(())
    }

    /// Rule D4.
    pub(crate) fn set_romd(&mut self, region: Id, romd: bool) -> Verdict {
        if self[region].kind != Kind::RomDevice {
            return Err(vec![Refusal::WrongKind]);
        }
        self[region].romd = romd;
        Ok(())
    }

    /// Rule P2.
    pub(crate) fn set_log(&mut self, region: Id, on: bool) -> Verdict {
        let count = self[region].vga_logs;
        let next = if on {
            count.checked_add(1)
        } else {
            count.checked_sub(1)
        };
        self[region].vga_logs = next.ok_or_else(|| vec![Refusal::LogCount { on }])?;
        Ok(())
    }

    /// Rule I1.
    pub(crate) fn add_eventfd(&mut self, region: Id, eventfd: EventFd) -> Verdict {
        let mut reasons = Vec::new();
        if ![0, 1, 2, 4, 8].contains(&eventfd.size) {
            reasons.push(Refusal::BadEventFdSize);
        }
        let bytes = u128::from(eventfd.size.max(1));
        if self[region].last_within(eventfd.address, bytes).is_none() {
            reasons.push(Refusal::BadRange);
        }
        if self[region].eventfds.contains(&eventfd) {
            reasons.push(Refusal::EventFd { present: true });
        }
        refused(reasons)?;
        self[region].eventfds.insert(eventfd);
        Ok(())
    }

    /// Rule I2, exact (not I5).
    pub(crate) fn del_eventfd(&mut self, region: Id, eventfd: EventFd) -> Verdict {
        match self[region].eventfds.remove(&eventfd) {
            true => Ok(()),
            false => Err(vec![Refusal::EventFd { present: false }]),
        }
    }

    /// Rule J2.
    pub(crate) fn add_coalescing(&mut self, region: Id, offset: u64, size: u128) -> Verdict {
        let last = self[region].last_within(offset, size);
        let last = last.ok_or_else(|| vec![Refusal::BadRange])?;
        self[region].coalesced.push((offset, last));
        self[region].flush_coalesced = true;
        Ok(())
    }

    /// Rule J1.
    pub(crate) fn set_coalescing(&mut self, region: Id) -> Verdict {
        let size = self[region].size;
        let before = std::mem::take(&mut self[region].coalesced);
        self.add_coalescing(region, 0, size)
            .inspect_err(|_| self[region].coalesced = before)
    }

    /// Rule J3.
    pub(crate) fn clear_coalescing(&mut self, region: Id) {
        if !self[region].coalesced.is_empty() {
            self[region].coalesced.clear();
            self[region].flush_coalesced = false;
        }
    }

    /// Rule J4.
    pub(crate) fn set_flush_coalesced(&mut self, region: Id, flush: bool) {
        let region = &mut self[region];
        region.flush_coalesced = flush || !region.coalesced.is_empty();
    }
}
