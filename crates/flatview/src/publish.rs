//! How a new view reaches readers, and how the updater learns that nobody uses the old one any more.
//!
//! # The problem
//!
//! Readers look addresses up all the time and must never wait; the updater replaces whole views and must
//! know when the memory of a removed region may be given back. A view is immutable, so a reader that keeps
//! the one it saw last is always consistent; what it needs is a cheap way to notice a newer one.
//!
//! # The parts
//!
//! - A [`Cell`] holds the current view of one physical root, and a generation that grows with each change.
//! - A [`Binding`] says which cell an address space looks at. Many spaces share a cell (rule C31): one store
//!   publishes to all of them. A space whose physical root changes gets a new binding.
//! - An [`Outlet`] is the place in an address space where its binding is found.
//! - A [`Hold`] is one reader's cached view. One atomic load tells whether it is current.
//! - [`Retired`] keeps every superseded view and binding until only the list itself uses it, so that it is
//!   the updater (or who waits for a receipt) that frees it, never a reader.
//!
//! # Why it is right
//!
//! The updater stores the view, then the generation; a reader loads the generation, then the view. So the
//! view a reader keeps is at least as new as the generation beside it, and a newer one is always noticed.
//! The generation grows before the view is stored, too, and is odd in between: as soon as anybody can see the
//! new view, no reader takes the old one for current.
//! When a space moves to another cell, the binding is stored in place of the view, and it is the generation of
//! the *old* cell that grows; a reader that has just read the old cell looks at the binding once more before
//! it settles.
//! A reader gives up its reference, then asks whether somebody waits; a waiter says that it waits, then
//! counts references; a sequentially consistent fence stands between the two steps on both sides, so at
//! least one of them sees the other. `publish_loom.rs` checks all of this in every interleaving.

// Not `crate::`: `publish_loom.rs` has this file beside loom's primitives.
use super::primitive::{
    Arc, ArcSlot, AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, fence, wait,
};

/// The generation of a hold that is never current. No cell gets there.
const NEVER: u64 = u64::MAX;

/// The current view of one physical root.
#[derive(Debug)]
pub(crate) struct Cell<V> {
    view: ArcSlot<V>,
    /// Odd while something is being replaced.
    generation: AtomicU64,
}

impl<V> Cell<V> {
    /// A cell that shows `view`.
    pub(crate) fn new(view: Arc<V>) -> Cell<V> {
        Cell {
            view: ArcSlot::new(view),
            generation: AtomicU64::new(0),
        }
    }

    /// Shows `view` from now on; the view it replaces has to be retired.
    pub(crate) fn publish(&self, view: Arc<V>) -> Arc<V> {
        self.replace(|| self.view.swap(view))
    }

    /// Replaces something that holds on this cell have to notice. Only one thread at a time does this.
    fn replace<T>(&self, swap: impl FnOnce() -> T) -> T {
        self.generation.fetch_add(1, Ordering::Relaxed);
        let old = swap();
        self.generation.fetch_add(1, Ordering::Release);
        old
    }
}

/// Which cell an address space looks at.
#[derive(Debug)]
pub(crate) struct Binding<V> {
    cell: Arc<Cell<V>>,
}

/// The place in an address space where readers find its binding.
#[derive(Debug)]
pub(crate) struct Outlet<V> {
    binding: ArcSlot<Binding<V>>,
}

impl<V> Outlet<V> {
    /// An outlet that looks at `cell`.
    pub(crate) fn new(cell: Arc<Cell<V>>) -> Outlet<V> {
        Outlet {
            binding: ArcSlot::new(Arc::new(Binding { cell })),
        }
    }

    /// Looks at `cell` from now on; the binding it replaces has to be retired.
    pub(crate) fn bind(&self, cell: Arc<Cell<V>>) -> Arc<Binding<V>> {
        let new = Arc::new(Binding { cell });
        let old = self.binding.load();
        old.cell.replace(|| self.binding.swap(new))
    }
}

/// One reader's cached view of an address space.
#[derive(Debug)]
pub(crate) struct Hold<V> {
    held: Option<Held<V>>,
    retired: Arc<Retired<V>>,
}

#[derive(Debug)]
struct Held<V> {
    /// Given up before the binding: as long as the binding is kept for this reader, so is the view behind it,
    /// and the reader's reference is not the last.
    view: Arc<V>,
    binding: Arc<Binding<V>>,
    generation: u64,
}

impl<V> Hold<V> {
    /// A hold on nothing yet.
    pub(crate) fn new(retired: Arc<Retired<V>>) -> Hold<V> {
        Hold { held: None, retired }
    }

    /// Whether the view that is held is still the current one.
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        self.held
            .as_ref()
            .is_some_and(|held| held.binding.cell.generation.load(Ordering::Acquire) == held.generation)
    }

    /// The view that is held, current or not.
    #[inline]
    pub(crate) fn held(&self) -> Option<&Arc<V>> {
        self.held.as_ref().map(|held| &held.view)
    }

    /// Takes the current view of `outlet` and gives up the one held before.
    pub(crate) fn refresh(&mut self, outlet: &Outlet<V>) -> &Arc<V> {
        self.refresh_after(outlet, |_, _| ())
    }

    /// As [`refresh`](Self::refresh); `compare` sees what was held and what will be, before the former is
    /// given up.
    #[cold]
    pub(crate) fn refresh_after(
        &mut self,
        outlet: &Outlet<V>,
        compare: impl FnOnce(Option<&V>, &V),
    ) -> &Arc<V> {
        let mut binding = outlet.binding.load();
        let (generation, view) = loop {
            let generation = binding.cell.generation.load(Ordering::Acquire);
            let view = binding.cell.view.load();
            let again = outlet.binding.load();
            if Arc::ptr_eq(&binding, &again) {
                break (generation, view);
            }
            // In the order of `Held`.
            drop(view);
            binding = again;
        };
        // A hold that is taken meanwhile cannot tell whether it has the old or the new.
        let is_replacing = generation % 2 != 0;
        let generation = if is_replacing { NEVER } else { generation };
        compare(self.held().map(|held| &**held), &view);
        self.held = None;
        // Also if nothing was held: an overtaken look had hold of what the updater retired meanwhile.
        self.retired.given_up();
        &self
            .held
            .insert(Held {
                binding,
                generation,
                view,
            })
            .view
    }

    /// Gives the view up, so that what it alone still shows can be freed.
    pub(crate) fn release(&mut self) {
        if self.held.take().is_some() {
            self.retired.given_up();
        }
    }
}

impl<V> Drop for Hold<V> {
    fn drop(&mut self) {
        self.release();
    }
}

/// Something superseded that readers may still use.
#[derive(Debug)]
pub(crate) enum Superseded<V> {
    /// A view that a newer one replaced.
    View(Arc<V>),
    /// What an address space looked at before it moved to another cell.
    Binding(Arc<Binding<V>>),
}

impl<V> Superseded<V> {
    fn is_used(&self) -> bool {
        let count = match self {
            Superseded::View(view) => Arc::strong_count(view),
            Superseded::Binding(binding) => Arc::strong_count(binding),
        };
        count > 1
    }
}

/// Everything superseded that may still be in use, oldest first.
#[derive(Debug)]
pub(crate) struct Retired<V> {
    list: Mutex<RetireList<V>>,
    /// How many threads wait; readers look at it only when they give a view up.
    waiters: AtomicUsize,
    changed: Condvar,
}

#[derive(Debug)]
struct RetireList<V> {
    entries: Vec<(u64, Superseded<V>)>,
    /// The number of the newest entry ever made.
    newest: u64,
}

impl<V> RetireList<V> {
    /// Takes out what nobody uses any more. The caller drops it after it has given up the lock.
    fn take_unused(&mut self) -> Vec<(u64, Superseded<V>)> {
        if self.entries.iter().all(|(_, entry)| entry.is_used()) {
            return Vec::new();
        }
        let unused = self
            .entries
            .extract_if(.., |(_, entry)| !entry.is_used())
            .collect();
        // Pairs with the release in each reader's last decrement: what the readers did with the view
        // happened before it is freed, and before a receipt says that they are done.
        fence(Ordering::Acquire);
        unused
    }

    fn is_quiesced(&self, number: u64) -> bool {
        self.entries.first().is_none_or(|&(oldest, _)| oldest > number)
    }
}

impl<V> Retired<V> {
    /// An empty list.
    pub(crate) fn new() -> Retired<V> {
        Retired {
            list: Mutex::new(RetireList {
                entries: Vec::new(),
                newest: 0,
            }),
            waiters: AtomicUsize::new(0),
            changed: Condvar::new(),
        }
    }

    /// Adds what a commit replaced. Returns the number to ask for and what turned out to be free.
    pub(crate) fn retire(&self, superseded: impl IntoIterator<Item = Superseded<V>>) -> (u64, Unused<V>) {
        let mut list = self.list.lock();
        for entry in superseded {
            list.newest += 1;
            let number = list.newest;
            list.entries.push((number, entry));
        }
        let unused = list.take_unused();
        (list.newest, Unused(unused))
    }

    /// Whether nobody uses what was retired up to `number`.
    pub(crate) fn is_quiesced(&self, number: u64) -> bool {
        loop {
            let mut list = self.list.lock();
            let unused = list.take_unused();
            let quiesced = list.is_quiesced(number);
            drop(list);
            // What was unused may have been the last to use something else: a binding keeps a view.
            if quiesced || unused.is_empty() {
                return quiesced;
            }
        }
    }

    /// Blocks until nobody uses what was retired up to `number`.
    pub(crate) fn wait(&self, number: u64) {
        let mut list = self.list.lock();
        self.waiters.fetch_add(1, Ordering::SeqCst);
        let unused = loop {
            fence(Ordering::SeqCst);
            let unused = list.take_unused();
            if list.is_quiesced(number) {
                break unused;
            }
            list = if unused.is_empty() {
                wait(&self.changed, list)
            } else {
                // It may be the last to use something else, as a binding keeps a view: let it go, then look
                // again.
                drop(list);
                drop(unused);
                self.list.lock()
            };
        };
        self.waiters.fetch_sub(1, Ordering::SeqCst);
        drop(list);
        drop(unused);
    }

    fn given_up(&self) {
        fence(Ordering::SeqCst);
        if self.waiters.load(Ordering::SeqCst) > 0 {
            let list: MutexGuard<'_, _> = self.list.lock();
            self.changed.notify_all();
            drop(list);
        }
    }
}

/// Superseded views that nobody uses; dropping this frees them, so do it where a large drop may run.
#[derive(Debug)]
#[must_use = "dropping it frees the views here and now"]
pub(crate) struct Unused<V>(
    #[expect(dead_code, reason = "held only to be dropped")] Vec<(u64, Superseded<V>)>,
);
