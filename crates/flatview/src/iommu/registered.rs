//! The notifiers of one IOMMU region, and what the device is told of them.

use std::fmt;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use super::{IommuError, IommuEvents, IommuNotifier, IommuOps, IotlbEvent};
use crate::deliver::call;
use crate::primitive::{Condvar, Mutex, wait};
use crate::region::{Backing, Region, WeakRegion};

/// What is behind an IOMMU region.
pub(crate) struct Iommu {
    pub(crate) ops: Arc<dyn IommuOps>,
    /// Never held while the device or a notifier runs.
    state: Mutex<State>,
    /// Signalled when nobody tells the device any more.
    told: Condvar,
}

struct State {
    /// The newest first (rule O8). Who notifies goes through the list as it was when he began.
    notifiers: Arc<[Arc<IommuNotifier>]>,
    /// What the device was told last.
    told: IommuEvents,
    /// Who is telling it. He goes on until it was told what is wanted then.
    teller: Option<ThreadId>,
}

impl State {
    /// What the notifiers want together.
    fn wanted(&self) -> IommuEvents {
        let all = self.notifiers.iter();
        all.fold(IommuEvents::empty(), |all, notifier| all | notifier.events())
    }

    fn insert(&mut self, notifier: &Arc<IommuNotifier>) {
        let others = self.notifiers.iter();
        self.notifiers = std::iter::once(notifier).chain(others).cloned().collect();
    }

    fn remove(&mut self, notifier: &Arc<IommuNotifier>) {
        let others = self.notifiers.iter();
        self.notifiers = others
            .filter(|other| !Arc::ptr_eq(other, notifier))
            .cloned()
            .collect();
    }
}

impl Iommu {
    pub(crate) fn new(ops: Arc<dyn IommuOps>) -> Iommu {
        Iommu {
            ops,
            state: Mutex::new(State {
                notifiers: Arc::new([]),
                told: IommuEvents::empty(),
                teller: None,
            }),
            told: Condvar::new(),
        }
    }

    fn notifiers(&self) -> Arc<[Arc<IommuNotifier>]> {
        Arc::clone(&self.state.lock().notifiers)
    }

    fn register(&self, region: &Region, notifier: &Arc<IommuNotifier>) -> Result<(), IommuError> {
        let me = thread::current().id();
        let mut state = self.state.lock();
        while let Some(teller) = state.teller {
            if teller == me {
                return Err(IommuError::Nested {
                    region: region.name().into(),
                });
            }
            state = wait(&self.told, state);
        }
        // In the list first: nothing that happens once the device knows of it is missed.
        state.insert(notifier);
        let (old, new) = (state.told, state.wanted());
        if old == new {
            return Ok(());
        }
        state.teller = Some(me);
        drop(state);
        let answer = call(|| self.ops.notify_flag_changed(old, new));
        match answer {
            Ok(()) => self.state.lock().told = new,
            Err(_) => {
                self.state.lock().remove(notifier);
                notifier.end();
            }
        }
        self.settle();
        answer.map_err(|source| IommuError::Refused {
            region: region.name().into(),
            source,
        })
    }

    fn unregister(&self, notifier: &Arc<IommuNotifier>) {
        self.state.lock().remove(notifier);
        notifier.end();
        let mut state = self.state.lock();
        // Whoever tells the device now will find out.
        if state.teller.is_none() && state.told != state.wanted() {
            state.teller = Some(thread::current().id());
            drop(state);
            self.settle();
        }
    }

    /// Lets this thread, which is the teller, tell the device what has changed meanwhile, and be it no longer.
    fn settle(&self) {
        loop {
            let mut state = self.state.lock();
            let (old, new) = (state.told, state.wanted());
            if old == new {
                state.teller = None;
                break;
            }
            state.told = new;
            drop(state);
            // Somebody has left, and nobody is there to hear of an error (rule O9).
            let _ = call(|| self.ops.notify_flag_changed(old, new));
        }
        self.told.notify_all();
    }
}

impl Region {
    /// The IOMMU at the end of a chain of aliases.
    pub(super) fn iommu(&self) -> Result<&Iommu, IommuError> {
        match self.alias_end().backing() {
            Backing::Iommu(iommu) => Ok(iommu),
            _ => Err(IommuError::NotAnIommu {
                region: self.name().into(),
            }),
        }
    }

    /// Registers a notifier with an IOMMU region (rule O8). Of an alias, its target is meant, and the notifier's
    /// range are offsets in that.
    ///
    /// The notifier hears what changes from now on, and may do so before this returns;
    /// [`IommuRegistration::replay`] tells it what is mapped already. The region keeps it, and takes it along when it
    /// goes.
    ///
    /// # Errors
    ///
    /// [`IommuError::NotAnIommu`], [`IommuError::NoEvents`], [`IommuError::NoSuchIndex`]; [`IommuError::Refused`] if
    /// the device cannot tell of such events; [`IommuError::Nested`] from within the device's
    /// [`notify_flag_changed`](IommuOps::notify_flag_changed).
    pub fn register_iommu_notifier(&self, notifier: IommuNotifier) -> Result<IommuRegistration, IommuError> {
        let iommu = self.iommu()?;
        let region = self.alias_end();
        if notifier.events().is_empty() {
            return Err(IommuError::NoEvents {
                region: region.name().into(),
            });
        }
        let (index, indexes) = (notifier.index(), iommu.ops.num_indexes());
        if index >= indexes {
            return Err(IommuError::NoSuchIndex {
                region: region.name().into(),
                index,
                indexes,
            });
        }
        let notifier = Arc::new(notifier);
        iommu.register(region, &notifier)?;
        Ok(IommuRegistration {
            region: region.downgrade(),
            notifier,
        })
    }

    /// The notifiers of an IOMMU region, the newest first. Of an alias, its target is meant.
    ///
    /// # Errors
    ///
    /// [`IommuError::NotAnIommu`].
    pub fn iommu_notifiers(&self) -> Result<Vec<Arc<IommuNotifier>>, IommuError> {
        Ok(self.iommu()?.notifiers().to_vec())
    }

    /// Tells all notifiers of the table with this index (rule O10): what the device does, on any thread, after its
    /// tables have changed. A device keeps its region as a [`WeakRegion`](crate::WeakRegion).
    ///
    /// No lock is held while the notifiers run.
    ///
    /// # Errors
    ///
    /// [`IommuError::NotAnIommu`]; the first that [`IommuNotifier::notify`] says, after all were told.
    pub fn notify_iommu(&self, index: u32, event: &IotlbEvent) -> Result<(), IommuError> {
        let notifiers = self.iommu()?.notifiers();
        let mut result = Ok(());
        for notifier in notifiers.iter().filter(|notifier| notifier.index() == index) {
            result = result.and(notifier.notify(event));
        }
        result
    }
}

/// A notifier that is registered. Dropping this unregisters it (rule O9).
///
/// When it is unregistered no callback begins any more. One that runs on another thread is waited for: who
/// unregisters must hold nothing that a callback waits for. Listeners unregister within updates, so a callback must
/// not wait for an update.
#[must_use = "dropping a registration unregisters the notifier"]
pub struct IommuRegistration {
    pub(super) region: WeakRegion,
    pub(super) notifier: Arc<IommuNotifier>,
}

impl IommuRegistration {
    /// The notifier.
    pub fn notifier(&self) -> &IommuNotifier {
        &self.notifier
    }

    /// Unregisters the notifier, as dropping this does.
    pub fn unregister(self) {}
}

impl Drop for IommuRegistration {
    fn drop(&mut self) {
        match self.region.upgrade() {
            Some(region) => {
                if let Ok(iommu) = region.iommu() {
                    iommu.unregister(&self.notifier);
                }
            }
            // Nobody may notify any more, but somebody may be about to.
            None => self.notifier.end(),
        }
    }
}

impl fmt::Debug for IommuRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IommuRegistration").field(&self.notifier).finish()
    }
}
