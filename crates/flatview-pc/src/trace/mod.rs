//! What the guest does to the memory map, as it happens.
//!
//! A [`MapTrace`] listens to one address space and hears what appears and disappears. *Why* it does, it cannot hear:
//! that is known where the map is changed, in the chipset or a BAR, which says so to [`Causes`].

mod steps;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use flatview::{
    AddressRange, Error, FlatView, ListenerResult, MemoryListener, MemoryRegionSection, Transaction,
    WeakMemory,
};

use crate::device::lock;

pub use steps::{Shown, Step};

/// Why the memory map changes: the register write that is being carried out.
#[derive(Debug, Default)]
pub struct Causes {
    wanted: AtomicBool,
    current: Mutex<Option<String>>,
}

impl Causes {
    /// Changes the map of `memory` because of `cause`. Returns whether it was done: an accelerator may refuse a map (no
    /// slot left), and then it stays as it was; and a machine that is gone has none.
    ///
    /// The text of the cause is made only if somebody wants it.
    pub fn update(
        &self,
        memory: &WeakMemory,
        cause: impl FnOnce() -> String,
        change: impl FnOnce(&mut Transaction<'_>) -> Result<(), Error>,
    ) -> bool {
        let Some(memory) = memory.upgrade() else {
            return false;
        };
        if !self.wanted.load(Ordering::Relaxed) {
            return memory.update(change).is_ok();
        }
        *lock(&self.current) = Some(cause());
        let done = memory.update(change).is_ok();
        lock(&self.current).take();
        done
    }

    /// What is being done.
    pub fn current(&self) -> Option<String> {
        lock(&self.current).clone()
    }
}

/// A range of the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapLine {
    /// The addresses.
    pub range: AddressRange,
    /// What answers there.
    pub shown: Shown,
}

/// One change of the memory map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapChange {
    /// Which change it is, from 1.
    pub number: u64,
    /// The register write that caused it, if it is known.
    pub cause: Option<String>,
    /// What is gone, in ascending order.
    pub gone: Vec<MapLine>,
    /// What is new, in ascending order.
    pub new: Vec<MapLine>,
}

type Sink = Box<dyn FnMut(&MapChange) + Send>;

/// Hears the changes of an address space and hands each of them, with its cause, to a sink.
pub struct MapTrace {
    causes: Arc<Causes>,
    state: Mutex<State>,
}

struct State {
    change: MapChange,
    sink: Sink,
}

impl MapTrace {
    /// A listener to [register](flatview::AddressSpace::register). `sink` is called at each commit, the first of which
    /// is the registration itself: all that is there is new.
    pub fn new(causes: &Arc<Causes>, sink: impl FnMut(&MapChange) + Send + 'static) -> Arc<MapTrace> {
        causes.wanted.store(true, Ordering::Relaxed);
        let change = MapChange {
            number: 0,
            cause: None,
            gone: Vec::new(),
            new: Vec::new(),
        };
        Arc::new(MapTrace {
            causes: Arc::clone(causes),
            state: Mutex::new(State {
                change,
                sink: Box::new(sink),
            }),
        })
    }
}

fn line(section: &MemoryRegionSection<'_>) -> MapLine {
    MapLine {
        range: section.range().range(),
        shown: Shown {
            name: section.region().name().to_owned(),
            offset: section.offset_in_region(),
            readonly: section.is_readonly(),
            ram: section.region().ram_block().is_some(),
        },
    }
}

impl MemoryListener for MapTrace {
    fn name(&self) -> &str {
        "map trace"
    }

    fn region_add(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        lock(&self.state).change.new.push(line(section));
        Ok(())
    }

    fn region_del(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        lock(&self.state).change.gone.push(line(section));
        Ok(())
    }

    fn commit(&self, _: &FlatView) -> ListenerResult {
        let mut state = lock(&self.state);
        let State { change, sink } = &mut *state;
        change.gone.sort_by_key(|line| line.range.start());
        change.new.sort_by_key(|line| line.range.start());
        if !change.gone.is_empty() || !change.new.is_empty() {
            change.number += 1;
            change.cause = self.causes.current();
            sink(change);
        }
        change.gone.clear();
        change.new.clear();
        Ok(())
    }
}

impl fmt::Debug for MapTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapTrace").finish_non_exhaustive()
    }
}
