//! Address spaces: a root region, the view published for it, and the ways to look at it.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use crate::access::Bounce;
use crate::address::{AddressRange, Size};
use crate::error::Error;
use crate::listener::{ListenerId, MemoryListener, Registration};
use crate::memory::Shared;
use crate::publish::{Hold, Outlet, Retired};
use crate::reader::Reader;
use crate::receipt::Receipt;
use crate::region::Region;
use crate::statistics::ViewStatistics;
use crate::view::FlatView;

/// In order of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SpaceId(pub(crate) u64);

/// Something that can issue addresses: a CPU, the I/O ports, a bus master. A cheap handle that can be cloned;
/// two are equal if they mean the same space.
///
/// Spaces whose roots lead to the same physical root share one view (rule C31). A space lives until its last
/// handle, reader and registration is gone, or it is [destroyed](Self::destroy).
#[derive(Clone)]
pub struct AddressSpace(Arc<SpaceInner>);

pub(crate) struct SpaceInner {
    pub(crate) id: SpaceId,
    name: Box<str>,
    pub(crate) root: Region,
    memory: Weak<Shared>,
    retired: Arc<Retired<FlatView>>,
    /// The registry has it too: the updater unbinds it when this is gone.
    pub(crate) outlet: Arc<Outlet<FlatView>>,
    destroyed: AtomicBool,
    pub(crate) bounce: Bounce,
    /// Told when this goes.
    dropped: Arc<AtomicBool>,
}

impl SpaceInner {
    pub(crate) fn retired(&self) -> Arc<Retired<FlatView>> {
        Arc::clone(&self.retired)
    }
}

impl Drop for SpaceInner {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::Release);
    }
}

impl AddressSpace {
    pub(crate) fn new(
        id: SpaceId,
        name: &str,
        root: &Region,
        shared: &Arc<Shared>,
        outlet: Arc<Outlet<FlatView>>,
        dropped: Arc<AtomicBool>,
    ) -> AddressSpace {
        AddressSpace(Arc::new(SpaceInner {
            id,
            name: name.into(),
            root: root.clone(),
            memory: Arc::downgrade(shared),
            retired: Arc::clone(&shared.retired),
            outlet,
            destroyed: AtomicBool::new(false),
            bounce: Bounce::new(),
            dropped,
        }))
    }

    pub(crate) fn from_inner(inner: Arc<SpaceInner>) -> AddressSpace {
        AddressSpace(inner)
    }

    pub(crate) fn inner(&self) -> &Arc<SpaceInner> {
        &self.0
    }

    /// The name it was made with. Names need not be unique (rule H1).
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The region it looks at.
    pub fn root(&self) -> &Region {
        &self.0.root
    }

    /// The current view, which stays as it is for as long as the returned value lives. Who looks often uses
    /// a [`reader`](Self::reader).
    pub fn view(&self) -> ViewRef {
        let mut hold = Hold::new(Arc::clone(&self.0.retired));
        hold.refresh(&self.0.outlet);
        ViewRef(hold)
    }

    /// A reader for one thread.
    pub fn reader(&self) -> Reader {
        Reader::new(self.clone(), Hold::new(Arc::clone(&self.0.retired)))
    }

    /// What was done so far for the view that this space has.
    ///
    /// # Errors
    ///
    /// [`Error::MemoryDropped`], [`Error::AddressSpaceDestroyed`].
    pub fn statistics(&self) -> Result<ViewStatistics, Error> {
        self.check_alive()?;
        Ok(self
            .shared()?
            .registry
            .lock()
            .statistics(self.0.id)
            .unwrap_or_default())
    }

    /// Where an access to `address` goes and how many of `size` bytes it reaches there (rule L17); `None` if
    /// nothing answers. IOMMU regions are answered for by the region itself.
    ///
    /// The length is cut at the end of the range for RAM only, that of devices included: an access to a device
    /// is delivered whole (rules K22, A11).
    pub fn translate(&self, address: u64, size: impl Into<Size>) -> Option<Translation> {
        let view = self.view();
        let range = view.find(address)?;
        let left = AddressRange::from_bounds(address, range.last())?.size();
        let size = size.into();
        let is_memory = range.region().kind().is_ram();
        Some(Translation {
            region: range.region().clone(),
            offset: range.offset_at(address),
            size: if is_memory { size.min(left) } else { size },
        })
    }

    /// Registers a listener. It hears at once of everything the space shows (rule F7), ioeventfds included
    /// (F8 is not copied).
    ///
    /// # Errors
    ///
    /// [`Error::NestedUpdate`], [`Error::MemoryDropped`], [`Error::AddressSpaceDestroyed`]; [`Error::Refused`]
    /// and [`Error::ListenerFailed`] if the listener does not take what is there: it has then heard the
    /// inverse and is not registered.
    pub fn register(&self, listener: Arc<dyn MemoryListener>) -> Result<Registration, Error> {
        let id = self.shared()?.register(self, &listener)?;
        Ok(Registration {
            space: self.clone(),
            id: Some(id),
        })
    }

    pub(crate) fn unregister(&self, id: ListenerId) -> Result<(), Error> {
        match self.0.memory.upgrade() {
            // A memory that is dropped has unregistered everybody.
            None => Ok(()),
            Some(shared) => shared.unregister(id),
        }
    }

    /// Destroys the space (rule H2): it shows nothing from now on.
    ///
    /// # Errors
    ///
    /// [`Error::AddressSpaceBusy`] if listeners are registered, [`Error::NestedUpdate`],
    /// [`Error::MemoryDropped`], [`Error::AddressSpaceDestroyed`].
    pub fn destroy(&self) -> Result<Receipt, Error> {
        let shared = self.shared()?;
        let number = shared.destroy_space(self)?;
        Ok(Receipt::new(&shared, number, ()))
    }

    /// Whether it was destroyed.
    pub fn is_destroyed(&self) -> bool {
        self.0.destroyed.load(Ordering::Acquire)
    }

    pub(crate) fn set_destroyed(&self) {
        self.0.destroyed.store(true, Ordering::Release);
    }

    /// # Errors
    ///
    /// [`Error::AddressSpaceDestroyed`].
    pub(crate) fn check_alive(&self) -> Result<(), Error> {
        match self.is_destroyed() {
            true => Err(Error::AddressSpaceDestroyed {
                space: self.name().into(),
            }),
            false => Ok(()),
        }
    }

    pub(crate) fn shared(&self) -> Result<Arc<Shared>, Error> {
        self.0.memory.upgrade().ok_or_else(|| Error::MemoryDropped {
            what: self.name().into(),
        })
    }
}

impl PartialEq for AddressSpace {
    fn eq(&self, other: &AddressSpace) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for AddressSpace {}

impl fmt::Debug for AddressSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AddressSpace({:?})", self.name())
    }
}

impl fmt::Debug for SpaceInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpaceInner({:?})", self.name)
    }
}

/// Where an access goes (rule L17).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Translation {
    /// Who answers.
    pub region: Region,
    /// Which byte of it, from its first.
    pub offset: u64,
    /// How many of the bytes asked for it reaches there.
    pub size: Size,
}

/// A view that is being looked at. It and the memory it shows stay until this is dropped, and receipts of
/// commits that replace it wait for that.
#[derive(Debug)]
pub struct ViewRef(Hold<FlatView>);

impl Deref for ViewRef {
    type Target = FlatView;

    fn deref(&self) -> &FlatView {
        self.0
            .held()
            .expect("a reference to a view is made with one and never gives it up")
    }
}
