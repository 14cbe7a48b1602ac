//! Why there is no memory.

use std::io;

use thiserror::Error;

/// Why a RAM block was not made, or not changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RamError {
    /// The kernel does not map as much.
    #[error("cannot map {size:#x} bytes of memory: {source}")]
    Map {
        /// The number of bytes.
        size: u64,
        /// What the kernel said.
        source: io::Error,
    },
}
