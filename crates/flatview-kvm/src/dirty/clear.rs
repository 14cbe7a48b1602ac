//! Manual protect: clearing what clients took.
//!
//! A client that took its marks tells which bytes they are of, and will read those next. Only then the kernel
//! write-protects the pages, and only those: what nobody has taken stays writable and costs no fault (rule P20).
//!
//! The kernel's unit is 64 pages. Within it a bitmap says which pages are meant, so a range is made wider to whole
//! words, whose other bits are 0. And it lets every vCPU that faults wait for as long as one call takes: a long range
//! is cleared in [pieces](PIECE), and a piece in which nothing was dirty is not asked for (what rule P29 has a bitmap
//! for).

use flatview::AddressRange;

use super::{Logged, Method, PAGE_SIZE, State, each_logged, word_of};
use crate::vm::Vm;
use crate::{KvmError, sys};

/// Words of 64 pages that are cleared at once: 256 MiB.
const PIECE: usize = 1 << 10;

/// Has writes to `bytes` be noted anew, rounded outward to pages (rule P12), where they were noted and read. With logs
/// and rings that is done already.
///
/// # Errors
///
/// [`KvmError::Ioctl`]: the first failure, after all slots were asked.
pub(crate) fn log_clear(vm: &Vm, address_space: usize, bytes: AddressRange) -> Result<(), KvmError> {
    if vm.dirty.method != Method::ManualProtect {
        return Ok(());
    }
    each_logged(vm, address_space, bytes, |state, slot| {
        let State { slots, words, .. } = state;
        let Some(logged) = slots.get_mut(&slot.id) else {
            return Ok(());
        };
        let first = bytes.start().saturating_sub(slot.gpa) / PAGE_SIZE;
        let last = (bytes.last() - slot.gpa) / PAGE_SIZE;
        clear(vm, slot.id, logged, words, first, last.min(logged.pages - 1))
    })
}

/// Clears the pages from `first` to `last` of a slot, where bits of them have been read.
fn clear(
    vm: &Vm,
    id: u32,
    logged: &mut Logged,
    scratch: &mut Vec<u64>,
    first: u64,
    last: u64,
) -> Result<(), KvmError> {
    let (start, end) = (word_of(first), word_of(last) + 1);
    for piece in (start..end).step_by(PIECE) {
        let Some(seen) = logged.seen.get_mut(piece..end.min(piece + PIECE)) else {
            // Nothing was read: nothing may be cleared.
            return Ok(());
        };
        scratch.clear();
        scratch.extend_from_slice(seen);
        if piece == start {
            scratch[0] &= u64::MAX << (first % 64);
        }
        if piece + scratch.len() == end
            && let Some(word) = scratch.last_mut()
        {
            *word &= u64::MAX >> (63 - last % 64);
        }
        let Some(begin) = scratch.iter().position(|&word| word != 0) else {
            continue;
        };
        let behind = scratch.iter().rposition(|&word| word != 0).unwrap_or(begin) + 1;
        let first_page = (piece + begin) as u64 * 64;
        let pages = ((behind - begin) as u64 * 64).min(logged.pages - first_page);
        let pages = u32::try_from(pages).unwrap_or(u32::MAX);
        sys::clear_dirty_log(&vm.fd, id, first_page, pages, &scratch[begin..behind])
            .map_err(KvmError::failed("KVM_CLEAR_DIRTY_LOG"))?;
        vm.counters.dirty_logs_cleared.add(1);
        for (seen, cleared) in seen.iter_mut().zip(&*scratch) {
            *seen &= !cleared;
        }
    }
    Ok(())
}
