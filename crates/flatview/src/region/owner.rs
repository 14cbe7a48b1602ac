//! Owners: the device or object a region belongs to.

use std::fmt;
use std::sync::Arc;

use crate::access::Engagement;

/// What a region belongs to: for the re-entrancy guard, for `info mtree -o`, for unplug (rule B16).
///
/// Cheap to clone; two are equal if they are clones of one.
#[derive(Clone)]
pub struct Owner(Arc<OwnerInner>);

struct OwnerInner {
    kind: OwnerKind,
    reference: OwnerReference,
}

/// Whether an owner is a device or another object: `dev` or `obj` in `info mtree -o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OwnerKind {
    /// A device.
    Device,
    /// Any other object.
    Object,
}

/// How an owner is named in `info mtree -o`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OwnerReference {
    /// A device with an id that the user gave it.
    Id(String),
    /// By its path in the tree of objects.
    Path(String),
    /// By its type, for an object outside the tree.
    Type(String),
}

impl Owner {
    /// An owner of this kind and name.
    pub fn new(kind: OwnerKind, reference: OwnerReference) -> Owner {
        Owner(Arc::new(OwnerInner { kind, reference }))
    }

    /// A device that the user gave an id.
    pub fn device(id: impl Into<String>) -> Owner {
        Owner::new(OwnerKind::Device, OwnerReference::Id(id.into()))
    }

    /// Whether it is a device or another object.
    pub fn kind(&self) -> OwnerKind {
        self.0.kind
    }

    /// Says that this thread is in the device from now on, as during an access to one of its regions: for work that
    /// a device does later, in a bottom half or a timer, so that it cannot reach its own registers either (rule
    /// K13). `None` if this thread is in the device already.
    ///
    /// ```
    /// use flatview::Owner;
    /// let nic = Owner::device("nic0");
    /// let engaged = nic.engage().unwrap();
    /// assert!(nic.engage().is_none());
    /// drop(engaged);
    /// assert!(nic.engage().is_some());
    /// ```
    pub fn engage(&self) -> Option<Engagement> {
        Engagement::new(self)
    }

    pub(crate) fn guard_key(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// How it is named.
    pub fn reference(&self) -> &OwnerReference {
        &self.0.reference
    }
}

impl PartialEq for Owner {
    fn eq(&self, other: &Owner) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Owner {}

/// As in `info mtree -o`: `dev id=serial0`, `dev path=/machine/…`, `obj type=…`.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.kind {
            OwnerKind::Device => "dev ",
            OwnerKind::Object => "obj ",
        })?;
        match &self.0.reference {
            OwnerReference::Id(id) => write!(f, "id={id}"),
            OwnerReference::Path(path) => write!(f, "path={path}"),
            OwnerReference::Type(name) => write!(f, "type={name}"),
        }
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owner({self})")
    }
}
