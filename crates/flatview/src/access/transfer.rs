//! Accesses to an address space: from addresses to memory and devices, piece by piece.

use super::dispatch::{Device, MAX_SIZE};
use super::{MemTxAttrs, MemTxError};
use crate::iommu::{self, IommuAccess, IommuOps};
use crate::ram::{AtomicOp, RamBlock, RamBlockInner, RamWindow, Word};
use crate::region::{Backing, Region};
use crate::space::ViewRef;
use crate::view::{FlatRange, FlatView};

/// How many IOMMUs may lie on the way of one access (rule O3 has no limit, and no end).
pub(crate) const MAX_IOMMUS: usize = 16;

/// Copies between address spaces go through a buffer of this size.
const COPY_SIZE: usize = 4096;

/// Somebody who finds ranges of one view, whatever is published meanwhile (rule L2).
pub(crate) trait Look {
    fn look(&mut self, address: u64) -> Option<&FlatRange>;

    /// The view that is looked at.
    fn looked_at(&mut self) -> &FlatView;

    /// All `len` bytes at `address`, if they are memory that was found before.
    #[inline]
    fn remembered(&self, _address: u64, _len: usize, _is_write: bool) -> Option<(&RamBlockInner, u64)> {
        None
    }

    /// Remembers the memory at `address`, if there is any.
    #[inline]
    fn remember(&mut self, _address: u64) {}
}

impl Look for &FlatView {
    #[inline]
    fn look(&mut self, address: u64) -> Option<&FlatRange> {
        self.find(address)
    }

    fn looked_at(&mut self) -> &FlatView {
        self
    }
}

/// What an access is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    Read,
    Write,
    /// Writes ROM as well, and nothing but memory (rule L9).
    Load,
}

impl Intent {
    fn is_write(self) -> bool {
        self != Intent::Read
    }
}

/// What answers at an address.
pub(crate) enum Answer<'a> {
    /// This many bytes of memory, from this byte of the block on.
    Direct {
        block: &'a RamBlock,
        offset: u64,
        left: u64,
    },
    /// The same, for accesses of exact width (rule A11).
    Exact {
        block: &'a RamBlock,
        offset: u64,
        left: u64,
    },
    Device {
        device: Device<'a>,
        offset: u64,
    },
    Iommu {
        ops: &'a dyn IommuOps,
        region: &'a Region,
        offset: u64,
        left: u64,
    },
    /// For this many bytes nobody answers (rule K19).
    Nothing {
        left: u64,
    },
}

/// Who answers at `address`, which `range` contains (rule L5, and D2: what is seen through something readonly is).
#[inline]
pub(crate) fn answer(range: &FlatRange, address: u64, intent: Intent, attrs: MemTxAttrs) -> Answer<'_> {
    let region = range.region();
    let offset = range.offset_at(address);
    // A range of 2^64 bytes has one more.
    let left = (range.last() - address).saturating_add(1);
    let may_write_rom = intent == Intent::Load || attrs.debug;
    // Also what nobody can write, whatever the tree says: memory that is mapped for reading only.
    let refuses = |block: &RamBlock| {
        intent.is_write() && (!block.inner().writable || (range.is_readonly() && !may_write_rom))
    };
    match region.backing() {
        Backing::Ram(block) | Backing::RamDevice(block) if refuses(block) => Answer::Nothing { left },
        Backing::Ram(block) => {
            within_block(block, offset, left, |left| Answer::Direct { block, offset, left })
        }
        Backing::RamDevice(_) if intent == Intent::Load => Answer::Nothing { left },
        Backing::RamDevice(block) => {
            within_block(block, offset, left, |left| Answer::Exact { block, offset, left })
        }
        Backing::RomDevice(block, _)
            if range.is_romd()
                && (intent == Intent::Read || may_write_rom)
                && (intent == Intent::Read || block.inner().writable) =>
        {
            within_block(block, offset, left, |left| Answer::Direct { block, offset, left })
        }
        Backing::RomDevice(_, device) | Backing::Mmio(device) => match intent {
            Intent::Load => Answer::Nothing { left },
            _ => Answer::Device {
                device: Device { region, device },
                offset,
            },
        },
        Backing::Iommu(iommu) => Answer::Iommu {
            ops: &*iommu.ops,
            region,
            offset,
            left,
        },
        // Containers and aliases are never seen.
        Backing::Reservation | Backing::Container | Backing::Alias(_) => Answer::Nothing { left },
    }
}

/// The device at `address`, which `range` contains, if it is one that takes words.
#[inline]
pub(crate) fn device(
    range: &FlatRange,
    address: u64,
    intent: Intent,
    attrs: MemTxAttrs,
) -> Option<(Device<'_>, u64)> {
    // Rule K17; a debugger may write the memory of ROM devices.
    if attrs.memory || attrs.debug {
        return None;
    }
    let region = range.region();
    let device = match region.backing() {
        Backing::Mmio(device) => device,
        Backing::RomDevice(_, device) if intent.is_write() || !range.is_romd() => device,
        _ => return None,
    };
    let device = Device { region, device };
    Some((device, range.offset_at(address)))
}

/// RAM that is larger than its block shows no more than the block has.
#[inline]
fn within_block<'a>(
    block: &RamBlock,
    offset: u64,
    left: u64,
    found: impl FnOnce(u64) -> Answer<'a>,
) -> Answer<'a> {
    match block.inner().mapped.checked_sub(offset) {
        None | Some(0) => Answer::Nothing { left },
        Some(mapped) => found(left.min(mapped)),
    }
}

/// One piece of a transfer.
pub(crate) enum Step<'a> {
    /// Memory, from this byte of the block on.
    Direct { block: &'a RamBlock, offset: u64 },
    /// Memory that is accessed as a word of the step's size.
    Exact { block: &'a RamBlock, offset: u64 },
    /// A device, accessed with the step's size.
    Device { device: Device<'a>, offset: u64 },
    /// Nobody, or nobody who may be accessed so.
    Nothing(MemTxError),
}

/// What a step is done to: which bytes of the transfer.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) done: usize,
    pub(crate) len: usize,
}

impl Part {
    /// The part of a buffer for the whole transfer.
    fn of(self, buffer: &[u8]) -> &[u8] {
        &buffer[self.done..self.done + self.len]
    }

    fn of_mut(self, buffer: &mut [u8]) -> &mut [u8] {
        &mut buffer[self.done..self.done + self.len]
    }

    /// Steps to devices are words.
    fn size(self) -> u8 {
        u8::try_from(self.len).unwrap_or(MAX_SIZE)
    }
}

/// One transfer of many bytes.
#[derive(Clone, Copy)]
struct Run {
    address: u64,
    part: Part,
    intent: Intent,
    attrs: MemTxAttrs,
    iommus: usize,
}

impl Run {
    /// Does `step` for each piece, in ascending order, also after errors (rule L1). Addresses wrap at 2^64.
    fn each(
        mut self,
        look: &mut impl Look,
        step: &mut dyn FnMut(Step<'_>, Part) -> MemTxError,
    ) -> MemTxError {
        let mut result = MemTxError::empty();
        let end = self.part.done + self.part.len;
        while self.part.done < end {
            self.part.len = end - self.part.done;
            let (len, error) = self.first(look, step);
            result |= error;
            self.part.done += len;
            self.address = self.address.wrapping_add(len as u64);
        }
        result
    }

    /// Does the first piece. Returns how long it was.
    fn first(
        self,
        look: &mut impl Look,
        step: &mut dyn FnMut(Step<'_>, Part) -> MemTxError,
    ) -> (usize, MemTxError) {
        let len = self.part.len;
        let clip = |left: u64| usize::try_from(left).map_or(len, |left| left.min(len));
        // Rule K17.
        let nobody = Step::Nothing(match self.attrs.memory {
            true => MemTxError::ACCESS_ERROR,
            false => MemTxError::DECODE_ERROR,
        });
        let mut finish = |len, what: Step<'_>| (len, step(what, Part { len, ..self.part }));
        let Some(range) = look.look(self.address) else {
            let left = gap(look.looked_at(), self.address);
            return finish(clip(left), nobody);
        };
        match answer(range, self.address, self.intent, self.attrs) {
            Answer::Direct { block, offset, left } => finish(clip(left), Step::Direct { block, offset }),
            Answer::Exact { block, offset, left } => {
                let len = clip(left).min(MAX_SIZE.into());
                finish(1 << len.ilog2(), Step::Exact { block, offset })
            }
            // Not cut at the end of the range (rule K22).
            Answer::Device { device, offset } => {
                let len = device.device.rules.copy_size(offset, len);
                match self.attrs.memory {
                    true => finish(len.into(), nobody),
                    false => finish(len.into(), Step::Device { device, offset }),
                }
            }
            // RAM that refuses is RAM.
            Answer::Nothing { left } => match range.region().backing() {
                Backing::Ram(_) | Backing::RamDevice(_) => {
                    finish(clip(left), Step::Nothing(MemTxError::DECODE_ERROR))
                }
                _ => finish(clip(left), nobody),
            },
            Answer::Iommu {
                ops,
                region,
                offset,
                left,
            } => {
                let (address, left, target) = match self.translate(ops, region, offset) {
                    Ok((address, size, target)) => (address, size.min(left), target),
                    Err(size) => return finish(clip(size.min(left)), nobody),
                };
                let len = clip(left);
                let beyond = Run {
                    address,
                    part: Part { len, ..self.part },
                    iommus: self.iommus + 1,
                    ..self
                };
                (len, beyond.each(&mut &*target, step))
            }
        }
    }

    /// Where an access to an IOMMU goes on, and for how many bytes; or for how many bytes it does not (rule O2).
    fn translate(self, ops: &dyn IommuOps, region: &Region, offset: u64) -> Result<(u64, u64, ViewRef), u64> {
        let wanted = match self.intent {
            Intent::Read => IommuAccess::READ,
            Intent::Write | Intent::Load => IommuAccess::WRITE,
        };
        let entry = match self.iommus {
            MAX_IOMMUS.. => None,
            _ => iommu::translate(ops, region, offset, wanted, ops.attrs_to_index(self.attrs)),
        };
        let Some(entry) = entry else {
            return Err(u64::MAX);
        };
        let mask = entry.address_mask;
        let size = (mask - (offset & mask)).saturating_add(1);
        match entry.target {
            Some(target) if entry.permission.contains(wanted) => Ok((
                (entry.translated_address & !mask) | (offset & mask),
                size,
                target.view(),
            )),
            _ => Err(size),
        }
    }
}

/// How many bytes from `address` on lie before the next range.
fn gap(view: &FlatView, address: u64) -> u64 {
    let rest = crate::AddressRange::from_bounds(address, u64::MAX);
    let next = rest.and_then(|rest| view.meeting(rest).next());
    match next {
        Some(range) => range.start() - address,
        None => (u64::MAX - address).saturating_add(1),
    }
}

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

    /// Where a word goes on behind IOMMUs, as far as one translation holds for all of it. `None` without any, too.
    fn behind(
        &mut self,
        mut address: u64,
        size: u8,
        intent: Intent,
        attrs: MemTxAttrs,
    ) -> Option<(ViewRef, u64)> {
        let mut found: Option<ViewRef> = None;
        for iommus in 0..=MAX_IOMMUS {
            let range = match &found {
                None => self.look(address)?,
                Some(view) => view.find(address)?,
            };
            let Answer::Iommu {
                ops,
                region,
                offset,
                left,
            } = answer(range, address, intent, attrs)
            else {
                return found.map(|view| (view, address));
            };
            let run = Run {
                address,
                part: Part { done: 0, len: 0 },
                intent,
                attrs,
                iommus,
            };
            let (beyond, reach, target) = run.translate(ops, region, offset).ok()?;
            if reach.min(left) < size.into() {
                return None;
            }
            (address, found) = (beyond, Some(target));
        }
        None
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

/// The memory that begins at `address`, up to `size` bytes, and the view it was found in: the given one, or one
/// behind IOMMUs. `None` if it is not memory for that intent.
pub(crate) fn resolve(
    mut view: ViewRef,
    mut address: u64,
    mut size: u64,
    intent: Intent,
    attrs: MemTxAttrs,
) -> Option<(ViewRef, RamWindow)> {
    let part = Part { done: 0, len: 0 };
    for iommus in 0..=MAX_IOMMUS {
        let range = view.find(address)?;
        let Answer::Iommu {
            ops,
            region,
            offset,
            left,
        } = answer(range, address, intent, attrs)
        else {
            let window = resolve_here(&view, address, size, intent, attrs)?;
            return Some((view, window));
        };
        let run = Run {
            address,
            part,
            intent,
            attrs,
            iommus,
        };
        let (beyond, reach, target) = run.translate(ops, region, offset).ok()?;
        size = size.min(left).min(reach);
        (address, view) = (beyond, target);
    }
    None
}

/// As [`resolve`], without IOMMUs: across ranges, as long as one continues the other (rule N1).
pub(crate) fn resolve_here(
    view: &FlatView,
    address: u64,
    size: u64,
    intent: Intent,
    attrs: MemTxAttrs,
) -> Option<RamWindow> {
    let mut found: Option<(&RamBlock, u64, u64)> = None;
    while found.is_none_or(|(_, _, len)| len < size) {
        let at = found.map_or(Some(address), |(_, _, len)| address.checked_add(len));
        let Some((range, at)) = at.and_then(|at| Some((view.find(at)?, at))) else {
            break;
        };
        let Answer::Direct { block, offset, left } = answer(range, at, intent, attrs) else {
            break;
        };
        found = match found {
            None => Some((block, offset, left)),
            Some((first, start, len)) if first == block && start + len == offset => {
                Some((first, start, len + left))
            }
            Some(_) => break,
        };
    }
    let (block, offset, len) = found?;
    block.window(offset, len.min(size))
}
