//! The address spaces of a memory, the views they share, and who listens to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use crate::listener::{ListenerId, MemoryListener};
use crate::memory::Shared;
use crate::publish::{Cell, Outlet, Superseded};
use crate::region::{Region, RegionId};
use crate::space::{AddressSpace, SpaceId, SpaceInner};
use crate::statistics::ViewStatistics;
use crate::view::FlatView;

/// Which view a space has: that of its physical root, or the empty one (rule C31).
pub(crate) type SlotKey = Option<RegionId>;

/// A view and the spaces that share it.
#[derive(Debug)]
pub(crate) struct ViewSlot {
    #[expect(dead_code, reason = "keeps the physical root alive, and its id with it")]
    root: Option<Region>,
    cell: Arc<Cell<FlatView>>,
    /// What `cell` shows.
    pub(crate) view: Arc<FlatView>,
    users: BTreeSet<SpaceId>,
    statistics: ViewStatistics,
}

impl ViewSlot {
    pub(crate) fn new(root: Option<Region>, view: FlatView) -> ViewSlot {
        let view = Arc::new(view);
        ViewSlot {
            root,
            cell: Arc::new(Cell::new(Arc::clone(&view))),
            view,
            users: BTreeSet::new(),
            statistics: ViewStatistics::default(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct SpaceEntry {
    handle: Weak<SpaceInner>,
    /// Of its own, so that a space can be moved without a handle, which could turn out to be the last one.
    outlet: Arc<Outlet<FlatView>>,
    pub(crate) id: SpaceId,
    pub(crate) root: RegionId,
    pub(crate) slot: SlotKey,
}

#[derive(Clone)]
pub(crate) struct ListenerEntry {
    pub(crate) id: ListenerId,
    pub(crate) priority: u32,
    pub(crate) space: AddressSpace,
    /// Which view the space has.
    pub(crate) slot: SlotKey,
    pub(crate) listener: Arc<dyn MemoryListener>,
    /// What the listener said when it was registered.
    pub(crate) wants_nop: bool,
}

pub(crate) struct Registry {
    /// In order of creation (rule G9), so sorted by id.
    spaces: Vec<SpaceEntry>,
    /// Set when the last handle of a space is gone.
    space_dropped: Arc<AtomicBool>,
    slots: BTreeMap<SlotKey, ViewSlot>,
    /// Slots that a space has left. Another one may come in the same commit.
    left: Vec<RegionId>,
    /// Ascending priority, then order of registration (rule F3).
    listeners: Vec<ListenerEntry>,
    /// To be unregistered when the running update is over.
    leaving: Vec<ListenerId>,
    next_space: u64,
    next_listener: u64,
    /// Why no update is accepted any more.
    pub(crate) inconsistent: Option<(Box<str>, Box<str>)>,
}

impl Registry {
    pub(crate) fn new() -> Registry {
        let mut slots = BTreeMap::new();
        slots.insert(None, ViewSlot::new(None, FlatView::empty()));
        Registry {
            spaces: Vec::new(),
            space_dropped: Arc::default(),
            slots,
            left: Vec::new(),
            listeners: Vec::new(),
            leaving: Vec::new(),
            next_space: 0,
            next_listener: 0,
            inconsistent: None,
        }
    }

    pub(crate) fn spaces(&self) -> Vec<AddressSpace> {
        self.spaces.iter().filter_map(SpaceEntry::space).collect()
    }

    pub(crate) fn entries(&self) -> &[SpaceEntry] {
        &self.spaces
    }

    pub(crate) fn first_rooted_at(&self, root: RegionId) -> Option<AddressSpace> {
        self.spaces
            .iter()
            .filter(|entry| entry.root == root)
            .find_map(SpaceEntry::space)
    }

    pub(crate) fn slot(&self, key: SlotKey) -> Option<&ViewSlot> {
        self.slots.get(&key)
    }

    /// The physical roots that views are rendered from.
    pub(crate) fn roots(&self) -> impl Iterator<Item = RegionId> {
        self.slots.keys().filter_map(|&key| key)
    }

    /// Counts what commits did for views.
    pub(crate) fn count(&mut self, work: &[(SlotKey, ViewStatistics)]) {
        for (key, work) in work {
            if let Some(slot) = self.slots.get_mut(key) {
                slot.statistics += *work;
            }
        }
    }

    /// The counters of the view that a space has.
    pub(crate) fn statistics(&self, space: SpaceId) -> Option<ViewStatistics> {
        let entry = &self.spaces[self.position(space)?];
        self.slots.get(&entry.slot).map(|slot| slot.statistics)
    }

    /// Takes out the spaces whose last handle is gone. What is returned is to be retired: somebody may still
    /// look at a view taken there.
    pub(crate) fn remove_dropped(&mut self) -> Vec<Superseded<FlatView>> {
        if !self.space_dropped.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        let gone = self
            .spaces
            .iter()
            .filter(|entry| entry.handle.strong_count() == 0)
            .map(|entry| entry.id);
        Vec::from_iter(gone)
            .into_iter()
            .filter_map(|space| self.remove_space(space))
            .collect()
    }

    /// Adds a slot for spaces that are about to come to it.
    pub(crate) fn add_slot(&mut self, key: SlotKey, slot: ViewSlot) {
        self.slots.entry(key).or_insert(slot);
        // The space that was to come may have been dropped meanwhile.
        self.left.extend(key);
    }

    /// Makes a space that has the view of `slot`, which is there.
    pub(crate) fn create_space(
        &mut self,
        name: &str,
        root: &Region,
        shared: &Arc<Shared>,
        key: SlotKey,
    ) -> AddressSpace {
        self.next_space += 1;
        let id = SpaceId(self.next_space);
        let slot = self
            .slots
            .entry(key)
            .or_insert_with(|| ViewSlot::new(None, FlatView::empty()));
        slot.users.insert(id);
        let outlet = Arc::new(Outlet::new(Arc::clone(&slot.cell)));
        let dropped = Arc::clone(&self.space_dropped);
        let space = AddressSpace::new(id, name, root, shared, Arc::clone(&outlet), dropped);
        let handle = Arc::downgrade(space.inner());
        self.spaces.push(SpaceEntry {
            handle,
            outlet,
            id,
            root: root.id(),
            slot: key,
        });
        space
    }

    /// Lets a space look at another slot's view. What is returned is to be retired.
    pub(crate) fn move_space(&mut self, id: SpaceId, to: SlotKey) -> Option<Superseded<FlatView>> {
        let position = self.position(id)?;
        let entry = &mut self.spaces[position];
        let from = std::mem::replace(&mut entry.slot, to);
        let slot = self.slots.get_mut(&to)?;
        slot.users.insert(id);
        let superseded = Superseded::Binding(entry.outlet.bind(Arc::clone(&slot.cell)));
        for listener in self
            .listeners
            .iter_mut()
            .filter(|entry| entry.space.inner().id == id)
        {
            listener.slot = to;
        }
        if from != to {
            self.leave_slot(from, id);
        }
        Some(superseded)
    }

    /// Takes a space out that is destroyed or dropped; it looks at the empty view from now on.
    pub(crate) fn remove_space(&mut self, id: SpaceId) -> Option<Superseded<FlatView>> {
        let superseded = self.move_space(id, None);
        self.spaces.retain(|entry| entry.id != id);
        self.leave_slot(None, id);
        superseded
    }

    /// The spaces that have the view of a slot.
    pub(crate) fn users(&self, key: SlotKey) -> impl Iterator<Item = SpaceId> {
        self.slots
            .get(&key)
            .into_iter()
            .flat_map(|slot| slot.users.iter().copied())
    }

    /// The oldest space that has the view of a slot: the one in whose turn it is published.
    pub(crate) fn publishes_as(&self, key: SlotKey) -> Option<(SpaceId, SlotKey)> {
        let first = self.slots.get(&key)?.users.first()?;
        Some((*first, key))
    }

    /// Publishes a new view of a slot. What is returned is to be retired.
    pub(crate) fn publish(&mut self, key: SlotKey, view: Arc<FlatView>) -> Option<Superseded<FlatView>> {
        let slot = self.slots.get_mut(&key)?;
        slot.statistics.published += 1;
        slot.view = Arc::clone(&view);
        Some(Superseded::View(slot.cell.publish(view)))
    }

    /// Takes out the slots that no space uses any more; their roots are to be unmarked, and they are to be
    /// dropped where no lock is held. The bindings that were retired with the spaces keep the view for
    /// whoever still looks.
    pub(crate) fn take_left(&mut self) -> Vec<(RegionId, ViewSlot)> {
        let left = std::mem::take(&mut self.left).into_iter();
        left.filter_map(|root| {
            let unused = self.slots.get(&Some(root))?.users.is_empty();
            let slot = if unused {
                self.slots.remove(&Some(root))
            } else {
                None
            };
            slot.map(|slot| (root, slot))
        })
        .collect()
    }

    fn leave_slot(&mut self, key: SlotKey, space: SpaceId) {
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.users.remove(&space);
        }
        // The empty view is kept for ever (rule C31).
        self.left.extend(key);
    }

    fn position(&self, id: SpaceId) -> Option<usize> {
        self.spaces.binary_search_by_key(&id, |entry| entry.id).ok()
    }

    pub(crate) fn add_listener(
        &mut self,
        space: &AddressSpace,
        listener: &Arc<dyn MemoryListener>,
        priority: u32,
        wants_nop: bool,
    ) -> ListenerId {
        self.next_listener += 1;
        let id = ListenerId(self.next_listener);
        let at = self.listeners.partition_point(|other| other.priority <= priority);
        let slot = self
            .position(space.inner().id)
            .and_then(|position| self.spaces[position].slot);
        let entry = ListenerEntry {
            id,
            priority,
            space: space.clone(),
            slot,
            listener: Arc::clone(listener),
            wants_nop,
        };
        self.listeners.insert(at, entry);
        id
    }

    pub(crate) fn remove_listener(&mut self, id: ListenerId) -> Option<ListenerEntry> {
        let at = self.listeners.iter().position(|entry| entry.id == id)?;
        Some(self.listeners.remove(at))
    }

    /// All listeners, ascending.
    pub(crate) fn listeners(&self) -> &[ListenerEntry] {
        &self.listeners
    }

    pub(crate) fn leave_later(&mut self, id: ListenerId) {
        self.leaving.push(id);
    }

    pub(crate) fn take_leaving(&mut self) -> Vec<ListenerId> {
        std::mem::take(&mut self.leaving)
    }

    /// Lets go of everything, when the memory is dropped. What is returned is to be dropped where no lock is
    /// held.
    pub(crate) fn take(
        &mut self,
    ) -> (
        BTreeMap<SlotKey, ViewSlot>,
        Vec<Arc<FlatView>>,
        Vec<ListenerEntry>,
    ) {
        let slots = std::mem::take(&mut self.slots);
        // A device may hold the space that shows it: spaces show nothing any more, or both would stay.
        let empty = Arc::new(FlatView::empty());
        let show_nothing = |slot: &ViewSlot| slot.cell.publish(Arc::clone(&empty));
        let views = slots.values().map(show_nothing).collect();
        self.spaces.clear();
        (slots, views, std::mem::take(&mut self.listeners))
    }
}

impl SpaceEntry {
    /// The space, unless its last handle is being dropped.
    pub(crate) fn space(&self) -> Option<AddressSpace> {
        self.handle.upgrade().map(AddressSpace::from_inner)
    }
}
