//! Views of address spaces.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{FlatLine, at_rest, type_of, write_owner};
use crate::memory::Shared;
use crate::space::{AddressSpace, ViewRef};
use crate::tree::Tree;
use crate::view::FlatRange;

/// Prints flat views; [`Memory::mtree_flat`](crate::Memory::mtree_flat) and
/// [`AddressSpace::mtree_flat`] make it.
#[must_use = "a printer does nothing until it is displayed"]
pub struct MtreeFlat<'a> {
    shared: Arc<Shared>,
    /// Only this space's view, not all of them.
    only: Option<AddressSpace>,
    owners: bool,
    accelerator: Option<Accelerator<'a>>,
}

struct Accelerator<'a> {
    name: Box<str>,
    has: Box<Has<'a>>,
}

type Has<'a> = dyn Fn(&AddressSpace, &FlatRange) -> bool + 'a;

impl MtreeFlat<'static> {
    pub(super) fn new(shared: &Arc<Shared>, only: Option<&AddressSpace>) -> MtreeFlat<'static> {
        MtreeFlat {
            shared: Arc::clone(shared),
            only: only.cloned(),
            owners: false,
            accelerator: None,
        }
    }
}

impl<'a> MtreeFlat<'a> {
    /// Whether lines end with the region's owner, and its parent where that is another: QEMU's `-o`.
    pub fn owners(self, owners: bool) -> MtreeFlat<'a> {
        MtreeFlat { owners, ..self }
    }

    /// Marks the ranges that an accelerator has, with its name: QEMU's ` KVM`.
    ///
    /// `has` is asked for each range once for each space of the view, and the mark is printed as often as it
    /// says yes. It is called while the text is written, with no lock held; it may look at anything.
    ///
    /// ```
    /// use flatview::{Memory, RamBlock, RegionKind, Size};
    ///
    /// # let memory = Memory::new();
    /// # let system = memory.region("system").container(Size::MAX);
    /// # let ram = memory.region("pc.ram").ram(RamBlock::unbacked(0xa_0000));
    /// # let pci = memory.region("pci").reservation(0x1000);
    /// # memory.update(|tx| {
    /// #     tx.add_subregion(&system, 0, &ram)?;
    /// #     tx.add_subregion(&system, 0xb_0000, &pci)
    /// # })?;
    /// let space = memory.create_address_space("memory", &system)?;
    /// let cpu = memory.create_address_space("cpu-memory-0", &system)?;
    /// let views = memory.mtree_flat().accelerator("KVM", |asked, range| {
    ///     *asked == space && range.region().kind() == RegionKind::Ram
    /// });
    /// assert_eq!(
    ///     views.to_string(),
    ///     "FlatView #0
    ///  AS \"memory\", root: system
    ///  AS \"cpu-memory-0\", root: system
    ///  Root memory region: system
    ///   0000000000000000-000000000009ffff (prio 0, ram): pc.ram KVM
    ///   00000000000b0000-00000000000b0fff (prio 0, i/o): pci
    ///
    /// "
    /// );
    /// # Ok::<(), flatview::Error>(())
    /// ```
    pub fn accelerator<'b>(
        self,
        name: &str,
        has: impl Fn(&AddressSpace, &FlatRange) -> bool + 'b,
    ) -> MtreeFlat<'b>
    where
        'a: 'b,
    {
        MtreeFlat {
            accelerator: Some(Accelerator {
                name: name.into(),
                has: Box::new(has),
            }),
            ..self
        }
    }

    fn write_range(
        &self,
        f: &mut fmt::Formatter<'_>,
        spaces: &[AddressSpace],
        range: &FlatRange,
        priority: i32,
    ) -> fmt::Result {
        let region = range.region();
        let line = FlatLine {
            start: range.start(),
            last: range.last(),
            priority,
            nonvolatile: range.is_nonvolatile(),
            type_name: match range.is_readonly() {
                true => "rom",
                false => type_of(region.kind(), false, range.is_romd()),
            },
            name: region.name(),
            offset: range.offset_in_region(),
        };
        write!(f, "{line}")?;
        if self.owners {
            write_owner(f, region)?;
        }
        if let Some(Accelerator { name, has }) = &self.accelerator {
            for _ in spaces.iter().filter(|space| has(space, range)) {
                write!(f, " {name}")?;
            }
        }
        f.write_str("\n")
    }
}

impl fmt::Display for MtreeFlat<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = at_rest(&self.shared, |tree, registry| match &self.only {
            Some(space) => Group::all(tree, vec![space.clone()]),
            None => Group::all(tree, registry.spaces()),
        });
        for (number, group) in groups.iter().enumerate() {
            let Group {
                spaces,
                view,
                priorities,
            } = group;
            writeln!(f, "FlatView #{number}")?;
            for space in spaces {
                let root = space.root();
                write!(f, " AS \"{}\", root: {}", space.name(), root.name())?;
                if let Some(target) = root.alias_target() {
                    write!(f, ", alias {}", target.name())?;
                }
                f.write_str("\n")?;
            }
            let root = view.root().map_or("(none)", |root| root.name());
            writeln!(f, " Root memory region: {root}")?;
            for (range, &priority) in view.iter().zip(priorities) {
                self.write_range(f, spaces, range, priority)?;
            }
            if view.is_empty() {
                f.write_str("  No rendered FlatView\n")?;
            }
            f.write_str("\n")?;
        }
        Ok(())
    }
}

impl fmt::Debug for MtreeFlat<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MtreeFlat")
            .field("only", &self.only)
            .field("owners", &self.owners)
            .field(
                "accelerator",
                &self.accelerator.as_ref().map(|accelerator| &accelerator.name),
            )
            .finish_non_exhaustive()
    }
}

/// A view and the spaces that show it, at one moment.
struct Group {
    spaces: Vec<AddressSpace>,
    view: ViewRef,
    /// Of the view's regions, range by range: the tree knows them, not the view.
    priorities: Vec<i32>,
}

impl Group {
    /// Groups in the order of their first spaces; in a group, spaces in the order in which they come.
    fn all(tree: &Tree, spaces: Vec<AddressSpace>) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut group_of = BTreeMap::new();
        for space in spaces {
            let view = space.view();
            let at = *group_of.entry(&raw const *view).or_insert_with(|| {
                let priority = |range: &FlatRange| tree.node(range.region().id()).attributes.priority;
                groups.push(Group {
                    spaces: Vec::new(),
                    priorities: view.iter().map(priority).collect(),
                    view,
                });
                groups.len() - 1
            });
            groups[at].spaces.push(space);
        }
        groups
    }
}
