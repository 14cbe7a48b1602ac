//! A device that writes down who accesses it.

use std::sync::Mutex;

use flatview::{MemTxAttrs, MemTxError, MemoryRegionOps};

/// Notes the attributes of all accesses that reach it, and takes those that it is made to take.
pub(crate) struct Noting {
    takes: fn(MemTxAttrs) -> bool,
    noted: Mutex<Vec<MemTxAttrs>>,
}

impl Noting {
    pub(crate) fn new(takes: fn(MemTxAttrs) -> bool) -> Noting {
        Noting {
            takes,
            noted: Mutex::default(),
        }
    }

    /// What was noted since the last time.
    pub(crate) fn take(&self) -> Vec<MemTxAttrs> {
        std::mem::take(&mut *self.noted.lock().expect("nobody panics"))
    }

    fn note(&self, attrs: MemTxAttrs) {
        self.noted.lock().expect("nobody panics").push(attrs);
    }
}

impl MemoryRegionOps for Noting {
    fn read(&self, _: u64, _: u32, attrs: MemTxAttrs) -> Result<u64, MemTxError> {
        self.note(attrs);
        Ok(0)
    }

    fn write(&self, _: u64, _: u32, _: u64, attrs: MemTxAttrs) -> Result<(), MemTxError> {
        self.note(attrs);
        Ok(())
    }

    fn accepts(&self, _: u64, _: u32, _: bool, attrs: MemTxAttrs) -> bool {
        (self.takes)(attrs)
    }
}
