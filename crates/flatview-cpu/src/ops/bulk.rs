//! `REP MOVS` and `REP STOS` by the page.

use super::Op;
use crate::exec::mem::Access;
use crate::exec::tlb::{OFFSET, PAGE, PAGE_BYTES};
use crate::exec::{Exec, Fault, RDI, RSI};
use crate::flags::DF;
use crate::int::Int;
use crate::seg::{ES, SS};

/// Fewer iterations are made one by one.
const FEW: u64 = 4;

impl Exec {
    /// How many elements at `linear`, whose offset in a segment is `offset`, are in one page and before `last`.
    fn elements<T: Int>(linear: u64, offset: u64, last: u64, left: u64) -> u64 {
        let in_page = PAGE - (linear & OFFSET);
        let in_segment = last.saturating_sub(offset).saturating_add(1);
        left.min(in_page / T::BYTES).min(in_segment / T::BYTES)
    }

    /// The last offset that can be read or written in the segment.
    fn last_offset(&self, seg: usize, access: Access, mask: u64) -> u64 {
        if self.mode.is_64() {
            return mask;
        }
        let segment = &self.segs[seg % 6];
        let last = if access == Access::Write {
            segment.write.1
        } else {
            segment.read.1
        };
        last.min(mask)
    }

    /// Makes iterations of `REP MOVS` at once. Returns how many: none if it cannot.
    pub(crate) fn move_many<T: Int>(&mut self, op: &Op, left: u64) -> Result<u64, Fault> {
        if left < FEW || self.r.flags.has(DF) {
            return Ok(0);
        }
        let mask = u64::MAX >> op.narrow;
        let (from_at, to_at) = (self.r.gpr[RSI] & mask, self.r.gpr[RDI] & mask);
        let from = self.string_source(op, T::BYTES)?;
        let to = self.string_destination(op, T::BYTES, Access::Write)?;
        let from_seg = if op.seg == super::FLAT {
            SS
        } else {
            usize::from(op.seg)
        };
        let from_last = self.last_offset(from_seg, Access::Read, mask);
        let to_last = self.last_offset(ES, Access::Write, mask);
        let count = Self::elements::<T>(from, from_at, from_last, left);
        let count = Self::elements::<T>(to, to_at, to_last, count);
        if count < FEW {
            return Ok(0);
        }
        let Some((source, source_at)) = self.bulk(from, Access::Read)? else {
            return Ok(0);
        };
        let Some((destination, destination_at)) = self.bulk(to, Access::Write)? else {
            return Ok(0);
        };
        let size = count * T::BYTES;
        // What is read of a destination that begins within the source was written just before.
        let distance = (destination.as_ptr().addr() as u64)
            .wrapping_add(destination_at)
            .wrapping_sub((source.as_ptr().addr() as u64).wrapping_add(source_at));
        if (1..size).contains(&distance) {
            return Ok(0);
        }
        let mut buffer = [0; PAGE_BYTES];
        let Some(bytes) = usize::try_from(size).ok().and_then(|size| buffer.get_mut(..size)) else {
            return Ok(0);
        };
        if source.read(source_at, bytes).is_err() || destination.write(destination_at, bytes).is_err() {
            return Ok(0);
        }
        self.stored(&destination, destination_at, size);
        self.advance(op, RSI, size);
        self.advance(op, RDI, size);
        Ok(count)
    }

    /// Makes iterations of `REP STOS` at once. Returns how many: none if it cannot.
    pub(crate) fn fill_many<T: Int>(&mut self, op: &Op, left: u64) -> Result<u64, Fault> {
        if left < FEW || self.r.flags.has(DF) {
            return Ok(0);
        }
        let mask = u64::MAX >> op.narrow;
        let at = self.r.gpr[RDI] & mask;
        let to = self.string_destination(op, T::BYTES, Access::Write)?;
        let count = Self::elements::<T>(to, at, self.last_offset(ES, Access::Write, mask), left);
        if count < FEW {
            return Ok(0);
        }
        let Some((destination, destination_at)) = self.bulk(to, Access::Write)? else {
            return Ok(0);
        };
        let size = count * T::BYTES;
        let value = self.reg::<T>(0).widen().to_le_bytes();
        let element = &value[..T::SIZE];
        let is_written = if element.iter().all(|&byte| byte == element[0]) {
            destination.fill(destination_at, element[0], size).is_ok()
        } else {
            let mut buffer = [0; PAGE_BYTES];
            let bytes = usize::try_from(size).ok().and_then(|size| buffer.get_mut(..size));
            bytes.is_some_and(|bytes| {
                for place in bytes.chunks_exact_mut(T::SIZE) {
                    place.copy_from_slice(element);
                }
                destination.write(destination_at, bytes).is_ok()
            })
        };
        if !is_written {
            return Ok(0);
        }
        self.stored(&destination, destination_at, size);
        self.advance(op, RDI, size);
        Ok(count)
    }
}
