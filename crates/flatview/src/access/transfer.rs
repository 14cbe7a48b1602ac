//! Loads, stores and copies of everybody who looks at a view.

use super::answer::{Answer, Intent, Look, answer};
use super::dispatch::MAX_SIZE;
use super::walk::{Part, Run, Step, beyond_iommus};
use super::{MemTxAttrs, MemTxError};
use crate::ram::{AtomicOp, Word};
use crate::space::ViewRef;
use crate::view::FlatView;

/// Copies between address spaces go through a buffer of this size.
const COPY_SIZE: usize = 4096;

/// What everybody can do who looks at a view. Sizes of buffers are bytes.
pub(crate) trait Transfer: Look + Sized {
    fn each(
        &mut self,
        address: u64,
        len: usize,
        intent: Intent,
        attrs: MemTxAttrs,
        mut step: impl FnMut(Step<'_>, Part) -> MemTxError,
    ) -> Result<(), MemTxError> {
        let run = Run {
            address,
            part: Part { done: 0, len },
            intent,
            attrs,
            iommus: 0,
        };
        ok(run.each(self, &mut step))
    }

    fn copy_out(&mut self, address: u64, buffer: &mut [u8], attrs: MemTxAttrs) -> Result<(), MemTxError> {
        if let Some((block, offset)) = self.remembered(address, buffer.len(), false) {
            block.read(offset, buffer);
            return Ok(());
        }
        self.remember(address);
        self.each(address, buffer.len(), Intent::Read, attrs, |step, part| {
            let to = part.of_mut(buffer);
            match step {
                Step::Direct { block, offset } => {
                    block.inner().read(offset, to);
                    MemTxError::empty()
                }
                Step::Exact { block, offset } => {
                    to.copy_from_slice(&block.inner().load(offset, part.size()).to_le_bytes()[..part.len]);
                    MemTxError::empty()
                }
                Step::Device { device, offset } => {
                    let (bytes, error) = device.read(offset, part.size(), attrs);
                    to.copy_from_slice(&bytes.to_le_bytes()[..part.len]);
                    error
                }
                Step::Nothing(error) => {
                    to.fill(0);
                    error
                }
            }
        })
    }

    fn copy_in(&mut self, address: u64, buffer: &[u8], attrs: MemTxAttrs) -> Result<(), MemTxError> {
        if let Some((block, offset)) = self.remembered(address, buffer.len(), true) {
            block.write(offset, buffer);
            return Ok(());
        }
        self.remember(address);
        self.each(address, buffer.len(), Intent::Write, attrs, |step, part| {
            write_step(step, part, part.of(buffer), attrs)
        })
    }

    /// Returns how many bytes were memory.
    fn load_image(&mut self, address: u64, buffer: &[u8]) -> usize {
        let attrs = MemTxAttrs::UNSPECIFIED;
        let mut written = 0;
        // What is no memory is skipped (rule L9).
        let _ = self.each(address, buffer.len(), Intent::Load, attrs, |step, part| {
            let result = write_step(step, part, part.of(buffer), attrs);
            written += if result.is_empty() { part.len } else { 0 };
            result
        });
        written
    }

    fn fill_bytes(
        &mut self,
        address: u64,
        value: u8,
        len: usize,
        attrs: MemTxAttrs,
    ) -> Result<(), MemTxError> {
        self.each(address, len, Intent::Write, attrs, |step, part| match step {
            Step::Direct { block, offset } => {
                block.inner().fill(offset, value, part.len);
                MemTxError::empty()
            }
            step => write_step(step, part, &[value; MAX_SIZE as usize], attrs),
        })
    }

    fn is_valid(&mut self, address: u64, len: usize, is_write: bool, attrs: MemTxAttrs) -> bool {
        let intent = if is_write { Intent::Write } else { Intent::Read };
        let valid = self.each(address, len, intent, attrs, |step, part| match step {
            Step::Direct { .. } | Step::Exact { .. } => MemTxError::empty(),
            Step::Device { device, offset } if device.is_valid(offset, part.size(), is_write, attrs) => {
                MemTxError::empty()
            }
            Step::Device { .. } => MemTxError::DECODE_ERROR,
            Step::Nothing(error) => error,
        });
        valid.is_ok()
    }

    /// Where a word goes on behind IOMMUs, if one translation holds for all of it. `None` without any, too.
    fn behind(
        &mut self,
        address: u64,
        size: u8,
        intent: Intent,
        attrs: MemTxAttrs,
    ) -> Option<(ViewRef, u64)> {
        let (view, address, reach) = beyond_iommus(self, address, size.into(), intent, attrs)?;
        (reach >= size.into()).then_some((view?, address))
    }

    /// `size` bytes, 1, 2, 4 or 8, as a number whose low byte is the one at `address`.
    fn load_bytes(&mut self, address: u64, size: u8, attrs: MemTxAttrs) -> (u64, MemTxError) {
        let here = self.load_whole(address, size, attrs);
        let whole = here.or_else(|| {
            let (view, address) = self.behind(address, size, Intent::Read, attrs)?;
            (&*view).load_whole(address, size, attrs)
        });
        whole.unwrap_or_else(|| {
            // Across ranges it is a copy (rule K23 is not copied).
            let mut bytes = [0; MAX_SIZE as usize];
            let result = self.copy_out(address, &mut bytes[..usize::from(size)], attrs);
            let error = result.err().unwrap_or(MemTxError::empty());
            (u64::from_le_bytes(bytes), error)
        })
    }

    /// `None` if not one memory or device has all of it.
    #[inline]
    fn load_whole(&mut self, address: u64, size: u8, attrs: MemTxAttrs) -> Option<(u64, MemTxError)> {
        match answer(self.look(address)?, address, Intent::Read, attrs) {
            Answer::Direct { block, offset, left } | Answer::Exact { block, offset, left }
                if left >= size.into() =>
            {
                Some((block.inner().load(offset, size), MemTxError::empty()))
            }
            Answer::Device { device, offset } if !attrs.memory => Some(device.read(offset, size, attrs)),
            _ => None,
        }
    }

    /// Stores the low `size` bytes, 1, 2, 4 or 8, of `bytes`, the lowest at `address`.
    fn store_bytes(
        &mut self,
        address: u64,
        size: u8,
        bytes: u64,
        attrs: MemTxAttrs,
    ) -> Result<(), MemTxError> {
        let here = self.store_whole(address, size, bytes, attrs);
        let whole = here.or_else(|| {
            let (view, address) = self.behind(address, size, Intent::Write, attrs)?;
            (&*view).store_whole(address, size, bytes, attrs)
        });
        whole.unwrap_or_else(|| self.copy_in(address, &bytes.to_le_bytes()[..usize::from(size)], attrs))
    }

    /// `None` if not one memory or device has all of it.
    #[inline]
    fn store_whole(
        &mut self,
        address: u64,
        size: u8,
        bytes: u64,
        attrs: MemTxAttrs,
    ) -> Option<Result<(), MemTxError>> {
        match answer(self.look(address)?, address, Intent::Write, attrs) {
            Answer::Direct { block, offset, left } | Answer::Exact { block, offset, left }
                if left >= size.into() =>
            {
                block.inner().store(offset, size, bytes);
                Some(Ok(()))
            }
            Answer::Device { device, offset } if !attrs.memory => {
                Some(ok(device.write(offset, size, bytes, attrs)))
            }
            _ => None,
        }
    }

    /// Puts what `change` makes of the word at `address` in its place; `None` leaves it. Returns what was there.
    /// Words are as they lie in memory, the low byte first.
    fn update_word<T: Word>(
        &mut self,
        address: u64,
        attrs: MemTxAttrs,
        mut change: impl FnMut(T) -> Option<T>,
    ) -> Result<T, MemTxError> {
        #[expect(clippy::cast_possible_truncation, reason = "at most 8")]
        let size = T::SIZE as u8;
        if let Some(old) = self.update_whole(address, attrs, &mut change) {
            return Ok(old);
        }
        // Behind an IOMMU it is one place only if both directions lead there.
        if let Some((view, address)) = self.behind(address, size, Intent::Write, attrs).filter(|to| {
            let from = self.behind(address, size, Intent::Read, attrs);
            from.is_some_and(|from| from.1 == to.1 && std::ptr::eq::<FlatView>(&*from.0, &*to.0))
        }) && let Some(old) = (&*view).update_whole(address, attrs, &mut change)
        {
            return Ok(old);
        }
        // Nothing could make it atomic there.
        let (old, error) = self.load_bytes(address, size, attrs);
        ok(error)?;
        let old = T::truncate(old);
        match change(old) {
            Some(new) => self.store_bytes(address, size, new.widen(), attrs).map(|()| old),
            None => Ok(old),
        }
    }

    /// Atomically; `None` if it is not all in one memory that may be written.
    fn update_whole<T: Word>(
        &mut self,
        address: u64,
        attrs: MemTxAttrs,
        change: impl FnMut(T) -> Option<T>,
    ) -> Option<T> {
        match answer(self.look(address)?, address, Intent::Write, attrs) {
            Answer::Direct { block, offset, left } if left >= T::SIZE as u64 => {
                Some(block.inner().update(offset, change))
            }
            _ => None,
        }
    }

    fn atomic_word<T: Word>(
        &mut self,
        address: u64,
        op: AtomicOp,
        operand: T,
        attrs: MemTxAttrs,
        order: impl Fn(T) -> T,
    ) -> Result<T, MemTxError> {
        let old = self.update_word(address, attrs, |old| Some(order(op.apply(order(old), operand))))?;
        Ok(order(old))
    }

    fn copy_across(
        &mut self,
        from: u64,
        target: &mut impl Transfer,
        to: u64,
        len: u64,
        attrs: MemTxAttrs,
    ) -> Result<(), MemTxError> {
        let mut buffer = [0; COPY_SIZE];
        let mut done = 0;
        let mut result = MemTxError::empty();
        while done < len {
            let size = usize::try_from(len - done).map_or(COPY_SIZE, |left| left.min(COPY_SIZE));
            let piece = &mut buffer[..size];
            let read = self.copy_out(from.wrapping_add(done), piece, attrs);
            let written = target.copy_in(to.wrapping_add(done), piece, attrs);
            for failed in [read, written].into_iter().filter_map(Result::err) {
                result |= failed;
            }
            done += size as u64;
        }
        ok(result)
    }
}

impl<L: Look> Transfer for L {}

/// `bytes` has at least as many as the part.
fn write_step(step: Step<'_>, part: Part, bytes: &[u8], attrs: MemTxAttrs) -> MemTxError {
    let word = || {
        let mut word = [0; MAX_SIZE as usize];
        word[..part.len].copy_from_slice(&bytes[..part.len]);
        u64::from_le_bytes(word)
    };
    match step {
        Step::Direct { block, offset } => {
            block.inner().write(offset, &bytes[..part.len]);
            MemTxError::empty()
        }
        Step::Exact { block, offset } => {
            block.inner().store(offset, part.size(), word());
            MemTxError::empty()
        }
        Step::Device { device, offset } => device.write(offset, part.size(), word(), attrs),
        Step::Nothing(error) => error,
    }
}

pub(crate) fn ok(error: MemTxError) -> Result<(), MemTxError> {
    match error.is_empty() {
        true => Ok(()),
        false => Err(error),
    }
}
