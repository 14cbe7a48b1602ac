//! Files behind blocks of RAM: how they are found, made and checked.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{
    AtFlags, FileType, MemfdFlags, Mode, OFlags, SealFlags, SeekFrom, fcntl_add_seals, fcntl_getfl, fstat,
    fstatfs, ftruncate, memfd_create, open, openat, seek, unlinkat,
};
use rustix::io::Errno;

use super::RamError;
use super::mapping::host_page_size;

/// What kind of memory file [`memfd`](super::RamBlockBuilder::memfd) makes (rule R11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemfdOptions {
    /// Whether it consists of huge pages, and of which.
    pub hugetlb: Option<HugePages>,
    /// Whether nobody can change its length, nor take that back. On by default.
    pub seal: bool,
}

impl Default for MemfdOptions {
    fn default() -> MemfdOptions {
        MemfdOptions {
            hugetlb: None,
            seal: true,
        }
    }
}

/// A size of huge pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HugePages {
    /// What the host uses if nobody says anything.
    #[default]
    Default,
    /// So many bytes: a power of two that the host has.
    Size(u64),
}

/// An open file, from an offset on.
pub(super) struct Backfile {
    pub(super) fd: OwnedFd,
    pub(super) offset: u64,
    /// Whether it is open for reading only.
    pub(super) is_readonly: bool,
    /// The size of its pages, in bytes.
    pub(super) page_size: u64,
    /// Whether somebody else can have it, too.
    pub(super) is_named: bool,
}

impl Backfile {
    pub(super) fn part(&self) -> (BorrowedFd<'_>, u64) {
        (self.fd.as_fd(), self.offset)
    }

    /// A descriptor that somebody opened, of which `size` bytes are wanted.
    pub(super) fn of_fd(fd: OwnedFd, offset: u64, size: u64) -> Result<Backfile, RamError> {
        let inspect = |error: Errno| RamError::Inspect {
            size,
            source: error.into(),
        };
        let is_readonly = fcntl_getfl(&fd).map_err(inspect)? & OFlags::RWMODE == OFlags::RDONLY;
        let page_size = page_size(fd.as_fd()).map_err(inspect)?;
        Ok(Backfile {
            fd,
            offset,
            is_readonly,
            page_size,
            is_named: true,
        })
    }

    /// A memory file (rules Q4, R11) of at least `size` bytes.
    pub(super) fn memfd(name: &str, size: u64, options: MemfdOptions) -> Result<Backfile, RamError> {
        let failed = |error: Errno| RamError::Memfd {
            size,
            source: error.into(),
        };
        let mut flags = MemfdFlags::CLOEXEC;
        match options.hugetlb {
            None => {}
            Some(HugePages::Default) => flags |= MemfdFlags::HUGETLB,
            Some(HugePages::Size(size)) if size.is_power_of_two() => {
                // The upper six bits are the logarithm.
                let size = MemfdFlags::from_bits_retain(size.trailing_zeros() << 26);
                flags |= MemfdFlags::HUGETLB | size;
            }
            Some(HugePages::Size(_)) => return Err(failed(Errno::INVAL)),
        }
        flags.set(MemfdFlags::ALLOW_SEALING, options.seal);
        // The kernel takes up to 249 bytes, and no zero.
        let name: String = name.chars().filter(|&char| char != '\0').take(60).collect();
        let fd = memfd_create(&*name, flags).map_err(failed)?;
        let page_size = page_size(fd.as_fd()).map_err(failed)?;
        let whole = size
            .checked_next_multiple_of(page_size)
            .ok_or_else(|| failed(Errno::NOMEM))?;
        ftruncate(&fd, whole).map_err(failed)?;
        if options.seal {
            let seals = SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
            fcntl_add_seals(&fd, seals).map_err(failed)?;
        }
        Ok(Backfile {
            fd,
            offset: 0,
            is_readonly: false,
            page_size,
            is_named: false,
        })
    }

    /// Rule Q16, in its order. Returns how many bytes to map: whole pages.
    pub(super) fn check(&self, size: u64, align: Option<u64>) -> Result<u64, RamError> {
        let (offset, page_size) = (self.offset, self.page_size);
        let file_size = self.size().map_err(|error| RamError::Inspect {
            size,
            source: error.into(),
        })?;
        if let Some(file_size) = file_size
            && (file_size > 0 || self.is_readonly)
            && offset.checked_add(size).is_none_or(|end| end > file_size)
        {
            return Err(RamError::FileTooShort {
                file_size,
                size,
                offset,
            });
        }
        if let Some(align) = align {
            if !align.is_multiple_of(page_size) {
                return Err(RamError::AlignmentOfPages { align, page_size });
            }
            if !align.is_power_of_two() {
                return Err(RamError::Alignment { align });
            }
        }
        if !offset.is_multiple_of(page_size) {
            return Err(RamError::FileOffset { offset, page_size });
        }
        if size < page_size {
            return Err(RamError::SmallerThanPage { size, page_size });
        }
        size.checked_next_multiple_of(page_size)
            .filter(|size| offset.checked_add(*size).is_some())
            .ok_or_else(|| RamError::Map {
                size,
                source: Errno::NOMEM.into(),
            })
    }

    /// Gives an empty file the length it needs (rule Q17). Tells whether it did.
    pub(super) fn lengthen(&self, size: u64) -> Result<bool, RamError> {
        let size = self.offset + size;
        let truncate = |error: Errno| RamError::Truncate {
            size,
            source: error.into(),
        };
        if self.size().map_err(truncate)? != Some(0) {
            return Ok(false);
        }
        ftruncate(&self.fd, size).map_err(truncate)?;
        Ok(true)
    }

    /// Takes back that the file was lengthened.
    pub(super) fn empty(&self) {
        // Nothing better can be done with a file that cannot be made shorter.
        let _ = ftruncate(&self.fd, 0);
    }

    /// The length of the file; unknown for what has none, such as a device.
    fn size(&self) -> Result<Option<u64>, Errno> {
        let stat = fstat(&self.fd)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(u64::try_from(stat.st_size).ok()),
            FileType::BlockDevice => seek(&self.fd, SeekFrom::End(0)).map(Some),
            FileType::Directory => Err(Errno::ISDIR),
            _ => Ok(None),
        }
    }
}

/// A file that was created: it is removed again unless it is kept.
pub(super) struct Created(Option<PathBuf>);

impl Created {
    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Somebody may have been faster.
            let _ = fs::remove_file(path);
        }
    }
}

/// Opens a file, or creates one (rule Q15).
pub(super) fn open_file(path: &Path, is_readonly: bool) -> Result<(OwnedFd, Created), Errno> {
    let access = match is_readonly {
        true => OFlags::RDONLY,
        false => OFlags::RDWR,
    };
    loop {
        match open(path, access | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => return Ok((fd, Created(None))),
            Err(Errno::NOENT) if !is_readonly => {}
            Err(Errno::ISDIR) if !is_readonly => return Ok((open_temporary(path)?, Created(None))),
            Err(error) => return Err(error),
        }
        let create = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        match open(path, create, Mode::from_raw_mode(0o644)) {
            Ok(fd) => return Ok((fd, Created(Some(path.to_owned())))),
            // Somebody else has just created it: that is the one to open. But a link that leads nowhere is none.
            Err(Errno::EXIST) if !path.is_symlink() => {}
            Err(error) => return Err(error),
        }
    }
}

/// A file in a directory that has no name there.
fn open_temporary(directory: &Path) -> Result<OwnedFd, Errno> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let mode = Mode::from_raw_mode(0o600);
    match open(directory, OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC, mode) {
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {}
        result => return result,
    }
    // Not every file system has those.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = open(directory, flags, Mode::empty())?;
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("flatview-ram.{}.{number}", std::process::id());
        let create = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        match openat(&directory, &*name, create, mode) {
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
            Ok(fd) => return unlinkat(&directory, &*name, AtFlags::empty()).map(|()| fd),
        }
    }
}

/// Rule Q19.
fn page_size(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    /// `HUGETLBFS_MAGIC` of Linux.
    const HUGETLBFS: u64 = 0x9584_58f6;
    let system = fstatfs(fd)?;
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_sign_loss,
        reason = "the types differ by target"
    )]
    let (kind, block) = (system.f_type as u64, system.f_bsize as u64);
    Ok(match kind == HUGETLBFS && block.is_power_of_two() {
        true => block,
        false => host_page_size(),
    })
}

/// Whether an error says that the file may only be read.
pub(super) fn is_denied(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ACCESS.raw_os_error())
}
