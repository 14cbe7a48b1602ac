//! The dirty log of one RAM block: which of its pages were written, for each client.
//!
//! # Why nothing is lost
//!
//! Who writes stores first and then looks whether somebody logs, and whether the page is marked already. A
//! processor may let the look overtake the store. So who starts a log, or takes marks away, has to know that
//! every store whose writer has seen the old state is visible before he reads memory. The kernel's `membarrier`
//! does that: it makes every thread of the process pass a full barrier. The writers pay nothing for it. Where
//! it is not available, [`NEEDS_FENCE`] is set in every log for good, and writers take the slow way with a
//! fence of their own.

use std::sync::OnceLock;

// Not `crate::`: `log_loom.rs` has this file beside loom's primitives, and a barrier that threads have to pass on
// their own.
use super::primitive::{AtomicU8, AtomicU64, Mutex, Ordering, compiler_fence, fence};
use super::{DirtyBitmap, DirtyClients, PAGE_SHIFT, barrier};

/// In [`DirtyLog::active`]: writers have to order their accesses themselves.
const NEEDS_FENCE: u8 = 1 << 7;

/// One bit for each page.
type Map = Box<[AtomicU64]>;

pub(crate) struct DirtyLog {
    /// [`DirtyClients`] that log now, and [`NEEDS_FENCE`].
    active: AtomicU8,
    /// Made when a client logs for the first time.
    maps: [OnceLock<Map>; 3],
    pages: u64,
    /// Which memory wants which clients: a block can be part of several.
    wanted: Mutex<Vec<(usize, DirtyClients)>>,
}

impl DirtyLog {
    /// For a block that can have up to `size` bytes.
    pub(crate) fn new(size: u64) -> DirtyLog {
        DirtyLog {
            active: AtomicU8::new(if barrier::is_available() { 0 } else { NEEDS_FENCE }),
            maps: [const { OnceLock::new() }; 3],
            pages: size.div_ceil(1 << PAGE_SHIFT),
            wanted: Mutex::new(Vec::new()),
        }
    }

    /// Who logs now.
    pub(crate) fn clients(&self) -> DirtyClients {
        DirtyClients::from_bits_truncate(self.active.load(Ordering::Relaxed))
    }

    /// Lets the clients log that `memory` wants, beside those that others want. Everything is dirty for a client
    /// that begins (rule P18). Tells whether one began: then a [`barrier::all_threads`] is due before memory is
    /// looked at.
    pub(crate) fn set_wanted(&self, memory: usize, clients: DirtyClients) -> bool {
        self.change_wanted(memory, |_| clients)
    }

    /// As [`set_wanted`](Self::set_wanted), beside what `memory` wanted before.
    pub(crate) fn add_wanted(&self, memory: usize, clients: DirtyClients) -> bool {
        !clients.is_empty() && self.change_wanted(memory, |before| before | clients)
    }

    fn change_wanted(&self, memory: usize, change: impl FnOnce(DirtyClients) -> DirtyClients) -> bool {
        let mut wanted = self.wanted.lock();
        let before = wanted.iter().position(|&(other, _)| other == memory);
        let before = before.map_or(DirtyClients::empty(), |place| wanted.swap_remove(place).1);
        let clients = change(before);
        if !clients.is_empty() {
            wanted.push((memory, clients));
        }
        let all = wanted
            .iter()
            .fold(DirtyClients::empty(), |all, &(_, clients)| all | clients);
        let begun = all - self.clients();
        for client in begun.iter() {
            let map = self.maps[index(client)].get_or_init(|| self.empty_map());
            set_all(map, self.pages);
        }
        let fence = self.active.load(Ordering::Relaxed) & NEEDS_FENCE;
        self.active.store(all.bits() | fence, Ordering::SeqCst);
        !begun.is_empty()
    }

    fn empty_map(&self) -> Map {
        (0..self.pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect()
    }

    /// To be called after bytes were written.
    #[inline]
    pub(crate) fn written(&self, offset: u64, size: u64) {
        compiler_fence(Ordering::SeqCst);
        let active = self.active.load(Ordering::Relaxed);
        if active != 0 {
            self.mark_active(active, offset, size);
        }
    }

    /// Marks for those who log, unless they know already.
    #[inline]
    fn mark_active(&self, active: u8, offset: u64, size: u64) {
        let page = offset >> PAGE_SHIFT;
        let one_page = size.wrapping_sub(1) < (1 << PAGE_SHIFT) && (offset + size - 1) >> PAGE_SHIFT == page;
        if one_page && active & NEEDS_FENCE == 0 && self.is_marked(active, page) {
            return;
        }
        self.mark_slowly(offset, size);
    }

    #[inline]
    fn is_marked(&self, active: u8, page: u64) -> bool {
        (0..3).all(|client| {
            active & (1 << client) == 0
                || self.maps[client]
                    .get()
                    .and_then(|map| map.get(word_of(page)))
                    .is_some_and(|word| word.load(Ordering::Relaxed) & bit_of(page) != 0)
        })
    }

    #[cold]
    fn mark_slowly(&self, offset: u64, size: u64) {
        if self.active.load(Ordering::Relaxed) & NEEDS_FENCE != 0 {
            fence(Ordering::SeqCst);
        }
        self.mark(offset, size, self.clients());
    }

    /// Marks the pages of `size` bytes, rounded outward (rule P7), for `clients` that have logged.
    pub(crate) fn mark(&self, offset: u64, size: u64, clients: DirtyClients) {
        for client in clients.iter() {
            let Some(map) = self.maps[index(client)].get() else {
                continue;
            };
            for (word, mask) in self.words(offset, size) {
                // A locked instruction costs more than the test that makes most of them needless.
                if map[word].load(Ordering::Relaxed) & mask != mask {
                    map[word].fetch_or(mask, Ordering::Release);
                }
            }
        }
    }

    /// The words of a bitmap that have the pages of `size` bytes in them, and which of their bits those are.
    fn words(&self, offset: u64, size: u64) -> impl Iterator<Item = (usize, u64)> + use<> {
        let first = offset >> PAGE_SHIFT;
        let end = match size {
            0 => first,
            size => ((offset.saturating_add(size - 1) >> PAGE_SHIFT) + 1).min(self.pages),
        };
        let words = if first < end {
            word_of(first)..word_of(end - 1) + 1
        } else {
            0..0
        };
        words.map(move |word| {
            let base = word as u64 * 64;
            let low = first.saturating_sub(base);
            let high = (end - base).min(64);
            let mask = (u64::MAX >> (64 - high)) & (u64::MAX << low);
            (word, mask)
        })
    }

    /// Whether a page of `size` bytes is marked. A client that never logged finds everything dirty.
    pub(crate) fn is_any_dirty(&self, offset: u64, size: u64, client: DirtyClients) -> bool {
        self.look(offset, size, client, |word, mask| word & mask != 0, true)
    }

    /// Whether a page of `size` bytes is not marked.
    pub(crate) fn is_any_clean(&self, offset: u64, size: u64, client: DirtyClients) -> bool {
        self.look(offset, size, client, |word, mask| word & mask != mask, false)
    }

    fn look(
        &self,
        offset: u64,
        size: u64,
        clients: DirtyClients,
        is_it: impl Fn(u64, u64) -> bool,
        without_map: bool,
    ) -> bool {
        clients.iter().any(|client| match self.maps[index(client)].get() {
            None => without_map && self.words(offset, size).next().is_some(),
            Some(map) => self
                .words(offset, size)
                .any(|(word, mask)| is_it(map[word].load(Ordering::Relaxed), mask)),
        })
    }

    /// Moves the marks of `size` bytes into `bitmap`, which covers them. Returns how many pages came to it that it
    /// did not have. What was stored before a mark was taken can be read when this returns.
    pub(crate) fn take(&self, offset: u64, size: u64, client: DirtyClients, bitmap: &mut DirtyBitmap) -> u64 {
        let mut pages = 0;
        let mut taken = false;
        let Some(map) = self.maps[index(client)].get() else {
            for (word, mask) in self.words(offset, size) {
                pages += bitmap.add(word, mask);
            }
            return pages;
        };
        for (word, mask) in self.words(offset, size) {
            let here = &map[word];
            if here.load(Ordering::Relaxed) & mask == 0 {
                continue;
            }
            let marks = match mask {
                u64::MAX => here.swap(0, Ordering::AcqRel),
                mask => here.fetch_and(!mask, Ordering::AcqRel) & mask,
            };
            pages += bitmap.add(word, marks);
            taken = true;
        }
        if taken {
            barrier::all_threads();
        }
        pages
    }

    /// Marks what a bitmap of the kernel's says: one bit for each page from `first_page` on, bit 0 of each word
    /// first.
    pub(crate) fn mark_words(&self, first_page: u64, words: &[u64], clients: DirtyClients) {
        for (index, &word) in words.iter().enumerate().filter(|&(_, &word)| word != 0) {
            let page = first_page + index as u64 * 64;
            if page.is_multiple_of(64) {
                self.mark_word(page, word, clients);
            } else {
                // It lies across two words of ours.
                let shift = page % 64;
                self.mark_word(page - shift, word << shift, clients);
                self.mark_word(page - shift + 64, word >> (64 - shift), clients);
            }
        }
    }

    /// `page` is a multiple of 64.
    fn mark_word(&self, page: u64, word: u64, clients: DirtyClients) {
        let Some(left) = self.pages.checked_sub(page).filter(|&left| left > 0) else {
            return;
        };
        let word = if left < 64 { word & ((1 << left) - 1) } else { word };
        for client in clients.iter() {
            if let Some(map) = self.maps[index(client)].get()
                && map[word_of(page)].load(Ordering::Relaxed) & word != word
            {
                map[word_of(page)].fetch_or(word, Ordering::Release);
            }
        }
    }
}

fn set_all(map: &Map, pages: u64) {
    for (index, word) in map.iter().enumerate() {
        let left = pages - index as u64 * 64;
        let mask = if left < 64 { (1 << left) - 1 } else { u64::MAX };
        word.fetch_or(mask, Ordering::Relaxed);
    }
}

fn word_of(page: u64) -> usize {
    (page / 64) as usize
}

fn bit_of(page: u64) -> u64 {
    1 << (page % 64)
}

/// The place of a client's map.
fn index(client: DirtyClients) -> usize {
    client.bits().trailing_zeros() as usize
}
