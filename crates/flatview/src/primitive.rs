//! The synchronisation primitives of the publish and read protocol, in one place so that loom can replace
//! them all (`RUSTFLAGS="--cfg loom"`).

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc, Condvar,
    atomic::{AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(loom)]
pub(crate) use loom::sync::{
    Arc, Condvar,
    atomic::{AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(not(loom))]
use std::sync::{Mutex as RawMutex, MutexGuard as RawGuard};

#[cfg(loom)]
use loom::sync::{Mutex as RawMutex, MutexGuard as RawGuard};

use std::sync::PoisonError;

pub(crate) type MutexGuard<'a, T> = RawGuard<'a, T>;

/// A mutex without poison: what it guards is put back in order by rollback, not by the next locker.
#[derive(Debug)]
pub(crate) struct Mutex<T>(RawMutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(RawMutex::new(value))
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
/// Outside loom this is `arc_swap`; loom cannot look into that crate, so its model is the specification of
/// it: an atomic cell.
#[derive(Debug)]
pub(crate) struct ArcSlot<T>(
    #[cfg(not(loom))] arc_swap::ArcSwap<T>,
    #[cfg(loom)] RawMutex<Arc<T>>,
);

#[cfg(not(loom))]
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

#[cfg(loom)]
impl<T> ArcSlot<T> {
    pub(crate) fn new(value: Arc<T>) -> ArcSlot<T> {
        ArcSlot(RawMutex::new(value))
    }

    pub(crate) fn load(&self) -> Arc<T> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn swap(&self, value: Arc<T>) -> Arc<T> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), value)
    }
}
