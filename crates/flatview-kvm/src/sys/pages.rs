//! Memory that the kernel shares with this process.
#![expect(unsafe_code, reason = "memory maps")]

use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::AtomicU32;

use kvm_ioctls::VcpuFd;

/// Bytes of a page of KVM's interface.
pub(crate) const PAGE: usize = 4096;

/// Pages that are shared with the kernel, as words.
#[derive(Debug)]
pub(crate) struct SharedPages(NonNull<[AtomicU32]>);

// SAFETY: the mapping belongs to no thread, and all that is in it is atomic.
unsafe impl Send for SharedPages {}
// SAFETY: as above.
unsafe impl Sync for SharedPages {}

impl SharedPages {
    /// Maps `bytes` bytes, whole pages, from page `page` of a vCPU on.
    pub(crate) fn map(vcpu: &VcpuFd, page: u32, bytes: usize) -> io::Result<SharedPages> {
        let offset = libc::off_t::from(page) * PAGE as libc::off_t;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, at an address of the kernel's choice, changes no memory that is in use.
        let start = unsafe {
            libc::mmap(
                null_mut(),
                bytes,
                access,
                libc::MAP_SHARED,
                vcpu.as_raw_fd(),
                offset,
            )
        };
        match NonNull::new(start) {
            Some(start) if start.as_ptr() != libc::MAP_FAILED => {
                let words = NonNull::slice_from_raw_parts(start.cast(), bytes / size_of::<AtomicU32>());
                Ok(SharedPages(words))
            }
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl SharedPages {
    /// Where they begin, for what is not words.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.0.cast()
    }
}

impl Deref for SharedPages {
    type Target = [AtomicU32];

    fn deref(&self) -> &Self::Target {
        // SAFETY: the pages stay mapped, readable and writable, for as long as this lives; a page is aligned for words,
        // any bytes are words, and the kernel changes them as another thread would. The mapping keeps the pages, also
        // when the vCPU's descriptor is closed.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for SharedPages {
    fn drop(&mut self) {
        // SAFETY: it is this value's own mapping, and nobody borrows from it any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of_val(&**self)) };
    }
}
