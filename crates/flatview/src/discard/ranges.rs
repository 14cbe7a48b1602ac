//! A manager that is ready to use: which parts are populated, and who is told.

use std::fmt;
use std::sync::Arc;

use super::set::RangeSet;
use super::{
    RamDiscardError, RamDiscardListener, RamDiscardListenerId, RamDiscardManager, RamParts, RamSection,
};
use crate::address::AddressRange;
use crate::deliver::{call, caught};
use crate::listener::ListenerResult;
use crate::primitive::Mutex;
use crate::thread_lock::{ThreadLock, ThreadLockGuard};

/// Which parts of a RAM region are populated. Nothing is, at first.
///
/// The owner keeps it, attaches it to a region with
/// [`Region::set_ram_discard_manager`](crate::Region::set_ram_discard_manager), and calls
/// [`populate`](Self::populate) and [`discard`](Self::discard) as pieces come and go. It works on the memory itself:
/// before it populates it makes sure that memory can be had, and if that is refused it gives the memory back;
/// QEMU's virtio-mem gives memory back before it calls what is `discard` here, since that may fail (rules S4, S5).
///
/// Changes take turns, whole callbacks included. Questions wait for nobody.
///
/// ```
/// use std::sync::Arc;
/// use flatview::{AddressRange, Memory, PopulatedRanges, RamBlock, RamDiscardManager};
/// let memory = Memory::new();
/// let ram = memory.region("vmem").ram(RamBlock::unbacked(0x100_0000));
/// let plugged = Arc::new(PopulatedRanges::new(0x100_0000, 0x20_0000)?);
/// ram.set_ram_discard_manager(Some(plugged.clone()))?;
///
/// let piece = AddressRange::from_bounds(0x20_0000, 0x5f_ffff).unwrap();
/// plugged.populate(piece)?;
/// assert!(ram.ram_discard_manager().unwrap().is_populated(piece));
/// plugged.discard(piece)?;
/// assert!(!plugged.is_populated(piece));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PopulatedRanges {
    granularity: u64,
    size: u64,
    /// Whose turn it is to change things. Held while listeners run.
    turn: ThreadLock,
    /// Never held while a listener runs.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    populated: RangeSet,
    /// In order of registration.
    listeners: Vec<Entry>,
    next_id: u64,
    /// To be unregistered when the turn is over.
    leaving: Vec<RamDiscardListenerId>,
}

#[derive(Clone)]
struct Entry {
    id: RamDiscardListenerId,
    section: RamSection,
    listener: Arc<dyn RamDiscardListener>,
}

impl Entry {
    /// Tells of `parts` as far as they lie in the section. If one is refused, those before it are taken back.
    fn populate(&self, parts: &[AddressRange]) -> ListenerResult {
        let sections: Vec<_> = self.sections(parts).collect();
        for (told, section) in sections.iter().enumerate() {
            let answer = call(|| self.listener.notify_populate(*section));
            if answer.is_err() {
                for section in sections[..told].iter().rev() {
                    self.tell_discarded(*section);
                }
                return answer;
            }
        }
        Ok(())
    }

    fn discard(&self, parts: &[AddressRange]) {
        for section in self.sections(parts) {
            self.tell_discarded(section);
        }
    }

    /// Nobody can refuse this, and who panics keeps nobody else from hearing it.
    fn tell_discarded(&self, section: RamSection) {
        let _ = caught(|| self.listener.notify_discard(section));
    }

    fn sections(&self, parts: &[AddressRange]) -> impl Iterator<Item = RamSection> {
        parts.iter().filter_map(|part| self.section.part(*part))
    }
}

impl PopulatedRanges {
    /// For RAM of `size` bytes, in pieces of `granularity` bytes.
    ///
    /// # Errors
    ///
    /// [`RamDiscardError::BadGranularity`] if that is no power of two, or `size` is no multiple of it.
    pub fn new(size: u64, granularity: u64) -> Result<PopulatedRanges, RamDiscardError> {
        if !granularity.is_power_of_two() || !size.is_multiple_of(granularity) {
            return Err(RamDiscardError::BadGranularity { size, granularity });
        }
        Ok(PopulatedRanges {
            granularity,
            size,
            turn: ThreadLock::default(),
            state: Mutex::new(State::default()),
        })
    }

    /// Populates `bytes`: listeners hear of what is not populated yet, in order of registration, then it is.
    ///
    /// # Errors
    ///
    /// [`RamDiscardError::BadRange`], [`RamDiscardError::Nested`]; [`RamDiscardError::Refused`] if a listener
    /// refuses: those who were told have then heard that it is discarded, the last one first, and nothing is changed.
    pub fn populate(&self, bytes: AddressRange) -> Result<(), RamDiscardError> {
        self.check(bytes)?;
        let _turn = self.turn()?;
        let (parts, listeners) = {
            let state = self.state.lock();
            (state.populated.gaps(bytes), state.listeners.clone())
        };
        for (told, entry) in listeners.iter().enumerate() {
            if let Err(source) = entry.populate(&parts) {
                for entry in listeners[..told].iter().rev() {
                    entry.discard(&parts);
                }
                return Err(RamDiscardError::Refused { source });
            }
        }
        self.state.lock().populated.insert(bytes);
        Ok(())
    }

    /// Discards `bytes`: from now on nothing of it is populated, and listeners hear of what was. Those who support
    /// it hear of `bytes` as a whole, if anything of it was (rule S7).
    ///
    /// # Errors
    ///
    /// [`RamDiscardError::BadRange`], [`RamDiscardError::Nested`].
    pub fn discard(&self, bytes: AddressRange) -> Result<(), RamDiscardError> {
        self.check(bytes)?;
        let _turn = self.turn()?;
        let (parts, listeners) = {
            let mut state = self.state.lock();
            let parts: Vec<_> = state.populated.runs(bytes).collect();
            // First, so that nobody who asks shows it any more.
            state.populated.remove(bytes);
            (parts, state.listeners.clone())
        };
        for entry in listeners.iter().filter(|_| !parts.is_empty()) {
            match entry.listener.double_discard_supported() {
                true => entry.discard(&[bytes]),
                false => entry.discard(&parts),
            }
        }
        Ok(())
    }

    /// The populated parts within `bytes`, ascending; neighbours are one.
    pub fn populated(&self, bytes: AddressRange) -> Vec<AddressRange> {
        self.state.lock().populated.runs(bytes).collect()
    }

    fn check(&self, bytes: AddressRange) -> Result<(), RamDiscardError> {
        let below = self.granularity - 1;
        // The last byte of a piece has ones there.
        let is_whole = bytes.start() & below == 0 && bytes.last() & below == below;
        match is_whole && bytes.last() < self.size {
            true => Ok(()),
            false => Err(RamDiscardError::BadRange {
                start: bytes.start(),
                last: bytes.last(),
                granularity: self.granularity,
                size: self.size,
            }),
        }
    }

    /// Waits for other threads' turns.
    fn turn(&self) -> Result<Turn<'_>, RamDiscardError> {
        Ok(Turn {
            _held: self.turn.enter().ok_or(RamDiscardError::Nested)?,
            manager: self,
        })
    }

    /// In this thread's turn.
    fn unregister(&self, id: RamDiscardListenerId) {
        let mut state = self.state.lock();
        let place = state.listeners.iter().position(|entry| entry.id == id);
        let Some(entry) = place.map(|place| state.listeners.remove(place)) else {
            return;
        };
        let populated: Vec<_> = state.populated.runs(entry.section.bytes()).collect();
        drop(state);
        entry.discard(&populated);
    }
}

/// The right to change a manager, and to call its listeners.
struct Turn<'a> {
    _held: ThreadLockGuard<'a>,
    manager: &'a PopulatedRanges,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Only what runs in this turn puts somebody there, so nobody comes once the list is found empty.
        loop {
            let leaving = std::mem::take(&mut self.manager.state.lock().leaving);
            if leaving.is_empty() {
                break;
            }
            for id in leaving {
                self.manager.unregister(id);
            }
        }
    }
}

impl RamDiscardManager for PopulatedRanges {
    fn min_granularity(&self) -> u64 {
        self.granularity
    }

    fn is_populated(&self, bytes: AddressRange) -> bool {
        self.state.lock().populated.contains(bytes)
    }

    fn replay_populated(&self, bytes: AddressRange, each: &mut RamParts<'_>) -> ListenerResult {
        self.populated(bytes).into_iter().try_for_each(each)
    }

    fn replay_discarded(&self, bytes: AddressRange, each: &mut RamParts<'_>) -> ListenerResult {
        let gaps = self.state.lock().populated.gaps(bytes);
        gaps.into_iter().try_for_each(each)
    }

    fn register_listener(
        &self,
        section: RamSection,
        listener: Arc<dyn RamDiscardListener>,
    ) -> Result<RamDiscardListenerId, RamDiscardError> {
        let _turn = self.turn()?;
        let (entry, populated) = {
            let mut state = self.state.lock();
            state.next_id += 1;
            let entry = Entry {
                id: RamDiscardListenerId(state.next_id),
                section,
                listener,
            };
            (entry, Vec::from_iter(state.populated.runs(section.bytes())))
        };
        entry
            .populate(&populated)
            .map_err(|source| RamDiscardError::Refused { source })?;
        let id = entry.id;
        self.state.lock().listeners.push(entry);
        Ok(id)
    }

    /// From within a callback, the listener leaves when the change is over.
    fn unregister_listener(&self, id: RamDiscardListenerId) {
        match self.turn() {
            Ok(_turn) => self.unregister(id),
            Err(_) => self.state.lock().leaving.push(id),
        }
    }
}

impl fmt::Debug for PopulatedRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PopulatedRanges")
            .field("size", &self.size)
            .field("granularity", &self.granularity)
            .field("populated", &self.populated(AddressRange::ALL))
            .finish_non_exhaustive()
    }
}
