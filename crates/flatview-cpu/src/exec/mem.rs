//! Memory accesses by linear address.
//!
//! The fast way is a hit in the TLB. Everything else goes the slow way: pages that are not in the TLB yet, accesses
//! that cross a page, devices, ROM that is written, pages with code in them.

use std::sync::atomic::{Ordering, fence};

use flatview::{Endianness, MemTxAttrs, RamWindow, Reader, RegionKind};

use super::tlb::{Entry, OFFSET, PAGE, USER, tag_if};
use super::{Exec, Fault, Flow};
use crate::int::{Int, low8};
use crate::ops::Op;

/// What an access is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    Execute,
}

/// Where the slow way ends.
enum Place {
    /// Memory, from this byte of the window on.
    Memory(RamWindow, u64),
    /// A device, ROM that is written, or nothing: this physical address.
    Elsewhere(u64),
}

/// Who accesses memory: a program, or the processor itself.
#[derive(Clone, Copy)]
struct Origin {
    /// As in a tag: whether it has the rights of user mode only.
    user: u64,
    /// The bits of a linear address.
    mask: u64,
}

impl Origin {
    fn next_page(self, linear: u64) -> u64 {
        (linear | OFFSET).wrapping_add(1) & self.mask
    }
}

const ATTRS: MemTxAttrs = MemTxAttrs::UNSPECIFIED;

impl Exec {
    /// Loads a number.
    #[inline(always)]
    pub(crate) fn load<T: Int>(&mut self, linear: u64) -> Result<T, Fault> {
        let entry = self.tlb.entry(linear);
        if entry.tag_r == self.tlb.tag(linear)
            && let Some(window) = &entry.window
            && let Ok(value) = window.load::<T>(linear & OFFSET)
        {
            return Ok(value.little_endian());
        }
        self.load_slowly(linear)
    }

    /// Stores a number.
    #[inline(always)]
    pub(crate) fn store<T: Int>(&mut self, linear: u64, value: T) -> Result<(), Fault> {
        let entry = self.tlb.entry(linear);
        if entry.tag_w == self.tlb.tag(linear)
            && let Some(window) = &entry.window
            && window.store(linear & OFFSET, value.little_endian()).is_ok()
        {
            return Ok(());
        }
        self.store_slowly(linear, value)
    }

    /// Replaces a number by what `change` makes of it; with `LOCK` in one step.
    #[inline(always)]
    pub(crate) fn modify<T: Int>(
        &mut self,
        op: &Op,
        linear: u64,
        mut change: impl FnMut(&mut super::Registers, T) -> T,
    ) -> Result<(), Fault> {
        let entry = self.tlb.entry(linear);
        if entry.tag_w == self.tlb.tag(linear)
            && let Some(window) = &entry.window
            && !op.is_locked()
            && let Ok(old) = window.load::<T>(linear & OFFSET)
        {
            let new = change(&mut self.r, old.little_endian());
            if window.store(linear & OFFSET, new.little_endian()).is_ok() {
                return Ok(());
            }
        }
        self.modify_slowly(op, linear, &mut change)
    }

    #[inline(never)]
    fn modify_slowly<T: Int>(
        &mut self,
        op: &Op,
        linear: u64,
        change: &mut dyn FnMut(&mut super::Registers, T) -> T,
    ) -> Result<(), Fault> {
        self.probe::<T>(linear, Access::Write)?;
        if op.is_locked() {
            fence(Ordering::SeqCst);
            let entry = self.tlb.entry(linear);
            let before = self.r.clone();
            if entry.tag_w == self.tlb.tag(linear)
                && let Some(window) = &entry.window
            {
                while let Ok(old) = window.load::<T>(linear & OFFSET) {
                    let new = change(&mut self.r, old.little_endian());
                    match window.compare_exchange(linear & OFFSET, old, new.little_endian()) {
                        Ok(Ok(_)) => return Ok(()),
                        Ok(Err(_)) => self.r = before.clone(),
                        Err(_) => break,
                    }
                }
                self.r = before;
            }
        }
        let old = self.load_slowly::<T>(linear)?;
        let new = change(&mut self.r, old);
        self.store_slowly(linear, new)
    }

    /// Faults as an access to all bytes of a number would, and does nothing else.
    pub(crate) fn probe<T: Int>(&mut self, linear: u64, access: Access) -> Result<(), Fault> {
        let user = self.tlb.user;
        self.place(linear, access, user)?;
        if (linear & OFFSET) + T::BYTES > PAGE {
            self.place(self.next_page(linear), access, user)?;
        }
        Ok(())
    }

    /// Linear addresses have 32 bits outside of 64-bit mode.
    #[inline(always)]
    pub(crate) fn wrap(&self, linear: u64) -> u64 {
        if self.mode.is_64() {
            linear
        } else {
            linear & 0xffff_ffff
        }
    }

    /// The first byte of the page after that of `linear`.
    pub(crate) fn next_page(&self, linear: u64) -> u64 {
        self.program().next_page(linear)
    }

    #[inline(never)]
    fn load_slowly<T: Int>(&mut self, linear: u64) -> Result<T, Fault> {
        self.load_as(linear, self.program())
    }

    #[inline(never)]
    fn store_slowly<T: Int>(&mut self, linear: u64, value: T) -> Result<(), Fault> {
        self.store_as(linear, value, self.program())
    }

    /// Loads as the processor itself does from its tables, whatever the privilege is.
    pub(crate) fn load_system<T: Int>(&mut self, linear: u64) -> Result<T, Fault> {
        let system = self.system();
        self.load_as(linear & system.mask, system)
    }

    /// Stores as the processor itself does, whatever the privilege is.
    pub(crate) fn store_system<T: Int>(&mut self, linear: u64, value: T) -> Result<(), Fault> {
        let system = self.system();
        self.store_as(linear & system.mask, value, system)
    }

    fn program(&self) -> Origin {
        Origin {
            user: self.tlb.user,
            mask: self.wrap(u64::MAX),
        }
    }

    /// Tables are at addresses of 64 bits in compatibility mode, too (Intel SDM vol. 3, 3.5.2).
    fn system(&self) -> Origin {
        Origin {
            user: 0,
            mask: if self.mode.is_long { u64::MAX } else { 0xffff_ffff },
        }
    }

    fn load_as<T: Int>(&mut self, linear: u64, origin: Origin) -> Result<T, Fault> {
        let user = origin.user;
        if (linear & OFFSET) + T::BYTES > PAGE {
            let next = origin.next_page(linear);
            self.place(linear, Access::Read, user)?;
            self.place(next, Access::Read, user)?;
            let mut value = 0;
            for byte in (0..T::BYTES).rev() {
                let at = linear.wrapping_add(byte) & origin.mask;
                value = value << 8 | u64::from(self.load_as::<u8>(at, origin)?);
            }
            return Ok(T::truncate(value));
        }
        match self.place(linear, Access::Read, user)? {
            Place::Memory(window, offset) => Ok(window.load::<T>(offset).map_or(T::ZERO, Int::little_endian)),
            Place::Elsewhere(physical) => Ok(self.load_device(physical)),
        }
    }

    fn store_as<T: Int>(&mut self, linear: u64, value: T, origin: Origin) -> Result<(), Fault> {
        let user = origin.user;
        if (linear & OFFSET) + T::BYTES > PAGE {
            let next = origin.next_page(linear);
            self.place(linear, Access::Write, user)?;
            self.place(next, Access::Write, user)?;
            for byte in 0..T::BYTES {
                let at = linear.wrapping_add(byte) & origin.mask;
                self.store_as(at, low8(value.widen() >> (8 * byte)), origin)?;
            }
            return Ok(());
        }
        match self.place(linear, Access::Write, user)? {
            Place::Memory(window, offset) => {
                if window.store(offset, value.little_endian()).is_ok() {
                    self.stored(&window, offset, T::BYTES);
                }
            }
            Place::Elsewhere(physical) => self.store_device(physical, value),
        }
        Ok(())
    }

    /// After memory was written the slow way: is there code?
    pub(crate) fn stored(&mut self, window: &RamWindow, offset: u64, size: u64) {
        if self.code.stored(window.as_ptr().addr(), offset, size) {
            self.leave_block();
        }
    }

    /// The block ends after this instruction, and whoever runs blocks looks at everything.
    #[inline]
    pub(crate) fn leave_block(&mut self) {
        self.flow = Flow::Break;
        self.attention = true;
    }

    fn load_device<T: Int>(&mut self, physical: u64) -> T {
        self.before_device();
        let loaded = self.bus.space().load::<T>(physical, Endianness::Little, ATTRS);
        // Nobody answers: zeros (rule K19).
        loaded.unwrap_or(T::ZERO)
    }

    fn store_device<T: Int>(&mut self, physical: u64, value: T) {
        self.before_device();
        // What nobody takes is lost, as a write to ROM is.
        let _ = self.bus.space().store(physical, value, Endianness::Little, ATTRS);
    }

    /// Before anything outside of the CPU can look at the time.
    pub(crate) fn before_device(&mut self) {
        self.sync_clock();
        self.leave_block();
        self.code.may_have_changed();
    }

    /// What is at a linear address; `user` as in a tag. It is in the TLB afterwards, if it can be.
    fn place(&mut self, linear: u64, access: Access, user: u64) -> Result<Place, Fault> {
        let entry = self.tlb.entry(linear);
        let tag = (linear & !OFFSET) | user;
        let known = match access {
            Access::Read => entry.tag_r,
            Access::Write => entry.tag_w,
            Access::Execute => entry.tag_x,
        };
        if known == tag
            && let Some(window) = &entry.window
        {
            return Ok(Place::Memory(window.clone(), linear & OFFSET));
        }
        let page = self.translate(linear, access, user == USER)?;
        let physical = (page.physical | (linear & OFFSET)) & self.bus.a20_mask;
        let Some((window, may_write)) = page_window(self.bus.space(), physical & !OFFSET) else {
            return Ok(Place::Elsewhere(physical));
        };
        let has_code = self.code.is_code(window.as_ptr().addr());
        let entry = Entry {
            tag_r: tag_if(page.may_read, tag),
            tag_w: tag_if(page.may_write && may_write && !has_code, tag),
            tag_x: tag_if(page.may_execute, tag),
            window: Some(window.clone()),
        };
        self.tlb.insert(linear, entry);
        if access == Access::Write && !may_write {
            return Ok(Place::Elsewhere(physical));
        }
        Ok(Place::Memory(window, linear & OFFSET))
    }

    /// The memory that code at a linear address comes from; `None` if it is no memory.
    pub(crate) fn code_window(&mut self, linear: u64) -> Result<Option<RamWindow>, Fault> {
        let user = self.tlb.user;
        match self.place(linear, Access::Execute, user)? {
            Place::Memory(window, _) => Ok(Some(window)),
            Place::Elsewhere(_) => Ok(None),
        }
    }

    /// Fetches a byte of code that does not come from memory.
    pub(crate) fn fetch(&mut self, linear: u64) -> Result<u8, Fault> {
        let user = self.tlb.user;
        match self.place(linear, Access::Execute, user)? {
            Place::Memory(window, offset) => Ok(window.load(offset).unwrap_or(0)),
            Place::Elsewhere(physical) => Ok(self.load_device(physical)),
        }
    }

    /// The memory of a page for a string instruction: its window and the offset in it.
    pub(crate) fn bulk(&mut self, linear: u64, access: Access) -> Result<Option<(RamWindow, u64)>, Fault> {
        let user = self.tlb.user;
        match self.place(linear, access, user)? {
            Place::Memory(window, offset) => Ok(Some((window, offset))),
            Place::Elsewhere(_) => Ok(None),
        }
    }
}

/// The memory behind a physical page, and whether it may be written.
fn page_window(space: &mut Reader, page: u64) -> Option<(RamWindow, bool)> {
    let range = space.find(page)?;
    let region = range.region();
    let is_memory = match region.kind() {
        RegionKind::Ram => true,
        RegionKind::RomDevice => range.is_romd(),
        _ => false,
    };
    let block = region.ram_block()?;
    let offset = range.offset_in_region() + (page - range.start());
    // A window that is no page of its block could overlap with another one, and code is found by windows.
    if !is_memory || range.last() < page + OFFSET || !offset.is_multiple_of(PAGE) {
        return None;
    }
    let may_write = region.kind() == RegionKind::Ram && !range.is_readonly() && !block.is_readonly();
    Some((block.window(offset, PAGE)?, may_write))
}
