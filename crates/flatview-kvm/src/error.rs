//! What can go wrong.

use std::io;
use std::path::PathBuf;

use flatview_accel::AccelError;
use thiserror::Error;

use crate::{Bus, SlotFlags};

/// Why KVM, or this crate, did not do what it was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KvmError {
    /// There is no KVM here, or this user may not use it.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The device.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A kernel with another interface.
    #[error("KVM has version {version} of its interface, not 12")]
    ApiVersion {
        /// Its version.
        version: i32,
    },
    /// The kernel, or the processor, cannot do it.
    #[error("this KVM has no {capability}, which {what} needs")]
    Lacks {
        /// Its name in the kernel: `KVM_CAP_…`.
        capability: &'static str,
        /// What was asked for.
        what: &'static str,
    },
    /// An option cannot have this value.
    #[error("{option} cannot be {value}: {why}")]
    BadOption {
        /// The option.
        option: &'static str,
        /// What it was to be.
        value: u64,
        /// The reason.
        why: &'static str,
    },
    /// An ioctl failed.
    #[error("{ioctl}: {source}")]
    Ioctl {
        /// Its name.
        ioctl: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
    /// A vCPU of KVM does not count instructions, so it cannot drive a clock that does.
    #[error("the clock counts instructions, and KVM does not")]
    CountedClock,
    /// This KVM shut the vCPU down instead of stepping over one instruction in user mode. The vCPU is as it was before.
    #[error("this KVM cannot single-step at privilege level {cpl}")]
    CannotStep {
        /// The privilege level.
        cpl: u8,
    },
    /// A memory slot was refused.
    #[error(
        "KVM_SET_USER_MEMORY_REGION of slot {slot}, {size:#x} bytes at {gpa:#x} from {host_address:#x}, flags {flags:?}: {source}"
    )]
    SetMemoryRegion {
        /// Its number, with that of the address space in bits 16 and up.
        slot: u32,
        /// Where the guest was to see it.
        gpa: u64,
        /// Its bytes; 0: it was to be deleted.
        size: u64,
        /// Where its memory is in this process.
        host_address: usize,
        /// Its flags.
        flags: SlotFlags,
        /// What the kernel says.
        source: io::Error,
    },
    /// A change needs more slots than there can be.
    #[error("{needed} memory slots are needed, and KVM has {most}")]
    NoFreeSlots {
        /// How many.
        needed: usize,
        /// How many there can be.
        most: usize,
    },
    /// An ioeventfd was refused.
    #[error(
        "KVM_IOEVENTFD of {} at {address:#x} of {bus}{}: {source}",
        if *length == 0 { "any length".into() } else { format!("{length} bytes") },
        data.map(|data| format!(", value {data:#x}")).unwrap_or_default()
    )]
    IoEventFd {
        /// Where.
        bus: Bus,
        /// The address that is written to.
        address: u64,
        /// The bytes of a write; 0: any length.
        length: u32,
        /// The value that is written; `None`: any.
        data: Option<u64>,
        /// What the kernel says: `EEXIST` if there is one already that the same write would signal.
        source: io::Error,
    },
    /// A route of an interrupt makes no sense.
    #[error("the route of GSI {gsi}: {why}")]
    BadRoute {
        /// The global system interrupt.
        gsi: u32,
        /// The reason.
        why: &'static str,
    },
    /// There are more routes of interrupts than there can be.
    #[error("{needed} routes of interrupts are needed, and KVM has {most}")]
    NoFreeRoutes {
        /// How many.
        needed: usize,
        /// How many there can be.
        most: usize,
    },
    /// An irqfd was refused.
    #[error("KVM_IRQFD of GSI {gsi}: {source}")]
    IrqFd {
        /// The global system interrupt.
        gsi: u32,
        /// What the kernel says.
        source: io::Error,
    },
    /// A change failed half way, and so did taking its first half back. The slots that the kernel has are those that
    /// [`KvmAccelerator::slots`](crate::KvmAccelerator::slots) tells.
    #[error("{failure}; what was done before could not be taken back: {rollback}")]
    NotTakenBack {
        /// Why the change failed.
        failure: Box<KvmError>,
        /// Why it could not be taken back.
        rollback: Box<KvmError>,
    },
    /// The virtual machine follows other address spaces already.
    #[error("the virtual machine follows the address spaces {has:?}, and cannot follow {asked:?}")]
    OtherSpaces {
        /// Those that it follows: memory, perhaps memory in system management mode, ports.
        has: Box<[Box<str>]>,
        /// Those that it was to follow.
        asked: Box<[Box<str>]>,
    },
}

impl From<KvmError> for AccelError {
    fn from(error: KvmError) -> AccelError {
        AccelError::Host {
            what: "KVM",
            source: io::Error::other(error),
        }
    }
}

impl KvmError {
    /// The failure of `ioctl`.
    pub(crate) fn of(ioctl: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> KvmError {
        move |error| KvmError::failed(ioctl)(io::Error::from_raw_os_error(error.errno()))
    }

    /// The failure of `ioctl`, which is ours.
    pub(crate) fn failed(ioctl: &'static str) -> impl FnOnce(io::Error) -> KvmError {
        move |source| KvmError::Ioctl { ioctl, source }
    }
}
