//! A barrier that all threads of the process pass, so that those who write guest memory need none of their own.

use std::sync::LazyLock;
use std::sync::atomic::{Ordering, fence};

use rustix::thread::{MembarrierCommand, membarrier, membarrier_query};

/// Registers the process on first use; the kernel may lack the command or a sandbox forbid it.
static IS_AVAILABLE: LazyLock<bool> = LazyLock::new(|| {
    membarrier_query().contains_command(MembarrierCommand::PrivateExpedited)
        && membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
});

/// Whether [`all_threads`] reaches other threads.
pub(crate) fn is_available() -> bool {
    *IS_AVAILABLE
}

/// What any thread of this process has stored before is visible when this returns, and what it loads after sees
/// what this thread has stored before.
pub(crate) fn all_threads() {
    fence(Ordering::SeqCst);
    if is_available() {
        // It was registered, and there is no other reason to fail.
        let _ = membarrier(MembarrierCommand::PrivateExpedited);
    }
}
