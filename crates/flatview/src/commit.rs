//! Commits: from a changed tree to new views, heard by listeners, seen by readers.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::address::AddressRange;
use crate::deliver::{Delivery, deliver};
use crate::diff;
use crate::error::Error;
use crate::memory::{Shared, UpdateGuard};
use crate::publish::Superseded;
use crate::region::{Region, RegionId};
use crate::registry::{Registry, SlotKey, ViewSlot};
use crate::render::render;
use crate::space::{AddressSpace, SpaceId};
use crate::transaction::Transaction;
use crate::tree::Tree;
use crate::view::{FlatRange, FlatView, RangeExtras, ViewExtras};

/// The number of a receipt that has nothing to wait for.
const NOTHING_REPLACED: u64 = 0;

/// What a commit will do, once no listener objects.
#[derive(Default)]
struct Plan {
    /// New views of physical roots that are looked at already.
    changed: BTreeMap<SlotKey, ViewChange>,
    /// Physical roots that nobody looked at before.
    fresh: BTreeMap<SlotKey, ViewSlot>,
    /// Spaces whose physical root is another one now, in order of creation.
    moves: Vec<(SpaceId, SlotKey)>,
}

struct ViewChange {
    new: Arc<FlatView>,
    /// Where it may differ from the old one.
    windows: Vec<AddressRange>,
}

impl Shared {
    /// One transaction from begin to end. Returns what the closure returned and the number for a receipt.
    pub(crate) fn update<T>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
    ) -> Result<(T, u64), Error> {
        let mut guard = self.begin_update()?;
        let value = change(&mut Transaction::new(self))?;
        let number = self.commit(&mut guard)?;
        Ok((value, number))
    }

    /// Renders, delivers, publishes what the journal says. On failure nothing has happened but the changes to
    /// the tree, which the guard undoes.
    pub(crate) fn commit(&self, guard: &mut UpdateGuard<'_>) -> Result<u64, Error> {
        let (plan, deliveries) = {
            let mut tree = self.tree.lock();
            guard
                .garbage()
                .regions
                .append(&mut tree.remove_dropped(self.dropped_regions.take()));
            if tree.journal().is_clean() {
                guard.garbage().journals.push(tree.take_journal());
                return Ok(NOTHING_REPLACED);
            }
            let registry = self.registry.lock();
            let plan = Plan::new(&tree, &registry)?;
            let deliveries = plan.deliveries(&registry);
            (plan, deliveries)
        };
        self.note_inconsistency(deliver(&deliveries))?;
        guard.garbage().journals.push(self.tree.lock().take_journal());
        drop(deliveries);
        Ok(self.publish(plan, guard))
    }

    /// Remembers for ever that listeners and views disagree, if that is the failure.
    pub(crate) fn note_inconsistency(&self, result: Result<(), Error>) -> Result<(), Error> {
        if let Err(Error::Inconsistent { failure, rollback }) = &result {
            self.registry.lock().inconsistent = Some((failure.clone(), rollback.clone()));
        }
        result
    }

    /// Lets readers see the new views: one store for each view, in order of creation of the spaces.
    fn publish(&self, mut plan: Plan, guard: &mut UpdateGuard<'_>) -> u64 {
        let mut superseded = Vec::new();
        {
            let mut registry = self.registry.lock();
            superseded.append(&mut registry.remove_dropped());
            for (key, slot) in std::mem::take(&mut plan.fresh) {
                registry.add_slot(key, slot);
            }
            let order: Vec<_> = registry
                .entries()
                .iter()
                .map(|entry| (entry.id, entry.slot))
                .collect();
            let mut moves = plan.moves.into_iter().peekable();
            for (space, slot) in order {
                if let Some((_, to)) = moves.next_if(|&(moving, _)| moving == space) {
                    superseded.append(&mut registry.move_space(space, to));
                } else if let Some(change) = plan.changed.remove(&slot) {
                    superseded.extend(registry.publish(slot, change.new));
                }
            }
            // Views that only spaces that moved away looked at are gone with them.
        }
        self.retire(superseded, guard)
    }

    fn retire(&self, superseded: Vec<Superseded<FlatView>>, guard: &mut UpdateGuard<'_>) -> u64 {
        let (number, unused) = self.retired.retire(superseded);
        guard.garbage().views.push(unused);
        number
    }

    pub(crate) fn create_space(self: &Arc<Self>, name: &str, root: &Region) -> Result<AddressSpace, Error> {
        let mut guard = self.begin_update()?;
        let tree = self.tree.lock();
        let mut registry = self.registry.lock();
        let superseded = registry.remove_dropped();
        let key = tree.flatview_root(root.id());
        let cell = match registry.slot(key) {
            Some(slot) => Arc::clone(&slot.cell),
            None => {
                let slot = render_slot(&tree, key)?;
                let cell = Arc::clone(&slot.cell);
                registry.add_slot(key, slot);
                cell
            }
        };
        let space = AddressSpace::new(registry.next_space_id(), name, root, self, cell);
        registry.add_space(&space, key);
        drop((registry, tree));
        self.retire(superseded, &mut guard);
        Ok(space)
    }

    pub(crate) fn destroy_space(&self, space: &AddressSpace) -> Result<u64, Error> {
        let mut guard = self.begin_teardown()?;
        space.check_alive()?;
        let mut registry = self.registry.lock();
        let id = space.inner().id;
        let listeners = registry.listeners_of(id).count();
        if listeners != 0 {
            return Err(Error::AddressSpaceBusy {
                space: space.name().into(),
                listeners,
            });
        }
        let superseded = registry.remove_space(id);
        space.set_destroyed();
        drop(registry);
        Ok(self.retire(superseded, &mut guard))
    }
}

impl Plan {
    fn new(tree: &Tree, registry: &Registry) -> Result<Plan, Error> {
        let mut plan = Plan::default();
        let journal = tree.journal();
        if journal.roots_moved {
            for entry in registry.entries() {
                let key = tree.flatview_root(entry.root);
                if key == entry.slot {
                    continue;
                }
                plan.moves.push((entry.id, key));
                if registry.slot(key).is_none() && !plan.fresh.contains_key(&key) {
                    plan.fresh.insert(key, render_slot(tree, key)?);
                }
            }
        }
        for (key, slot) in registry.slots() {
            let Some(root) = key else { continue };
            let new = Arc::new(render_view(tree, root)?);
            if !slot.view.shows_the_same_as(&new) {
                plan.changed.insert(
                    key,
                    ViewChange {
                        new,
                        windows: vec![AddressRange::ALL],
                    },
                );
            }
        }
        Ok(plan)
    }

    /// Who hears what, for each space that shows something else than before, in order of creation.
    fn deliveries(&self, registry: &Registry) -> Vec<Delivery> {
        let mut deliveries: Vec<Delivery> = Vec::new();
        let mut moves = self.moves.iter().peekable();
        for entry in registry.entries() {
            let moved = moves.next_if(|&&(id, _)| id == entry.id).map(|&(_, to)| to);
            let key = moved.unwrap_or(entry.slot);
            let listeners: Vec<_> = registry.listeners_of(entry.id).cloned().collect();
            let (Some(space), Some(old)) = (entry.space(), registry.slot(entry.slot)) else {
                continue;
            };
            let change = self.changed.get(&key);
            if listeners.is_empty() || (moved.is_none() && change.is_none()) {
                continue;
            }
            let current = self
                .fresh
                .get(&key)
                .or_else(|| registry.slot(key))
                .map(|slot| &slot.view);
            let Some(new) = change.map(|change| &change.new).or(current) else {
                continue;
            };
            let windows = match (moved, change) {
                (None, Some(change)) => &*change.windows,
                _ => &[AddressRange::ALL],
            };
            let nops = listeners.iter().any(|entry| entry.listener.wants_nop());
            let same = deliveries.iter().find(|before| {
                Arc::ptr_eq(&before.old, &old.view) && Arc::ptr_eq(&before.new, new) && before.nops == nops
            });
            let events = match same {
                Some(before) => Arc::clone(&before.events),
                None => diff::events(&old.view, new, windows, nops).into(),
            };
            let change_heard = events.iter().any(|event| !event.is_nop());
            if change_heard {
                let (old, new) = (Arc::clone(&old.view), Arc::clone(new));
                deliveries.push(Delivery {
                    space,
                    old,
                    new,
                    events,
                    nops,
                    listeners,
                });
            }
        }
        deliveries
    }
}

fn render_slot(tree: &Tree, key: SlotKey) -> Result<ViewSlot, Error> {
    match key {
        None => Ok(ViewSlot::new(None, Arc::new(FlatView::empty()))),
        Some(root) => {
            let view = render_view(tree, root)?;
            Ok(ViewSlot::new(view.root().cloned(), Arc::new(view)))
        }
    }
}

fn render_view(tree: &Tree, root: RegionId) -> Result<FlatView, Error> {
    let ranges = render(tree, root, AddressRange::ALL)?;
    let extras = extras_of(tree, &ranges);
    Ok(FlatView::new(tree.node(root).region(), ranges, extras))
}

/// The ioeventfds and coalesced parts that ranges show (rules I7, J6).
fn extras_of(tree: &Tree, ranges: &[FlatRange]) -> ViewExtras {
    let with_extras = ranges.iter().filter_map(|range| {
        let extras = tree.node(range.region().id()).extras.as_deref()?;
        let shown = AddressRange::new(range.offset_in_region(), range.size())?;
        let address_of = |offset: u64| {
            u64::try_from(i128::from(range.start()) + i128::from(offset) - i128::from(shown.start())).ok()
        };
        let ioeventfds = extras
            .ioeventfds
            .iter()
            .filter(|eventfd| eventfd.range().is_some_and(|bytes| bytes.overlaps(shown)))
            .filter_map(|eventfd| {
                let mut moved = eventfd.clone();
                moved.address = address_of(eventfd.address)?;
                Some(moved)
            });
        let coalesced = extras.coalesced.iter().filter_map(|part| {
            let part = part.intersection(shown)?;
            AddressRange::new(address_of(part.start())?, part.size())
        });
        let shown = RangeExtras {
            ioeventfds: ioeventfds.collect(),
            coalesced: coalesced.collect(),
        };
        (shown != RangeExtras::default()).then_some((range.start(), shown))
    });
    with_extras.collect()
}
