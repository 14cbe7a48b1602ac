//! Locks. What they guard is true at every moment, so a panic of whoever held one changes nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks it, also if somebody has panicked meanwhile.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
