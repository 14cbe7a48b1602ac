//! What was asked of the kernel, and how often.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How often the kernel was asked for something since the virtual machine was made, and why vCPUs came out.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Statistics {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Statistics {
            /// Each of them with its name.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> Statistics {
                Statistics { $($name: self.$name.get(),)* }
            }
        }
    };
}

counters! {
    /// Slots made: `KVM_SET_USER_MEMORY_REGION`.
    slots_created,
    /// Slots deleted: `KVM_SET_USER_MEMORY_REGION`.
    slots_deleted,
    /// Slots whose flags were changed in place: `KVM_SET_USER_MEMORY_REGION`.
    slots_changed,
    /// Changes of the map for which vCPUs were kept out.
    keep_outs,
    /// vCPUs that a signal was sent to.
    kicks,
    /// `KVM_GET_DIRTY_LOG`.
    dirty_logs_read,
    /// `KVM_CLEAR_DIRTY_LOG`.
    dirty_logs_cleared,
    /// Entries taken from dirty rings.
    dirty_ring_entries,
    /// `KVM_RESET_DIRTY_RINGS`.
    dirty_rings_reset,
    /// `KVM_IOEVENTFD` that made or deleted one.
    ioeventfds,
    /// `KVM_REGISTER_COALESCED_MMIO` and `KVM_UNREGISTER_COALESCED_MMIO`.
    coalesced_zones,
    /// Writes taken from the coalesced ring.
    coalesced_writes,
    /// `KVM_RUN`.
    runs,
    /// Exits for `IN`, `OUT` and their string forms.
    io_exits,
    /// Exits for memory that is no slot, or that is read-only.
    mmio_exits,
    /// Exits for `HLT`.
    hlt_exits,
    /// Exits because interrupts can be taken now.
    irq_window_exits,
    /// Exits because of a signal, or before anything was executed.
    interrupted_exits,
    /// Exits because the kernel could not emulate an instruction.
    emulation_failures,
}

/// One of them.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
