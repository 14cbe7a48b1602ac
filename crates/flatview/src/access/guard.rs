//! The re-entrancy guard: which devices this thread is in the middle of.
//!
//! A device that reaches its own registers from within an access, by DMA that the guest pointed there, was the
//! cause of many holes (rule K12). Here every device is guarded, for each thread: a device that this thread is
//! already in is not entered again, while two vCPUs may be in one device at the same time.

use std::cell::Cell;
use std::marker::PhantomData;

use crate::region::Owner;

/// How many devices may be in the middle of accesses to each other. Bounds the depth of the stack, too.
const MAX_DEPTH: usize = 16;

/// In the place of an engagement that ended before those that began later; nobody's address.
const LEFT: usize = usize::MAX;

struct Engaged {
    depth: Cell<usize>,
    /// Whom this thread is in: addresses of owners and regions, which are alive meanwhile; 0 for who opted out.
    keys: [Cell<usize>; MAX_DEPTH],
}

thread_local! {
    static ENGAGED: Engaged = const {
        Engaged {
            depth: Cell::new(0),
            keys: [const { Cell::new(0) }; MAX_DEPTH],
        }
    };
}

/// As long as it lives, this thread is in a device.
#[derive(Debug)]
#[must_use = "the device is left when this is dropped"]
pub struct Engagement {
    /// Its place among the keys.
    place: usize,
    /// Kept, so that nobody else gets the same key meanwhile; regions that are accessed are kept by the view.
    owner: Option<Owner>,
    /// It belongs to its thread.
    _not_send: PhantomData<*const ()>,
}

impl Engagement {
    /// Enters what `key` stands for, unless this thread is in it already or in too many others.
    #[inline]
    pub(crate) fn new(key: usize) -> Option<Engagement> {
        ENGAGED.with(|engaged| {
            let depth = engaged.depth.get();
            let place = engaged.keys.get(depth)?;
            if key != 0 && engaged.keys[..depth].iter().any(|other| other.get() == key) {
                return None;
            }
            place.set(key);
            engaged.depth.set(depth + 1);
            Some(Engagement {
                place: depth,
                owner: None,
                _not_send: PhantomData,
            })
        })
    }

    /// As [`new`](Self::new), for work that no region is accessed for.
    pub(crate) fn of(owner: &Owner) -> Option<Engagement> {
        let mut engagement = Engagement::new(owner.guard_key())?;
        engagement.owner = Some(owner.clone());
        Some(engagement)
    }
}

impl Drop for Engagement {
    #[inline]
    fn drop(&mut self) {
        ENGAGED.with(|engaged| {
            // Those of `Owner::engage` can end in any order.
            if self.place + 1 < engaged.depth.get() {
                engaged.keys[self.place].set(LEFT);
                return;
            }
            let mut depth = self.place;
            while depth > 0 && engaged.keys[depth - 1].get() == LEFT {
                depth -= 1;
            }
            engaged.depth.set(depth);
        });
    }
}

/// Whether this thread is in a device.
pub(crate) fn is_engaged() -> bool {
    ENGAGED.with(|engaged| engaged.depth.get() > 0)
}
