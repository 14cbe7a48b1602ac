//! Populating memory before the guest runs, by many threads.
#![expect(unsafe_code, reason = "where the kernel cannot, every page is touched")]

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use rustix::mm::Advice;

use super::mapping::Mapping;
use super::word::Word;
use crate::primitive::Mutex;

/// How much one thread populates before it says so, in bytes.
const CHUNK: u64 = 8 << 20;

/// How memory is populated: so that the guest never waits for it, and there is enough of it from the start.
///
/// ```
/// use flatview::{Prealloc, RamBlock};
/// let prealloc = Prealloc::new(2).on_progress(|done, total| println!("{done:#x} of {total:#x} bytes"));
/// let block = RamBlock::builder(0x200_0000).prealloc(prealloc).anonymous()?;
/// # Ok::<(), flatview::RamError>(())
/// ```
#[derive(Clone)]
pub struct Prealloc {
    threads: usize,
    progress: Option<Arc<dyn Fn(u64, u64) + Send + Sync>>,
}

impl Prealloc {
    /// By so many threads, the calling one among them; 0 is 1. There are never more than pieces of work.
    pub fn new(threads: usize) -> Prealloc {
        Prealloc {
            threads: threads.max(1),
            progress: None,
        }
    }

    /// Calls `progress` with the bytes that are done and with all that are to be done, each time some are. The
    /// numbers ascend, and the last call says that all are done. It is called by any of the threads, one at a
    /// time, and should return soon. If it panics, so does the call that makes the block, which is not made.
    #[must_use]
    pub fn on_progress(mut self, progress: impl Fn(u64, u64) + Send + Sync + 'static) -> Prealloc {
        self.progress = Some(Arc::new(progress));
        self
    }

    /// Populates the first `size` bytes, a multiple of `page_size`. What is shared with others is `file`, from an
    /// offset on.
    pub(super) fn run(
        &self,
        mapping: &Mapping,
        size: u64,
        page_size: u64,
        file: Option<(BorrowedFd<'_>, u64)>,
    ) -> io::Result<()> {
        let chunk = CHUNK.max(page_size);
        let job = Job {
            mapping,
            size,
            page_size,
            file,
            chunk,
            next: AtomicU64::new(0),
            done: Mutex::new((0, Ok(()))),
            progress: self.progress.as_deref(),
        };
        let most = usize::try_from(size.div_ceil(chunk)).unwrap_or(usize::MAX);
        thread::scope(|scope| {
            for _ in 1..self.threads.min(most) {
                let helper = thread::Builder::new().name("prealloc".to_owned());
                // Whom the system refuses a thread does it with those he has.
                if helper.spawn_scoped(scope, || job.work()).is_err() {
                    break;
                }
            }
            job.work();
        });
        let (_, result) = std::mem::replace(&mut *job.done.lock(), (0, Ok(())));
        result
    }
}

impl fmt::Debug for Prealloc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prealloc")
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

struct Job<'a> {
    mapping: &'a Mapping,
    size: u64,
    page_size: u64,
    file: Option<(BorrowedFd<'a>, u64)>,
    chunk: u64,
    /// Where the next chunk begins that nobody has taken.
    next: AtomicU64,
    /// How many bytes are populated, and what failed first.
    done: Mutex<(u64, io::Result<()>)>,
    progress: Option<&'a (dyn Fn(u64, u64) + Send + Sync)>,
}

impl Job<'_> {
    /// Takes chunks until there are none left, or one of them failed.
    fn work(&self) {
        loop {
            let start = self.next.fetch_add(self.chunk, Ordering::Relaxed);
            if start >= self.size {
                return;
            }
            let size = self.chunk.min(self.size - start);
            let result = self.populate(start, size);
            let mut done = self.done.lock();
            match result {
                Ok(()) => done.0 += size,
                Err(error) => {
                    self.next.store(self.size, Ordering::Relaxed);
                    if done.1.is_ok() {
                        done.1 = Err(error);
                    }
                    return;
                }
            }
            if let Some(progress) = self.progress {
                progress(done.0, self.size);
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "less than the size of a mapping")]
    fn populate(&self, start: u64, size: u64) -> io::Result<()> {
        let populate = match self.mapping.is_writable() {
            true => Advice::LinuxPopulateWrite,
            false => Advice::LinuxPopulateRead,
        };
        loop {
            let result = self.mapping.advise(start as usize, size as usize, populate);
            match result.as_ref().map_err(io::Error::raw_os_error) {
                Err(Some(code)) if code == Errno::INTR.raw_os_error() => {}
                // Linux before 5.14.
                Err(Some(code)) if code == Errno::INVAL.raw_os_error() => {
                    self.allocate(start, size)?;
                    self.touch(start as usize, size as usize);
                    return Ok(());
                }
                _ => return result,
            }
        }
    }

    /// Lets a file have the bytes that are about to be touched, or there would be a signal instead of an error.
    fn allocate(&self, start: u64, size: u64) -> io::Result<()> {
        let Some((fd, offset)) = self.file.filter(|_| self.mapping.is_writable()) else {
            return Ok(());
        };
        match fallocate(fd, FallocateFlags::empty(), offset + start, size) {
            Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a byte of each page and writes it back. There is memory for it, or it was not reserved.
    #[expect(clippy::cast_possible_truncation, reason = "a page is in memory")]
    fn touch(&self, start: usize, size: usize) {
        let end = (start + size).min(self.mapping.size());
        for offset in (start..end).step_by(self.page_size as usize) {
            // SAFETY: within the mapping.
            let page = unsafe { self.mapping.host().add(offset) }.as_ptr();
            // SAFETY: mapped, and readable at least.
            let byte = unsafe { u8::load(page) };
            if self.mapping.is_writable() {
                // SAFETY: mapped and writable. If somebody else writes there between the two, his is not lost.
                let _ = unsafe { u8::compare_exchange(page, byte, byte) };
            }
        }
    }
}

#[cfg(test)]
#[path = "prealloc_test.rs"]
mod tests;
