use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use flate2::read::GzDecoder;
use serde::Deserialize;

use crate::{Error, Truth};

pub(crate) const CMDLINE: &str = "cmdline.txt";
pub(crate) const TRUTH: &str = "truth.json";
const EXTRA: &str = "extra.json.gz";

/// One stopped QEMU, seen several ways at the same instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The name of its folder, unique in a corpus: `x86-pc-i440fx-4.2`.
    pub name: String,
    /// How QEMU was started, its version, what was done before the dump. Empty if nothing was noted.
    pub cmdline: String,
    /// What the monitor printed.
    pub texts: Texts,
    /// The graph of regions that the texts were printed from.
    pub truth: Truth,
}

/// What `info mtree` printed, by its flags; `None` where the question was not asked.
///
/// QEMU prints flat views, and the groups of address spaces that share a tree, in hash order: compare them as
/// sets. Inside one, the order of the lines is exact.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts {
    /// `info mtree`: the enabled regions as trees.
    pub mtree: Option<String>,
    /// `info mtree -D`: with the disabled regions.
    pub mtree_d_upper: Option<String>,
    /// `info mtree -o`: with owners and parents.
    pub mtree_o: Option<String>,
    /// `info mtree -D -o`: with the disabled regions, owners and parents.
    pub mtree_do_upper: Option<String>,
    /// `info mtree -f`: the flat views.
    pub mtree_f: Option<String>,
    /// `info mtree -f -d`: the flat views with their dispatch trees.
    pub mtree_fd: Option<String>,
    /// `info mtree -f -o`: the flat views with owners and parents.
    pub mtree_fo: Option<String>,
}

impl Texts {
    /// The texts that are there, each with its file name; a text comes before those that repeat parts of it.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("mtree-Do.txt", &self.mtree_do_upper),
            ("mtree-o.txt", &self.mtree_o),
            ("mtree-D.txt", &self.mtree_d_upper),
            ("mtree.txt", &self.mtree),
            ("mtree-fo.txt", &self.mtree_fo),
            ("mtree-f.txt", &self.mtree_f),
            ("mtree-fd.txt", &self.mtree_fd),
        ]
        .into_iter()
        .filter_map(|(file, text)| Some((file, text.as_deref()?)))
    }
}

/// The files of one machine, before they are understood.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) name: String,
    /// The folder of the machine; in an archive, the path of the archive with the machine's name.
    pub(crate) place: PathBuf,
    /// What an archive held. `None`: the files are on disk, each to be read when asked for.
    pub(crate) members: Option<BTreeMap<String, Vec<u8>>>,
}

/// What `extra.json.gz` may hold.
#[derive(Debug, Default, Deserialize)]
struct Extra {
    #[serde(rename = "mtree-fo.txt")]
    mtree_fo: Option<String>,
    #[serde(rename = "mtree-Do.txt")]
    mtree_do_upper: Option<String>,
    truth: Option<Truth>,
}

impl Files {
    /// Understands the files; fails if the truth is missing or not whole.
    pub(crate) fn machine(mut self) -> Result<Machine, Error> {
        let extra = self.extra()?;
        let (file, truth) = match (self.text(TRUTH)?, extra.truth) {
            (Some(text), _) => (TRUTH, self.json(TRUTH, &text)?),
            (None, Some(truth)) => (EXTRA, truth),
            (None, None) => {
                return Err(Error::NoTruth {
                    path: self.place.join(TRUTH),
                });
            }
        };
        if let Some((from, to)) = Truth::dangling(&truth) {
            return Err(Error::Dangling {
                path: self.place.join(file),
                from,
                to,
            });
        }
        Ok(Machine {
            cmdline: self.text(CMDLINE)?.unwrap_or_default(),
            texts: Texts {
                mtree: self.text("mtree.txt")?,
                mtree_d_upper: self.text("mtree-D.txt")?,
                mtree_o: self.text("mtree-o.txt")?,
                mtree_do_upper: self.text("mtree-Do.txt")?.or(extra.mtree_do_upper),
                mtree_f: self.text("mtree-f.txt")?,
                mtree_fd: self.text("mtree-fd.txt")?,
                mtree_fo: self.text("mtree-fo.txt")?.or(extra.mtree_fo),
            },
            truth,
            name: self.name,
        })
    }

    fn extra(&mut self) -> Result<Extra, Error> {
        let Some(packed) = self.bytes(EXTRA)? else {
            return Ok(Extra::default());
        };
        let mut text = String::new();
        GzDecoder::new(packed.as_slice())
            .read_to_string(&mut text)
            .map_err(|source| Error::Io {
                path: self.place.join(EXTRA),
                source,
            })?;
        self.json(EXTRA, &text)
    }

    fn json<'de, T: Deserialize<'de>>(&self, file: &str, text: &'de str) -> Result<T, Error> {
        serde_json::from_str(text).map_err(|source| Error::Json {
            path: self.place.join(file),
            source,
        })
    }

    fn text(&mut self, file: &str) -> Result<Option<String>, Error> {
        let Some(bytes) = self.bytes(file)? else {
            return Ok(None);
        };
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Error::NotUtf8 {
                path: self.place.join(file),
            }),
        }
    }

    fn bytes(&mut self, file: &str) -> Result<Option<Vec<u8>>, Error> {
        if let Some(members) = &mut self.members {
            return Ok(members.remove(file));
        }
        let path = self.place.join(file);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { path, source }),
        }
    }
}
