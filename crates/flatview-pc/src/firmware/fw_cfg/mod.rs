//! QEMU's firmware configuration device, fw_cfg: numbered items and named files that the guest reads through two
//! ports or has copied by DMA.
//!
//! - An *item* is some bytes with a number, its [key](FwCfgKey).
//! - A *file* is an item with a name. The guest finds its key in the directory, the item
//!   [`FILE_DIR`](FwCfgKey::FILE_DIR).
//! - The guest *selects* a key and then reads on from the item's first byte. Behind its end are zeros.
//!
//! Which number is what, and how a DMA transfer is described, is QEMU's `docs/specs/fw_cfg.rst`. What that leaves open
//! is as in QEMU 10.0, except that a DMA transfer writes at most 16 MiB of the zeros behind the end of an item: a
//! larger one fails.

mod dma;
mod items;
mod key;

use std::fmt;
use std::sync::{Arc, Mutex};

use flatview::{
    AccessRules, AccessSizes, AddressSpace, Endianness, MemTxAttrs, MemTxError, Memory, MemoryRegionOps,
    Owner, Region,
};
use thiserror::Error;

use crate::device::{Reset, lock};
use items::Items;
pub use key::FwCfgKey;

/// The names of files have less bytes than this: there is a zero at the end.
const NAME_BYTES: usize = 56;
/// How many files there can be: QEMU's `x-file-slots`.
const FILE_SLOTS: u16 = 0x20;
/// The first port of DMA reads as this: "QEMU CFG".
const DMA_SIGNATURE: u64 = 0x5145_4d55_2043_4647;
/// Bits of [`FwCfgKey::ID`]: the two ports, and DMA.
const FEATURES: u32 = 0b11;

/// The firmware configuration device.
///
/// Filled before the guest runs: adding a file changes the keys of those with a greater name. The state of the
/// device itself (what is selected) has a lock, which is not held while it does DMA or calls back.
pub struct FwCfg {
    /// What DMA sees.
    memory: AddressSpace,
    items: Mutex<Items>,
    /// What was written of the address of a DMA descriptor: the upper half.
    dma_address: Mutex<u64>,
}

/// The ports of a [`FwCfg`], as QEMU has them: map each in the space of I/O ports.
#[derive(Clone, Debug)]
pub struct FwCfgRegions {
    /// The selector and the data, 2 bytes, for [`FwCfg::CONTROL_PORT`].
    pub control: Region,
    /// The address of a DMA descriptor, 8 bytes, for [`FwCfg::DMA_PORT`].
    pub dma: Region,
}

impl FwCfg {
    /// Where [`FwCfgRegions::control`] is in a PC.
    pub const CONTROL_PORT: u16 = 0x510;
    /// Where [`FwCfgRegions::dma`] is in a PC.
    pub const DMA_PORT: u16 = 0x514;

    /// A device with the signature, the id and no files, whose DMA goes to `memory`.
    pub fn new(memory: AddressSpace) -> Arc<FwCfg> {
        let fw_cfg = FwCfg {
            memory,
            items: Mutex::default(),
            dma_address: Mutex::new(0),
        };
        fw_cfg.add_bytes(FwCfgKey::SIGNATURE, b"QEMU".to_vec());
        fw_cfg.add_u32(FwCfgKey::ID, FEATURES);
        fw_cfg.reset();
        Arc::new(fw_cfg)
    }

    /// Makes its regions. They belong to `owner`.
    pub fn regions(self: &Arc<FwCfg>, memory: &Memory, owner: &Owner) -> FwCfgRegions {
        FwCfgRegions {
            control: memory
                .region("fwcfg")
                .owner(owner)
                .io(2, Arc::new(Control(Arc::clone(self)))),
            dma: memory
                .region("fwcfg.dma")
                .owner(owner)
                .io(8, Arc::new(Dma(Arc::clone(self)))),
        }
    }

    /// Adds an item, in the place of one with the same key.
    pub fn add_bytes(&self, key: FwCfgKey, bytes: Vec<u8>) {
        lock(&self.items).set(key, bytes);
    }

    /// Adds an item of 2 bytes, the lower one first.
    pub fn add_u16(&self, key: FwCfgKey, value: u16) {
        self.add_bytes(key, value.to_le_bytes().to_vec());
    }

    /// Adds an item of 4 bytes, the lowest one first.
    pub fn add_u32(&self, key: FwCfgKey, value: u32) {
        self.add_bytes(key, value.to_le_bytes().to_vec());
    }

    /// Adds an item of 8 bytes, the lowest one first.
    pub fn add_u64(&self, key: FwCfgKey, value: u64) {
        self.add_bytes(key, value.to_le_bytes().to_vec());
    }

    /// Adds an item that is a text with a zero at the end.
    pub fn add_string(&self, key: FwCfgKey, text: &str) {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.add_bytes(key, bytes);
    }

    /// Adds a file that the guest can read.
    ///
    /// # Errors
    ///
    /// [`FwCfgError`]; nothing is added.
    pub fn add_file(&self, name: &str, bytes: Vec<u8>) -> Result<(), FwCfgError> {
        lock(&self.items).add_file(name, bytes, None)
    }

    /// Adds a file that the guest can also write, by DMA. It keeps its size. After each write `written` is told the
    /// offset in the file and the new bytes.
    ///
    /// # Errors
    ///
    /// [`FwCfgError`]; nothing is added.
    pub fn add_writable_file(
        &self,
        name: &str,
        bytes: Vec<u8>,
        written: impl Fn(usize, &[u8]) + Send + Sync + 'static,
    ) -> Result<(), FwCfgError> {
        lock(&self.items).add_file(name, bytes, Some(Arc::new(written)))
    }

    /// Gives a file new contents, of any size.
    ///
    /// # Errors
    ///
    /// [`FwCfgError::NoSuchFile`], [`FwCfgError::TooLarge`]; nothing is changed.
    pub fn modify_file(&self, name: &str, bytes: Vec<u8>) -> Result<(), FwCfgError> {
        lock(&self.items).modify_file(name, bytes)
    }

    /// What an item is that is no file; `None` if nobody added it.
    pub fn item(&self, key: FwCfgKey) -> Option<Vec<u8>> {
        lock(&self.items).numbered(key)
    }

    /// What is in a file now; `None` if there is none of that name.
    pub fn file(&self, name: &str) -> Option<Vec<u8>> {
        lock(&self.items).file(name)
    }
}

/// After a reset the signature is selected, and nothing of a DMA address is left. What the guest wrote into files
/// stays: who wants it otherwise modifies them.
impl Reset for FwCfg {
    fn reset(&self) {
        lock(&self.items).select(FwCfgKey::SIGNATURE.0);
        *lock(&self.dma_address) = 0;
    }
}

impl fmt::Debug for FwCfg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FwCfg")
            .field("memory", &self.memory.name())
            .field("items", &lock(&self.items))
            .finish_non_exhaustive()
    }
}

/// Why a file was not added or changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FwCfgError {
    /// Names have 1 to 55 bytes, none of them zero.
    #[error("a file of fw_cfg cannot be called `{name}`: names have 1 to 55 bytes, and none is zero")]
    BadName {
        /// The name.
        name: String,
    },
    /// There is a file of this name.
    #[error("fw_cfg has a file `{name}` already")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// There is no file of this name.
    #[error("fw_cfg has no file `{name}`")]
    NoSuchFile {
        /// The name.
        name: String,
    },
    /// Sizes have 32 bits.
    #[error("the file `{name}` of fw_cfg cannot have {size:#x} bytes: 0xffffffff are the most")]
    TooLarge {
        /// The name.
        name: String,
        /// How large it should be.
        size: usize,
    },
    /// All places are taken.
    #[error("fw_cfg has no place for `{name}`: {most} files are the most")]
    TooManyFiles {
        /// The name.
        name: String,
        /// How many files there can be.
        most: u16,
    },
}

/// Both ports do both: words select, bytes are data.
struct Control(Arc<FwCfg>);

impl MemoryRegionOps for Control {
    fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(lock(&self.0.items).read_byte().into())
    }

    fn write(&self, _: u64, size: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        if size == 2 {
            let [low, high, ..] = value.to_le_bytes();
            lock(&self.0.items).select(u16::from_le_bytes([low, high]));
        }
        Ok(())
    }

    fn accepts(&self, _: u64, size: u32, is_write: bool, _: MemTxAttrs) -> bool {
        size == 1 || (is_write && size == 2)
    }
}

/// The register that begins DMA when its lower half is written.
struct Dma(Arc<FwCfg>);

impl MemoryRegionOps for Dma {
    fn read(&self, offset: u64, size: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        let below = 8_u64.saturating_sub(offset + u64::from(size)) * 8;
        Ok(DMA_SIGNATURE >> below & (u64::MAX >> (64 - 8 * size.clamp(1, 8))))
    }

    fn write(&self, offset: u64, size: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        let descriptor = match (offset, size) {
            (0, 4) => {
                *lock(&self.0.dma_address) = value << 32;
                return Ok(());
            }
            (4, 4) => std::mem::take(&mut *lock(&self.0.dma_address)) | value,
            _ => {
                *lock(&self.0.dma_address) = 0;
                value
            }
        };
        self.0.transfer(descriptor);
        Ok(())
    }

    fn access_rules(&self) -> AccessRules {
        let sizes = AccessSizes {
            min: 1,
            max: 8,
            unaligned: false,
        };
        AccessRules {
            valid: Some(sizes),
            implemented: sizes,
            endianness: Endianness::Big,
        }
    }

    fn accepts(&self, offset: u64, size: u32, is_write: bool, _: MemTxAttrs) -> bool {
        !is_write || matches!((offset, size), (0 | 4, 4) | (0, 8))
    }
}

#[cfg(test)]
mod fw_cfg_test;
