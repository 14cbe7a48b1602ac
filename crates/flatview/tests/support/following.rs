//! A listener that keeps something for each section.

use std::sync::Mutex;

use flatview::{ListenerError, ListenerResult, MemoryListener, MemoryRegionSection};

type Keep<T> = dyn Fn(&MemoryRegionSection<'_>) -> Result<Option<T>, ListenerError> + Send + Sync;

/// What a VFIO container does (rules S11, X10): keeps what `keep` makes of a section, a registration for instance,
/// until the section goes.
pub(crate) struct Following<T> {
    keep: Box<Keep<T>>,
    kept: Mutex<Vec<(u64, T)>>,
}

impl<T> Following<T> {
    pub(crate) fn new(
        keep: impl Fn(&MemoryRegionSection<'_>) -> Result<Option<T>, ListenerError> + Send + Sync + 'static,
    ) -> Following<T> {
        Following {
            keep: Box::new(keep),
            kept: Mutex::default(),
        }
    }
}

impl<T: Send> MemoryListener for Following<T> {
    fn name(&self) -> &str {
        "following"
    }

    fn region_add(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        let kept = (self.keep)(section)?.map(|kept| (section.start(), kept));
        self.kept.lock().expect("nobody panics").extend(kept);
        Ok(())
    }

    fn region_del(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        let mut kept = self.kept.lock().expect("nobody panics");
        kept.retain(|(start, _)| *start != section.start());
        Ok(())
    }
}
