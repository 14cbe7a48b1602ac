//! Windows onto RAM: the safe way to touch guest memory.
#![expect(
    unsafe_code,
    reason = "checked accesses through raw pointers; see `ram::word`"
)]

use std::fmt;
use std::ptr::NonNull;

use thiserror::Error;

use super::word::{self, Word};
use super::{RamBlock, RamBlockInner};

/// Why an access to a [`RamWindow`] was not made.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum WindowError {
    /// It does not lie within the window.
    #[error("{size:#x} bytes at {offset:#x} do not lie within the {window_size:#x} bytes of the window")]
    Outside {
        /// The first byte asked for, counted from the window's first.
        offset: u64,
        /// How many bytes were asked for.
        size: u64,
        /// How many bytes the window has.
        window_size: u64,
    },
    /// The memory is mapped for reading only.
    #[error("{size:#x} bytes at {offset:#x} cannot be written: the memory is mapped for reading only")]
    ReadOnly {
        /// The first byte, counted from the window's first.
        offset: u64,
        /// How many bytes were to be written.
        size: u64,
    },
}

/// What an atomic operation does to a word of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomicOp {
    /// Puts the operand in its place.
    Swap,
    /// Adds the operand; wraps.
    Add,
    /// Keeps the bits that the operand has, too.
    And,
    /// Sets the bits that the operand has.
    Or,
    /// Flips the bits that the operand has.
    Xor,
}

impl AtomicOp {
    pub(crate) fn apply<T: Word>(self, old: T, operand: T) -> T {
        let (old, operand) = (old.widen(), operand.widen());
        T::truncate(match self {
            AtomicOp::Swap => operand,
            AtomicOp::Add => old.wrapping_add(operand),
            AtomicOp::And => old & operand,
            AtomicOp::Or => old | operand,
            AtomicOp::Xor => old ^ operand,
        })
    }
}

/// Some bytes of a [`RamBlock`], which it keeps alive: the safe type for whoever touches guest memory often, such
/// as a software TLB or a device's ring.
///
/// Guest memory is memory that somebody else changes, so there is no slice of it, only loads, stores and copies.
/// Aligned accesses of 1, 2, 4 and 8 bytes are single-copy atomic; copies are not. Offsets count bytes from the
/// window's first. Numbers are in the host's byte order; [`Reader`](crate::Reader) converts.
///
/// Every write marks its pages dirty for whoever logs them, after it stored: a log that starts misses nothing. Of
/// memory that is mapped [for reading only](RamBlock::is_readonly), nothing can be written: to writes, such a window
/// has no bytes.
///
/// ```
/// use flatview::RamBlock;
/// let block = RamBlock::anonymous(0x2000)?;
/// let ring = block.window(0x1000, 0x100).unwrap();
/// ring.store(0x10, 0x1234_u16)?;
/// assert_eq!(ring.load::<u16>(0x10)?, 0x1234);
/// assert!(ring.load::<u64>(0xfc).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RamWindow {
    host: NonNull<u8>,
    size: u64,
    offset: u64,
    block: RamBlock,
}

// SAFETY: the bytes are only touched by volatile and atomic accesses, from any thread, and the block keeps them.
unsafe impl Send for RamWindow {}
// SAFETY: as above.
unsafe impl Sync for RamWindow {}

impl RamBlock {
    /// A window onto `size` bytes from `offset` on; `None` if there is no memory at one of them. What lies beyond
    /// [`size`](RamBlock::size) of a block that can grow can be looked at.
    pub fn window(&self, offset: u64, size: u64) -> Option<RamWindow> {
        Some(RamWindow {
            host: self.inner().span(offset, size)?,
            size,
            offset,
            block: self.clone(),
        })
    }

    /// Where `size` bytes from `offset` on are in this process; `None` if there is no memory at one of them. For
    /// adapters whose slices borrow the block where a [`window`](Self::window) would clone it. Whoever writes there
    /// [marks](Self::mark_dirty) what was written.
    #[inline]
    pub fn host_ptr(&self, offset: u64, size: u64) -> Option<NonNull<u8>> {
        self.inner().span(offset, size)
    }

    /// Marks `size` bytes from `offset` on as written, for whoever logs: after they were written by other ways than
    /// an access. Nothing is marked if there is no memory at one of them. Costs one load if nobody logs.
    #[inline]
    pub fn mark_dirty(&self, offset: u64, size: u64) {
        if self.inner().span(offset, size).is_some() {
            self.inner().log.written(offset, size);
        }
    }
}

impl RamBlockInner {
    /// As [`span`](Self::span), if they may be written.
    #[inline]
    pub(crate) fn writable_span(&self, offset: u64, size: u64) -> Option<NonNull<u8>> {
        self.span(offset, size).filter(|_| self.writable)
    }

    /// Where `size` bytes from `offset` on are, if there is memory at all of them.
    #[inline]
    pub(crate) fn span(&self, offset: u64, size: u64) -> Option<NonNull<u8>> {
        let base = NonNull::new(self.host)?;
        if offset > self.mapped || size > self.mapped - offset {
            return None;
        }
        // SAFETY: at most one past the last byte of the mapping; it is one object to the allocator, which is mmap
        // or the caller of `from_raw`.
        Some(unsafe { base.add(usize::try_from(offset).ok()?) })
    }
}

impl RamWindow {
    /// The number of bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The block.
    pub fn block(&self) -> &RamBlock {
        &self.block
    }

    /// Which byte of the block is the window's first.
    pub fn offset_in_block(&self) -> u64 {
        self.offset
    }

    /// Where the first byte is in this process: for system calls. Whoever lets others write there
    /// [marks](Self::mark_dirty) what was written.
    pub fn as_ptr(&self) -> *mut u8 {
        self.host.as_ptr()
    }

    /// A window onto a part of this one.
    ///
    /// # Errors
    ///
    /// [`WindowError`].
    pub fn part(&self, offset: u64, size: u64) -> Result<RamWindow, WindowError> {
        Ok(RamWindow {
            host: self.at(offset, size)?,
            size,
            offset: self.offset + offset,
            block: self.block.clone(),
        })
    }

    #[inline]
    fn at(&self, offset: u64, size: u64) -> Result<NonNull<u8>, WindowError> {
        if offset > self.size || size > self.size - offset {
            return Err(WindowError::Outside {
                offset,
                size,
                window_size: self.size,
            });
        }
        #[expect(clippy::cast_possible_truncation, reason = "less than the size of a mapping")]
        let offset = offset as usize;
        // SAFETY: at most one past the last byte of the window.
        Ok(unsafe { self.host.add(offset) })
    }

    /// As [`at`](Self::at), for who writes.
    #[inline]
    fn at_writable(&self, offset: u64, size: u64) -> Result<NonNull<u8>, WindowError> {
        if !self.block.inner().writable {
            return Err(WindowError::ReadOnly { offset, size });
        }
        self.at(offset, size)
    }

    /// Loads a word.
    ///
    /// # Errors
    ///
    /// [`WindowError`].
    #[inline]
    pub fn load<T: Word>(&self, offset: u64) -> Result<T, WindowError> {
        let at = self.at(offset, T::SIZE as u64)?;
        // SAFETY: within the window, whose block is alive.
        Ok(unsafe { T::load(at.as_ptr()) })
    }

    /// Stores a word.
    ///
    /// # Errors
    ///
    /// [`WindowError`].
    #[inline]
    pub fn store<T: Word>(&self, offset: u64, value: T) -> Result<(), WindowError> {
        let at = self.at_writable(offset, T::SIZE as u64)?;
        // SAFETY: within the window, whose block is alive.
        unsafe { T::store(at.as_ptr(), value) };
        self.written(offset, T::SIZE as u64);
        Ok(())
    }

    /// Stores `new` if `current` is there. Returns what was there: `Ok` if it was `current`.
    ///
    /// Atomic with every aligned access. At an offset where the word is not aligned in memory it is atomic only with
    /// other such operations of this process.
    ///
    /// # Errors
    ///
    /// [`WindowError`].
    pub fn compare_exchange<T: Word>(
        &self,
        offset: u64,
        current: T,
        new: T,
    ) -> Result<Result<T, T>, WindowError> {
        let at = self.at_writable(offset, T::SIZE as u64)?;
        // SAFETY: within the window, whose block is alive.
        let exchanged = unsafe { compare_exchange(at.as_ptr(), current, new) };
        if exchanged.is_ok() {
            self.written(offset, T::SIZE as u64);
        }
        Ok(exchanged)
    }

    /// Does `op` to a word and returns what was there. As atomic as
    /// [`compare_exchange`](Self::compare_exchange).
    ///
    /// # Errors
    ///
    /// [`WindowError`].
    pub fn atomic<T: Word>(&self, offset: u64, op: AtomicOp, operand: T) -> Result<T, WindowError> {
        let mut current = self.load(offset)?;
        loop {
            match self.compare_exchange(offset, current, op.apply(current, operand))? {
                Ok(old) => return Ok(old),
                Err(other) => current = other,
            }
        }
    }

    /// Copies out of memory.
    ///
    /// # Errors
    ///
    /// [`WindowError`], and nothing was copied.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), WindowError> {
        let from = self.at(offset, buffer.len() as u64)?;
        // SAFETY: within the window, whose block is alive; a buffer that Rust code owns is no guest memory.
        unsafe { word::copy(from.as_ptr(), buffer.as_mut_ptr(), buffer.len()) };
        Ok(())
    }

    /// Copies into memory.
    ///
    /// # Errors
    ///
    /// [`WindowError`], and nothing was copied.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), WindowError> {
        let to = self.at_writable(offset, bytes.len() as u64)?;
        // SAFETY: as in `read`.
        unsafe { word::copy(bytes.as_ptr(), to.as_ptr(), bytes.len()) };
        self.written(offset, bytes.len() as u64);
        Ok(())
    }

    /// Sets `size` bytes to `value`.
    ///
    /// # Errors
    ///
    /// [`WindowError`], and nothing was written.
    pub fn fill(&self, offset: u64, value: u8, size: u64) -> Result<(), WindowError> {
        let to = self.at_writable(offset, size)?;
        #[expect(clippy::cast_possible_truncation, reason = "within a mapping")]
        let len = size as usize;
        // SAFETY: within the window, whose block is alive.
        unsafe { word::fill(to.as_ptr(), value, len) };
        self.written(offset, size);
        Ok(())
    }

    /// Marks `size` bytes as written, for whoever logs: after a system call, or another process, wrote there.
    ///
    /// # Errors
    ///
    /// [`WindowError`].
    pub fn mark_dirty(&self, offset: u64, size: u64) -> Result<(), WindowError> {
        self.at(offset, size)?;
        self.written(offset, size);
        Ok(())
    }

    #[inline]
    fn written(&self, offset: u64, size: u64) {
        self.block.inner().log.written(self.offset + offset, size);
    }
}

/// # Safety
///
/// As [`Word::store`].
pub(crate) unsafe fn compare_exchange<T: Word>(at: *mut u8, current: T, new: T) -> Result<T, T> {
    static SPLIT: std::sync::Mutex<()> = std::sync::Mutex::new(());
    if at.addr().is_multiple_of(T::SIZE) {
        // SAFETY: the caller's promise, and aligned.
        return unsafe { T::compare_exchange(at, current, new) };
    }
    let _split = SPLIT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // SAFETY: the caller's promise.
    let old = unsafe { T::load(at) };
    if old != current {
        return Err(old);
    }
    // SAFETY: the caller's promise.
    unsafe { T::store(at, new) };
    Ok(old)
}

impl fmt::Debug for RamWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RamWindow")
            .field("block", &self.block)
            .field("offset", &format_args!("{:#x}", self.offset))
            .field("size", &format_args!("{:#x}", self.size))
            .finish()
    }
}
