//! The way of an access through IOMMU regions.

use std::cell::Cell;
use std::sync::{Arc, OnceLock};

use flatview::{AddressSpace, FlatView, IommuAccess, IommuOps, MemTxAttrs, ViewRef};
use vm_memory::Permissions;

/// How many IOMMUs may lie on the way of one access, and how many translations may be in the middle of one another.
pub(crate) const MAX_IOMMUS: usize = 16;

thread_local! {
    /// The IOMMUs that this thread is asking, by address; 0 for none.
    static ASKED: [Cell<usize>; MAX_IOMMUS] = const { [const { Cell::new(0) }; MAX_IOMMUS] };
}

/// As long as it lives, this thread is asking an IOMMU.
///
/// One whose page tables lie behind itself would never come to an end: it is not asked again meanwhile, as the core
/// does not either.
struct Asking(usize);

impl Asking {
    fn enter(ops: &Arc<dyn IommuOps>) -> Option<Asking> {
        let key = Arc::as_ptr(ops).addr();
        ASKED.with(|asked| {
            if asked.iter().any(|other| other.get() == key) {
                return None;
            }
            let place = asked.iter().position(|other| other.get() == 0)?;
            asked[place].set(key);
            Some(Asking(place))
        })
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        ASKED.with(|asked| asked[self.0].set(0));
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
    ops: &Arc<dyn IommuOps>,
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
    let asking = Asking::enter(ops)?;
    let entry = ops.translate(offset, wanted, ops.attrs_to_index(attrs));
    drop(asking);
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
