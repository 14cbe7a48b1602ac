//! Making blocks of RAM.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;

use super::file::{Backfile, MemfdOptions, is_denied, open_file};
use super::mapping::{Mapping, Plan, host_page_size};
use super::owned::{Hints, OwnedMemory, Settings};
use super::{NumaPolicy, Prealloc, RamBlock, RamError, Resized};

/// What memory that no file gives pages to is aligned to (rule A26): a huge page.
const ANONYMOUS_ALIGN: u64 = 2 << 20;

/// A RAM block about to be made: attributes first, then where its memory comes from, which makes it.
///
/// | | memory | shared |
/// |---|---|---|
/// | [`anonymous`](Self::anonymous) | of this process | no; if asked for, a memory file |
/// | [`memfd`](Self::memfd) | a memory file without a name, of huge pages too | yes |
/// | [`file`](Self::file) | a file, on hugetlbfs too | no |
/// | [`fd`](Self::fd) | a file that is open | no |
///
/// ```
/// use flatview::{MemfdOptions, RamBlock};
/// let block = RamBlock::builder(0x1_0000).name("pc.ram").memfd(MemfdOptions::default())?;
/// assert!(block.fd().is_some() && block.is_shared());
/// # Ok::<(), flatview::RamError>(())
/// ```
#[must_use = "a builder makes nothing until it is said where the memory comes from"]
pub struct RamBlockBuilder {
    size: u64,
    max_size: Option<u64>,
    name: Option<Box<str>>,
    share: Option<bool>,
    readonly: bool,
    open_readonly: Option<bool>,
    prealloc: Option<Prealloc>,
    reserve: bool,
    hints: Hints,
    numa: NumaPolicy,
    align: Option<u64>,
    resized: Option<Resized>,
}

impl RamBlock {
    /// Begins a block of `size` bytes; see [`RamBlockBuilder`].
    pub fn builder(size: u64) -> RamBlockBuilder {
        RamBlockBuilder {
            size,
            max_size: None,
            name: None,
            share: None,
            readonly: false,
            open_readonly: None,
            prealloc: None,
            reserve: true,
            hints: Hints::default(),
            numa: NumaPolicy::default(),
            align: None,
            resized: None,
        }
    }

    /// A block of `size` bytes of zeroed, private memory of this process: the short way.
    ///
    /// # Errors
    ///
    /// [`RamError`] if the kernel does not give as much.
    pub fn anonymous(size: u64) -> Result<RamBlock, RamError> {
        RamBlock::builder(size).anonymous()
    }
}

impl RamBlockBuilder {
    /// A name. Without one the block is called as the first region that is made of it.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Lets the block have up to `max_size` bytes later (rule A7): all of them are mapped from the start. See
    /// [`Transaction::ram_resize`](crate::Transaction::ram_resize).
    pub fn max_size(mut self, max_size: u64) -> Self {
        self.max_size = Some(max_size);
        self
    }

    /// Calls `resized` with the block and its new size, in bytes, after the size was changed and everybody can see
    /// that (rules A7, Q13). It is called within the update, so it cannot make another one.
    pub fn on_resize(mut self, resized: impl Fn(&RamBlock, u64) + Send + Sync + 'static) -> Self {
        self.resized = Some(Box::new(resized));
        self
    }

    /// Whether others who map the same file see what is written, and the file keeps it. By default only with
    /// [`memfd`](Self::memfd) (rule R3).
    pub fn share(mut self, share: bool) -> Self {
        self.share = Some(share);
        self
    }

    /// Whether the memory is mapped for reading only. A file is then opened for reading only, unless
    /// [`open_readonly`](Self::open_readonly) says otherwise.
    pub fn readonly(mut self, readonly: bool) -> Self {
        self.readonly = readonly;
        self
    }

    /// Whether a file is opened for reading only. It must be there then, and long enough. A private mapping of it
    /// can be written nevertheless.
    pub fn open_readonly(mut self, open_readonly: bool) -> Self {
        self.open_readonly = Some(open_readonly);
        self
    }

    /// Populates the memory before the block is there.
    pub fn prealloc(mut self, prealloc: Prealloc) -> Self {
        self.prealloc = Some(prealloc);
        self
    }

    /// Whether the host sets memory aside when the block is made, so that writing to it cannot fail later; as far
    /// as the host is set up to do so. On by default. Without it, `MAP_NORESERVE` is used.
    pub fn reserve(mut self, reserve: bool) -> Self {
        self.reserve = reserve;
        self
    }

    /// Whether the host may let pages of equal contents be one (`MADV_MERGEABLE`). Off by default.
    pub fn merge(mut self, merge: bool) -> Self {
        self.hints.merge = merge;
        self
    }

    /// Whether the memory is part of a core dump of this process. On by default.
    pub fn dump(mut self, dump: bool) -> Self {
        self.hints.dump = dump;
        self
    }

    /// Whether the host is advised to use huge pages where it can (rule Q8); a host that cannot is no error. On by
    /// default.
    pub fn huge_pages(mut self, huge_pages: bool) -> Self {
        self.hints.huge_pages = huge_pages;
        self
    }

    /// On which nodes of the host the memory lies.
    pub fn numa(mut self, numa: NumaPolicy) -> Self {
        self.numa = numa;
        self
    }

    /// An alignment in bytes, if more is needed than pages, or a huge page for anonymous memory (rule A26).
    pub fn align(mut self, align: u64) -> Self {
        self.align = Some(align);
        self
    }

    /// Zeroed memory of this process; a memory file if it is to be shared (rule Q4).
    ///
    /// # Errors
    ///
    /// [`RamError`]; nothing is left behind.
    pub fn anonymous(self) -> Result<RamBlock, RamError> {
        if self.share == Some(true) {
            let options = MemfdOptions {
                hugetlb: None,
                seal: false,
            };
            return self.memfd(options);
        }
        let max_size = self.check()?;
        let page_size = host_page_size();
        let align = self.align.unwrap_or(0);
        if align != 0 && !align.is_power_of_two() {
            return Err(RamError::Alignment { align });
        }
        let size = max_size
            .checked_next_multiple_of(page_size)
            .ok_or_else(|| RamError::Map {
                size: max_size,
                source: Errno::NOMEM.into(),
            })?;
        self.finish(size, align.max(ANONYMOUS_ALIGN), None)
    }

    /// A memory file: others can be given [its descriptor](RamBlock::fd). Shared unless
    /// [`share`](Self::share) says otherwise.
    ///
    /// # Errors
    ///
    /// [`RamError`]; [`RamError::Memfd`] or [`RamError::Map`] if there are no huge pages of that size, or not
    /// enough. Nothing is left behind.
    pub fn memfd(mut self, options: MemfdOptions) -> Result<RamBlock, RamError> {
        let max_size = self.check()?;
        self.share.get_or_insert(true);
        let file = Backfile::memfd(self.name.as_deref().unwrap_or("flatview"), max_size, options)?;
        // A file of ordinary pages gives a small block a whole one.
        let size = max_size.max(if options.hugetlb.is_some() {
            0
        } else {
            file.page_size
        });
        let size = file.check(size, self.align)?;
        let align = self.align.unwrap_or(0).max(ANONYMOUS_ALIGN).max(file.page_size);
        self.finish(size, align, Some(file))
    }

    /// A file, from `offset` on (rules A8, Q15 to Q17).
    ///
    /// If there is none it is created, and removed again if the block cannot be made. In a directory, a file without
    /// a name is made, which goes with the block. A file that is empty is made as long as it must be; one that is
    /// too short otherwise is refused. What is opened for reading only is never created or changed.
    ///
    /// Whoever makes the file shorter while the block is there lets this process be killed by a signal.
    ///
    /// # Errors
    ///
    /// [`RamError::Open`], [`RamError::ReadonlyFile`], [`RamError::FileTooShort`], and others. Nothing is left
    /// behind.
    pub fn file(self, path: impl AsRef<Path>, offset: u64) -> Result<RamBlock, RamError> {
        self.check()?;
        let path = path.as_ref();
        let is_readonly = self.open_readonly.unwrap_or(self.readonly);
        self.check_writable(is_readonly)?;
        let is_private = !self.share.unwrap_or(false);
        let failed = |error: Errno| {
            let source = io::Error::from(error);
            RamError::Open {
                path: path.to_owned(),
                try_readonly: is_private && !is_readonly && is_denied(&source),
                source,
            }
        };
        let (fd, created) = open_file(path, is_readonly).map_err(failed)?;
        let block = self.over(fd, offset).map_err(|error| match error {
            RamError::Inspect { source, .. } => RamError::Open {
                path: path.to_owned(),
                source,
                try_readonly: false,
            },
            error => error,
        })?;
        created.keep();
        Ok(block)
    }

    /// A file that is open, from `offset` on (rule A9). It is checked and lengthened as one that is opened by
    /// [`file`](Self::file), and closed with the block.
    ///
    /// # Errors
    ///
    /// As [`file`](Self::file). The descriptor is closed.
    pub fn fd(self, fd: OwnedFd, offset: u64) -> Result<RamBlock, RamError> {
        self.check()?;
        self.over(fd, offset)
    }

    fn over(self, fd: OwnedFd, offset: u64) -> Result<RamBlock, RamError> {
        let max_size = self.max_size.unwrap_or(self.size);
        let file = Backfile::of_fd(fd, offset, max_size)?;
        self.check_writable(file.is_readonly)?;
        let size = file.check(max_size, self.align)?;
        let align = self.align.unwrap_or(0).max(file.page_size);
        self.finish(size, align, Some(file))
    }

    /// What is wrong whatever the memory is. Returns the most bytes that the guest may have.
    fn check(&self) -> Result<u64, RamError> {
        let max_size = self.max_size.unwrap_or(self.size);
        if self.size == 0 {
            return Err(RamError::NoSize);
        }
        if self.size > max_size {
            return Err(RamError::LargerThanMaximum {
                size: self.size,
                max_size,
            });
        }
        if self.prealloc.is_some() && !self.reserve {
            return Err(RamError::PreallocateUnreserved);
        }
        self.numa.check()?;
        Ok(max_size)
    }

    fn check_writable(&self, file_is_readonly: bool) -> Result<(), RamError> {
        match file_is_readonly && self.share == Some(true) && !self.readonly {
            true => Err(RamError::ReadonlyFile),
            false => Ok(()),
        }
    }

    fn finish(self, size: u64, align: u64, file: Option<Backfile>) -> Result<RamBlock, RamError> {
        let lengthened = match &file {
            Some(file) if !file.is_readonly => file.lengthen(size)?,
            _ => false,
        };
        let populated = self
            .size
            .next_multiple_of(file.as_ref().map_or_else(host_page_size, |file| file.page_size));
        let mapping = self.map(size, align, file.as_ref(), populated).inspect_err(|_| {
            if let (true, Some(file)) = (lengthened, &file) {
                file.empty();
            }
        })?;
        let settings = Settings {
            hints: self.hints,
            numa: self.numa,
            is_populated: self.prealloc.is_some(),
            is_resizeable: self.max_size.is_some(),
            align,
        };
        let memory = OwnedMemory::new(mapping, file, settings, self.resized);
        Ok(RamBlock::owned(self.name, self.size, memory))
    }

    /// Maps, advises, binds, populates: in this order (rule R7).
    fn map(
        &self,
        size: u64,
        align: u64,
        file: Option<&Backfile>,
        populated: u64,
    ) -> Result<Mapping, RamError> {
        let file_part = file.map(Backfile::part);
        let mapping = Mapping::new(&Plan {
            size,
            align,
            file: file_part,
            share: self.share.unwrap_or(false),
            writable: !self.readonly,
            reserve: self.reserve,
        })?;
        self.hints.give(&mapping, 0, mapping.size())?;
        self.numa.apply(&mapping, 0, mapping.size())?;
        if let Some(prealloc) = &self.prealloc {
            let page_size = file.map_or_else(host_page_size, |file| file.page_size);
            let shared = file_part.filter(|_| mapping.is_shared());
            prealloc
                .run(&mapping, populated, page_size, shared)
                .map_err(|source| RamError::Preallocate {
                    size: populated,
                    source,
                })?;
        }
        Ok(mapping)
    }
}

impl fmt::Debug for RamBlockBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RamBlockBuilder")
            .field("name", &self.name)
            .field("size", &self.size)
            .field("max_size", &self.max_size)
            .field("share", &self.share)
            .field("readonly", &self.readonly)
            .finish_non_exhaustive()
    }
}
