//! Commits: from a changed tree to new views, heard by listeners, seen by readers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tracing::{debug_span, trace};

use crate::address::AddressRange;
use crate::damage;
use crate::deliver::{Delivery, Round, deliver};
use crate::diff;
use crate::dirty::{self, DirtyClients};
use crate::error::Error;
use crate::listener::Event;
use crate::memory::{Shared, UpdateGuard};
use crate::publish::Superseded;
use crate::ram::{RamBlock, Resize};
use crate::region::{Region, RegionId};
use crate::registry::{ListenerEntry, Registry, SlotKey, ViewSlot};
use crate::render::render;
use crate::space::{AddressSpace, SpaceId};
use crate::statistics::ViewStatistics;
use crate::transaction::Transaction;
use crate::tree::Tree;
use crate::view::{FlatRange, FlatView, RangeExtras, ViewExtras};

/// A view with more damaged windows than this share of its ranges is rendered anew as a whole.
const FEW_RANGES: usize = 64;
const RANGES_PER_WINDOW: usize = 8;

/// What a commit will do, once no listener objects.
#[derive(Default)]
struct Plan {
    /// New views of physical roots that are looked at already.
    changed: BTreeMap<SlotKey, Rerendered>,
    /// Physical roots that nobody looked at before.
    fresh: BTreeMap<SlotKey, ViewSlot>,
    /// What it took to find out.
    work: Vec<(SlotKey, ViewStatistics)>,
    /// Spaces whose physical root is another one now.
    moves: BTreeMap<SpaceId, SlotKey>,
}

struct Rerendered {
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
        let _span = debug_span!(target: "flatview::commit", "commit").entered();
        let plan = {
            let mut tree = self.tree.lock();
            guard
                .garbage()
                .regions
                .append(&mut tree.remove_dropped(self.home.take_dropped()));
            let mut registry = self.registry.lock();
            // A space that is gone is rendered no more; its root may be gone with it. Not before the tree's: a
            // region that was taken out there is the root of no space that is left.
            let retired = self.retire(registry.remove_dropped(), guard);
            self.tidy(&mut tree, &mut registry, guard);
            if tree.journal().is_clean() {
                self.settle(&tree, guard);
                guard.garbage().journals.push(tree.take_journal());
                return Ok(retired);
            }
            let plan = Plan::new(&tree, &registry)?;
            registry.count(&plan.work);
            plan
        };
        let deliveries = plan.deliveries(&self.registry.lock());
        let heard = match deliveries.is_empty() {
            true => None,
            false => Some(self.note_inconsistency(deliver(&deliveries))?),
        };
        let number = self.publish(plan, guard);
        heard.inspect(Round::settle);
        Ok(number)
    }

    /// Remembers for ever that listeners and views disagree, if that is the failure.
    pub(crate) fn note_inconsistency<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(Error::Inconsistent { failure, rollback }) = &result {
            self.registry.lock().inconsistent = Some((failure.clone(), rollback.clone()));
        }
        result
    }

    /// Accepts the changes to the tree and lets readers see the new views: one store for each view, in order
    /// of creation of the spaces.
    fn publish(&self, mut plan: Plan, guard: &mut UpdateGuard<'_>) -> u64 {
        let mut tree = self.tree.lock();
        let mut registry = self.registry.lock();
        self.settle(&tree, guard);
        let mut journal = tree.take_journal();
        let resizes = std::mem::take(&mut journal.resizes);
        guard.garbage().journals.push(journal);
        resizes.iter().for_each(Resize::grow);
        let mut superseded = Vec::new();
        for (key, slot) in std::mem::take(&mut plan.fresh) {
            registry.add_slot(key, slot);
            key.into_iter().for_each(|root| tree.set_view_root(root, true));
        }
        let mut stores: Vec<_> = plan
            .changed
            .keys()
            .filter_map(|&key| registry.publishes_as(key))
            .collect();
        stores.extend(plan.moves.iter().map(|(&space, &to)| (space, to)));
        stores.sort_unstable();
        for (space, key) in stores {
            // First the view, then the move to it: a space never shows what the view was before.
            if let Some(Rerendered { new, .. }) = plan.changed.remove(&key) {
                superseded.extend(registry.publish(key, new));
            }
            if plan.moves.get(&space) == Some(&key) {
                superseded.extend(registry.move_space(space, key));
            }
        }
        self.tidy(&mut tree, &mut registry, guard);
        drop((registry, tree));
        let number = self.retire(superseded, guard);
        // No lock but that of the update is held: this calls others.
        resizes.into_iter().for_each(Resize::finish);
        number
    }

    /// What everybody goes by from here on who writes, whatever view he looks at: which ioeventfds are signalled, and
    /// for whom pages are marked. Nothing is lost from here on.
    fn settle(&self, tree: &Tree, guard: &mut UpdateGuard<'_>) {
        for region in tree.journal().rearmed() {
            let extras = tree.node(region.id()).extras.as_deref();
            region.arm(extras.map_or(&[], |extras| &extras.ioeventfds));
        }
        if !tree.journal().logs_moved {
            return;
        }
        let regions = tree.regions_with_blocks();
        let mut logs: HashMap<usize, (RamBlock, DirtyClients)> = HashMap::new();
        // For nobody, if no region is left.
        let of_regions = regions
            .iter()
            .filter_map(|region| Some((region.ram_block()?.clone(), tree.dirty_log_mask(region.id()))));
        let listed = self.ram.blocks().into_iter();
        for (block, clients) in of_regions.chain(listed.map(|block| (block, DirtyClients::empty()))) {
            let log = logs.entry(block.key()).or_insert((block, DirtyClients::empty()));
            log.1 |= clients;
        }
        let mut begun = false;
        for (block, clients) in logs.into_values() {
            begun |= block.inner().log.set_wanted(self.key(), clients);
            guard.garbage().blocks.push(block);
        }
        guard.garbage().regions.extend(regions);
        if begun {
            dirty::barrier::all_threads();
        }
    }

    /// Lets go of views that no space uses any more.
    fn tidy(&self, tree: &mut Tree, registry: &mut Registry, guard: &mut UpdateGuard<'_>) {
        for (root, slot) in registry.take_left() {
            tree.set_view_root(root, false);
            guard.garbage().slots.push(slot);
        }
        tree.refresh_marks();
    }

    pub(crate) fn retire(
        &self,
        superseded: impl IntoIterator<Item = Superseded<FlatView>>,
        guard: &mut UpdateGuard<'_>,
    ) -> u64 {
        let (number, unused) = self.retired.retire(superseded);
        guard.garbage().views.push(unused);
        number
    }

    pub(crate) fn create_space(self: &Arc<Self>, name: &str, root: &Region) -> Result<AddressSpace, Error> {
        let mut guard = self.begin_update()?;
        let mut tree = self.tree.lock();
        let mut registry = self.registry.lock();
        self.retire(registry.remove_dropped(), &mut guard);
        tree.set_space_root(root.id());
        let key = tree.flatview_root(root.id());
        if registry.slot(key).is_none() {
            registry.add_slot(key, render_slot(&tree, key)?);
            key.into_iter().for_each(|root| tree.set_view_root(root, true));
        }
        let space = registry.create_space(name, root, self, key);
        self.tidy(&mut tree, &mut registry, &mut guard);
        drop((registry, tree));
        Ok(space)
    }

    pub(crate) fn destroy_space(&self, space: &AddressSpace) -> Result<u64, Error> {
        let mut guard = self.begin_teardown()?;
        space.check_alive()?;
        let mut tree = self.tree.lock();
        let mut registry = self.registry.lock();
        let id = space.inner().id;
        let listeners = registry
            .listeners()
            .iter()
            .filter(|entry| entry.space == *space)
            .count();
        if listeners != 0 {
            return Err(Error::AddressSpaceBusy {
                space: space.name().into(),
                listeners,
            });
        }
        let superseded = registry.remove_space(id);
        space.set_destroyed();
        self.tidy(&mut tree, &mut registry, &mut guard);
        drop((registry, tree));
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
                plan.moves.insert(entry.id, key);
                if registry.slot(key).is_none() && !plan.fresh.contains_key(&key) {
                    plan.fresh.insert(key, render_slot(tree, key)?);
                }
            }
        }
        let windows = match journal.everything {
            true => registry
                .roots()
                .map(|root| (root, vec![AddressRange::ALL]))
                .collect(),
            false => damage::windows(tree),
        };
        for (root, windows) in windows {
            // What everybody leaves is not rendered: it may be endless by now.
            let stays = |space: &SpaceId| plan.moves.get(space).is_none_or(|to| *to == Some(root));
            let is_used = registry.users(Some(root)).any(|space| stays(&space))
                || plan.moves.values().any(|to| *to == Some(root));
            if is_used && let Some(slot) = registry.slot(Some(root)) {
                let (work, rerendered) = rerender(tree, root, &slot.view, windows)?;
                plan.work.push((Some(root), work));
                plan.changed
                    .extend(rerendered.map(|rerendered| (Some(root), rerendered)));
            }
        }
        Ok(plan)
    }

    /// Who hears what, for each space that has listeners and shows something else than before, in order of
    /// creation.
    fn deliveries(&self, registry: &Registry) -> Vec<Delivery> {
        let space_of = |entry: &&ListenerEntry| entry.space.inner().id;
        let is_concerned = |entry: &&ListenerEntry| {
            self.changed.contains_key(&entry.slot) || self.moves.contains_key(&space_of(entry))
        };
        let mut concerned: Vec<&ListenerEntry> = registry.listeners().iter().filter(is_concerned).collect();
        // Those of one space stay in their order.
        concerned.sort_by_key(space_of);
        let mut deliveries: Vec<Delivery> = Vec::new();
        for listeners in concerned.chunk_by(|one, next| space_of(one) == space_of(next)) {
            let Some(first) = listeners.first() else { continue };
            let moved = self.moves.get(&space_of(first));
            let key = *moved.unwrap_or(&first.slot);
            let change = self.changed.get(&key);
            let current = self
                .fresh
                .get(&key)
                .or_else(|| registry.slot(key))
                .map(|slot| &slot.view);
            let new = change.map(|change| &change.new).or(current);
            let (Some(old), Some(new)) = (registry.slot(first.slot).map(|slot| &slot.view), new) else {
                continue;
            };
            let windows = match (moved, change) {
                (None, Some(change)) => &*change.windows,
                _ => &[AddressRange::ALL],
            };
            let nops = listeners.iter().any(|entry| entry.wants_nop);
            let same = deliveries.iter().find(|before| {
                Arc::ptr_eq(&before.old, old) && Arc::ptr_eq(&before.new, new) && before.nops == nops
            });
            let events = match same {
                Some(before) => Arc::clone(&before.events),
                None => diff::events(old, new, windows, nops).into(),
            };
            if events.iter().all(Event::is_nop) {
                continue;
            }
            deliveries.push(Delivery {
                space: first.space.clone(),
                old: Arc::clone(old),
                new: Arc::clone(new),
                events,
                nops,
                listeners: listeners.iter().copied().cloned().collect(),
            });
        }
        deliveries
    }
}

fn render_slot(tree: &Tree, key: SlotKey) -> Result<ViewSlot, Error> {
    match key {
        None => Ok(ViewSlot::new(None, FlatView::empty())),
        Some(root) => Ok(ViewSlot::new(tree.node(root).region(), render_view(tree, root)?)),
    }
}

fn render_view(tree: &Tree, root: RegionId) -> Result<FlatView, Error> {
    let ranges = render(tree, root, AddressRange::ALL)?;
    let extras = extras_of(tree, ranges.iter());
    Ok(FlatView::new(tree.node(root).region(), ranges, extras))
}

/// The new view, if it shows anything different. The result equals a full rendering, whatever the way to it.
fn rerender(
    tree: &Tree,
    root: RegionId,
    old: &FlatView,
    windows: Vec<AddressRange>,
) -> Result<(ViewStatistics, Option<Rerendered>), Error> {
    let mut work = ViewStatistics {
        commits: 1,
        damaged: windows.len() as u64,
        ..ViewStatistics::default()
    };
    let many = windows.len() * RANGES_PER_WINDOW > old.len().max(FEW_RANGES);
    let rerendered = if many || windows == [AddressRange::ALL] {
        let new = render_view(tree, root)?;
        work.rendered = new.len() as u64;
        work.spliced = new.len() as u64;
        (!new.shows_the_same_as(old)).then(|| (new, vec![AddressRange::ALL]))
    } else {
        let mut new = old.clone();
        let mut changed = false;
        let mut windows = windows;
        for window in &mut windows {
            *window = new.without_cutting(*window);
            let window = *window;
            let rendered = render(tree, root, window)?;
            work.rendered += rendered.len() as u64;
            let spliced = new.splice(window, rendered);
            work.spliced += spliced.unwrap_or_default() as u64;
            let shown = extras_of(tree, new.meeting(window.widened()));
            changed |= spliced.is_some() | new.set_extras(window, shown);
        }
        changed.then_some((new, windows))
    };
    trace!(target: "flatview::commit", root = &*tree.name(root), changed = rerendered.is_some(), ?work);
    let rerendered = rerendered.map(|(new, windows)| Rerendered {
        new: Arc::new(new),
        windows,
    });
    Ok((work, rerendered))
}

/// The ioeventfds and coalesced parts that ranges show (rules I7, J6).
fn extras_of<'a>(tree: &Tree, ranges: impl Iterator<Item = &'a FlatRange>) -> ViewExtras {
    let with_extras = ranges.filter_map(|range| {
        let extras = tree.node(range.region().id()).extras.as_deref()?;
        let shown = AddressRange::new(range.offset_in_region(), range.size())?;
        let address_of = |offset: u64| {
            u64::try_from(i128::from(range.start()) + i128::from(offset) - i128::from(shown.start())).ok()
        };
        let ioeventfds = extras
            .ioeventfds
            .iter()
            .filter(|eventfd| eventfd.range().is_some_and(|bytes| bytes.overlaps(shown)))
            .filter_map(|eventfd| Some(eventfd.shown(address_of(eventfd.address)?, range.region())));
        let parts = extras.coalesced.iter().filter_map(|part| {
            let part = part.intersection(shown)?;
            AddressRange::new(address_of(part.start())?, part.size())
        });
        // A zone is told of once, however many ranges of the region come down to it here, so that it is also
        // gone when it is said to be.
        let mut coalesced = Vec::new();
        for part in parts {
            if !coalesced.contains(&part) {
                coalesced.push(part);
            }
        }
        let shown = RangeExtras {
            ioeventfds: ioeventfds.collect(),
            coalesced,
        };
        (shown != RangeExtras::default()).then_some((range.start(), shown))
    });
    with_extras.collect()
}

#[cfg(test)]
#[path = "commit_test.rs"]
mod tests;
