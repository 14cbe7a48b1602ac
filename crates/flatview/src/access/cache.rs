//! A window onto an address space that is found once and looked at often.

use super::answer::Intent;
use super::api::in_order;
use super::transfer::{Transfer, ok};
use super::walk::resolve_here;
use super::{Endianness, MemTxAttrs, MemTxError};
use crate::publish::Hold;
use crate::ram::{RamWindow, Word};
use crate::space::AddressSpace;
use crate::view::FlatView;

/// Some bytes of an address space that are accessed again and again, such as a virtqueue's rings (rules N1 to N6).
///
/// Memory at the beginning of the window is found once and then accessed directly, until a newer view is
/// published: the next access notices and looks anew, so nobody has to rebuild it (unlike N6). Everything else is
/// dispatched, and translated, at each access (rule N3). Writes mark dirty by themselves (unlike N4).
///
/// Like a [`Reader`](crate::Reader) it keeps the view that it saw last: [`release`](Self::release) it before the
/// thread waits.
///
/// ```
/// use flatview::{Endianness, MemTxAttrs, Memory, MemoryRegionCache, RamBlock};
/// let memory = Memory::new();
/// let ram = memory.region("ram").ram(RamBlock::anonymous(0x4000)?);
/// let space = memory.create_address_space("dma", &ram)?;
/// let mut ring = MemoryRegionCache::new(&space, 0x1000, 0x100, MemTxAttrs::UNSPECIFIED);
/// ring.store(2, 7_u16, Endianness::Little)?;
/// assert_eq!(ring.load::<u16>(2, Endianness::Little)?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MemoryRegionCache {
    hold: Hold<FlatView>,
    /// What is memory at the beginning, to read and to write.
    readable: Option<RamWindow>,
    writable: Option<RamWindow>,
    address: u64,
    size: u64,
    attrs: MemTxAttrs,
    space: AddressSpace,
}

impl MemoryRegionCache {
    /// A window onto `size` bytes from `address` on. Addresses wrap at 2^64.
    pub fn new(space: &AddressSpace, address: u64, size: u64, attrs: MemTxAttrs) -> MemoryRegionCache {
        MemoryRegionCache {
            hold: Hold::new(space.inner().retired()),
            readable: None,
            writable: None,
            address,
            size,
            attrs,
            space: space.clone(),
        }
    }

    /// The first address.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// The number of bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Gives the view up, so that nothing is kept alive. The next access takes the current one.
    pub fn release(&mut self) {
        (self.readable, self.writable) = (None, None);
        self.hold.release();
    }

    #[cold]
    fn refresh(&mut self) {
        let view = self.hold.refresh(&self.space.inner().outlet);
        let find = |intent| resolve_here(view, self.address, self.size, intent, self.attrs);
        (self.readable, self.writable) = (find(Intent::Read), find(Intent::Write));
    }

    /// # Errors
    ///
    /// [`MemTxError::ACCESS_ERROR`] beyond the window.
    fn begin(&mut self, offset: u64, size: usize) -> Result<(), MemTxError> {
        if offset > self.size || size as u64 > self.size - offset {
            return Err(MemTxError::ACCESS_ERROR);
        }
        if !self.hold.is_current() {
            self.refresh();
        }
        Ok(())
    }

    fn view(&self) -> &FlatView {
        self.hold.held().expect("every access begins with a look")
    }

    /// Loads a word at `offset` of the window.
    ///
    /// # Errors
    ///
    /// As [`Reader::load`](crate::Reader::load), and [`MemTxError::ACCESS_ERROR`] beyond the window.
    #[inline]
    pub fn load<T: Word>(&mut self, offset: u64, endianness: Endianness) -> Result<T, MemTxError> {
        self.begin(offset, T::SIZE)?;
        if let Some(word) = self.readable.as_ref().and_then(|ram| ram.load::<T>(offset).ok()) {
            return Ok(in_order(crate::ram::little_endian(word), endianness));
        }
        let address = self.address.wrapping_add(offset);
        let (bytes, error) = self
            .view()
            .load_bytes(address, super::api::size_of_word::<T>(), self.attrs);
        ok(error).map(|()| in_order(T::truncate(bytes), endianness))
    }

    /// Stores a word at `offset` of the window.
    ///
    /// # Errors
    ///
    /// As [`Reader::store`](crate::Reader::store), and [`MemTxError::ACCESS_ERROR`] beyond the window.
    #[inline]
    pub fn store<T: Word>(
        &mut self,
        offset: u64,
        value: T,
        endianness: Endianness,
    ) -> Result<(), MemTxError> {
        self.begin(offset, T::SIZE)?;
        let word = in_order(value, endianness);
        if let Some(ram) = &self.writable
            && ram.store(offset, crate::ram::little_endian(word)).is_ok()
        {
            return Ok(());
        }
        let address = self.address.wrapping_add(offset);
        self.view()
            .store_bytes(address, super::api::size_of_word::<T>(), word.widen(), self.attrs)
    }

    /// Copies out of the window.
    ///
    /// # Errors
    ///
    /// As [`Reader::read`](crate::Reader::read), and [`MemTxError::ACCESS_ERROR`] beyond the window.
    pub fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), MemTxError> {
        self.begin(offset, buffer.len())?;
        if self
            .readable
            .as_ref()
            .is_some_and(|ram| ram.read(offset, buffer).is_ok())
        {
            return Ok(());
        }
        self.view()
            .copy_out(self.address.wrapping_add(offset), buffer, self.attrs)
    }

    /// Copies into the window.
    ///
    /// # Errors
    ///
    /// As [`Reader::write`](crate::Reader::write), and [`MemTxError::ACCESS_ERROR`] beyond the window.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), MemTxError> {
        self.begin(offset, bytes.len())?;
        if self
            .writable
            .as_ref()
            .is_some_and(|ram| ram.write(offset, bytes).is_ok())
        {
            return Ok(());
        }
        self.view()
            .copy_in(self.address.wrapping_add(offset), bytes, self.attrs)
    }
}
