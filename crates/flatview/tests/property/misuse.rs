//! What a transaction must refuse, or put off until it is over.

use flatview::{Error, Transaction};

use crate::generate::Pick;
use crate::world::World;

impl World {
    pub(crate) fn misuse_a_foreign_region(&self, tx: &mut Transaction<'_>, pick: Pick) {
        let ours = &self.handles[&0];
        let (_, theirs) = &self.foreign;
        let results = [
            tx.add_subregion(ours, 0, theirs),
            tx.add_subregion(theirs, 0, ours),
            tx.del_subregion(ours, theirs),
            tx.set_enabled(theirs, false),
            tx.set_size(theirs, 1),
            tx.add_eventfd(theirs, 0, 1, None, &self.notifiers[0]),
            tx.set_coalescing(theirs),
            self.memory.region("alias").alias(theirs, 0, 1).map(|_| ()),
        ];
        let which = usize::from(pick) % results.len();
        let result = results.into_iter().nth(which);
        assert!(
            matches!(result, Some(Err(Error::ForeignRegion { .. }))),
            "foreign region, verb {which}: {result:?}"
        );
    }

    /// What waits for the end of updates, or takes part in them, is refused within one.
    pub(crate) fn nest(&self, pick: Pick) {
        let memory = &self.memory;
        let result = match pick % 5 {
            0 => memory.update(|_| Ok(())).map(|_| ()),
            1 => memory
                .create_address_space("nested", &self.handles[&0])
                .map(|_| ()),
            2 => memory.global_dirty_log_sync(false),
            3 => match self.spaces.iter().find(|space| !space.destroyed) {
                Some(space) => space.handle.destroy().map(|_| ()),
                None => Err(Error::NestedUpdate),
            },
            _ => match &self.receipt {
                Some(receipt) => receipt.wait(),
                None => Err(Error::WaitInCallback),
            },
        };
        let expected = match pick % 5 {
            4 => matches!(result, Err(Error::WaitInCallback)),
            _ => matches!(result, Err(Error::NestedUpdate)),
        };
        assert!(expected, "nested {}: {result:?}", pick % 5);
    }

    /// Unregisters a listener within the transaction; it goes when the transaction is over.
    pub(crate) fn leave_within(&mut self, pick: Pick) -> Option<usize> {
        let at = usize::from(pick) % self.listeners.len().max(1);
        let listening = self.listeners.get_mut(at)?;
        let registration = listening.registration.take()?;
        let refused = registration.unregister();
        assert!(
            matches!(refused, Err(Error::NestedUpdate)),
            "unregistered within a transaction: {refused:?}"
        );
        Some(listening.listener.hearer.number)
    }
}
