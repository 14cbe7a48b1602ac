//! From linear to physical addresses (Intel SDM vol. 3, chapter 5).

use flatview::{Endianness, MemTxAttrs};

use super::control::{CR4_PAE, CR4_PKE, CR4_PSE, CR4_SMAP, CR4_SMEP};
use super::mem::Access;
use super::tlb::OFFSET;
use super::{CR0_PG, CR0_WP, Exec, Fault, PF, is_canonical};
use crate::flags::AC;
use crate::int::{Int, low32};

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
/// Which of 16 keys the page has.
const PROTECTION_KEY: u64 = 15 << 59;
/// The physical address in an entry of 8 bytes.
const FRAME: u64 = 0x000f_ffff_ffff_f000;
const EFER_NXE: u64 = 1 << 11;

/// What a linear page is.
pub(crate) struct Page {
    /// Its first physical address.
    pub(crate) physical: u64,
    pub(crate) may_read: bool,
    /// Not before the page is marked as dirty.
    pub(crate) may_write: bool,
    pub(crate) may_execute: bool,
}

/// A paging structure's entry, on the way to a page.
struct Found {
    at: u64,
    entry: u64,
    /// Log2 of the size of what it maps.
    shift: u32,
}

impl Exec {
    /// Translates the page of a linear address for an access, and marks it as accessed or dirty.
    ///
    /// # Errors
    ///
    /// #PF; #GP(0) if the address is not canonical.
    pub(crate) fn translate(&mut self, linear: u64, access: Access, is_user: bool) -> Result<Page, Fault> {
        if self.cr0 & CR0_PG == 0 {
            return Ok(Page {
                physical: linear & !OFFSET,
                may_read: true,
                may_write: true,
                may_execute: true,
            });
        }
        if self.mode.is_long && !is_canonical(linear) {
            let fault = self.gp(0);
            self.exception.not_canonical = Some(linear);
            return Err(fault);
        }
        let is_wide = self.cr4 & CR4_PAE != 0;
        let has_nx = is_wide && self.msrs.efer & EFER_NXE != 0;
        let mut rights = Rights {
            is_writable: true,
            is_user: true,
            may_execute: true,
        };
        let mut path = [0; 4];
        let mut levels = 0;
        let found = loop {
            let found = self.entry(linear, levels, &path);
            if found.entry & PRESENT == 0 {
                return Err(self.page_fault(linear, access, is_user, false));
            }
            rights.add(found.entry, has_nx, self.is_pdpte(levels));
            if let Some(place) = path.get_mut(levels) {
                *place = found.entry;
            }
            levels += 1;
            if found.shift == 12 || self.is_large(&found, levels) {
                break found;
            }
            self.mark(&found, ACCESSED, is_wide, self.is_pdpte(levels - 1));
        };
        let is_supervisor = !is_user;
        let honours_wp = is_user || self.cr0 & CR0_WP != 0;
        let may_reach = rights.is_user || is_supervisor;
        let may_write = may_reach && (rights.is_writable || !honours_wp);
        let is_users = is_supervisor && rights.is_user;
        let may_execute = may_reach && rights.may_execute && !(is_users && self.cr4 & CR4_SMEP != 0);
        // Intel SDM vol. 3, 5.6.1: what the processor accesses for a program at level 3 is never excepted.
        let is_guarded = is_users && self.cr4 & CR4_SMAP != 0;
        let is_open = !is_guarded || (self.mode.cpl < 3 && self.r.flags.has(AC));
        let is_allowed = match access {
            Access::Read => may_reach && is_open,
            Access::Write => may_write && is_open,
            Access::Execute => may_execute,
        };
        if !is_allowed {
            return Err(self.page_fault(linear, access, is_user, true));
        }
        let has_key = self.mode.is_long && found.entry & PROTECTION_KEY != 0;
        if has_key && rights.is_user && access != Access::Execute && self.cr4 & CR4_PKE != 0 {
            // Whether it is allowed is in PKRU, which is not part of the state.
            return Err(self.unknown(PF, None));
        }
        let marks = if access == Access::Write {
            ACCESSED | DIRTY
        } else {
            ACCESSED
        };
        self.mark(&found, marks, is_wide, false);
        let is_dirty = access == Access::Write || found.entry & DIRTY != 0;
        let offset = linear & ((1 << found.shift) - 1);
        let base = if !is_wide && found.shift == 22 {
            // PSE-36: bits 13 to 20 are bits 32 to 39 of the address.
            found.entry & 0xffc0_0000 | (found.entry >> 13 & 0xff) << 32
        } else {
            found.entry & FRAME & !((1 << found.shift) - 1)
        };
        Ok(Page {
            physical: (base | offset) & !OFFSET,
            // The next access may come with another AC flag.
            may_read: may_reach && !is_guarded,
            may_write: may_write && is_dirty && !is_guarded,
            may_execute,
        })
    }

    /// The entry at a level, counted from the top.
    fn entry(&mut self, linear: u64, level: usize, path: &[u64; 4]) -> Found {
        let is_wide = self.cr4 & CR4_PAE != 0;
        let shift = match (self.mode.is_long, is_wide, level) {
            (true, _, 0) => 39,
            (true, _, 1) | (false, true, 0) => 30,
            (true, _, 2) | (false, true, 1) => 21,
            (false, false, 0) => 22,
            _ => 12,
        };
        let table = match level {
            0 if self.mode.is_long => self.cr3 & FRAME,
            0 if is_wide => self.cr3 & 0xffff_ffe0,
            0 => self.cr3 & 0xffff_f000,
            _ if is_wide => path.get(level - 1).copied().unwrap_or(0) & FRAME,
            _ => path.get(level - 1).copied().unwrap_or(0) & 0xffff_f000,
        };
        let entries = match (is_wide, self.mode.is_long, level) {
            (true, false, 0) => 4,
            (true, ..) => 512,
            (false, ..) => 1024,
        };
        let index = linear >> shift & (entries - 1);
        let at = table + index * if is_wide { 8 } else { 4 };
        let entry = if is_wide {
            self.load_physical::<u64>(at)
        } else {
            u64::from(self.load_physical::<u32>(at))
        };
        Found { at, entry, shift }
    }

    /// Entries of the page-directory-pointer table have no rights outside of IA-32e mode.
    fn is_pdpte(&self, level: usize) -> bool {
        level == 0 && !self.mode.is_long && self.cr4 & CR4_PAE != 0
    }

    fn is_large(&self, found: &Found, levels: usize) -> bool {
        let can_be = match found.shift {
            22 => self.cr4 & CR4_PSE != 0,
            21 => true,
            30 => self.mode.is_long && levels == 2,
            _ => false,
        };
        can_be && found.entry & LARGE != 0
    }

    fn mark(&mut self, found: &Found, marks: u64, is_wide: bool, is_pdpte: bool) {
        if is_pdpte || found.entry & marks == marks {
            return;
        }
        let entry = found.entry | marks;
        if is_wide {
            self.store_physical(found.at, entry);
        } else {
            self.store_physical(found.at, low32(entry));
        }
    }

    pub(crate) fn load_physical<T: Int>(&mut self, at: u64) -> T {
        let at = at & self.bus.a20_mask;
        let attrs = MemTxAttrs::UNSPECIFIED;
        self.bus
            .space()
            .load(at, Endianness::Little, attrs)
            .unwrap_or(T::ZERO)
    }

    pub(crate) fn store_physical<T: Int>(&mut self, at: u64, value: T) {
        let at = at & self.bus.a20_mask;
        let attrs = MemTxAttrs::UNSPECIFIED;
        // Tables in ROM stay as they are.
        let _ = self.bus.space().store(at, value, Endianness::Little, attrs);
    }

    #[cold]
    fn page_fault(&mut self, linear: u64, access: Access, is_user: bool, is_present: bool) -> Fault {
        let has_nx = self.cr4 & CR4_PAE != 0 && self.msrs.efer & EFER_NXE != 0 || self.cr4 & CR4_SMEP != 0;
        let code = u32::from(is_present)
            | u32::from(access == Access::Write) << 1
            | u32::from(is_user) << 2
            | u32::from(access == Access::Execute && has_nx) << 4;
        self.cr2 = linear;
        self.raise(PF, Some(code))
    }
}

/// What all entries on the way agree on.
struct Rights {
    is_writable: bool,
    is_user: bool,
    may_execute: bool,
}

impl Rights {
    fn add(&mut self, entry: u64, has_nx: bool, is_pdpte: bool) {
        if is_pdpte {
            return;
        }
        self.is_writable &= entry & WRITABLE != 0;
        self.is_user &= entry & USER != 0;
        self.may_execute &= !(has_nx && entry & NO_EXECUTE != 0);
    }
}
