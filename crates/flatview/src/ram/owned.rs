//! Memory that we mapped, and what can be done with it: advice, throwing pages away, writing them back.

use std::io;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::mm::Advice;

use super::file::Backfile;
use super::mapping::{Mapping, host_page_size};
use super::{NumaPolicy, RamBlock, RamError, Resized};
use crate::address::AddressRange;

/// What the host is told about memory (rule Q8).
#[derive(Clone, Copy, Debug)]
pub(super) struct Hints {
    pub(super) merge: bool,
    pub(super) dump: bool,
    pub(super) huge_pages: bool,
}

impl Default for Hints {
    fn default() -> Hints {
        Hints {
            merge: false,
            dump: true,
            huge_pages: true,
        }
    }
}

impl Hints {
    pub(super) fn give(self, mapping: &Mapping, offset: usize, size: usize) -> Result<(), RamError> {
        let advise = |advice, what| {
            let result = mapping.advise(offset, size, advice);
            result.map_err(|source| RamError::Advise {
                what,
                size: size as u64,
                source,
            })
        };
        if self.merge {
            advise(Advice::LinuxMergeable, "merge equal pages")?;
        }
        if !self.dump {
            advise(Advice::LinuxDontDump, "dump no core")?;
        }
        // Nobody asked for these two in so many words, and not every kind of memory has them.
        if self.huge_pages {
            let _ = mapping.advise(offset, size, Advice::LinuxHugepage);
        }
        let _ = mapping.advise(offset, size, Advice::LinuxDontFork);
        Ok(())
    }
}

/// How memory was made, for when some of it is made anew.
pub(super) struct Settings {
    pub(super) hints: Hints,
    pub(super) numa: NumaPolicy,
    pub(super) is_populated: bool,
    pub(super) is_resizeable: bool,
    pub(super) align: u64,
}

/// A mapping, and the file that it shows.
pub(super) struct OwnedMemory {
    pub(super) mapping: Mapping,
    pub(super) file: Option<Backfile>,
    pub(super) settings: Settings,
    pub(super) resized: Option<Resized>,
}

impl OwnedMemory {
    pub(super) fn new(
        mapping: Mapping,
        file: Option<Backfile>,
        settings: Settings,
        resized: Option<Resized>,
    ) -> OwnedMemory {
        OwnedMemory {
            mapping,
            file,
            settings,
            resized,
        }
    }

    pub(super) fn page_size(&self) -> u64 {
        self.file
            .as_ref()
            .map_or_else(host_page_size, |file| file.page_size)
    }

    /// Rule Q21.
    fn discard(&self, offset: usize, size: usize) -> io::Result<()> {
        if let Some(file) = &self.file {
            if !self.mapping.is_shared() && file.is_named {
                tracing::warn!(target: "flatview::ram", "discarding privately mapped memory empties its file, too");
            }
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&file.fd, hole, file.offset + offset as u64, size as u64)?;
        }
        // Huge pages of a file are gone with the hole, unless they are private.
        match self.mapping.is_shared() {
            true => Ok(()),
            false => self.mapping.advise(offset, size, Advice::LinuxDontNeed),
        }
    }

    /// Rule Q24.
    fn remap(&self, offset: usize, size: usize) -> Result<(), Remap> {
        if self.mapping.is_writable() && self.discard(offset, size).is_ok() {
            return Ok(());
        }
        let part = self.file.as_ref().map(Backfile::part);
        self.mapping.remap(offset, size, part).map_err(Remap::Map)?;
        let settings = &self.settings;
        settings
            .hints
            .give(&self.mapping, offset, size)
            .map_err(Remap::Settings)?;
        settings
            .numa
            .apply(&self.mapping, offset, size)
            .map_err(Remap::Settings)
    }
}

enum Remap {
    Map(io::Error),
    Settings(RamError),
}

impl RamBlock {
    /// Gives pages back to the host (rule Q21): they read as zeroes, and take no memory until they are written.
    ///
    /// `bytes` are whole pages of [`page_size`](Self::page_size) bytes, within [`max_size`](Self::max_size). Of a
    /// file, the bytes are thrown away too, also if it is mapped privately. Dirty logs do not hear of it.
    ///
    /// # Errors
    ///
    /// [`RamError::NotOurs`], [`RamError::Readonly`], [`RamError::OutsideBlock`], [`RamError::NotWholePages`], and
    /// nothing was done; [`RamError::Pages`] if the kernel or the file system does not do it.
    pub fn discard(&self, bytes: AddressRange) -> Result<(), RamError> {
        let memory = self.owned_memory()?;
        let is_readonly =
            !memory.mapping.is_writable() || memory.file.as_ref().is_some_and(|file| file.is_readonly);
        if is_readonly {
            return Err(RamError::Readonly {
                block: self.name().into(),
            });
        }
        let (offset, size) = self.whole_pages(memory, bytes)?;
        memory
            .discard(offset, size)
            .map_err(|source| self.pages("discard", bytes, source))
    }

    /// Puts new pages in place of pages that the host found broken, as a machine does when it is reset (rule Q24).
    /// What was in them is lost, unless a file has it; all else is as the block was made.
    ///
    /// Nothing else happens to RAM on a reset.
    ///
    /// # Errors
    ///
    /// As [`discard`](Self::discard), but read-only memory can be mapped anew; [`RamError::Advise`],
    /// [`RamError::Bind`] and [`RamError::Preallocate`] if the new pages are there but are not as the old ones were.
    pub fn remap(&self, bytes: AddressRange) -> Result<(), RamError> {
        let memory = self.owned_memory()?;
        let (offset, size) = self.whole_pages(memory, bytes)?;
        memory.remap(offset, size).map_err(|error| match error {
            Remap::Map(source) => self.pages("map anew", bytes, source),
            Remap::Settings(error) => error,
        })?;
        if memory.settings.is_populated && memory.mapping.is_writable() {
            let populated = memory.mapping.advise(offset, size, Advice::LinuxPopulateWrite);
            // The kernel may be too old; then the guest has to wait for its pages.
            if let Err(source) = populated
                && source.kind() != io::ErrorKind::InvalidInput
            {
                return Err(RamError::Preallocate {
                    size: size as u64,
                    source,
                });
            }
        }
        Ok(())
    }

    /// Writes bytes of a shared file back to it and waits until they are there (rule Q20): the pages that they lie
    /// in. For other memory there is nothing to be done.
    ///
    /// # Errors
    ///
    /// [`RamError::OutsideBlock`]; [`RamError::Pages`] if they could not be written.
    pub fn sync(&self, bytes: AddressRange) -> Result<(), RamError> {
        let Ok(memory) = self.owned_memory() else {
            return Ok(());
        };
        let page = host_page_size();
        let widened = AddressRange::from_bounds(bytes.start() / page * page, bytes.last());
        let (offset, size) = self.within(memory, widened.unwrap_or(bytes))?;
        if memory.file.is_none() || !memory.mapping.is_shared() {
            return Ok(());
        }
        memory
            .mapping
            .sync(offset, size)
            .map_err(|source| self.pages("write back", bytes, source))
    }

    fn owned_memory(&self) -> Result<&OwnedMemory, RamError> {
        self.owned_memory_if_any().ok_or_else(|| RamError::NotOurs {
            block: self.name().into(),
        })
    }

    fn within(&self, memory: &OwnedMemory, bytes: AddressRange) -> Result<(usize, usize), RamError> {
        let mapped = memory.mapping.size();
        let end = usize::try_from(bytes.last()).ok().filter(|&last| last < mapped);
        match (usize::try_from(bytes.start()), end) {
            (Ok(start), Some(last)) => Ok((start, last - start + 1)),
            _ => Err(RamError::OutsideBlock {
                block: self.name().into(),
                start: bytes.start(),
                last: bytes.last(),
                size: mapped as u64,
            }),
        }
    }

    fn whole_pages(&self, memory: &OwnedMemory, bytes: AddressRange) -> Result<(usize, usize), RamError> {
        let part = self.within(memory, bytes)?;
        let page_size = memory.page_size();
        match bytes.start().is_multiple_of(page_size) && (part.1 as u64).is_multiple_of(page_size) {
            true => Ok(part),
            false => Err(RamError::NotWholePages {
                start: bytes.start(),
                last: bytes.last(),
                page_size,
            }),
        }
    }

    fn pages(&self, what: &'static str, bytes: AddressRange, source: io::Error) -> RamError {
        RamError::Pages {
            block: self.name().into(),
            what,
            start: bytes.start(),
            size: bytes.last() - bytes.start() + 1,
            source,
        }
    }
}
