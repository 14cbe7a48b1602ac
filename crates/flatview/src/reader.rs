//! Readers: the fast way to look at an address space.
//!
//! # Why this file has `unsafe`
//!
//! A reader remembers ranges that answered, as pointers into the view it holds: a look-up that finds one costs
//! a few loads and two comparisons, however many ranges there are. A pointer is followed only while the very
//! view it points into is held; views are immutable, and one that is held is not freed.
//!
//! # Why a small direct-mapped cache
//!
//! One last hit is enough for a loop over RAM, but a guest that drives ten devices would miss nine times out
//! of ten. The page of the address chooses one of [`HITS`] places, so neighbouring windows do not get into
//! each other's way; a large range simply fills many places. A new view shares most of its chunks with the one
//! before, so a reader that goes over to it forgets only what lies in chunks that were replaced.
//! `docs/benchmarks.md` has the figures.
#![expect(
    unsafe_code,
    reason = "pointers into the view that is held; see the text above"
)]

use std::ptr::NonNull;

use crate::publish::Hold;
use crate::space::AddressSpace;
use crate::view::{FlatRange, FlatView};

/// How many ranges a reader remembers, 24 bytes each.
const HITS: usize = 1024;

/// Addresses in one page share a place.
const PAGE_SHIFT: u32 = 12;

/// One thread's way to look at an address space, many times and cheaply.
///
/// A reader keeps the view it saw last; one atomic load tells whether there is a newer one. So it never waits
/// and never sees half a commit, but it keeps what it saw alive: [`release`](Self::release) it before the
/// thread blocks or idles.
///
/// ```
/// # use flatview::{Memory, RamBlock, Size};
/// # let memory = Memory::new();
/// # let system = memory.region("system").container(Size::MAX);
/// # let space = memory.create_address_space("memory", &system)?;
/// let ram = memory.region("dimm0").ram(RamBlock::unbacked(0x1000));
/// memory.update(|tx| tx.add_subregion(&system, 0, &ram))?;
///
/// let mut reader = space.reader();
/// assert!(reader.find(0x800).is_some());
///
/// let unplugged = memory.update(|tx| tx.del_subregion(&system, &ram))?;
/// assert!(!unplugged.is_quiesced(), "the reader could still be using it");
/// reader.release();
/// unplugged.wait()?;
/// assert!(reader.find(0x800).is_none());
/// # Ok::<(), flatview::Error>(())
/// ```
#[derive(Debug)]
pub struct Reader {
    hold: Hold<FlatView>,
    /// What answered before, in the view that is held.
    hits: Box<[Hit; HITS]>,
    space: AddressSpace,
}

/// A range of the held view. Contains no address if there is none.
#[derive(Clone, Copy, Debug)]
struct Hit {
    start: u64,
    last: u64,
    range: NonNull<FlatRange>,
}

impl Hit {
    const NONE: Hit = Hit {
        start: 1,
        last: 0,
        range: NonNull::dangling(),
    };
}

/// The place for an address. Folding in higher bits spreads windows that lie at even distances.
#[inline]
fn place(address: u64) -> usize {
    let page = address >> PAGE_SHIFT;
    #[expect(clippy::cast_possible_truncation, reason = "the low bits choose")]
    let folded = (page ^ (page >> 7) ^ (page >> 15)) as usize;
    folded % HITS
}

// SAFETY: the pointers lead into the view behind `hold`, which goes where the reader goes; `FlatRange` is
// `Sync`, so it does not matter from which thread it is looked at.
unsafe impl Send for Reader where FlatRange: Sync {}

impl Reader {
    pub(crate) fn new(space: AddressSpace, hold: Hold<FlatView>) -> Reader {
        Reader {
            hold,
            hits: Box::new([Hit::NONE; HITS]),
            space,
        }
    }

    /// The address space.
    pub fn address_space(&self) -> &AddressSpace {
        &self.space
    }

    /// The current view.
    #[inline]
    pub fn view(&mut self) -> &FlatView {
        if !self.hold.is_current() {
            self.refresh();
        }
        self.hold.held().expect("just refreshed")
    }

    /// The range of the current view that contains `address`.
    #[inline]
    pub fn find(&mut self, address: u64) -> Option<&FlatRange> {
        let Hit { start, last, range } = self.hits[place(address)];
        if self.hold.is_current() && start <= address && address <= last {
            // SAFETY: the hit is of the held view, which is alive and immutable while `self` is borrowed:
            // whatever lets go of it takes `&mut self` and forgets the hits in it, but for those in chunks that
            // the view held next keeps alive, too.
            return Some(unsafe { range.as_ref() });
        }
        self.search(address)
    }

    fn search(&mut self, address: u64) -> Option<&FlatRange> {
        if !self.hold.is_current() {
            self.refresh();
        }
        let range = self.hold.held()?.find(address)?;
        let hit = Hit {
            start: range.start(),
            last: range.last(),
            range: NonNull::from(range),
        };
        self.hits[place(address)] = hit;
        Some(range)
    }

    #[cold]
    fn refresh(&mut self) {
        let hits = &mut self.hits;
        self.hold.refresh_after(&self.space.inner().outlet, |old, new| {
            if let Some(replaced) = old.and_then(|old| new.replaced_chunks(old)) {
                for hit in hits.iter_mut().filter(|hit| replaced.contains(hit.start)) {
                    *hit = Hit::NONE;
                }
            }
        });
    }

    /// Gives the view up, so that this reader keeps nothing alive. The next look takes the current one.
    pub fn release(&mut self) {
        self.forget();
        self.hold.release();
    }

    fn forget(&mut self) {
        self.hits.fill(Hit::NONE);
    }
}
