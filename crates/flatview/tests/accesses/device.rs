//! Devices that write down how they are accessed, and the IOMMU.

use std::sync::{Arc, Mutex};

use flatview::{
    AccessRules, AccessSizes, AddressSpace, Endianness, IommuAccess, IommuOps, IotlbEntry, MemTxAttrs,
    MemTxError, MemoryRegionOps,
};

use crate::bytes::Bytes;

/// One call of a device's `read`, or of its `write` with the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) device: usize,
    pub(crate) offset: u64,
    pub(crate) size: u32,
    pub(crate) written: Option<u64>,
    pub(crate) attrs: MemTxAttrs,
}

/// What a device refuses by `accepts`.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    Nothing,
    Writes,
    Secure,
    Wide(u32),
    At(u64),
}

/// How a device behaves: the part that device and model have in common.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) rules: AccessRules,
    refusal: Refusal,
    /// Offsets at which reads or writes fail, and with what.
    faults: Vec<(u64, bool, MemTxError)>,
}

impl Shape {
    pub(crate) fn choose(bytes: &mut Bytes<'_>, size: u64) -> Shape {
        let sizes = |bytes: &mut Bytes<'_>| {
            let (min, more) = (bytes.below(4), bytes.below(4));
            AccessSizes {
                min: 1 << min,
                max: 1 << (min + more).min(3),
                unaligned: bytes.once_in(2),
            }
        };
        let valid = match bytes.byte() % 4 {
            0 => None,
            1 => Some(AccessSizes {
                max: 0,
                ..sizes(bytes)
            }),
            2 => Some(AccessSizes {
                min: 1,
                max: 8,
                unaligned: true,
            }),
            _ => Some(sizes(bytes)),
        };
        let implemented = match bytes.byte() % 4 {
            // QEMU's way to say nothing (rule K7).
            0 => AccessSizes {
                min: 0,
                max: 0,
                unaligned: bytes.once_in(2),
            },
            _ => sizes(bytes),
        };
        let refusal = match bytes.byte() % 8 {
            0 => Refusal::Writes,
            1 => Refusal::Secure,
            2 => Refusal::Wide(bytes.pick(&[1, 2, 4])),
            3 => Refusal::At(bytes.below(size as usize) as u64),
            _ => Refusal::Nothing,
        };
        let faults = (0..bytes.below(4)).map(|_| {
            let error = MemTxError::from_bits_truncate(bytes.pick(&[1, 2, 4, 3]));
            (bytes.below(size as usize + 4) as u64, bytes.once_in(2), error)
        });
        Shape {
            faults: faults.collect(),
            rules: AccessRules {
                valid,
                implemented,
                endianness: bytes.pick(&[Endianness::Little, Endianness::Big]),
            },
            refusal,
        }
    }

    pub(crate) fn accepts(&self, offset: u64, size: u32, is_write: bool, attrs: MemTxAttrs) -> bool {
        match self.refusal {
            Refusal::Nothing => true,
            Refusal::Writes => !is_write,
            Refusal::Secure => !attrs.secure,
            Refusal::Wide(most) => size <= most,
            Refusal::At(byte) => !(offset..offset + u64::from(size)).contains(&byte),
        }
    }

    /// How an access fails.
    pub(crate) fn fault(&self, offset: u64, size: u32, is_write: bool) -> Result<(), MemTxError> {
        let within = offset..offset + u64::from(size);
        let mut faults = self.faults.iter();
        let fault = faults.find(|(at, on_write, _)| within.contains(at) && *on_write == is_write);
        fault.map_or(Ok(()), |&(_, _, error)| Err(error))
    }

    /// The number that the device has for bytes in the order of their addresses.
    pub(crate) fn number(&self, bytes: &[u8]) -> u64 {
        let join = |number, &byte: &u8| number << 8 | u64::from(byte);
        match self.rules.endianness {
            Endianness::Little => bytes.iter().rev().fold(0, join),
            Endianness::Big => bytes.iter().fold(0, join),
        }
    }
}

pub(crate) type Calls = Arc<Mutex<Vec<Call>>>;

/// A device that is an array of bytes.
pub(crate) struct Device {
    pub(crate) number: usize,
    pub(crate) shape: Shape,
    pub(crate) bytes: Mutex<Vec<u8>>,
    pub(crate) calls: Calls,
}

impl Device {
    fn note(&self, offset: u64, size: u32, written: Option<u64>, attrs: MemTxAttrs) {
        self.calls.lock().unwrap().push(Call {
            device: self.number,
            offset,
            size,
            written,
            attrs,
        });
    }
}

impl MemoryRegionOps for Device {
    fn read(&self, offset: u64, size: u32, attrs: MemTxAttrs) -> Result<u64, MemTxError> {
        self.note(offset, size, None, attrs);
        self.shape.fault(offset, size, false)?;
        let bytes = self.bytes.lock().unwrap();
        let at = usize::try_from(offset).unwrap();
        let number = self.shape.number(&bytes[at..at + size as usize]);
        // What lies above is nobody's business.
        let above = u64::MAX.checked_shl(8 * size).unwrap_or(0);
        Ok(number | 0xdead_beef_dead_beef & above)
    }

    fn write(&self, offset: u64, size: u32, value: u64, attrs: MemTxAttrs) -> Result<(), MemTxError> {
        self.note(offset, size, Some(value), attrs);
        self.shape.fault(offset, size, true)?;
        let at = usize::try_from(offset).unwrap();
        let value = match self.shape.rules.endianness {
            Endianness::Little => value.to_le_bytes()[..size as usize].to_vec(),
            Endianness::Big => value.to_be_bytes()[8 - size as usize..].to_vec(),
        };
        self.bytes.lock().unwrap()[at..at + size as usize].copy_from_slice(&value);
        Ok(())
    }

    fn access_rules(&self) -> AccessRules {
        self.shape.rules
    }

    fn accepts(&self, offset: u64, size: u32, is_write: bool, attrs: MemTxAttrs) -> bool {
        self.shape.accepts(offset, size, is_write, attrs)
    }
}

/// Pages are 16 bytes.
pub(crate) const PAGE_MASK: u64 = 0xf;

/// Where a page of the IOMMU leads: which space, which address, and who may go there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) space: usize,
    pub(crate) address: u64,
    pub(crate) permission: IommuAccess,
}

/// One for each page, and that for secure and for other accesses.
pub(crate) type Table = Vec<[Option<Entry>; 2]>;

pub(crate) fn choose_entry(bytes: &mut Bytes<'_>) -> Option<Entry> {
    let permission = IommuAccess::from_bits_truncate(bytes.pick(&[3, 3, 3, 1, 2, 0]));
    let entry = Entry {
        // Sometimes back to where it came from, and round and round.
        space: usize::from(!bytes.once_in(3)),
        address: bytes.address() & !PAGE_MASK,
        permission,
    };
    (!bytes.once_in(8)).then_some(entry)
}

/// The spaces are taken out in the end: they lead back to the IOMMU.
pub(crate) struct Iommu {
    pub(crate) table: Mutex<Table>,
    pub(crate) spaces: Mutex<Vec<AddressSpace>>,
}

impl IommuOps for Iommu {
    fn translate(&self, iova: u64, _: IommuAccess, index: u32) -> IotlbEntry {
        let table = self.table.lock().unwrap();
        let page = usize::try_from(iova / (PAGE_MASK + 1)).unwrap();
        let entry = table.get(page).and_then(|entry| entry[index as usize]);
        let target = entry.map(|entry| self.spaces.lock().unwrap()[entry.space].clone());
        IotlbEntry {
            target,
            iova: iova & !PAGE_MASK,
            translated_address: entry.map_or(0, |entry| entry.address),
            address_mask: PAGE_MASK,
            permission: entry.map_or(IommuAccess::empty(), |entry| entry.permission),
        }
    }

    fn attrs_to_index(&self, attrs: MemTxAttrs) -> u32 {
        attrs.secure.into()
    }
}
