//! Which region has which manager.

use std::sync::Arc;

use super::RamDiscardManager;
use crate::error::Error;
use crate::memory::Shared;
use crate::region::Region;

impl Region {
    /// Who says which parts of a RAM region are populated; `None` if all of it always is. Aliases are not followed.
    pub fn ram_discard_manager(&self) -> Option<Arc<dyn RamDiscardManager>> {
        self.home().discard_manager(self.id())
    }

    /// Gives a region of RAM a manager, or takes it away (rule S2). The region keeps it.
    ///
    /// This is no part of a transaction: it is refused within one, and cannot be undone by one.
    ///
    /// # Errors
    ///
    /// [`Error::WrongKind`] if it is neither RAM nor that of a device; [`Error::StillMapped`] if it is in a container,
    /// or an address space shows it; [`Error::HasDiscardManager`] if it has one already;
    /// [`Error::NestedUpdate`], [`Error::MemoryDropped`].
    pub fn set_ram_discard_manager(&self, manager: Option<Arc<dyn RamDiscardManager>>) -> Result<(), Error> {
        if !self.kind().is_ram() {
            return Err(Error::WrongKind {
                region: self.name().into(),
                wanted: "RAM",
                actual: self.kind(),
            });
        }
        let shared = self.shared()?;
        let updating = shared.begin_update()?;
        if self.state()?.is_mapped() || is_shown(&shared, self) {
            return Err(Error::StillMapped {
                region: self.name().into(),
            });
        }
        if manager.is_some() && self.ram_discard_manager().is_some() {
            return Err(Error::HasDiscardManager {
                region: self.name().into(),
            });
        }
        let old = self.home().set_discard_manager(self.id(), manager);
        drop(updating);
        // It may own a device.
        drop(old);
        Ok(())
    }
}

/// Whether a view shows it: as the root of a space, a region is mapped nowhere.
fn is_shown(shared: &Shared, region: &Region) -> bool {
    let views: Vec<_> = {
        let registry = shared.registry.lock();
        let slots = registry.roots().filter_map(|root| registry.slot(Some(root)));
        slots.map(|slot| Arc::clone(&slot.view)).collect()
    };
    views
        .iter()
        .any(|view| view.iter().any(|range| range.region() == region))
}
