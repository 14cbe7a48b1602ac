//! Who owns what. The truth has numbers; what QEMU prints for them is learned from its own text, and must be
//! the same wherever a number occurs.

use std::collections::BTreeMap;

use flatview::{Owner, OwnerKind, OwnerReference};
use flatview_corpus::{RegionId, Truth};

use crate::Failure;
use crate::graph::OwnerAndParent;

#[derive(Default)]
pub(crate) struct Owners {
    of_region: BTreeMap<RegionId, OwnerAndParent>,
}

impl Owners {
    pub(crate) fn of(&self, region: RegionId) -> OwnerAndParent {
        self.of_region.get(&region).cloned().unwrap_or_default()
    }

    /// Reads what QEMU has at the end of each region's line.
    pub(crate) fn learn(truth: &Truth, text_of: &BTreeMap<RegionId, String>) -> Result<Owners, Failure> {
        let mut owners = Owners::default();
        let mut of_number: BTreeMap<Option<u32>, (&str, Option<Owner>)> = BTreeMap::new();
        let mut parents: BTreeMap<&str, Owner> = BTreeMap::new();
        for (&id, text) in text_of {
            let (name, number) = (&truth[id].name, truth[id].owner);
            let (owner, parent) = take_apart(text).ok_or_else(|| format!("{name}: owner{text}"))?;
            let (first, known) = of_number.entry(number).or_insert_with(|| (owner, read(owner)));
            if *first != owner {
                return Err(format!("{name}: owner {number:?} is {first} and {owner}"));
            }
            if number.is_some() != known.is_some() {
                return Err(format!("{name}: owner {number:?} is{text}"));
            }
            let parent = read(parent).map(|owner| parents.entry(parent).or_insert(owner).clone());
            owners.of_region.insert(id, (known.clone(), parent));
        }
        Ok(owners)
    }
}

/// What stands in the braces of ` owner:{…}` and ` parent:{…}`; empty where one is missing.
fn take_apart(text: &str) -> Option<(&str, &str)> {
    if text == " orphan" {
        return Some(("", ""));
    }
    let (owner, rest) = match text.strip_prefix(" owner:{") {
        Some(rest) => rest.split_once('}')?,
        None => ("", text),
    };
    match rest.strip_prefix(" parent:{") {
        Some(rest) => Some((owner, rest.strip_suffix('}')?)),
        None if rest.is_empty() && !owner.is_empty() => Some((owner, "")),
        None => None,
    }
}

/// `dev id=net0` and the like; `None` if it is none of the kinds there are.
fn read(text: &str) -> Option<Owner> {
    let (kind, reference) = text.split_once(' ')?;
    let kind = match kind {
        "dev" => OwnerKind::Device,
        "obj" => OwnerKind::Object,
        _ => return None,
    };
    let (how, name) = reference.split_once('=')?;
    let reference = match how {
        "id" => OwnerReference::Id(name.into()),
        "path" => OwnerReference::Path(name.into()),
        "type" => OwnerReference::Type(name.into()),
        _ => return None,
    };
    Some(Owner::new(kind, reference))
}
