//! Mapping guest memory for a device to work on, and the bounce buffers for what is no memory.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

use super::MemTxAttrs;
use super::MemTxError;
use super::answer::Intent;
use super::transfer::Transfer;
use super::walk::resolve;
use crate::primitive::Mutex;
use crate::ram::{RamBlock, RamWindow};
use crate::space::{AddressSpace, ViewRef};

/// What a space has for bounce buffers unless it is told otherwise, in bytes (rule N9).
const MAX_BOUNCE: u64 = 4096;

/// Why nothing was mapped.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapError {
    /// No byte was asked for.
    #[error("no byte at {address:#x} was to be mapped")]
    Empty {
        /// The first address.
        address: u64,
    },
    /// It is no memory, and all bounce buffers are in use. Who can wait
    /// [registers](AddressSpace::register_map_client).
    #[error(
        "{size:#x} bytes at {address:#x} are no memory, and {used:#x} of {limit:#x} bytes of bounce buffers are in use"
    )]
    NoBounceSpace {
        /// The first address.
        address: u64,
        /// How many bytes were asked for.
        size: u64,
        /// How many bytes of buffers are in use.
        used: u64,
        /// How many there may be.
        limit: u64,
    },
}

/// What a space lends to those who map what is no memory.
pub(crate) struct Bounce {
    limit: AtomicU64,
    used: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    clients: Vec<(u64, Box<dyn FnOnce() + Send>)>,
}

impl Bounce {
    pub(crate) fn new() -> Bounce {
        Bounce {
            limit: AtomicU64::new(MAX_BOUNCE),
            used: AtomicU64::new(0),
            waiting: Mutex::new(Waiting::default()),
        }
    }

    /// Takes up to `size` bytes.
    fn take(&self, address: u64, size: u64) -> Result<u64, MapError> {
        let mut got = 0;
        let take = |used: u64| {
            got = self.limit.load(Ordering::Relaxed).saturating_sub(used).min(size);
            (got > 0).then_some(used + got)
        };
        match self.used.try_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            Ok(_) => Ok(got),
            Err(used) => Err(MapError::NoBounceSpace {
                address,
                size,
                used,
                limit: self.limit.load(Ordering::Relaxed),
            }),
        }
    }

    fn give_back(&self, size: u64) {
        self.used.fetch_sub(size, Ordering::SeqCst);
        self.tell_waiting();
    }

    fn is_free(&self) -> bool {
        self.used.load(Ordering::SeqCst) < self.limit.load(Ordering::Relaxed)
    }

    /// All of them, each once (rule N10). They may map at once, so no lock is held.
    fn tell_waiting(&self) {
        if self.is_free() {
            let clients = std::mem::take(&mut self.waiting.lock().clients);
            for (_, client) in clients {
                client();
            }
        }
    }
}

/// Some bytes of an address space, mapped for a device to work on (rule N7): memory itself, or a copy of what is
/// no memory.
///
/// While it lives the view that it was found in is in use, so receipts wait for it. [`unmap`](Self::unmap) says
/// how much was written. A mapping that is dropped instead counts as written all over if it is of memory; of a
/// copy nothing is written back.
pub struct Mapping {
    window: RamWindow,
    address: u64,
    is_write: bool,
    attrs: MemTxAttrs,
    /// How much of the bounce space it has.
    bounced: Option<u64>,
    view: Option<ViewRef>,
    space: AddressSpace,
}

impl AddressSpace {
    /// Maps up to `size` bytes for reading, or for writing (rule N11). What comes back may have fewer: map the rest
    /// then. ROM is mapped for writing as a copy whose writing back fails (rule N12).
    ///
    /// ```
    /// use flatview::{MemTxAttrs, Memory, RamBlock};
    /// let memory = Memory::new();
    /// let ram = memory.region("ram").ram(RamBlock::anonymous(0x4000)?);
    /// let space = memory.create_address_space("dma", &ram)?;
    ///
    /// let buffer = space.map(0x1000, 0x800, true, MemTxAttrs::UNSPECIFIED)?;
    /// buffer.window().fill(0, 0xa5, 0x800)?;
    /// buffer.unmap(0x800)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`MapError`].
    pub fn map(
        &self,
        address: u64,
        size: u64,
        is_write: bool,
        attrs: MemTxAttrs,
    ) -> Result<Mapping, MapError> {
        if size == 0 {
            return Err(MapError::Empty { address });
        }
        let intent = if is_write { Intent::Write } else { Intent::Read };
        let mapping = |window, bounced, view| Mapping {
            window,
            address,
            is_write,
            attrs,
            bounced,
            view,
            space: self.clone(),
        };
        if let Some((view, window)) = resolve(self.view(), address, size, intent, attrs) {
            return Ok(mapping(window, None, Some(view)));
        }
        let bounce = &self.inner().bounce;
        let size = bounce.take(address, size)?;
        let Some(window) = bounce_buffer(size) else {
            bounce.give_back(size);
            return Err(MapError::NoBounceSpace {
                address,
                size,
                used: 0,
                limit: 0,
            });
        };
        if !is_write {
            let mut bytes = vec![0; window_len(&window)];
            // What cannot be read is zeros, as for everybody who reads.
            let _ = (&*self.view()).copy_out(address, &mut bytes, attrs);
            let _ = window.write(0, &bytes);
        }
        Ok(mapping(window, Some(size), None))
    }

    /// How many bytes of bounce buffers all mappings of this space may have together (rule N9), 4 KiB at first.
    /// Those that there are stay.
    pub fn set_max_bounce_buffer_size(&self, bytes: u64) {
        let bounce = &self.inner().bounce;
        bounce.limit.store(bytes, Ordering::Relaxed);
        bounce.tell_waiting();
    }

    /// Calls `client` once when there is room for bounce buffers again, at once if there is (rule N10), on the
    /// thread that makes room. Returns a number to [unregister](Self::unregister_map_client) it with.
    pub fn register_map_client(&self, client: impl FnOnce() + Send + 'static) -> u64 {
        let bounce = &self.inner().bounce;
        let number = {
            let mut waiting = bounce.waiting.lock();
            waiting.next += 1;
            let number = waiting.next;
            waiting.clients.push((number, Box::new(client)));
            number
        };
        bounce.tell_waiting();
        number
    }

    /// Takes a client back. Tells whether it had not been called.
    pub fn unregister_map_client(&self, number: u64) -> bool {
        let mut waiting = self.inner().bounce.waiting.lock();
        let place = waiting.clients.iter().position(|&(other, _)| other == number);
        let client = place.map(|place| waiting.clients.remove(place));
        drop(waiting);
        client.is_some()
    }
}

/// A copy is memory like all other, so that devices need not tell the two apart.
fn bounce_buffer(size: u64) -> Option<RamWindow> {
    let len = usize::try_from(size).ok()?;
    RamBlock::on_heap(len).window(0, size)
}

fn window_len(window: &RamWindow) -> usize {
    usize::try_from(window.size()).unwrap_or_default()
}

impl Mapping {
    /// The bytes. They stay after the mapping is gone, but what is written to them then may be lost.
    pub fn window(&self) -> &RamWindow {
        &self.window
    }

    /// The number of bytes.
    pub fn size(&self) -> u64 {
        self.window.size()
    }

    /// Whether it is a copy.
    pub fn is_bounced(&self) -> bool {
        self.bounced.is_some()
    }

    /// Ends the mapping, `written` bytes of which were written, if it is for writing: they are marked dirty, or
    /// written back from the copy, with the attributes that it was mapped with (not N8).
    ///
    /// # Errors
    ///
    /// What went wrong as the copy was written back.
    pub fn unmap(mut self, written: u64) -> Result<(), MemTxError> {
        self.finish(written)
    }

    fn finish(&mut self, written: u64) -> Result<(), MemTxError> {
        let written = if self.is_write {
            written.min(self.size())
        } else {
            0
        };
        let result = match self.bounced.take() {
            None => {
                if self.view.take().is_some() {
                    // It lies within the window.
                    let _ = self.window.mark_dirty(0, written);
                }
                Ok(())
            }
            Some(size) => {
                let mut bytes = vec![0; usize::try_from(written).unwrap_or_default()];
                let _ = self.window.read(0, &mut bytes);
                let result = (&*self.space.view()).copy_in(self.address, &bytes, self.attrs);
                self.space.inner().bounce.give_back(size);
                result
            }
        };
        self.is_write = false;
        result
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let written = if self.is_bounced() { 0 } else { self.size() };
        let _ = self.finish(written);
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping")
            .field("address", &format_args!("{:#x}", self.address))
            .field("window", &self.window)
            .field("is_write", &self.is_write)
            .field("is_bounced", &self.is_bounced())
            .finish_non_exhaustive()
    }
}
