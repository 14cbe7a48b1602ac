//! A listener's picture of a space, made of nothing but what it hears.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use flatview::{
    AddressSpace, DirtyClients, FlatRange, FlatView, ListenerResult, MemoryListener, MemoryRegionSection,
    Registration,
};

use crate::Failure;

/// What it has heard, by first address.
#[derive(Default)]
pub(crate) struct Mirror(Mutex<BTreeMap<u64, (FlatRange, DirtyClients)>>);

impl Mirror {
    /// The registration keeps the mirror true.
    pub(crate) fn of(space: &AddressSpace) -> Result<(Arc<Mirror>, Registration), Failure> {
        let mirror = Arc::new(Mirror::default());
        let listener: Arc<dyn MemoryListener> = mirror.clone();
        let registration = space.register(listener).map_err(|error| error.to_string())?;
        Ok((mirror, registration))
    }

    pub(crate) fn shows(&self, view: &FlatView) -> bool {
        let heard = self.heard();
        heard.len() == view.len()
            && heard
                .values()
                .zip(view.iter())
                .all(|((heard, clients), range)| heard == range && *clients == range.dirty_log_mask())
    }

    fn heard(&self) -> MutexGuard<'_, BTreeMap<u64, (FlatRange, DirtyClients)>> {
        self.0.lock().unwrap()
    }

    fn log(&self, range: &FlatRange, clients: DirtyClients) -> ListenerResult {
        match self.heard().get_mut(&range.start()) {
            Some((heard, logged)) if heard == range => *logged = clients,
            other => return Err(format!("{range:?} is logged, but there is {other:?}").into()),
        }
        Ok(())
    }
}

impl MemoryListener for Mirror {
    fn name(&self) -> &str {
        "mirror"
    }

    fn region_add(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        let range = section.range();
        let mut heard = self.heard();
        if let Some((_, (below, _))) = heard.range(..=range.last()).next_back()
            && below.range().overlaps(range.range())
        {
            return Err(format!("{range:?} is added on {below:?}").into());
        }
        heard.insert(range.start(), (range.clone(), range.dirty_log_mask()));
        Ok(())
    }

    fn region_del(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        match self.heard().remove(&section.start()) {
            Some((heard, _)) if heard == *section.range() => Ok(()),
            other => Err(format!("{:?} is gone, but there was {other:?}", section.range()).into()),
        }
    }

    fn log_start(
        &self,
        section: &MemoryRegionSection<'_>,
        _: DirtyClients,
        new: DirtyClients,
    ) -> ListenerResult {
        self.log(section.range(), new)
    }

    fn log_stop(
        &self,
        section: &MemoryRegionSection<'_>,
        _: DirtyClients,
        new: DirtyClients,
    ) -> ListenerResult {
        self.log(section.range(), new)
    }
}
