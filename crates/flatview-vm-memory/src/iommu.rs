//! The way of an access through IOMMU regions.

use std::sync::OnceLock;

use flatview::{AddressSpace, FlatView, IommuAccess, ViewRef};
use vm_memory::Permissions;

/// What every IOMMU on the way has to permit.
pub(crate) fn wanted(access: Permissions) -> IommuAccess {
    match access {
        Permissions::No => IommuAccess::empty(),
        Permissions::Read => IommuAccess::READ,
        Permissions::Write => IommuAccess::WRITE,
        Permissions::ReadWrite => IommuAccess::all(),
    }
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
