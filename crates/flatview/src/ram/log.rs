//! The dirty log of one RAM block: which of its pages were written, for each client.
//!
//! # Why nothing is lost
//!
//! Who writes stores first and then looks whether somebody logs, and whether the page is marked already. A
//! processor may let the look overtake the store. So who starts a log, or takes marks away, has to know that
//! every store whose writer has seen the old state is visible before he reads memory. The kernel's `membarrier`
//! does that: it makes every thread of the process pass a full barrier. The writers pay nothing for it. Where
//! it is not available, writers have a fence of their own.
//!
//! # Why this file has `unsafe`
//!
//! Nearly all writes while somebody logs go to pages that he knows of, and nearly always one client logs. For
//! that case the log has a bare pointer to the client's bitmap, which is one load and one test away.
#![expect(unsafe_code, reason = "a bare pointer to a bitmap; see the text above")]

use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;

use crate::dirty::{DirtyBitmap, DirtyClients, PAGE_SHIFT, PAGE_SIZE};

// Not `crate::`: `log_loom.rs` has this file beside loom's primitives, and a barrier that threads have to pass on
// their own.
use super::barrier;
use super::primitive::{AtomicPtr, AtomicU8, AtomicU64, Mutex, Ordering, compiler_fence, fence};

/// One bit for each page.
type Map = Box<[AtomicU64]>;

pub(crate) struct DirtyLog {
    /// What writers look at: null if nobody logs, the bitmap of the only client that does, or [`many`].
    marks: AtomicPtr<AtomicU64>,
    /// [`DirtyClients`] that log now.
    active: AtomicU8,
    /// Whether writers have to order their accesses themselves.
    needs_fence: bool,
    /// Made when a client logs for the first time.
    maps: [OnceLock<Map>; 3],
    pages: u64,
    /// Which memory wants which clients: a block can be part of several.
    wanted: Mutex<Vec<(usize, DirtyClients)>>,
    /// Who takes marks right now, and gets those of a kernel's bitmap directly.
    harvest: Mutex<Option<Harvest>>,
}

/// A harvest for the only client that logs: what a kernel's bitmap says meanwhile need not be marked and taken, at two
/// locked instructions a word.
struct Harvest {
    client: DirtyClients,
    bitmap: DirtyBitmap,
}

/// In [`DirtyLog::marks`]: the long way has to be gone.
fn many() -> *mut AtomicU64 {
    NonNull::dangling().as_ptr()
}

impl DirtyLog {
    /// For a block that can have up to `size` bytes.
    pub(crate) fn new(size: u64) -> DirtyLog {
        let needs_fence = !barrier::is_available();
        DirtyLog {
            marks: AtomicPtr::new(if needs_fence { many() } else { null_mut() }),
            active: AtomicU8::new(0),
            needs_fence,
            maps: [const { OnceLock::new() }; 3],
            pages: size.div_ceil(1 << PAGE_SHIFT),
            wanted: Mutex::new(Vec::new()),
            harvest: Mutex::new(None),
        }
    }

    /// Who logs now.
    pub(crate) fn clients(&self) -> DirtyClients {
        DirtyClients::from_bits_truncate(self.active.load(Ordering::SeqCst))
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
        self.active.store(all.bits(), Ordering::SeqCst);
        let only = match all.bits().is_power_of_two() {
            true => self.maps[index(all)].get(),
            false => None,
        };
        let marks = match only {
            _ if self.needs_fence => many(),
            None if all.is_empty() => null_mut(),
            None => many(),
            Some(map) => map.as_ptr().cast_mut(),
        };
        self.marks.store(marks, Ordering::SeqCst);
        !begun.is_empty()
    }

    fn empty_map(&self) -> Map {
        (0..self.pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect()
    }

    /// To be called after bytes of the block were written.
    #[inline]
    pub(crate) fn written(&self, offset: u64, size: u64) {
        compiler_fence(Ordering::SeqCst);
        let marks = self.marks.load(Ordering::Acquire);
        if marks.is_null() {
            return;
        }
        // No byte is not within a page: the page might not exist.
        let last = (offset & (PAGE_SIZE - 1)).wrapping_add(size.wrapping_sub(1));
        let page = (last < PAGE_SIZE).then_some(offset >> PAGE_SHIFT);
        match page {
            Some(page) if marks == many() => self.mark_page(page),
            Some(page) if Self::is_marked(marks, page) => {}
            _ => self.mark_slowly(offset, size),
        }
    }

    /// As [`written`](Self::written) for a page that several clients may log.
    #[inline(never)]
    fn mark_page(&self, page: u64) {
        let mut left = if self.needs_fence {
            u8::MAX
        } else {
            self.active.load(Ordering::Relaxed)
        };
        while left != 0 {
            let map = self
                .maps
                .get(left.trailing_zeros() as usize)
                .and_then(OnceLock::get);
            let word = map.and_then(|map| map.get(word_of(page)));
            if word.is_none_or(|word| word.load(Ordering::Relaxed) & bit_of(page) == 0) {
                return self.mark_slowly(page << PAGE_SHIFT, 1);
            }
            left &= left - 1;
        }
    }

    /// `marks` is a bitmap.
    #[inline]
    fn is_marked(marks: *const AtomicU64, page: u64) -> bool {
        // SAFETY: a bitmap has a bit for each page, and lives as long as the log.
        let word = unsafe { &*marks.wrapping_add(word_of(page)) };
        word.load(Ordering::Relaxed) & bit_of(page) != 0
    }

    #[inline(never)]
    fn mark_slowly(&self, offset: u64, size: u64) {
        if self.needs_fence {
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
    #[inline]
    fn words(
        &self,
        offset: u64,
        size: u64,
    ) -> impl ExactSizeIterator<Item = (usize, u64)> + DoubleEndedIterator + use<> {
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
        let (low, high) = (u64::MAX << (first % 64), u64::MAX >> (end.wrapping_neg() % 64));
        let (start, last) = (words.start, words.end.wrapping_sub(1));
        words.map(move |word| {
            let low = if word == start { low } else { u64::MAX };
            let high = if word == last { high } else { u64::MAX };
            (word, low & high)
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
        let mut take = |here: &AtomicU64, word: usize, mask: u64| {
            let marks = match mask {
                u64::MAX => here.swap(0, Ordering::AcqRel),
                mask => here.fetch_and(!mask, Ordering::AcqRel) & mask,
            };
            pages += bitmap.add(word, marks);
            taken = true;
        };
        let mut words = self.words(offset, size);
        let (first, last) = (words.next(), words.next_back());
        for (word, mask) in first.into_iter().chain(last) {
            if map[word].load(Ordering::Relaxed) & mask != 0 {
                take(&map[word], word, mask);
            }
        }
        // All others are whole, and nearly all of them are empty.
        if let Some((first, _)) = words.next() {
            for (index, here) in map[first..=first + words.len()].iter().enumerate() {
                if here.load(Ordering::Relaxed) != 0 {
                    take(here, first + index, u64::MAX);
                }
            }
        }
        if taken {
            barrier::all_threads();
        }
        pages
    }

    /// Lets marks of a kernel's bitmap go to `bitmap`, until [`end_harvest`](Self::end_harvest). Not if another client
    /// logs as well, or somebody harvests already: then false.
    pub(crate) fn begin_harvest(&self, bitmap: DirtyBitmap, client: DirtyClients) -> bool {
        let mut harvest = self.harvest.lock();
        let begins = harvest.is_none() && self.clients() == client;
        if begins {
            *harvest = Some(Harvest { client, bitmap });
        }
        begins
    }

    /// What came since [`begin_harvest`](Self::begin_harvest).
    pub(crate) fn end_harvest(&self) -> Option<DirtyBitmap> {
        self.harvest.lock().take().map(|harvest| harvest.bitmap)
    }

    /// Marks what a bitmap of the kernel's says: one bit for each page from `first_page` on, bit 0 of each word
    /// first.
    pub(crate) fn mark_words(&self, first_page: u64, words: &[u64], clients: DirtyClients) {
        let mut harvest = self.harvest.lock();
        // A client that began to log meanwhile needs a mark of its own.
        let mut taken = harvest
            .as_mut()
            .filter(|harvest| harvest.client == clients)
            .map(|harvest| &mut harvest.bitmap);
        let whole = match &mut taken {
            Some(bitmap) if first_page.is_multiple_of(64) => bitmap.absorb_words(first_page, words),
            _ => 0..0,
        };
        let mut mark = |page, word| {
            let left = match &mut taken {
                Some(bitmap) => bitmap.absorb(page, word),
                None => word,
            };
            if left != 0 {
                self.mark_word(page, left, clients);
            }
        };
        let before = words.iter().enumerate().take(whole.start);
        let after = words.iter().enumerate().skip(whole.end);
        for (index, &word) in before.chain(after).filter(|&(_, &word)| word != 0) {
            let page = first_page + index as u64 * 64;
            if page.is_multiple_of(64) {
                mark(page, word);
            } else {
                // It lies across two words of ours.
                let shift = page % 64;
                mark(page - shift, word << shift);
                mark(page - shift + 64, word >> (64 - shift));
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
