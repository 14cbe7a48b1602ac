//! Readers: the fast way to look at an address space.
//!
//! # Why this file has `unsafe`
//!
//! A reader remembers ranges that answered, as pointers into the view it holds: a look-up that finds one costs
//! a few loads and two comparisons, however many ranges there are. A pointer is followed only while the very
//! view it points into is held; views are immutable, and one that is held is not freed.
//!
//! # Why a direct-mapped cache
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

use crate::access::{Answer, Intent, Look, MemTxAttrs, answer};
use crate::publish::Hold;
use crate::ram::{RamBlockInner, Word, little_endian};
use crate::region::RegionKind;
use crate::space::AddressSpace;
use crate::view::{FlatRange, FlatView};

/// How many ranges a reader remembers, 24 bytes each.
const HITS: usize = 8192;
/// How many pages of memory, 40 bytes each.
const RAM_HITS: usize = 256;
/// Up to this many places that were used are forgotten one by one.
const FEW: usize = 64;

/// The longest word, less the byte that it begins with.
const WORD: u64 = 7;

/// Addresses in one page share a place.
const PAGE_SHIFT: u32 = 12;

/// One thread's way to look at an address space, many times and cheaply.
///
/// A reader keeps the view it saw last; one atomic load tells whether there is a newer one. So it never waits
/// and never sees half a commit, but it keeps what it saw alive: [`release`](Self::release) it before the
/// thread blocks or idles.
///
/// It takes some 200 KiB, to remember what answered: make one for each thread and space, not for each access.
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
    hits: Places<Hit, HITS>,
    /// The memory behind some of it.
    ram: Places<RamHit, RAM_HITS>,
    /// How many views were taken.
    generation: u64,
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

/// Memory that a range of the held view shows.
#[derive(Clone, Copy, Debug)]
struct RamHit {
    /// The first address of the range.
    start: u64,
    /// How far from there a word may not begin any more, any word: the last seven bytes go the long way.
    limit: u64,
    /// The byte at `start`.
    host: NonNull<u8>,
    block: NonNull<RamBlockInner>,
    may_write: bool,
}

impl RamHit {
    const NONE: RamHit = RamHit {
        start: 0,
        limit: 0,
        host: NonNull::dangling(),
        block: NonNull::dangling(),
        may_write: false,
    };
}

/// Something for each of `N` places, and which of them were used.
#[derive(Debug)]
struct Places<T, const N: usize> {
    entries: Box<[T; N]>,
    none: T,
    used: Vec<usize>,
}

impl<T: Copy, const N: usize> Places<T, N> {
    fn new(none: T) -> Self {
        Places {
            entries: Box::new([none; N]),
            none,
            used: Vec::with_capacity(FEW),
        }
    }

    #[inline]
    fn get(&self, address: u64) -> &T {
        &self.entries[place(address, N.ilog2()) % N]
    }

    fn set(&mut self, address: u64, entry: T) {
        let place = place(address, N.ilog2()) % N;
        self.entries[place] = entry;
        // Too many count as all.
        if self.used.len() < FEW {
            self.used.push(place);
        }
    }

    fn forget(&mut self, stale: impl Fn(&T) -> bool) {
        if self.used.len() < FEW {
            let (entries, none) = (&mut self.entries, self.none);
            self.used.retain(|&place| {
                let is_stale = stale(&entries[place]);
                if is_stale {
                    entries[place] = none;
                }
                !is_stale
            });
        } else {
            for entry in self.entries.iter_mut().filter(|entry| stale(entry)) {
                *entry = self.none;
            }
        }
    }

    fn forget_all(&mut self) {
        if self.used.len() < FEW {
            self.forget(|_| true);
        } else {
            self.entries.fill(self.none);
            self.used.clear();
        }
    }
}

/// The place for an address, of `2^bits`. Windows at even distances, as devices have them, get places at nearly even
/// distances, whatever the distance: the page is multiplied by 2^64 over the golden ratio.
#[inline]
fn place(address: u64, bits: u32) -> usize {
    let spread = (address >> PAGE_SHIFT).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (spread >> (64 - bits)) as usize
}

// SAFETY: the pointers lead into the view behind `hold`, which goes where the reader goes; `FlatRange` is
// `Sync`, and so are blocks, so it does not matter from which thread they are looked at.
unsafe impl Send for Reader
where
    FlatRange: Sync,
    RamBlockInner: Sync,
{
}

impl Reader {
    pub(crate) fn new(space: AddressSpace, hold: Hold<FlatView>) -> Reader {
        Reader {
            hold,
            hits: Places::new(Hit::NONE),
            ram: Places::new(RamHit::NONE),
            generation: 0,
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
        self.refresh_if_stale();
        self.hold.held().expect("just refreshed")
    }

    /// A number that grows with each view that this reader goes over to. Whoever keeps what he found, as a software TLB
    /// does, asks whether it is still the same: one atomic load if it is. After a [`release`](Self::release) it grows
    /// in any case.
    ///
    /// ```
    /// # use flatview::{Memory, RamBlock, Size};
    /// # let memory = Memory::new();
    /// # let system = memory.region("system").container(Size::MAX);
    /// # let mut reader = memory.create_address_space("memory", &system)?.reader();
    /// # let ram = memory.region("ram").ram(RamBlock::unbacked(0x1000));
    /// let before = reader.generation();
    /// assert_eq!(reader.generation(), before);
    /// memory.update(|tx| tx.add_subregion(&system, 0, &ram))?;
    /// assert!(reader.generation() > before);
    /// # Ok::<(), flatview::Error>(())
    /// ```
    #[inline]
    pub fn generation(&mut self) -> u64 {
        self.refresh_if_stale();
        self.generation
    }

    /// The range of the current view that contains `address`.
    #[inline]
    pub fn find(&mut self, address: u64) -> Option<&FlatRange> {
        let &Hit { start, last, range } = self.hits.get(address);
        if self.hold.is_current() && start <= address && address <= last {
            // SAFETY: the hit is of the held view, which is alive and immutable while `self` is borrowed:
            // whatever lets go of it takes `&mut self` and forgets the hits in it, but for those in chunks that
            // the view held next keeps alive, too.
            return Some(unsafe { range.as_ref() });
        }
        self.refresh_if_stale();
        self.look_up(address)
    }

    /// Before a look or a transfer.
    #[inline]
    pub(crate) fn refresh_if_stale(&mut self) {
        if !self.hold.is_current() {
            self.refresh();
        }
    }

    fn look_up(&mut self, address: u64) -> Option<&FlatRange> {
        let range = self.hold.held()?.find(address)?;
        let hit = Hit {
            start: range.start(),
            last: range.last(),
            range: NonNull::from(range),
        };
        self.hits.set(address, hit);
        Some(range)
    }

    #[cold]
    fn refresh(&mut self) {
        self.generation += 1;
        let (hits, ram) = (&mut self.hits, &mut self.ram);
        self.hold.refresh_after(&self.space.inner().outlet, |old, new| {
            if let Some(replaced) = old.and_then(|old| new.replaced_chunks(old)) {
                hits.forget(|hit| replaced.contains(hit.start));
                ram.forget(|hit| replaced.contains(hit.start));
            }
        });
    }

    /// Gives the view up, so that this reader keeps nothing alive. The next look takes the current one.
    pub fn release(&mut self) {
        self.hits.forget_all();
        self.ram.forget_all();
        self.hold.release();
    }

    /// The memory at `address`, if it was found before.
    #[inline]
    fn hot(&self, address: u64) -> Option<&RamHit> {
        let hit = self.ram.get(address);
        (self.hold.is_current() && address.wrapping_sub(hit.start) < hit.limit).then_some(hit)
    }

    /// Loads a word of memory that was found before, in the order of its bytes.
    #[inline]
    pub(crate) fn load_hot<T: Word>(&self, address: u64) -> Option<T> {
        let hit = self.hot(address)?;
        // SAFETY: at most `limit` bytes from the first; the view that is held keeps the block, as in `find`.
        let from = unsafe { hit.host.add(offset(address, hit)) };
        // SAFETY: as above; no word is longer than what `limit` leaves.
        Some(little_endian(unsafe { T::load(from.as_ptr()) }))
    }

    /// Stores a word into memory that was found before and may be written. Tells whether it did.
    #[inline]
    pub(crate) fn store_hot<T: Word>(&self, address: u64, word: T) -> bool {
        let Some(hit) = self.hot(address).filter(|hit| hit.may_write) else {
            return false;
        };
        // SAFETY: as in `load_hot`.
        let to = unsafe { hit.host.add(offset(address, hit)) };
        // SAFETY: as in `load_hot`.
        unsafe { T::store(to.as_ptr(), little_endian(word)) };
        // SAFETY: the view that is held keeps the block.
        let block = unsafe { hit.block.as_ref() };
        block.log.written(block.offset_of(to), T::SIZE as u64);
        true
    }
}

#[inline]
fn offset(address: u64, hit: &RamHit) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "within a mapping")]
    let offset = (address - hit.start) as usize;
    offset
}

/// The view that is held, current or not: who transfers has refreshed it.
impl Look for Reader {
    #[inline]
    fn look(&mut self, address: u64) -> Option<&FlatRange> {
        let &Hit { start, last, range } = self.hits.get(address);
        if start <= address && address <= last {
            // SAFETY: as in `find`.
            return Some(unsafe { range.as_ref() });
        }
        self.look_up(address)
    }

    fn looked_at(&mut self) -> &FlatView {
        self.hold.held().expect("who transfers has refreshed")
    }

    #[inline]
    fn remembered(&self, address: u64, len: usize, is_write: bool) -> Option<(&RamBlockInner, u64)> {
        let hit = self.ram.get(address);
        let skipped = address.wrapping_sub(hit.start);
        let fits = skipped < hit.limit && len as u64 <= hit.limit + WORD - skipped;
        if !fits || (is_write && !hit.may_write) {
            return None;
        }
        // SAFETY: the view that is held keeps the block.
        let block = unsafe { hit.block.as_ref() };
        Some((block, block.offset_of(hit.host) + skipped))
    }

    fn remember(&mut self, address: u64) {
        let attrs = MemTxAttrs::UNSPECIFIED;
        let Some(range) = self.look(address) else { return };
        let start = range.start();
        if !matches!(range.region().kind(), RegionKind::Ram | RegionKind::RomDevice) {
            return;
        }
        let Answer::Direct { block, offset, left } = answer(range, start, Intent::Read, attrs) else {
            return;
        };
        let may_write = matches!(answer(range, start, Intent::Write, attrs), Answer::Direct { .. });
        let (Some(limit), Some(host)) = (left.checked_sub(WORD), block.inner().span(offset, left)) else {
            return;
        };
        let block = NonNull::from(block.inner());
        if address - start < limit {
            self.ram.set(
                address,
                RamHit {
                    start,
                    limit,
                    host,
                    block,
                    may_write,
                },
            );
        }
    }
}
