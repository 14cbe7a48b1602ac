//! The packed file: a folder of machines as a tar in one xz stream.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use lzma_rust2::{EncodeMode, LzmaOptions, MfType, XzOptions, XzReader, XzWriter};
use tar::{Builder, EntryType, Header};

use crate::machine::{CMDLINE, Files, TRUTH};
use crate::{Corpus, Error, Machine};

/// What a packed file is called while it has no path.
pub(crate) const ARCHIVE: &str = "machines.tar.xz";

const BLOCK: usize = 512;

/// Reads an archive from front to back and hands out one machine's files after the other.
///
/// `tar::Archive` lends its entries, so an iterator that owns the archive cannot keep them; going from header
/// to header is all that is left to do here.
pub(crate) struct ArchiveReader<'a> {
    /// What the file is called in errors.
    place: &'a Path,
    stream: XzReader<&'a [u8]>,
    /// The first member of the next machine, which had to be read to see that the last machine was at its
    /// end.
    ahead: Option<Member>,
    ended: bool,
}

struct Member {
    machine: String,
    file: String,
    bytes: Vec<u8>,
}

impl<'a> ArchiveReader<'a> {
    pub(crate) fn new(place: &'a Path, bytes: &'a [u8]) -> Self {
        Self {
            place,
            stream: XzReader::new(bytes, false),
            ahead: None,
            ended: false,
        }
    }

    /// The files of the next machine. After an error there are no more: what follows it cannot be trusted.
    pub(crate) fn next_files(&mut self) -> Result<Option<Files>, Error> {
        self.collect().map_err(|source| {
            self.ended = true;
            self.ahead = None;
            Error::Io {
                path: self.place.to_path_buf(),
                source,
            }
        })
    }

    fn collect(&mut self) -> io::Result<Option<Files>> {
        let first = match self.ahead.take() {
            Some(member) => Some(member),
            None => self.member()?,
        };
        let Some(first) = first else {
            return Ok(None);
        };
        let mut members = BTreeMap::from([(first.file, first.bytes)]);
        while let Some(member) = self.member()? {
            if member.machine != first.machine {
                self.ahead = Some(member);
                break;
            }
            members.insert(member.file, member.bytes);
        }
        let place = self.place.join(&first.machine);
        Ok(Some(Files {
            name: first.machine,
            place,
            members: Some(members),
        }))
    }

    /// The next plain file that lies in a folder of its own.
    fn member(&mut self) -> io::Result<Option<Member>> {
        while !self.ended {
            let mut block = [0; BLOCK];
            self.stream.read_exact(&mut block)?;
            if block == [0; BLOCK] {
                // The checksum stands at the very end of the stream: without reading on, damage goes unseen.
                io::copy(&mut self.stream, &mut io::sink())?;
                self.ended = true;
                break;
            }
            let header = Header::from_byte_slice(&block);
            let bytes = self.content(header.entry_size()?)?;
            if header.entry_type() != EntryType::Regular {
                continue;
            }
            let path = String::from_utf8_lossy(&header.path_bytes()).into_owned();
            let mut parts = path.trim_start_matches("./").split('/');
            if let (Some(machine), Some(file), None) = (parts.next(), parts.next(), parts.next()) {
                return Ok(Some(Member {
                    machine: machine.to_owned(),
                    file: file.to_owned(),
                    bytes,
                }));
            }
        }
        Ok(None)
    }

    fn content(&mut self, size: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // `take` rather than a buffer of that size: a damaged header may ask for any size.
        let read = self.stream.by_ref().take(size).read_to_end(&mut bytes)?;
        if (read as u64) < size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let padding = bytes.len().next_multiple_of(BLOCK) - bytes.len();
        self.stream.read_exact(&mut [0; BLOCK][..padding])?;
        Ok(bytes)
    }
}

/// Packs all machines of the folders into the bytes of one archive; the same machines give the same bytes.
///
/// # Errors
///
/// If a machine cannot be read, or if two have one name.
pub fn pack<P: AsRef<Path>>(folders: &[P]) -> Result<Vec<u8>, Error> {
    let mut machines = BTreeMap::new();
    for folder in folders {
        for (name, place) in Corpus::list(folder.as_ref())? {
            let second = place.clone();
            if let Some(first) = machines.insert(name, place) {
                return Err(Error::SameName { first, second });
            }
        }
    }
    let failed = |path: &Path, source| Error::Io {
        path: path.to_path_buf(),
        source,
    };
    let archive = Path::new(ARCHIVE);
    let stream = XzWriter::new(Vec::new(), options()).map_err(|source| failed(archive, source))?;
    let mut tar = Builder::new(stream);
    for (name, place) in machines {
        let machine = Files {
            name,
            place: place.clone(),
            members: None,
        }
        .machine()?;
        append(&mut tar, &machine).map_err(|source| failed(&place, source))?;
    }
    let stream = tar.into_inner().map_err(|source| failed(archive, source))?;
    stream.finish().map_err(|source| failed(archive, source))
}

fn append<W: io::Write>(tar: &mut Builder<W>, machine: &Machine) -> io::Result<()> {
    let truth = serde_json::to_string(&machine.truth)?;
    let head = [(CMDLINE, machine.cmdline.as_str()), (TRUTH, &truth)];
    for (file, text) in head.into_iter().chain(machine.texts.iter()) {
        let mut header = Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, format!("{}/{file}", machine.name), text.as_bytes())?;
    }
    Ok(())
}

/// Text, and much of the same: no alignment to exploit (`pb` 0), the last character tells much (`lc` 4), and
/// matches are long. The dictionary is all that a reader must hold in memory; four times as much saves one
/// byte in a hundred.
fn options() -> XzOptions {
    let mut options = XzOptions::with_preset(9);
    options.lzma_options = LzmaOptions {
        dict_size: 16 << 20,
        lc: 4,
        lp: 0,
        pb: 0,
        mode: EncodeMode::Normal,
        nice_len: LzmaOptions::NICE_LEN_MAX,
        mf: MfType::Bt4,
        depth_limit: 512,
        preset_dict: None,
    };
    options
}

#[cfg(test)]
#[path = "archive_test.rs"]
mod tests;
