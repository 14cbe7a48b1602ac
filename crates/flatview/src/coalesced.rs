//! Coalesced writes: collected by an accelerator, delivered before anything that could tell the difference.
//!
//! Listeners hear which writes may be collected (rules J1 to J7). Who collects them keeps them in a ring, in their
//! order (rule J11). The loop of each vCPU drains the ring before it dispatches an exit, so whatever the guest does
//! after a collected write comes after it; other threads that have to see all writes, those that draw a screen for
//! instance, drain it, too. Nothing is drained behind anybody's back: beginning a transaction, or an access, never
//! dispatches writes of somebody else (unlike rule J5).

use std::fmt;
use std::sync::Arc;

use crate::access::MemTxAttrs;
use crate::memory::Memory;
use crate::primitive::Mutex;
use crate::space::AddressSpace;
use crate::thread_lock::ThreadLock;

/// A write that was collected.
#[derive(Clone, Debug)]
pub struct CoalescedWrite {
    space: AddressSpace,
    address: u64,
    bytes: [u8; 8],
    len: usize,
}

impl CoalescedWrite {
    /// A write of `bytes` at `address`; of more than eight, the first eight.
    pub fn new(space: &AddressSpace, address: u64, bytes: &[u8]) -> CoalescedWrite {
        let len = bytes.len().min(8);
        let mut all = [0; 8];
        all[..len].copy_from_slice(&bytes[..len]);
        CoalescedWrite {
            space: space.clone(),
            address,
            bytes: all,
            len,
        }
    }
}

/// Where an accelerator keeps the writes that it collected: KVM's ring, for one.
pub trait CoalescedRing: Send + Sync {
    /// Takes out the oldest write.
    fn take(&self) -> Option<CoalescedWrite>;
}

/// Who collects, and who delivers.
#[derive(Default)]
pub(crate) struct Coalesced {
    ring: Mutex<Option<Arc<dyn CoalescedRing>>>,
    draining: ThreadLock,
}

impl Memory {
    /// Says where collected writes are; `None`: nobody collects any more. Returns where they were before.
    pub fn set_coalesced_ring(&self, ring: Option<Arc<dyn CoalescedRing>>) -> Option<Arc<dyn CoalescedRing>> {
        std::mem::replace(&mut *self.shared().coalesced.ring.lock(), ring)
    }

    /// Delivers all writes that were collected, in their order, and returns how many. What devices answer is lost, as
    /// it is for the guest (rule J9).
    ///
    /// Called by the loop of a vCPU before it dispatches an exit, and by whoever has to see all writes. Waits for
    /// another thread that is delivering, so that the order is kept: hold no lock that a device takes. Within a
    /// delivery, from a device that is written to, it does nothing (rule J9).
    pub fn drain_coalesced(&self) -> usize {
        let coalesced = &self.shared().coalesced;
        let Some(_draining) = coalesced.draining.enter() else {
            return 0;
        };
        let Some(ring) = coalesced.ring.lock().clone() else {
            return 0;
        };
        let mut count = 0;
        while let Some(write) = ring.take() {
            let CoalescedWrite {
                space,
                address,
                bytes,
                len,
            } = &write;
            let _ = space.write(*address, &bytes[..*len], MemTxAttrs::UNSPECIFIED);
            count += 1;
        }
        count
    }
}

impl fmt::Debug for Coalesced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Coalesced")
    }
}
