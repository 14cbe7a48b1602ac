//! The way of an access through IOMMU regions.

use std::cell::Cell;
use std::sync::OnceLock;

use flatview::{AddressSpace, FlatView, IommuAccess, IommuOps, MemTxAttrs, ViewRef};
use vm_memory::Permissions;

/// How many IOMMUs may lie on the way of one access, and how many translations may be in the middle of one another: an
/// IOMMU whose page tables lie behind itself would never come to an end.
pub(crate) const MAX_IOMMUS: usize = 16;

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// As long as it lives, this thread is in the middle of a translation.
struct Nested;

impl Nested {
    fn enter() -> Option<Nested> {
        DEPTH.with(|depth| {
            if depth.get() == MAX_IOMMUS {
                return None;
            }
            depth.set(depth.get() + 1);
            Some(Nested)
        })
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get() - 1));
    }
}

/// Where an access goes on, and for how many bytes from there.
pub(crate) struct Beyond {
    pub(crate) target: AddressSpace,
    pub(crate) address: u64,
    pub(crate) size: u64,
}

/// The translation of `offset` in an IOMMU region (rule O2). `None` if the access is not permitted.
pub(crate) fn translate(
    ops: &dyn IommuOps,
    offset: u64,
    access: Permissions,
    attrs: MemTxAttrs,
) -> Option<Beyond> {
    let wanted = match access {
        Permissions::No => IommuAccess::empty(),
        Permissions::Read => IommuAccess::READ,
        Permissions::Write => IommuAccess::WRITE,
        Permissions::ReadWrite => IommuAccess::READ | IommuAccess::WRITE,
    };
    let nested = Nested::enter()?;
    let entry = ops.translate(offset, wanted, ops.attrs_to_index(attrs));
    drop(nested);
    let mask = entry.address_mask;
    Some(Beyond {
        target: entry.target.filter(|_| entry.permission.contains(wanted))?,
        address: (entry.translated_address & !mask) | (offset & mask),
        size: (mask - (offset & mask)).saturating_add(1),
    })
}

/// The views of the spaces that translations led to, each as it was the first time: slices borrow from them for as
/// long as the snapshot lives.
///
/// Nearly always there is one, the memory of the machine.
#[derive(Debug, Default)]
pub(crate) struct Targets(OnceLock<Box<Target>>);

#[derive(Debug)]
struct Target {
    view: ViewRef,
    space: AddressSpace,
    others: Targets,
}

impl Targets {
    pub(crate) fn view_of(&self, space: &AddressSpace) -> &FlatView {
        let mut targets = self;
        loop {
            let target = targets.0.get_or_init(|| {
                Box::new(Target {
                    view: space.view(),
                    space: space.clone(),
                    others: Targets::default(),
                })
            });
            if target.space == *space {
                return &target.view;
            }
            targets = &target.others;
        }
    }
}
