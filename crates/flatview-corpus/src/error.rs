use std::io;
use std::path::PathBuf;

use crate::RegionId;

/// Why a corpus could not be read or packed. Every message names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file or folder could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The file holds JSON that is not what it should be.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser said, with line and column.
        source: serde_json::Error,
    },

    /// The file or folder name is not UTF-8.
    #[error("{}: not UTF-8", path.display())]
    NotUtf8 {
        /// The file or folder.
        path: PathBuf,
    },

    /// A machine without its truth is no yardstick.
    #[error("{}: missing, and no extra.json.gz beside it holds a truth", path.display())]
    NoTruth {
        /// The `truth.json` that should be there.
        path: PathBuf,
    },

    /// A truth names a region that it does not hold.
    #[error("{}: {from} refers to region {to}, which is not there", path.display())]
    Dangling {
        /// The file.
        path: PathBuf,
        /// Who refers: `region 3: sub` or `address space "memory"`.
        from: String,
        /// The region that is not there.
        to: RegionId,
    },

    /// The corpus has no machine of this name.
    #[error("no machine named {name:?}")]
    NoMachine {
        /// The name asked for.
        name: String,
    },

    /// Two folders to be packed hold a machine of one name.
    #[error("{} and {} have one name", first.display(), second.display())]
    SameName {
        /// One machine.
        first: PathBuf,
        /// The other machine.
        second: PathBuf,
    },
}
