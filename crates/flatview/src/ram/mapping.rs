//! Host memory that is unmapped with its owner.
#![expect(unsafe_code, reason = "mmap and munmap")]

use std::ptr::{NonNull, null_mut};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::RamError;

pub(super) struct Mapping {
    host: NonNull<u8>,
    size: usize,
}

impl Mapping {
    pub(super) fn anonymous(size: u64) -> Result<Mapping, RamError> {
        let failed = |source| RamError::Map { size, source };
        let len = usize::try_from(size).map_err(|_| failed(rustix::io::Errno::NOMEM.into()))?;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let host = unsafe {
            mmap_anonymous(
                null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        };
        let host = host.map_err(|error| failed(error.into()))?;
        Ok(Mapping {
            host: NonNull::new(host.cast()).ok_or_else(|| failed(rustix::io::Errno::NOMEM.into()))?,
            size: len,
        })
    }

    pub(super) fn host(&self) -> NonNull<u8> {
        self.host
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this size, and whoever could touch it has kept the mapping alive.
        let unmapped = unsafe { munmap(self.host.as_ptr().cast(), self.size) };
        debug_assert!(unmapped.is_ok(), "a whole mapping can be unmapped");
    }
}
