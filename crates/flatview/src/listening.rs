//! Joining and leaving a space as a listener, and what is said to all listeners at once.

use std::sync::Arc;

use crate::address::AddressRange;
use crate::deliver::{call, failed, join, settle};
use crate::diff;
use crate::dirty::GlobalDirty;
use crate::error::Error;
use crate::listener::{ListenerId, LogSync, MemoryListener, MemoryRegionSection};
use crate::memory::Shared;
use crate::region::Region;
use crate::registry::ListenerEntry;
use crate::space::AddressSpace;
use crate::view::{FlatRange, FlatView};

impl Shared {
    pub(crate) fn register(
        &self,
        space: &AddressSpace,
        listener: &Arc<dyn MemoryListener>,
    ) -> Result<ListenerId, Error> {
        let _guard = self.begin_update()?;
        space.check_alive()?;
        let tracked = !self.tree.lock().global_dirty.is_empty();
        let (priority, wants_nop) = (listener.priority(), listener.wants_nop());
        let id = self
            .registry
            .lock()
            .add_listener(space, listener, priority, wants_nop);
        let entry = self
            .registry
            .lock()
            .listeners()
            .iter()
            .find(|entry| entry.id == id)
            .cloned();
        let Some(entry) = entry else { return Ok(id) };
        let joined = join(&entry, &space.view(), tracked);
        if joined.is_err() {
            drop(self.registry.lock().remove_listener(id));
        }
        joined.map(|()| id)
    }

    pub(crate) fn unregister(&self, id: ListenerId) -> Result<(), Error> {
        let Ok(mut guard) = self.begin_teardown() else {
            self.registry.lock().leave_later(id);
            return Err(Error::NestedUpdate);
        };
        let (entry, result) = self.unregister_locked(id);
        guard.garbage().listeners.extend(entry);
        result
    }

    /// Unregisters while an update guard is held. The entry is to be dropped when it is not.
    ///
    /// A failing callback does not stop the others: the listener is leaving (rule F9).
    pub(crate) fn unregister_locked(&self, id: ListenerId) -> (Option<ListenerEntry>, Result<(), Error>) {
        let Some(entry) = self.registry.lock().remove_listener(id) else {
            return (None, Ok(()));
        };
        let listener = &*entry.listener;
        let view = entry.space.view();
        let mut result = failed(&entry, "begin", call(|| listener.begin()));
        for event in diff::replay_removed(&view) {
            let heard = failed(
                &entry,
                event.callback(),
                call(|| event.deliver(&entry.space, listener)),
            );
            result = result.and(heard);
        }
        let committed = failed(&entry, "commit", call(|| listener.commit(&FlatView::empty())));
        settle(&entry);
        (Some(entry), result.and(committed))
    }

    /// Unregisters everybody, the newest first, when the memory is dropped.
    pub(crate) fn unregister_all(&self) {
        let mut ids: Vec<_> = self
            .registry
            .lock()
            .listeners()
            .iter()
            .map(|entry| entry.id)
            .collect();
        ids.sort_unstable();
        for id in ids.into_iter().rev() {
            // There is nobody to tell.
            let _ = self.unregister(id);
        }
    }

    pub(crate) fn global_dirty_log_start(&self, why: GlobalDirty) -> Result<u64, Error> {
        let mut guard = self.begin_update()?;
        let (before, logs_code) = self.global_dirty();
        if why.is_empty() || !before.is_empty() {
            self.tree.lock().global_dirty |= why;
            return Ok(self.retire(Vec::new(), &mut guard));
        }
        let listeners = self.registry.lock().listeners().to_vec();
        for (index, entry) in listeners.iter().enumerate() {
            let started = failed(
                entry,
                "log_global_start",
                call(|| entry.listener.log_global_start()),
            );
            if started.is_err() {
                let _ = stop_logging(&listeners[..index]);
                return started.map(|()| 0);
            }
        }
        self.tree.lock().set_global_dirty(before | why, logs_code);
        self.commit(&mut guard).inspect_err(|_| {
            let _ = stop_logging(&listeners);
        })
    }

    pub(crate) fn global_dirty_log_stop(&self, why: GlobalDirty) -> Result<u64, Error> {
        let mut guard = self.begin_update()?;
        let (before, logs_code) = self.global_dirty();
        let after = before - why;
        if before.is_empty() || !after.is_empty() {
            self.tree.lock().global_dirty = after;
            return Ok(self.retire(Vec::new(), &mut guard));
        }
        self.tree.lock().set_global_dirty(after, logs_code);
        let number = self.commit(&mut guard)?;
        let listeners = self.registry.lock().listeners().to_vec();
        stop_logging(&listeners).map(|()| number)
    }

    fn global_dirty(&self) -> (GlobalDirty, bool) {
        let tree = self.tree.lock();
        (tree.global_dirty, tree.logs_code)
    }

    /// Brings in the dirty pages of `region`, or everybody's.
    pub(crate) fn dirty_log_sync(&self, region: Option<&Region>, last_stage: bool) -> Result<(), Error> {
        let _guard = self.begin_update()?;
        let listeners = self.registry.lock().listeners().to_vec();
        let mut result = Ok(());
        for entry in &listeners {
            let listener = &*entry.listener;
            match listener.log_sync_mode() {
                LogSync::None => {}
                LogSync::Global => {
                    let synced = call(|| listener.log_sync_global(last_stage));
                    result = result.and(failed(entry, "log_sync_global", synced));
                }
                LogSync::PerSection => {
                    for range in entry.space.view().iter().filter(|range| is_logged(range, region)) {
                        let section = MemoryRegionSection::new(&entry.space, range);
                        let synced = call(|| listener.log_sync(&section));
                        result = result.and(failed(entry, "log_sync", synced));
                    }
                }
            }
        }
        if region.is_none() {
            result = result.and(after_sync(&listeners));
        }
        result
    }

    /// Tells everybody that dirty pages were brought in.
    pub(crate) fn dirty_log_after_sync(&self) -> Result<(), Error> {
        let _guard = self.begin_update()?;
        let listeners = self.registry.lock().listeners().to_vec();
        after_sync(&listeners)
    }

    /// Tells everybody that the dirty pages of `bytes` of `region` were taken note of.
    pub(crate) fn dirty_log_clear(&self, region: &Region, bytes: AddressRange) -> Result<(), Error> {
        let _guard = self.begin_update()?;
        let listeners = self.registry.lock().listeners().to_vec();
        let mut result = Ok(());
        for entry in &listeners {
            for range in entry
                .space
                .view()
                .iter()
                .filter(|range| is_logged(range, Some(region)))
            {
                let Some(part) = range.part_showing(bytes) else {
                    continue;
                };
                let section = MemoryRegionSection::new(&entry.space, &part);
                let cleared = call(|| entry.listener.log_clear(&section));
                result = result.and(failed(entry, "log_clear", cleared));
            }
        }
        result
    }
}

/// All of them, whoever fails (rule P16).
fn after_sync(listeners: &[ListenerEntry]) -> Result<(), Error> {
    let mut result = Ok(());
    for entry in listeners {
        let heard = call(|| entry.listener.log_global_after_sync());
        result = result.and(failed(entry, "log_global_after_sync", heard));
    }
    result
}

fn is_logged(range: &FlatRange, region: Option<&Region>) -> bool {
    !range.dirty_log_mask().is_empty() && region.is_none_or(|region| range.region() == region)
}

/// The highest priority first; all of them, whoever fails.
fn stop_logging(listeners: &[ListenerEntry]) -> Result<(), Error> {
    let mut result = Ok(());
    for entry in listeners.iter().rev() {
        let stopped = failed(
            entry,
            "log_global_stop",
            call(|| entry.listener.log_global_stop()),
        );
        result = result.and(stopped);
    }
    result
}
