//! What all devices have in common.

use std::sync::{Mutex, MutexGuard, PoisonError};

use flatview::{AccessRules, AccessSizes, Endianness};

/// A part of the machine that a reset puts back to its state after power-on.
///
/// A device has its state in a [`Mutex`], which implements this if the state implements [`ResetMut`].
pub trait Reset: Send + Sync {
    /// Back to the state after power-on. It may lower its interrupt lines, disarm its timers, change the memory map.
    fn reset(&self);
}

/// [`Reset`] for what lives in a [`Mutex`].
pub trait ResetMut: Send {
    /// See [`Reset::reset`].
    fn reset(&mut self);
}

impl<T: ResetMut> Reset for Mutex<T> {
    fn reset(&self) {
        lock(self).reset();
    }
}

/// Locks a device. One that panicked is left as it is and goes on, like a device behind
/// [`flatview::MemoryRegionOpsMut`].
pub fn lock<T: ?Sized>(device: &Mutex<T>) -> MutexGuard<'_, T> {
    device.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The rules of a device that takes any access of up to four bytes as it comes.
pub(crate) const UP_TO_FOUR_BYTES: AccessRules = AccessRules {
    valid: Some(FOUR),
    implemented: FOUR,
    endianness: Endianness::Little,
};

const FOUR: AccessSizes = AccessSizes {
    min: 1,
    max: 4,
    unaligned: true,
};
