use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fmt, fs};

use crate::archive::{ARCHIVE, ArchiveReader};
use crate::machine::Files;
use crate::{Error, Machine};

/// The environment variable that names the folder for [`Corpus::from_env`].
pub const FOLDER_VARIABLE: &str = "FLATVIEW_CORPUS";

static PACKED: &[u8] = include_bytes!("../data/machines.tar.xz");

/// A source of machines.
#[derive(Clone)]
pub struct Corpus(Source);

#[derive(Clone)]
enum Source {
    /// The machines' folders, by name.
    Folder(BTreeMap<String, PathBuf>),
    Archive {
        place: PathBuf,
        bytes: Cow<'static, [u8]>,
    },
}

impl Corpus {
    /// The machines that the project carries.
    pub fn packed() -> Self {
        Self(Source::Archive {
            place: ARCHIVE.into(),
            bytes: Cow::Borrowed(PACKED),
        })
    }

    /// The machines of a folder: each subfolder one. The crate's front page has the layout.
    ///
    /// # Errors
    ///
    /// If the folder cannot be listed. The machines are read, and may fail, one by one.
    pub fn folder(path: impl AsRef<Path>) -> Result<Self, Error> {
        Ok(Self(Source::Folder(Self::list(path.as_ref())?)))
    }

    /// The machines of a packed file, which [`pack`](crate::pack) or `tar cJf` made from such a folder.
    ///
    /// # Errors
    ///
    /// If the file cannot be read. The machines are unpacked, and may fail, one by one.
    pub fn archive(path: impl AsRef<Path>) -> Result<Self, Error> {
        let place = path.as_ref().to_path_buf();
        match fs::read(&place) {
            Ok(bytes) => Ok(Self(Source::Archive {
                place,
                bytes: Cow::Owned(bytes),
            })),
            Err(source) => Err(Error::Io { path: place, source }),
        }
    }

    /// The folder that the variable [`FLATVIEW_CORPUS`](FOLDER_VARIABLE) names, otherwise the machines that
    /// the project carries.
    ///
    /// # Errors
    ///
    /// If the folder cannot be listed.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_setting(env::var_os(FOLDER_VARIABLE))
    }

    fn from_setting(folder: Option<OsString>) -> Result<Self, Error> {
        match folder {
            Some(folder) if !folder.is_empty() => Self::folder(PathBuf::from(folder)),
            _ => Ok(Self::packed()),
        }
    }

    /// All machines in order of their names (in an archive: in its order), read one at a time.
    pub fn machines(&self) -> Machines<'_> {
        Machines(match &self.0 {
            Source::Folder(folders) => Reader::Folder(folders.iter()),
            Source::Archive { place, bytes } => Reader::Archive(Box::new(ArchiveReader::new(place, bytes))),
        })
    }

    /// The machine of this name, without understanding the others.
    ///
    /// # Errors
    ///
    /// If there is none, or if it cannot be read.
    pub fn machine(&self, name: &str) -> Result<Machine, Error> {
        let mut machines = self.machines();
        while let Some(files) = machines.next_files()? {
            if files.name == name {
                return files.machine();
            }
        }
        Err(Error::NoMachine {
            name: name.to_owned(),
        })
    }

    /// The subfolders of a folder, by name.
    pub(crate) fn list(folder: &Path) -> Result<BTreeMap<String, PathBuf>, Error> {
        let failed = |source| Error::Io {
            path: folder.to_path_buf(),
            source,
        };
        let mut machines = BTreeMap::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            if !path.is_dir() {
                continue;
            }
            match entry.file_name().into_string() {
                // A corpus may be a repository: `.git` is no machine.
                Ok(name) if name.starts_with('.') => {}
                Ok(name) => {
                    machines.insert(name, path);
                }
                Err(_) => return Err(Error::NotUtf8 { path }),
            }
        }
        Ok(machines)
    }
}

impl fmt::Debug for Corpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Folder(folders) => f.debug_tuple("Folder").field(folders).finish(),
            Source::Archive { place, .. } => f.debug_tuple("Archive").field(place).finish(),
        }
    }
}

impl<'a> IntoIterator for &'a Corpus {
    type Item = Result<Machine, Error>;
    type IntoIter = Machines<'a>;

    fn into_iter(self) -> Machines<'a> {
        self.machines()
    }
}

/// The machines of a [`Corpus`]. A machine that fails is an error in its place, and the walk goes on; an
/// archive that is damaged is the last.
pub struct Machines<'a>(Reader<'a>);

enum Reader<'a> {
    Folder(std::collections::btree_map::Iter<'a, String, PathBuf>),
    Archive(Box<ArchiveReader<'a>>),
}

impl Machines<'_> {
    fn next_files(&mut self) -> Result<Option<Files>, Error> {
        match &mut self.0 {
            Reader::Folder(folders) => Ok(folders.next().map(|(name, place)| Files {
                name: name.clone(),
                place: place.clone(),
                members: None,
            })),
            Reader::Archive(archive) => archive.next_files(),
        }
    }
}

impl Iterator for Machines<'_> {
    type Item = Result<Machine, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_files().transpose().map(|files| files?.machine())
    }
}

impl fmt::Debug for Machines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machines").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "corpus_test.rs"]
mod tests;
