//! The other end of a wire, for tests.

use std::sync::{Arc, Mutex};

use super::{InterruptSink, IrqLine};
use crate::device::lock;

/// Remembers the level of one line, and how often it rose.
#[derive(Default)]
pub(crate) struct Probe(Mutex<(bool, u32)>);

impl Probe {
    pub(crate) fn new() -> (Arc<Probe>, IrqLine) {
        let probe = Arc::<Probe>::default();
        (Arc::clone(&probe), IrqLine::new(probe, 0))
    }

    pub(crate) fn level(&self) -> bool {
        lock(&self.0).0
    }

    /// How often the line rose since this was last asked.
    pub(crate) fn rises(&self) -> u32 {
        std::mem::take(&mut lock(&self.0).1)
    }
}

impl InterruptSink for Probe {
    fn set_irq(&self, _: u32, level: bool) {
        let (now, rises) = &mut *lock(&self.0);
        *rises += u32::from(level && !*now);
        *now = level;
    }
}
