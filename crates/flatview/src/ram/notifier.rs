//! Hearing of host memory that comes and goes.

use std::fmt;
use std::sync::Weak;

use super::RamList;

/// The host memory of one [`RamBlock`](super::RamBlock), as a [`RamBlockNotifier`] hears of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostMemory {
    /// The block's name.
    pub name: Box<str>,
    /// Where the first byte is in this process.
    pub host_address: usize,
    /// How many bytes the guest has, in whole pages.
    pub size: u64,
    /// How many bytes are mapped.
    pub max_size: u64,
}

/// Somebody who keeps something true to the host memory of all blocks (rule Q25): registers it with a device, say.
///
/// It is called by whichever thread makes a region, changes a size or lets go of the last handle, with no lock
/// held; different blocks may be told of at the same time. It may be called within an update, so it must not make
/// one. A panic in it is caught and only said to the log.
///
/// Each block with host memory is `added` once, then perhaps `resized`, then `removed` once. The memory stays
/// mapped during a call.
pub trait RamBlockNotifier: Send + Sync {
    /// There is a block.
    fn added(&self, memory: &HostMemory);

    /// A block goes; afterwards its memory may be unmapped. This is also heard when the registration ends.
    fn removed(&self, memory: &HostMemory);

    /// A block had `old_size` bytes and has another number of them, in whole pages.
    fn resized(&self, memory: &HostMemory, old_size: u64) {
        let _ = (memory, old_size);
    }
}

/// While it lives, a [`RamBlockNotifier`] hears of blocks; then, that each of them goes. See
/// [`Memory::add_ram_block_notifier`](crate::Memory::add_ram_block_notifier).
///
/// A call on another thread that has begun when this is dropped may end later; if it was about a block that is
/// added, the call that it goes follows on that thread.
#[must_use = "the notifier hears nothing once this is dropped"]
pub struct RamBlockRegistration {
    pub(super) list: Weak<RamList>,
    pub(super) id: u64,
}

impl Drop for RamBlockRegistration {
    fn drop(&mut self) {
        if let Some(list) = self.list.upgrade() {
            list.unregister(self.id);
        }
    }
}

impl fmt::Debug for RamBlockRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RamBlockRegistration").finish_non_exhaustive()
    }
}
