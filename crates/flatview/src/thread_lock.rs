//! A lock that knows which thread holds it, so that taking it twice is an answer and not a deadlock.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::primitive::{Mutex, MutexGuard};

pub(crate) struct ThreadLock {
    lock: Mutex<()>,
    /// The thread that holds the lock, 0 for none. Only that thread can find its own number here.
    thread: AtomicU64,
}

/// A number for this thread that no other has.
fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|&number| number)
}

impl Default for ThreadLock {
    fn default() -> ThreadLock {
        ThreadLock {
            lock: Mutex::new(()),
            thread: AtomicU64::new(0),
        }
    }
}

impl ThreadLock {
    /// Waits for other threads. `None` if this one holds the lock.
    pub(crate) fn enter(&self) -> Option<ThreadLockGuard<'_>> {
        if self.is_held_here() {
            return None;
        }
        let guard = self.lock.lock();
        self.thread.store(this_thread(), Ordering::Relaxed);
        Some(ThreadLockGuard {
            lock: self,
            _guard: guard,
        })
    }

    /// Whether this thread holds the lock.
    pub(crate) fn is_held_here(&self) -> bool {
        self.thread.load(Ordering::Relaxed) == this_thread()
    }
}

/// The lock is held while it lives.
pub(crate) struct ThreadLockGuard<'a> {
    lock: &'a ThreadLock,
    _guard: MutexGuard<'a, ()>,
}

impl Drop for ThreadLockGuard<'_> {
    fn drop(&mut self) {
        self.lock.thread.store(0, Ordering::Relaxed);
    }
}
