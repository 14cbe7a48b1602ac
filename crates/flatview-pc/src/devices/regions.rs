//! What a device shows of itself.

use std::fmt;
use std::sync::{Arc, Mutex};

use flatview::{AccessRules, AccessSizes, Endianness, MemTxAttrs, MemTxError, MemoryRegionOps};

use crate::device::lock;

/// A region of a device, to be mapped by the board.
#[derive(Clone)]
pub struct DeviceRegion {
    /// QEMU's name of it, as `info mtree` prints it.
    pub name: &'static str,
    /// Where QEMU's `pc` maps it: a port, or a guest physical address.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// What answers.
    pub ops: Arc<dyn MemoryRegionOps>,
}

impl fmt::Debug for DeviceRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#x} bytes at {:#x})", self.name, self.size, self.address)
    }
}

/// A device with registers of one byte, in one region or several.
pub(crate) trait ByteDevice: Send {
    /// Tells its regions apart.
    type Part: Copy + Send + Sync + 'static;

    fn read(&mut self, part: Self::Part, offset: u64) -> u8;

    fn write(&mut self, part: Self::Part, offset: u64, value: u8);
}

/// One region of a [`ByteDevice`]. Wider accesses reach the device byte by byte, the lowest first.
pub(crate) struct Bytes<D: ByteDevice> {
    device: Arc<Mutex<D>>,
    part: D::Part,
}

impl<D: ByteDevice + 'static> Bytes<D> {
    pub(crate) fn region(
        device: &Arc<Mutex<D>>,
        part: D::Part,
        name: &'static str,
        address: u64,
        size: u64,
    ) -> DeviceRegion {
        let device = Arc::clone(device);
        DeviceRegion {
            name,
            address,
            size,
            ops: Arc::new(Bytes { device, part }),
        }
    }
}

/// Any width is valid, one byte at a time is implemented: what QEMU says of its ISA devices.
pub(crate) const BYTES: AccessRules = AccessRules {
    valid: None,
    implemented: AccessSizes {
        min: 1,
        max: 1,
        unaligned: false,
    },
    endianness: Endianness::Little,
};

impl<D: ByteDevice> MemoryRegionOps for Bytes<D> {
    fn read(&self, offset: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(lock(&self.device).read(self.part, offset).into())
    }

    fn write(&self, offset: u64, _: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        let [value, ..] = value.to_le_bytes();
        lock(&self.device).write(self.part, offset, value);
        Ok(())
    }

    fn access_rules(&self) -> AccessRules {
        BYTES
    }
}
