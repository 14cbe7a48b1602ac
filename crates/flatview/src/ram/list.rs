//! The blocks of one memory, and who hears of them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::addresses::{Place, RamAddresses};
use super::{HostMemory, RamBlock, RamBlockInner, RamBlockNotifier, RamBlockRegistration, RamError};
use crate::deliver::caught;
use crate::primitive::Mutex;

/// The list of a memory's blocks (rule Q6). It keeps none of them alive.
///
/// Its lock is held for moments. Handles that are made under it are dropped when it is not, because the last one
/// takes its block out of the list.
#[derive(Default)]
pub(crate) struct RamList {
    state: Mutex<State>,
}

/// A notifier and its number.
type Registered = (u64, Arc<dyn RamBlockNotifier>);

#[derive(Default)]
struct State {
    entries: BTreeMap<Place, Entry>,
    addresses: RamAddresses,
    notifiers: Vec<Registered>,
    next_place: u64,
    next_notifier: u64,
}

struct Entry {
    block: Weak<RamBlockInner>,
    ram_addr: Option<u64>,
    host: Option<usize>,
    hearers: Vec<Hearer>,
}

/// A notifier that has heard of a block, or is about to.
struct Hearer {
    id: u64,
    notifier: Arc<dyn RamBlockNotifier>,
    /// The size it has heard last; `None` while somebody tells it that the block is there.
    told: Option<u64>,
    /// Whether it has left meanwhile: whoever tells it says next that the block goes.
    is_leaving: bool,
}

/// The lists that a block is on.
#[derive(Default)]
pub(super) struct Attachments(Mutex<Vec<(Weak<RamList>, Place)>>);

impl RamList {
    /// Puts a block on the list, unless it is there.
    pub(crate) fn attach(self: &Arc<Self>, block: &RamBlock) {
        let (place, untold) = {
            let mut attachments = block.0.attachments.0.lock();
            let here = Arc::downgrade(self);
            if attachments.iter().any(|(list, _)| list.ptr_eq(&here)) {
                return;
            }
            attachments.retain(|(list, _)| list.strong_count() > 0);
            let (place, untold) = self.insert(block);
            attachments.push((here, place));
            (place, untold)
        };
        // Nobody is told twice: who registers from now on tells itself.
        for (id, notifier) in untold {
            self.tell(block, place, id, &*notifier);
        }
    }

    /// Returns who is to be told.
    fn insert(&self, block: &RamBlock) -> (Place, Vec<Registered>) {
        let mut state = self.state.lock();
        let State {
            entries,
            addresses,
            notifiers,
            next_place,
            ..
        } = &mut *state;
        *next_place += 1;
        let place = (Reverse(block.max_size()), *next_place);
        let host = block.host_address();
        let untold: Vec<_> = match host {
            Some(_) => notifiers.clone(),
            None => Vec::new(),
        };
        let hearers = untold.iter();
        let entry = Entry {
            block: Arc::downgrade(&block.0),
            ram_addr: addresses.insert(place, block.max_size()),
            host,
            hearers: hearers.map(|(id, notifier)| Hearer::new(*id, notifier)).collect(),
        };
        entries.insert(place, entry);
        (place, untold)
    }

    /// Tells a notifier that a block is there, and what became of it meanwhile.
    fn tell(&self, block: &RamBlock, place: Place, id: u64, notifier: &dyn RamBlockNotifier) {
        let Some(mut memory) = block.0.host_memory() else {
            return;
        };
        shielded("added", || notifier.added(&memory));
        loop {
            let left = {
                let mut state = self.state.lock();
                let Some(entry) = state.entries.get_mut(&place) else {
                    return;
                };
                let Some(at) = entry.hearers.iter().position(|hearer| hearer.id == id) else {
                    return;
                };
                if entry.hearers[at].is_leaving {
                    Some(entry.hearers.remove(at))
                } else if block.0.used_pages() == memory.size {
                    entry.hearers[at].told = Some(memory.size);
                    return;
                } else {
                    None
                }
            };
            if left.is_some() {
                shielded("removed", || notifier.removed(&memory));
                return;
            }
            let old = std::mem::replace(&mut memory.size, block.0.used_pages());
            shielded("resized", || notifier.resized(&memory, old));
        }
    }

    pub(super) fn register(self: &Arc<Self>, notifier: &Arc<dyn RamBlockNotifier>) -> RamBlockRegistration {
        let (id, blocks) = {
            let mut state = self.state.lock();
            state.next_notifier += 1;
            let id = state.next_notifier;
            state.notifiers.push((id, Arc::clone(notifier)));
            let mut blocks = Vec::new();
            for (&place, entry) in &mut state.entries {
                // A block that is being dropped is none any more.
                if entry.host.is_some()
                    && let Some(block) = entry.block.upgrade()
                {
                    entry.hearers.push(Hearer::new(id, notifier));
                    blocks.push((place, RamBlock(block)));
                }
            }
            (id, blocks)
        };
        let registration = RamBlockRegistration {
            list: Arc::downgrade(self),
            id,
        };
        for (place, block) in &blocks {
            self.tell(block, *place, id, &**notifier);
        }
        registration
    }

    pub(super) fn unregister(&self, id: u64) {
        let (gone, told) = {
            let mut state = self.state.lock();
            let gone = state.notifiers.iter().position(|(other, _)| *other == id);
            let gone = gone.map(|at| state.notifiers.remove(at));
            let mut told = Vec::new();
            for entry in state.entries.values_mut() {
                let Some(at) = entry.hearers.iter().position(|hearer| hearer.id == id) else {
                    continue;
                };
                if entry.hearers[at].told.is_none() {
                    entry.hearers[at].is_leaving = true;
                } else if let Some(block) = entry.block.upgrade() {
                    told.push((RamBlock(block), entry.hearers.remove(at)));
                }
                // Otherwise whoever drops the block is about to say so.
            }
            (gone, told)
        };
        for (block, hearer) in &told {
            if let Some(memory) = block.0.host_memory() {
                shielded("removed", || hearer.notifier.removed(&memory));
            }
        }
        drop((gone, told));
    }

    /// Lets nobody hear of anything any more, when the memory is dropped.
    pub(crate) fn close(&self) {
        let ids: Vec<u64> = self.state.lock().notifiers.iter().map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.unregister(id));
    }

    /// Takes out a block whose last handle is gone, and says so.
    fn detach(&self, place: Place, block: &RamBlockInner) {
        let entry = {
            let mut state = self.state.lock();
            let entry = state.entries.remove(&place);
            if let Some(ram_addr) = entry.as_ref().and_then(|entry| entry.ram_addr) {
                state.addresses.remove(ram_addr);
            }
            entry
        };
        for hearer in entry.into_iter().flat_map(|entry| entry.hearers) {
            if let Some(memory) = block.host_memory() {
                shielded("removed", || hearer.notifier.removed(&memory));
            }
        }
    }

    /// Tells who knows of a block that its size is another one.
    fn resized(&self, place: Place, block: &RamBlockInner) {
        let size = block.used_pages();
        let told: Vec<_> = {
            let mut state = self.state.lock();
            let hearers = state
                .entries
                .get_mut(&place)
                .into_iter()
                .flat_map(|entry| &mut entry.hearers);
            hearers
                .filter_map(|hearer| {
                    // Who is just being told that the block is there hears of this in the same breath.
                    let old = hearer.told.filter(|&old| old != size)?;
                    hearer.told = Some(size);
                    Some((old, Arc::clone(&hearer.notifier)))
                })
                .collect()
        };
        for (old, notifier) in told {
            if let Some(memory) = block.host_memory() {
                shielded("resized", || {
                    notifier.resized(&HostMemory { size, ..memory }, old)
                });
            }
        }
    }

    /// All blocks, in the order of the list.
    pub(crate) fn blocks(&self) -> Vec<RamBlock> {
        let state = self.state.lock();
        state.entries.values().filter_map(Entry::block).collect()
    }

    pub(super) fn ram_addr(self: &Arc<Self>, block: &RamBlock) -> Option<u64> {
        let here = Arc::downgrade(self);
        let place = {
            let attachments = block.0.attachments.0.lock();
            attachments.iter().find(|(list, _)| list.ptr_eq(&here))?.1
        };
        self.state.lock().entries.get(&place)?.ram_addr
    }

    /// Rule Q7.
    pub(super) fn at(&self, ram_addr: u64) -> Result<(RamBlock, u64), RamError> {
        let state = self.state.lock();
        let found = state.addresses.find(ram_addr);
        found
            .and_then(|(place, offset)| Some((state.entries.get(&place)?.block()?, offset)))
            .ok_or(RamError::NoBlockAt { ram_addr })
    }

    /// Rule Q26.
    pub(super) fn at_host(&self, host: usize) -> Option<(RamBlock, u64)> {
        let state = self.state.lock();
        state.entries.iter().find_map(|(&(Reverse(max), _), entry)| {
            let offset = host.checked_sub(entry.host?)? as u64;
            let block = if offset < max { entry.block() } else { None };
            block.map(|block| (block, offset))
        })
    }
}

impl Entry {
    /// The block, unless its last handle is being dropped.
    fn block(&self) -> Option<RamBlock> {
        self.block.upgrade().map(RamBlock)
    }
}

impl Hearer {
    fn new(id: u64, notifier: &Arc<dyn RamBlockNotifier>) -> Hearer {
        Hearer {
            id,
            notifier: Arc::clone(notifier),
            told: None,
            is_leaving: false,
        }
    }
}

impl RamBlockInner {
    /// How many bytes the guest has, in whole pages (rule Q29), as far as there are such.
    pub(super) fn used_pages(&self) -> u64 {
        super::resize::whole_pages(self, self.used())
    }

    fn host_memory(&self) -> Option<HostMemory> {
        Some(HostMemory {
            name: self.name().into(),
            host_address: self.host_address()?,
            size: self.used_pages(),
            max_size: self.max,
        })
    }

    /// Tells everybody that the size is another one.
    pub(super) fn tell_resized(&self) {
        let attachments = self.attachments.0.lock().clone();
        for (list, place) in attachments {
            if let Some(list) = list.upgrade() {
                list.resized(place, self);
            }
        }
    }
}

/// Before the memory goes, those who know of it hear that it does.
impl Drop for RamBlockInner {
    fn drop(&mut self) {
        let attachments = std::mem::take(&mut *self.attachments.0.lock());
        for (list, place) in attachments {
            if let Some(list) = list.upgrade() {
                list.detach(place, self);
            }
        }
    }
}

/// Runs a callback. What it breaks is its own: it is called where nothing can fail any more.
pub(super) fn shielded(callback: &'static str, run: impl FnOnce()) {
    if let Err(error) = caught(run) {
        tracing::error!(target: "flatview::ram", callback, %error, "in a callback of a RAM block");
    }
}
