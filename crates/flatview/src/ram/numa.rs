//! On which nodes of the host memory lies.
#![expect(unsafe_code, reason = "mbind has no safe wrapper")]

use std::collections::BTreeSet;
use std::io;

use super::{RamError, mapping::Mapping};

/// What to do with the nodes of a [`NumaPolicy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NumaMode {
    /// What the process does anyway; it takes no nodes.
    #[default]
    Default,
    /// From these nodes while they have memory, then from others.
    Preferred,
    /// From these nodes only.
    Bind,
    /// From these nodes in turn, page by page.
    Interleave,
}

/// On which nodes of the host the pages of a block are to lie (rule R6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumaPolicy {
    /// What to do with the nodes.
    pub mode: NumaMode,
    /// The nodes, as the host numbers them.
    pub nodes: BTreeSet<u32>,
}

impl NumaPolicy {
    /// A policy of this mode for these nodes.
    ///
    /// ```
    /// use flatview::{NumaMode, NumaPolicy, RamBlock};
    /// let bound = RamBlock::builder(0x1000)
    ///     .numa(NumaPolicy::new(NumaMode::Bind, [1_000]))
    ///     .anonymous();
    /// assert!(bound.is_err(), "no host has as many nodes");
    /// ```
    pub fn new(mode: NumaMode, nodes: impl IntoIterator<Item = u32>) -> NumaPolicy {
        NumaPolicy {
            mode,
            nodes: nodes.into_iter().collect(),
        }
    }

    /// Rule R6.
    pub(super) fn check(&self) -> Result<(), RamError> {
        match (self.mode, self.nodes.is_empty()) {
            (NumaMode::Default, false) => Err(RamError::NodesWithoutPolicy),
            (NumaMode::Default, true) | (_, false) => Ok(()),
            (mode, true) => Err(RamError::PolicyWithoutNodes { mode }),
        }
    }

    /// Binds some of what is mapped, moving pages that are there already.
    pub(super) fn apply(&self, mapping: &Mapping, offset: usize, size: usize) -> Result<(), RamError> {
        let result = match self.mode {
            NumaMode::Default => Ok(()),
            NumaMode::Bind => self.bind((mapping, offset, size), libc::MPOL_BIND),
            NumaMode::Interleave => self.bind((mapping, offset, size), libc::MPOL_INTERLEAVE),
            // Linux knows of more than one preferred node since 5.15.
            NumaMode::Preferred => self
                .bind((mapping, offset, size), MPOL_PREFERRED_MANY)
                .or_else(|_| self.bind((mapping, offset, size), libc::MPOL_PREFERRED)),
        };
        result.map_err(|source| RamError::Bind {
            mode: self.mode,
            nodes: self.nodes.iter().copied().collect(),
            source,
        })
    }

    fn bind(&self, (mapping, offset, size): (&Mapping, usize, usize), mode: libc::c_int) -> io::Result<()> {
        const WORD: usize = libc::c_ulong::BITS as usize;
        let mut mask = [0 as libc::c_ulong; MAX_NODES / WORD];
        for &node in &self.nodes {
            let node = node as usize;
            let word = mask.get_mut(node / WORD).ok_or(io::ErrorKind::InvalidInput)?;
            *word |= 1 << (node % WORD);
        }
        let flags = MPOL_MF_STRICT | MPOL_MF_MOVE;
        // SAFETY: the bytes are mapped, the mask has one bit less than the kernel is told, as it wants it, and no
        // byte of memory is changed.
        let done = unsafe {
            libc::syscall(
                libc::SYS_mbind,
                mapping.host().as_ptr().wrapping_add(offset),
                size,
                mode,
                mask.as_ptr(),
                MAX_NODES + 1,
                flags,
            )
        };
        match done {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// `MPOL_PREFERRED_MANY` of Linux.
const MPOL_PREFERRED_MANY: libc::c_int = 5;

/// It is an error if a page lies elsewhere and cannot be moved.
const MPOL_MF_STRICT: libc::c_uint = 1 << 0;
const MPOL_MF_MOVE: libc::c_uint = 1 << 1;

/// As many as Linux can be built for.
const MAX_NODES: usize = 1024;
