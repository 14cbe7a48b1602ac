//! The synchronisation primitives of the publish and read protocol, in one place so that loom can replace
//! them all: `publish_loom.rs` puts `primitive_loom.rs` in place of this file.

pub(crate) use std::sync::{
    Arc, Condvar, MutexGuard,
    atomic::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering, compiler_fence, fence},
};

use std::sync::PoisonError;

/// A mutex without poison: what it guards is put back in order by rollback, not by the next locker.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(std::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits on `condvar`; the guard comes back whatever happened to other holders of the lock.
pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// A place from which an [`Arc`] is taken without waiting and into which the updater puts the next one.
///
/// What the protocol relies on: when [`swap`](Self::swap) returns, the count of the old value has in it every
/// [`load`](Self::load) that returned it or still will, and no load that begins later returns it. A load that
/// began earlier may have counted for a moment although it returns the new value.
#[derive(Debug)]
pub(crate) struct ArcSlot<T>(arc_swap::ArcSwap<T>);

impl<T> ArcSlot<T> {
    pub(crate) fn new(value: Arc<T>) -> ArcSlot<T> {
        ArcSlot(arc_swap::ArcSwap::new(value))
    }

    pub(crate) fn load(&self) -> Arc<T> {
        self.0.load_full()
    }

    pub(crate) fn swap(&self, value: Arc<T>) -> Arc<T> {
        self.0.swap(value)
    }
}
