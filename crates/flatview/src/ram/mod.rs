//! RAM blocks: the memory behind RAM, ROM, ROM device and RAM device regions.
#![expect(unsafe_code, reason = "a block points to host memory")]

mod error;
mod log;
mod mapping;
mod raw;
mod window;
mod word;

use std::any::Any;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

pub use error::RamError;
pub(crate) use raw::little_endian;
use window::compare_exchange;
pub use window::{AtomicOp, OutsideWindow, RamWindow};
pub use word::Word;

use crate::address::{AddressRange, Size};
use crate::dirty::{DirtyBitmap, DirtyClients};
use log::DirtyLog;
use mapping::Mapping;

/// A block of guest memory, shared by every region, view and window that shows it and freed with the last.
///
/// Cheap to clone; two are equal if they are clones of one.
#[derive(Clone)]
pub struct RamBlock(Arc<RamBlockInner>);

pub(crate) struct RamBlockInner {
    /// The first of the bytes that may be touched; null if there are none.
    pub(crate) host: *mut u8,
    /// How many there are.
    pub(crate) mapped: u64,
    pub(crate) log: DirtyLog,
    /// How many the guest has (rule Q1, `used_length`).
    used: AtomicU64,
    backing: Backing,
}

// SAFETY: the bytes behind `host` are only touched by volatile and atomic accesses.
unsafe impl Send for RamBlockInner {}
// SAFETY: as above.
unsafe impl Sync for RamBlockInner {}

enum Backing {
    /// No memory.
    Unbacked,
    /// Memory that only others touch.
    Foreign(usize),
    /// Memory that lives as long as this.
    Given(#[expect(dead_code, reason = "kept for its drop")] Box<dyn Any + Send + Sync>),
    /// Memory that we mapped.
    Mapped(#[expect(dead_code, reason = "kept for its drop")] Mapping),
}

impl RamBlock {
    /// A block of `size` bytes with no host memory behind it. It can be mapped, rendered, printed and
    /// reasoned about; accesses find nothing there.
    pub fn unbacked(size: u64) -> RamBlock {
        RamBlock::make(size, size, None, Backing::Unbacked)
    }

    /// A block over host memory that somebody else owns and keeps mapped: `size` bytes from `host_address` on.
    /// It is never touched; listeners are told where it is, and accesses find nothing there.
    pub fn foreign(size: u64, host_address: usize) -> RamBlock {
        RamBlock::make(size, size, None, Backing::Foreign(host_address))
    }

    /// A block over host memory that the caller provides (rule A10): `size` bytes from `host` on. `keeps` is
    /// dropped with the block: it may own the memory.
    ///
    /// # Safety
    ///
    /// The bytes stay mapped, readable and writable until `keeps` is dropped, and nobody has a reference to them:
    /// others may touch them by volatile and atomic accesses only.
    pub unsafe fn from_raw(host: NonNull<u8>, size: u64, keeps: impl Any + Send + Sync) -> RamBlock {
        RamBlock::make(size, size, Some(host), Backing::Given(Box::new(keeps)))
    }

    /// A block of `size` bytes of zeroed, private memory of this process.
    ///
    /// # Errors
    ///
    /// [`RamError`] if the kernel does not give as much.
    pub fn anonymous(size: u64) -> Result<RamBlock, RamError> {
        let mapping = Mapping::anonymous(size)?;
        Ok(RamBlock::make(
            size,
            size,
            Some(mapping.host()),
            Backing::Mapped(mapping),
        ))
    }

    /// Private memory for a while, without asking the kernel.
    pub(crate) fn on_heap(len: usize) -> RamBlock {
        let bytes: Arc<[AtomicU8]> = (0..len).map(|_| AtomicU8::new(0)).collect();
        let host = NonNull::from(&*bytes).cast();
        // SAFETY: the bytes stay where they are while the block keeps them, and nobody else knows of them.
        unsafe { RamBlock::from_raw(host, len as u64, bytes) }
    }

    fn make(used: u64, max: u64, host: Option<NonNull<u8>>, backing: Backing) -> RamBlock {
        let mapped = if host.is_some() { max } else { 0 };
        RamBlock(Arc::new(RamBlockInner {
            host: host.map_or(std::ptr::null_mut(), NonNull::as_ptr),
            mapped,
            log: DirtyLog::new(mapped),
            used: AtomicU64::new(used),
            backing,
        }))
    }

    /// Different for each block that there is.
    pub(crate) fn key(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    pub(crate) fn inner(&self) -> &RamBlockInner {
        &self.0
    }

    /// The size in bytes.
    pub fn size(&self) -> Size {
        Size::from(self.0.used.load(Ordering::Acquire))
    }

    /// Where the first byte is in this process, if there is host memory.
    pub fn host_address(&self) -> Option<usize> {
        match self.0.backing {
            Backing::Foreign(address) => Some(address),
            _ => NonNull::new(self.0.host).map(|host| host.as_ptr().addr()),
        }
    }

    /// Whether there is memory that accesses reach.
    pub fn is_accessible(&self) -> bool {
        !self.0.host.is_null()
    }

    /// Who logs writes to it now.
    pub fn logged_by(&self) -> DirtyClients {
        self.0.log.clients()
    }

    /// Marks bytes as written for every client that logs (rule P5), rounded outward to pages (rule P7).
    pub fn set_dirty(&self, bytes: AddressRange) {
        self.0.log.mark(bytes.start(), len(bytes), self.logged_by());
    }

    /// Marks the pages that a kernel's bitmap says (rule P19): bit 0 of the first word is the page at `offset`.
    pub fn set_dirty_lebitmap(&self, offset: u64, words: &[u64]) {
        let first_page = offset >> crate::dirty::PAGE_SHIFT;
        self.0.log.mark_words(first_page, words, self.logged_by());
    }

    /// Whether a page of `bytes` is dirty for one of `clients` (rule P26). For a client that has never logged,
    /// everything is (rule P18).
    pub fn is_dirty(&self, bytes: AddressRange, clients: DirtyClients) -> bool {
        self.0.log.is_any_dirty(bytes.start(), len(bytes), clients)
    }

    /// Whether a page of `bytes` is clean for one of `clients` (rule P26).
    pub fn includes_clean(&self, bytes: AddressRange, clients: DirtyClients) -> bool {
        self.0.log.is_any_clean(bytes.start(), len(bytes), clients)
    }

    /// Moves a client's marks within `bytes` into `bitmap`, in which they are added to what is there; see
    /// [`DirtyBitmap::new`]. Returns how many pages came to it.
    ///
    /// Whatever was written before the marks were taken can be read when this returns. Accelerators and
    /// listeners are not asked: see [`Memory::snapshot_and_clear_dirty`](crate::Memory::snapshot_and_clear_dirty).
    pub fn take_dirty(&self, bytes: AddressRange, client: DirtyClients, bitmap: &mut DirtyBitmap) -> u64 {
        let clients = client.iter();
        clients
            .map(|client| self.0.log.take(bytes.start(), len(bytes), client, bitmap))
            .sum()
    }

    /// Undoes [`take_dirty`](Self::take_dirty).
    pub(crate) fn put_back_dirty(&self, bitmap: &DirtyBitmap, clients: DirtyClients) {
        for run in bitmap.runs() {
            self.0.log.mark(run.start(), len(run), clients);
        }
    }
}

/// Blocks end before 2^64.
fn len(bytes: AddressRange) -> u64 {
    bytes.last() - bytes.start() + u64::from(bytes != AddressRange::ALL)
}

impl PartialEq for RamBlock {
    fn eq(&self, other: &RamBlock) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for RamBlock {}

impl fmt::Debug for RamBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RamBlock")
            .field("size", &self.size())
            .field("host_address", &format_args!("{:x?}", self.host_address()))
            .finish()
    }
}
