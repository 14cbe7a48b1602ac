//! What is behind a disk: an image.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use thiserror::Error;

use crate::device::lock;

/// Bytes of a sector: the unit of sizes and offsets of an image.
pub const SECTOR: u64 = 512;

/// The most sectors that a drive can address: 48 bits of them (ATA-6, 6.2.2).
const MOST_SECTORS: u64 = 1 << 48;

/// The image of a disk or of a CD.
///
/// All offsets are in bytes. Reads and writes lie within [`size`](Self::size): beyond it is an error.
pub trait BlockBackend: fmt::Debug + Send + Sync {
    /// Bytes; a multiple of [`SECTOR`] that never changes.
    fn size(&self) -> u64;

    /// Whether writes are refused.
    fn is_readonly(&self) -> bool;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    ///
    /// What the host says; the buffer may be filled in part.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    ///
    /// What the host says, or that nothing can be written; some of it may be written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns when everything that was written is where it survives a power failure.
    ///
    /// # Errors
    ///
    /// What the host says.
    fn flush(&self) -> io::Result<()>;
}

/// Why an image cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BlockError {
    /// It cannot be opened: it is not there, or may not be read.
    #[error("image {}: {source}", path.display())]
    Open {
        /// The image.
        path: PathBuf,
        /// What the host says.
        source: io::Error,
    },
    /// It can be read, but not written, and nobody said that this will do.
    #[error("image {}: cannot be written ({source}); open it read-only?", path.display())]
    NotWritable {
        /// The image.
        path: PathBuf,
        /// What the host says.
        source: io::Error,
    },
    /// It is a directory, a pipe, a terminal.
    #[error("image {}: is neither a file nor a disk", path.display())]
    NotAnImage {
        /// The image.
        path: PathBuf,
    },
    /// It has no bytes.
    #[error("image {}: is empty", path.display())]
    Empty {
        /// The image.
        path: PathBuf,
    },
    /// It has more sectors than a drive can address.
    #[error("image {}: {size:#x} bytes are more than the {:#x} that a drive can have", path.display(), MOST_SECTORS * SECTOR)]
    TooLarge {
        /// The image.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// Another machine writes it, or uses it while this one wants to write it.
    #[error("image {}: is in use by another program", path.display())]
    InUse {
        /// The image.
        path: PathBuf,
    },
}

/// How an image may be opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageAccess {
    /// For reading and writing.
    #[default]
    ReadWrite,
    /// For reading.
    ReadOnly,
    /// For reading and writing, or if that is not allowed, for reading.
    ReadWriteIfAllowed,
}

/// A file, or a disk of the host, that has the sectors one after the other (QEMU's format `raw`).
///
/// The file is locked while it is open: programs that lock too cannot write it at the same time. A file that ends
/// within a sector has that sector, filled up with zeros; a write to it makes the file longer.
#[derive(Debug)]
pub struct RawImage {
    file: File,
    size: u64,
    is_readonly: bool,
}

impl RawImage {
    /// Opens the image at `path`.
    ///
    /// # Errors
    ///
    /// [`BlockError`]; each names the path.
    pub fn open(path: impl AsRef<Path>, access: ImageAccess) -> Result<RawImage, BlockError> {
        let given = path.as_ref();
        let path = || given.to_path_buf();
        let for_reading = || File::open(given).map_err(|source| BlockError::Open { path: path(), source });
        // Opening a pipe would wait for its other end, so its kind is asked for first.
        let kind = std::fs::metadata(given)
            .map_err(|source| BlockError::Open { path: path(), source })?
            .file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(BlockError::NotAnImage { path: path() });
        }
        let (mut file, is_readonly) = match access {
            ImageAccess::ReadOnly => (for_reading()?, true),
            _ => match OpenOptions::new().read(true).write(true).open(given) {
                Ok(file) => (file, false),
                Err(_) if access == ImageAccess::ReadWriteIfAllowed => (for_reading()?, true),
                Err(source) => {
                    for_reading()?;
                    return Err(BlockError::NotWritable { path: path(), source });
                }
            },
        };
        let locked = match is_readonly {
            true => file.try_lock_shared(),
            false => file.try_lock(),
        };
        // Some file systems have no locks: then there is no protection.
        if let Err(TryLockError::WouldBlock) = locked {
            return Err(BlockError::InUse { path: path() });
        }
        // Of a block device, only the end says how large it is.
        let size = file
            .seek(SeekFrom::End(0))
            .map_err(|source| BlockError::Open { path: path(), source })?;
        if size == 0 {
            return Err(BlockError::Empty { path: path() });
        }
        if size > MOST_SECTORS * SECTOR {
            return Err(BlockError::TooLarge { path: path(), size });
        }
        Ok(RawImage {
            file,
            size: size.next_multiple_of(SECTOR),
            is_readonly,
        })
    }
}

impl BlockBackend for RawImage {
    fn size(&self) -> u64 {
        self.size
    }

    fn is_readonly(&self) -> bool {
        self.is_readonly
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        within(self.size, offset, buffer.len())?;
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => {
                    buffer[done..].fill(0);
                    break;
                }
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        within(self.size, offset, bytes.len())?;
        writable(self.is_readonly)?;
        self.file.write_all_at(bytes, offset)
    }

    fn flush(&self) -> io::Result<()> {
        match self.is_readonly {
            true => Ok(()),
            false => self.file.sync_data(),
        }
    }
}

/// An image in memory, for tests and for small disks that nobody keeps.
pub struct MemoryImage {
    bytes: Mutex<Vec<u8>>,
    size: u64,
    is_readonly: bool,
}

impl MemoryImage {
    /// An image of these bytes, filled up to whole sectors.
    pub fn new(mut bytes: Vec<u8>) -> MemoryImage {
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        MemoryImage {
            size: bytes.len() as u64,
            bytes: Mutex::new(bytes),
            is_readonly: false,
        }
    }

    /// One that refuses writes.
    #[must_use]
    pub fn readonly(self) -> MemoryImage {
        MemoryImage {
            is_readonly: true,
            ..self
        }
    }
}

impl fmt::Debug for MemoryImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryImage")
            .field("size", &format_args!("{:#x}", self.size))
            .field("is_readonly", &self.is_readonly)
            .finish_non_exhaustive()
    }
}

impl BlockBackend for MemoryImage {
    fn size(&self) -> u64 {
        self.size
    }

    fn is_readonly(&self) -> bool {
        self.is_readonly
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let first = within(self.size, offset, buffer.len())?;
        buffer.copy_from_slice(&lock(&self.bytes)[first..first + buffer.len()]);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let first = within(self.size, offset, bytes.len())?;
        writable(self.is_readonly)?;
        lock(&self.bytes)[first..first + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Where `len` bytes at `offset` begin, if they lie within `size` bytes.
fn within(size: u64, offset: u64, len: usize) -> io::Result<usize> {
    match offset.checked_add(len as u64) {
        Some(end) if end <= size => usize::try_from(offset).map_err(io::Error::other),
        _ => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{len:#x} bytes at {offset:#x} of an image of {size:#x} bytes"),
        )),
    }
}

fn writable(is_readonly: bool) -> io::Result<()> {
    match is_readonly {
        true => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
        false => Ok(()),
    }
}

#[cfg(test)]
#[path = "block_test.rs"]
mod tests;
