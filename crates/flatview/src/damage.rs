//! From changed regions to the parts of views that may look different now.
//!
//! Damage is carried up: from a region to its container, and to every alias through which a view sees it,
//! shifted and clipped on the way, until it reaches the physical roots of views. A region that can see itself
//! through an alias could carry damage round for ever, each time a little further; so a region that is
//! visited too often counts as damaged as a whole, and damage that is covered already is not carried on.

use std::collections::{BTreeMap, HashMap};

use crate::address::AddressRange;
use crate::region::RegionId;
use crate::tree::{Damage, Tree};

/// After so many distinct pieces of damage, a region counts as damaged as a whole.
const MOST_PIECES: usize = 64;

/// The damaged windows of every view, by physical root; sorted, disjoint and not abutting.
pub(crate) fn windows(tree: &Tree) -> BTreeMap<RegionId, Vec<AddressRange>> {
    let journal = tree.journal();
    let mut spread = Spread {
        tree,
        seen: HashMap::new(),
        todo: Vec::new(),
        windows: BTreeMap::new(),
    };
    // What is gone since then shows nothing, and nothing showed it.
    let mut damage = journal.damage.clone();
    damage.retain(|damage| tree.contains(damage.region));
    for root in journal
        .readdressed
        .iter()
        .copied()
        .filter(|&root| tree.node(root).is_view_root())
    {
        spread.windows.insert(root, vec![AddressRange::ALL]);
    }
    // A machine built in one transaction damages one container thousands of times, often side by side.
    damage.sort_unstable_by_key(|damage| (damage.region, damage.range));
    damage.dedup_by(|next, before| {
        let joined = next.region == before.region && before.range.widened().overlaps(next.range);
        if joined {
            before.range = before.range.hull(next.range);
        }
        joined
    });
    for damage in damage {
        spread.todo.push(damage);
        spread.run();
    }
    for windows in spread.windows.values_mut() {
        normalise(windows);
    }
    spread.windows
}

struct Spread<'a> {
    tree: &'a Tree,
    /// What has been carried on from each region that was passed.
    seen: HashMap<RegionId, Vec<AddressRange>>,
    todo: Vec<Damage>,
    windows: BTreeMap<RegionId, Vec<AddressRange>>,
}

impl Spread<'_> {
    fn run(&mut self) {
        while let Some(damage) = self.todo.pop() {
            let Damage { region, mut range } = damage;
            let node = self.tree.node(region);
            // Only where paths can meet again is it worth knowing what was carried on already.
            if node.is_crossroads() {
                let seen = self.seen.entry(region).or_default();
                if seen.iter().any(|before| before.contains_range(range)) {
                    continue;
                }
                if seen.len() >= MOST_PIECES {
                    range = AddressRange::ALL;
                }
                seen.push(range);
            }
            let attributes = &node.attributes;
            let in_container = shifted(range, i128::from(attributes.address));
            if node.is_view_root()
                && let Some(window) = in_container
            {
                self.windows.entry(region).or_default().push(window);
            }
            // What is disabled shows nothing now, and if it did before, it is damaged itself.
            let visible = |id: &RegionId| self.tree.node(*id).attributes.enabled;
            if let (Some(container), Some(range)) = (self.tree.container(region), in_container)
                && visible(&container)
            {
                self.todo.push(Damage {
                    region: container,
                    range,
                });
            }
            for alias in node.seen_through().iter().copied().filter(visible) {
                let offset = i128::from(self.tree.node(alias).attributes.alias_offset);
                if let Some(range) = shifted(range, -offset) {
                    self.todo.push(Damage { region: alias, range });
                }
            }
        }
    }
}

fn shifted(range: AddressRange, by: i128) -> Option<AddressRange> {
    AddressRange::clamp(i128::from(range.start()) + by, i128::from(range.last()) + 1 + by)
}

fn normalise(windows: &mut Vec<AddressRange>) {
    windows.sort_unstable();
    windows.dedup_by(|next, before| {
        let joined = before.widened().overlaps(*next);
        if joined {
            *before = before.hull(*next);
        }
        joined
    });
}
