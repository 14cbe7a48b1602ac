//! The address spaces of a memory, the views they share, and who listens to them.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use crate::listener::{ListenerId, MemoryListener};
use crate::publish::{Cell, Superseded};
use crate::region::{Region, RegionId};
use crate::space::{AddressSpace, SpaceId, SpaceInner};
use crate::view::FlatView;

/// Which view a space has: that of its physical root, or the empty one (rule C31).
pub(crate) type SlotKey = Option<RegionId>;

/// A view and the spaces that share it.
#[derive(Debug)]
pub(crate) struct ViewSlot {
    /// Keeps the physical root alive, and its id with it.
    pub(crate) root: Option<Region>,
    pub(crate) cell: Arc<Cell<FlatView>>,
    /// What `cell` shows.
    pub(crate) view: Arc<FlatView>,
    users: usize,
}

impl ViewSlot {
    pub(crate) fn new(root: Option<Region>, view: Arc<FlatView>) -> ViewSlot {
        ViewSlot {
            root,
            cell: Arc::new(Cell::new(Arc::clone(&view))),
            view,
            users: 0,
        }
    }
}

#[derive(Debug)]
pub(crate) struct SpaceEntry {
    handle: Weak<SpaceInner>,
    pub(crate) id: SpaceId,
    pub(crate) root: RegionId,
    pub(crate) slot: SlotKey,
}

#[derive(Clone)]
pub(crate) struct ListenerEntry {
    pub(crate) id: ListenerId,
    pub(crate) priority: u32,
    pub(crate) space: AddressSpace,
    pub(crate) listener: Arc<dyn MemoryListener>,
}

pub(crate) struct Registry {
    /// In order of creation (rule G9).
    spaces: Vec<SpaceEntry>,
    slots: BTreeMap<SlotKey, ViewSlot>,
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
        slots.insert(None, ViewSlot::new(None, Arc::new(FlatView::empty())));
        Registry {
            spaces: Vec::new(),
            slots,
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

    pub(crate) fn slots(&self) -> impl Iterator<Item = (SlotKey, &ViewSlot)> {
        self.slots.iter().map(|(&key, slot)| (key, slot))
    }

    /// Takes out the spaces whose last handle is gone, and the views only they used. What is returned is to
    /// be retired.
    pub(crate) fn remove_dropped(&mut self) -> Vec<Superseded<FlatView>> {
        let mut superseded = Vec::new();
        let gone: Vec<SpaceEntry> = self
            .spaces
            .extract_if(.., |entry| entry.handle.strong_count() == 0)
            .collect();
        for entry in gone {
            self.leave_slot(entry.slot, &mut superseded);
        }
        superseded
    }

    pub(crate) fn next_space_id(&mut self) -> SpaceId {
        self.next_space += 1;
        SpaceId(self.next_space)
    }

    pub(crate) fn add_slot(&mut self, key: SlotKey, slot: ViewSlot) {
        self.slots.entry(key).or_insert(slot);
    }

    pub(crate) fn add_space(&mut self, space: &AddressSpace, slot: SlotKey) {
        let SpaceInner { id, root, .. } = &**space.inner();
        self.spaces.push(SpaceEntry {
            handle: Arc::downgrade(space.inner()),
            id: *id,
            root: root.id(),
            slot,
        });
        self.enter_slot(slot);
    }

    /// Lets a space look at another slot's view. What is returned is to be retired.
    pub(crate) fn move_space(&mut self, id: SpaceId, to: SlotKey) -> Vec<Superseded<FlatView>> {
        let mut superseded = Vec::new();
        let Some(entry) = self.spaces.iter_mut().find(|entry| entry.id == id) else {
            return superseded;
        };
        let from = std::mem::replace(&mut entry.slot, to);
        if let (Some(space), Some(slot)) = (entry.space(), self.slots.get(&to)) {
            let binding = space.inner().outlet.bind(Arc::clone(&slot.cell));
            superseded.push(Superseded::Binding(binding));
        }
        self.enter_slot(to);
        self.leave_slot(from, &mut superseded);
        superseded
    }

    /// Takes a space out that is destroyed; it looks at the empty view from now on.
    pub(crate) fn remove_space(&mut self, id: SpaceId) -> Vec<Superseded<FlatView>> {
        let superseded = self.move_space(id, None);
        self.spaces.retain(|entry| entry.id != id);
        superseded
    }

    /// Publishes a new view of a slot. What is returned is to be retired.
    pub(crate) fn publish(&mut self, key: SlotKey, view: Arc<FlatView>) -> Option<Superseded<FlatView>> {
        let slot = self.slots.get_mut(&key)?;
        slot.view = Arc::clone(&view);
        Some(Superseded::View(slot.cell.publish(view)))
    }

    fn enter_slot(&mut self, key: SlotKey) {
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.users += 1;
        }
    }

    fn leave_slot(&mut self, key: SlotKey, superseded: &mut Vec<Superseded<FlatView>>) {
        let Some(slot) = self.slots.get_mut(&key) else {
            return;
        };
        slot.users = slot.users.saturating_sub(1);
        // The empty view is kept for ever (rule C31).
        if slot.users == 0
            && key.is_some()
            && let Some(slot) = self.slots.remove(&key)
        {
            superseded.push(Superseded::View(slot.view));
        }
    }

    pub(crate) fn add_listener(
        &mut self,
        space: &AddressSpace,
        listener: &Arc<dyn MemoryListener>,
    ) -> ListenerId {
        self.next_listener += 1;
        let id = ListenerId(self.next_listener);
        let priority = listener.priority();
        let at = self.listeners.partition_point(|other| other.priority <= priority);
        let entry = ListenerEntry {
            id,
            priority,
            space: space.clone(),
            listener: Arc::clone(listener),
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

    /// The listeners of one space, ascending.
    pub(crate) fn listeners_of(&self, space: SpaceId) -> impl Iterator<Item = &ListenerEntry> {
        self.listeners
            .iter()
            .filter(move |entry| entry.space.inner().id == space)
    }

    pub(crate) fn leave_later(&mut self, id: ListenerId) {
        self.leaving.push(id);
    }

    pub(crate) fn take_leaving(&mut self) -> Vec<ListenerId> {
        std::mem::take(&mut self.leaving)
    }

    /// Lets go of everything, when the memory is dropped.
    pub(crate) fn take(&mut self) -> (Vec<SpaceEntry>, BTreeMap<SlotKey, ViewSlot>, Vec<ListenerEntry>) {
        let empty = self.slots.remove(&None);
        let slots = std::mem::take(&mut self.slots);
        self.slots.extend(empty.map(|slot| (None, slot)));
        (
            std::mem::take(&mut self.spaces),
            slots,
            std::mem::take(&mut self.listeners),
        )
    }
}

impl SpaceEntry {
    /// The space, unless its last handle is being dropped.
    pub(crate) fn space(&self) -> Option<AddressSpace> {
        self.handle.upgrade().map(AddressSpace::from_inner)
    }
}
