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

/// As long as it lives, this thread is in a device: what [`Owner::engage`] returns.
#[derive(Debug)]
#[must_use = "the device is left when this is dropped"]
pub struct Engagement {
    #[expect(dead_code, reason = "kept for its drop")]
    engaged: Engaging,
    /// Kept, so that nobody else gets the same key meanwhile. Regions that are accessed are kept by the view.
    #[expect(dead_code, reason = "kept for what it keeps alive")]
    owner: Owner,
}

impl Engagement {
    pub(crate) fn new(owner: &Owner) -> Option<Engagement> {
        Some(Engagement {
            engaged: Engaging::new(owner.guard_key())?,
            owner: owner.clone(),
        })
    }
}

/// As long as it lives, this thread is in a device.
#[derive(Debug)]
#[must_use = "the device is left when this is dropped"]
pub(crate) struct Engaging {
    /// Its place among the keys.
    place: usize,
    /// It belongs to its thread.
    not_send: PhantomData<*const ()>,
}

impl Engaging {
    /// Enters what `key` stands for, unless this thread is in it already or in too many others.
    #[inline]
    pub(crate) fn new(key: usize) -> Option<Engaging> {
        ENGAGED.with(|engaged| {
            let place = engaged.depth.get();
            if place != 0 && !engaged.may_enter(key) {
                return None;
            }
            engaged.keys[place % MAX_DEPTH].set(key);
            engaged.depth.set(place + 1);
            Some(Engaging {
                place,
                not_send: PhantomData,
            })
        })
    }
}

impl Engaged {
    #[inline(never)]
    fn may_enter(&self, key: usize) -> bool {
        let entered = self.keys.iter().take(self.depth.get());
        self.depth.get() < MAX_DEPTH && (key == 0 || entered.into_iter().all(|other| other.get() != key))
    }

    /// Those of [`Owner::engage`] can end in any order.
    #[inline(never)]
    fn leave(&self, place: usize) {
        if place + 1 < self.depth.get() {
            self.keys[place].set(LEFT);
            return;
        }
        let mut depth = place;
        while depth > 0 && self.keys[depth - 1].get() == LEFT {
            depth -= 1;
        }
        self.depth.set(depth);
    }
}

impl Drop for Engaging {
    #[inline]
    fn drop(&mut self) {
        ENGAGED.with(|engaged| match (self.place, engaged.depth.get()) {
            (0, 1) => engaged.depth.set(0),
            (place, _) => engaged.leave(place),
        });
    }
}

/// Whether this thread is in a device.
pub(crate) fn is_engaged() -> bool {
    ENGAGED.with(|engaged| engaged.depth.get() > 0)
}
