//! `primitive.rs` for loom: the same things, which run in every order that the memory model allows.
#![allow(unused_imports, dead_code, reason = "each of the models uses a part of it")]

pub(crate) use loom::sync::{
    Condvar, MutexGuard,
    atomic::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence},
};

use std::ops::Deref;

/// Loom does not reorder what a thread does as a compiler would.
pub(crate) fn compiler_fence(_: Ordering) {}

#[derive(Debug)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("loom has no poison")
    }
}

pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).expect("loom has no poison")
}

/// An `Arc` that counts as the one of `std` does. Loom's own synchronises more: its `strong_count` is never
/// out of date.
#[derive(Debug)]
pub(crate) struct Arc<T>(std::sync::Arc<Counted<T>>);

#[derive(Debug)]
struct Counted<T> {
    strong: AtomicUsize,
    value: T,
}

impl<T> Arc<T> {
    pub(crate) fn new(value: T) -> Arc<T> {
        let strong = AtomicUsize::new(1);
        Arc(std::sync::Arc::new(Counted { strong, value }))
    }

    pub(crate) fn ptr_eq(this: &Arc<T>, other: &Arc<T>) -> bool {
        std::sync::Arc::ptr_eq(&this.0, &other.0)
    }

    pub(crate) fn strong_count(this: &Arc<T>) -> usize {
        this.0.strong.load(Ordering::Relaxed)
    }
}

impl<T> Clone for Arc<T> {
    fn clone(&self) -> Arc<T> {
        self.0.strong.fetch_add(1, Ordering::Relaxed);
        Arc(std::sync::Arc::clone(&self.0))
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> Drop for Arc<T> {
    fn drop(&mut self) {
        if self.0.strong.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
        }
        // Loom switches threads before an operation, so nobody comes between the count and the real drop.
    }
}

/// The specification of `arc_swap`, into which loom cannot look; see also [`StaleSlot`].
#[derive(Debug)]
pub(crate) struct ArcSlot<T>(Mutex<Arc<T>>);

impl<T> ArcSlot<T> {
    pub(crate) fn new(value: Arc<T>) -> ArcSlot<T> {
        ArcSlot(Mutex::new(value))
    }

    /// As `arc_swap` does, a load that a swap overtakes gives up the value that it had got hold of and takes
    /// the new one.
    pub(crate) fn load(&self) -> Arc<T> {
        loop {
            let candidate = Arc::clone(&self.0.lock());
            if Arc::ptr_eq(&candidate, &self.0.lock()) {
                return candidate;
            }
        }
    }

    pub(crate) fn swap(&self, value: Arc<T>) -> Arc<T> {
        std::mem::replace(&mut *self.0.lock(), value)
    }
}

/// An [`ArcSlot`] that promises less: until a thread knows of a swap, it may still load what was there before.
/// Everything ever put in stays.
#[derive(Debug)]
pub(crate) struct StaleSlot<T> {
    values: std::sync::Mutex<Vec<Arc<T>>>,
    newest: AtomicUsize,
}

impl<T> StaleSlot<T> {
    pub(crate) fn new(value: Arc<T>) -> StaleSlot<T> {
        StaleSlot {
            values: std::sync::Mutex::new(vec![value]),
            newest: AtomicUsize::new(0),
        }
    }

    pub(crate) fn load(&self) -> Arc<T> {
        self.get(self.newest.load(Ordering::Acquire))
    }

    pub(crate) fn swap(&self, value: Arc<T>) -> Arc<T> {
        // Only the updater swaps.
        let index = {
            let mut values = self.values.lock().expect("nobody panics with it");
            values.push(value);
            values.len() - 1
        };
        self.newest.store(index, Ordering::Release);
        self.get(index - 1)
    }

    fn get(&self, index: usize) -> Arc<T> {
        // Not to be held over an operation of loom, before which another thread may run.
        let value = std::sync::Arc::clone(&self.values.lock().expect("nobody panics with it")[index].0);
        value.strong.fetch_add(1, Ordering::Relaxed);
        Arc(value)
    }
}
