//! What an access to a device is: its attributes, its result, the rules a device declares for it.
//!
//! The names are QEMU's (`MemTxAttrs`, `MemTxResult`, `MemoryRegionOps`); rules K3 to K18.

mod answer;
mod api;
mod cache;
mod dispatch;
mod guard;
mod map;
mod registers;
mod transfer;
mod walk;

use core::fmt;
use std::sync::{Mutex, PoisonError};

use bitflags::bitflags;

pub(crate) use answer::{Answer, Intent, Look, answer};
pub use cache::MemoryRegionCache;
pub(crate) use dispatch::Device;
pub use guard::Engagement;
pub(crate) use guard::Engaging;
pub(crate) use guard::is_engaged;
pub(crate) use map::Bounce;
pub use map::{MapError, Mapping};
pub use registers::{RegisterError, RegisterHandler, RegisterInfo, RegisterMap};

/// Who makes an access, and how (rule K16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MemTxAttrs {
    /// Nothing is known about the access; all other fields are meaningless.
    pub unspecified: bool,
    /// A secure access: TrustZone on Arm, system management mode on x86.
    pub secure: bool,
    /// The access comes from user mode.
    pub user: bool,
    /// Only RAM may answer: anything else is an access error (rule K17).
    pub memory: bool,
    /// A debugger's access: it may write ROM (rule K18).
    pub debug: bool,
    /// The Arm security space, 0 to 3.
    pub space: u8,
    /// The bus master: a PCI requester id (bus, device, function).
    pub requester_id: u16,
    /// The process address space of the bus master.
    pub pid: u8,
}

impl MemTxAttrs {
    /// An access of which nothing is known.
    pub const UNSPECIFIED: MemTxAttrs = MemTxAttrs {
        unspecified: true,
        secure: false,
        user: false,
        memory: false,
        debug: false,
        space: 0,
        requester_id: 0,
        pid: 0,
    };
}

bitflags! {
    /// Why an access failed; the bits of QEMU's `MemTxResult` (rule K15).
    ///
    /// The results of the pieces of one access are OR-ed together (rule K14), so several may be set.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct MemTxError: u8 {
        /// The device says that the access failed.
        const ERROR = 1;
        /// Nothing answers at this address, or not to this size or direction.
        const DECODE_ERROR = 2;
        /// The access is not allowed.
        const ACCESS_ERROR = 4;
    }
}

impl fmt::Display for MemTxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bitflags::parser::to_writer(self, f)
    }
}

impl std::error::Error for MemTxError {}

/// The byte order of a device's registers (rule K9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Endianness {
    /// Least significant byte first.
    #[default]
    Little,
    /// Most significant byte first.
    Big,
}

/// Which sizes and alignments of access are meant (rules K3, K7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AccessSizes {
    /// The smallest access, in bytes.
    pub min: u8,
    /// The largest access, in bytes.
    pub max: u8,
    /// Whether an access may start at an offset that is no multiple of its size.
    pub unaligned: bool,
}

/// The accesses a device takes, and those it implements; the core splits and combines between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AccessRules {
    /// What the guest may do; anything else is refused before the device sees it. `None`: any size,
    /// aligned (QEMU's `valid.max_access_size == 0`, rule K3).
    pub valid: Option<AccessSizes>,
    /// What the device's callbacks handle; a `max` of 0 means 4 (rule K7).
    pub implemented: AccessSizes,
    /// The device's byte order.
    pub endianness: Endianness,
}

impl AccessRules {
    /// Every access of up to 8 bytes, as it comes.
    pub const fn any(endianness: Endianness) -> AccessRules {
        let any = AccessSizes {
            min: 1,
            max: 8,
            unaligned: true,
        };
        AccessRules {
            valid: Some(any),
            implemented: any,
            endianness,
        }
    }
}

impl Default for AccessRules {
    /// QEMU's defaults: any valid size, 1 to 4 bytes implemented (rule K7), little-endian.
    fn default() -> AccessRules {
        AccessRules {
            valid: None,
            implemented: AccessSizes {
                min: 1,
                max: 4,
                unaligned: false,
            },
            endianness: Endianness::Little,
        }
    }
}

/// What answers in an MMIO or port region: the device's side of `MemoryRegionOps`.
///
/// Methods take `&self`: two vCPUs may be in one device at the same time. A simple device implements
/// [`MemoryRegionOpsMut`] and lives in a [`Mutex`], which then implements this trait.
///
/// ```
/// use flatview::{AccessRules, MemTxAttrs, MemTxError, MemoryRegionOpsMut};
///
/// /// One register that counts how often it was read.
/// struct Counter(u64);
///
/// impl MemoryRegionOpsMut for Counter {
///     fn read(&mut self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
///         self.0 += 1;
///         Ok(self.0)
///     }
///     fn write(&mut self, _: u64, _: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
///         self.0 = value;
///         Ok(())
///     }
/// }
///
/// let ops: std::sync::Arc<dyn flatview::MemoryRegionOps> =
///     std::sync::Arc::new(std::sync::Mutex::new(Counter(0)));
/// assert_eq!(ops.read(0, 4, MemTxAttrs::default()), Ok(1));
/// ```
///
/// # Devices that do DMA
///
/// A device may access an address space from within its methods. The guest decides where that leads: to memory, to
/// another device, to the device itself. The last is refused with [`MemTxError::ACCESS_ERROR`] (rule K12), directly
/// or through others. Another device, however, takes its own locks, and at this moment another thread may be in it,
/// doing DMA to this one. So a device holds no lock of its own during an access that it makes: it locks, takes out
/// what it needs, unlocks, accesses, locks again, and looks whether what it had taken is still true, for another
/// CPU may have been in between.
///
/// That is why a device that does DMA from its methods does not live in a [`Mutex`], which is held during the whole
/// call. It implements this trait with a lock inside, or does its DMA later, on a thread of its own, with
/// [`Owner::engage`](crate::Owner::engage). Nor does it wait for a receipt: that is
/// [`WaitInCallback`](crate::Error::WaitInCallback).
pub trait MemoryRegionOps: Send + Sync {
    /// The value of `size` bytes at `offset` in the region, in the low bits.
    ///
    /// # Errors
    ///
    /// Whatever the device wants the bus to see; the value then reads as zero.
    fn read(&self, offset: u64, size: u32, attrs: MemTxAttrs) -> Result<u64, MemTxError>;

    /// Writes the low `size` bytes of `value` at `offset` in the region.
    ///
    /// # Errors
    ///
    /// Whatever the device wants the bus to see.
    fn write(&self, offset: u64, size: u32, value: u64, attrs: MemTxAttrs) -> Result<(), MemTxError>;

    /// The accesses this device takes. Asked once, when the region is made.
    fn access_rules(&self) -> AccessRules {
        AccessRules::default()
    }

    /// Whether the device takes this very access; asked before anything else, and speculatively too, so it
    /// must have no side effect (rules K3, K5).
    fn accepts(&self, _offset: u64, _size: u32, _is_write: bool, _attrs: MemTxAttrs) -> bool {
        true
    }
}

/// [`MemoryRegionOps`] for a device that wants `&mut self`: put it in a [`Mutex`].
pub trait MemoryRegionOpsMut: Send {
    /// See [`MemoryRegionOps::read`].
    ///
    /// # Errors
    ///
    /// See [`MemoryRegionOps::read`].
    fn read(&mut self, offset: u64, size: u32, attrs: MemTxAttrs) -> Result<u64, MemTxError>;

    /// See [`MemoryRegionOps::write`].
    ///
    /// # Errors
    ///
    /// See [`MemoryRegionOps::write`].
    fn write(&mut self, offset: u64, size: u32, value: u64, attrs: MemTxAttrs) -> Result<(), MemTxError>;

    /// See [`MemoryRegionOps::access_rules`].
    fn access_rules(&self) -> AccessRules {
        AccessRules::default()
    }

    /// See [`MemoryRegionOps::accepts`].
    fn accepts(&self, _offset: u64, _size: u32, _is_write: bool, _attrs: MemTxAttrs) -> bool {
        true
    }
}

/// A panic in a device leaves the mutex poisoned and the device as it is; the next access goes on with it.
impl<T: MemoryRegionOpsMut> MemoryRegionOps for Mutex<T> {
    fn read(&self, offset: u64, size: u32, attrs: MemTxAttrs) -> Result<u64, MemTxError> {
        self.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .read(offset, size, attrs)
    }

    fn write(&self, offset: u64, size: u32, value: u64, attrs: MemTxAttrs) -> Result<(), MemTxError> {
        self.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(offset, size, value, attrs)
    }

    fn access_rules(&self) -> AccessRules {
        self.lock().unwrap_or_else(PoisonError::into_inner).access_rules()
    }

    fn accepts(&self, offset: u64, size: u32, is_write: bool, attrs: MemTxAttrs) -> bool {
        self.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .accepts(offset, size, is_write, attrs)
    }
}

/// The ports at which nobody is (rule K20): reads find ones, writes are lost, and both succeed. The root of a space
/// of ports is a region of these.
///
/// ```
/// use std::sync::Arc;
/// use flatview::{Endianness, MemTxAttrs, Memory, UnassignedIo};
/// let memory = Memory::new();
/// let io = memory.region("io").io(0x1_0000, Arc::new(UnassignedIo));
/// let ports = memory.create_address_space("I/O", &io)?;
/// assert_eq!(ports.load::<u8>(0x80, Endianness::Little, MemTxAttrs::UNSPECIFIED), Ok(0xff));
/// # Ok::<(), flatview::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct UnassignedIo;

impl MemoryRegionOps for UnassignedIo {
    fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(u64::MAX)
    }

    fn write(&self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        Ok(())
    }

    fn access_rules(&self) -> AccessRules {
        AccessRules::any(Endianness::Little)
    }
}
