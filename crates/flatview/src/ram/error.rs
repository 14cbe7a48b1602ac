//! Why there is no memory.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a RAM block was not made, or not changed. Nothing is left behind: no mapping, no descriptor, no file that
/// was not there before.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RamError {
    /// A block was to have no byte.
    #[error("a block of RAM has at least one byte")]
    NoSize,

    /// A block was to begin with more than it may ever have.
    #[error("a block of {size:#x} bytes cannot grow to {max_size:#x}")]
    LargerThanMaximum {
        /// The number of bytes.
        size: u64,
        /// The most it was to have.
        max_size: u64,
    },

    /// The kernel does not map as much.
    #[error("cannot map {size:#x} bytes of memory: {source}")]
    Map {
        /// The number of bytes.
        size: u64,
        /// What the kernel said.
        source: io::Error,
    },

    /// No memory file could be made (rule Q4): it may be that there are no huge pages of that size.
    #[error("cannot make a memory file of {size:#x} bytes: {source}")]
    Memfd {
        /// The number of bytes.
        size: u64,
        /// What the kernel said.
        source: io::Error,
    },

    /// A file could not be opened, or created (rule Q18).
    #[error("cannot open `{}` to be the memory of the guest: {source}{}", .path.display(),
        if *.try_readonly { " (it may be possible to open it for reading only)" } else { "" })]
    Open {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
        /// Whether a private mapping could do with a file that is open for reading only.
        try_readonly: bool,
    },

    /// A descriptor says nothing about its file, or is none that can be mapped.
    #[error("cannot find out about the file behind a block of {size:#x} bytes: {source}")]
    Inspect {
        /// The number of bytes.
        size: u64,
        /// What the kernel said.
        source: io::Error,
    },

    /// What is open for reading only was to be shared and written.
    #[error("a file that is open for reading only cannot be memory that is shared and written")]
    ReadonlyFile,

    /// A file is not empty, or cannot be made longer, and has too few bytes (rule Q16).
    #[error("a file of {file_size:#x} bytes is too short for {size:#x} bytes from {offset:#x} on")]
    FileTooShort {
        /// How many bytes the file has.
        file_size: u64,
        /// How many the block needs.
        size: u64,
        /// Where in the file they begin.
        offset: u64,
    },

    /// An empty file could not be made as long as needed.
    #[error("cannot make a file {size:#x} bytes long: {source}")]
    Truncate {
        /// The length.
        size: u64,
        /// What the kernel said.
        source: io::Error,
    },

    /// An alignment that the pages do not have (rule Q16).
    #[error("alignment {align:#x} is no multiple of the page size {page_size:#x}")]
    AlignmentOfPages {
        /// The alignment in bytes.
        align: u64,
        /// The size of a page of the file.
        page_size: u64,
    },

    /// An alignment that is none (rule Q16).
    #[error("alignment {align:#x} is no power of two")]
    Alignment {
        /// The alignment in bytes.
        align: u64,
    },

    /// A block was to begin within a page of a file (rule Q16).
    #[error("offset {offset:#x} in a file is no multiple of its page size {page_size:#x}")]
    FileOffset {
        /// The offset in bytes.
        offset: u64,
        /// The size of a page of the file.
        page_size: u64,
    },

    /// A block was to be smaller than a page of its file (rule Q16).
    #[error("{size:#x} bytes are less than the page size {page_size:#x} of the file")]
    SmallerThanPage {
        /// The number of bytes.
        size: u64,
        /// The size of a page of the file.
        page_size: u64,
    },

    /// Memory was to be populated and not to be reserved (rule R5).
    #[error("memory that is not reserved cannot be preallocated")]
    PreallocateUnreserved,

    /// Memory could not be populated: there is too little of it.
    #[error("cannot preallocate {size:#x} bytes of memory: {source}")]
    Preallocate {
        /// The number of bytes.
        size: u64,
        /// What the kernel said.
        source: io::Error,
    },

    /// The kernel does not do what was asked for with the memory.
    #[error("cannot {what} with {size:#x} bytes of memory: {source}")]
    Advise {
        /// What it was.
        what: &'static str,
        /// The number of bytes.
        size: u64,
        /// What the kernel said.
        source: io::Error,
    },

    /// Nodes were named, but not what to do with them (rule R6).
    #[error("NUMA nodes mean nothing to the default policy: choose another one, or name none")]
    NodesWithoutPolicy,

    /// A policy was chosen, but no nodes (rule R6).
    #[error("NUMA policy {mode:?} needs the nodes of the host that it is about")]
    PolicyWithoutNodes {
        /// The policy.
        mode: super::NumaMode,
    },

    /// Memory could not be bound to nodes of the host: there may be no such nodes, or not enough memory there
    /// (rule R6).
    #[error("cannot bind memory to the NUMA nodes {nodes:?} of the host by policy {mode:?}: {source}")]
    Bind {
        /// The policy.
        mode: super::NumaMode,
        /// The nodes.
        nodes: Vec<u32>,
        /// What the kernel said.
        source: io::Error,
    },

    /// A block that has one size for ever was to get another one (rule Q13).
    #[error("block `{block}` is not resizeable: it has {size:#x} bytes, not {wanted:#x}")]
    NotResizeable {
        /// The block's name.
        block: Box<str>,
        /// How many bytes it has.
        size: u64,
        /// How many it was to have.
        wanted: u64,
    },

    /// A block was to become larger than it can (rule Q13).
    #[error("block `{block}` cannot have {wanted:#x} bytes: {max_size:#x} are mapped")]
    BeyondMaximum {
        /// The block's name.
        block: Box<str>,
        /// How many bytes it was to have.
        wanted: u64,
        /// The most it can have.
        max_size: u64,
    },

    /// Bytes that a block does not have.
    #[error("bytes {start:#x} to {last:#x} are not within the {size:#x} bytes of block `{block}`")]
    OutsideBlock {
        /// The block's name.
        block: Box<str>,
        /// The first byte.
        start: u64,
        /// The last byte.
        last: u64,
        /// How many are mapped.
        size: u64,
    },

    /// Bytes that are not whole pages (rule Q21).
    #[error("bytes {start:#x} to {last:#x} are no whole pages of {page_size:#x} bytes")]
    NotWholePages {
        /// The first byte.
        start: u64,
        /// The last byte.
        last: u64,
        /// The size of a page of the block.
        page_size: u64,
    },

    /// What cannot be written cannot be thrown away either (rule Q21).
    #[error("block `{block}` is read-only")]
    Readonly {
        /// The block's name.
        block: Box<str>,
    },

    /// Memory that we did not map is its owner's to change.
    #[error("the memory of block `{block}` belongs to somebody else, or there is none")]
    NotOurs {
        /// The block's name.
        block: Box<str>,
    },

    /// Pages could not be thrown away, or mapped anew.
    #[error("cannot {what} {size:#x} bytes at {start:#x} of block `{block}`: {source}")]
    Pages {
        /// The block's name.
        block: Box<str>,
        /// What was tried.
        what: &'static str,
        /// The first byte.
        start: u64,
        /// How many bytes.
        size: u64,
        /// What the kernel said.
        source: io::Error,
    },

    /// No block has this RAM address (rule Q7).
    #[error("no block of RAM has RAM address {ram_addr:#x}")]
    NoBlockAt {
        /// The RAM address.
        ram_addr: u64,
    },
}
