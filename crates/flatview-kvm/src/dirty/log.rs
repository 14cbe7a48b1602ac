//! Reading the kernel's bitmaps.

use std::mem;

use flatview::AddressRange;

use super::{Method, State, each_logged};
use crate::vm::Vm;
use crate::{KvmError, Slot, sys};

/// Marks what was written to the slots that have a byte of `bytes`, the whole slots (rules P19 and P20).
///
/// # Errors
///
/// [`KvmError::Ioctl`]: the first failure, after all were read.
pub(crate) fn log_sync(vm: &Vm, address_space: usize, bytes: AddressRange) -> Result<(), KvmError> {
    each_logged(vm, address_space, bytes, |state, slot| read(vm, state, slot.id))
}

/// Marks what was written to a slot that is about to be deleted (rule P22). vCPUs are kept out, and stay out until it
/// is gone: what they would write meanwhile is in no bitmap. A ring keeps what it has, and is emptied when the slot is
/// gone.
///
/// # Errors
///
/// [`KvmError::Ioctl`].
pub(crate) fn before_delete(vm: &Vm, slot: &Slot) -> Result<(), KvmError> {
    match vm.dirty.method {
        Method::Ring(_) => Ok(()),
        Method::Log | Method::ManualProtect => read(vm, &mut vm.dirty.state(), slot.id),
    }
}

/// Reads the bitmap of a slot, if it logs, and marks what it says.
#[expect(unsafe_code, reason = "the kernel writes a bitmap")]
fn read(vm: &Vm, state: &mut State, id: u32) -> Result<(), KvmError> {
    let State { slots, words, .. } = state;
    let Some(logged) = slots.get_mut(&id) else {
        return Ok(());
    };
    let is_manual = vm.dirty.method == Method::ManualProtect;
    let size = logged.words();
    let mut seen = mem::take(&mut logged.seen);
    let bitmap = if is_manual { &mut seen } else { words };
    if bitmap.len() < size {
        bitmap.resize(size, 0);
    }
    let bitmap = &mut bitmap[..size];
    // SAFETY: it has a bit for each page that a slot of this number can have, see `Logged::pages`.
    unsafe { sys::get_dirty_log(&vm.fd, id, bitmap) }.map_err(KvmError::failed("KVM_GET_DIRTY_LOG"))?;
    vm.counters.dirty_logs_read.add(1);
    logged.mark(bitmap);
    logged.seen = seen;
    Ok(())
}
