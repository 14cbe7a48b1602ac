//! RAM blocks: the memory behind RAM, ROM, ROM device and RAM device regions.
#![expect(unsafe_code, reason = "a block points to host memory")]

mod addresses;
mod builder;
mod error;
mod file;
mod list;
mod log;
#[cfg(all(test, loom))]
mod log_loom;
mod lookup;
mod mapping;
mod notifier;
mod numa;
mod owned;
mod prealloc;
mod raw;
mod resize;
mod window;
mod word;

use std::any::Any;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

pub use builder::RamBlockBuilder;
pub use error::RamError;
pub use file::{HugePages, MemfdOptions};
pub(crate) use list::RamList;
pub use notifier::{HostMemory, RamBlockNotifier, RamBlockRegistration};
pub use numa::{NumaMode, NumaPolicy};
pub use prealloc::Prealloc;
pub(crate) use raw::little_endian;
pub(crate) use resize::Resize;
use window::compare_exchange;
pub use window::{AtomicOp, RamWindow, WindowError};
pub use word::Word;

use crate::address::{AddressRange, Size};
use crate::dirty::{DirtyBitmap, DirtyClients, barrier};
use crate::primitive;
use list::Attachments;
use log::DirtyLog;
use mapping::host_page_size;
use owned::OwnedMemory;

/// Hears that a block was resized, and to how many bytes.
type Resized = Box<dyn Fn(&RamBlock, u64) + Send + Sync>;

/// A block of guest memory, shared by every region, view and window that shows it and freed with the last.
///
/// Most are made by a [builder](RamBlock::builder). A region that is made of a block puts it on the list of its
/// [`Memory`](crate::Memory), where it gets a RAM address; the list keeps no block alive.
///
/// A machine that is reset finds in its RAM what was there before: a reset changes no block, other than to
/// [replace](RamBlock::remap) pages that the host found broken.
///
/// Cheap to clone; two are equal if they are clones of one.
#[derive(Clone)]
pub struct RamBlock(Arc<RamBlockInner>);

pub(crate) struct RamBlockInner {
    /// The first of the bytes that may be touched; null if there are none.
    pub(crate) host: *mut u8,
    /// How many there are.
    pub(crate) mapped: u64,
    /// Whether they may be written.
    pub(crate) writable: bool,
    pub(crate) log: DirtyLog,
    /// How many the guest has (rule Q1, `used_length`), not rounded.
    used: AtomicU64,
    /// How many it can have.
    max: u64,
    /// What was given to the builder, or else the name of the first region.
    name: OnceLock<Box<str>>,
    /// The lists that have it. Dropped first: that says to listeners that the memory goes.
    attachments: Attachments,
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
    Mapped(Box<OwnedMemory>),
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

    fn owned(name: Option<Box<str>>, size: u64, memory: OwnedMemory) -> RamBlock {
        let max = memory.mapping.size() as u64;
        let host = Some(memory.mapping.host());
        let block = RamBlock::make(size, max, host, Backing::Mapped(Box::new(memory)));
        if let Some(name) = name {
            block.name_if_none(&name);
        }
        block
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
            writable: match &backing {
                Backing::Mapped(memory) => memory.mapping.is_writable(),
                _ => true,
            },
            log: DirtyLog::new(mapped),
            used: AtomicU64::new(used),
            max,
            name: OnceLock::new(),
            attachments: Attachments::default(),
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

    /// The size in bytes, as the guest sees it.
    pub fn size(&self) -> Size {
        Size::from(self.0.used())
    }

    /// The most bytes it can have: of memory that we mapped, all that is mapped, in whole pages (rule Q29).
    pub fn max_size(&self) -> u64 {
        self.0.max
    }

    /// Its name: what the builder was given, or else the name of the first region that was made of it; empty until
    /// then. Names need not be unique.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Where the first byte is in this process, if there is host memory.
    pub fn host_address(&self) -> Option<usize> {
        self.0.host_address()
    }

    /// The file behind the memory, to be given to others who share it; `None` for all other memory.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.owned_memory_if_any()?.file.as_ref()?.fd.as_fd())
    }

    /// Where in [that file](Self::fd) the first byte is.
    pub fn fd_offset(&self) -> u64 {
        let file = self.owned_memory_if_any().and_then(|memory| memory.file.as_ref());
        file.map_or(0, |file| file.offset)
    }

    /// The size of the pages that the memory consists of, in bytes (rule Q19): of huge pages, if it is a file of such.
    pub fn page_size(&self) -> u64 {
        self.0.page_size()
    }

    /// Whether others who map [the same file](Self::fd) see what is written.
    pub fn is_shared(&self) -> bool {
        self.owned_memory_if_any()
            .is_some_and(|memory| memory.mapping.is_shared())
    }

    /// Whether the memory is mapped for reading only. Nobody may write there, the guest no more than a
    /// [window](crate::RamWindow).
    pub fn is_readonly(&self) -> bool {
        !self.0.writable
    }

    /// Whether its size can change: see [`Transaction::ram_resize`](crate::Transaction::ram_resize).
    pub fn is_resizeable(&self) -> bool {
        self.owned_memory_if_any()
            .is_some_and(|memory| memory.settings.is_resizeable)
    }

    /// What the host memory is aligned to, in bytes (rule A26); 0 if we did not map it.
    pub fn alignment(&self) -> u64 {
        self.owned_memory_if_any()
            .map_or(0, |memory| memory.settings.align)
    }

    fn owned_memory_if_any(&self) -> Option<&OwnedMemory> {
        self.0.owned_memory()
    }

    /// Names what has no name yet.
    pub(crate) fn name_if_none(&self, name: &str) {
        self.0.name.get_or_init(|| name.into());
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

    /// Lets what a kernel's bitmap says go to a harvest directly, where that is possible.
    pub(crate) fn harvest(&self, bytes: AddressRange, client: DirtyClients) -> Harvesting<'_> {
        let begun = self.0.log.begin_harvest(DirtyBitmap::new(bytes), client);
        Harvesting {
            block: begun.then_some(self),
            bytes,
            client,
        }
    }

    /// Undoes [`take_dirty`](Self::take_dirty).
    pub(crate) fn put_back_dirty(&self, bitmap: &DirtyBitmap, clients: DirtyClients) {
        for run in bitmap.runs() {
            self.0.log.mark(run.start(), len(run), clients);
        }
    }
}

/// A harvest under way. Dropped, it puts back what came to it.
pub(crate) struct Harvesting<'a> {
    /// `None`: it gets nothing directly.
    block: Option<&'a RamBlock>,
    bytes: AddressRange,
    client: DirtyClients,
}

impl Harvesting<'_> {
    /// What came to it.
    pub(crate) fn finish(mut self) -> DirtyBitmap {
        let came = self.block.take().and_then(|block| block.0.log.end_harvest());
        came.unwrap_or_else(|| DirtyBitmap::new(self.bytes))
    }
}

impl Drop for Harvesting<'_> {
    fn drop(&mut self) {
        if let Some(block) = self.block
            && let Some(came) = block.0.log.end_harvest()
        {
            block.put_back_dirty(&came, self.client);
        }
    }
}

impl RamBlockInner {
    fn name(&self) -> &str {
        self.name.get().map_or("", |name| name)
    }

    fn host_address(&self) -> Option<usize> {
        match self.backing {
            Backing::Foreign(address) => Some(address),
            _ => NonNull::new(self.host).map(|host| host.as_ptr().addr()),
        }
    }

    fn page_size(&self) -> u64 {
        self.owned_memory()
            .map_or_else(host_page_size, OwnedMemory::page_size)
    }

    fn owned_memory(&self) -> Option<&OwnedMemory> {
        match &self.backing {
            Backing::Mapped(memory) => Some(memory),
            _ => None,
        }
    }

    fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    fn set_used(&self, used: u64) {
        self.used.store(used, Ordering::Release);
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
            .field("name", &self.name())
            .field("size", &self.size())
            .field("host_address", &format_args!("{:x?}", self.host_address()))
            .finish()
    }
}
