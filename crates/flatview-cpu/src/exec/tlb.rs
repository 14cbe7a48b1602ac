//! The softmmu TLB: from a linear page to the memory behind it.
//!
//! An entry says by three tags for what kind of access its window can be used. ROM has no tag for writes, and neither
//! has a page that code was translated from: such writes go the slow way. Devices have no entries at all.

use flatview::RamWindow;

/// How many pages are remembered.
const ENTRIES: usize = 1024;
/// What no tag is.
const INVALID: u64 = u64::MAX;
/// In a tag: for accesses from user mode.
pub(crate) const USER: u64 = 1;

pub(crate) const PAGE: u64 = 0x1000;
/// As the length of a buffer.
pub(crate) const PAGE_BYTES: usize = 0x1000;
pub(crate) const OFFSET: u64 = PAGE - 1;

/// What is known of a linear page.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) tag_r: u64,
    pub(crate) tag_w: u64,
    pub(crate) tag_x: u64,
    /// The page's memory.
    pub(crate) window: Option<RamWindow>,
}

impl Entry {
    const EMPTY: Entry = Entry {
        tag_r: INVALID,
        tag_w: INVALID,
        tag_x: INVALID,
        window: None,
    };
}

/// The TLB.
pub(crate) struct Tlb {
    entries: Box<[Entry; ENTRIES]>,
    used: Vec<usize>,
    /// What tags of the current privilege have beside the page: 0 or [`USER`].
    pub(crate) user: u64,
    /// Grows when something is forgotten.
    pub(crate) generation: u64,
}

impl std::fmt::Debug for Tlb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tlb")
            .field("used", &self.used.len())
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl Tlb {
    pub(crate) fn new() -> Tlb {
        Tlb {
            entries: Box::new([Entry::EMPTY; ENTRIES]),
            used: Vec::new(),
            user: 0,
            generation: 0,
        }
    }

    #[inline(always)]
    fn place(linear: u64) -> usize {
        (linear >> 12) as usize % ENTRIES
    }

    /// Where `linear` would be found.
    #[inline(always)]
    pub(crate) fn entry(&self, linear: u64) -> &Entry {
        &self.entries[Self::place(linear)]
    }

    /// The tag of `linear` for the current privilege.
    #[inline(always)]
    pub(crate) fn tag(&self, linear: u64) -> u64 {
        (linear & !OFFSET) | self.user
    }

    /// Remembers an entry.
    pub(crate) fn insert(&mut self, linear: u64, entry: Entry) {
        let place = Self::place(linear);
        let old = std::mem::replace(&mut self.entries[place], entry);
        if old.window.is_none() {
            self.used.push(place);
        }
    }

    /// Lets writes to the page at `host` go the slow way.
    pub(crate) fn protect(&mut self, host: usize) {
        for &place in &self.used {
            let entry = &mut self.entries[place];
            if entry
                .window
                .as_ref()
                .is_some_and(|window| window.as_ptr().addr() == host)
            {
                entry.tag_w = INVALID;
            }
        }
    }

    /// Forgets the page of `linear`.
    pub(crate) fn flush_page(&mut self, linear: u64) {
        let entry = &mut self.entries[Self::place(linear)];
        (entry.tag_r, entry.tag_w, entry.tag_x) = (INVALID, INVALID, INVALID);
        self.generation += 1;
    }

    /// Forgets everything.
    pub(crate) fn flush(&mut self) {
        for place in self.used.drain(..) {
            self.entries[place] = Entry::EMPTY;
        }
        self.generation += 1;
    }
}

/// The tag of an entry that may not be used in some way.
pub(crate) fn tag_if(may: bool, tag: u64) -> u64 {
    if may { tag } else { INVALID }
}
