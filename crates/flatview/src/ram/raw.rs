//! What the access path does to a block: checked against the bytes that are mapped, and marked in its log.
//!
//! Numbers are as they lie in memory: the low byte is the one at the lowest address.
#![expect(
    unsafe_code,
    reason = "checked accesses through raw pointers; see `ram::word`"
)]

use std::ptr::NonNull;

use super::word::{self, Word};
use super::{RamBlockInner, compare_exchange};

/// Between a number and the bytes that are its low to high ones.
#[inline]
pub(crate) fn little_endian<T: Word>(word: T) -> T {
    if cfg!(target_endian = "big") {
        word.swap_bytes()
    } else {
        word
    }
}

/// What the caller has found out already: the bytes are there.
///
/// A caller that was wrong reads zeros and writes nothing.
impl RamBlockInner {
    /// Which byte of the block `at` is.
    #[inline]
    pub(crate) fn offset_of(&self, at: NonNull<u8>) -> u64 {
        (at.addr().get() - self.host.addr()) as u64
    }

    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) {
        match self.span(offset, buffer.len() as u64) {
            // SAFETY: within the mapping; a buffer that Rust code owns is no guest memory.
            Some(from) => unsafe { word::copy(from.as_ptr(), buffer.as_mut_ptr(), buffer.len()) },
            None => buffer.fill(0),
        }
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        if let Some(to) = self.writable_span(offset, bytes.len() as u64) {
            // SAFETY: as in `read`.
            unsafe { word::copy(bytes.as_ptr(), to.as_ptr(), bytes.len()) };
            self.log.written(offset, bytes.len() as u64);
        }
    }

    pub(crate) fn fill(&self, offset: u64, value: u8, len: usize) {
        if let Some(to) = self.writable_span(offset, len as u64) {
            // SAFETY: within the mapping.
            unsafe { word::fill(to.as_ptr(), value, len) };
            self.log.written(offset, len as u64);
        }
    }

    fn load_word<T: Word>(&self, offset: u64) -> u64 {
        match self.span(offset, T::SIZE as u64) {
            // SAFETY: within the mapping.
            Some(from) => little_endian(unsafe { T::load(from.as_ptr()) }).widen(),
            None => 0,
        }
    }

    fn store_word<T: Word>(&self, offset: u64, bytes: u64) {
        if let Some(to) = self.writable_span(offset, T::SIZE as u64) {
            // SAFETY: within the mapping.
            unsafe { T::store(to.as_ptr(), little_endian(T::truncate(bytes))) };
            self.log.written(offset, T::SIZE as u64);
        }
    }

    /// `size` is 1, 2, 4 or 8.
    pub(crate) fn load(&self, offset: u64, size: u8) -> u64 {
        match size {
            1 => self.load_word::<u8>(offset),
            2 => self.load_word::<u16>(offset),
            4 => self.load_word::<u32>(offset),
            _ => self.load_word::<u64>(offset),
        }
    }

    /// `size` is 1, 2, 4 or 8.
    pub(crate) fn store(&self, offset: u64, size: u8, bytes: u64) {
        match size {
            1 => self.store_word::<u8>(offset, bytes),
            2 => self.store_word::<u16>(offset, bytes),
            4 => self.store_word::<u32>(offset, bytes),
            _ => self.store_word::<u64>(offset, bytes),
        }
    }

    /// Puts what `change` makes of a word in its place, atomically; `None` leaves it. Returns what was there.
    pub(crate) fn update<T: Word>(&self, offset: u64, mut change: impl FnMut(T) -> Option<T>) -> T {
        let Some(at) = self.writable_span(offset, T::SIZE as u64) else {
            return T::ZERO;
        };
        // SAFETY: within the mapping.
        let mut current = unsafe { T::load(at.as_ptr()) };
        loop {
            let old = little_endian(current);
            let Some(new) = change(old) else {
                return old;
            };
            // SAFETY: within the mapping.
            match unsafe { compare_exchange(at.as_ptr(), current, little_endian(new)) } {
                Ok(_) => {
                    self.log.written(offset, T::SIZE as u64);
                    return old;
                }
                Err(other) => current = other,
            }
        }
    }
}
