//! The bus, and the ports through which a guest reaches configuration space (PCI 3.0, 3.2.2.3.2: mechanism #1).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use flatview::{AccessRules, MemTxAttrs, MemTxError, MemoryRegionOps};

use super::function::PciFunction;
use crate::device::{Reset, UP_TO_FOUR_BYTES, lock};

/// Bus 0 and its configuration ports.
#[derive(Debug, Default)]
pub struct PciHost {
    address: AtomicU32,
    functions: Mutex<BTreeMap<u8, Arc<PciFunction>>>,
}

/// The configuration address port, 0xcf8: 4 bytes, `pci-conf-idx`.
#[derive(Debug)]
struct Index(Arc<PciHost>);

/// The configuration data port, 0xcfc: 4 bytes, `pci-conf-data`.
#[derive(Debug)]
struct Data(Arc<PciHost>);

impl PciHost {
    /// A bus with nothing on it.
    pub fn new() -> Arc<PciHost> {
        Arc::default()
    }

    /// Puts a function on the bus, in the place of whatever was there.
    pub fn add(&self, function: Arc<PciFunction>) {
        lock(&self.functions).insert(function.devfn(), function);
    }

    /// The functions, by slot and number.
    pub fn functions(&self) -> Vec<Arc<PciFunction>> {
        lock(&self.functions).values().cloned().collect()
    }

    /// What answers at port 0xcf8.
    pub fn index_ops(self: &Arc<PciHost>) -> Arc<dyn MemoryRegionOps> {
        Arc::new(Index(Arc::clone(self)))
    }

    /// What answers at port 0xcfc.
    pub fn data_ops(self: &Arc<PciHost>) -> Arc<dyn MemoryRegionOps> {
        Arc::new(Data(Arc::clone(self)))
    }

    /// The function and the byte of it that an access to the data port at `offset` means.
    ///
    /// Both the low bits of the address and those of the port count: a guest that leaves the former in place reaches
    /// the same byte as one that does not.
    fn target(&self, offset: u64) -> Option<(Arc<PciFunction>, u8)> {
        let address = self.address.load(Ordering::Relaxed);
        let [register, devfn, bus, high] = address.to_le_bytes();
        if high & 0x80 == 0 || bus != 0 {
            return None;
        }
        let function = lock(&self.functions).get(&devfn).cloned()?;
        Some((function, register | u8::try_from(offset & 3).unwrap_or(0)))
    }
}

impl MemoryRegionOps for Index {
    fn read(&self, _: u64, size: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(match size {
            4 => u64::from(self.0.address.load(Ordering::Relaxed)),
            _ => u64::MAX,
        })
    }

    fn write(&self, offset: u64, size: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        // Only a whole doubleword is the index; the bytes are other devices' ports (PCI 3.0, 3.2.2.3.2).
        if offset == 0 && size == 4 {
            let value = u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0);
            self.0.address.store(value, Ordering::Relaxed);
        }
        Ok(())
    }

    fn access_rules(&self) -> AccessRules {
        UP_TO_FOUR_BYTES
    }
}

impl MemoryRegionOps for Data {
    fn read(&self, offset: u64, size: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        let size = u8::try_from(size).unwrap_or(4);
        Ok(match self.0.target(offset) {
            Some((function, register)) => u64::from(function.read_config(register, size)),
            None => u64::MAX,
        })
    }

    fn write(&self, offset: u64, size: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        if let Some((function, register)) = self.0.target(offset) {
            let value = u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0);
            function.write_config(register, u8::try_from(size).unwrap_or(4), value);
        }
        Ok(())
    }

    fn access_rules(&self) -> AccessRules {
        UP_TO_FOUR_BYTES
    }
}

impl Reset for PciHost {
    fn reset(&self) {
        self.address.store(0, Ordering::Relaxed);
        for function in self.functions() {
            function.reset();
        }
    }
}
