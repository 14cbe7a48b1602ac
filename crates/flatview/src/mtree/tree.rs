//! Trees of regions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::line::OVERFLOW;
use super::{AliasWindow, TreeLine, at_rest, length_to_last, type_of, write_owner};
use crate::memory::Shared;
use crate::region::{Region, RegionId};
use crate::registry::Registry;
use crate::space::AddressSpace;
use crate::tree::{Attributes, Tree};

/// Prints trees of regions; [`Memory::mtree`](crate::Memory::mtree) and
/// [`Region::mtree`](crate::Region::mtree) make it.
///
/// ```
/// # use flatview::{Memory, Owner, Size};
/// # let memory = Memory::new();
/// # let io = memory.region("io").container(0x1_0000);
/// # let space = memory.create_address_space("I/O", &io)?;
/// let pm = memory.region("piix4-pm").owner(&Owner::device("pm")).enabled(false).container(0x40);
/// memory.update(|tx| tx.add_subregion(&io, 0xb000, &pm))?;
/// assert_eq!(
///     memory.mtree().disabled(true).owners(true).to_string(),
///     "address-space: I/O
///   0000000000000000-000000000000ffff (prio 0, i/o): io orphan
///     000000000000b000-000000000000b03f (prio 0, i/o): piix4-pm [disabled] owner:{dev id=pm}
///
/// "
/// );
/// # Ok::<(), flatview::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a printer does nothing until it is displayed"]
pub struct Mtree {
    shared: Arc<Shared>,
    /// Only this region's tree, not everything.
    only: Option<Region>,
    disabled: bool,
    owners: bool,
}

impl Mtree {
    pub(super) fn new(shared: &Arc<Shared>, only: Option<&Region>) -> Mtree {
        Mtree {
            shared: Arc::clone(shared),
            only: only.cloned(),
            disabled: false,
            owners: false,
        }
    }

    /// Whether disabled regions have lines, marked `[disabled]`: QEMU's `-D`.
    pub fn disabled(self, disabled: bool) -> Mtree {
        Mtree { disabled, ..self }
    }

    /// Whether lines end with the region's owner, and its parent where that is another: QEMU's `-o`.
    pub fn owners(self, owners: bool) -> Mtree {
        Mtree { owners, ..self }
    }

    /// Writes the tree under `root`, level by level deeper but without recursion. Targets of aliases that are
    /// met go to the end of `targets`, those on lines that are not printed too.
    fn write_tree(
        &self,
        f: &mut fmt::Formatter<'_>,
        picture: &Picture,
        root: usize,
        targets: &mut Targets,
    ) -> fmt::Result {
        let mut stack = vec![(root, 1, 0_u64)];
        // Marks stand before the next line that is printed, whosoever they are.
        let mut overflows = 0;
        while let Some((place, level, base)) = stack.pop() {
            let entry = &picture.entries[place];
            let (start, begins_beyond) = base.overflowing_add(entry.attributes.address);
            let (last, ends_beyond) = start.overflowing_add(length_to_last(entry.attributes.size));
            overflows += u32::from(begins_beyond || ends_beyond);
            if let Some(target) = entry.target {
                targets.meet(target);
            }
            if entry.attributes.enabled || self.disabled {
                let line = entry.line(overflows, level, start, last);
                write!(f, "{line}")?;
                overflows = 0;
                if self.owners {
                    write_owner(f, &entry.region)?;
                }
                f.write_str("\n")?;
            }
            let children = picture.children[entry.children.clone()].iter().rev();
            stack.extend(children.map(|&child| (child, level + 1, start)));
        }
        for _ in 0..overflows {
            f.write_str(OVERFLOW)?;
        }
        f.write_str("\n")
    }
}

impl fmt::Display for Mtree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let picture = at_rest(&self.shared, |tree, registry| match &self.only {
            Some(region) => Picture::of_region(tree, region),
            None => Picture::of_spaces(tree, registry),
        });
        let mut targets = Targets::default();
        for group in &picture.groups {
            for space in &group.spaces {
                writeln!(f, "address-space: {}", space.name())?;
            }
            if group.spaces.is_empty() {
                writeln!(f, "memory-region: {}", picture.entries[group.root].region.name())?;
            }
            self.write_tree(f, &picture, group.root, &mut targets)?;
        }
        if self.only.is_some() {
            return Ok(());
        }
        let mut next = 0;
        while let Some(&target) = targets.queue.get(next) {
            next += 1;
            writeln!(f, "memory-region: {}", picture.entries[target].region.name())?;
            self.write_tree(f, &picture, target, &mut targets)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Mtree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mtree")
            .field("only", &self.only)
            .field("disabled", &self.disabled)
            .field("owners", &self.owners)
            .finish_non_exhaustive()
    }
}

/// The targets of aliases, each once, in the order in which they were first met.
#[derive(Default)]
struct Targets {
    queue: Vec<usize>,
    met: BTreeSet<usize>,
}

impl Targets {
    fn meet(&mut self, target: usize) {
        if self.met.insert(target) {
            self.queue.push(target);
        }
    }
}

/// What the tree said, at one moment, about every region that a text mentions. Each is there once, however
/// many lines it gets: a chain of containers that all are spaces' roots is printed over and over.
#[derive(Default)]
struct Picture {
    entries: Vec<Entry>,
    /// The children of all entries, as places in `entries`.
    children: Vec<usize>,
    groups: Vec<Group>,
}

struct Entry {
    region: Region,
    attributes: Attributes,
    type_name: &'static str,
    /// Where in `children`.
    children: Range<usize>,
    /// The place of what an alias leads to, if that is printed too.
    target: Option<usize>,
}

impl Entry {
    fn line(&self, overflows: u32, level: u32, start: u64, last: u64) -> TreeLine<'_> {
        let Attributes {
            priority,
            nonvolatile,
            alias_offset: first,
            size,
            enabled,
            ..
        } = self.attributes;
        TreeLine {
            overflows,
            level,
            start,
            last,
            priority,
            nonvolatile,
            type_name: self.type_name,
            name: self.region.name(),
            alias: self.region.alias_target().map(|target| AliasWindow {
                target: target.name(),
                first,
                last: first.wrapping_add(length_to_last(size)),
            }),
            disabled: !enabled,
        }
    }
}

/// A root and the spaces that look at it, by name; none if the root is printed for its own sake.
struct Group {
    spaces: Vec<AddressSpace>,
    root: usize,
}

impl Picture {
    fn of_region(tree: &Tree, region: &Region) -> Picture {
        let mut painter = Painter::new(tree, false);
        let root = painter.place(region);
        let group = Group {
            spaces: Vec::new(),
            root,
        };
        painter.finish(vec![group])
    }

    /// Groups in the order of their first spaces; in a group, spaces by name.
    fn of_spaces(tree: &Tree, registry: &Registry) -> Picture {
        let mut painter = Painter::new(tree, true);
        let mut groups: Vec<Group> = Vec::new();
        let mut group_of = BTreeMap::new();
        for space in registry.spaces() {
            let root = painter.place(space.root());
            let at = *group_of.entry(root).or_insert_with(|| {
                let spaces = Vec::new();
                groups.push(Group { spaces, root });
                groups.len() - 1
            });
            groups[at].spaces.push(space);
        }
        for group in &mut groups {
            group.spaces.sort_by(|a, b| a.name().cmp(b.name()));
        }
        painter.finish(groups)
    }
}

/// Makes a picture, beginning at some regions and going to all that they lead to.
struct Painter<'a> {
    tree: &'a Tree,
    follow_aliases: bool,
    picture: Picture,
    places: BTreeMap<RegionId, usize>,
}

impl<'a> Painter<'a> {
    fn new(tree: &'a Tree, follow_aliases: bool) -> Painter<'a> {
        Painter {
            tree,
            follow_aliases,
            picture: Picture::default(),
            places: BTreeMap::new(),
        }
    }

    /// The place of a region, which gets one if it has none yet.
    fn place(&mut self, region: &Region) -> usize {
        *self.places.entry(region.id()).or_insert_with(|| {
            let end = region.alias_end();
            let Attributes {
                readonly, romd_mode, ..
            } = self.tree.node(end.id()).attributes;
            self.picture.entries.push(Entry {
                region: region.clone(),
                attributes: self.tree.node(region.id()).attributes,
                type_name: type_of(end.kind(), readonly, romd_mode),
                children: 0..0,
                target: None,
            });
            self.picture.entries.len() - 1
        })
    }

    /// Goes from place to place until no new one turns up.
    fn finish(mut self, groups: Vec<Group>) -> Picture {
        let mut next = 0;
        while let Some(Entry { region, .. }) = self.picture.entries.get(next) {
            let region = region.clone();
            // From the highest priority down and from the newest, so that a stable sort keeps that.
            let mut children: Vec<&Region> = self.tree.children(region.id()).collect();
            children.sort_by_key(|child| self.tree.node(child.id()).attributes.address);
            let first = self.picture.children.len();
            for child in children {
                let place = self.place(child);
                self.picture.children.push(place);
            }
            self.picture.entries[next].children = first..self.picture.children.len();
            if self.follow_aliases {
                self.picture.entries[next].target = region.alias_target().map(|target| self.place(target));
            }
            next += 1;
        }
        Picture {
            groups,
            ..self.picture
        }
    }
}
