//! Loads, stores and copies, as [`Reader`] and [`AddressSpace`] offer them.

use super::answer::{Answer, Intent, Look, answer};
use super::dispatch::Device;
use super::transfer::{Transfer, ok};
use super::{Endianness, MemTxAttrs, MemTxError};
use crate::ram::{AtomicOp, Word};
use crate::reader::Reader;
use crate::region::Region;
use crate::space::AddressSpace;

/// From the order of bytes in memory to the one asked for, or back.
#[inline]
pub(super) fn in_order<T: Word>(word: T, endianness: Endianness) -> T {
    match endianness {
        Endianness::Little => word,
        Endianness::Big => word.swap_bytes(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "at most 8")]
pub(super) fn size_of_word<T: Word>() -> u8 {
    T::SIZE as u8
}

/// # Accesses
///
/// Each goes to whoever answers at its address: memory directly, devices by their [rules](crate::AccessRules). An
/// access sees one view from its beginning to its end (rule L2). Addresses wrap at 2^64. The number of bytes of a
/// slice is not limited.
///
/// A write to memory that is seen through anything read-only is refused as one to ROM is (rules L7, D2): [`MemTxError::DECODE_ERROR`],
/// and nothing is changed. Where nobody answers, reads find zeros and fail in the same way (rule K19). A device
/// that this thread is already in, through its own DMA for instance, refuses with
/// [`MemTxError::ACCESS_ERROR`] (rule K12). Translations of IOMMU regions on the way are obeyed (rule O2).
impl Reader {
    /// Loads one word, in the byte order asked for (rule L11).
    ///
    /// A device gets the access as it is, and refuses a size that it does not take. An access across the end of
    /// memory is made like a [copy](Self::read) of as many bytes.
    ///
    /// ```
    /// use flatview::{Endianness, MemTxAttrs, Memory, RamBlock};
    /// let memory = Memory::new();
    /// let ram = memory.region("ram").ram(RamBlock::anonymous(0x1000)?);
    /// let mut cpu = memory.create_address_space("cpu", &ram)?.reader();
    /// let attrs = MemTxAttrs::UNSPECIFIED;
    /// cpu.store(0x10, 0x1122_3344_u32, Endianness::Little, attrs)?;
    /// assert_eq!(cpu.load::<u16>(0x10, Endianness::Little, attrs)?, 0x3344);
    /// assert_eq!(cpu.load::<u16>(0x10, Endianness::Big, attrs)?, 0x4433);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [above](Self#accesses).
    #[inline]
    pub fn load<T: Word>(
        &mut self,
        address: u64,
        endianness: Endianness,
        attrs: MemTxAttrs,
    ) -> Result<T, MemTxError> {
        let word = match self.load_hot(address) {
            Some(word) => word,
            None => self.load_slowly(address, attrs)?,
        };
        Ok(in_order(word, endianness))
    }

    #[inline(never)]
    fn load_slowly<T: Word>(&mut self, address: u64, attrs: MemTxAttrs) -> Result<T, MemTxError> {
        self.refresh_if_stale();
        if !attrs.memory
            && let Some(range) = self.look(address)
            && let Answer::Device { device, offset } = answer(range, address, Intent::Read, attrs)
        {
            let (bytes, error) = device.read(offset, size_of_word::<T>(), attrs);
            return ok(error).map(|()| T::truncate(bytes));
        }
        self.remember(address);
        let (bytes, error) = self.load_bytes(address, size_of_word::<T>(), attrs);
        ok(error).map(|()| T::truncate(bytes))
    }

    /// Stores one word, in the byte order asked for; see [`load`](Self::load).
    ///
    /// # Errors
    ///
    /// See [above](Self#accesses).
    #[inline]
    pub fn store<T: Word>(
        &mut self,
        address: u64,
        value: T,
        endianness: Endianness,
        attrs: MemTxAttrs,
    ) -> Result<(), MemTxError> {
        let word = in_order(value, endianness);
        if self.store_hot(address, word) {
            return Ok(());
        }
        self.store_slowly(address, word, attrs)
    }

    #[inline(never)]
    fn store_slowly<T: Word>(&mut self, address: u64, word: T, attrs: MemTxAttrs) -> Result<(), MemTxError> {
        self.refresh_if_stale();
        if !attrs.memory
            && let Some(range) = self.look(address)
            && let Answer::Device { device, offset } = answer(range, address, Intent::Write, attrs)
        {
            return ok(device.write(offset, size_of_word::<T>(), word.widen(), attrs));
        }
        self.remember(address);
        self.store_bytes(address, size_of_word::<T>(), word.widen(), attrs)
    }
}

macro_rules! accesses {
    ($self:ident: $receiver:ty, $look:expr) => {
        /// Copies out of the space (rule L1). Devices are read in the widest pieces that they take (rule L3); the
        /// byte at the lowest address comes first (rule L4).
        ///
        /// # Errors
        ///
        /// What went wrong with any piece; all pieces are read, and those that failed are zeros in the buffer.
        pub fn read(
            $self: $receiver,
            address: u64,
            buffer: &mut [u8],
            attrs: MemTxAttrs,
        ) -> Result<(), MemTxError> {
            $look.copy_out(address, buffer, attrs)
        }

        /// Copies into the space; see [`read`](Self::read).
        ///
        /// # Errors
        ///
        /// What went wrong with any piece; all the others were written.
        pub fn write(
            $self: $receiver,
            address: u64,
            bytes: &[u8],
            attrs: MemTxAttrs,
        ) -> Result<(), MemTxError> {
            $look.copy_in(address, bytes, attrs)
        }

        /// Sets `len` bytes to `value` (rule L10).
        ///
        /// # Errors
        ///
        /// As [`write`](Self::write).
        pub fn fill(
            $self: $receiver,
            address: u64,
            value: u8,
            len: usize,
            attrs: MemTxAttrs,
        ) -> Result<(), MemTxError> {
            $look.fill_bytes(address, value, len, attrs)
        }

        /// Copies into RAM, ROM and ROM devices in romd mode, and skips everything else: for loaders and debuggers
        /// (rule L9). Returns how many bytes were not skipped.
        pub fn write_rom($self: $receiver, address: u64, bytes: &[u8]) -> usize {
            $look.load_image(address, bytes)
        }

        /// Whether a copy of `len` bytes would reach somebody who takes it, everywhere (rule L16). Devices are asked
        /// what they [accept](crate::MemoryRegionOps::accepts); nothing is accessed.
        pub fn access_valid(
            $self: $receiver,
            address: u64,
            len: usize,
            is_write: bool,
            attrs: MemTxAttrs,
        ) -> bool {
            $look.is_valid(address, len, is_write, attrs)
        }

        /// Stores `new` if `current` is there. Returns what was there: `Ok` if it was `current`.
        ///
        /// Atomic in memory that may be written. With a device, or across ranges, it is a load and a store.
        ///
        /// # Errors
        ///
        /// As for [`Reader::load`] and [`Reader::store`].
        pub fn compare_exchange<T: Word>(
            $self: $receiver,
            address: u64,
            current: T,
            new: T,
            endianness: Endianness,
            attrs: MemTxAttrs,
        ) -> Result<Result<T, T>, MemTxError> {
            let (expected, new) = (in_order(current, endianness), in_order(new, endianness));
            let old = $look.update_word(address, attrs, |old| (old == expected).then_some(new))?;
            let found = in_order(old, endianness);
            Ok(if old == expected {
                Ok(found)
            } else {
                Err(found)
            })
        }

        /// Does `op` to a word and returns what was there: what a LOCK prefix or a device's atomic does. As atomic as
        /// [`compare_exchange`](Self::compare_exchange).
        ///
        /// # Errors
        ///
        /// As for [`Reader::load`] and [`Reader::store`].
        pub fn atomic<T: Word>(
            $self: $receiver,
            address: u64,
            op: AtomicOp,
            operand: T,
            endianness: Endianness,
            attrs: MemTxAttrs,
        ) -> Result<T, MemTxError> {
            $look.atomic_word(address, op, operand, attrs, |word| {
                in_order(word, endianness)
            })
        }
    };
}

impl Reader {
    accesses!(self: &mut Self, {
        self.refresh_if_stale();
        self
    });

    /// Copies from this space to another, or within it, in ascending pieces of 4 KiB: each is read whole before it is
    /// written. What cannot be read is written as zeros.
    ///
    /// # Errors
    ///
    /// What went wrong with any piece, read or written; all the others were copied.
    pub fn copy_to(
        &mut self,
        from: u64,
        target: &mut Reader,
        to: u64,
        len: u64,
        attrs: MemTxAttrs,
    ) -> Result<(), MemTxError> {
        self.refresh_if_stale();
        target.refresh_if_stale();
        Transfer::copy_across(self, from, target, to, len, attrs)
    }
}

/// # Accesses
///
/// As those of a [`Reader`](Reader#accesses), each looking at the view that is current then. Who accesses a space
/// often has a reader.
impl AddressSpace {
    /// Loads one word; see [`Reader::load`].
    ///
    /// # Errors
    ///
    /// As [`Reader::load`].
    pub fn load<T: Word>(
        &self,
        address: u64,
        endianness: Endianness,
        attrs: MemTxAttrs,
    ) -> Result<T, MemTxError> {
        let (bytes, error) = (&*self.view()).load_bytes(address, size_of_word::<T>(), attrs);
        ok(error).map(|()| in_order(T::truncate(bytes), endianness))
    }

    /// Stores one word; see [`Reader::load`].
    ///
    /// # Errors
    ///
    /// As [`Reader::store`].
    pub fn store<T: Word>(
        &self,
        address: u64,
        value: T,
        endianness: Endianness,
        attrs: MemTxAttrs,
    ) -> Result<(), MemTxError> {
        let bytes = in_order(value, endianness).widen();
        (&*self.view()).store_bytes(address, size_of_word::<T>(), bytes, attrs)
    }

    accesses!(self: &Self, &mut &*self.view());

    /// Copies from this space to another, or within it; see [`Reader::copy_to`].
    ///
    /// # Errors
    ///
    /// As [`Reader::copy_to`].
    pub fn copy_to(
        &self,
        from: u64,
        target: &AddressSpace,
        to: u64,
        len: u64,
        attrs: MemTxAttrs,
    ) -> Result<(), MemTxError> {
        Transfer::copy_across(&mut &*self.view(), from, &mut &*target.view(), to, len, attrs)
    }
}

impl Region {
    /// Loads a word from the device behind the region, wherever it is mapped, and if it is mapped nowhere (rules K1,
    /// K2): with all its rules and its guard, as from a space that shows it.
    ///
    /// # Errors
    ///
    /// As [`Reader::load`]. [`MemTxError::DECODE_ERROR`] also if there is no device at the end of its aliases: memory
    /// is reached by a [window](crate::RamBlock::window).
    pub fn dispatch_read<T: Word>(
        &self,
        offset: u64,
        endianness: Endianness,
        attrs: MemTxAttrs,
    ) -> Result<T, MemTxError> {
        let (region, offset) = self.dispatched_to(offset)?;
        let device = Device::of(&region).ok_or(MemTxError::DECODE_ERROR)?;
        let (bytes, error) = device.read(offset, size_of_word::<T>(), attrs);
        ok(error).map(|()| in_order(T::truncate(bytes), endianness))
    }

    /// Stores a word into the device behind the region; see [`dispatch_read`](Self::dispatch_read).
    ///
    /// # Errors
    ///
    /// As [`dispatch_read`](Self::dispatch_read).
    pub fn dispatch_write<T: Word>(
        &self,
        offset: u64,
        value: T,
        endianness: Endianness,
        attrs: MemTxAttrs,
    ) -> Result<(), MemTxError> {
        let (region, offset) = self.dispatched_to(offset)?;
        let device = Device::of(&region).ok_or(MemTxError::DECODE_ERROR)?;
        let bytes = in_order(value, endianness).widen();
        ok(device.write(offset, size_of_word::<T>(), bytes, attrs))
    }

    /// Aliases are followed without asking whether they reach that far; offsets wrap (rule K2).
    fn dispatched_to(&self, mut offset: u64) -> Result<(Region, u64), MemTxError> {
        let mut region = self.clone();
        while let Some(target) = region.alias_target() {
            // Without the machine there is nobody.
            let state = region.state().map_err(|_| MemTxError::DECODE_ERROR)?;
            offset = offset.wrapping_add(state.alias_offset);
            region = target.clone();
        }
        Ok((region, offset))
    }
}
