//! Host memory that is unmapped with its owner.
#![expect(unsafe_code, reason = "mmap, munmap and madvise")]

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{NonNull, null_mut};

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MsyncFlags, ProtFlags, madvise, mmap, mmap_anonymous, msync, munmap};

use super::RamError;

/// How some bytes are mapped, and of which file.
pub(super) struct Plan<'a> {
    /// A multiple of `page_size`.
    pub(super) size: u64,
    /// A power of two, and a multiple of `page_size`.
    pub(super) align: u64,
    pub(super) file: Option<(BorrowedFd<'a>, u64)>,
    pub(super) share: bool,
    pub(super) writable: bool,
    pub(super) reserve: bool,
}

/// A mapping that begins at an aligned address and ends with a page that nobody may touch, so that no neighbour
/// is reached by going on.
pub(super) struct Mapping {
    host: NonNull<u8>,
    size: usize,
    guard: usize,
    prot: ProtFlags,
    flags: MapFlags,
}

// SAFETY: the memory belongs to the process, not to a thread; what is in it is not touched here.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// The size of a page of ordinary memory, in bytes.
pub(super) fn host_page_size() -> u64 {
    rustix::param::page_size() as u64
}

impl Mapping {
    pub(super) fn new(plan: &Plan<'_>) -> Result<Mapping, RamError> {
        Mapping::try_new(plan).map_err(|error| RamError::Map {
            size: plan.size,
            source: error.into(),
        })
    }

    fn try_new(plan: &Plan<'_>) -> Result<Mapping, Errno> {
        let guard = rustix::param::page_size();
        let size = usize::try_from(plan.size).map_err(|_| Errno::NOMEM)?;
        let align = usize::try_from(plan.align).map_err(|_| Errno::NOMEM)?.max(guard);
        // The kernel aligns to small pages only: take more, and give back what lies around.
        let taken = size.checked_add(align).ok_or(Errno::NOMEM)?;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let start = unsafe {
            mmap_anonymous(
                null_mut(),
                taken,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        let start = NonNull::new(start.cast::<u8>()).ok_or(Errno::NOMEM)?;
        let lead = start.as_ptr().align_offset(align);
        // From here on it is unmapped if something fails.
        let whole = Mapping {
            // SAFETY: the next aligned address is within what was taken: less than `align` further on.
            host: unsafe { start.add(lead) },
            size,
            guard,
            prot: match plan.writable {
                true => ProtFlags::READ | ProtFlags::WRITE,
                false => ProtFlags::READ,
            },
            flags: MapFlags::FIXED
                | if plan.share {
                    MapFlags::SHARED
                } else {
                    MapFlags::PRIVATE
                }
                | if plan.reserve {
                    MapFlags::empty()
                } else {
                    MapFlags::NORESERVE
                },
        };
        // SAFETY: what lies before the aligned address is ours, and nobody knows of it.
        let before = unsafe { unmap(start, lead) };
        // SAFETY: the guard page ends within what was taken, which is a page longer at least.
        let after = unsafe { whole.host.add(size + guard) };
        // SAFETY: as for what lies before.
        let after = unsafe { unmap(after, taken - lead - size - guard) };
        before.and(after)?;
        // SAFETY: nobody uses what was just taken.
        unsafe { whole.map(0, size, plan.file) }?;
        Ok(whole)
    }

    /// Maps some of the bytes, in place of what is there.
    ///
    /// # Safety
    ///
    /// Nobody has a reference to them, and they lie within the mapping.
    unsafe fn map(
        &self,
        offset: usize,
        size: usize,
        file: Option<(BorrowedFd<'_>, u64)>,
    ) -> Result<(), Errno> {
        // SAFETY: the caller's promise.
        let at = unsafe { self.host.add(offset) }.as_ptr().cast();
        match file {
            Some((fd, start)) => {
                // SAFETY: the bytes are ours to be mapped anew.
                unsafe { mmap(at, size, self.prot, self.flags, fd, start + offset as u64) }
            }
            None => {
                // SAFETY: as above.
                unsafe { mmap_anonymous(at, size, self.prot, self.flags) }
            }
        }
        .map(|_| ())
    }

    /// Maps some of the bytes anew. What was there is lost, unless a file has it.
    pub(super) fn remap(
        &self,
        offset: usize,
        size: usize,
        file: Option<(BorrowedFd<'_>, u64)>,
    ) -> io::Result<()> {
        self.check(offset, size)?;
        // SAFETY: within the mapping; guest memory has no references, and whoever touches it meanwhile finds the
        // old page or the new one.
        Ok(unsafe { self.map(offset, size, file) }?)
    }

    /// Tells the kernel something about some of the bytes.
    pub(super) fn advise(&self, offset: usize, size: usize, advice: Advice) -> io::Result<()> {
        self.check(offset, size)?;
        // SAFETY: within the mapping.
        let at = unsafe { self.host.add(offset) };
        // SAFETY: within the mapping, and what the advice throws away is guest memory, which is expected to change
        // at any time.
        Ok(unsafe { madvise(at.as_ptr().cast(), size, advice) }?)
    }

    /// Writes some of the bytes back to their file.
    pub(super) fn sync(&self, offset: usize, size: usize) -> io::Result<()> {
        self.check(offset, size)?;
        // SAFETY: within the mapping.
        let at = unsafe { self.host.add(offset) };
        // SAFETY: within the mapping; nothing is thrown away.
        Ok(unsafe { msync(at.as_ptr().cast(), size, MsyncFlags::SYNC) }?)
    }

    fn check(&self, offset: usize, size: usize) -> io::Result<()> {
        match offset.checked_add(size).is_some_and(|end| end <= self.size) {
            true => Ok(()),
            // Not what the kernel says of an advice that it does not know.
            false => Err(Errno::FAULT.into()),
        }
    }

    pub(super) fn host(&self) -> NonNull<u8> {
        self.host
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn is_writable(&self) -> bool {
        self.prot.contains(ProtFlags::WRITE)
    }

    pub(super) fn is_shared(&self) -> bool {
        self.flags.contains(MapFlags::SHARED)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this size, and whoever could touch it has kept the mapping alive.
        let unmapped = unsafe { unmap(self.host, self.size + self.guard) };
        debug_assert!(unmapped.is_ok(), "a whole mapping can be unmapped");
    }
}

/// # Safety
///
/// The bytes are mapped by us, and nobody touches them any more.
unsafe fn unmap(start: NonNull<u8>, size: usize) -> Result<(), Errno> {
    match size {
        0 => Ok(()),
        // SAFETY: the caller's promise.
        size => unsafe { munmap(start.as_ptr().cast(), size) },
    }
}
