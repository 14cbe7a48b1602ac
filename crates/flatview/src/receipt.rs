//! Receipts: when nobody uses what a commit replaced.

use std::sync::{Arc, Weak};

use crate::access::is_engaged;
use crate::error::Error;
use crate::memory::Shared;
use crate::publish::Retired;
use crate::view::FlatView;

/// What a successful update returns: the closure's value, and the right to ask whether what the update
/// replaced is still in use.
///
/// To remove a device: delete its regions in an update, [`wait`](Self::wait), then tear it down. Dropping a
/// receipt does nothing; what was replaced is freed by a later update when nobody uses it.
#[derive(Debug)]
pub struct Receipt<T = ()> {
    value: T,
    memory: Weak<Shared>,
    retired: Arc<Retired<FlatView>>,
    number: u64,
}

impl<T> Receipt<T> {
    pub(crate) fn new(shared: &Arc<Shared>, number: u64, value: T) -> Receipt<T> {
        let retired = Arc::clone(&shared.retired);
        Receipt {
            value,
            memory: Arc::downgrade(shared),
            retired,
            number,
        }
    }

    /// What the closure returned.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// What the closure returned.
    pub fn into_value(self) -> T {
        self.value
    }

    /// Whether nobody uses what the update replaced: no reader, no view that is being looked at. Nothing that
    /// earlier updates replaced is in use then either, and what nobody uses has been freed.
    pub fn is_quiesced(&self) -> bool {
        self.retired.is_quiesced(self.number)
    }

    /// Blocks until [`is_quiesced`](Self::is_quiesced).
    ///
    /// A reader of the waiting thread's own that still holds an old view would be waited for for ever:
    /// [release](crate::Reader::release) it first.
    ///
    /// # Errors
    ///
    /// [`Error::WaitInCallback`] within an update or a listener's callback, and within an access to a device, whose
    /// view it would wait for: at once.
    pub fn wait(&self) -> Result<(), Error> {
        let is_updating = |shared: Arc<Shared>| shared.is_updating_here();
        if is_engaged() || self.memory.upgrade().is_some_and(is_updating) {
            return Err(Error::WaitInCallback);
        }
        self.retired.wait(self.number);
        Ok(())
    }
}
