//! Listeners that are ready to use.
//!
//! Each of them is built on [`MemoryListener`](crate::MemoryListener) alone, as yours would be, and shows a
//! way to write one:
//!
//! | listener | what it keeps | how it follows the map |
//! |---|---|---|
//! | [`RecordingListener`] | every callback, for tests; it can fail on demand | takes note |
//! | [`LoggingListener`] | nothing; every callback becomes a [`tracing`] event | tells |
//! | [`VhostListener`] | the memory table of a vhost device (rules X1 to X5) | decides in `prepare`, acts in `commit` |
//! | [`VfioListener`] | the DMA mappings of a VFIO container (rules X7 to X10) | acts at once, takes back in `abort` |
//! | [`GuestMemoryDump`] | the RAM that a dump would write (rule X15) | joins, looks, leaves |
//!
//! # Which way for yours
//!
//! *Decide in `prepare`, act in `commit`* suits whatever is replaced as a whole or can run out: slots, tables.
//! [`prepare`](crate::MemoryListener::prepare) has the whole new view, so the refusal comes before anybody has
//! done anything, and `abort` only has to forget.
//!
//! *Act at once* suits whatever maps and unmaps range by range.
//! [`region_add`](crate::MemoryListener::region_add) and [`region_del`](crate::MemoryListener::region_del) must
//! then be exact inverses, because that is how a change is taken back.
//!
//! A listener that keeps a picture of its space, as these do, is registered on one space only, once (rule
//! F10).
//!
//! ```
//! use std::sync::Arc;
//! use flatview::listeners::{EventLog, RecordingListener};
//! use flatview::{Memory, RamBlock, Size};
//!
//! let memory = Memory::new();
//! let system = memory.region("system").container(Size::MAX);
//! let ram = memory.region("ram").ram(RamBlock::unbacked(0x1000));
//! let space = memory.create_address_space("memory", &system)?;
//!
//! let log = EventLog::new();
//! let _registration = space.register(Arc::new(RecordingListener::new("kvm", &log)))?;
//! log.take();
//!
//! memory.update(|tx| tx.add_subregion(&system, 0x8000, &ram))?;
//! assert_eq!(
//!     log.take_text(),
//!     "kvm.prepare -0 +1\n\
//!      kvm.begin\n\
//!      kvm.region_add 0x8000-0x8fff ram@0x0\n\
//!      kvm.commit\n",
//! );
//! # Ok::<(), flatview::Error>(())
//! ```

mod dma;
mod dump;
#[cfg(test)]
mod fixture;
mod host;
mod logging;
mod record;
mod recording;
mod vfio;
mod vhost;
mod vhost_table;

pub use dma::{DmaMapper, DmaMapping};
pub use dump::{GuestMemoryDump, GuestPhysBlock};
pub use host::HostMemory;
pub use logging::LoggingListener;
pub use record::{Callback, Detail, Record, SectionRecord};
pub use recording::{EventLog, InjectedFailure, RecordingListener};
pub use vfio::{VfioError, VfioListener};
pub use vhost::{VhostBackend, VhostError, VhostListener, VhostRing};
pub use vhost_table::VhostMemoryRegion;
