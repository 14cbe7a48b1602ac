use std::collections::BTreeMap;
use std::fmt;
use std::ops::Index;

use serde::{Deserialize, Serialize};

/// Which region of a machine; means nothing in another machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegionId(pub u32);

impl fmt::Display for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The graph of memory regions of one machine, exactly as the stopped QEMU held it.
///
/// A truth that comes from a [`Corpus`](crate::Corpus) is whole: every id in it names one of its regions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth {
    /// The address spaces in order of creation, each with its root. Names repeat.
    #[serde(rename = "as")]
    pub spaces: Vec<(String, RegionId)>,
    /// Every region that the spaces reach, and some that they do not.
    #[serde(rename = "mr")]
    pub regions: BTreeMap<RegionId, TruthRegion>,
}

/// One memory region, under the short names of the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TruthRegion {
    /// The name; not unique, may be empty.
    pub name: String,
    /// Where its container has it; kept by QEMU when the region leaves its container.
    pub addr: u64,
    /// The size in bytes, 0 to 2^64.
    pub size: u128,
    /// The priority among the regions of its container.
    pub prio: i32,
    /// Whether it can be seen, with all it contains.
    #[serde(with = "flag")]
    pub enabled: bool,
    /// Terminates: answers itself where none of its children does. False for containers and aliases.
    #[serde(with = "flag")]
    pub term: bool,
    /// RAM, which ROM is too (see `ro`) but a ROM device is not.
    #[serde(with = "flag")]
    pub ram: bool,
    /// Readonly; on an alias or a container it holds for all that is seen through it.
    #[serde(with = "flag")]
    pub ro: bool,
    /// Nonvolatile; inherited like `ro`.
    #[serde(with = "flag")]
    pub nv: bool,
    /// A ROM device.
    #[serde(with = "flag")]
    pub romdev: bool,
    /// ROM mode; says something on a ROM device only, true on everything else.
    #[serde(with = "flag")]
    pub romd: bool,
    /// RAM that belongs to a device, such as a passed-through BAR.
    #[serde(with = "flag")]
    pub ramdev: bool,
    /// An IOMMU region.
    #[serde(with = "flag")]
    pub iommu: bool,
    /// Unmergeable: its ranges stay apart from their neighbours; inherited like `ro`.
    #[serde(with = "flag")]
    pub unm: bool,
    /// The region's own mask of dirty-log clients.
    pub dirty: u8,
    /// How many displays want the region's dirty log.
    pub vgalog: u8,
    /// The region that this one is an alias of.
    pub alias: Option<RegionId>,
    /// The alias shows its target from this offset on.
    pub aoff: u64,
    /// The children in QEMU's list order: the first is rendered first and obscures the others.
    pub sub: Vec<RegionId>,
    /// The container. The root of an address space may have one too.
    pub cont: Option<RegionId>,
    /// The object that owns the region, as an opaque number: the same number, the same object.
    pub owner: Option<u32>,
}

impl Truth {
    /// The first reference that leads nowhere: who refers, and to which id.
    pub(crate) fn dangling(&self) -> Option<(String, RegionId)> {
        let gone = |id: &RegionId| !self.regions.contains_key(id);
        let space = self.spaces.iter().find(|(_, root)| gone(root));
        if let Some((name, root)) = space {
            return Some((format!("address space {name:?}"), *root));
        }
        self.regions.iter().find_map(|(id, region)| {
            let alias = region.alias.iter().map(|to| ("alias", to));
            let cont = region.cont.iter().map(|to| ("cont", to));
            let sub = region.sub.iter().map(|to| ("sub", to));
            let (field, to) = alias.chain(cont).chain(sub).find(|(_, to)| gone(to))?;
            Some((format!("region {id}: {field}"), *to))
        })
    }
}

impl Index<RegionId> for Truth {
    type Output = TruthRegion;

    /// The region of this id.
    ///
    /// # Panics
    ///
    /// If there is none, which only an id from elsewhere can cause.
    fn index(&self, id: RegionId) -> &TruthRegion {
        &self.regions[&id]
    }
}

/// The files write a boolean as 0 or 1; anything else there is a damaged file, not a "true".
mod flag {
    use serde::de::{Error, Unexpected};
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
    pub(super) fn serialize<S: Serializer>(flag: &bool, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(u8::from(*flag))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
        match u8::deserialize(deserializer)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Error::invalid_value(
                Unexpected::Unsigned(other.into()),
                &"0 or 1",
            )),
        }
    }
}

#[cfg(test)]
#[path = "truth_test.rs"]
mod tests;
